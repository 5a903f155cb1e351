//! Weights of ours under the names of the original programs, so that these can load them.

use crate::error::WorkbenchError;
use crate::foreign::{self, CARD, Container, Dialect, names};
use crate::model::Model;
use crate::request::{ModelRequest, pick};
use cm_experiment::WeightsFile;
use cm_host::{FileError, durable};
use cm_network::{AdmConfig, NetworkConfig};
use cm_study::{PreconditionConfig, Problems, WeightsCard, to_ron};
use std::path::{Path, PathBuf};

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
    /// What the file cannot say, and what the program with these names does otherwise; for people.
    pub notes: Vec<String>,
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
    let class_names = || opened.class_names();
    let (average, _) = pick(model, &opened.averages(), (opened.labels(), &class_names), &mut problems)?;
    if matches!(&opened, Model::Run(trained) if trained.is_truncated()) {
        let message = "it is a truncated consistency model: two networks, one for the lower noise levels";
        problems.add("MODEL", message.to_owned(), "the model of another run");
    }
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
    let text = to_ron(&card);
    durable::write_with(out, |file| foreign::write(file, container, &table, &ours, Some(&text)))
        .map_err(FileError::io(out))?;
    let mut notes = differences(&card.network);
    notes.push(match container {
        Container::Flax => again(out, &card),
        Container::Pytorch | Container::Safetensors => {
            format!(
                "the file holds what `cm import` needs (`{CARD}`); the original programs do not read that"
            )
        }
    });
    Ok(Exported { out: out.clone(), arrays: foreign::targets(&table).len(), notes })
}

/// What the program with the original names would compute otherwise: no array says it.
fn differences(network: &NetworkConfig) -> Vec<String> {
    let mut notes = Vec::new();
    match network {
        NetworkConfig::UNet(config) => {
            if config.heads != 1 {
                notes.push(format!(
                    "the original program has one head of attention, and this model {}",
                    config.heads
                ));
            }
        }
        NetworkConfig::Adm(config) => {
            notes.push(format!(
                "the original program must be told its heads of attention: {:?}",
                config.heads
            ));
            if config.small_groups {
                notes.push(
                    "the original program norms in 32 groups, and this model in fewer of at least 4 channels"
                        .into(),
                );
            }
            if config.embedding_scale != AdmConfig::default().embedding_scale {
                let scale = config.embedding_scale;
                notes.push(format!(
                    "the original program is told 1000 x ln(sigma) / 4, and this model {scale} x"
                ));
            }
        }
        NetworkConfig::Edm2(_) | NetworkConfig::Mlp(_) => {}
    }
    notes
}

/// The command that reads a file again which cannot hold the card.
fn again(out: &Path, card: &WeightsCard) -> String {
    let WeightsCard { network, height, sigma_data, sigma_min, sigma_max, rho, .. } = card;
    let precondition = match card.precondition {
        PreconditionConfig::Edm => "edm",
        PreconditionConfig::Consistency => "consistency",
        PreconditionConfig::Vp(_) => "vp",
        PreconditionConfig::Ve => "ve",
        PreconditionConfig::Iddpm(_) => "iddpm",
    };
    let network: String = to_ron(network).split_whitespace().collect();
    format!(
        "its format holds no more than arrays: cm import {} --precondition {precondition} --size {height} --sigma-data \
         {sigma_data} --sigma-min {sigma_min} --sigma-max {sigma_max} --rho {rho} --network '{network}'",
        out.display()
    )
}
