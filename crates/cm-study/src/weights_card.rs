//! What belongs to a file of weights: our safetensors file with a card in its metadata. A study names such a file for
//! its teacher, and is checked against the card. Deliberately absent: the weights (the runner's).

use crate::notation::{from_ron, to_ron};
use cm_diffusion::{Boundary, Edm, Iddpm, Karras, Precondition, SigmaRange, Ve, Vp};
use cm_host::FileError;
use cm_image::ImageShape;
use cm_import::Archive;
use cm_network::{Conditions, NetworkConfig, TensorFile};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum PreconditionConfig {
    /// A diffusion model's (Karras et al. 2022).
    Edm,
    /// A consistency model's (Song et al. 2023).
    Consistency,
    /// A diffusion model's of the variance-preserving formulation (Karras et al. 2022, Table 1).
    Vp(VpConfig),
    /// A diffusion model's of the variance-exploding formulation (Karras et al. 2022, Table 1).
    Ve,
    /// A diffusion model's of improved DDPM (Karras et al. 2022, Table 1).
    Iddpm(IddpmConfig),
}

/// See [`Vp`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VpConfig {
    /// Extent of the noise schedule.
    pub beta_d: f32,
    /// Its slope at the beginning.
    pub beta_min: f32,
    /// The steps of the discrete formulation.
    pub steps: f32,
}

impl Default for VpConfig {
    fn default() -> Self {
        Self {
            beta_d: 19.9,  // Karras et al. 2022, Table 1
            beta_min: 0.1, // Karras et al. 2022, Table 1
            steps: 1000.0, // Karras et al. 2022, Table 1
        }
    }
}

/// See [`Iddpm`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IddpmConfig {
    /// The least part of the signal that a step keeps.
    pub c1: f32,
    /// The shift of the cosine schedule.
    pub c2: f32,
    /// The number of noise levels, 1 to [`IddpmConfig::MOST_STEPS`].
    pub steps: usize,
}

impl IddpmConfig {
    /// Noise levels at most: a thousand times as many as were ever used.
    pub const MOST_STEPS: usize = 1_000_000;
}

impl Default for IddpmConfig {
    fn default() -> Self {
        Self {
            c1: 0.001,   // Karras et al. 2022, Table 1
            c2: 0.008,   // Karras et al. 2022, Table 1
            steps: 1000, // Karras et al. 2022, Table 1
        }
    }
}

impl PreconditionConfig {
    /// Whether a network used so is a consistency model, and no diffusion model.
    pub fn is_consistency(self) -> bool {
        match self {
            Self::Consistency => true,
            Self::Edm | Self::Vp(_) | Self::Ve | Self::Iddpm(_) => false,
        }
    }
}

/// What a file of weights says it is, for messages.
impl std::fmt::Display for PreconditionConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Edm => "diffusion model",
            Self::Consistency => "consistency model",
            Self::Vp(_) => "diffusion model (VP)",
            Self::Ve => "diffusion model (VE)",
            Self::Iddpm(_) => "diffusion model (iDDPM)",
        })
    }
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

    /// Its noise levels.
    ///
    /// # Errors
    /// Which number is out of range.
    pub fn discretisation(&self) -> Result<(SigmaRange, Karras), String> {
        let range = SigmaRange::new(self.sigma_min, self.sigma_max).map_err(|error| error.to_string())?;
        let karras = Karras::new(range, self.rho).map_err(|error| error.to_string())?;
        if !(self.sigma_data > 0.0 && self.sigma_data.is_finite()) {
            return Err(format!("sigma_data is {}, which must be a finite number above 0", self.sigma_data));
        }
        match self.precondition {
            PreconditionConfig::Vp(VpConfig { beta_d, beta_min, steps })
                if !(beta_d > 0.0
                    && beta_min >= 0.0
                    && steps >= 1.0
                    && (beta_d + beta_min + steps).is_finite()) =>
            {
                return Err("the numbers of Vp are beta_d above 0, beta_min from 0, steps from 1".to_owned());
            }
            PreconditionConfig::Iddpm(IddpmConfig { c1, c2, steps })
                if !(c1 > 0.0 && c1 < 1.0 && c2 > 0.0 && (1..=IddpmConfig::MOST_STEPS).contains(&steps)) =>
            {
                return Err("the numbers of Iddpm are c1 in (0, 1), c2 above 0, steps from 1".to_owned());
            }
            PreconditionConfig::Edm
            | PreconditionConfig::Consistency
            | PreconditionConfig::Vp(_)
            | PreconditionConfig::Ve
            | PreconditionConfig::Iddpm(_) => {}
        }
        Ok((range, karras))
    }

    /// Its network's preconditioning, or the one that is `asked` for.
    pub fn precondition(&self, asked: Option<PreconditionConfig>) -> Box<dyn Precondition> {
        match asked.unwrap_or(self.precondition) {
            PreconditionConfig::Edm => Box::new(Edm { sigma_data: self.sigma_data }),
            PreconditionConfig::Consistency => Box::new(self.boundary()),
            PreconditionConfig::Vp(VpConfig { beta_d, beta_min, steps }) => {
                Box::new(Vp { beta_d, beta_min, steps })
            }
            PreconditionConfig::Ve => Box::new(Ve),
            PreconditionConfig::Iddpm(IddpmConfig { c1, c2, steps }) => Box::new(Iddpm::new(c1, c2, steps)),
        }
    }

    /// The preconditioning of its network as a consistency function.
    pub fn boundary(&self) -> Boundary {
        Boundary { sigma_data: self.sigma_data, sigma_min: self.sigma_min }
    }

    /// Whether a file has a card, rather than being the model of a run; false if it cannot be read.
    pub fn is_in(path: &Path) -> bool {
        path.is_file() && Archive::open(path).is_ok_and(|archive| text_in(&archive).is_some())
    }

    /// The card of a file.
    ///
    /// # Errors
    /// [`FileError::Damaged`] if it cannot be read or has none.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let archive = Archive::open(path).map_err(|error| FileError::damaged(path, error))?;
        Self::of(path, &archive)
    }

    /// The card of an open file; `path` is for the messages.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn of(path: &Path, archive: &Archive) -> Result<Self, FileError> {
        let none = "it says not which network its weights belong to; make such a file with `cm import`";
        let text = text_in(archive).ok_or_else(|| FileError::damaged(path, none))?;
        from_ron(&text)
            .map_err(|error| FileError::damaged(path, format!("the card in it cannot be read: {error}")))
    }

    /// The metadata of a file with this card.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        [(CARD.to_owned(), to_ron(self))].into()
    }
}

fn text_in(archive: &Archive) -> Option<String> {
    let metadata = archive.metadata().get(TensorFile::KEY).map(String::as_str);
    TensorFile::metadata_of(metadata).ok()?.0.remove(CARD)
}
