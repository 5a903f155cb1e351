//! Who went on with a run: `continuations.jsonl`, a line for each time, and a word if that was another program or
//! machine than the one that began it.

use crate::run_dir::{CONTINUATIONS, RunDir};
use cm_host::{FileError, Progress, Provenance};
use cm_study::from_ron;
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::Write;

/// One line.
#[derive(Serialize)]
struct Continuation {
    /// The step of the checkpoint it went on from.
    step: u64,
    #[serde(flatten)]
    by: Provenance,
}

/// Notes that this process goes on with a run behind `step`.
pub(crate) fn record(folder: &RunDir, step: u64) -> Result<(), FileError> {
    let path = folder.path().join(CONTINUATIONS);
    let line = Continuation { step, by: Provenance::of_this_process(folder.seed()) };
    let line = serde_json::to_string(&line).expect("texts and numbers are JSON") + "\n";
    let file = OpenOptions::new().append(true).create(true).open(&path);
    let written = file.and_then(|mut file| {
        file.write_all(line.as_bytes())?;
        file.sync_all()
    });
    written.map_err(FileError::io(path))
}

/// Tells if what began a run is not what goes on with its study; of several runs with the same difference, once.
/// `told` holds what was told.
pub(crate) fn tell(
    folder: &RunDir,
    told: &mut Vec<String>,
    progress: &mut dyn Progress,
) -> Result<(), FileError> {
    let path = folder.path().join("provenance.ron");
    let Some(text) = folder.sealed()?.text("provenance.ron")? else { return Ok(()) };
    let before: Provenance =
        from_ron(&text).map_err(|error| FileError::damaged(&path, format!("no provenance: {error}")))?;
    let differences = differences(&before, &Provenance::of_this_process(before.seed)).join(", another ");
    if !differences.is_empty() && !told.contains(&differences) {
        progress.note(&format!(
            "{} was begun with another {differences}: the last digits of its numbers may be others",
            folder.identity().name
        ));
        told.push(differences);
    }
    Ok(())
}

/// What of the things that decide last digits is another.
fn differences(before: &Provenance, now: &Provenance) -> Vec<String> {
    let parts = [
        ("version", &before.version, &now.version),
        ("commit", &before.commit, &now.commit),
        ("platform", &before.platform, &now.platform),
        ("instruction set", &before.instruction_set, &now.instruction_set),
    ];
    let others = parts.into_iter().filter(|(_, before, now)| before != now);
    others.map(|(name, before, now)| format!("{name} ({before}, now {now})")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_host::Identity;
    use cm_study::to_ron;

    struct Notes(Vec<String>);
    impl Progress for Notes {
        fn phase(&mut self, _: &str, _: u64) {}
        fn advance(&mut self, _: u64, _: Option<f64>) {}
        fn note(&mut self, text: &str) {
            self.0.push(text.to_owned());
        }
        fn finish_phase(&mut self) {}
    }

    #[test]
    fn a_run_begun_by_another_version_is_told_and_continuations_are_kept() {
        let scratch = tempfile::tempdir().unwrap();
        let of = Identity::new("student", "cd/seed-0", "(plan)");
        let folder = RunDir::open(scratch.path().join("cd"), of, "(plan)", 3).unwrap();
        let mut notes = Notes(Vec::new());
        let mut told = Vec::new();
        tell(&folder, &mut told, &mut notes).unwrap();
        assert_eq!(notes.0, Vec::<String>::new());
        let now = Provenance::of_this_process(3);
        let before =
            Provenance { version: "0.0.9".to_owned(), instruction_set: "z80".to_owned(), ..now.clone() };
        // A whole folder of another version, not an edited one.
        for name in ["ct", "cx"] {
            let of = Identity::new("student", &format!("{name}/seed-0"), "(plan)");
            let folder = RunDir::open(scratch.path().join(name), of.clone(), "(plan)", 3).unwrap();
            std::fs::write(folder.path().join("provenance.ron"), to_ron(&before)).unwrap();
            crate::sealed::seal(folder.path(), of, &["plan.ron", "provenance.ron"]).unwrap();
            tell(&folder, &mut told, &mut notes).unwrap();
        }
        assert_eq!(notes.0.len(), 1, "{:?}", notes.0);
        let note = &notes.0[0];
        assert!(note.starts_with("ct/seed-0 was begun with another version (0.0.9, now "), "{note}");
        assert!(note.contains("another instruction set (z80, now "), "{note}");
        record(&folder, 6).unwrap();
        record(&folder, 8).unwrap();
        let text = std::fs::read_to_string(folder.path().join(CONTINUATIONS)).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            (&lines[0]["step"], &lines[1]["step"], &lines[1]["seed"]),
            (&6.into(), &8.into(), &3.into())
        );
        assert_eq!(lines[0]["version"], env!("CARGO_PKG_VERSION"));
    }
}
