//! A model in the forms of other programs.

mod card;
mod classifier;
mod diffusers;
mod onnx;
mod original;
#[cfg(test)]
mod tests;
mod torch;

use crate::any_model::AnyModel;
use crate::error::WorkbenchError;
use crate::request::{ModelRequest, pick};
use cm_network::{Network, Weights};
use cm_study::{Problems, WeightsCard};
use std::path::{Path, PathBuf};

/// What is to be exported.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportRequest {
    /// A finished run, a trained teacher, the model file of either, or a file of weights; or `classifier`, or a study's
    /// `classifier.safetensors`, for the network that judges.
    pub model: ModelRequest,
    /// In which form.
    pub format: ExportFormat,
    /// The file to write, or for forms that are a folder that folder, which is not there yet.
    pub out: PathBuf,
}

/// The forms in which a model can be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportFormat {
    /// One file of weights under the names of the original programs: `.pt` or `.pth`, `.safetensors`, or `.msgpack`.
    #[default] // as it was before there were others
    Original,
    /// A folder with `denoiser.onnx` and, of a consistency model, `generator.onnx`; of a classifier, `classifier.onnx`.
    Onnx,
    /// A folder with `weights.pt`, a state dict, and `model.py`, the module that it is of.
    Torch,
    /// A folder that diffusers' `ConsistencyModelPipeline` loads; of ADM's networks.
    Diffusers,
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The file or folder.
    pub out: PathBuf,
    /// What is in it.
    pub contents: String,
    /// What it cannot say, and what the other program does otherwise; for people.
    pub notes: Vec<String>,
}

/// The model, opened.
struct Subject<'m> {
    /// Where it was found.
    path: &'m Path,
    card: WeightsCard,
    network: &'m dyn Network,
    weights: &'m Weights,
    model: &'m AnyModel,
}

/// Writes a model in the form that is asked for.
///
/// # Errors
/// [`WorkbenchError`] if the model cannot be opened or the form cannot express it, or a file cannot be written.
pub fn export(request: &ExportRequest) -> Result<Exported, WorkbenchError> {
    let ExportRequest { model, format, out } = request;
    if let Some(judge) = classifier::open(&model.path)? {
        return classifier::write(&judge, model, *format, out);
    }
    let mut problems = Problems::default();
    let target = match format {
        ExportFormat::Original => original::target(out, &mut problems),
        ExportFormat::Onnx | ExportFormat::Torch | ExportFormat::Diffusers => None,
    };
    let opened = AnyModel::open(&model.path)?;
    let class_names = || opened.class_names();
    let (average, _) = pick(model, &opened.averages(), (opened.labels(), &class_names), &mut problems)?;
    if let Err(message) = opened.is_whole() {
        problems.add("MODEL", message, "the model of another run");
    }
    problems.check()?;
    let weights = opened.weights(average);
    let (card, network) = (opened.card(), opened.network());
    let subject = Subject { path: &model.path, card, network, weights, model: &opened };
    let (contents, notes) = match (format, target) {
        (ExportFormat::Original, Some(target)) => {
            let (arrays, notes) = original::write(out, target, &subject)?;
            (format!("{arrays} arrays"), notes)
        }
        (ExportFormat::Original, None) => unreachable!("a file without a format was a problem"),
        (ExportFormat::Onnx, _) => (onnx::write(out, &subject)?.join(", "), Vec::new()),
        (ExportFormat::Diffusers, _) => (diffusers::write(out, &subject)?.join(", "), Vec::new()),
        (ExportFormat::Torch, _) => (torch::write(out, &subject)?.join(", "), Vec::new()),
    };
    Ok(Exported { out: out.clone(), contents, notes })
}
