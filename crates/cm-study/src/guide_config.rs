//! What guidance drives a teacher away from, as data.

use crate::experiment_config::{ExperimentConfig, TeacherSource};
use cm_diffusion::Guidance;
use cm_network::NetworkConfig;
use serde::{Deserialize, Serialize};

/// What guidance drives the teacher away from.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum GuideConfig {
    /// Its own answer without the class, which it knows by `label_dropout`: classifier-free guidance.
    #[default] // Ho and Salimans 2021
    NoClass,
    /// The answer of a weaker teacher that is told the same, classes or none: autoguidance (Karras et al. 2024).
    Weaker(WeakerConfig),
}

impl GuideConfig {
    /// Whether it is the default.
    pub fn is_no_class(&self) -> bool {
        *self == Self::default()
    }
}

/// The weaker teacher of [`GuideConfig::Weaker`]. It is trained as the teacher is, from the same seed, but on fewer images,
/// with a smaller network or both. With the teacher's network and a learning rate and averages that do not depend on the
/// length of the training it is the teacher's own snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeakerConfig {
    /// Images it is trained on, at least 1.
    pub total_images: u64,
    /// Its network. None: the teacher's.
    pub network: Option<NetworkConfig>,
}

impl Default for WeakerConfig {
    fn default() -> Self {
        Self {
            total_images: 12_500_000, // Karras et al. 2024, Section 5: T/16, of our teacher's default
            network: None,            // ours: an earlier snapshot needs no second network
        }
    }
}

impl ExperimentConfig {
    /// The experiment whose teacher is the weaker one by which this one's is guided; `None` if there is none.
    pub fn weaker(&self) -> Option<Self> {
        let GuideConfig::Weaker(WeakerConfig { total_images, network }) = &self.guide else { return None };
        if self.guidance.weight == 1.0 {
            return None;
        }
        let mut weaker =
            Self { guidance: Guidance::default(), guide: GuideConfig::default(), ..self.clone() };
        if let Some(network) = network {
            weaker.network = network.clone();
        }
        match &mut weaker.teacher {
            TeacherSource::Trained(teacher) => teacher.train.total_images = *total_images,
            TeacherSource::File(_) | TeacherSource::Exact | TeacherSource::None => return None,
        }
        Some(weaker)
    }
}
