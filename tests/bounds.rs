//! Numbers too large for any machine: each is refused at once, with what is allowed or what it would take; and planning
//! takes no memory worth speaking of.

use crate::util::{cm, expect, ring, root, scratch};
use std::path::{Path, PathBuf};

/// A study of digits whose network, images and samples can be set.
const DIGITS: &str = "(
    base: (
        dataset: Digits(),
        network: UNet(channels: 8, multipliers: [1], blocks: 1, attention: []),
        teacher: Trained(train: (total_images: 64, batch: 16, shards: 1, ema: [PerStep(0.9)])),
        method: Training,
        consistency: (train: (total_images: 64, batch: 16, shards: 1, ema: [PerStep(0.9)]), curriculum: Fixed(num_levels: 6)),
        evaluation: (samples: 16, student: [OneStep], teacher: (levels: 3), metrics: [Frechet]),
    ),
)";

/// `cm COMMAND study.ron --set SETTING`: how it ends, and what it says.
fn told(folder: &Path, command: &str, setting: &str) -> (Option<i32>, String) {
    let output = cm(folder).args([command, "study.ron", "--set", setting]).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// These took gigabytes, aborted the program, or did not end.
#[test]
fn numbers_too_large_for_any_machine_are_wrong_input() {
    let folder = scratch(DIGITS);
    for (setting, named) in [
        ("base.network=UNet(channels: 4294967296)", "4 to 65536"),
        ("base.network=UNet(channels: 128, multipliers: [1, 65536])", "at most 65536 channels"),
        ("base.network=UNet(blocks: 4000000000)", "at most 256"),
        ("base.network=UNet(channels: 65536, multipliers: [1], blocks: 200)", "at most 68719476736 weights"),
        ("base.network=Adm(channels: 18446744073709551584)", "32 to 65536"),
        ("base.network=Mlp(width: 18446744073709551612)", "4 to 65536"),
        ("base.network=Mlp(blocks: 4294967295)", "1 to 256"),
        ("base.dataset=GaussianMixture(mixture: (dim: 2147483648))", "at most 65536"),
        ("base.dataset=GaussianMixture(mixture: (components: 4294967295))", "at most 65536"),
        ("base.dataset=GaussianMixture(train_len: 1000000000000)", "at most 100000000"),
        ("base.dataset=SwissRoll(test_len: 18446744073709551615)", "at most 100000000"),
        ("base.evaluation.samples=18446744073709551615", "1 to 10000000"),
        ("base.evaluation.teacher.levels=4294967296", "2 to 1048576"),
        ("base.evaluation.metric=(neighbours: 18446744073709551615)", "1 to 1000"),
        ("base.evaluation.metric=(batch: 4294967296)", "1 to 65536"),
        ("base.consistency.curriculum=Fixed(num_levels: 4294967296)", "at most 1048576"),
        ("base.consistency.curriculum=Progressive(start: 2, end: 18446744073709551615)", "at most 1048576"),
        ("base.consistency.curriculum=Continuous(stages: 4294967295)", "1 to 1024"),
        ("base.consistency.segments=18446744073709551615", "1 to 1048575"),
        ("base.consistency.train.total_images=18446744073709551615", "2^50"),
        ("base.consistency.train.batch=4294967296", "2^20"),
        ("base.consistency.train.snapshots=(count: 4294967295)", "2 to 10000"),
        ("base.consistency.distance=Features(channels: 18446744073709551615)", "1 to 1024"),
        ("base.consistency.distance=ResizedSquaredL2(side: 18446744073709551615)", "1 to 4096"),
        ("base.logging.grid=18446744073709551615", "1 to 10000"),
    ] {
        let (code, message) = told(folder.path(), "plan", setting);
        assert_eq!(code, Some(2), "{setting}\n{message}");
        assert!(message.contains(named), "{setting}\n{message}");
    }
}

/// Parts that are no power of two, or do not divide the batch, ended a run in the middle.
#[test]
fn parts_of_a_batch_that_cannot_be_are_found_before_anything_is_done() {
    let folder = scratch(DIGITS);
    for shards in ["0", "3", "32"] {
        let (code, message) = told(folder.path(), "plan", &format!("base.consistency.train.shards={shards}"));
        assert_eq!(code, Some(2), "{message}");
        assert!(message.contains("a power of two that divides the batch"), "{message}");
    }
}

#[test]
fn a_grid_of_more_runs_than_anybody_reads_is_refused() {
    let axis = |letter: char| {
        let arms: String = (0..20)
            .map(|i| format!("(name: \"{letter}{i}\", changes: [Target(Ema(0.{}))]),", 10 + i))
            .collect();
        format!("[{arms}],")
    };
    let axes: String = ('a'..='k').map(axis).collect();
    let folder = scratch(&ring(64, &format!("arms: Grid([{axes}]),")));
    let (_, message) = expect(folder.path(), &["plan", "study.ron"], 2);
    assert!(message.contains("at most 4096 runs"), "{message}");
}

/// What it would take is said, and nothing is written.
#[test]
fn what_does_not_fit_into_memory_is_not_begun() {
    let folder = scratch(DIGITS);
    for (setting, part) in [
        ("base.network=UNet(channels: 8192, multipliers: [1], blocks: 4)", "GiB of weights"),
        ("base.evaluation.samples=10000000", "GiB of images"),
    ] {
        // Planning it is no harm: it may be for another machine.
        assert_eq!(told(folder.path(), "plan", setting).0, Some(0), "{setting}");
        // Whatever this machine has, the process may have 2 GiB.
        let output = limited(folder.path(), "-v 2097152", &["run", "study.ron", "--set", setting]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{setting}\n{message}");
        assert!(message.contains("it takes ") && message.contains(part), "{setting}\n{message}");
        assert!(message.contains("and there are 2.0 GiB"), "{message}");
        assert!(!folder.path().join("runs").exists());
    }
}

/// `cm` with these arguments under a limit of the shell's `ulimit`.
pub(crate) fn limited(folder: &Path, limit: &str, arguments: &[&str]) -> std::process::Output {
    // A file that grows beyond its limit is then an error, and no signal.
    let script = format!("trap '' XFSZ; ulimit {limit} && exec \"$0\" \"$@\"");
    let mut command = std::process::Command::new("sh");
    command.current_dir(folder).args(["-c", &script, env!("CARGO_BIN_EXE_cm")]).args(arguments);
    command.output().unwrap()
}

#[test]
fn numbers_of_the_command_line_are_bounded_too() {
    let folder = scratch(DIGITS);
    for arguments in [
        &["run", "study.ron", "--threads", "65535"][..],
        &["evaluate", "--samples", "a", "--reference", "b", "--features", "pixels", "--batch", "4294967296"],
        &["evaluate", "--samples", "a", "--reference", "b", "--features", "pixels", "--neighbours", "1001"],
        &["import", "none.pt", "--precondition", "edm", "--out", "o", "--size", "18446744073709551615"],
        &["bench", "sample", "--list", "--batch", "18446744073709551615"],
        &["bench", "sample", "--list", "--resolution", "18446744073709551608"],
        &["bench", "sample", "--list", "--channels", "18446744073709551608"],
    ] {
        expect(folder.path(), arguments, 2);
    }
}

/// The plans of LSUN's networks took 3.1 GB.
#[cfg(target_os = "linux")]
#[test]
fn every_study_is_planned_in_little_memory() {
    let folder = root().join("experiments");
    let ron = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "ron")).collect()
    };
    let studies: Vec<PathBuf> =
        ["", "paper", "methods"].iter().flat_map(|name| ron(&folder.join(name))).collect();
    assert!(studies.len() > 25);
    for study in studies {
        // KiB of what can be written to, the stacks of its threads among them.
        let planned = limited(&root(), "-d 150000", &["plan", study.to_str().unwrap()]);
        assert_eq!(planned.status.code(), Some(0), "{}", String::from_utf8(planned.stderr).unwrap());
    }
}

/// Messages quote lines: one of a million characters took seconds.
#[test]
fn a_file_that_nobody_can_read_is_refused() {
    let folder = scratch(
        &DIGITS.replace("(\n    base", &format!("(\n    question: \"{}\", base", "x".repeat(1 << 18))),
    );
    let (_, message) = expect(folder.path(), &["plan", "study.ron"], 2);
    assert!(message.contains("more than 262144 bytes"), "{message}");
}

/// A run of 2^50 images has as few lines in its schedule as one of 2^20.
#[test]
fn schedules_of_any_length_are_planned_at_once() {
    let folder = scratch(DIGITS);
    for (images, lines) in [("1_000_000_000_000", 3), ("1125899906842624", 3)] {
        let setting = format!("base.consistency.train.total_images={images}");
        let (text, _) = expect(folder.path(), &["plan", "study.ron", "--set", &setting], 0);
        let table = text.lines().filter(|line| line.starts_with("// | ")).count();
        assert_eq!(table, lines, "{text}");
    }
    let progressive = "base.consistency.curriculum=Progressive(start: 2, end: 1000000)";
    let long = "base.consistency.train.total_images=1000000000000";
    let (text, _) = expect(folder.path(), &["plan", "study.ron", "--set", progressive, "--set", long], 0);
    assert!(text.contains("524289-1000001"), "{text}");
}
