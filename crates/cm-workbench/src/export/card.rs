//! The model card beside an export.

use super::Subject;
use crate::any_model::AnyModel;
use crate::error::WorkbenchError;
use crate::flow::DiffusionModel;
use crate::model::Model;
use cm_experiment::{MODEL_CARD, ModelCard, last_pictures};
use cm_host::{FileError, durable};
use cm_study::{PreconditionConfig, WeightsCard, to_ron};
use std::fs;
use std::path::Path;

/// What is known of a model, without how it is used.
pub(super) fn card(subject: &Subject<'_>) -> Result<ModelCard, WorkbenchError> {
    let Subject { path, card, model, .. } = subject;
    let WeightsCard { height, width, channels, classes, sigma_data, sigma_min, sigma_max, rho, .. } = card;
    let mut known = match model {
        AnyModel::Consistency(Model::Run(trained)) if path.is_dir() => {
            ModelCard::of_folder(path, trained.run())?
        }
        AnyModel::Consistency(Model::Run(trained)) => ModelCard::of_run(trained.run(), &[]),
        AnyModel::Diffusion(DiffusionModel::Teacher(teacher)) => ModelCard::of_teacher(teacher),
        AnyModel::Consistency(Model::File(_)) | AnyModel::Diffusion(DiffusionModel::File(_)) => {
            let title = path.file_stem().map_or_else(|| "weights".into(), |name| name.to_string_lossy());
            let network: String = to_ron(&card.network).split_whitespace().collect::<Vec<_>>().join(" ");
            let unknown = "not known: the weights are of another program";
            let facts = vec![
                ("kind", format!("a {}", card.precondition)),
                ("network", network),
                ("data", unknown.to_owned()),
                ("licence of the data", unknown.to_owned()),
            ];
            ModelCard { title: title.into_owned(), facts, ..ModelCard::default() }
        }
    };
    let classes = classes.map_or_else(|| "none".to_owned(), |classes| format!("0 to {}", classes - 1));
    known.facts.extend([
        ("images", format!("{channels} x {height} x {width} (channels, height, width), from -1 to 1")),
        ("classes", classes),
        ("noise levels", format!("{sigma_min} to {sigma_max}, rho {rho}, sigma_data {sigma_data}")),
    ]);
    Ok(known)
}

/// Writes a card into a folder that is being made, with copies of the run's last pictures beside it.
pub(super) fn write(
    subject: &Subject<'_>,
    folder: &Path,
    usage: Vec<(String, &'static str, String)>,
) -> Result<Vec<String>, WorkbenchError> {
    let mut card = card(subject)?;
    card.usage = usage;
    let run = subject.model.origin().is_some() && subject.path.is_dir();
    for picture in if run { last_pictures(subject.path)? } else { Vec::new() } {
        let Some(name) = picture.file_name().and_then(|name| name.to_str()) else { continue };
        let bytes = fs::read(&picture).map_err(FileError::io(&picture))?;
        let copy = folder.join(name);
        durable::write(&copy, &bytes).map_err(FileError::io(&copy))?;
        card.pictures.push(name.to_owned());
    }
    card.write(folder)?;
    Ok(std::iter::once(MODEL_CARD.to_owned()).chain(card.pictures).collect())
}

/// What all examples in Python begin with: a batch of noise and, if there are classes, labels.
pub(super) struct Example {
    /// Extents of a batch.
    pub(super) shape: String,
    /// `numpy.arange(16) % 10`, if the network knows classes.
    pub(super) classes: Option<usize>,
    pub(super) sigma_max: f32,
    /// Whether one evaluation draws.
    pub(super) draws: bool,
}

impl Example {
    pub(super) fn of(card: &WeightsCard) -> Self {
        let WeightsCard { height, width, channels, classes, sigma_max, .. } = *card;
        let draws = match card.precondition {
            PreconditionConfig::Consistency => true,
            PreconditionConfig::Edm
            | PreconditionConfig::Vp(_)
            | PreconditionConfig::Ve
            | PreconditionConfig::Iddpm(_) => false,
        };
        Self { shape: format!("(16, {channels}, {height}, {width})"), classes, sigma_max, draws }
    }
}
