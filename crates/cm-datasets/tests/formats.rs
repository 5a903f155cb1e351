//! Every format, read from files that Python's own libraries made: `scripts/parity/image_formats.py`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use cm_datasets::prepared::{PrepareOptions, prepare, verify};
use cm_datasets::{
    Dataset, DatasetConfig, DatasetError, Format, LabelRule, Orientation, PreparedConfig, SourceConfig, Split,
};
use cm_image::{ImageShape, to_u8};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn source(name: &str) -> SourceConfig {
    SourceConfig { path: fixture(name), ..SourceConfig::default() }
}

fn build(config: SourceConfig, split: Split) -> Box<dyn Dataset> {
    DatasetConfig::Source(config).build(split).unwrap_or_else(|error| panic!("{error}"))
}

/// The image that the script writes.
fn pattern(index: usize, shape: ImageShape) -> Vec<u8> {
    let ImageShape { height, width, channels } = shape;
    let at = |y: usize, x: usize, c: usize| ((37 * index + 11 * y + 5 * x + 83 * c + y * x) % 256) as u8;
    let rows = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
    rows.flat_map(|(y, x)| (0..channels).map(move |c| at(y, x, c))).collect()
}

fn bytes(data: &dyn Dataset, index: usize) -> Vec<u8> {
    data.images(&[index]).unwrap().values().iter().map(|&value| to_u8(value)).collect()
}

fn labels(data: &dyn Dataset) -> Vec<u32> {
    data.labels(&(0..data.len()).collect::<Vec<_>>())
}

/// Both parts hold the pattern's images one after the other, with these labels.
fn check(
    config: &SourceConfig,
    shape: ImageShape,
    train: usize,
    label: impl Fn(usize) -> u32,
    classes: usize,
) {
    let mut first = 0;
    for split in [Split::Train, Split::Test] {
        let data = build(config.clone(), split);
        assert_eq!((data.shape(), data.num_classes()), (shape, Some(classes)));
        for index in 0..data.len() {
            assert_eq!(bytes(data.as_ref(), index), pattern(first + index, shape), "{split:?} {index}");
        }
        let expected: Vec<u32> = (first..first + data.len()).map(&label).collect();
        assert_eq!(labels(data.as_ref()), expected);
        first += data.len();
        if split == Split::Train {
            assert_eq!(first, train);
        }
    }
}

#[test]
fn cifar10_is_read_from_both_archives() {
    for name in ["cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"] {
        check(&source(name), ImageShape::new(32, 32, 3), 15, |i| i as u32 % 10, 10);
    }
}

#[test]
fn downsampled_imagenet_is_read_from_archives_and_pickles() {
    for name in ["downsampled-npz", "downsampled-pickle"] {
        check(&source(name), ImageShape::new(8, 8, 3), 6, |i| 111 * i as u32, 1000);
    }
}

#[cfg(feature = "hub")]
#[test]
fn parquet_files_of_the_hub_are_read() {
    let data = fixture("parquet/data");
    for path in [fixture("parquet"), data.clone()] {
        // Beside the folder of parts lie other files, which belong to none.
        let config = SourceConfig { path, ..SourceConfig::default() };
        check(&config, ImageShape::new(6, 6, 3), 7, |i| i as u32 % 3, 3);
    }
    let scratch = tempfile::tempdir().unwrap();
    let config = SourceConfig { path: data.clone(), ..SourceConfig::default() };
    let options =
        PrepareOptions { source: config, out: scratch.path().join("set"), ..PrepareOptions::default() };
    let index = prepare(&options, &mut |_| ()).unwrap();
    assert_eq!(index.classes.unwrap(), ["ant", "bee", "cat"]);
    // One file alone, of bytes and without names; every compression.
    for name in ["zstd", "gzip", "lz4", "brotli", "none"] {
        let path = fixture("parquet").join(format!("{name}.parquet"));
        let config = SourceConfig { path, held_out: Some(0), ..SourceConfig::default() };
        let read = build(config.clone(), Split::Train);
        assert_eq!((read.len(), read.shape(), read.num_classes()), (4, ImageShape::new(6, 6, 1), Some(2)));
        for index in 0..4 {
            assert_eq!(bytes(read.as_ref(), index), pattern(index, read.shape()));
        }
        assert_eq!(labels(read.as_ref()), [0, 1, 0, 1]);
        let colour =
            build(SourceConfig { channels: Some(3), labels: LabelRule::Nowhere, ..config }, Split::Train);
        assert_eq!((colour.shape().channels, colour.num_classes()), (3, None));
    }
}

#[cfg(not(feature = "hub"))]
#[test]
fn parquet_files_want_the_feature_hub() {
    for path in [fixture("parquet"), fixture("parquet/none.parquet")] {
        let config = SourceConfig { path, ..SourceConfig::default() };
        let error = DatasetConfig::Source(config).build(Split::Train).err().unwrap().to_string();
        assert!(error.contains("--features hub"), "{error}");
    }
}

#[test]
fn idx_files_are_read_compressed_or_not() {
    check(&source("idx"), ImageShape::new(5, 7, 1), 6, |i| i as u32 % 3, 3);
    // One file, with the labels beside it.
    let config = SourceConfig { held_out: Some(0), ..source("idx/train-images-idx3-ubyte.gz") };
    assert_eq!(labels(build(config, Split::Train).as_ref()), [0, 1, 2, 0, 1, 2]);
}

#[test]
fn numpy_archives_are_read_under_the_names_people_use() {
    let shape = ImageShape::new(4, 4, 1);
    let train = build(source("keras.npz"), Split::Train);
    let test = build(source("keras.npz"), Split::Test);
    assert_eq!((train.shape(), train.len(), test.len(), train.num_classes()), (shape, 7, 3, Some(4)));
    let red = |i: usize| pattern(i, ImageShape::new(4, 4, 3)).into_iter().step_by(3).collect::<Vec<u8>>();
    assert_eq!((bytes(train.as_ref(), 6), bytes(test.as_ref(), 2)), (red(6), red(9)));
    assert_eq!((labels(train.as_ref()), labels(test.as_ref())), (vec![0, 1, 2, 3, 0, 1, 2], vec![3, 0, 1]));
    let all = build(SourceConfig { held_out: Some(0), ..source("samples.npz") }, Split::Train);
    assert_eq!((all.len(), all.num_classes()), (10, Some(3)));
    assert_eq!(bytes(all.as_ref(), 9), pattern(9, ImageShape::new(4, 4, 3)));
}

#[test]
fn edm_archives_are_read_in_the_order_of_names() {
    let all = build(SourceConfig { held_out: Some(0), ..source("edm.zip") }, Split::Train);
    assert_eq!((all.len(), all.num_classes()), (5, Some(2)));
    for index in 0..5 {
        assert_eq!(bytes(all.as_ref(), index), pattern(index, ImageShape::new(6, 6, 3)));
    }
    assert_eq!(labels(all.as_ref()), [0, 1, 0, 1, 0]);
}

#[test]
fn folders_give_classes_by_folder_or_by_prefix() {
    let all = |labels| SourceConfig { held_out: Some(0), labels, ..source("folder") };
    let data = build(all(LabelRule::Folders), Split::Train);
    assert_eq!((data.len(), data.num_classes()), (5, Some(3)));
    for index in 0..5 {
        assert_eq!(bytes(data.as_ref(), index), pattern(index, ImageShape::new(6, 6, 3)));
    }
    assert_eq!(labels(data.as_ref()), [0, 0, 1, 1, 2]);
    // a.png, b.png, a_b.png, c.png, x.PNG: the prefix of a name without `_` is the name.
    let prefixes = build(all(LabelRule::Prefixes), Split::Train);
    assert_eq!(labels(prefixes.as_ref()), [1, 2, 0, 3, 4]);
    assert_eq!(build(all(LabelRule::Nowhere), Split::Train).num_classes(), None);
}

#[test]
fn images_are_resized_as_pillow_does_it() {
    for (channels, split) in [(3, Split::Train), (1, Split::Test)] {
        let config = SourceConfig {
            resolution: Some(16),
            channels: Some(channels),
            held_out: Some(0),
            ..source("resized")
        };
        let ours = build(config, Split::Train);
        // Colour and grey have different shapes, so the two parts of the archive cannot be read as one set.
        let theirs = numpy(if split == Split::Train { "x_train" } else { "x_test" });
        assert_eq!(ours.len(), 5);
        for index in 0..5 {
            let len = ours.shape().len();
            assert_eq!(bytes(ours.as_ref(), index), theirs[index * len..][..len], "{channels} {index}");
        }
    }
}

/// An array of `resized.npz`, without its header.
fn numpy(name: &str) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(fixture("resized.npz")).unwrap()).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut archive.by_name(&format!("{name}.npy")).unwrap(), &mut bytes).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes.split_off(header)
}

#[test]
fn every_kind_of_png_is_understood() {
    let ours = build(SourceConfig { channels: Some(3), held_out: Some(0), ..source("kinds") }, Split::Train);
    let theirs = build(SourceConfig { held_out: Some(0), ..source("kinds.npz") }, Split::Train);
    assert_eq!(ours.all_images().unwrap(), theirs.all_images().unwrap());
    // Unless told, all have colour if one has it: bits.png, the first, is grey, and the others are not.
    let untold = build(SourceConfig { held_out: Some(0), ..source("kinds") }, Split::Train);
    assert_eq!(ours.all_images().unwrap(), untold.all_images().unwrap());
    let grey = build(SourceConfig { channels: Some(1), held_out: Some(0), ..source("kinds") }, Split::Train);
    assert_eq!((grey.len(), grey.shape()), (4, ImageShape::new(3, 4, 1)));
}

/// Other decoders gave other values, and with colours of half the size a cast.
#[test]
fn jpeg_files_have_the_pixels_of_libjpeg_turbo() {
    let ours = build(SourceConfig { channels: Some(3), held_out: Some(0), ..source("jpeg") }, Split::Train);
    let theirs = build(SourceConfig { held_out: Some(0), ..source("jpeg.npz") }, Split::Train);
    assert_eq!((ours.len(), ours.shape()), (4, theirs.shape()));
    assert_eq!(ours.all_images().unwrap(), theirs.all_images().unwrap());
}

#[test]
fn webp_files_have_the_pixels_of_libwebp() {
    let ours = build(SourceConfig { held_out: Some(0), ..source("webp") }, Split::Train);
    let theirs = build(SourceConfig { held_out: Some(0), ..source("webp.npz") }, Split::Train);
    assert_eq!((ours.len(), ours.shape()), (4, theirs.shape()));
    assert_eq!(ours.all_images().unwrap(), theirs.all_images().unwrap());
}

#[test]
fn images_are_read_upright_or_as_they_are_stored() {
    for (orientation, expected) in
        [(Orientation::Upright, "upright.npz"), (Orientation::Stored, "stored.npz")]
    {
        let config = SourceConfig { orientation, held_out: Some(0), ..source("turned") };
        let about = DatasetConfig::Source(config.clone()).about().unwrap();
        let done = ["turned upright", "read as they are stored"][orientation as usize];
        assert!(about.notes[0].starts_with(&format!("9 of 10 images are {done}")), "{:?}", about.notes);
        let ours = build(config, Split::Train);
        let theirs = build(SourceConfig { held_out: Some(0), ..source(expected) }, Split::Train);
        assert_eq!(ours.all_images().unwrap(), theirs.all_images().unwrap(), "{orientation:?}");
    }
}

#[test]
fn a_part_is_held_out_and_always_the_same_one() {
    let config = |held_out| SourceConfig { held_out, ..source("samples.npz") };
    let parts = |held_out| (build(config(held_out), Split::Train), build(config(held_out), Split::Test));
    let (train, test) = parts(Some(3));
    assert_eq!((train.len(), test.len()), (7, 3));
    let mut all: Vec<Vec<u8>> = (0..7).map(|i| bytes(train.as_ref(), i)).collect();
    all.extend((0..3).map(|i| bytes(test.as_ref(), i)));
    all.sort();
    let mut expected: Vec<Vec<u8>> = (0..10).map(|i| pattern(i, ImageShape::new(4, 4, 3))).collect();
    expected.sort();
    assert_eq!(all, expected, "every image is in one part");
    assert_eq!(parts(None).1.len(), 1, "a tenth");
    let none = DatasetConfig::Source(config(Some(0)));
    assert!(matches!(none.build(Split::Test), Err(DatasetError::NoTestPart(_))));
    let own = DatasetConfig::Source(SourceConfig { held_out: Some(1), ..source("idx") });
    assert!(own.build(Split::Train).err().unwrap().to_string().contains("a test part of its own"));
}

#[test]
fn prepared_images_are_those_of_the_source() {
    let scratch = tempfile::tempdir().unwrap();
    for name in ["cifar-10-python.tar.gz", "downsampled-npz", "idx", "keras.npz", "samples.npz", "edm.zip"] {
        let out = scratch.path().join(name);
        // Shards of two CIFAR-10 images.
        let options =
            PrepareOptions { source: source(name), out: out.clone(), shard_bytes: 7000, strict: false };
        let index = prepare(&options, &mut |_| ()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(verify(&out).unwrap(), index);
        for split in [Split::Train, Split::Test] {
            let prepared = PreparedConfig { path: out.clone(), ..PreparedConfig::default() };
            let ours = DatasetConfig::Prepared(prepared).build(split);
            let theirs = DatasetConfig::Source(source(name)).build(split);
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => {
                    assert_eq!(ours.all_images().unwrap(), theirs.all_images().unwrap(), "{name}");
                    assert_eq!(labels(ours.as_ref()), labels(theirs.as_ref()));
                    assert_eq!(ours.num_classes(), theirs.num_classes());
                    let sigma = cm_datasets::sigma_data(theirs.as_ref()).unwrap();
                    assert!((cm_datasets::sigma_data(ours.as_ref()).unwrap() - sigma).abs() < 1e-6);
                }
                // A tenth of five images is none.
                (ours, theirs) => {
                    assert!(matches!(ours, Err(DatasetError::NoTestPart(_))), "{name}");
                    assert!(matches!(theirs, Err(DatasetError::NoTestPart(_))), "{name}");
                }
            }
        }
    }
    let leftovers = std::fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(leftovers, 6);
}

#[test]
fn equal_sources_give_equal_bytes_and_a_folder_is_never_overwritten() {
    let scratch = tempfile::tempdir().unwrap();
    let options = |name: &str| PrepareOptions {
        source: source("cifar-10-binary.tar.gz"),
        out: scratch.path().join(name),
        ..PrepareOptions::default()
    };
    let (a, b) = (prepare(&options("a"), &mut |_| ()).unwrap(), prepare(&options("b"), &mut |_| ()).unwrap());
    assert_eq!(a, b);
    assert_eq!(a.classes.as_ref().unwrap()[3], "cat");
    let again = prepare(&options("a"), &mut |_| ()).err().unwrap().to_string();
    assert!(again.contains("is there already"), "{again}");
}

#[test]
fn classes_are_chosen_by_number() {
    let config = SourceConfig { only_classes: vec![7, 3], ..source("cifar-10-binary.tar.gz") };
    let data = build(config, Split::Train);
    assert_eq!((labels(data.as_ref()), data.num_classes()), (vec![1, 0, 1], Some(2)));
    assert_eq!(bytes(data.as_ref(), 2), pattern(13, data.shape()));
}

#[test]
fn a_format_that_names_do_not_tell_is_asked_for() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("images");
    std::fs::copy(fixture("keras.npz"), &path).unwrap();
    let config = SourceConfig { path, ..SourceConfig::default() };
    let error = DatasetConfig::Source(config.clone()).build(Split::Train).err().unwrap().to_string();
    assert!(error.contains("does not say how it is laid out") && error.contains("*.npz"), "{error}");
    let given = SourceConfig { format: Some(Format::Npz), ..config };
    assert_eq!(build(given, Split::Train).len(), 7);
}
