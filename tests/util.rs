//! What the tests share: the repository's root, the `cm` command, small studies, golden files.

use assert_cmd::Command;
use std::fs;
use std::path::{Path, PathBuf};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The program under test, working in `folder`.
pub(crate) fn cm(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cm"));
    command.current_dir(folder);
    command
}

/// Standard output and error of `cm` with these arguments, which must end with `code`.
pub(crate) fn expect(folder: &Path, arguments: &[&str], code: i32) -> (String, String) {
    let output = cm(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

/// A folder that goes away with its value, with the study `text` in `study.ron`.
pub(crate) fn scratch(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("study.ron"), text).unwrap();
    folder
}

/// A study of a second: an eight-component ring, its exact denoiser as teacher, and a small network. `images` is the
/// length of each run and `more` goes into the study, such as its seeds and arms.
pub(crate) fn ring(images: u64, more: &str) -> String {
    format!(
        "(
    question: \"does it run?\",
    base: (
        dataset: GaussianMixture(train_len: 256, test_len: 128),
        network: Mlp(width: 16, blocks: 1),
        teacher: Exact,
        consistency: (
            train: (total_images: {images}, batch: 32, ema: [PerStep(0.9)]),
            init: Random,
            curriculum: Fixed(num_levels: 6),
        ),
        evaluation: (samples: 64, metrics: [SlicedWasserstein, ModeWeights], teacher: (levels: 4)),
        logging: (record_images: 64, checkpoint_images: 256, grid: 4),
    ),
    {more}
)
"
    )
}

/// Compares `actual` with `tests/golden/NAME`, or writes it there if `UPDATE_GOLDEN` is 1.
pub(crate) fn golden(name: &str, actual: &str) {
    let path = root().join("tests/golden").join(name);
    if std::env::var("UPDATE_GOLDEN").is_ok_and(|update| update == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        actual == expected,
        "{name} differs from its golden file; set UPDATE_GOLDEN=1 if that is right\n--- expected\n{expected}\n--- \
         actual\n{actual}"
    );
}
