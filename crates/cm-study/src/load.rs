//! From a file to a [`Study`]: read, parsed and checked, with every problem of all three reported at once.

use crate::beside::beside;
use crate::diagnostics::{Diagnostic, InputErrors, lower_first};
use crate::overrides::{self, Override};
use crate::parse::{Reading, read};
use crate::plan::{Checked, Plan, is_file_name};
use crate::problem::Problem;
use crate::source_map::parts;
use crate::study_config::StudyConfig;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of a study file at most: fifty times as many as the longest here. Messages quote its lines.
const MOST_BYTES: u64 = 1 << 18;

/// A study that can be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    /// The file it came from.
    pub path: PathBuf,
    /// The file's name without its ending: the name of the study's folder.
    pub name: String,
    /// The file's text, kept in the study's folder.
    pub text: String,
    /// What will be done.
    pub plan: Plan,
    /// Remarks for whoever wrote the file.
    pub notes: Vec<String>,
    /// What must be there before it can be run and is not; none but in studies that are loaded [to plan](load_to_plan).
    pub absent: Vec<String>,
}

/// Reads and checks a study file. Nothing is written, and no data are downloaded.
///
/// # Errors
/// [`InputErrors`] with every problem of the file.
pub fn load(path: &Path) -> Result<Study, InputErrors> {
    load_with(path, &[])
}

/// Reads and checks a study file with some fields set to other values. The study's text is the changed one.
///
/// # Errors
/// [`InputErrors`] with every problem of the file, or of the values.
pub fn load_with(path: &Path, overrides: &[Override]) -> Result<Study, InputErrors> {
    load_checked(path, overrides, check)
}

/// As [`load_with`], to be looked at where it cannot be run: of data and weights that are not there it is enough that
/// the study says what to expect.
///
/// # Errors
/// [`InputErrors`] with every problem of the file, or of the values.
pub fn load_to_plan(path: &Path, overrides: &[Override]) -> Result<Study, InputErrors> {
    load_checked(path, overrides, check_to_plan)
}

fn load_checked(
    path: &Path,
    overrides: &[Override],
    check: impl Fn(&Path, &str) -> Result<Checked, InputErrors>,
) -> Result<Study, InputErrors> {
    let (name, text) = read_text(path)?;
    let text = overrides::apply(path, &text, overrides)?;
    let Checked { plan, notes, absent } = check(&label(path, overrides), &text)?;
    let absent = absent.into_iter().map(|problem| problem.message).collect();
    Ok(Study { path: path.to_owned(), name, text, plan, notes, absent })
}

/// What to call a file with changes in messages.
pub fn label(path: &Path, overrides: &[Override]) -> PathBuf {
    let changes: String = overrides.iter().map(|change| format!(" {}", overrides::origin(change))).collect();
    let with = if changes.is_empty() { "" } else { " with" };
    PathBuf::from(format!("{}{with}{changes}", path.display()))
}

/// A study file's name without its ending, and its text, in which files beside it are named so that they are found.
pub fn read_text(path: &Path) -> Result<(String, String), InputErrors> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| {
        let message = format!("cannot read the study file: {}", lower_first(&error.to_string()));
        InputErrors::whole_file(path, message, "a RON file such as experiments/smoke.ron")
    })?;
    if bytes.len() as u64 > MOST_BYTES {
        let message = format!("the study file has more than {MOST_BYTES} bytes");
        return Err(InputErrors::whole_file(path, message, "a file that people can read"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count() + 1;
        InputErrors::whole_file(path, format!("line {line} is not UTF-8 text"), "a RON file, saved as UTF-8")
    })?;
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if !is_file_name(name) {
        let message = format!("the study's folder would be called `{name}`");
        let allowed = "a file name of letters, digits, `-`, `_` and `.`";
        return Err(InputErrors::whole_file(path, message, allowed));
    }
    Ok((name.to_owned(), beside(path, &text)))
}

impl StudyConfig {
    /// What can be read of a study file's text, with defaults for the rest: for showing results, not for running.
    pub fn as_far_as_readable(text: &str) -> Self {
        read(text).value.unwrap_or_default()
    }
}

/// The plan of a study file's text; `path` is for the messages.
///
/// # Errors
/// [`InputErrors`] with every problem of the text, files that are not there among them.
pub fn check(path: &Path, text: &str) -> Result<Checked, InputErrors> {
    checked(path, text, |study| match study.build() {
        Ok(checked) if !checked.absent.is_empty() => Err(checked.absent),
        outcome => outcome,
    })
}

/// The plan of a study file's text, with the files that are not there.
fn check_to_plan(path: &Path, text: &str) -> Result<Checked, InputErrors> {
    checked(path, text, StudyConfig::build)
}

fn checked(
    path: &Path,
    text: &str,
    build: impl Fn(&StudyConfig) -> Result<Checked, Vec<Problem>>,
) -> Result<Checked, InputErrors> {
    let mut reading = read(text);
    let outcome = reading.value.take().map(|study| build(&study));
    let mut problems = std::mem::take(&mut reading.problems);
    match outcome {
        Some(Ok(checked)) if problems.is_empty() => return Ok(checked),
        Some(Err(found)) => {
            problems.extend(found.into_iter().filter_map(|problem| locate(&reading, problem)));
        }
        Some(Ok(_)) | None => {}
    }
    Err(InputErrors::new(path, text, problems))
}

/// The problem with its place in the text; `None` if it is only about a stand-in for something reported already.
fn locate(reading: &Reading<StudyConfig>, problem: Problem) -> Option<Diagnostic> {
    let Problem { path, message, mut allowed, absent } = problem;
    if absent {
        allowed += "; looked for where cm was started and beside the study file";
    }
    let path = parts(&path);
    (!reading.is_stand_in(&path)).then(|| Diagnostic { message, place: reading.place(&path), allowed })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `line:column message` of each problem of a text.
    fn problems(text: &str) -> Vec<String> {
        let errors = check(Path::new("f.ron"), text).expect_err("the text is wrong");
        let show = |problem: &Diagnostic| {
            let (line, column) = errors.position(problem).expect("it has a place");
            format!("{line}:{column} {}", problem.message)
        };
        errors.problems().iter().map(show).collect()
    }

    #[test]
    fn problems_of_spelling_range_and_combination_are_reported_together() {
        let text = "(
    base: (
        dataset: GaussianMixture(),
        network: Mlp(widht: 16),
        teacher: Exact,
        consistency: (init: Random, train: (batch: 0)),
        evaluation: (metrics: [SlicedWasserstein, Recognised]),
    ),
    arms: Star([
        (name: \"a\", changes: [Distance(PseudoHuber(c: -1)), Weighting(Karas)]),
    ]),
)";
        let expected = [
            "4:22 no field is called `widht` here: did you mean `width`?",
            "6:52 train.batch is 0",
            "7:51 metric Recognised needs a classifier, which these data do not have",
            "10:55 distance.c is -1",
            "10:71 no choice is called `Karas` here: did you mean `Karras`?",
        ];
        assert_eq!(problems(text), expected);
    }

    #[test]
    fn a_default_in_place_of_something_misspelt_is_not_complained_about() {
        // The default network does not fit points of a plane, but that is not what is wrong here.
        let text = "(base: (dataset: GaussianMixture(), teacher: Exact, consistency: (init: Random),
            network: Mpl(width: 8), evaluation: (metrics: [])))";
        assert_eq!(problems(text), ["2:22 no choice is called `Mpl` here: did you mean `Mlp`?"]);
    }
}
