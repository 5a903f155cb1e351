//! A consistency model, wherever it comes from: a finished run or a file of weights.

use crate::error::WorkbenchError;
use cm_consistency::ConsistencyModel;
use cm_diffusion::{Labels, NoiseLevels, NumLevels, QuantityError, SigmaRange};
use cm_experiment::{FolderError, Trained, WeightsFile};
use cm_image::ImageShape;
use cm_study::WeightsCard;
use std::path::Path;

/// What sampling and editing need.
pub(crate) enum Model {
    Run(Box<Trained>),
    File(Box<WeightsFile>),
}

impl Model {
    /// The folder of a run, the model file in it, or a file of weights.
    pub(crate) fn open(path: &Path) -> Result<Self, WorkbenchError> {
        if !WeightsCard::is_in(path) {
            return Ok(Self::Run(Box::new(Trained::open(path)?)));
        }
        let file = WeightsFile::open(path)?;
        match file.card.precondition.is_consistency() {
            true => Ok(Self::File(Box::new(file))),
            false => {
                let reason =
                    "its weights are a diffusion model's, and a consistency model is needed".to_owned();
                Err(FolderError::NoModel { path: path.to_owned(), reason }.into())
            }
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
