//! A trained network as a map along the flow, one denoiser evaluation a jump.

use cm_consistency::{Distance, scaling};
use cm_diffusion::{
    Denoiser, Discretisation, Edm, FlowMap, IndexLaw, ModelError, Precondition, Sigma, Weighting, euler_jump,
};
use cm_image::ImageBatch;
use cm_image::augmentation::AUGMENTATION_LABELS;
use cm_network::{Extra, Network, check_labels};
use cm_tensor::{Graph, Images, Vector, Weights};

/// What models that jump are trained with, built from a [`cm_consistency::ConsistencyConfig`].
pub struct JumpParts {
    /// The noise levels for a given number of steps.
    pub discretisation: Box<dyn Discretisation>,
    /// How often each interval is drawn.
    pub index_law: Box<dyn IndexLaw>,
    /// How the student's output is compared with the target.
    pub distance: Box<dyn Distance>,
    /// The weight of an interval.
    pub weighting: Box<dyn Weighting>,
}

impl JumpParts {
    /// The distances of a student's jumps of `noisy` from `from` to `to` from their `target`, recorded.
    pub(crate) fn distances(
        &self,
        (network, weights, precondition): (&dyn Network, &Weights, &Edm),
        (noisy, target): (&ImageBatch, &ImageBatch),
        from: &[Sigma],
        extra: Extra<'_>,
    ) -> (Graph, Vector) {
        let mut graph = Graph::recording();
        let scaling = scaling(precondition, from);
        let x = Images::from_batch(noisy);
        let student = network.forward_scaled(&mut graph, weights, &x, &scaling, extra);
        let distances = self.distance.distance(&mut graph, &student, &Images::from_batch(target));
        (graph, distances)
    }

    /// The weight of each jump in the mean over the batch.
    pub(crate) fn weights(&self, from: &[Sigma], to: &[Sigma]) -> Vec<f32> {
        let count = from.len() as f32;
        from.iter().zip(to).map(|(&from, &to)| self.weighting.weight(from, to) / count).collect()
    }
}

/// Jumps by Euler's step with a network under EDM's preconditioning: what progressive distillation and shortcut models
/// train.
///
/// A progressively distilled network knows only where a jump starts, so it is right for jumps of the length of its
/// stage; that of a shortcut model is told where the jump ends.
pub struct JumpModel<'a> {
    network: &'a dyn Network,
    weights: Weights,
    precondition: Edm,
    knows_end: bool,
}

impl<'a> JumpModel<'a> {
    /// A progressively distilled model: a denoiser whose network takes no second time.
    pub fn distilled(network: &'a dyn Network, weights: Weights, precondition: Edm) -> Self {
        Self { network, weights, precondition, knows_end: false }
    }

    /// A shortcut model, whose network takes the c_noise of a jump's end as its second time.
    pub fn shortcut(network: &'a dyn Network, weights: Weights, precondition: Edm) -> Self {
        Self { network, weights, precondition, knows_end: true }
    }

    /// D(x; from, to), the point to which Euler's step from `from` to `to` goes.
    ///
    /// # Errors
    /// [`ModelError`] if shapes, counts or labels disagree.
    pub fn denoise_for_jump(
        &self,
        x: &ImageBatch,
        from: &[Sigma],
        to: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        ModelError::check(x, from, self.network.shape())?;
        ModelError::check(x, to, self.network.shape())?;
        let ends = self.knows_end.then_some(to);
        let network = (self.network, &self.weights, &self.precondition);
        let told = Told { labels, ..Told::default() };
        let output = denoised(&mut Graph::inference(), network, x, (from, ends), told)?;
        Ok(output.to_batch())
    }
}

impl FlowMap for JumpModel<'_> {
    fn jump(
        &self,
        x: &ImageBatch,
        from: &[Sigma],
        to: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        euler_jump(x, self.denoise_for_jump(x, from, to, labels)?, from, to)
    }
}

/// A network without a second time as a denoiser.
pub(crate) struct NetworkDenoiser<'a>(pub(crate) JumpModel<'a>);

impl Denoiser for NetworkDenoiser<'_> {
    fn denoise(&self, noisy: &ImageBatch, sigma: &[Sigma], labels: &[u32]) -> Result<ImageBatch, ModelError> {
        self.0.denoise_for_jump(noisy, sigma, sigma, labels)
    }
}

/// What a network is told of some images beside their levels.
#[derive(Clone, Copy, Default)]
pub(crate) struct Told<'a> {
    /// Their classes, or none.
    pub(crate) labels: &'a [u32],
    /// How they were changed, if they were.
    pub(crate) augmentation: Option<&'a [f32]>,
    /// By which dropout's masks are made.
    pub(crate) dropout_key: Option<u64>,
}

impl Told<'_> {
    /// The same of the first `count` images alone.
    pub(crate) fn first(&self, count: usize) -> Self {
        Self {
            labels: &self.labels[..count.min(self.labels.len())],
            augmentation: self.augmentation.map(|changes| &changes[..count * AUGMENTATION_LABELS]),
            ..*self
        }
    }
}

/// D(x; from, to) of a network with these weights, recorded in `graph`; `to` is told to a network that takes a second time.
///
/// # Errors
/// [`ModelError`] if labels do not fit.
pub(crate) fn denoised(
    graph: &mut Graph,
    (network, weights, precondition): (&dyn Network, &Weights, &Edm),
    x: &ImageBatch,
    (from, to): (&[Sigma], Option<&[Sigma]>),
    Told { labels, augmentation, dropout_key }: Told<'_>,
) -> Result<Images, ModelError> {
    let labels = check_labels(network, labels, x.count()).map_err(ModelError::other)?;
    let ends = to.map(second_times);
    let extra = Extra { labels, second_time: ends.as_deref(), augmentation, dropout_key, ..Extra::default() };
    let scaling = scaling(precondition, from);
    Ok(network.forward_scaled(graph, weights, &Images::from_batch(x), &scaling, extra))
}

/// The second time that tells a network where a jump ends: the level's c_noise.
pub(crate) fn second_times(to: &[Sigma]) -> Vec<f32> {
    // c_noise does not depend on the data.
    to.iter().map(|&sigma| Edm { sigma_data: 1.0 }.coefficients(sigma).c_noise).collect()
}

/// The denoiser's output whose single Euler step from `from` to `to` does what two steps over `middle` with the outputs
/// `first` and `second` do: for each image
///
/// D = w second + (1 - w) first, w = (1 - to / middle) / (1 - to / from).
///
/// It is the original code's x - from (x' - x) / (to - from), with x' the end of the two steps, solved for what does
/// not cancel: x drops out, and with it its rounding (at from = 80 that of 80).
///
/// # Panics
/// If counts or shapes disagree.
pub(crate) fn merged_target(first: &ImageBatch, mut second: ImageBatch, levels: &[[Sigma; 3]]) -> ImageBatch {
    assert_eq!((first.count(), first.shape()), (second.count(), second.shape()), "outputs that differ");
    assert_eq!(levels.len(), second.count(), "three levels for each image");
    for ((second, first), levels) in second.images_mut().zip(first.images()).zip(levels) {
        let [from, middle, to] = levels.map(|sigma| f64::from(sigma.get()));
        let share = (1.0 - to / middle) / (1.0 - to / from);
        for (second, &first) in second.iter_mut().zip(first) {
            let (a, b) = (f64::from(first), f64::from(*second));
            *second = (a + share * (b - a)) as f32;
        }
    }
    second
}

/// One list for each of the three levels.
pub(crate) fn columns(levels: &[[Sigma; 3]]) -> [Vec<Sigma>; 3] {
    [0, 1, 2].map(|column| levels.iter().map(|levels| levels[column]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_image::ImageShape;
    use cm_image::random::Random;
    use cm_network::{Conditions, MlpConfig, NetworkConfig};

    fn sigma(value: f64) -> Sigma {
        Sigma::new(value as f32).unwrap()
    }

    /// `scripts/parity/schedules.py`: the original code's formula in double precision. Its levels are worked out here as
    /// they are there.
    #[test]
    fn targets_are_those_of_the_original_code() {
        let fixture = include_str!("../../../tests/fixtures/parity/schedules.csv");
        let rows: Vec<Vec<f64>> = (fixture.lines())
            .filter_map(|line| line.strip_prefix("pair,"))
            .map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect())
            .collect();
        assert_eq!(rows.len(), 18);
        let level = |place: f64| {
            let (top, bottom) = (80f64.powf(1.0 / 7.0), 0.002f64.powf(1.0 / 7.0));
            (top + place * (bottom - top)).powi(7)
        };
        for row in rows {
            let [s, i, _, first, second, expected] = [0, 1, 2, 3, 4, 5].map(|cell| row[cell]);
            let levels = [i, i + 0.5, i + 1.0].map(|place| sigma(level(place / s)));
            let image = |value: f64| ImageBatch::new(ImageShape::vector(1), vec![value as f32]).unwrap();
            let target = merged_target(&image(first), image(second), &[levels]).values()[0];
            assert!((f64::from(target) - expected).abs() < 1e-6, "{row:?}: {target}");
        }
    }

    #[test]
    fn one_jump_with_the_merged_target_ends_where_two_do() {
        let shape = ImageShape::vector(3);
        let mut random = Random::new(1);
        let [x, first, second] = [40.0, 1.0, 1.0]
            .map(|scale: f32| ImageBatch::from_fn(shape, 4, |_, v| random.fill_normal(v)).map(|v| scale * v));
        let levels = [[80.0, 20.0, 3.0], [5.0, 2.0, 0.5], [0.5, 0.1, 0.02], [1.0, 0.999, 0.5]]
            .map(|levels| levels.map(sigma));
        let at = |place: usize| levels.map(|levels| levels[place]);
        let half = euler_jump(&x, first.clone(), &at(0), &at(1)).unwrap();
        let two = euler_jump(&half, second.clone(), &at(1), &at(2)).unwrap();
        let one = euler_jump(&x, merged_target(&first, second, &levels), &at(0), &at(2)).unwrap();
        for (a, b) in one.values().iter().zip(two.values()) {
            assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "{a} {b}");
        }
    }

    #[test]
    fn a_shortcut_model_is_told_where_its_jump_ends_and_a_distilled_one_is_not() {
        let shape = ImageShape::vector(3);
        let build = |second_time| {
            let conditions = Conditions { second_time, ..Conditions::default() };
            let config = NetworkConfig::Mlp(MlpConfig { width: 16, ..MlpConfig::default() });
            let (network, mut weights) = config.build(shape, conditions, 0).unwrap();
            let mut random = Random::new(2);
            weights.values_mut().for_each(|v| v.iter_mut().for_each(|v| *v += 0.3 * random.normal()));
            (network, weights)
        };
        let ((plain, plain_weights), (told, told_weights)) = (build(false), build(true));
        let edm = Edm { sigma_data: 0.5 };
        let distilled = JumpModel::distilled(plain.as_ref(), plain_weights, edm);
        let shortcut = JumpModel::shortcut(told.as_ref(), told_weights, edm);
        let mut random = Random::new(3);
        let x = ImageBatch::from_fn(shape, 2, |_, v| random.fill_normal(v));
        let denoised = |model: &JumpModel<'_>, to: f64| {
            model.denoise_for_jump(&x, &[sigma(3.0); 2], &[sigma(to); 2], &[]).unwrap()
        };
        assert_eq!(denoised(&distilled, 1.0), denoised(&distilled, 0.1));
        assert_ne!(denoised(&shortcut, 1.0), denoised(&shortcut, 0.1));
        assert!(matches!(
            distilled.jump(&x, &[sigma(1.0); 2], &[sigma(1.0); 2], &[]),
            Err(ModelError::Step { .. })
        ));
    }
}
