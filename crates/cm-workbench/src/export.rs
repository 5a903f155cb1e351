//! Weights of ours under the names of the original programs, so that these can load them.

use crate::error::WorkbenchError;
use crate::foreign::{self, Container, Dialect, names};
use crate::model::Model;
use crate::request::{ModelRequest, pick};
use cm_experiment::WeightsFile;
use cm_host::{FileError, durable};
use cm_study::{Problems, WeightsCard};
use std::path::PathBuf;

/// What is to be exported.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportRequest {
    /// A finished run, its model file, or a file of weights.
    pub model: ModelRequest,
    /// The file to write: `.pt` or `.pth`, `.safetensors`, or `.msgpack`.
    pub out: PathBuf,
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The file.
    pub out: PathBuf,
    /// The number of arrays in it.
    pub arrays: usize,
}

/// Writes a model's weights under the original names.
///
/// # Errors
/// [`WorkbenchError`] if the model cannot be opened, its network has no original, or the file cannot be written.
pub fn export(request: &ExportRequest) -> Result<Exported, WorkbenchError> {
    let ExportRequest { model, out } = request;
    let mut problems = Problems::default();
    let ending = out.extension().and_then(|ending| ending.to_str());
    let target = match ending {
        Some("pt" | "pth") => Some((Container::Pytorch, Dialect::Torch)),
        Some("safetensors") => Some((Container::Safetensors, Dialect::Torch)),
        Some("msgpack") => Some((Container::Flax, Dialect::Flax)),
        Some(_) | None => None,
    };
    if target.is_none() {
        let message = format!("{} names no format", out.display());
        problems.add("--out", message, ".pt, .pth or .safetensors for PyTorch, .msgpack for Flax");
    }
    // A diffusion model is exported as well as a consistency model.
    let opened = match WeightsCard::is_in(&model.path) {
        true => Model::File(Box::new(WeightsFile::open(&model.path)?)),
        false => Model::open(&model.path)?,
    };
    let (average, _) = pick(model, &opened.averages(), opened.labels(), &mut problems);
    problems.check()?;
    let (card, weights) = match &opened {
        Model::Run(trained) => (trained.card(), trained.weights(average)),
        Model::File(file) => (file.card.clone(), &file.weights),
    };
    let Some((container, dialect)) = target else { unreachable!("checked above") };
    let table = names(&card.network, card.height, weights, dialect).map_err(|message| {
        let mut problems = Problems::default();
        problems.add(
            "--out",
            message,
            "PyTorch's formats for ADM; PyTorch's and Flax's for the U-Nets of CIFAR-10",
        );
        match problems.check() {
            Err(errors) => WorkbenchError::from(errors),
            Ok(()) => WorkbenchError::failed("exporting", "no name"),
        }
    })?;
    let ours: Vec<&[f32]> = weights.iter().map(|(_, _, values)| values).collect();
    durable::write_with(out, |file| foreign::write(file, container, &table, &ours))
        .map_err(FileError::io(out))?;
    Ok(Exported { out: out.clone(), arrays: foreign::targets(&table).len() })
}
