//! A stretch of a run.

use crate::RangeError;
use serde::{Deserialize, Serialize};

/// How long something lasts, in images or as a share of the whole run; never in steps, which depend on the batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Duration {
    /// So many images.
    Images(u64),
    /// This share of all images of the run, in [0, 1].
    Fraction(f64),
}

impl Duration {
    /// Its images in a run of `total_images`.
    ///
    /// ```
    /// use cm_training::Duration;
    /// assert_eq!(Duration::Images(500).images(200), 500);
    /// assert_eq!(Duration::Fraction(0.05).images(64_000), 3_200);
    /// ```
    pub fn images(self, total_images: u64) -> u64 {
        match self {
            Self::Images(images) => images,
            Self::Fraction(fraction) => (fraction * total_images as f64).round() as u64,
        }
    }

    /// A complaint about `field` unless it is a share, where it is given as one, and longer than nothing, where
    /// nothing is not allowed.
    pub fn problem(self, field: &str, may_be_nothing: bool) -> Option<RangeError> {
        let allowed = match (self, may_be_nothing) {
            (Self::Images(_), true) => return None,
            (Self::Images(_), false) => "at least 1 image",
            (Self::Fraction(_), true) => "a share of the run, in [0, 1]",
            (Self::Fraction(_), false) => "a share of the run, above 0 and at most 1",
        };
        let holds = match self {
            Self::Images(images) => images > 0,
            Self::Fraction(share) => (0.0..=1.0).contains(&share) && (may_be_nothing || share > 0.0),
        };
        RangeError::unless(holds, field, self, allowed)
    }
}

impl std::fmt::Display for Duration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Images(images) => write!(f, "{images} images"),
            Self::Fraction(fraction) => write!(f, "{fraction} of the run"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_beyond_the_run_and_nothing_where_something_is_needed_are_refused() {
        let refused = |duration: Duration, may_be_nothing| duration.problem("x", may_be_nothing).is_some();
        let nothing = [Duration::Images(0), Duration::Fraction(0.0)];
        assert!(nothing.iter().all(|&d| refused(d, false) && !refused(d, true)));
        for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(refused(Duration::Fraction(share), true), "{share}");
        }
        assert!(!refused(Duration::Fraction(1.0), false) && !refused(Duration::Images(1), false));
    }
}
