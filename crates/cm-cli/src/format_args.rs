//! Commands about the format of studies: `cm explain`, `cm schema`, `cm init`.

use crate::ending::{Ending, WRONG_INPUT, print, wrong_input};
use clap::Subcommand;
use cm_study::{InputErrors, json_form, read_text, reference, schema, template, tree};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What to do with the format.
#[derive(Debug, Subcommand)]
pub(crate) enum FormatCommand {
    /// Say what the fields of a study mean: unit, range, default and where it comes from, choices, an example.
    #[command(
        after_help = "Example:\n  cm explain\n  cm explain consistency.curriculum\n\nWithout a path: every field of a study, as a tree."
    )]
    Explain {
        /// A field or a choice, such as consistency.curriculum, Doubling or arms.changes.LearningRate.
        path: Option<String>,
        /// The whole reference as Markdown.
        #[arg(long, conflicts_with = "path")]
        markdown: bool,
    },
    /// Print the JSON Schema of studies, for editors and other programs; or a study in the JSON form that it describes.
    #[command(after_help = "Example:\n  cm schema > study.schema.json\n  cm schema experiments/smoke.ron")]
    Schema {
        /// A study file to print as JSON. It is not checked.
        file: Option<PathBuf>,
    },
    /// Write a commented study to start from.
    #[command(
        after_help = "Example:\n  cm init first --dataset digits && cm plan first.ron\n\nData: digits, gaussian-mixture, swiss-roll, a folder that `cm dataset prepare` wrote, a file or folder of images, or a dataset in RON."
    )]
    Init {
        /// Name of the study: NAME.ron is written, and must not be there.
        name: String,
        /// What is learnt.
        #[arg(long)]
        dataset: String,
    },
}

/// Does it.
pub(crate) fn perform(command: FormatCommand) -> Result<(), Ending> {
    match command {
        FormatCommand::Explain { path: Some(path), .. } => {
            print(&cm_study::explain(&path).map_err(|error| wrong_input(&error))?)
        }
        FormatCommand::Explain { path: None, markdown } => {
            print(&if markdown { reference() } else { tree() })
        }
        FormatCommand::Schema { file: None } => print(&format!("{:#}\n", schema())),
        FormatCommand::Schema { file: Some(file) } => {
            let (_, text) = read_text(&file)?;
            let unclosed = || {
                InputErrors::whole_file(
                    &file,
                    "its brackets do not close".into(),
                    "see what `cm plan` says of it",
                )
            };
            print(&format!("{:#}\n", json_form(&text).ok_or_else(unclosed)?))
        }
        FormatCommand::Init { name, dataset } => {
            let text = template(&name, &dataset).map_err(|error| wrong_input(&error))?;
            let file = PathBuf::from(format!("{name}.ron"));
            written(&file, &text)?;
            print(&format!("{}\nwhat it costs: cm plan {}\n", file.display(), file.display()))
        }
    }
}

/// Writes a new file; one that is there stays as it is.
fn written(path: &Path, text: &str) -> Result<(), Ending> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| {
        let there = error.kind() == std::io::ErrorKind::AlreadyExists;
        let message = match there {
            true => format!("error: {} is there already\n  allowed: another NAME", path.display()),
            false => format!("error: cannot write {}: {error}", path.display()),
        };
        Ending { message, code: WRONG_INPUT }
    })
}
