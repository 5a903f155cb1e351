//! Which scores compare whatever the number of samples.

use super::MetricKind;

impl MetricKind {
    /// Whether it is another one on average where there are more samples of the same law, so that scores of different
    /// counts do not compare. Means over samples and unbiased estimates are not.
    ///
    /// ```
    /// use cm_evaluator::MetricKind;
    /// let of = [MetricKind::Frechet, MetricKind::FrechetExtrapolated, MetricKind::Precision, MetricKind::Recall];
    /// assert_eq!(of.map(MetricKind::depends_on_count), [true, false, false, true]);
    /// ```
    pub const fn depends_on_count(self) -> bool {
        match self {
            Self::Frechet
            | Self::Recall
            | Self::Coverage
            | Self::ClassHistogram
            | Self::SlicedWasserstein
            | Self::ModeWeights => true,
            Self::FrechetExtrapolated
            | Self::Kid
            | Self::Precision
            | Self::Density
            | Self::Copied
            | Self::Recognised
            | Self::EndpointRmse => false,
        }
    }
}
