//! A consistency model, wherever it comes from: a finished run or a file of weights.

use crate::error::WorkbenchError;
use cm_consistency::ConsistencyModel;
use cm_diffusion::{Labels, NoiseLevels, NumLevels, QuantityError, SigmaRange};
use cm_experiment::{Trained, WeightsFile};
use cm_image::ImageShape;
use cm_network::{Network, Weights};
use cm_study::WeightsCard;

/// What sampling and editing need.
pub(crate) enum Model {
    Run(Box<Trained>),
    File(Box<WeightsFile>),
}

impl Model {
    /// All that another program needs to know of it.
    pub(crate) fn card(&self) -> WeightsCard {
        match self {
            Self::Run(trained) => trained.card(),
            Self::File(file) => file.card.clone(),
        }
    }

    pub(crate) fn network(&self) -> &dyn Network {
        match self {
            Self::Run(trained) => trained.network(),
            Self::File(file) => file.network.as_ref(),
        }
    }

    /// The weights of one average.
    pub(crate) fn weights(&self, average: usize) -> &Weights {
        match self {
            Self::Run(trained) => trained.weights(average),
            Self::File(file) => &file.weights,
        }
    }

    /// That it is one network at all noise levels, as other programs have it; else why not.
    pub(crate) fn is_whole(&self) -> Result<(), &'static str> {
        match self {
            Self::Run(trained) if trained.is_truncated() => {
                Err("it is a truncated consistency model: two networks, one for the lower noise levels")
            }
            Self::Run(_) | Self::File(_) => Ok(()),
        }
    }

    /// The names of its averages of the weights; never empty.
    pub(crate) fn averages(&self) -> Vec<String> {
        match self {
            Self::Run(trained) => trained.averages().iter().map(|ema| ema.name()).collect(),
            Self::File(_) => vec!["file".to_owned()],
        }
    }

    /// The consistency function of one average.
    pub(crate) fn function(&self, average: usize) -> ConsistencyModel<'_> {
        match self {
            Self::Run(trained) => trained.model(average),
            Self::File(file) => file.consistency(),
        }
    }

    pub(crate) fn shape(&self) -> ImageShape {
        match self {
            Self::Run(trained) => trained.shape(),
            Self::File(file) => file.card.shape(),
        }
    }

    pub(crate) fn range(&self) -> SigmaRange {
        match self {
            Self::Run(trained) => trained.range(),
            Self::File(file) => file.range,
        }
    }

    pub(crate) fn levels(&self, num_levels: NumLevels) -> Result<NoiseLevels, QuantityError> {
        match self {
            Self::Run(trained) => trained.levels(num_levels),
            Self::File(file) => file.discretisation().noise_levels(num_levels),
        }
    }

    /// The names of its classes; none of a file, which does not know them.
    pub(crate) fn class_names(&self) -> Result<Vec<String>, WorkbenchError> {
        match self {
            Self::Run(trained) => Ok(trained.class_names()?),
            Self::File(_) => Ok(Vec::new()),
        }
    }

    pub(crate) fn labels(&self) -> Labels {
        match self {
            Self::Run(trained) => trained.labels(),
            Self::File(file) => file.labels(),
        }
    }
}
