//! Guidance within an interval of noise levels (Kynkäänniemi et al. 2024): classifier-free, away from what a denoiser
//! says without a class (Ho and Salimans 2021), and autoguidance, away from what a weaker one says (Karras et al. 2024).

use crate::{Denoiser, ModelError, QuantityError, Sigma};
use cm_image::{ImageBatch, NO_CLASS};
use serde::{Deserialize, Serialize};

/// How far a denoiser is driven away from a guide: from its own answer without the class, or from a weaker denoiser's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guidance {
    /// w of D_guide + w (D - D_guide), at least 0. 1 is no guidance, to the bit.
    pub weight: f32,
    /// Only above this level, at least 0.
    pub above: f32,
    /// Only up to this level, above `above`; inf for all.
    pub up_to: f32,
}

impl Default for Guidance {
    fn default() -> Self {
        Self {
            weight: 1.0,          // none
            above: 0.0,           // Ho and Salimans 2021: at all levels
            up_to: f32::INFINITY, // the same
        }
    }
}

impl Guidance {
    /// That it can be followed.
    ///
    /// # Errors
    /// [`QuantityError::Guidance`] with what is out of range.
    pub fn check(&self) -> Result<(), QuantityError> {
        let Self { weight, above, up_to } = *self;
        if weight >= 0.0 && weight.is_finite() && above >= 0.0 && up_to > above {
            Ok(())
        } else {
            Err(QuantityError::Guidance { weight, above, up_to })
        }
    }

    /// Whether it is the default, which changes nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether images at this level are guided.
    pub fn covers(&self, sigma: Sigma) -> bool {
        self.weight != 1.0 && self.above < sigma.get() && sigma.get() <= self.up_to
    }
}

/// Those images of a batch that are to be guided.
pub struct ToGuide {
    /// Their places in the batch.
    places: Vec<usize>,
    /// The images.
    pub x: ImageBatch,
    /// The level of each.
    pub sigma: Vec<Sigma>,
    /// The class of each, if there are classes.
    pub labels: Vec<u32>,
}

impl ToGuide {
    /// The images at levels that are covered and whose class is told, if there are any.
    pub fn of(
        covers: impl Fn(Sigma) -> bool,
        x: &ImageBatch,
        sigma: &[Sigma],
        labels: &[u32],
    ) -> Option<Self> {
        let told = |image: &usize| {
            covers(sigma[*image]) && labels.get(*image).is_some_and(|&label| label != NO_CLASS)
        };
        Self::at((0..x.count()).filter(told).collect(), x, sigma, labels)
    }

    /// The images at levels that are covered, whether a class is told or not.
    fn within(
        covers: impl Fn(Sigma) -> bool,
        x: &ImageBatch,
        sigma: &[Sigma],
        labels: &[u32],
    ) -> Option<Self> {
        Self::at((0..x.count()).filter(|&image| covers(sigma[image])).collect(), x, sigma, labels)
    }

    fn at(places: Vec<usize>, x: &ImageBatch, sigma: &[Sigma], labels: &[u32]) -> Option<Self> {
        if places.is_empty() {
            return None;
        }
        let mut some = ImageBatch::zeros(x.shape(), 0);
        places.iter().for_each(|&image| some.append(&x.slice(image..image + 1)));
        let sigma = places.iter().map(|&image| sigma[image]).collect();
        let labels = places.iter().filter_map(|&image| labels.get(image).copied()).collect();
        Some(Self { places, x: some, sigma, labels })
    }

    /// As many labels that tell nothing.
    pub fn untold(&self) -> Vec<u32> {
        vec![NO_CLASS; self.places.len()]
    }

    /// Replaces these images' values in `answers`, those of the whole batch, by `mixed(value, others)`, `others` the values
    /// of answers to these images alone.
    ///
    /// # Panics
    /// If counts or shapes disagree.
    pub fn mix<const N: usize>(
        &self,
        answers: &mut ImageBatch,
        others: [&ImageBatch; N],
        mixed: impl Fn(f64, [f64; N]) -> f64,
    ) {
        let len = self.x.shape().len();
        for (place, &image) in self.places.iter().enumerate() {
            let values = &mut answers.values_mut()[image * len..(image + 1) * len];
            for (at, value) in values.iter_mut().enumerate() {
                *value =
                    mixed(f64::from(*value), others.map(|other| f64::from(other.image(place)[at]))) as f32;
            }
        }
    }
}

/// A denoiser that knows what to answer for [`NO_CLASS`], guided. An image that is guided takes two evaluations.
pub struct Guided<D> {
    /// The denoiser.
    pub denoiser: D,
    /// How.
    pub guidance: Guidance,
}

impl<D: Denoiser> Denoiser for Guided<D> {
    fn denoise(&self, noisy: &ImageBatch, sigma: &[Sigma], labels: &[u32]) -> Result<ImageBatch, ModelError> {
        let mut answers = self.denoiser.denoise(noisy, sigma, labels)?;
        let covers = |sigma| self.guidance.covers(sigma);
        let Some(guided) = ToGuide::of(covers, noisy, sigma, labels) else { return Ok(answers) };
        let untold = self.denoiser.denoise(&guided.x, &guided.sigma, &guided.untold())?;
        let weight = f64::from(self.guidance.weight);
        guided.mix(&mut answers, [&untold], |told, [untold]| untold + weight * (told - untold));
        Ok(answers)
    }

    fn evaluations(&self, sigma: Sigma) -> usize {
        let times = if self.guidance.covers(sigma) { 2 } else { 1 };
        times * self.denoiser.evaluations(sigma)
    }
}

/// A denoiser guided by a weaker one, one of less training or fewer weights, that is told the same. An image that is guided
/// takes an evaluation of each.
pub struct Autoguided<D, W> {
    /// The denoiser.
    pub denoiser: D,
    /// The weaker one.
    pub weaker: W,
    /// How.
    pub guidance: Guidance,
}

impl<D: Denoiser, W: Denoiser> Denoiser for Autoguided<D, W> {
    fn denoise(&self, noisy: &ImageBatch, sigma: &[Sigma], labels: &[u32]) -> Result<ImageBatch, ModelError> {
        let mut answers = self.denoiser.denoise(noisy, sigma, labels)?;
        let covers = |sigma| self.guidance.covers(sigma);
        let Some(guided) = ToGuide::within(covers, noisy, sigma, labels) else { return Ok(answers) };
        let weaker = self.weaker.denoise(&guided.x, &guided.sigma, &guided.labels)?;
        let weight = f64::from(self.guidance.weight);
        guided.mix(&mut answers, [&weaker], |strong, [weak]| weak + weight * (strong - weak));
        Ok(answers)
    }

    fn evaluations(&self, sigma: Sigma) -> usize {
        let of_weaker = if self.guidance.covers(sigma) { self.weaker.evaluations(sigma) } else { 0 };
        self.denoiser.evaluations(sigma) + of_weaker
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytic::GaussianMixture;
    use crate::{DiscretisationConfig, FlowEnd, Heun, Labels, NumLevels, ProbabilityFlow};
    use cm_image::ImageShape;
    use std::cell::Cell;

    const SHAPE: ImageShape = ImageShape::vector(2);

    /// Answers label + sigma + x, for no class -1; counts images.
    struct Told<'a>(&'a Cell<usize>);

    impl Denoiser for Told<'_> {
        fn denoise(
            &self,
            noisy: &ImageBatch,
            sigma: &[Sigma],
            labels: &[u32],
        ) -> Result<ImageBatch, ModelError> {
            self.0.set(self.0.get() + noisy.count());
            let mut answer = noisy.clone();
            for (image, values) in answer.images_mut().enumerate() {
                let class = if labels[image] == NO_CLASS { -1.0 } else { labels[image] as f32 };
                values.iter_mut().for_each(|v| *v += class + sigma[image].get());
            }
            Ok(answer)
        }
    }

    fn case() -> (ImageBatch, Vec<Sigma>, Vec<u32>) {
        let x = ImageBatch::from_fn(SHAPE, 5, |image, v| v.fill(0.25 * image as f32));
        let sigma = [0.1, 0.5, 1.0, 2.0, 2.0].map(|level| Sigma::new(level).unwrap());
        (x, sigma.to_vec(), vec![3, 3, 1, 2, NO_CLASS])
    }

    #[test]
    fn images_within_the_interval_are_driven_towards_their_class() {
        let (x, sigma, labels) = case();
        let count = Cell::new(0);
        let guidance = Guidance { weight: 3.0, above: 0.1, up_to: 1.0 };
        let guided = Guided { denoiser: Told(&count), guidance }.denoise(&x, &sigma, &labels).unwrap();
        assert_eq!(count.get(), 7, "five, and two again without a class");
        let plain = Told(&count).denoise(&x, &sigma, &labels).unwrap();
        for (image, &label) in labels.iter().enumerate() {
            // From -1 to the class and twice as far again.
            let further = if [1, 2].contains(&image) { 2.0 * (label as f32 + 1.0) } else { 0.0 };
            for (a, b) in guided.image(image).iter().zip(plain.image(image)) {
                assert!((a - b - further).abs() < 1e-6, "{image}: {a} {b}");
            }
        }
    }

    #[test]
    fn a_weight_of_one_and_no_labels_are_no_guidance_to_the_bit() {
        let (x, sigma, labels) = case();
        let count = Cell::new(0);
        let plain = Told(&count).denoise(&x, &sigma, &labels).unwrap();
        let one = Guided { denoiser: Told(&count), guidance: Guidance::default() };
        assert_eq!(one.denoise(&x, &sigma, &labels).unwrap(), plain);
        assert_eq!(count.get(), 10, "and cost nothing");
    }

    fn gaussian(std: f64) -> GaussianMixture {
        GaussianMixture::new(vec![1.0], vec![vec![0.0; 2]], vec![std]).unwrap()
    }

    #[test]
    fn a_weaker_denoiser_guides_within_the_interval_with_or_without_classes() {
        let (x, sigma, labels) = case();
        let (strong, weak) = (gaussian(0.5), gaussian(1.0));
        let guidance = Guidance { weight: 2.5, above: 0.1, up_to: 1.0 };
        let guided = Autoguided { denoiser: strong.clone(), weaker: weak.clone(), guidance };
        for labels in [&labels[..], &[]] {
            let answers = guided.denoise(&x, &sigma, labels).unwrap();
            for (image, level) in sigma.iter().enumerate() {
                let square = f64::from(level.get()).powi(2);
                let kept = |std: f64| std.powi(2) / (std.powi(2) + square);
                let inside = level.get() > 0.1 && level.get() <= 1.0;
                let weight = if inside { 2.5 } else { 1.0 };
                let factor = weight * kept(0.5) + (1.0 - weight) * kept(1.0);
                for (answer, x) in answers.image(image).iter().zip(x.image(image)) {
                    let expected = factor * f64::from(*x);
                    assert!((f64::from(*answer) - expected).abs() < 1e-6, "{image}: {answer} {expected}");
                }
            }
        }
        let one = Autoguided { denoiser: strong.clone(), weaker: weak, guidance: Guidance::default() };
        assert_eq!(one.denoise(&x, &sigma, &[]).unwrap(), strong.denoise(&x, &sigma, &[]).unwrap());
    }

    /// Along the flow of a Gaussian of deviation s, guided by one of deviation v, x goes as (s^2 + sigma^2)^(w / 2)
    /// (v^2 + sigma^2)^((1 - w) / 2): samples are s^w v^(1 - w) wide, narrower than both where the weaker is wider.
    #[test]
    fn the_samples_of_a_guided_gaussian_have_the_known_width() {
        let (s, v) = (0.5f64, 0.8f64);
        let levels = DiscretisationConfig { sigma_min: 0.002, sigma_max: 80.0, ..Default::default() };
        let levels = levels.build().unwrap().noise_levels(NumLevels::new(200).unwrap()).unwrap();
        let start = ImageBatch::from_fn(SHAPE, 3, |image, v| v.fill(80.0 * (image as f32 - 0.7)));
        for weight in [0.0f32, 1.0, 2.0, 3.0] {
            let guidance = Guidance { weight, ..Guidance::default() };
            let guided = Autoguided { denoiser: gaussian(s), weaker: gaussian(v), guidance };
            let flow = ProbabilityFlow {
                denoiser: &guided,
                solver: &Heun,
                levels: &levels,
                shape: SHAPE,
                end: FlowEnd::Zero,
                labels: Labels::None,
            };
            let samples = flow.integrate(start.clone(), &[]).unwrap();
            let w = f64::from(weight);
            let at = |sigma: f64| {
                (s * s + sigma * sigma).powf(w / 2.0) * (v * v + sigma * sigma).powf((1.0 - w) / 2.0)
            };
            let factor = at(0.0) / at(80.0);
            for (sample, start) in samples.values().iter().zip(start.values()) {
                let expected = factor * f64::from(*start);
                assert!(
                    (f64::from(*sample) - expected).abs() < 2e-3 * expected.abs(),
                    "{weight}: {sample} {expected}"
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_followed_is_an_error() {
        assert!(Guidance::default().check().is_ok());
        for (weight, above, up_to) in [
            (-1.0, 0.0, 1.0),
            (f32::NAN, 0.0, 1.0),
            (f32::INFINITY, 0.0, 1.0),
            (2.0, 1.0, 1.0),
            (2.0, -1.0, 1.0),
        ] {
            assert!(Guidance { weight, above, up_to }.check().is_err(), "{weight} {above} {up_to}");
        }
    }
}
