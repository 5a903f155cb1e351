//! Where a jump between two times is to aim, by each of the rules.
//!
//! All is said of the point D at which a jump aims: with the ratio q = to / from of the levels, the jump ends at
//! q x + (1 - q) D. On the straight path u = (z - D) / t, on TrigFlow F = (cos(t) y - D) / (sigma_data sin(t)); in D both
//! have the same jumps, and errors differ by a factor of the times alone. The identity of which MeanFlow, AYF, TiM and the
//! continuous consistency models are forms is then
//!
//! q (D - V) + (1 - q) dD/d ln sigma = 0
//!
//! with V the denoiser's answer at `from`, whose velocity the derivative follows: differentiate the jump by its start.

use crate::jump_model::{columns, merged_target};
use crate::two_time_config::{
    AlignYourFlowConfig, AlphaFlowConfig, DerivativeConfig, Path, SoFlowConfig, TwoTimeTarget,
};
use cm_consistency::TangentConfig;
use cm_diffusion::{ModelError, Sigma};
use cm_image::ImageBatch;

/// D(x; from, to) of the network that is trained, without gradient and always with the same dropout.
pub(crate) type Aims<'a> = dyn Fn(&ImageBatch, &[Sigma], &[Sigma]) -> Result<ImageBatch, ModelError> + 'a;

/// Jumps whose targets are wanted.
pub(crate) struct Jumps<'a> {
    pub(crate) x: &'a ImageBatch,
    pub(crate) from: &'a [Sigma],
    pub(crate) to: &'a [Sigma],
    /// The network's own D of these jumps.
    pub(crate) own: &'a ImageBatch,
    /// V: where the velocity at `from` aims.
    pub(crate) velocity: &'a ImageBatch,
    /// Where the jump is split, as a share of its time from its start, if the rule splits it by chance.
    pub(crate) split: &'a [f64],
    /// How D changes, if the rule [asks for it](Rule::line).
    pub(crate) line: Option<Line<'a>>,
}

/// How the network's D of some jumps changes at their start, their ends staying.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    /// Where the lines aim along which it is differentiated.
    pub(crate) aim: &'a ImageBatch,
    /// dD / d ln sigma.
    pub(crate) slope: &'a ImageBatch,
}

impl Jumps<'_> {
    fn differentiated(&self) -> Line<'_> {
        self.line.expect("the derivative that the rule asks for")
    }
}

/// The rule at a place of the run: `progress` from 0 to 1.
pub(crate) struct Rule {
    pub(crate) target: TwoTimeTarget,
    pub(crate) path: Path,
    pub(crate) sigma_data: f64,
    pub(crate) progress: f64,
}

impl Path {
    /// The time of a level.
    pub(crate) fn time(self, sigma: f64, sigma_data: f64) -> f64 {
        match self {
            Self::Straight => sigma / (1.0 + sigma),
            Self::Trig => libm::atan2(sigma, sigma_data),
        }
    }

    /// The level of a time.
    pub(crate) fn level(self, time: f64, sigma_data: f64) -> f64 {
        match self {
            Self::Straight => time / (1.0 - time),
            Self::Trig => sigma_data * libm::tan(time),
        }
    }

    /// The squared error of u, or of F, for one of D that is 1.
    pub(crate) fn unit(self, sigma: f64, sigma_data: f64) -> f64 {
        match self {
            // 1 / t^2
            Self::Straight => (1.0 + 1.0 / sigma).powi(2),
            // 1 / (sigma_data sin t)^2
            Self::Trig => sigma.powi(-2) + sigma_data.powi(-2),
        }
    }

    /// By what the identity is multiplied to be the error of u = v - (t - r) du/dt, of F = v - tan(t - r) (y + dF/dt).
    fn stretch(self, from: f64, to: f64, sigma_data: f64) -> f64 {
        match self {
            Self::Straight => (1.0 + from) / (1.0 + to),
            Self::Trig => {
                let (from, to) = (from / sigma_data, to / sigma_data);
                (1.0 + from * from) / (1.0 + from * to)
            }
        }
    }
}

impl Rule {
    /// The ratio a of [`TwoTimeTarget::SoFlow`] and [`TwoTimeTarget::AlphaFlow`] now; 1 for the others.
    pub(crate) fn ratio(&self) -> f64 {
        match self.target {
            TwoTimeTarget::SoFlow(SoFlowConfig { start, end }) => {
                let (start, end) = (f64::from(start), f64::from(end));
                start * libm::pow(end / start, self.progress)
            }
            TwoTimeTarget::AlphaFlow(AlphaFlowConfig { middle, sharpness, least, .. }) => {
                let place = f64::from(sharpness) * (self.progress - f64::from(middle));
                (1.0 / (1.0 + libm::exp(place))).max(f64::from(least))
            }
            TwoTimeTarget::MeanFlow(_)
            | TwoTimeTarget::ImprovedMeanFlow(_)
            | TwoTimeTarget::SplitMeanFlow
            | TwoTimeTarget::TransitionModel(_)
            | TwoTimeTarget::AlignYourFlow(_) => 1.0,
        }
    }

    /// A factor of the loss of a jump, and one of its squared error under the power.
    pub(crate) fn worth(&self, from: Sigma, to: Sigma) -> (f64, f64) {
        if from == to {
            return (1.0, 1.0);
        }
        match self.target {
            TwoTimeTarget::MeanFlow(_)
            | TwoTimeTarget::ImprovedMeanFlow(_)
            | TwoTimeTarget::SplitMeanFlow
            | TwoTimeTarget::AlignYourFlow(_) => (1.0, 1.0),
            TwoTimeTarget::SoFlow(_) => (1.0 / self.ratio(), self.ratio().powi(-2)),
            TwoTimeTarget::AlphaFlow(_) => (self.ratio(), 1.0),
            TwoTimeTarget::TransitionModel(_) => {
                // 1 / sqrt(tan t - tan r + 1) in units of the data.
                let length = (f64::from(from.get()) - f64::from(to.get())) / self.sigma_data;
                (1.0 / (length + 1.0).sqrt(), 1.0)
            }
        }
    }

    /// Along which lines, told by where they aim, this rule wants D differentiated at the points `x`, where the velocity aims
    /// at `velocity`, and how; `None` if it wants no derivative.
    pub(crate) fn line(
        &self,
        (x, from): (&ImageBatch, &[Sigma]),
        velocity: &ImageBatch,
        aims: &Aims<'_>,
    ) -> Result<Option<(TangentConfig, ImageBatch)>, ModelError> {
        Ok(match self.target {
            TwoTimeTarget::MeanFlow(DerivativeConfig { tangent })
            | TwoTimeTarget::TransitionModel(DerivativeConfig { tangent })
            | TwoTimeTarget::AlignYourFlow(AlignYourFlowConfig { tangent, .. }) => {
                Some((tangent, velocity.clone()))
            }
            TwoTimeTarget::ImprovedMeanFlow(DerivativeConfig { tangent }) => {
                Some((tangent, aims(x, from, from)?))
            }
            TwoTimeTarget::SoFlow(_) | TwoTimeTarget::AlphaFlow(_) | TwoTimeTarget::SplitMeanFlow => None,
        })
    }

    /// Where some jumps are to aim. One of no length is to aim where the velocity does.
    pub(crate) fn targets(&self, jumps: &Jumps<'_>, aims: &Aims<'_>) -> Result<ImageBatch, ModelError> {
        let mut targets = self.of_jumps(jumps, aims)?;
        for (image, (aim, velocity)) in targets.images_mut().zip(jumps.velocity.images()).enumerate() {
            if jumps.from[image] == jumps.to[image] {
                aim.copy_from_slice(velocity);
            }
        }
        Ok(targets)
    }

    fn of_jumps(&self, jumps: &Jumps<'_>, aims: &Aims<'_>) -> Result<ImageBatch, ModelError> {
        match self.target {
            TwoTimeTarget::MeanFlow(_)
            | TwoTimeTarget::TransitionModel(_)
            | TwoTimeTarget::ImprovedMeanFlow(_) => Ok(self.by_derivative(jumps)),
            TwoTimeTarget::SoFlow(_) => {
                let ratio = self.ratio();
                self.over_middle(jumps, |_| ratio, false, aims)
            }
            TwoTimeTarget::AlphaFlow(AlphaFlowConfig { clip, .. }) => {
                let ratio = self.ratio();
                let mut targets = self.over_middle(jumps, |_| ratio, false, aims)?;
                self.clip(jumps, &mut targets, f64::from(clip));
                Ok(targets)
            }
            TwoTimeTarget::SplitMeanFlow => self.over_middle(jumps, |image| jumps.split[image], true, aims),
            TwoTimeTarget::AlignYourFlow(config) => Ok(self.by_tangent(jumps, config)),
        }
    }

    /// D - m (q (D - V) + (1 - q) dD/d ln sigma) along the jumps' line, for each value; the error of D is then that of u or F
    /// over its factor.
    fn by_derivative(&self, jumps: &Jumps<'_>) -> ImageBatch {
        let Line { aim, slope } = jumps.differentiated();
        combine([jumps.own, aim, jumps.velocity, slope], |image| {
            let [own_part, derivative_part, _] = self.factors(jumps, image);
            // With v on the left and the network's own velocity in the derivative, the part of V that is not V's is v's.
            move |[own, along, velocity, derivative]| {
                velocity + (1.0 - own_part) * (own - along) - derivative_part * derivative
            }
        })
    }

    /// m q, m (1 - q) and the squared error of u or F for one of D.
    fn factors(&self, jumps: &Jumps<'_>, image: usize) -> [f64; 3] {
        let (from, to) = (f64::from(jumps.from[image].get()), f64::from(jumps.to[image].get()));
        let (stretch, ratio) = (self.path.stretch(from, to, self.sigma_data), to / from);
        [stretch * ratio, stretch * (1.0 - ratio), self.path.unit(from, self.sigma_data)]
    }

    /// The network's own D minus the normalised tangent, both as velocities.
    fn by_tangent(&self, jumps: &Jumps<'_>, config: AlignYourFlowConfig) -> ImageBatch {
        let AlignYourFlowConfig { constant, most, warmup, .. } = config;
        let Line { slope, .. } = jumps.differentiated();
        let warm = if warmup == 0.0 { 1.0 } else { (self.progress / f64::from(warmup)).min(1.0) };
        let share = f64::from(most) * warm;
        let mut tangent = combine([jumps.own, jumps.velocity, slope], |image| {
            let [own_part, derivative_part, _] = self.factors(jumps, image);
            move |[own, velocity, derivative]| {
                (velocity - own)
                    + share * ((1.0 - own_part) * (own - velocity) - derivative_part * derivative)
            }
        });
        for (image, (tangent, own)) in tangent.images_mut().zip(jumps.own.images()).enumerate() {
            let [.., unit] = self.factors(jumps, image);
            let norm = (unit * tangent.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>()).sqrt();
            for (tangent, &own) in tangent.iter_mut().zip(own) {
                *tangent = (f64::from(own) + f64::from(*tangent) / (norm + f64::from(constant))) as f32;
            }
        }
        tangent
    }

    /// Where two jumps over a middle time end, as one: the first along the velocity, or of the network itself, the second of
    /// the network. `share`: of the time, from the start.
    fn over_middle(
        &self,
        jumps: &Jumps<'_>,
        share: impl Fn(usize) -> f64,
        own: bool,
        aims: &Aims<'_>,
    ) -> Result<ImageBatch, ModelError> {
        let middle = |image: usize| {
            let [from, to] = [jumps.from, jumps.to].map(|levels| f64::from(levels[image].get()));
            let time = |level| self.path.time(level, self.sigma_data);
            let level = self.path.level(time(from) - share(image) * (time(from) - time(to)), self.sigma_data);
            // Rounding may not lead out of the jump.
            let level = (level as f32).clamp(jumps.to[image].get(), jumps.from[image].get());
            Ok([jumps.from[image], Sigma::new(level).map_err(ModelError::other)?, jumps.to[image]])
        };
        let levels = (0..jumps.x.count()).map(middle).collect::<Result<Vec<_>, ModelError>>()?;
        let [from, middle, to] = columns(&levels);
        let first = if own { aims(jumps.x, &from, &middle)? } else { jumps.velocity.clone() };
        let between = along(jumps.x, &first, &from, &middle);
        let second = aims(&between, &middle, &to)?;
        Ok(merged_target(&first, second, &levels))
    }

    /// Keeps u, at which targets aim, within a bound. On TrigFlow it is F.
    fn clip(&self, jumps: &Jumps<'_>, aims: &mut ImageBatch, bound: f64) {
        for (image, (aim, x)) in aims.images_mut().zip(jumps.x.images()).enumerate() {
            let sigma = f64::from(jumps.from[image].get());
            let unit = self.path.unit(sigma, self.sigma_data).sqrt();
            // z = (1 - t) x, cos(t) y = cos(t)^2 x.
            let kept = match self.path {
                Path::Straight => 1.0 / (1.0 + sigma),
                Path::Trig => 1.0 / (1.0 + (sigma / self.sigma_data).powi(2)),
            };
            for (aim, &x) in aim.iter_mut().zip(x) {
                let z = kept * f64::from(x);
                let u = unit * (z - f64::from(*aim));
                if u.abs() > bound {
                    *aim = (z - bound.copysign(u) / unit) as f32;
                }
            }
        }
    }
}

/// x moved from `from` to `to`, up or down, on the straight line that aims at `aim`.
fn along(x: &ImageBatch, aim: &ImageBatch, from: &[Sigma], to: &[Sigma]) -> ImageBatch {
    combine([x, aim], |image| {
        let [from, to] = [from, to].map(|levels| f64::from(levels[image].get()));
        move |[x, aim]| aim + to / from * (x - aim)
    })
}

/// A value for each value of some batches of one shape, by a function that may differ from image to image.
fn combine<const N: usize, F: Fn([f64; N]) -> f64>(
    batches: [&ImageBatch; N],
    of_image: impl Fn(usize) -> F,
) -> ImageBatch {
    let len = batches[0].shape().len();
    ImageBatch::from_fn(batches[0].shape(), batches[0].count(), |image, out| {
        let of_value = of_image(image);
        for (place, out) in out.iter_mut().enumerate() {
            *out = of_value(batches.map(|batch| f64::from(batch.values()[image * len + place]))) as f32;
        }
    })
}

#[cfg(test)]
mod tests;
