//! The settings of truncated consistency models (Lee et al. 2025): a second training that only knows the upper noise
//! levels, above a first model that is kept as it was for the lower ones.

use crate::student_t::StudentTConfig;
use cm_diffusion::DiscretisationConfig;
use cm_training::RangeError;
use serde::{Deserialize, Serialize};

/// The second training of a truncated consistency model.
///
/// The model is f(x, t) of the student where t is at least `level`, and of the weights that it started from, which stay as
/// they are, below: so the student starts from a consistency model. A share of each batch has its upper level at `level`:
/// there the first model makes the target, and the student is held to it. The others have levels of `law`, and targets of
/// whichever model knows their lower level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TruncationConfig {
    /// t', a noise level in data units, above 0: at least twice sigma_min and below sigma_max.
    pub level: f32,
    /// The share of each batch at `level`, in (0, 1): at least one image, and not all.
    pub boundary_share: f32,
    /// w_b, above 0: the mean loss of those images counts so much beside the mean of the others.
    pub boundary_weight: f32,
    /// The law of the other upper levels, between `level` and sigma_max.
    pub law: StudentTConfig,
}

impl Default for TruncationConfig {
    fn default() -> Self {
        Self {
            level: 1.0,                     // Lee et al. 2025, NVlabs/TCM, both data sets
            boundary_share: 0.25,           // the same
            boundary_weight: 0.1,           // the same
            law: StudentTConfig::default(), // beside that type
        }
    }
}

impl TruncationConfig {
    /// How many of a batch's images are at the boundary; they come first.
    pub(crate) fn images(&self, batch: usize) -> usize {
        (f64::from(self.boundary_share) * batch as f64).round() as usize
    }

    /// What is out of range for batches of `batch` images at these levels, with paths relative to this struct.
    pub(crate) fn problems(&self, batch: usize, levels: &DiscretisationConfig) -> Vec<RangeError> {
        let Self { level, boundary_share, boundary_weight, law } = *self;
        let (min, max, images) = (levels.sigma_min, levels.sigma_max, self.images(batch));
        let checks = [
            (
                "level",
                format!("{level} (levels from {min} to {max})"),
                2.0 * min <= level && level < max,
                "at least twice sigma_min, and below sigma_max",
            ),
            (
                "boundary_share",
                format!("{boundary_share} of {batch} images"),
                (0.0..=1.0).contains(&boundary_share) && images > 0 && images < batch,
                "a share that is at least one image, and not all",
            ),
            (
                "boundary_weight",
                boundary_weight.to_string(),
                boundary_weight > 0.0 && boundary_weight.is_finite(),
                "above 0",
            ),
        ];
        let check = |(field, given, holds, allowed)| RangeError::unless(holds, field, given, allowed);
        let of_law = law.problems().into_iter();
        let of_law = of_law.map(|problem| RangeError { field: format!("law.{}", problem.field), ..problem });
        checks.into_iter().filter_map(check).chain(of_law).collect()
    }
}
