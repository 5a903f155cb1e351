//! What happens when the disk is full, when somebody presses Ctrl-C, and when two processes make the same: an exit code
//! that says so, the file's name, and nothing half-made left behind.

/// The N-th call that fails.
#[cfg(target_os = "linux")]
mod nth;

use crate::bounds::limited;
use crate::util::{expect, ring, root, scratch};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What lies in a folder, hidden names too.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder with a finished study of digits in `study`, and files of other kinds.
fn workshop() -> tempfile::TempDir {
    let smoke = fs::read_to_string(root().join("experiments/smoke.ron")).unwrap();
    let folder = scratch(&smoke);
    expect(folder.path(), &["run", "study.ron", "--out", "."], 0);
    let parity = root().join("tests/fixtures/parity");
    let weights = parity.join("ddpmpp-tiny.pt");
    fs::copy(parity.join("ddpmpp-tiny-in.npz"), folder.path().join("in.npz")).unwrap();
    fs::write(folder.path().join("m.wasm"), b"\0asm cm_web_1_open").unwrap();
    let import = ["import", weights.to_str().unwrap(), "--size", "8", "--precondition", "edm"];
    expect(folder.path(), &[&import[..], &["--out", "w.safetensors"]].concat(), 0);
    folder
}

/// Every command that writes, on disks with room for files of 0, 512, 2048, ... bytes.
#[cfg(unix)]
#[test]
fn a_full_disk_is_named_and_nothing_half_written_stays() {
    let folder = workshop();
    let cifar = root().join("crates/cm-datasets/tests/fixtures/cifar-10-binary.tar.gz");
    let weights = root().join("tests/fixtures/parity/ddpmpp-tiny.pt");
    let (cifar, weights) = (cifar.to_str().unwrap(), weights.to_str().unwrap());
    let run = "study/cd/seed-0";
    let digits = ["--samples", "dataset:Digits()", "--reference", "dataset:Digits()", "--features", "pixels"];
    let jobs: [(&str, Vec<&str>); 14] = [
        ("o", vec!["sample", run, "--count", "300", "--threads", "1"]),
        ("o", vec!["edit", "interpolate", "--model", run]),
        ("o", vec!["dataset", "prepare", cifar]),
        ("o", [&["evaluate", "--metrics", "frechet"][..], &digits].concat()),
        ("o", vec!["sweep", "plan", "study.ron"]),
        ("o.npz", vec!["stats", "dataset:Digits()", "--features", "pixels"]),
        ("o.npz", vec!["denoise", "--weights", "w.safetensors", "--input", "in.npz"]),
        ("o.html", vec!["report", "study"]),
        ("o.pt", vec!["export", run]),
        ("o", vec!["export", run, "--format", "onnx"]),
        ("o.msgpack", vec!["export", "w.safetensors"]),
        ("o.html", vec!["export", run, "--format", "web", "--module", "m.wasm"]),
        ("o.safetensors", vec!["import", weights, "--size", "8", "--precondition", "edm"]),
        ("o.ron", vec!["search-times", run, "--points", "1", "--samples", "32", "--levels", "4"]),
    ];
    let room = tempfile::tempdir().unwrap();
    for (name, job) in jobs {
        for blocks in [0, 1, 4, 16, 64] {
            let out = room.path().join("new").join(name);
            fs::create_dir(room.path().join("new")).unwrap();
            let arguments = [&job[..], &["--out", out.to_str().unwrap()]].concat();
            let ended = limited(folder.path(), &format!("-f {blocks}"), &arguments);
            let (code, told) = (ended.status.code(), text(&ended.stderr));
            // With room for it, it is written.
            if !(blocks > 0 && code == Some(0)) {
                assert_eq!(code, Some(1), "{blocks} blocks: {job:?}\n{told}");
                // A set of data is made under a hidden name.
                let named = [name.to_owned(), format!(".{name}.partial")]
                    .map(|name| room.path().join("new").join(name).to_str().unwrap().to_owned());
                let named = named.iter().any(|path| told.contains(path));
                assert!(named, "{blocks} blocks: {job:?}\n{told}");
                let left = names(&room.path().join("new"));
                assert!(left.is_empty(), "{blocks} blocks: {job:?} left {left:?}");
            }
            fs::remove_dir_all(room.path().join("new")).unwrap();
        }
    }
}

/// A run on a full disk says which file; with room again it goes on and ends as if nothing had been.
#[cfg(unix)]
#[test]
fn a_run_on_a_full_disk_goes_on_when_there_is_room() {
    let folder = scratch(&ring(640, ""));
    let path = folder.path();
    expect(path, &["run", "study.ron", "--out", "whole", "--threads", "1"], 0);
    let report = |out: &str| fs::read(path.join(out).join("study/report.csv")).unwrap();
    for blocks in ["0", "2", "6", "12", "24"] {
        let ended =
            limited(path, &format!("-f {blocks}"), &["run", "study.ron", "--out", blocks, "--threads", "1"]);
        let told = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{blocks}: {told}");
        assert!(told.contains(&format!("{blocks}/study")), "{blocks}: {told}");
        let study = format!("{blocks}/study");
        match path.join(&study).join("plan.ron").exists() {
            true => expect(path, &["resume", &study, "--threads", "1"], 0),
            false => expect(path, &["run", "study.ron", "--out", blocks, "--threads", "1"], 0),
        };
        assert!(report(blocks) == report("whole"), "{blocks}");
    }
}

/// A source of 60,000 images, whose preparation takes some tenths of a second.
fn idx(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for (name, count) in [("train", 60_000u32), ("t10k", 100)] {
        let images = folder.join(format!("{name}-images-idx3-ubyte"));
        let mut bytes = [0x803, count, 28, 28].map(u32::to_be_bytes).concat();
        bytes.extend((0..count as usize * 784).map(|i| (i * i / 7) as u8));
        fs::write(images, bytes).unwrap();
        let mut bytes = [0x801, count].map(u32::to_be_bytes).concat();
        bytes.extend((0..count).map(|i| (i % 10) as u8));
        fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), bytes).unwrap();
    }
}

fn begun(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cm"));
    command.current_dir(folder).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// How a process ended; one that does not end is killed, and the test fails.
fn ended(mut child: Child) -> Output {
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > Duration::from_secs(120) {
            child.kill().unwrap();
            panic!("the process did not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

/// Ctrl-C during `cm dataset prepare` left a folder behind; `cm sample` and `cm evaluate` left theirs.
#[cfg(unix)]
#[test]
fn a_signal_ends_any_command_and_leaves_nothing_half_made() {
    let folder = workshop();
    idx(&folder.path().join("idx"));
    let run = "study/cd/seed-0";
    let source = "dataset:Source(path: \"idx\")";
    let jobs: [Vec<&str>; 6] = [
        vec!["sample", run, "--count", "100000000", "--out", "new/o"],
        vec!["dataset", "prepare", "idx", "--out", "new/o"],
        vec!["stats", source, "--features", "pixels", "--out", "new/o.npz"],
        vec!["search-times", run, "--points", "3", "--samples", "1000000", "--out", "new/o.ron"],
        vec!["edit", "interpolate", "--model", run, "--steps", "1000", "--out", "new/o"],
        vec!["plan", "study.ron", "--calibrate"],
    ];
    let new = folder.path().join("new");
    fs::create_dir(&new).unwrap();
    for job in &jobs {
        for (name, twice) in [("-INT", false), ("-TERM", true)] {
            let child = begun(folder.path(), job);
            std::thread::sleep(Duration::from_millis(150));
            signal(&child, name);
            if twice {
                signal(&child, name);
            }
            let output = ended(child);
            if output.status.code() == Some(0) {
                // It was faster.
                fs::remove_dir_all(&new).unwrap();
                fs::create_dir(&new).unwrap();
                continue;
            }
            // A process that did not listen yet ends by the signal itself.
            let code = output.status.code();
            assert!(matches!(code, Some(1) | None), "{job:?} {code:?}\n{}", text(&output.stderr));
            let left = names(&new);
            assert!(left.is_empty(), "{job:?} {name} left {left:?}");
        }
    }
}

/// A batch of samples of 200,000 evaluations each was not to be stopped.
#[cfg(unix)]
#[test]
fn a_signal_ends_a_run_in_the_middle_of_a_batch_of_samples() {
    let folder = scratch(&ring(64, ""));
    let levels = "base.evaluation.teacher=(method: Flow(solver: Euler), levels: 1000000)";
    let child =
        begun(folder.path(), &["run", "study.ron", "--set", levels, "--set", "base.evaluation.samples=5000"]);
    std::thread::sleep(Duration::from_millis(1500));
    signal(&child, "-TERM");
    let output = ended(child);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("stopped; continue with: cm resume runs/study"), "{told}");
}

/// Of three that began at the same moment, 13 times in 70 one called a broken set good.
#[cfg(unix)]
#[test]
fn a_set_is_prepared_by_one_process_at_a_time() {
    let folder = scratch("");
    let cifar = root().join("crates/cm-datasets/tests/fixtures/cifar-10-binary.tar.gz");
    let prepare = ["dataset", "prepare", cifar.to_str().unwrap(), "--out", "o"];
    for round in 0..10 {
        let children: Vec<Child> = (0..3).map(|_| begun(folder.path(), &prepare)).collect();
        let outputs: Vec<Output> = children.into_iter().map(ended).collect();
        let codes: Vec<Option<i32>> = outputs.iter().map(|output| output.status.code()).collect();
        assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{round}: {codes:?}");
        for output in outputs.iter().filter(|output| output.status.code() != Some(0)) {
            let told = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{told}");
            assert!(told.contains("another process") || told.contains("there already"), "{told}");
        }
        expect(folder.path(), &["dataset", "verify", "o"], 0);
        assert_eq!(names(folder.path()), ["o", "study.ron"]);
        fs::remove_dir_all(folder.path().join("o")).unwrap();
    }
}
