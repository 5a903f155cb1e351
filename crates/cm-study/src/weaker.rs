//! The experiment whose teacher is the weaker one of another.

use crate::experiment_config::{ExperimentConfig, TeacherSource};
use crate::guide_config::{GuideConfig, WeakerConfig};
use cm_diffusion::Guidance;

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
