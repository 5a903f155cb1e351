//! The disk fails, or the process is killed, at the N-th call that makes, writes, syncs, renames or links a file.

use super::{names, text};
use crate::reproducibility::{assert_same, results};
use crate::seals::STUDY;
use crate::util::{expect, root, scratch};
use cm_experiment::verify;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What happens at a call; `inject.c` says what each does.
const FATES: [&str; 4] = ["kill", "tear", "error", "full"];

/// `inject.c` as a library, below `folder`; nothing, and it is said, where no C compiler makes one.
fn library(folder: &Path) -> Option<PathBuf> {
    let library = folder.join("inject.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
        .arg(&library)
        .arg(root().join("tests/faults/inject.c"));
    let made = cc.arg("-ldl").output();
    if made.as_ref().is_ok_and(|made| made.status.success()) {
        return Some(library);
    }
    let why = made.map_or_else(|error| error.to_string(), |made| text(&made.stderr));
    let mut told = std::io::stderr();
    writeln!(told, "no disk failed: there is no C compiler ({why})").unwrap();
    None
}

/// The program, working in `folder`, with faults in what it does below `under`.
struct Faulty<'a> {
    library: &'a Path,
    folder: &'a Path,
    under: &'a Path,
}

impl Faulty<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cm"));
        command.current_dir(self.folder).args(arguments).stdin(Stdio::null());
        command.env("LD_PRELOAD", self.library).env("FAULT_UNDER", self.under);
        command
    }

    /// How many calls there are when nothing fails.
    fn calls(&self, arguments: &[&str]) -> usize {
        let log = self.folder.join("calls");
        let output = self.command(arguments).env("FAULT_LOG", &log).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let calls = fs::read_to_string(&log).unwrap().lines().count();
        fs::remove_file(log).unwrap();
        calls
    }

    /// It fails at the `at`-th call. A process that was not killed says which file, and has exit code 1; or it could do
    /// without the call.
    fn fails(&self, arguments: &[&str], at: usize, fate: &str) -> Output {
        let output = self.command(arguments).env("FAULT", format!("any {at} {fate}")).output().unwrap();
        let told = text(&output.stderr);
        match output.status.code() {
            None => assert_eq!(output.status.signal(), Some(9), "{arguments:?}: {fate} at {at}\n{told}"),
            Some(code) => {
                assert!(code <= 1, "{arguments:?}: {fate} at {at}: exit code {code}\n{told}");
                let under = self.under.to_str().unwrap();
                let named = told.lines().any(|line| line.starts_with("error: ") && line.contains(under));
                assert!(code == 0 || named, "{arguments:?}: {fate} at {at} names no file\n{told}");
            }
        }
        output
    }
}

/// Which calls are met: every one if `CM_FAULTS` is `all`, else every seventh, each with one of the four fates.
fn cases(calls: usize) -> impl Iterator<Item = (usize, &'static str)> {
    let all = std::env::var("CM_FAULTS").is_ok_and(|which| which == "all");
    let numbers = (1..=calls).step_by(if all { 1 } else { 7 });
    numbers.enumerate().flat_map(move |(index, at)| {
        let fates = if all { &FATES[..] } else { &FATES[index % 4..=index % 4] };
        fates.iter().map(move |fate| (at, *fate))
    })
}

/// The same bits as of a run that nothing happened to, and every file sealed.
#[test]
fn a_study_survives_a_fault_at_any_call_to_the_bit() {
    let folder = scratch(STUDY);
    let folder = folder.path();
    let Some(library) = library(folder) else { return };
    let out = folder.join("out");
    let study = out.join("study");
    let faulty = Faulty { library: &library, folder, under: &out };
    let run = ["run", "study.ron", "--threads", "1", "--out", out.to_str().unwrap()];
    let calls = faulty.calls(&run);
    let expected = results(&study);
    fs::remove_dir_all(&out).unwrap();
    let (mut ended, mut unharmed) = (0, 0);
    for (at, fate) in cases(calls) {
        match faulty.fails(&run, at, fate).status.success() {
            true => unharmed += 1,
            false => ended += 1,
        }
        match study.join("plan.ron").exists() {
            true => expect(folder, &["resume", study.to_str().unwrap(), "--threads", "1"], 0),
            false => expect(folder, &run, 0),
        };
        let what = format!("{fate} at call {at} of {calls}");
        assert_same(&expected, &results(&study), &what);
        assert_eq!(verify(&study).unwrap().problems, Vec::<String>::new(), "{what}");
        fs::remove_dir_all(&out).unwrap();
    }
    // A link that fails is copied instead, and little else can be done without.
    assert!(ended > 10 * unharmed && ended > 50, "{ended} ended, {unharmed} did not");
}

/// What a command was to leave is whole, or it is not there; and once more, it is made.
#[test]
fn commands_leave_what_is_whole_or_nothing_when_a_call_fails() {
    let folder = scratch(STUDY);
    let folder = folder.path();
    let Some(library) = library(folder) else { return };
    expect(folder, &["run", "study.ron", "--threads", "1", "--out", "."], 0);
    let cifar = root().join("crates/cm-datasets/tests/fixtures/cifar-10-binary.tar.gz");
    let weights = root().join("tests/fixtures/parity/ddpmpp-tiny.pt");
    let import = ["import", weights.to_str().unwrap(), "--size", "8", "--precondition", "edm"];
    let run = "study/cd/seed-0";
    let jobs: [(&str, Vec<&str>); 5] = [
        ("o", vec!["sample", run, "--count", "40", "--threads", "1"]),
        ("o", vec!["dataset", "prepare", cifar.to_str().unwrap()]),
        ("o.html", vec!["report", "study"]),
        ("o", vec!["sweep", "plan", "study.ron"]),
        ("o.safetensors", import.to_vec()),
    ];
    let room = folder.join("room");
    let faulty = Faulty { library: &library, folder, under: &room };
    for (name, job) in jobs {
        let new = || fs::create_dir(&room).unwrap();
        let out = room.join(name);
        let arguments = [&job[..], &["--out", out.to_str().unwrap()]].concat();
        new();
        let calls = faulty.calls(&arguments);
        let expected = bytes(&out);
        fs::remove_dir_all(&room).unwrap();
        assert!(calls > 3, "{job:?}: {calls}");
        for (at, fate) in cases(calls) {
            new();
            let what = format!("{job:?}: {fate} at call {at} of {calls}");
            let output = faulty.fails(&arguments, at, fate);
            // What was killed cannot clear up: a folder may lack files, and files have hidden names. Nothing else may,
            // but for what is whole although the last sync of its folder was refused.
            let killed = output.status.code().is_none();
            let left: Vec<String> = names(&room).into_iter().filter(|left| left != name).collect();
            let hidden = left.iter().all(|left| left.starts_with('.'));
            assert!(hidden && (killed || left.is_empty()), "{what} left {left:?}");
            let is_whole = out.exists() && bytes(&out) == expected;
            assert!(is_whole || killed || !out.exists(), "{what}: what is there is not whole");
            if !is_whole {
                expect(folder, &arguments, 0);
                assert!(bytes(&out) == expected, "{what}: not the same once more");
            }
            fs::remove_dir_all(&room).unwrap();
        }
    }
}

/// All files of a folder, or the one file, by name.
fn bytes(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    if path.is_file() {
        return BTreeMap::from([(PathBuf::new(), fs::read(path).unwrap())]);
    }
    let mut all = BTreeMap::new();
    for name in names(path) {
        let inside = bytes(&path.join(&name));
        all.extend(inside.into_iter().map(|(file, bytes)| (Path::new(&name).join(file), bytes)));
    }
    all
}
