//! Folders of images as people have them: what is read, and what is said of the rest.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use cm_datasets::prepared::{PrepareOptions, prepare};
use cm_datasets::{About, Dataset, DatasetConfig, LabelRule, SourceConfig, Split};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use tempfile::TempDir;

/// A picture of one colour, grey if `channels` is 1; of 16 bits if `deep`.
fn put(path: impl AsRef<Path>, value: u8, channels: usize, deep: bool) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(path).unwrap()), 4, 4);
    encoder.set_color(if channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
    let depth = if deep { 2 } else { 1 };
    encoder.set_depth(if deep { png::BitDepth::Sixteen } else { png::BitDepth::Eight });
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&vec![value; 16 * channels * depth]).unwrap();
}

fn tree(files: &[(&str, u8)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(path, value)| put(folder.path().join(path), *value, 3, false));
    folder
}

fn source(folder: &Path) -> SourceConfig {
    SourceConfig { path: folder.to_owned(), ..SourceConfig::default() }
}

/// Labels of the training and the test part, and what is known besides.
fn read(config: SourceConfig) -> (Vec<u32>, Vec<u32>, About) {
    let config = DatasetConfig::Source(config);
    let labels = |split| {
        let data = config.build(split).ok()?;
        Some(data.labels(&(0..data.len()).collect::<Vec<_>>()))
    };
    (labels(Split::Train).unwrap(), labels(Split::Test).unwrap_or_default(), config.about().unwrap())
}

fn noted(about: &About, parts: &[&str]) {
    assert_eq!(about.notes.len(), parts.len(), "{:?}", about.notes);
    for (note, part) in about.notes.iter().zip(parts) {
        assert!(note.contains(part), "{note}");
    }
}

#[test]
fn parts_are_known_whatever_the_case_of_their_letters() {
    for (train, test) in [("Train", "Test"), ("TRAIN", "VAL"), ("training", "validation"), ("train", "Valid")]
    {
        let files = ["cats/0", "cats/1", "dogs/0"].map(|file| format!("{train}/{file}.png"));
        let folder = tree(&files.each_ref().map(|file| (file.as_str(), 9)));
        put(folder.path().join(test).join("cats/7.png"), 9, 3, false);
        put(folder.path().join(test).join("dogs/7.png"), 9, 3, false);
        let (train, test, about) = read(source(folder.path()));
        assert_eq!((train, test), (vec![0, 0, 1], vec![0, 1]));
        assert_eq!(about.classes, ["cats", "dogs"]);
        noted(&about, &[]);
    }
}

#[test]
fn training_images_alone_or_in_an_archives_folder_keep_their_classes() {
    for inner in ["train", "archive", "archive/train", "download/data"] {
        let files = ["cats/0", "cats/1", "dogs/0"].map(|file| format!("{inner}/{file}.png"));
        let folder = tree(&files.each_ref().map(|file| (file.as_str(), 9)));
        let (train, _, about) = read(SourceConfig { held_out: Some(0), ..source(folder.path()) });
        assert_eq!((train, about.classes.len()), (vec![0, 0, 1], 2), "{inner}");
        assert!(about.notes.iter().all(|note| note.contains("all images lie in")), "{:?}", about.notes);
        assert_eq!(about.notes.len(), inner.split('/').count());
    }
    // One class, and nothing to step into.
    let folder = tree(&[("cats/0.png", 9), ("cats/1.png", 9)]);
    let (train, _, about) = read(SourceConfig { held_out: Some(0), ..source(folder.path()) });
    assert_eq!((train, about.classes), (vec![0, 0], vec!["cats".to_owned()]));
    assert_eq!(about.notes, Vec::<String>::new());
}

#[test]
fn a_class_called_train_is_one_beside_others() {
    let folder = tree(&[("bus/0.png", 9), ("train/0.png", 9), ("tram/0.png", 9)]);
    let (train, _, about) = read(SourceConfig { held_out: Some(0), ..source(folder.path()) });
    assert_eq!(
        (train, about.classes.as_slice()),
        (vec![0, 1, 2], &["bus", "train", "tram"].map(String::from)[..])
    );
    noted(&about, &["train is taken for a class"]);
    let folder = tree(&[("train/a/0.png", 9), ("Training/a/0.png", 9), ("test/a/0.png", 9)]);
    let said = DatasetConfig::Source(source(folder.path())).build(Split::Train).err().unwrap().to_string();
    assert!(said.contains("both") && said.contains("called like training images"), "{said}");
}

#[test]
fn classes_that_lack_images_are_named() {
    let folder = tree(&[
        ("train/cats/0.png", 9),
        ("train/owls/0.png", 9),
        ("val/cats/0.png", 9),
        ("val/dogs/0.png", 9),
    ]);
    let (train, test, about) = read(source(folder.path()));
    assert_eq!((train, test), (vec![0, 2], vec![0, 1]));
    noted(&about, &["1 class has no image to train on: dogs", "1 class has no image to test on: owls"]);
}

#[test]
fn one_class_in_several_folders_is_odd() {
    let folder = tree(&[("cats/in/0.png", 9), ("cats/out/deep/0.png", 9), ("cats/3.png", 9)]);
    let (train, _, about) = read(SourceConfig { held_out: Some(0), ..source(folder.path()) });
    assert_eq!((train, about.classes.as_slice()), (vec![0; 3], &["cats".to_owned()][..]));
    noted(&about, &["all images are of one class, cats, and lie in several folders"]);
}

#[test]
fn tiny_imagenet_is_read_with_the_classes_of_its_annotations() {
    let folder = tree(&[
        ("train/n01/images/n01_0.png", 9),
        ("train/n02/images/n02_0.png", 9),
        ("val/images/val_0.png", 9),
        ("val/images/val_1.png", 9),
        ("test/images/test_0.png", 9),
    ]);
    let annotations = folder.path().join("val/val_annotations.txt");
    fs::write(&annotations, "val_0.png\tn02\t0\t0\t15\t15\nval_1.png\tn01\t0\t0\t15\t15\n").unwrap();
    let (train, test, about) = read(source(folder.path()));
    assert_eq!((train, test), (vec![0, 1], vec![1, 0]));
    assert_eq!(about.classes, ["n01", "n02"]);
    noted(&about, &["test (1 images) left out"]);

    for (text, part) in [
        ("val_0.png\tn02\n", "val_1.png: "),
        ("val_0.png n02\n", "line 1: a file, a tab and its class"),
        ("val_0.png\tn02\nval_0.png\tn01\n", "line 2: val_0.png has another class above"),
    ] {
        fs::write(&annotations, text).unwrap();
        let config = SourceConfig { held_out: None, background: 1, ..source(folder.path()) };
        let said = DatasetConfig::Source(config).build(Split::Train).err().unwrap().to_string();
        assert!(said.contains(part) && said.contains("val"), "{said}");
    }
}

#[test]
fn colour_is_kept_whichever_file_comes_first() {
    for first_is_grey in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        for i in 0..6 {
            let channels = if (i % 2 == 0) == first_is_grey { 1 } else { 3 };
            put(folder.path().join(format!("{i}.png")), 50, channels, false);
        }
        let config = SourceConfig { held_out: Some(0), ..source(folder.path()) };
        let data = DatasetConfig::Source(config.clone()).build(Split::Train).unwrap();
        assert_eq!((data.shape().channels, data.len()), (3, 6));
        noted(&DatasetConfig::Source(config.clone()).about().unwrap(), &["3 of 6 images are grey"]);
        // Who says what he wants need not be told.
        let told = DatasetConfig::Source(SourceConfig { channels: Some(1), ..config });
        assert_eq!(told.build(Split::Train).unwrap().shape().channels, 1);
        assert_eq!(told.about().unwrap().notes, Vec::<String>::new());
    }
}

#[test]
fn what_is_left_out_is_told_and_refused_where_all_must_be_read() {
    let folder = tree(&[("0.png", 9), ("1.png", 9), ("__MACOSX/._0.png", 9), (".hidden/3.png", 9)]);
    for name in ["a.gif", "b.GIF", "c.tiff", "readme.md", "labels.csv", "none"] {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    let config = SourceConfig { held_out: Some(0), labels: LabelRule::Nowhere, ..source(folder.path()) };
    let data = DatasetConfig::Source(config.clone());
    assert_eq!(data.build(Split::Train).unwrap().len(), 2);
    noted(
        &data.about().unwrap(),
        &["files of other kinds are left out: 1 without an ending, 2 .gif, 1 .tiff"],
    );

    let out = folder.path().join("set");
    let options =
        PrepareOptions { source: config, out: out.clone(), strict: true, ..PrepareOptions::default() };
    let said = prepare(&options, &mut |_| ()).err().unwrap().to_string();
    assert!(said.starts_with("strict: ") && said.contains("2 .gif") && !out.exists(), "{said}");
    let index = prepare(&PrepareOptions { strict: false, ..options }, &mut |_| ()).unwrap();
    assert_eq!(index.notes.len(), 1);
    let reopened = cm_datasets::prepared::Index::open(&out).unwrap();
    assert_eq!(reopened, index);
}

#[test]
fn ten_bits_stored_as_sixteen_are_told() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..3 {
        put(folder.path().join(format!("{i}.png")), 3, 1, true);
    }
    let (_, _, about) =
        read(SourceConfig { labels: LabelRule::Nowhere, held_out: Some(1), ..source(folder.path()) });
    noted(&about, &["no value of any image is above 3 of 255"]);
}

#[test]
fn files_beside_those_of_mnist_are_named() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/idx");
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().replace("t10k", "t3k");
        fs::copy(&path, folder.path().join(name)).unwrap();
    }
    let (_, _, about) = read(source(folder.path()));
    noted(&about, &["t3k-images-idx3-ubyte, t3k-labels-idx1-ubyte left out"]);
}

#[test]
fn archives_of_edm_made_on_a_mac_are_read_and_labels_are_one_for_each_image() {
    let scratch = tempfile::tempdir().unwrap();
    put(scratch.path().join("0.png"), 9, 3, false);
    let image = fs::read(scratch.path().join("0.png")).unwrap();
    let write = |name: &str, json: &str| {
        let path = scratch.path().join(name);
        let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in [
            ("a/0.png", image.as_slice()),
            ("a/1.png", &image),
            ("__MACOSX/a/._0.png", b"rubbish"),
            ("a/._1.png", b"rubbish"),
            ("dataset.json", json.as_bytes()),
        ] {
            let plain =
                zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
            archive.start_file(name, plain).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap();
        DatasetConfig::Source(SourceConfig { held_out: Some(0), ..source(&path) }).build(Split::Train)
    };
    let data = write("mac.zip", r#"{"labels": [["a/0.png", 1], ["a/1.png", 0], ["a/._1.png", 5]]}"#).unwrap();
    assert_eq!(data.labels(&[0, 1]), [1, 0]);
    for (name, json, part) in [
        (
            "twice.zip",
            r#"{"labels": [["a/0.png", 1], ["a/1.png", 0], ["a/0.png", 0]]}"#,
            "it has \"a/0.png\" twice",
        ),
        (
            "more.zip",
            r#"{"labels": [["a/0.png", 1], ["a/1.png", 0], ["a/2.png", 0]]}"#,
            "a label for \"a/2.png\", and there",
        ),
        ("fewer.zip", r#"{"labels": [["a/0.png", 1]]}"#, "no label for \"a/1.png\""),
    ] {
        let said = write(name, json).err().unwrap().to_string();
        assert!(said.contains("dataset.json") && said.contains(part), "{said}");
    }
}
