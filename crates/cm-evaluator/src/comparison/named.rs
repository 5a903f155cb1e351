//! What a study calls a metric on the features of FID's Inception network, and the way back from the name.
//!
//! FID, sFID and the inception score are called so only of the published weights after the original evaluator's
//! resizing; another resizing is part of the name, and numbers by any other weights begin with [`OTHER`].

use super::SetMetric;
use crate::features::InceptionResize;

/// How the names of numbers by other weights than the published ones begin.
const OTHER: &str = "other-inception-";
/// How the names of metrics begin that are computed of other features as well.
const PUBLISHED: &str = "inception-";

/// What a resizing adds to a name: nothing for that of the original evaluator.
const fn suffix(resize: InceptionResize) -> &'static str {
    match resize {
        InceptionResize::Tf1Bilinear => "",
        InceptionResize::CentredBilinear => "-centred-bilinear",
        InceptionResize::SmoothBicubic => "-smooth-bicubic",
    }
}

impl SetMetric {
    /// The stem of a score by an Inception network, without the number of samples.
    ///
    /// ```
    /// use cm_evaluator::{InceptionResize, SetMetric};
    /// let original = InceptionResize::Tf1Bilinear;
    /// assert_eq!(SetMetric::Frechet.by_inception(true, original), "fid");
    /// assert_eq!(SetMetric::Recall.by_inception(true, original), "inception-recall");
    /// assert_eq!(SetMetric::Frechet.by_inception(false, original), "other-inception-frechet");
    /// assert_eq!(SetMetric::Frechet.by_inception(true, InceptionResize::SmoothBicubic), "fid-smooth-bicubic");
    /// ```
    pub fn by_inception(self, published: bool, resize: InceptionResize) -> String {
        let name = self.name(published);
        // A name of its own says whose features it is of.
        let prefix = match published {
            false => OTHER,
            true if name == self.name(false) => PUBLISHED,
            true => "",
        };
        format!("{prefix}{name}{}", suffix(resize))
    }

    /// The metric that a study has [called so](Self::by_inception), if it is one.
    pub fn of_inception(stem: &str) -> Option<Self> {
        let resizes =
            [InceptionResize::Tf1Bilinear, InceptionResize::CentredBilinear, InceptionResize::SmoothBicubic];
        Self::ALL.into_iter().find(|metric| {
            resizes.into_iter().any(|resize| {
                [true, false].into_iter().any(|published| metric.by_inception(published, resize) == stem)
            })
        })
    }

    /// Whether a higher score is a better one; nothing of a score that is best where held-out images have it.
    pub const fn higher_is_better(self) -> Option<bool> {
        match self {
            Self::ClassScore
            | Self::Precision
            | Self::Recall
            | Self::Density
            | Self::Coverage
            | Self::Recognised => Some(true),
            Self::Copied => None,
            Self::Frechet
            | Self::SpatialFrechet
            | Self::Kid
            | Self::ClassHistogram
            | Self::FrechetExtrapolated => Some(false),
        }
    }

    /// Whether it is another one on average where there are more samples of the same law.
    pub const fn depends_on_count(self) -> bool {
        match self {
            Self::ClassScore
            | Self::Frechet
            | Self::SpatialFrechet
            | Self::Recall
            | Self::Coverage
            | Self::ClassHistogram => true,
            Self::FrechetExtrapolated
            | Self::Kid
            | Self::Precision
            | Self::Density
            | Self::Copied
            | Self::Recognised => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_metrics_and_only_published_weights_make_an_fid() {
        let mut names = Vec::new();
        for metric in SetMetric::ALL {
            for resize in [
                InceptionResize::Tf1Bilinear,
                InceptionResize::CentredBilinear,
                InceptionResize::SmoothBicubic,
            ] {
                for published in [true, false] {
                    let name = metric.by_inception(published, resize);
                    assert_eq!(SetMetric::of_inception(&name), Some(metric), "{name}");
                    let claims = name.contains("fid") || name.starts_with("inception-");
                    assert_eq!(claims, published, "{name}");
                    names.push(name);
                }
            }
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        // A study's own metrics are of its judge.
        assert_eq!(["frechet", "precision", "kid"].map(SetMetric::of_inception), [None; 3]);
    }
}
