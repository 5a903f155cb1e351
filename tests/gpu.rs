//! The whole program on a GPU, of which the driver is a stand-in that runs the kernels on the CPU. Where there is no C++
//! compiler the tests say so and pass.

use crate::util::{cm, expect, ring, scratch};
use std::fs;
use std::path::Path;

/// `cm` with a GPU; its results are told by its exit code and what it printed.
fn on_gpu(folder: &Path, libraries: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = cm(folder);
    command.args(arguments).env("CM_DEVICE", "cuda").env("LD_LIBRARY_PATH", libraries);
    let output = command.env("XDG_CACHE_HOME", folder.join("cache")).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// A study runs on a GPU, says so in its provenance, keeps its compiled kernels, and draws what the CPU draws but for the
/// last digits; in bf16 it runs as well.
#[test]
fn a_study_runs_on_a_gpu_as_on_the_cpu() {
    let Some(libraries) = cm_gpu::standin::library_folder() else { return };
    let folder = scratch(&ring(256, ""));
    let (code, told) = on_gpu(folder.path(), &libraries, &["devices"]);
    assert!(code == Some(0) && told.contains("cuda:0  host fibers, compute capability 9.0"), "{told}");
    let (code, told) = on_gpu(folder.path(), &libraries, &["run", "study.ron", "--out", "gpu"]);
    assert_eq!(code, Some(0), "{told}");
    expect(folder.path(), &["run", "study.ron", "--out", "cpu"], 0);
    let run = |place: &str| folder.path().join(place).join("study/base/seed-0");
    let provenance = fs::read_to_string(run("gpu").join("provenance.ron")).unwrap();
    assert!(provenance.contains("device: \"cuda:0 host fibers, F32\""), "{provenance}");
    let kept = || {
        let files = fs::read_dir(folder.path().join("cache/cm/kernels")).unwrap();
        let mut names: Vec<_> = files.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let of_first = kept();
    assert!(!of_first.is_empty());
    let (code, told) = on_gpu(folder.path(), &libraries, &["run", "study.ron", "--out", "again"]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(kept(), of_first, "nothing is compiled twice");
    let scores = |place: &str| fs::read(run(place).join("scores.csv")).unwrap();
    assert_eq!(scores("again"), scores("gpu"), "the same bits");
    let losses = |place: &str| -> Vec<f64> {
        let text = fs::read_to_string(run(place).join("curves.csv")).unwrap();
        let loss = |line: &str| line.split_once("student/loss,").map(|(_, value)| value.parse().unwrap());
        text.lines().filter_map(loss).collect()
    };
    let (cpu, gpu) = (losses("cpu"), losses("gpu"));
    assert!(!cpu.is_empty() && cpu.len() == gpu.len(), "{cpu:?} {gpu:?}");
    assert!(cpu.iter().zip(&gpu).all(|(a, b)| (a - b).abs() <= 1e-3 * a.abs()), "{cpu:?} {gpu:?}");
    let narrow = ["run", "study.ron", "--out", "narrow", "--set", "base.precision=Bf16"];
    let (code, told) = on_gpu(folder.path(), &libraries, &narrow);
    assert_eq!(code, Some(0), "{told}");
    let provenance = fs::read_to_string(run("narrow").join("provenance.ron")).unwrap();
    assert!(provenance.contains("device: \"cuda:0 host fibers, Bf16\""), "{provenance}");
}

/// Tangent rules are the CPU's: a study that asks for them is wrong input on a GPU, and nothing of it is begun.
#[test]
fn forward_mode_is_refused_on_a_gpu() {
    let Some(libraries) = cm_gpu::standin::library_folder() else { return };
    let arms = "arms: Star([
        (name: \"central\", changes: [Method(ContinuousTraining()), Curriculum(Fixed())]),
        (name: \"forward\", changes: [Method(ContinuousTraining(tangent: Forward)), Curriculum(Fixed())]),
    ]),";
    let folder = scratch(&ring(64, arms));
    let (code, told) = on_gpu(folder.path(), &libraries, &["run", "study.ron", "--out", "gpu"]);
    assert_eq!(code, Some(2), "{told}");
    for part in ["arm forward: tangent", "on the CPU only", "Central(..)"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("arm central") && !folder.path().join("gpu/study").exists(), "{told}");
    let (plan, _) = expect(folder.path(), &["plan", "study.ron"], 0);
    assert!(plan.contains("// arm forward: derivatives in forward mode, on the CPU only"), "{plan}");
}
