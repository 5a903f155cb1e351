//! The model card: what a model is, for people who find the folder of its run or an export of it.
//!
//! It is a file to be written on: nothing reads it back, and no manifest seals it.

use crate::copies::COPIES;
use crate::error::RunError;
use crate::sealed::{SealedFolder, identity_of};
use crate::table::{ReportRow, markdown};
use crate::trained_teacher::TrainedTeacher;
use cm_host::{FileError, Identity, durable};
use cm_network::NetworkConfig;
use cm_study::{ExperimentConfig, PlannedRun, to_ron};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The name of the file.
pub const MODEL_CARD: &str = "README.md";

/// What a card says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelCard {
    /// What the model is called.
    pub title: String,
    /// What is to be known first: names and values.
    pub facts: Vec<(&'static str, String)>,
    /// The scores of its run, as a table.
    pub scores: Option<String>,
    /// Pictures, as files beside the card.
    pub pictures: Vec<String>,
    /// How images are drawn with it: headings, languages and code.
    pub usage: Vec<(String, &'static str, String)>,
    /// The plan that it follows, every value written out.
    pub plan: Option<String>,
}

impl ModelCard {
    /// The card of a run's model with these scores, without pictures and how to use it.
    pub fn of_run(run: &PlannedRun, rows: &[ReportRow]) -> Self {
        let experiment = &run.experiment;
        let kind = experiment.jumps().unwrap_or("a consistency model");
        let method = Some(one_line(&experiment.method));
        let facts = facts((kind, &experiment.network, method), experiment, run.seed, identity_of(run));
        Self {
            title: run.name(),
            facts,
            scores: (!rows.is_empty()).then(|| markdown(rows)),
            plan: Some(run.to_ron()),
            ..Self::default()
        }
    }

    /// The card of a trained teacher, without pictures and how to use it.
    pub fn of_teacher(teacher: &TrainedTeacher) -> Self {
        let (experiment, identity) = (&teacher.run().experiment, teacher.identity());
        let title = format!("teacher {}", identity.name);
        let model = ("a diffusion model", &experiment.teacher_network(), None);
        let facts = facts(model, experiment, experiment.teacher_seed, identity);
        let plan = Some(teacher.key().decided_by);
        Self { title, facts, plan, ..Self::default() }
    }

    /// [`of_run`](Self::of_run) with the scores in the run's folder.
    ///
    /// # Errors
    /// [`FileError`] if the scores are not those that were sealed.
    pub fn of_folder(folder: &Path, run: &PlannedRun) -> Result<Self, FileError> {
        let rows = SealedFolder::open(folder)?.rows("scores.csv")?.unwrap_or_default();
        Ok(Self::of_run(run, &rows))
    }

    /// The card as Markdown.
    pub fn to_markdown(&self) -> String {
        let Self { title, facts, scores, pictures, usage, plan } = self;
        let mut text = format!("# {title}\n\n| | |\n|:---|:---|\n");
        for (name, value) in facts {
            text += &format!("| {name} | {value} |\n");
        }
        text += "\nThe licence of the weights is for whoever trained them to say; write it here before you publish them.\n";
        if let Some(scores) = scores {
            text += &format!(
                "\n## Scores\n\n{scores}\nNFE: evaluations of the network for each image. Samples: the images that were scored.\n"
            );
        }
        if !pictures.is_empty() {
            text += "\n## Pictures\n\n";
            for picture in pictures {
                text += &format!("![{picture}]({picture})\n");
            }
        }
        if !usage.is_empty() {
            text += "\n## How to draw with it\n";
            for (heading, language, code) in usage {
                text += &format!("\n{heading}\n\n```{language}\n{}\n```\n", code.trim_end());
            }
        }
        if let Some(plan) = plan {
            text += &format!("\n## Plan\n\n```ron\n{}\n```\n", plan.trim_end());
        }
        text
    }

    /// Writes the card into a folder.
    ///
    /// # Errors
    /// [`FileError::Io`] if the file system refuses.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        let path = folder.join(MODEL_CARD);
        durable::write(&path, self.to_markdown().as_bytes()).map_err(FileError::io(&path))
    }
}

/// What is to be known first of a model of an experiment: its kind, its network and its method, if it has one; with which
/// seed it was trained, and as what its results are known.
fn facts(
    (kind, network, method): (&str, &NetworkConfig, Option<String>),
    experiment: &ExperimentConfig,
    seed: u64,
    identity: Identity,
) -> Vec<(&'static str, String)> {
    let of_model = [("kind", kind.to_owned()), ("network", one_line(network))];
    let beside = [
        ("data", one_line(&experiment.dataset)),
        ("licence of the data", experiment.dataset.licence().to_owned()),
        ("seed", seed.to_string()),
        ("plan, BLAKE3", identity.plan),
        ("made by", format!("cm {}", env!("CARGO_PKG_VERSION"))),
    ];
    of_model.into_iter().chain(method.map(|method| ("method", method))).chain(beside).collect()
}

/// A value as RON on one line.
fn one_line(value: &impl Serialize) -> String {
    to_ron(value).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The card of a run whose scores are known, in its folder.
pub(crate) fn write_in_run(folder: &Path, run: &PlannedRun, rows: &[ReportRow]) -> Result<(), RunError> {
    let name = |path: PathBuf| Some(format!("samples/{}", path.file_name()?.to_str()?));
    let usage = [
        ("A sheet and an archive of a hundred images:", "cm sample . --count 100 --out drawn"),
        ("For ONNX, PyTorch and others:", "cm export . --format onnx --out model-onnx"),
    ];
    let card = ModelCard {
        pictures: last_pictures(folder)?.into_iter().filter_map(name).collect(),
        usage: usage.map(|(heading, code)| (heading.to_owned(), "sh", code.to_owned())).into(),
        ..ModelCard::of_run(run, rows)
    };
    Ok(card.write(folder)?)
}

/// The pictures of what the last step's model draws, in the folder of a run, by their names.
///
/// # Errors
/// [`FileError::Io`] if the folder cannot be read.
pub fn last_pictures(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let samples = folder.join("samples");
    let entries = match fs::read_dir(&samples) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::io(&samples)(error)),
    };
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for entry in entries {
        let path = entry.map_err(FileError::io(&samples))?.path();
        // NAME-STEP.png
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".png"));
        let name = name.filter(|name| !name.starts_with(COPIES));
        let step = name.and_then(|name| name.rsplit_once('-')).and_then(|(_, step)| step.parse().ok());
        found.extend(step.map(|step| (step, path.clone())));
    }
    let last = found.iter().map(|(step, _)| *step).max();
    found.retain(|(step, _)| Some(*step) == last);
    let mut found: Vec<PathBuf> = found.into_iter().map(|(_, path)| path).collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_says_what_there_is_to_say_and_has_no_empty_parts() {
        let bare =
            ModelCard { title: "weights".into(), facts: vec![("kind", "x".into())], ..ModelCard::default() };
        let text = bare.to_markdown();
        assert!(text.starts_with("# weights\n\n| | |\n|:---|:---|\n| kind | x |\n"), "{text}");
        assert!(!text.contains("##"), "{text}");
        let usage = vec![("So:".to_owned(), "sh", "cm sample .\n".to_owned())];
        let full =
            ModelCard { scores: Some("| a |\n".into()), pictures: vec!["a.png".into()], usage, ..bare };
        let text = full.to_markdown();
        for part in ["## Scores\n\n| a |\n", "![a.png](a.png)", "So:\n\n```sh\ncm sample .\n```"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn pictures_are_those_of_the_last_step() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(last_pictures(folder.path()).unwrap(), Vec::<PathBuf>::new());
        let samples = folder.path().join("samples");
        fs::create_dir(&samples).unwrap();
        for name in ["one-step-00000010.png", "one-step-00000020.png", "multistep-3-00000020.png", "x.txt"] {
            fs::write(samples.join(name), "").unwrap();
        }
        let expected = ["multistep-3-00000020.png", "one-step-00000020.png"].map(|name| samples.join(name));
        assert_eq!(last_pictures(folder.path()).unwrap(), expected);
    }
}
