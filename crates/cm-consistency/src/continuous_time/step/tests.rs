mod forward;
mod limits;

use super::*;
use crate::{CentralConfig, KnownNoise, TeacherStep, TimeLawConfig};
use cm_diffusion::analytic::{ExactConsistency, GaussianMixture};
use cm_diffusion::{ConsistencyFunction, DiscretisationConfig, SolverConfig, WeightingConfig};
use cm_image::{ImageBatch, ImageShape};
use cm_network::{Conditions, EmbeddingConfig, MlpConfig, NetworkConfig, ScaleConfig, UNetConfig};
use cm_tensor::{ParameterId, ops};
use cm_training::{
    Control, DecayConfig, Duration, EmaConfig, LearningRateConfig, MomentsConfig, OptimiserConfig,
    TrainConfig, train,
};

const SHAPE: ImageShape = ImageShape::vector(3);
const BOUNDARY: Boundary = Boundary { sigma_data: 0.5, sigma_min: 0.02 };
const GRID: DiscretisationConfig = DiscretisationConfig {
    sigma_min: 0.02,
    sigma_max: 10.0,
    spacing: cm_diffusion::SpacingConfig::Karras(cm_diffusion::KarrasConfig { rho: 7.0 }),
};

fn mixture() -> GaussianMixture {
    let means = vec![vec![0.6, 0.2, -0.3], vec![-0.6, -0.2, 0.1]];
    GaussianMixture::new(vec![1.0; 2], means, vec![0.3, 0.2]).unwrap()
}

/// A network whose every weight counts, the last layer's included.
fn network() -> (Box<dyn Network>, Weights) {
    let config = NetworkConfig::Mlp(MlpConfig { width: 16, ..MlpConfig::default() });
    let (network, mut weights) = config.build(SHAPE, Conditions::default(), 0).unwrap();
    let mut random = Random::new(2);
    weights.values_mut().for_each(|v| v.iter_mut().for_each(|v| *v += 0.2 * random.normal()));
    (network, weights)
}

/// The first paper's own settings: tangents as they are, nothing learned, levels as those of the grid.
fn plain(loss: ContinuousLossConfig) -> ContinuousTimeConfig {
    ContinuousTimeConfig {
        time: TimeLawConfig::Uniform,
        loss,
        weighting: WeightingConfig::Uniform,
        weight_head: None,
        ..ContinuousTimeConfig::default()
    }
}

const UNNORMALISED: ContinuousLossConfig = ContinuousLossConfig::StopGradient(StopGradientConfig {
    normalisation: NormalisationConfig::None,
    warmup: Duration::Images(0),
});

fn trajectory(mixture: Option<&GaussianMixture>) -> Box<dyn Trajectory + '_> {
    match mixture {
        Some(denoiser) => Box::new(TeacherStep { denoiser, solver: SolverConfig::Heun.build() }),
        None => Box::new(KnownNoise),
    }
}

fn step<'a>(
    config: ContinuousTimeConfig,
    train: &TrainConfig,
    network: &'a dyn Network,
    weights: &Weights,
    trajectory: Box<dyn Trajectory + 'a>,
) -> ContinuousTimeStep<'a> {
    let consistency =
        ConsistencyConfig { train: train.clone(), discretisation: GRID, ..ConsistencyConfig::default() };
    let parts = ContinuousParts { trajectory, discretisation: GRID.build().unwrap() };
    ContinuousTimeStep::new(&consistency, config, network, weights.clone(), BOUNDARY, parts).unwrap()
}

const SEED: u64 = 11;

fn seed() -> StepSeed {
    StepSeed::new(SEED, 12, 0)
}

const PROGRESS: Progress = Progress { step: 0, images: 0, total_images: 80 };

fn clean(count: usize) -> Batch {
    Batch { images: mixture().sample(&(0..count as u64).collect::<Vec<_>>()), labels: vec![] }
}

/// Places of the grid's time, 0 at its top, spread over most of it.
fn places(count: usize) -> Vec<f64> {
    (0..count).map(|k| (k as f64 + 0.5) / count as f64 * 0.9).collect()
}

fn level(place: f64) -> Sigma {
    Sigma::new(GRID.build().unwrap().between(place) as f32).unwrap()
}

fn gradient_of(graph: Graph, losses: &Vector, seeds: Vec<f32>, weights: &Weights) -> Vec<f64> {
    let mut gradients = graph.backward(losses, seeds);
    weights.gradients(&mut gradients).into_iter().flatten().map(f64::from).collect()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// The points of a batch at some levels, with the noise that a step gives them.
fn noisy(batch: &Batch, sigma: &[Sigma]) -> (ImageBatch, ImageBatch) {
    let z = noise::batch_noise(SHAPE, &seed().image_noise(0..sigma.len()), 0);
    (noise::perturb(&batch.images, sigma, &z), z)
}

/// A set of weights moved along a direction that is the same for all of them.
fn moved_weights(weights: &Weights, step: f32, direction: u64) -> (Weights, Vec<f64>) {
    let mut moved = weights.clone();
    let mut random = Random::with_stream(31, direction);
    let mut along = Vec::new();
    for values in moved.values_mut() {
        for value in values {
            let unit = random.normal();
            along.push(f64::from(unit));
            *value += step * unit;
        }
    }
    (moved, along)
}

/// The gradient is that of the mean of 2 sg(df/dsigma) f over the values, df/dsigma from the model itself at neighbouring
/// levels, and the model's dependence on its weights by differences.
#[test]
fn the_gradient_moves_f_against_its_derivative() {
    let (network, weights) = network();
    let mixture = mixture();
    let (count, batch) = (6, clean(6));
    let sigma: Vec<Sigma> = places(count).iter().map(|&place| level(place)).collect();
    let step = step(
        plain(UNNORMALISED),
        &TrainConfig::default(),
        network.as_ref(),
        &weights,
        trajectory(Some(&mixture)),
    );
    let shard = step.state.shards(count).remove(0);
    let (graph, losses) = step.losses(&batch, &sigma, &shard, (PROGRESS, seed())).unwrap();
    let gradient = gradient_of(graph, &losses, step.weights(&sigma).0, &step.state.weights);
    let (points, _) = noisy(&batch, &sigma);
    let aim = cm_diffusion::Denoiser::denoise(&mixture, &points, &sigma, &[]).unwrap();
    let path = LocalPath { noisy: &points, sigma: &sigma, aim: &aim };
    let f = |weights: &Weights, x: &ImageBatch, sigma: &[Sigma]| {
        ConsistencyModel::new(network.as_ref(), weights.clone(), BOUNDARY).endpoint(x, sigma, &[]).unwrap()
    };
    let [(above, upper), (below, lower)] = [path.moved(0.03), path.moved(-0.03)];
    let (there, here) = (f(&weights, &above, &upper), f(&weights, &below, &lower));
    let difference = there.values().iter().zip(here.values()).map(|(a, b)| f64::from(a - b));
    let slopes: Vec<f64> = difference
        .enumerate()
        .map(|(place, difference)| {
            let image = place / 3;
            difference / (f64::from(upper[image].get()) - f64::from(lower[image].get()))
        })
        .collect();
    for direction in 0..4 {
        let (ahead, along) = moved_weights(&weights, 2e-3, direction);
        let (behind, _) = moved_weights(&weights, -2e-3, direction);
        let (ahead, behind) = (f(&ahead, &points, &sigma), f(&behind, &points, &sigma));
        let moves = ahead.values().iter().zip(behind.values()).map(|(a, b)| f64::from(a - b) / 4e-3);
        let measured: f64 =
            moves.zip(&slopes).map(|(by, slope)| 2.0 * slope * by).sum::<f64>() / (3.0 * count as f64);
        let claimed: f64 = gradient.iter().zip(&along).map(|(g, v)| g * v).sum();
        let scale = norm(gradient.iter().copied());
        assert!((claimed - measured).abs() < 2e-3 * scale, "{claimed} {measured} of {scale}");
    }
}

/// Without stop-gradient, the gradient is that of the loss itself, by central differences.
#[test]
fn the_full_loss_s_gradient_goes_through_the_derivative() {
    let (network, weights) = network();
    let mixture = mixture();
    let (count, batch) = (6, clean(6));
    let sigma: Vec<Sigma> = places(count).iter().map(|&place| level(place)).collect();
    // A wide step leaves single precision enough digits; the loss is one and the same for its gradient and its values.
    let tangent = TangentConfig::Central(CentralConfig { step: 0.2 });
    for norm_of in [DerivativeNorm::SquaredL2, DerivativeNorm::L1] {
        let config = ContinuousTimeConfig { tangent, ..plain(ContinuousLossConfig::Full(norm_of)) };
        let of = |weights: &Weights| {
            let step =
                step(config, &TrainConfig::default(), network.as_ref(), weights, trajectory(Some(&mixture)));
            let shard = step.state.shards(count).remove(0);
            let (graph, losses) = step.losses(&batch, &sigma, &shard, (PROGRESS, seed())).unwrap();
            let seeds = step.weights(&sigma).0;
            let loss: f64 =
                losses.values().iter().zip(&seeds).map(|(l, w)| f64::from(*l) * f64::from(*w)).sum();
            (loss, gradient_of(graph, &losses, seeds, &step.state.weights))
        };
        let (_, gradient) = of(&weights);
        for direction in 0..4 {
            let (ahead, along) = moved_weights(&weights, 1e-3, direction);
            let (behind, _) = moved_weights(&weights, -1e-3, direction);
            let measured = (of(&ahead).0 - of(&behind).0) / 2e-3;
            let claimed: f64 = gradient.iter().zip(&along).map(|(g, v)| g * v).sum();
            let scale = norm(gradient.iter().copied());
            assert!(
                (claimed - measured).abs() < 5e-3 * scale,
                "{norm_of:?}: {claimed} {measured} of {scale}"
            );
        }
    }
}

/// A network that is the exact consistency function of a Gaussian, times one weight that is 1.
struct Exact {
    mean: f64,
    std: f64,
    factor: ParameterId,
}

impl Network for Exact {
    fn shape(&self) -> ImageShape {
        ImageShape::vector(1)
    }

    fn classes(&self) -> Option<usize> {
        None
    }

    fn forward(&self, g: &mut Graph, w: &Weights, x: &Images, c_noise: &[f32], extra: Extra<'_>) -> Images {
        let values = x.values().iter().zip(c_noise).map(|(&x, &c)| self.at([x, 0.0], [c, 0.0])[0] as f32);
        let mut raw = Images::constant(values.collect(), x.shape());
        if let (Some(along), Some(change)) = (x.tangent(), extra.c_noise_tangent) {
            let places = x.values().iter().zip(along).zip(c_noise.iter().zip(change));
            let slope = |((&x, &along), (&c, &change)): ((&f32, &f32), (&f32, &f32))| {
                self.at([x, along], [c, change])[1] as f32
            };
            raw = raw.moving(places.map(slope).collect());
        }
        let raw = ops::as_matrix(g, &raw);
        let scaled = ops::linear(g, &raw, w.get(self.factor), None);
        ops::as_images(g, &scaled, [1, 1, 1])
    }
}

impl Exact {
    /// N and how it changes, from the scaled image and the level's number with their changes.
    fn at(&self, scaled: [f32; 2], c_noise: [f32; 2]) -> [f64; 2] {
        let [[scaled, of_scaled], [c_noise, of_c_noise]] = [scaled, c_noise].map(|pair| pair.map(f64::from));
        let (d, min) = (f64::from(BOUNDARY.sigma_data), f64::from(BOUNDARY.sigma_min));
        let sigma = (4.0 * c_noise).exp();
        let of_sigma = 4.0 * of_c_noise * sigma;
        let (norm, above) = (sigma.hypot(d), sigma - min);
        let of_norm = sigma * of_sigma / norm;
        let (x, of_x) = (scaled * norm, of_scaled * norm + scaled * of_norm);
        let kept = min.hypot(self.std) / sigma.hypot(self.std);
        let of_kept = -kept * sigma * of_sigma / (sigma * sigma + self.std * self.std);
        let (end, of_end) = (self.mean + kept * (x - self.mean), of_kept * (x - self.mean) + kept * of_x);
        let skipped = above * above + d * d;
        let (c_skip, of_c_skip) = (d * d / skipped, -2.0 * above * of_sigma * d * d / (skipped * skipped));
        let (c_out, of_c_out) = (above * d / norm, d * (of_sigma - above * of_norm / norm) / norm);
        let raw = (end - c_skip * x) / c_out;
        [raw, (of_end - of_c_skip * x - c_skip * of_x - raw * of_c_out) / c_out]
    }
}

/// The whole step in single precision: of the exact consistency function and the exact teacher next to nothing is left to
/// move, of one that is off by a tenth there is.
#[test]
fn the_exact_function_is_left_where_it_is() {
    let gaussian = GaussianMixture::new(vec![1.0], vec![vec![0.3]], vec![0.7]).unwrap();
    let batch = Batch { images: gaussian.sample(&(0..64).collect::<Vec<_>>()), labels: vec![] };
    let tangent = |factor: f32, tangent: TangentConfig| {
        let mut weights = Weights::new();
        let network = Exact { mean: 0.3, std: 0.7, factor: weights.add("factor", &[1], vec![factor]) };
        let config = ContinuousTimeConfig { tangent, ..plain(UNNORMALISED) };
        let mut step = step(config, &TrainConfig::default(), &network, &weights, trajectory(Some(&gaussian)));
        let report = step.step(&batch, PROGRESS, seed()).unwrap();
        report.scalars.iter().find(|(name, _)| *name == "tangent").unwrap().1
    };
    for (kind, share) in [(TangentConfig::default(), 1e-3), (TangentConfig::Forward, 1e-4)] {
        let (exact, off) = (tangent(1.0, kind), tangent(1.1, kind));
        assert!(exact < share * off && off > 0.01, "{kind:?}: {exact} {off}");
    }
}

/// What is reported is the length before it was brought to 1; the loss itself is that after.
#[test]
fn the_length_of_tangents_is_reported_as_it_was() {
    let (network, weights) = network();
    let mixture = mixture();
    let of = |normalisation| {
        let loss = ContinuousLossConfig::StopGradient(StopGradientConfig {
            normalisation,
            warmup: Duration::Images(160),
        });
        let config = ContinuousTimeConfig { weighting: WeightingConfig::TrigFlow, ..plain(loss) };
        let mut step =
            step(config, &TrainConfig::default(), network.as_ref(), &weights, trajectory(Some(&mixture)));
        let report = step.step(&clean(8), Progress { images: 40, ..PROGRESS }, seed()).unwrap();
        let [tangent, warmup] = [0, 1].map(|place| report.scalars[place].1);
        assert_eq!(warmup, 0.25);
        (tangent, report.loss)
    };
    let (raw, loss) = of(NormalisationConfig::None);
    assert!(
        (raw * raw / loss - 1.0).abs() < 1e-5,
        "with this weight the loss is the mean square: {raw} {loss}"
    );
    for normalisation in [NormalisationConfig::L2(0.1), NormalisationConfig::Rms(0.1)] {
        let (tangent, loss) = of(normalisation);
        assert!((tangent / raw - 1.0).abs() < 1e-3, "{normalisation:?}: {tangent} {raw}");
        assert!(loss < 1.0, "{loss}");
    }
}

/// A small network learns where the flow of a mixture ends, by each of the losses: far nearer than it began.
#[test]
fn every_loss_finds_the_flow_s_ends() {
    let config = MlpConfig {
        width: 32,
        blocks: 2,
        embedding: EmbeddingConfig::Positional(ScaleConfig { scale: 4.0, ..ScaleConfig::default() }),
        ..MlpConfig::default()
    };
    let (network, weights) = NetworkConfig::Mlp(config).build(SHAPE, Conditions::default(), 0).unwrap();
    let mixture = mixture();
    let config = TrainConfig {
        total_images: 64_000,
        batch: 64,
        optimiser: OptimiserConfig::Adam(MomentsConfig::default()),
        learning_rate: LearningRateConfig {
            peak: 3e-3,
            warmup: Duration::Images(0),
            decay: DecayConfig::Cosine,
        },
        ema: vec![EmaConfig::PerStep(0.98)],
        ..TrainConfig::default()
    };
    let start = noise::batch_noise(SHAPE, &(100_000..100_256).collect::<Vec<u64>>(), 0).map(|z| 10.0 * z);
    let exact = ExactConsistency { mixture: mixture.clone(), sigma_min: Sigma::new(0.02).unwrap() };
    let sigma = vec![Sigma::new(10.0).unwrap(); 256];
    let ends = exact.endpoint(&start, &sigma, &[]).unwrap();
    let rmse = |weights: &Weights| {
        let model = ConsistencyModel::new(network.as_ref(), weights.clone(), BOUNDARY);
        let found = model.endpoint(&start, &sigma, &[]).unwrap();
        norm(found.values().iter().zip(ends.values()).map(|(a, b)| f64::from(a - b))) / 768f64.sqrt()
    };
    let fresh = rmse(&weights);
    // Levels from 10 down, of which the law's middle is e^-0.5.
    let time = TimeLawConfig::LogNormal(crate::TimeLogNormalConfig { mean: -0.5, std: 1.4 });
    let scm = ContinuousTimeConfig { time, ..ContinuousTimeConfig::default() };
    let full = plain(ContinuousLossConfig::Full(DerivativeNorm::SquaredL2));
    for (name, config_of, teacher, share) in [
        ("sCD", scm, Some(&mixture), 0.3),
        ("sCT", scm, None, 0.5),
        ("continuous CD", plain(UNNORMALISED), Some(&mixture), 0.5),
        ("continuous CD through the derivative", full, Some(&mixture), 0.5),
    ] {
        let mut step = step(config_of, &config, network.as_ref(), &weights, trajectory(teacher));
        let batch = |k: u64| {
            let seeds: Vec<u64> = (64 * k..64 * (k + 1)).collect();
            Ok::<_, TrainError>(Batch { images: mixture.sample(&seeds), labels: vec![] })
        };
        train(&mut step, &config, 0, (1, 2), batch, |_, _| Ok(Control::Continue)).unwrap();
        let trained = rmse(&step.state.averages[0]);
        assert!(trained < share * fresh, "{name}: {trained} of {fresh}");
    }
}

/// Blocks that are computed again on the way back, dropout included: the same losses to the bit, the same gradient but for
/// the order of its sums, also where the network is evaluated twice.
#[test]
fn recomputation_changes_nothing_but_the_order_of_sums() {
    let shape = ImageShape::new(8, 8, 1);
    let mut random = Random::new(8);
    let images = ImageBatch::from_fn(shape, 4, |_, v| random.fill_normal(v));
    let full = ContinuousLossConfig::Full(DerivativeNorm::SquaredL2);
    for loss in [ContinuousLossConfig::default(), full] {
        let report = |recompute| {
            let config = UNetConfig {
                channels: 8,
                multipliers: vec![1, 2],
                blocks: 1,
                attention: vec![4],
                dropout: 0.3,
                recompute,
                ..UNetConfig::default()
            };
            let (network, mut weights) =
                NetworkConfig::UNet(config).build(shape, Conditions::default(), 0).unwrap();
            let mut random = Random::new(2);
            weights.values_mut().for_each(|v| v.iter_mut().for_each(|v| *v += 0.1 * random.normal()));
            let config = ContinuousTimeConfig { loss, ..ContinuousTimeConfig::default() };
            let mut step =
                step(config, &TrainConfig::default(), network.as_ref(), &weights, Box::new(KnownNoise));
            let batch = Batch { images: images.clone(), labels: vec![] };
            step.step(&batch, Progress { images: 40, ..PROGRESS }, seed()).unwrap()
        };
        let (recomputed, kept) = (report(true), report(false));
        assert_eq!(recomputed.losses, kept.losses);
        let ratio = recomputed.gradient_norm / kept.gradient_norm;
        assert!((ratio - 1.0).abs() < 1e-5 && kept.gradient_norm > 1e-3, "{ratio} {}", kept.gradient_norm);
    }
}
