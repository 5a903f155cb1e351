//! What a study is made from, exchanged under it.

use crate::util::{expect, root, scratch};
use std::fs;

/// Data prepared from a source of which one byte is another, under the path of the study's.
#[test]
fn data_that_were_exchanged_under_a_study_are_told() {
    let folder = scratch(
        "(base: (
            dataset: Prepared(path: \"data\"),
            network: UNet(channels: 8, multipliers: [1], blocks: 1, attention: []),
            method: Training, teacher: None,
            consistency: (init: Random, train: (total_images: 8, batch: 2, ema: [PerStep(0.9)]),
                curriculum: Fixed(num_levels: 4)),
            evaluation: (samples: 4, metrics: [SlicedWasserstein]),
            logging: (residual_images: None, grid: 4, checkpoint_images: 4)))",
    );
    let cm = |arguments: &[&str], code: i32| expect(folder.path(), arguments, code);
    let source = root().join("crates/cm-datasets/tests/fixtures/cifar-10-binary.tar.gz");
    let prepare = || cm(&["dataset", "prepare", source.to_str().unwrap(), "--out", "data"], 0);
    let data = folder.path().join("data");
    prepare();
    // An image that was changed is told at the start, not trained on.
    let shard = data.join("train-00000.u8");
    let good = fs::read(&shard).unwrap();
    let mut changed = good.clone();
    changed[100] ^= 1;
    fs::write(&shard, &changed).unwrap();
    let (_, told) = cm(&["run", "study.ron", "--out", "refused"], 2);
    assert!(told.contains("data/train-00000.u8: its BLAKE3 hash"), "{told}");
    fs::write(&shard, &good).unwrap();
    cm(&["run", "study.ron"], 0);
    // The same data, prepared again, are the same; the last byte of a hash is that of others.
    fs::remove_dir_all(&data).unwrap();
    prepare();
    let (printed, _) = cm(&["run", "study.ron"], 0);
    assert!(printed.contains("was run before"), "{printed}");
    let labels = data.join("train.labels");
    let mut bytes = fs::read(&labels).unwrap();
    bytes.swap(0, 4);
    fs::write(&labels, bytes).unwrap();
    let (_, told) = cm(&["dataset", "verify", "data"], 2);
    assert!(told.contains("data/train.labels: its BLAKE3 hash"), "{told}");
    let index = data.join("index.json");
    let text = fs::read_to_string(&index).unwrap();
    fs::write(&index, text.replacen("airplane", "aeroplane", 1)).unwrap();
    for command in [&["run", "study.ron"][..], &["resume", "runs/study"], &["verify", "runs/study"]] {
        let (_, told) = cm(command, 2);
        assert!(told.contains("index.json"), "{command:?}: {told}");
    }
}

#[test]
fn a_teachers_file_that_was_exchanged_under_a_stopped_study_is_told() {
    let weights = root().join("tests/fixtures/parity/ddpmpp-tiny.pt");
    let folder = scratch(
        "(base: (dataset: Digits(), network: UNet(channels: 8, multipliers: [1, 2], blocks: 1, attention: [4]),
            teacher: File(path: \"w.safetensors\"),
            consistency: (train: (total_images: 64, batch: 16, ema: [PerStep(0.9)]), curriculum: Fixed(num_levels: 6)),
            evaluation: (samples: 16, metrics: [Frechet], teacher: (levels: 3)),
            logging: (residual_images: None, grid: 4, checkpoint_images: 32)))",
    );
    let cm = |arguments: &[&str], code: i32| expect(folder.path(), arguments, code);
    let weights = weights.to_str().unwrap();
    cm(&["import", weights, "--size", "8", "--precondition", "edm", "--out", "w.safetensors"], 0);
    cm(&["run", "study.ron"], 0);
    fs::remove_file(folder.path().join("runs/study/report.csv")).unwrap();
    let path = folder.path().join("w.safetensors");
    let good = fs::read(&path).unwrap();
    let mut other = good.clone();
    *other.last_mut().unwrap() ^= 1;
    fs::write(&path, other).unwrap();
    let (_, told) = cm(&["resume", "runs/study"], 2);
    assert!(told.contains("w.safetensors has changed since the study in runs/study"), "{told}");
    fs::write(&path, good).unwrap();
    cm(&["resume", "runs/study"], 0);
}
