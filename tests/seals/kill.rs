//! A study killed between any two of its files.

use super::Studies;
use crate::reproducibility::{assert_same, results};
use crate::util::expect;
use cm_experiment::verify;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

/// Killed at a rename: between any result and its manifest, and between any two files.
#[test]
fn a_kill_at_any_rename_is_survived_to_the_bit() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        let mut told = std::io::stderr();
        writeln!(told, "there is no strace: nothing was killed").unwrap();
        return;
    }
    let studies = Studies::new();
    let folder = studies.0.path();
    let expected = results(&studies.whole());
    let (mut killed, mut at) = (0, 1);
    loop {
        let out = folder.join(format!("killed-{at}"));
        let inject = format!("inject=rename:signal=KILL:when={at}");
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=rename", "-e", &inject, "-o", "/dev/null"]);
        command.args([env!("CARGO_BIN_EXE_cm"), "run", "study.ron", "--threads", "1", "--out"]).arg(&out);
        let ended = command.current_dir(folder).output().unwrap();
        if ended.status.success() {
            break;
        }
        killed += 1;
        let study = out.join("study");
        let name = format!("killed-{at}");
        if study.join("plan.ron").exists() {
            expect(folder, &["resume", &format!("{name}/study")], 0);
        } else {
            expect(folder, &["run", "study.ron", "--out", &name], 0);
        }
        assert_same(&expected, &results(&study), &name);
        assert_eq!(verify(&study).unwrap().problems, Vec::<String>::new(), "{name}");
        fs::remove_dir_all(out).unwrap();
        // Not every one: a prime step meets each kind of file.
        at += 5;
    }
    assert!(killed > 8, "{killed}");
}
