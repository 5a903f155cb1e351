//! Whether a study's folder still holds what was written there: every file that is sealed, every checkpoint with what
//! it stands on, and the inputs. It reads all of it and touches nothing.

use crate::checkpoints::Checkpoints;
use crate::error::{FolderError, RunError};
use crate::inputs;
use crate::journal::Journal;
use crate::judge::JUDGE_FILE;
use crate::sealed::{STUDY, SealedFolder, identity_of, with_remedy};
use crate::table::align;
use cm_host::{FileError, MANIFEST, Manifest};
use cm_study::Plan;
use std::fs;
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// A line for each folder with results.
    pub table: String,
    /// What is wrong, each with the name of its file and what to do; nothing if all is as it was written.
    pub problems: Vec<String>,
}

/// Checks the folder of a study with all in it, or that of one run, teacher, ...; see [`crate::SealedFolder`].
///
/// # Errors
/// [`FolderError::NoStudy`] if it is no such folder, [`RunError`] if it cannot be looked at; what is wrong with its files is in the result.
pub fn verify(path: &Path) -> Result<Verified, RunError> {
    let no_study = |reason: String| FolderError::NoStudy { path: path.to_owned(), reason };
    let known = [MANIFEST, "plan.ron"].iter().any(|file| path.join(file).exists());
    if !known {
        return Err(no_study("there is none".to_owned()).into());
    }
    let mut folders = vec![path.to_owned()];
    add_folders(path, &mut folders)?;
    let mut lines = vec![["folder", "what", "state", "files", "MiB", "found"].map(str::to_owned).to_vec()];
    let mut problems = Vec::new();
    for folder in folders {
        let Looked { what, state, files, bytes, problems: found } = look(&folder);
        let name = match folder.strip_prefix(path) {
            Ok(inside) if !inside.as_os_str().is_empty() => inside.display().to_string(),
            Ok(_) | Err(_) => ".".to_owned(),
        };
        let verdict = match found.len() {
            0 => "as written".to_owned(),
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        let mebibytes = format!("{:.1}", bytes as f64 / f64::from(1 << 20));
        lines.push(vec![name, what, state, files.to_string(), mebibytes, verdict]);
        problems.extend(found);
    }
    Ok(Verified { table: align(&lines, 3), problems })
}

/// Depth at which a study's folders lie: `ARM/seed-N`, `teachers/HASH`.
const DEPTH: usize = 2;

/// The folders with results below a folder, by name.
fn add_folders(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), FileError> {
    let mut level = vec![path.to_owned()];
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for folder in level {
            for entry in fs::read_dir(&folder).map_err(FileError::io(&folder))? {
                let inner = entry.map_err(FileError::io(&folder))?.path();
                if inner.is_dir() {
                    next.push(inner);
                }
            }
        }
        next.sort();
        let results =
            |folder: &&PathBuf| [MANIFEST, "plan.ron"].iter().any(|file| folder.join(file).exists());
        found.extend(next.iter().filter(results).cloned());
        level = next;
    }
    Ok(())
}

/// What a folder is, and what is wrong with it.
#[derive(Default)]
struct Looked {
    what: String,
    state: String,
    files: usize,
    bytes: u64,
    problems: Vec<String>,
}

fn look(folder: &Path) -> Looked {
    let mut looked = Looked { what: "-".to_owned(), state: "-".to_owned(), ..Looked::default() };
    let sealed = match SealedFolder::open(folder) {
        Ok(sealed) => sealed,
        Err(error) => {
            looked.problems.push(error.to_string());
            return looked;
        }
    };
    let manifest = match sealed.required() {
        Ok(manifest) => manifest,
        Err(error) => {
            looked.problems.push(error.to_string());
            return looked;
        }
    };
    looked.what.clone_from(&manifest.of.kind);
    for seal in &manifest.files {
        looked.files += 1;
        looked.bytes += seal.bytes;
        if let Err(error) = seal.check(folder) {
            looked.problems.push(with_remedy(error, &manifest.of, &seal.file).to_string());
        }
    }
    let finished = ["report.csv", "scores.csv", "model.safetensors", JUDGE_FILE];
    let is_finished = finished.iter().any(|file| manifest.seal(file).is_some());
    looked.state = if is_finished { "finished".to_owned() } else { "begun".to_owned() };
    if manifest.of.kind == STUDY {
        look_at_study(folder, &sealed, manifest, is_finished, &mut looked.problems);
    } else if !is_finished {
        look_at_checkpoint(folder, manifest, &mut looked);
    }
    looked
}

/// The inputs of a study, and that its runs are there.
fn look_at_study(
    folder: &Path,
    sealed: &SealedFolder,
    manifest: &Manifest,
    is_finished: bool,
    problems: &mut Vec<String>,
) {
    // A plan that was changed is told already.
    let Some(plan) = sealed.text("plan.ron").ok().flatten().and_then(|text| Plan::from_ron(&text).ok())
    else {
        return;
    };
    if let Err(error) = inputs::compare(&plan, &manifest.inputs, folder) {
        problems.push(error.to_string());
    }
    for run in plan.runs() {
        let path = folder.join(run.name());
        // A manifest that is damaged is told where it lies.
        let Ok(of_run) = SealedFolder::open(&path) else { continue };
        if let Err(error) = of_run.expect(&identity_of(&run)) {
            problems.push(error.to_string());
        } else if is_finished && !of_run.is_sealed("scores.csv") {
            let path = path.display();
            problems
                .push(format!("{path}: the report is of this run too, and it is not there or not finished"));
        }
    }
}

/// The checkpoint that a training goes on from, and what it stands on.
fn look_at_checkpoint(folder: &Path, manifest: &Manifest, looked: &mut Looked) {
    match Checkpoints::new(&folder.join("checkpoints"), &manifest.of).read() {
        Err(error) => looked.problems.push(error.to_string()),
        Ok(None) => {}
        Ok(Some(checkpoint)) => {
            looked.state = format!("step {}", checkpoint.step);
            looked.problems.extend(checkpoint.note);
            if let Err(error) = Journal::check_begun(folder, checkpoint.step, &checkpoint.records) {
                looked.problems.push(error.to_string());
            }
        }
    }
}
