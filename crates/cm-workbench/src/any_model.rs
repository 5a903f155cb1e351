//! A model of which another program can use the network: a consistency model, or a diffusion model.

use crate::error::WorkbenchError;
use crate::flow::DiffusionModel;
use crate::model::Model;
use cm_datasets::DatasetConfig;
use cm_diffusion::{Labels, NumLevels, Sigma};
use cm_experiment::{FolderError, Trained, TrainedModel, WeightsFile};
use cm_host::Identity;
use cm_network::{Network, Weights};
use cm_study::WeightsCard;
use std::path::Path;

/// A model, whatever it is and wherever it comes from.
pub(crate) enum AnyModel {
    Consistency(Model),
    Diffusion(DiffusionModel),
}

/// What there is at a path.
pub(crate) enum Found {
    Model(AnyModel),
    /// A student that jumps between noise levels, and what it is for people.
    Jumping(Box<Trained>, &'static str),
}

/// What the folder of a run or of a teacher, the model file in it, or a file of weights holds.
pub(crate) fn found(path: &Path) -> Result<Found, WorkbenchError> {
    if WeightsCard::is_in(path) {
        let file = Box::new(WeightsFile::open(path)?);
        return Ok(Found::Model(match file.card.precondition.is_consistency() {
            true => AnyModel::Consistency(Model::File(file)),
            false => AnyModel::Diffusion(DiffusionModel::File(file)),
        }));
    }
    Ok(match TrainedModel::open(path)? {
        TrainedModel::Teacher(teacher) => Found::Model(AnyModel::Diffusion(DiffusionModel::Teacher(teacher))),
        TrainedModel::Student(trained) => match trained.run().experiment.jumps() {
            Some(model) => Found::Jumping(trained, model),
            None => Found::Model(AnyModel::Consistency(Model::Run(trained))),
        },
    })
}

impl AnyModel {
    /// The folder of a run or of a teacher, the model file in it, or a file of weights.
    pub(crate) fn open(path: &Path) -> Result<Self, WorkbenchError> {
        Ok(match found(path)? {
            Found::Model(model) => model,
            Found::Jumping(trained, _) => {
                Self::Consistency(Model::Run(Box::new(trained.without_jumps(path)?)))
            }
        })
    }

    /// As [`open`](Self::open), of a consistency model.
    pub(crate) fn consistency(path: &Path) -> Result<Model, WorkbenchError> {
        match Self::open(path)? {
            Self::Consistency(model) => Ok(model),
            Self::Diffusion(model) => {
                let reason = format!("{}, and a consistency model is needed", model.kind());
                Err(FolderError::NoModel { path: path.to_owned(), reason }.into())
            }
        }
    }

    /// All that another program needs to know of it.
    pub(crate) fn card(&self) -> WeightsCard {
        match self {
            Self::Consistency(model) => model.card(),
            Self::Diffusion(model) => model.card(),
        }
    }

    pub(crate) fn network(&self) -> &dyn Network {
        match self {
            Self::Consistency(model) => model.network(),
            Self::Diffusion(model) => model.network(),
        }
    }

    /// The weights of one average.
    pub(crate) fn weights(&self, average: usize) -> &Weights {
        match self {
            Self::Consistency(model) => model.weights(average),
            Self::Diffusion(model) => model.weights(average),
        }
    }

    /// The names of its averages of the weights; never empty.
    pub(crate) fn averages(&self) -> Vec<String> {
        match self {
            Self::Consistency(model) => model.averages(),
            Self::Diffusion(model) => model.averages(),
        }
    }

    pub(crate) fn labels(&self) -> Labels {
        match self {
            Self::Consistency(model) => model.labels(),
            Self::Diffusion(model) => model.labels(),
        }
    }

    /// The names of its classes; none of a file, which does not know them.
    pub(crate) fn class_names(&self) -> Result<Vec<String>, WorkbenchError> {
        match self {
            Self::Consistency(model) => model.class_names(),
            Self::Diffusion(model) => model.class_names(),
        }
    }

    /// `count` of its noise levels, rising; none if its range has not so many.
    pub(crate) fn levels(&self, count: usize) -> Vec<Sigma> {
        let levels = match self {
            Self::Consistency(model) => NumLevels::new(count).and_then(|count| model.levels(count)),
            Self::Diffusion(model) => model.levels(Some(count)),
        };
        levels.map_or_else(|_| Vec::new(), |levels| levels.as_slice().to_vec())
    }

    /// What the results of its training say that they are of, and what they were trained on; none of a file.
    pub(crate) fn origin(&self) -> Option<(Identity, &DatasetConfig)> {
        match self {
            Self::Consistency(Model::Run(trained)) => {
                Some((trained.identity(), &trained.run().experiment.dataset))
            }
            Self::Diffusion(DiffusionModel::Teacher(teacher)) => {
                Some((teacher.identity(), &teacher.run().experiment.dataset))
            }
            Self::Consistency(Model::File(_)) | Self::Diffusion(DiffusionModel::File(_)) => None,
        }
    }

    /// That it is one network at all noise levels, as other programs have it; else why not.
    pub(crate) fn is_whole(&self) -> Result<(), &'static str> {
        match self {
            Self::Consistency(model) => model.is_whole(),
            Self::Diffusion(_) => Ok(()),
        }
    }
}
