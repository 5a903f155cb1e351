//! Weights with all that is needed to use them: our safetensors file with a card in its metadata.
//!
//! Such a file comes from other programs (`cm import`) and is used like the model of a run: sampled, distilled, edited
//! with, started from. It is read and written array by array, so that a network is in memory once.

use cm_consistency::ConsistencyModel;
use cm_diffusion::{Denoiser, Discretisation, Karras, Labels, SigmaRange};
use cm_host::{FileError, durable};
use cm_import::Archive;
use cm_network::{Network, TensorFile, Weights};
use cm_study::WeightsCard;
use cm_teacher::Teacher;
use std::path::Path;

/// An open file of weights.
pub struct WeightsFile {
    /// What belongs to the weights.
    pub card: WeightsCard,
    /// The network they are of.
    pub network: Box<dyn Network>,
    /// The weights.
    pub weights: Weights,
    /// The range of its noise levels.
    pub range: SigmaRange,
    discretisation: Karras,
}

impl WeightsFile {
    /// Opens a file and reads its weights.
    ///
    /// # Errors
    /// [`FileError::Damaged`] if it is not such a file or was changed, [`FileError::Io`] if it cannot be read.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let damaged = |reason: String| FileError::damaged(path, reason);
        let mut archive = Archive::open(path).map_err(|error| FileError::damaged(path, error))?;
        let card = WeightsCard::of(path, &archive)?;
        let (range, discretisation) = card.discretisation().map_err(damaged)?;
        let (network, mut weights) = card
            .network
            .outline(card.shape(), card.conditions())
            .map_err(|error| damaged(format!("the network in it: {error}")))?;
        let names: Vec<(String, Vec<usize>)> =
            weights.outlines().map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
        if names.len() != archive.tensors().len() {
            return Err(damaged(format!(
                "it holds {} arrays, but its network has {}",
                archive.tensors().len(),
                names.len()
            )));
        }
        // What the network would take is taken only if the file holds it.
        for (name, shape) in &names {
            match archive.find(name) {
                Some(info) if info.shape == *shape => {}
                Some(_) | None => return Err(damaged(format!("the array `{name}` is missing or misshapen"))),
            }
        }
        for ((name, _), values) in names.iter().zip(weights.values_mut()) {
            values.copy_from_slice(&archive.read(name).map_err(|error| damaged(error.to_string()))?);
        }
        let metadata = archive.metadata().get(TensorFile::KEY).map(String::as_str);
        let (metadata, checksum) = TensorFile::metadata_of(metadata).unwrap_or_default();
        if checksum != Some(weights.checksum(&metadata)) {
            return Err(damaged("the checksum does not match: the file was changed or damaged".to_owned()));
        }
        Ok(Self { card, network, weights, range, discretisation })
    }

    /// Writes weights with their card, in one step.
    ///
    /// # Errors
    /// [`FileError::Io`] if the file system refuses.
    pub fn write(path: &Path, card: &WeightsCard, weights: &Weights) -> Result<(), FileError> {
        durable::write_with(path, |out| weights.write(&card.metadata(), out)).map_err(FileError::io(path))
    }

    /// The consistency function of the weights.
    pub fn consistency(&self) -> ConsistencyModel<'_> {
        ConsistencyModel::new(self.network.as_ref(), self.weights.clone(), self.card.boundary())
    }

    /// The weights as a denoiser, preconditioned as the card says.
    pub fn denoiser(&self) -> Box<dyn Denoiser + '_> {
        let precondition = self.card.precondition(None);
        Box::new(Teacher::with(self.network.as_ref(), self.weights.clone(), precondition))
    }

    /// The classes asked of its images: all equally likely, if it knows any.
    pub fn labels(&self) -> Labels {
        match self.card.classes {
            Some(classes) => Labels::Uniform { classes: classes as u32 },
            None => Labels::None,
        }
    }

    /// The spacing of its noise levels.
    pub fn discretisation(&self) -> &dyn Discretisation {
        &self.discretisation
    }
}
