//! Weights of ours under the names of the original programs, so that these can load them.

use super::{Subject, card};
use crate::error::WorkbenchError;
use crate::foreign::{self, CARD, Container, Dialect, names};
use cm_experiment::ModelCard;
use cm_host::{FileError, NewFile, durable};
use cm_network::{AdmConfig, NetworkConfig};
use cm_study::{PreconditionConfig, Problems, RequestErrors, WeightsCard, to_ron};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Which file the ending of `out` asks for; a problem if it names none.
pub(super) fn target(out: &Path, problems: &mut Problems) -> Option<(Container, Dialect)> {
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
    target
}

/// Writes the file; returns the number of its arrays, and what it cannot say.
pub(super) fn write(
    out: &Path,
    (container, dialect): (Container, Dialect),
    subject: &Subject<'_>,
) -> Result<(usize, Vec<String>), WorkbenchError> {
    let Subject { card, weights, .. } = subject;
    let table = names(&card.network, card.height, weights, dialect).map_err(|message| {
        let allowed = "--format onnx, torch or web for any network; the original names are of ADM (PyTorch) and of U-Nets \
                       without classes (PyTorch, Flax)";
        RequestErrors::one("--format", format!("original: {message}"), allowed)
    })?;
    let ours: Vec<&[f32]> = weights.iter().map(|(_, _, values)| values).collect();
    let text = to_ron(card);
    // The card appears when the weights are there.
    let mut beside = out.as_os_str().to_owned();
    beside.push(".md");
    let beside = PathBuf::from(beside);
    let (finishing, mut file) = NewFile::begin(&beside).map_err(FileError::io(&beside))?;
    let usage = match container {
        Container::Pytorch | Container::Safetensors => {
            let name = out.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            let code = format!(
                "cm import {name} --out weights.safetensors\ncm sample weights.safetensors --out drawn"
            );
            vec![("Its names are the original program's. Here:".to_owned(), "sh", code)]
        }
        Container::Flax => Vec::new(),
    };
    let model_card = ModelCard { usage, ..card::card(subject)? };
    let written = file.write_all(model_card.to_markdown().as_bytes()).and_then(|()| file.sync_all());
    written.map_err(FileError::io(&beside))?;
    durable::write_with(out, |file| foreign::write(file, container, &table, &ours, Some(&text)))
        .map_err(FileError::io(out))?;
    finishing.finish().map_err(FileError::io(&beside))?;
    let mut notes = differences(&card.network);
    notes.push(match container {
        Container::Flax => again(out, card),
        Container::Pytorch | Container::Safetensors => {
            format!(
                "the file holds what `cm import` needs (`{CARD}`); the original programs do not read that"
            )
        }
    });
    Ok((foreign::targets(&table).len(), notes))
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
