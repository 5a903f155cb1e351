//! The law of the two times between which a model of two times jumps.

use cm_diffusion::{LogNormalConfig, NoiseDistribution, QuantityError, Sigma, SigmaRange};
use cm_image::random::Random;
use serde::{Deserialize, Serialize};

/// How the two times t >= r are drawn, as noise levels within those of the discretisation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum TimesConfig {
    /// Two draws of one law, the larger first.
    Sorted(LogNormalConfig),
    /// t of one law, and r the draw of another or t, whichever is less.
    Below(BelowConfig),
}

/// Settings of [`TimesConfig::Below`]: a logit-normal time on the straight path is a log-normal level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BelowConfig {
    /// The law of t.
    pub start: LogNormalConfig,
    /// The law of r before it is kept below t.
    pub end: LogNormalConfig,
}

impl Default for BelowConfig {
    fn default() -> Self {
        Self {
            start: LogNormalConfig { mean: -0.6, std: 1.6 }, // Gsunshine/meanflow, CIFAR-10
            end: LogNormalConfig { mean: -4.0, std: 1.6 },   // the same
        }
    }
}

impl Default for TimesConfig {
    fn default() -> Self {
        Self::Below(BelowConfig::default()) // beside that type
    }
}

impl TimesConfig {
    /// The two times of an image, or one twice.
    pub(crate) fn draw(
        &self,
        range: SigmaRange,
        equal: bool,
        random: &mut Random,
    ) -> Result<(Sigma, Sigma), QuantityError> {
        let within = |sigma: Sigma| Sigma::new(sigma.get().clamp(range.min().get(), range.max().get()));
        let mut draw = |law: &LogNormalConfig| within(law.build()?.draw(random));
        let (first, second) = match self {
            Self::Sorted(law) => (draw(law)?, draw(law)?),
            Self::Below(BelowConfig { start, end }) => {
                let from = draw(start)?;
                let to = draw(end)?;
                (from, if to.get() > from.get() { from } else { to })
            }
        };
        let (from, to) = if first.get() < second.get() { (second, first) } else { (first, second) };
        Ok((from, if equal { from } else { to }))
    }

    /// Its laws, with their paths in a configuration.
    pub(crate) fn laws(&self) -> [(&'static str, LogNormalConfig); 2] {
        match *self {
            Self::Sorted(law) => [("times", law), ("times", law)],
            Self::Below(BelowConfig { start, end }) => [("times.start", start), ("times.end", end)],
        }
    }
}
