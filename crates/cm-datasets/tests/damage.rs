//! Files that are not what they should be: an error that names the file and the record, and nothing left behind.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use cm_datasets::prepared::{PrepareOptions, prepare, verify};
use cm_datasets::{DatasetConfig, PreparedConfig, SourceConfig, Split};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn scratch() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// What is said of a source.
fn complaint(path: &Path) -> String {
    complaint_of(SourceConfig { path: path.to_owned(), ..SourceConfig::default() })
}

/// What is said of a source, read directly; preparing says the same and leaves nothing.
fn complaint_of(source: SourceConfig) -> String {
    let out = scratch();
    let options =
        PrepareOptions { source: source.clone(), out: out.path().join("made"), ..PrepareOptions::default() };
    let said = prepare(&options, &mut |_| ()).err().unwrap().to_string();
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0, "nothing is left of what failed");
    let direct = DatasetConfig::Source(source).build(Split::Train).err().unwrap();
    assert!(direct.is_input());
    assert_eq!(direct.to_string(), said);
    said
}

fn expect(path: &Path, parts: &[&str]) {
    let said = complaint(path);
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn gunzip(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Copies a folder of fixtures.
fn copy(name: &str) -> TempDir {
    let folder = scratch();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn zipped(path: &Path, entries: &[(&str, &[u8])]) {
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    for (name, bytes) in entries {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

/// A `.npy` file with this type and shape and these bytes behind the header.
fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn what_is_not_there_is_said() {
    expect(Path::new("missing/cifar.tar.gz"), &["missing/cifar.tar.gz", "No such file"]);
    expect(Path::new(""), &["path", "none is given"]);
    expect(scratch().path(), &["holds no PNG, JPEG or WebP files"]);
}

#[test]
fn cifar_archives_that_are_damaged() {
    let folder = scratch();
    let path = folder.path().join("cifar.tar.gz");
    for name in ["cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"] {
        let whole = fs::read(fixture(name)).unwrap();
        // Cut short anywhere, and with a wrong checksum at its end.
        for len in [10, 100, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            expect(&path, &["cifar.tar.gz"]);
        }
        let mut changed = whole.clone();
        let at = changed.len() - 8;
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        expect(&path, &["cifar.tar.gz", "corrupt gzip stream"]);
    }
    fs::write(&path, b"no archive at all").unwrap();
    expect(&path, &["invalid gzip header"]);
    fs::write(&path, gzip(b"no archive at all")).unwrap();
    expect(&path, &["cifar.tar.gz"]);

    let tar = gunzip(&fixture("cifar-10-binary.tar.gz"));
    let rewrite = |change: &dyn Fn(&str, &mut Vec<u8>) -> bool| {
        let mut out = tar::Builder::new(Vec::new());
        for entry in tar::Archive::new(&tar[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            if change(&name, &mut bytes) {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_cksum();
                out.append_data(&mut header, &name, &bytes[..]).unwrap();
            }
        }
        fs::write(&path, gzip(&out.into_inner().unwrap())).unwrap();
    };
    let third = |name: &str| name.contains("data_batch_3");
    rewrite(&|name, _| !third(name));
    expect(&path, &["data_batch_3.bin: it is missing"]);
    rewrite(&|name, bytes| {
        bytes.truncate(if third(name) { 3073 + 5 } else { bytes.len() });
        true
    });
    expect(&path, &["data_batch_3.bin: record 1 is cut off"]);
    rewrite(&|name, bytes| {
        if third(name) {
            bytes[2 * 3073] = 10;
        }
        true
    });
    expect(&path, &["data_batch_3.bin: record 2: label 10; allowed are 0 to 9"]);
    // A megabyte that unpacks to more than any batch has.
    rewrite(&|name, bytes| {
        bytes.resize(if third(name) { 80 << 20 } else { bytes.len() }, 0);
        true
    });
    assert!(fs::metadata(&path).unwrap().len() < 1 << 20);
    expect(&path, &["data_batch_3.bin", "a batch has fewer"]);
}

#[test]
fn pickles_that_are_damaged_or_hostile() {
    let folder = copy("downsampled-pickle");
    let batch = folder.path().join("train_data_batch_2");
    let whole = fs::read(&batch).unwrap();
    fs::write(&batch, b"cos\nsystem\n(S'echo hello'\ntR.").unwrap();
    expect(folder.path(), &["train_data_batch_2", "`os.system`"]);
    for len in [0, 5, 60, whole.len() / 2, whole.len() - 1] {
        fs::write(&batch, &whole[..len]).unwrap();
        expect(folder.path(), &["train_data_batch_2"]);
    }
    // A label of 334 becomes 5,000.
    let at = whole.windows(3).position(|three| three == b"M\x4e\x01").unwrap();
    let mut changed = whole.clone();
    changed[at + 1..at + 3].copy_from_slice(&5000u16.to_le_bytes());
    fs::write(&batch, &changed).unwrap();
    expect(folder.path(), &["train_data_batch_2: record 0: label 5000; allowed are 1 to 1000"]);
    // One label fewer than images: the program that appends three now appends two.
    let mut changed = whole.clone();
    changed.drain(at..at + 3);
    fs::write(&batch, &changed).unwrap();
    expect(folder.path(), &["train_data_batch_2"]);
    fs::remove_file(&batch).unwrap();
    fs::copy(folder.path().join("val_data"), folder.path().join("train_data_batch_3")).unwrap();
    expect(folder.path(), &["train_data_batch_3", "train_data_batch_2 is missing"]);
}

#[test]
fn numpy_archives_that_are_damaged() {
    let folder = scratch();
    let path = folder.path().join("a.npz");
    let images = npy("|u1", "(2, 2, 2)", &[7; 8]);
    let labels = |numbers: &[i64]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        npy("<i8", &format!("({},)", numbers.len()), &bytes)
    };
    for (entries, part) in [
        (vec![("arr_1.npy", labels(&[0, 1]))], "holds no array of images"),
        (vec![("arr_0.npy", npy("|u1", "(2, 2, 2)", &[7; 7]))], "arr_0.npy: row 1 of 2 is cut off"),
        (vec![("arr_0.npy", npy("|u1", "(2, 2, 2)", &[7; 9]))], "bytes follow the array"),
        (vec![("arr_0.npy", npy("<f4", "(2, 2, 2)", &[0; 32]))], "type '<f4'"),
        (vec![("arr_0.npy", npy("<i8", "(2, 2, 2)", &[0; 64]))], "images are u8"),
        (vec![("arr_0.npy", npy("|u1", "(2, 8)", &[0; 16]))], "images are u8, N x height"),
        (vec![("arr_0.npy", npy("|u1", "(0, 2, 2)", &[]))], "there are no images"),
        // Announced: a petabyte in each image; there: four bytes.
        (vec![("arr_0.npy", npy("|u1", "(2, 33554432, 33554432)", &[0; 4]))], "row 0 of 2 is cut off"),
        (
            vec![("arr_0.npy", images.clone()), ("arr_1.npy", labels(&[0]))],
            "labels of shape [1] for 2 images",
        ),
        (
            vec![("arr_0.npy", images.clone()), ("arr_1.npy", labels(&[0, -1]))],
            "arr_1.npy: record 1: label -1",
        ),
        (vec![("arr_0.npy", images.clone()), ("arr_1.npy", labels(&[70_000, 1]))], "record 0: label 70000"),
        (vec![("arr_0.npy", images), ("arr_1.npy", npy("|O", "(2,)", b"\x80\x04N."))], "type '|O'"),
    ] {
        let entries: Vec<(&str, &[u8])> = entries.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
        zipped(&path, &entries);
        expect(&path, &["a.npz", part]);
    }
    let whole = fs::read(fixture("keras.npz")).unwrap();
    for len in [0, 30, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        expect(&path, &["a.npz"]);
    }
    // A changed byte of the data is found by the archive's checksum.
    zipped(&path, &[("arr_0.npy", &npy("|u1", "(2, 16, 16)", &[7; 512]))]);
    let mut stored = ZipWriter::new(File::create(&path).unwrap());
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    stored.start_file("arr_0.npy", options).unwrap();
    stored.write_all(&npy("|u1", "(2, 16, 16)", &[7; 512])).unwrap();
    stored.finish().unwrap();
    let mut changed = fs::read(&path).unwrap();
    changed[300] ^= 1;
    fs::write(&path, changed).unwrap();
    expect(&path, &["arr_0.npy"]);
}

#[test]
fn idx_files_that_are_damaged() {
    let folder = copy("idx");
    let images = folder.path().join("t10k-images-idx3-ubyte");
    let labels = folder.path().join("t10k-labels-idx1-ubyte");
    let (whole, whole_labels) = (fs::read(&images).unwrap(), fs::read(&labels).unwrap());
    for (bytes, part) in [
        (whole[..whole.len() - 1].to_vec(), "image 1 of 2: it is cut off"),
        ([&whole[..], b"x"].concat(), "bytes follow its 2 records"),
        (whole[..7].to_vec(), "its header"),
        ([b"\0\0\x0d\x03", &whole[4..]].concat(), "it begins with"),
        // 4,294,967,295 rows in an image.
        ([&whole[..8], &[255; 4], &whole[12..]].concat(), "images of 4294967295x7x1"),
        ([&whole[..8], &[0; 4], &whole[12..]].concat(), "images of 0x7x1"),
    ] {
        fs::write(&images, bytes).unwrap();
        expect(folder.path(), &["t10k-images-idx3-ubyte", part]);
    }
    fs::write(&images, &whole).unwrap();
    for (bytes, part) in [
        (whole_labels[..9].to_vec(), "label 1 of 2 is cut off"),
        ([&whole_labels[..4], &[0, 0, 0, 3], &[0; 3][..]].concat(), "3 labels, and"),
        ([b"\0\0\x08\x03", &whole_labels[4..]].concat(), "labels begin with"),
    ] {
        fs::write(&labels, bytes).unwrap();
        expect(folder.path(), &["t10k-labels-idx1-ubyte", part]);
    }
    fs::write(&labels, &whole_labels).unwrap();
    let train = folder.path().join("train-images-idx3-ubyte.gz");
    let whole = fs::read(&train).unwrap();
    fs::write(&train, &whole[..whole.len() - 4]).unwrap();
    expect(folder.path(), &["train-images-idx3-ubyte.gz"]);
    // Two images announced by a thousand; the memory of a thousand is not taken.
    let mut announced = gunzip(&fixture("idx/train-images-idx3-ubyte.gz"));
    announced[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    fs::write(&train, gzip(&announced)).unwrap();
    expect(folder.path(), &["6 labels", "announces 4294967295 images"]);
}

#[test]
fn archives_of_images_that_are_damaged_or_hostile() {
    let folder = scratch();
    let path = folder.path().join("a.zip");
    let image = fs::read(fixture("kinds/colour.png")).unwrap();
    let other = fs::read(fixture("resized/0.png")).unwrap();
    let json = |text: &str| text.as_bytes().to_vec();
    for (entries, part) in [
        (vec![("../evil.png", image.clone())], "\"../evil.png\" leads out of the archive"),
        (vec![("a/../../evil.png", image.clone())], "leads out of the archive"),
        (vec![("C:\\evil.png", image.clone())], "leads out of the archive"),
        (vec![("a.txt", image.clone())], "there are no images"),
        (vec![("a.png", image[..image.len() - 20].to_vec())], "a.zip: a.png: no PNG, JPEG or WebP"),
        (
            vec![("a.png", image.clone()), ("b.png", other)],
            "b.png: it is of 16x16x3, and those before it are of 3x4x3",
        ),
        (
            vec![("a.png", image.clone()), ("dataset.json", json("{\"labels\": [[\"a.png\", -3]]}"))],
            "label -3",
        ),
        (
            vec![("a.png", image.clone()), ("dataset.json", json("{\"labels\": []}"))],
            "no label for \"a.png\"",
        ),
        (vec![("a.png", image.clone()), ("dataset.json", json("{\"labels\": "))], "dataset.json: EOF"),
        // A megabyte or so that unpacks to far more than any image file has.
        (vec![("a.png", vec![0; 64 << 20])], "a.png: it unpacks to 33554432 bytes or more"),
    ] {
        let entries: Vec<(&str, &[u8])> = entries.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
        zipped(&path, &entries);
        expect(&path, &["a.zip", part]);
    }
    let whole = fs::read(fixture("edm.zip")).unwrap();
    for len in [0, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        expect(&path, &["no ZIP file that can be read"]);
    }
}

#[test]
fn folders_with_images_that_do_not_fit() {
    let folder = scratch();
    let put = |name: &str, from: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(fixture(from), path).unwrap();
    };
    put("a/1.png", "kinds/grey.png");
    put("a/2.png", "kinds/colour.png");
    put("3.png", "kinds/grey.png");
    expect(folder.path(), &["1.png: it has a label, and those before it have none"]);
    fs::remove_file(folder.path().join("3.png")).unwrap();
    put("a/4.png", "resized/1.png");
    expect(folder.path(), &["4.png: it is of 40x23x3"]);
    put("a/0.jpg", "folder/readme.txt");
    expect(folder.path(), &["0.jpg: no PNG, JPEG or WebP"]);
    let cut = fs::read(fixture("jpeg/colour.jpg")).unwrap();
    fs::write(folder.path().join("a/0.jpg"), &cut[..cut.len() / 2]).unwrap();
    expect(folder.path(), &["0.jpg", "JPEG"]);

    let settings = |change: &dyn Fn(&mut SourceConfig)| {
        let mut config = SourceConfig { path: fixture("folder"), ..SourceConfig::default() };
        change(&mut config);
        complaint_of(config)
    };
    for (said, part) in [
        (settings(&|c| c.channels = Some(2)), "channels is 2; allowed: 1 or 3"),
        (settings(&|c| c.resolution = Some(0)), "resolution is 0; allowed: 1 to"),
        (settings(&|c| c.held_out = Some(5)), "5 of 5 images leave none to train on; allowed: at most 4"),
        (
            settings(&|c| {
                c.path = fixture("idx");
                c.resolution = Some(4);
            }),
            "resolution: ",
        ),
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn prepared_folders_that_were_changed() {
    let scratch = scratch();
    let out = scratch.path().join("set");
    let source = SourceConfig { path: fixture("cifar-10-binary.tar.gz"), ..SourceConfig::default() };
    prepare(&PrepareOptions { source, out: out.clone(), shard_bytes: 7000, strict: false }, &mut |_| ())
        .unwrap();
    let open = || {
        let config = PreparedConfig { path: out.clone(), ..PreparedConfig::default() };
        DatasetConfig::Prepared(config).build(Split::Train)
    };
    let index = fs::read_to_string(out.join("index.json")).unwrap();
    for (from, to, part) in [
        ("\"format\": 2", "\"format\": 3", "format 3, and 2 is known"),
        ("\"format\": 2", "\"format\": 1", "format 1, and 2 is known: prepare the set again"),
        ("\"format\": 2", "\"formt\": 2", "formt"),
        ("\"sum_of_squares\": ", "\"sum_of_squares\": 1", "its own BLAKE3 hash does not match"),
        ("airplane", "aeroplane", "its own BLAKE3 hash does not match"),
        ("\"height\": 32", "\"height\":  32", "its own BLAKE3 hash does not match"),
        ("\"images\": 15", "\"images\": 17", "8 shards for 17 images"),
        ("\"images\": 15", "\"images\": 16", "train-00007.u8 has 3072 bytes, and its images take 6144"),
        ("\"height\": 32", "\"height\": 0", "images of no or too large a size"),
        ("\"height\": 32", "\"height\": 9000000000000000000", "images of no or too large a size"),
        ("train-00003.u8", "../train-00003.u8", "is no name of a file of it"),
        ("train-00003.u8", "train-00099.u8", "train-00099.u8: No such file"),
    ] {
        fs::write(out.join("index.json"), index.replacen(from, to, 1)).unwrap();
        let said = open().err().unwrap().to_string();
        assert!(said.contains("index.json") && said.contains(part), "{said}");
    }
    fs::write(out.join("index.json"), &index).unwrap();
    assert!(open().is_ok() && verify(&out).is_ok());

    let shard = out.join("train-00003.u8");
    let bytes = fs::read(&shard).unwrap();
    let mut changed = bytes.clone();
    changed[100] ^= 1;
    fs::write(&shard, changed).unwrap();
    let said = verify(&out).err().unwrap().to_string();
    assert!(said.contains("train-00003.u8: its BLAKE3 hash is"), "{said}");
    // Cut short while it is open: an error that names the image, and no signal that ends the process.
    fs::write(&shard, &bytes).unwrap();
    let data = open().unwrap();
    File::options().write(true).open(&shard).unwrap().set_len(5000).unwrap();
    let said = data.images(&[7]).err().unwrap().to_string();
    assert!(said.contains("train-00003.u8: image 1"), "{said}");
    let said = open().err().unwrap().to_string();
    assert!(said.contains("train-00003.u8 has 5000 bytes, and 6144 are expected"), "{said}");
    fs::write(&shard, &bytes).unwrap();
    let labels = out.join("train.labels");
    let mut changed = fs::read(&labels).unwrap();
    changed[4] = 10;
    fs::write(&labels, changed).unwrap();
    let said = open().err().unwrap().to_string();
    assert!(said.contains("train.labels: its BLAKE3 hash is"), "{said}");
}

#[cfg(feature = "hub")]
mod parquet_files {
    use super::*;
    use std::panic::catch_unwind;

    fn broken(name: &str) -> PathBuf {
        fixture("parquet-broken").join(format!("{name}.parquet"))
    }

    #[test]
    fn that_hold_what_no_data_set_should() {
        for (name, parts) in [
            ("label", &["label.parquet: row 2", "label 3; allowed are 0 to 2"][..]),
            ("negative-label", &["row 2", "label -1"]),
            ("no-label", &["row 2", "no value"]),
            ("no-image", &["row 2", "no value"]),
            ("no-bytes", &["row 2", "no value"]),
            ("no-picture", &["row 2", "no PNG, JPEG or WebP"]),
            ("other-size", &["row 2", "6x5x3"]),
            ("bomb", &["row 2", "a file of more than 33554432 bytes"]),
            ("no-column", &["no column of image files is called image or img; there are picture, label"]),
            ("list", &["no column of image files"]),
            ("empty", &["there are no images"]),
        ] {
            expect(&broken(name), parts);
        }
        expect(&fixture("parquet-broken"), &["parquet-broken"]);
    }

    #[test]
    fn that_are_cut_off_or_changed() {
        let folder = scratch();
        let path = folder.path().join("x.parquet");
        for name in ["parquet/none.parquet", "parquet/data/train-00000-of-00002.parquet"] {
            let whole = fs::read(fixture(name)).unwrap();
            for len in [0, 4, 11, whole.len() / 3, whole.len() - 9, whole.len() - 1] {
                fs::write(&path, &whole[..len]).unwrap();
                expect(&path, &["x.parquet"]);
            }
            // No byte that is changed makes it panic or take memory without end, whatever becomes of the images.
            for at in 0..whole.len() {
                for mask in [0x01, 0x80, 0xff] {
                    let mut changed = whole.clone();
                    changed[at] ^= mask;
                    // A name of its own: what was read last is remembered by its path.
                    let path = folder.path().join(format!("{at}-{mask}.parquet"));
                    fs::write(&path, &changed).unwrap();
                    let source = SourceConfig { path: path.clone(), ..SourceConfig::default() };
                    let read = catch_unwind(|| DatasetConfig::Source(source).build(Split::Train).map(|_| ()));
                    fs::remove_file(&path).unwrap();
                    assert!(read.is_ok(), "{name}: byte {at} changed by {mask:#x}");
                }
            }
        }
    }
}
