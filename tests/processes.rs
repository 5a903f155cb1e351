//! One training shared by several processes of one machine, which a command starts itself. `scripts/mpi` does the same with
//! those that MPI started.
#![cfg(unix)]

use crate::gpu::Standin;
use crate::reproducibility::{assert_same, results};
use crate::util::{cm, expect, ring, root, scratch};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Both trainings of `smoke.ron` cut into so many parts.
fn parts(count: usize) -> [String; 4] {
    let set = |path: &str| format!("base.{path}.train.shards={count}");
    ["--set".into(), set("teacher"), "--set".into(), set("consistency")]
}

fn smoke(at: &Path, out: &str, more: &[&str], shards: usize) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cm"));
    command.current_dir(at).arg("run").arg(root().join("experiments/smoke.ron")).args(parts(shards));
    command.args(["--threads", "1", "--out", out]).args(more);
    command
}

fn succeeds(mut command: Command) -> String {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn processes_that_a_command_starts_leave_what_one_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let alone = succeeds(smoke(at, "alone", &[], 4));
    for processes in ["2", "4"] {
        let together = succeeds(smoke(at, processes, &["--processes", processes], 4));
        assert_same(
            &results(&at.join("alone/smoke")),
            &results(&at.join(processes).join("smoke")),
            processes,
        );
        // Told once, by the first of them.
        assert_eq!(together.replace(&format!("{processes}/smoke"), "alone/smoke"), alone);
    }
}

/// The processes that `first` started, by their numbers.
fn children(first: &Child) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{0}/task/{0}/children", first.id())).unwrap_or_default();
    listed.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

fn signal(process: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
}

#[test]
fn a_process_that_is_killed_ends_all_and_the_study_goes_on_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let set = ["arms=Star([(name: \"cd\", changes: [])])", "base.logging.checkpoint_images=64"];
    let longer = ["--set", set[0], "--set", set[1], "--set", "base.consistency.train.total_images=1_280"];
    let of = |more: &[&'static str]| [&longer[..], more].concat();
    succeeds(smoke(at, "whole", &longer, 2));
    let whole = results(&at.join("whole/smoke"));
    for (out, who, by) in [("other", 1, "-KILL"), ("first", 0, "-KILL"), ("stopped", 0, "-TERM")] {
        let mut command = smoke(at, out, &of(&["--processes", "2"]), 2);
        let mut first = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let begin = Instant::now();
        let state = at.join(out).join("smoke/cd/seed-0/checkpoints");
        while !fs::read_dir(&state).is_ok_and(|mut entries| entries.next().is_some()) {
            assert!(first.try_wait().unwrap().is_none(), "{out}: it ended before its first checkpoint");
            assert!(begin.elapsed() < Duration::from_secs(120), "no checkpoint after two minutes");
            std::thread::sleep(Duration::from_millis(5));
        }
        let others = children(&first);
        if others.len() != 1 {
            // A system without /proc tells nobody's children.
            first.kill().unwrap();
            first.wait().unwrap();
            return;
        }
        signal([first.id(), others[0]][who], by);
        let output = first.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        match (out, output.status.code()) {
            ("other", Some(1)) => assert!(told.contains("process 1 of 2 is gone"), "{told}"),
            ("first", None) | ("stopped", Some(1)) => {}
            (_, code) => panic!("{out}: {code:?}\n{told}"),
        }
        // Nobody works on without the others.
        let until = Instant::now() + Duration::from_secs(60);
        while Path::new(&format!("/proc/{}", others[0])).exists() {
            assert!(Instant::now() < until, "{out}: a process works on alone");
            std::thread::sleep(Duration::from_millis(20));
        }
        let study = format!("{out}/smoke");
        expect(at, &["resume", &study, "--threads", "1", "--processes", "2"], 0);
        assert_same(&whole, &results(&at.join(&study)), out);
    }
}

#[test]
fn what_processes_cannot_share_is_refused_before_anything_is_written() {
    let folder = scratch("(base: (dataset: Digits(), network: UNet(channels: 8), teacher: Trained()))");
    let at = folder.path();
    let (_, told) = expect(at, &["run", "study.ron", "--processes", "2"], 2);
    assert_eq!(told.matches("1 parts of a batch cannot be shared by 2 processes").count(), 2, "{told}");
    let (_, told) = expect(at, &["run", "study.ron", "--processes", "3"], 2);
    assert!(told.contains("3 processes; allowed are powers of two"), "{told}");
    let (_, told) = expect(at, &["run", "study.ron", "--processes", "2", "--devices", "0,1"], 2);
    assert!(told.contains("cannot be used with"), "{told}");
    let (_, told) = expect(at, &["run", "study.ron", "--devices", "0", "--device", "cpu"], 2);
    assert!(told.contains("allowed is one of them"), "{told}");
    // One of several that MPI started cannot start others.
    let output = cm(at).args(["run", "study.ron", "--processes", "2"]).env("PMI_SIZE", "2").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && told.contains("were started together already"), "{told}");
    assert!(!at.join("runs").exists());
}

/// Each process computes on its own GPU; they leave what one GPU leaves of as many parts of a batch.
#[test]
fn gpus_share_a_study_with_the_bits_of_one() {
    let Some(standin) = Standin::new() else { return };
    let two = standin.with("STANDIN_DEVICES", 2);
    let folder = scratch(&ring(256, ""));
    let at = folder.path();
    let run = |out: &str, devices: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cm"));
        command.current_dir(at).args(["run", "study.ron", "--set", "base.consistency.train.shards=2"]);
        command.args(["--out", out, "--devices", devices]);
        two.equip(&mut command, at);
        command.output().unwrap()
    };
    for (out, devices) in [("one", "1"), ("both", "0,1")] {
        let output = run(out, devices);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_same(&results(&at.join("one/study")), &results(&at.join("both/study")), "two GPUs");
    let output = run("absent", "0,2");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("cuda:2"), "{told}");
    assert!(!at.join("absent/study/base/seed-0/scores.csv").exists());
}
