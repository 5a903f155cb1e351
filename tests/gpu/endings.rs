//! Runs on a GPU that do not go to their end at once: nothing is lost, and what goes on ends with the same bits.

use super::Standin;
use crate::reproducibility::{assert_same, results};
use crate::util::{expect, ring, scratch};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Waits until a run has left a checkpoint.
pub(super) fn has_begun(run: &Path, child: &mut Child) {
    let begin = Instant::now();
    let checkpoints = run.join("checkpoints");
    let is_there = || fs::read_dir(&checkpoints).is_ok_and(|mut entries| entries.next().is_some());
    while !is_there() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before its first checkpoint");
        assert!(begin.elapsed() < Duration::from_secs(120), "no checkpoint after two minutes");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_run_on_a_gpu_that_is_stopped_or_killed_goes_on_with_the_same_bits() {
    let Some(standin) = Standin::new() else { return };
    let folder = scratch(&ring(2048, ""));
    let at = folder.path();
    standin.succeed(at, &["run", "study.ron", "--out", "whole"]);
    let whole = results(&at.join("whole/study"));
    for (out, signal) in [("stopped", "-TERM"), ("killed", "-KILL"), ("moved", "-TERM")] {
        let mut command = standin.command(at, &["run", "study.ron", "--out", out]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        has_begun(&at.join(out).join("study/base/seed-0"), &mut child);
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let status = child.wait().unwrap();
        assert_eq!(status.code(), if signal == "-TERM" { Some(1) } else { None }, "{out}");
        let study = format!("{out}/study");
        if out == "moved" {
            // The same files: the CPU goes on from what the GPU left, to about the same scores.
            expect(at, &["resume", &study], 0);
            let there = results(&at.join(&study));
            assert_eq!(there.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
            continue;
        }
        standin.succeed(at, &["resume", &study]);
        assert_same(&whole, &results(&at.join(&study)), out);
    }
}

/// From one allocation on the GPU has no more memory: for each of the first, then for ever later ones. The run says so, with
/// exit code 1 (2 where the GPU cannot even be opened), and goes on when there is memory, to the same bits.
#[test]
fn memory_that_runs_out_ends_a_run_with_an_error_and_nothing_is_lost() {
    let Some(standin) = Standin::new() else { return };
    let folder = scratch(&ring(128, ""));
    let at = folder.path();
    standin.succeed(at, &["run", "study.ron", "--out", "whole"]);
    let whole = results(&at.join("whole/study"));
    let (mut failed, mut number, mut step) = (0, 0, 1);
    loop {
        let out = format!("o{number}");
        let study = format!("{out}/study");
        let short = standin.with("STANDIN_FAIL_ALLOCATION", number);
        let (code, told) = short.run(at, &["run", "study.ron", "--out", &out]);
        if code == Some(0) {
            assert_same(&whole, &results(&at.join(&study)), "with memory enough");
            break;
        }
        assert_eq!(code, Some(if number < 2 { 2 } else { 1 }), "allocation {number}: {told}");
        assert!(told.contains("out of memory on the GPU: ") && told.contains(" wanted, "), "{told}");
        // Each of the first few goes on; of the others it is enough that they ended as they should.
        if number < 3 || step >= 8 {
            match at.join(&study).exists() {
                true => standin.succeed(at, &["resume", &study]),
                false => standin.succeed(at, &["run", "study.ron", "--out", &out]),
            };
            assert_same(&whole, &results(&at.join(&study)), &out);
        }
        failed += 1;
        number += step;
        step += number / 8;
    }
    assert!(failed > 6, "a run asks for memory more often than {failed} times");
}

/// Every allocation of a sampling, in turn: an error with exit code 1, and no folder of samples.
#[test]
fn each_allocation_of_a_sampling_can_fail() {
    let Some(standin) = Standin::new() else { return };
    let folder = scratch(&ring(64, ""));
    let at = folder.path();
    expect(at, &["run", "study.ron", "--out", "."], 0);
    let sample = ["sample", "study/base/seed-0", "--count", "8", "--out", "drawn"];
    let mut number = 0;
    loop {
        let short = standin.with("STANDIN_FAIL_ALLOCATION", number);
        let (code, told) = short.run(at, &sample);
        if code == Some(0) {
            break;
        }
        assert_eq!(code, Some(if number < 2 { 2 } else { 1 }), "allocation {number}: {told}");
        assert!(told.contains("out of memory on the GPU: "), "{told}");
        assert!(!at.join("drawn").exists(), "allocation {number} left something");
        number += 1;
    }
    assert!(number > 10, "{number} allocations");
}
