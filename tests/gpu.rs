//! The whole program on a GPU, of which the driver is a stand-in that runs the kernels on the CPU. Where there is no C++
//! compiler the tests say so and pass.

/// What a step launches and what crosses, and the script for the first card.
mod cost;
/// Stopped, killed, moved, out of memory.
mod endings;
/// Products by cuBLASLt and cuDNN, timed, kept, and computed again.
mod products;

use crate::util::{cm, expect, ring, scratch};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The stand-in's libraries, and what else a process with it is told.
pub(crate) struct Standin {
    libraries: PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl Standin {
    /// `None`, said, where there is no C++ compiler.
    pub(crate) fn new() -> Option<Self> {
        // Tests side by side would build the same files.
        static LIBRARIES: OnceLock<Option<PathBuf>> = OnceLock::new();
        let libraries = LIBRARIES.get_or_init(cm_gpu::standin::library_folder).clone()?;
        Some(Self { libraries, variables: Vec::new() })
    }

    /// The same with stand-ins for cuBLASLt and cuDNN.
    pub(crate) fn with_products(&self) -> Option<Self> {
        static LIBRARIES: OnceLock<Option<PathBuf>> = OnceLock::new();
        let libraries = LIBRARIES.get_or_init(cm_gpu::standin::library_folder_with_products).clone()?;
        Some(Self { libraries, variables: self.variables.clone() })
    }

    /// The same with a variable of the stand-in set.
    pub(crate) fn with(&self, name: &'static str, value: impl ToString) -> Self {
        let set = [(name, value.to_string())];
        Self {
            libraries: self.libraries.clone(),
            variables: self.variables.iter().cloned().chain(set).collect(),
        }
    }

    /// `--device cuda` and all that a process needs to find the stand-in; compiled kernels are kept in the folder.
    pub(crate) fn command(&self, folder: &Path, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cm"));
        command.current_dir(folder).args(arguments).args(["--device", "cuda"]);
        self.equip(&mut command, folder);
        command
    }

    /// Lets a command find the stand-in.
    pub(crate) fn equip(&self, command: &mut std::process::Command, folder: &Path) {
        command.env("LD_LIBRARY_PATH", &self.libraries).env("XDG_CACHE_HOME", folder.join("cache"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
    }

    /// The exit code of a command on the GPU, and what it printed.
    pub(crate) fn run(&self, folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(folder, arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    }

    /// What a command on the GPU printed that must end well.
    pub(crate) fn succeed(&self, folder: &Path, arguments: &[&str]) -> String {
        let (code, told) = self.run(folder, arguments);
        assert_eq!(code, Some(0), "{arguments:?}\n{told}");
        told
    }
}

/// A study runs on a GPU, says so in its provenance, keeps its compiled kernels, and draws what the CPU draws but for the
/// last digits; in bf16 it runs as well. The variable says what the argument says, and the argument has the last word.
#[test]
fn a_study_runs_on_a_gpu_as_on_the_cpu() {
    let Some(standin) = Standin::new() else { return };
    let folder = scratch(&ring(256, ""));
    let mut devices = cm(folder.path());
    devices.arg("devices").env("LD_LIBRARY_PATH", &standin.libraries);
    let told = String::from_utf8(devices.output().unwrap().stdout).unwrap();
    assert!(told.contains("cuda:0  host fibers, compute capability 9.0"), "{told}");
    standin.succeed(folder.path(), &["run", "study.ron", "--out", "gpu"]);
    let cpu = standin.with("CM_DEVICE", "cuda");
    let mut on_cpu = std::process::Command::new(env!("CARGO_BIN_EXE_cm"));
    on_cpu.current_dir(folder.path()).args(["run", "study.ron", "--out", "cpu", "--device", "cpu"]);
    cpu.equip(&mut on_cpu, folder.path());
    assert!(on_cpu.output().unwrap().status.success());
    let run = |place: &str| folder.path().join(place).join("study/base/seed-0");
    let device = |place: &str| {
        let provenance = fs::read_to_string(run(place).join("provenance.ron")).unwrap();
        provenance.split_once("device: \"").unwrap().1.split_once('"').unwrap().0.to_owned()
    };
    assert_eq!((device("gpu").as_str(), device("cpu").as_str()), ("cuda:0 host fibers, F32", "cpu, F32"));
    let kept = || {
        let files = fs::read_dir(folder.path().join("cache/cm/kernels")).unwrap();
        let mut names: Vec<_> = files.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let of_first = kept();
    assert!(!of_first.is_empty());
    standin.with("CM_GRAPHS", "off").succeed(folder.path(), &["run", "study.ron", "--out", "again"]);
    assert_eq!(kept(), of_first, "nothing is compiled twice");
    let scores = |place: &str| fs::read(run(place).join("scores.csv")).unwrap();
    assert_eq!(scores("again"), scores("gpu"), "the same bits, launch by launch or in rows");
    let losses = |place: &str| -> Vec<f64> {
        let text = fs::read_to_string(run(place).join("curves.csv")).unwrap();
        let loss = |line: &str| line.split_once("student/loss,").map(|(_, value)| value.parse().unwrap());
        text.lines().filter_map(loss).collect()
    };
    let (cpu, gpu) = (losses("cpu"), losses("gpu"));
    assert!(!cpu.is_empty() && cpu.len() == gpu.len(), "{cpu:?} {gpu:?}");
    assert!(cpu.iter().zip(&gpu).all(|(a, b)| (a - b).abs() <= 1e-3 * a.abs()), "{cpu:?} {gpu:?}");
    let narrow = ["run", "study.ron", "--out", "narrow", "--set", "base.precision=Bf16"];
    standin.succeed(folder.path(), &narrow);
    assert_eq!(device("narrow"), "cuda:0 host fibers, Bf16");
}

/// A sweep's tasks were done on the CPU whatever was asked for.
#[test]
fn the_tasks_of_a_sweep_are_done_where_it_says() {
    let Some(standin) = Standin::new() else { return };
    let folder = scratch(&ring(64, ""));
    expect(folder.path(), &["sweep", "plan", "study.ron"], 0);
    standin.succeed(folder.path(), &["sweep", "run", "sweeps/study", "--jobs", "1"]);
    let mut provenances = Vec::new();
    let mut folders = vec![folder.path().join("sweeps")];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.ends_with("provenance.ron") => {
                    provenances.push(fs::read_to_string(path).unwrap());
                }
                false => {}
            }
        }
    }
    assert!(!provenances.is_empty());
    assert!(provenances.iter().all(|text| text.contains("device: \"cuda:0 host fibers, F32\"")));
    let (code, told) = standin.run(folder.path(), &["sweep", "run", "sweeps/study", "--engine", "parallel"]);
    assert!(code == Some(2) && told.contains("CM_DEVICE"), "{told}");
}

/// Tangent rules are the CPU's: a study that asks for them is wrong input on a GPU, and nothing of it is begun.
#[test]
fn forward_mode_is_refused_on_a_gpu() {
    let Some(standin) = Standin::new() else { return };
    let arms = "arms: Star([
        (name: \"central\", changes: [Method(ContinuousTraining()), Curriculum(Fixed())]),
        (name: \"forward\", changes: [Method(ContinuousTraining(tangent: Forward)), Curriculum(Fixed())]),
    ]),";
    let folder = scratch(&ring(64, arms));
    let (code, told) = standin.run(folder.path(), &["run", "study.ron", "--out", "gpu"]);
    assert_eq!(code, Some(2), "{told}");
    for part in ["arm forward: tangent", "on the CPU only", "Central(..)"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("arm central") && !folder.path().join("gpu/study").exists(), "{told}");
    let (plan, _) = expect(folder.path(), &["plan", "study.ron"], 0);
    assert!(plan.contains("// arm forward: derivatives in forward mode, on the CPU only"), "{plan}");
}

/// A study of digits by a network so small that the stand-in computes it.
const DIGITS: &str = "(
    question: \"does it run?\",
    base: (
        dataset: Digits(),
        network: UNet(channels: 4, multipliers: [1, 1], blocks: 1, attention: [4], dropout: 0.1),
        teacher: None,
        method: Training,
        consistency: (
            train: (total_images: 32, batch: 8, ema: [PerStep(0.9)]),
            init: Random,
            curriculum: Fixed(num_levels: 4),
        ),
        evaluation: (samples: 16, metrics: [Frechet]),
        logging: (record_images: 16, grid: 4),
    ),
)";

/// The bytes of pixels in an npz that was not compressed, from its first array's header on.
fn pixels(path: &Path, count: usize) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let start = bytes.windows(6).position(|at| at == b"\x93NUMPY").unwrap();
    let header = usize::from(bytes[start + 8]) + 256 * usize::from(bytes[start + 9]);
    bytes[start + 10 + header..][..count].to_vec()
}

/// A model of the CPU is sampled, edited, denoised with and judged on a GPU as on the CPU: pixels differ by one step of 255
/// at most, and scores by their fourth digit.
#[test]
fn what_is_done_with_a_model_agrees_with_the_cpu() {
    let Some(standin) = Standin::new() else { return };
    let folder = scratch(DIGITS);
    let at = folder.path();
    expect(at, &["run", "study.ron", "--out", "."], 0);
    let model = "study/base/seed-0";
    let sample = ["sample", model, "--count", "16", "--times", "2.0", "--out"];
    let edit = ["edit", "interpolate", "--model", model, "--steps", "3", "--out"];
    let evaluate = ["evaluate", "--samples", "cpu-s/samples.npz", "--reference", "gpu-s/samples.npz"];
    let how = ["--features", "classifier", "--metrics", "frechet", "--out"];
    let evaluate = [&evaluate[..], &how[..]].concat();
    for (arguments, out) in [(&sample[..], "s"), (&edit[..], "e"), (&evaluate[..], "v")] {
        for place in ["cpu", "gpu"] {
            let out = format!("{place}-{out}");
            let arguments = [arguments, &[out.as_str()]].concat();
            match place {
                "gpu" => drop(standin.succeed(at, &arguments)),
                _ => drop(expect(at, &arguments, 0)),
            }
        }
    }
    let count = 16 * 64;
    let (cpu, gpu) =
        (pixels(&at.join("cpu-s/samples.npz"), count), pixels(&at.join("gpu-s/samples.npz"), count));
    let worst = cpu.iter().zip(&gpu).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst <= Some(1) && cpu.iter().any(|value| *value != cpu[0]), "{worst:?}");
    let names = |place: &str| {
        let mut names: Vec<_> =
            fs::read_dir(at.join(place)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("cpu-e"), names("gpu-e"));
    let frechet = |place: &str| -> f64 {
        let card = fs::read_to_string(at.join(place).join("evaluation.json")).unwrap();
        let card: serde_json::Value = serde_json::from_str(&card).unwrap();
        card["metrics"][0]["value"].as_f64().unwrap()
    };
    let (cpu, gpu) = (frechet("cpu-v"), frechet("gpu-v"));
    assert!((cpu - gpu).abs() <= 1e-4 * cpu.abs().max(1e-2), "{cpu} {gpu}");
}
