//! Files of every kind, against what Pillow makes of them (`scripts/parity/jpeg.py`), and files that are damaged.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use cm_jpeg::{JpegError, decode};
use proptest::prelude::*;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end == "jpg")).collect();
    files.sort();
    files
}

/// Height, width, channels and values of a PNG file.
fn png(path: &Path) -> (usize, usize, usize, Vec<u8>) {
    let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
    let mut values = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut values).unwrap();
    (frame.height as usize, frame.width as usize, frame.color_type.samples(), values)
}

#[test]
fn every_kind_has_the_pixels_of_libjpeg_turbo() {
    let files = fixtures();
    assert!(files.len() > 30, "{}", files.len());
    for path in files {
        let found = decode(&fs::read(&path).unwrap(), 1 << 20)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (height, width, channels, values) = png(&path.with_extension("png"));
        assert_eq!(
            (found.height, found.width, found.channels),
            (height, width, channels),
            "{}",
            path.display()
        );
        let differing = found.values.iter().zip(&values).filter(|(a, b)| a != b).count();
        assert_eq!(differing, 0, "{}: of {} values", path.display(), values.len());
    }
}

/// Cut anywhere, a file is no picture.
#[test]
fn a_file_that_is_cut_is_an_error_wherever_it_is_cut() {
    for name in ["baseline-420", "progressive-422", "restarts", "cmyk"] {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name).with_extension("jpg");
        let file = fs::read(path).unwrap();
        for length in 0..file.len() {
            assert!(decode(&file[..length], 1 << 20).is_err(), "{name} cut to {length} of {}", file.len());
        }
    }
}

#[test]
fn what_is_not_read_is_said_by_name() {
    let told = |bytes: &[u8]| decode(bytes, 1 << 20).unwrap_err();
    assert_eq!(told(b"GIF89a"), JpegError::Damaged("it does not begin as a JPEG does"));
    let frame =
        |marker: u8| [&[0xff, 0xd8, 0xff, marker, 0, 11][..], &[8, 0, 9, 0, 9, 1, 1, 0x11, 0]].concat();
    assert!(told(&frame(0xc9)).to_string().contains("arithmetic"));
    assert!(told(&frame(0xc3)).to_string().contains("lossless"));
    // A picture of 60,000 x 60,000 pixels is refused before anything of its size is made.
    let large = [0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, 0xea, 0x60, 0xea, 0x60, 1, 1, 0x11, 0];
    assert_eq!(told(&large), JpegError::TooLarge { height: 60_000, width: 60_000, most: 1 << 20 });
    // A frame without a scan.
    assert!(told(&[&frame(0xc0)[..], &[0xff, 0xd9]].concat()).to_string().contains("no picture"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever is changed in a file: a picture of the size it says, or an error.
    #[test]
    fn changed_bytes_never_end_in_a_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let files = fixtures();
        let mut file = fs::read(which.get(&files)).unwrap();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Ok(picture) = decode(&file, 1 << 16) {
            prop_assert_eq!(picture.values.len(), picture.height * picture.width * picture.channels);
        }
    }
}
