//! Weights with all that is needed to use them: our safetensors file with a card in its metadata.
//!
//! Such a file comes from other programs (`import.rs`) and is used like the model of a run: sampled, distilled, edited
//! with, started from. It is read and written array by array, so that a network is in memory once.

use crate::durable;
use crate::error::RunError;
use crate::parse::options;
use crate::plan::to_ron;
use cm_consistency::ConsistencyModel;
use cm_diffusion::{Boundary, Discretisation, Edm, Karras, Labels, SigmaRange};
use cm_image::ImageShape;
use cm_import::{Archive, ImportError};
use cm_network::{Conditions, Network, NetworkConfig, TensorFile, Weights};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// The key of the card in a file's metadata.
const CARD: &str = "weights";

/// What belongs to weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightsCard {
    /// The architecture.
    pub network: NetworkConfig,
    /// Height of the images.
    pub height: usize,
    /// Width of the images.
    pub width: usize,
    /// Channels of the images.
    pub channels: usize,
    /// The number of classes it must be told one of.
    pub classes: Option<usize>,
    /// How the network's output is used.
    pub precondition: PreconditionConfig,
    /// Standard deviation of the data it was trained with.
    pub sigma_data: f32,
    /// Its lowest noise level.
    pub sigma_min: f32,
    /// Its highest noise level.
    pub sigma_max: f32,
    /// Curvature of its noise levels.
    pub rho: f32,
}

impl Default for WeightsCard {
    fn default() -> Self {
        Self {
            network: NetworkConfig::default(),             // beside that type
            height: 32,                                    // CIFAR-10, as the default network
            width: 32,                                     // CIFAR-10
            channels: 3,                                   // CIFAR-10
            classes: None,                                 // CIFAR-10 as in Song et al. 2023
            precondition: PreconditionConfig::Consistency, // ours: what the program is for
            sigma_data: 0.5,                               // Karras et al. 2022, Table 1
            sigma_min: 0.002,                              // Karras et al. 2022, Table 1
            sigma_max: 80.0,                               // Karras et al. 2022, Table 1
            rho: 7.0,                                      // Karras et al. 2022, Table 1
        }
    }
}

/// How a network's output becomes an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PreconditionConfig {
    /// A diffusion model's (Karras et al. 2022).
    Edm,
    /// A consistency model's (Song et al. 2023).
    Consistency,
}

impl WeightsCard {
    /// The shape of its images.
    pub fn shape(&self) -> ImageShape {
        ImageShape::new(self.height, self.width, self.channels)
    }

    /// What its network is told.
    pub fn conditions(&self) -> Conditions {
        Conditions { classes: self.classes, ..Conditions::default() }
    }

    /// Its noise levels; an error says which number is out of range.
    pub(crate) fn discretisation(&self) -> Result<(SigmaRange, Karras), String> {
        let range = SigmaRange::new(self.sigma_min, self.sigma_max).map_err(|error| error.to_string())?;
        let karras = Karras::new(range, self.rho).map_err(|error| error.to_string())?;
        if !(self.sigma_data > 0.0 && self.sigma_data.is_finite()) {
            return Err(format!("sigma_data is {}, which must be a finite number above 0", self.sigma_data));
        }
        Ok((range, karras))
    }

    pub(crate) fn edm(&self) -> Edm {
        Edm { sigma_data: self.sigma_data }
    }

    pub(crate) fn boundary(&self) -> Boundary {
        Boundary { sigma_data: self.sigma_data, sigma_min: self.sigma_min }
    }
}

/// An open file of weights.
pub struct WeightsFile {
    pub(crate) card: WeightsCard,
    pub(crate) network: Box<dyn Network>,
    pub(crate) weights: Weights,
    pub(crate) range: SigmaRange,
    pub(crate) discretisation: Karras,
}

impl WeightsFile {
    /// Whether this is a file with a card, rather than the model of a run; false if it cannot be read.
    pub(crate) fn is_one(path: &Path) -> bool {
        path.is_file() && Archive::open(path).is_ok_and(|archive| card_text(&archive).is_some())
    }

    /// Opens a file and reads its weights.
    ///
    /// # Errors
    /// [`RunError::Damaged`] if it is not such a file or was changed, [`RunError::File`] if it cannot be read.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let damaged = |reason: String| RunError::Damaged { path: path.to_owned(), reason };
        let mut archive = open_archive(path)?;
        let card = Self::card_of(path, &archive)?;
        let (range, discretisation) = card.discretisation().map_err(damaged)?;
        let (network, mut weights) = card
            .network
            .outline(card.shape(), card.conditions())
            .map_err(|error| damaged(format!("the network in it: {error}")))?;
        let names: Vec<(String, Vec<usize>)> =
            weights.iter().map(|(name, shape, _)| (name.to_owned(), shape.to_vec())).collect();
        if names.len() != archive.tensors().len() {
            return Err(damaged(format!(
                "it holds {} arrays, but its network has {}",
                archive.tensors().len(),
                names.len()
            )));
        }
        for ((name, shape), values) in names.iter().zip(weights.values_mut()) {
            match archive.find(name) {
                Some(info) if info.shape == *shape => {}
                Some(_) | None => return Err(damaged(format!("the array `{name}` is missing or misshapen"))),
            }
            values.copy_from_slice(&archive.read(name).map_err(|error| unread(path, error))?);
        }
        let (metadata, checksum) = metadata_of(&archive).unwrap_or_default();
        if checksum != Some(weights.checksum(&metadata)) {
            return Err(damaged("the checksum does not match: the file was changed or damaged".to_owned()));
        }
        Ok(Self { card, network, weights, range, discretisation })
    }

    /// The card alone.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn card(path: &Path) -> Result<WeightsCard, RunError> {
        Self::card_of(path, &open_archive(path)?)
    }

    fn card_of(path: &Path, archive: &Archive) -> Result<WeightsCard, RunError> {
        let damaged = |reason: String| RunError::Damaged { path: path.to_owned(), reason };
        let text = card_text(archive).ok_or_else(|| {
            damaged(
                "it says not which network its weights belong to; make such a file with `cm import`"
                    .to_owned(),
            )
        })?;
        options().from_str(&text).map_err(|error| damaged(format!("the card in it cannot be read: {error}")))
    }

    /// Writes weights with their card, in one step.
    ///
    /// # Errors
    /// [`RunError::File`] if the file system refuses.
    pub(crate) fn write(path: &Path, card: &WeightsCard, weights: &Weights) -> Result<(), RunError> {
        let metadata: BTreeMap<String, String> = [(CARD.to_owned(), to_ron(card))].into();
        write_in_one_step(path, |out| weights.write(&metadata, out))
    }

    pub(crate) fn consistency(&self) -> ConsistencyModel<'_> {
        ConsistencyModel::new(self.network.as_ref(), self.weights.clone(), self.card.boundary())
    }

    pub(crate) fn labels(&self) -> Labels {
        match self.card.classes {
            Some(classes) => Labels::Uniform { classes: classes as u32 },
            None => Labels::None,
        }
    }

    pub(crate) fn discretisation(&self) -> &dyn Discretisation {
        &self.discretisation
    }
}

/// A file that appears whole or not at all.
pub(crate) fn write_in_one_step(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), RunError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let partial = path.with_file_name(format!(".{name}.partial"));
    let written = File::create(&partial).and_then(|file| {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        write(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&partial, path)?;
        durable::sync_folder(&folder_of(path))
    });
    if written.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&partial);
    }
    written.map_err(RunError::file(path))
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

fn metadata_of(archive: &Archive) -> Option<(BTreeMap<String, String>, Option<String>)> {
    TensorFile::metadata_of(archive.metadata().get(TensorFile::KEY).map(String::as_str)).ok()
}

fn card_text(archive: &Archive) -> Option<String> {
    metadata_of(archive)?.0.remove(CARD)
}

/// Opens a file of another program or of ours.
pub(crate) fn open_archive(path: &Path) -> Result<Archive, RunError> {
    Archive::open(path).map_err(|error| unread(path, error))
}

/// A file that cannot be read is the user's to change, as is one that is not there.
pub(crate) fn unread(path: &Path, error: ImportError) -> RunError {
    RunError::Damaged { path: path.to_owned(), reason: error.to_string() }
}
