//! Bugs of published trainers of consistency models, one test for each, named after it.

use crate::{
    ConsistencyConfig, ConsistencyModel, ConsistencyStep, CurriculumConfig, Distance, FixedConfig,
    KnownNoise, Parts, Pixels, ProgressiveConfig,
};
use cm_diffusion::{Boundary, ConsistencyFunction, LevelPair, Precondition, Sigma, noise};
use cm_image::random::{Random, derive_seed};
use cm_image::{ImageBatch, ImageShape};
use cm_network::{Conditions, MlpConfig, Network, NetworkConfig};
use cm_tensor::ops::PairDistance;
use cm_tensor::{Graph, Images, TensorFile, Weights};
use cm_training::{
    Batch, Duration, EmaConfig, LearningRateConfig, Progress, StepReport, StepSeed, TrainConfig, TrainError,
    TrainStep,
};

const BOUNDARY: Boundary = Boundary { sigma_data: 0.5, sigma_min: 0.002 };
const SHAPE: ImageShape = ImageShape::vector(6);

/// A network whose every weight counts, the last layer's included.
fn network(dropout: f32) -> (Box<dyn Network>, Weights) {
    let config = NetworkConfig::Mlp(MlpConfig { width: 16, dropout, ..MlpConfig::default() });
    let (network, mut weights) = config.build(SHAPE, Conditions::default(), 0).unwrap();
    let mut random = Random::new(2);
    weights.values_mut().for_each(|v| v.iter_mut().for_each(|v| *v += 0.2 * random.normal()));
    (network, weights)
}

fn step<'a>(
    config: &ConsistencyConfig,
    (network, weights): &'a (Box<dyn Network>, Weights),
    distance: PairDistance,
) -> ConsistencyStep<'a> {
    let range = config.discretisation.range().unwrap();
    let parts = Parts {
        trajectory: Box::new(KnownNoise),
        discretisation: config.discretisation.build().unwrap(),
        index_law: config.index_law.build(range).unwrap(),
        continuous: None,
        distance: Box::new(Pixels(distance)),
        weighting: config.weighting.build(BOUNDARY.sigma_data),
        segments: None,
        truncation: None,
    };
    ConsistencyStep::new(config, network.as_ref(), weights.clone(), BOUNDARY, parts)
}

fn config(curriculum: CurriculumConfig) -> ConsistencyConfig {
    let train = TrainConfig { batch: 8, total_images: 80, ..TrainConfig::default() };
    ConsistencyConfig { train, curriculum, ..ConsistencyConfig::default() }
}

/// Far outside [-1, 1], where a clamp would show.
fn batch() -> Batch {
    let mut random = Random::new(5);
    let images = ImageBatch::from_fn(SHAPE, 8, |_, v| v.iter_mut().for_each(|v| *v = 3.0 * random.normal()));
    Batch { images, labels: vec![] }
}

fn take(step: &mut ConsistencyStep<'_>, images: u64) -> Result<StepReport, TrainError> {
    let progress = Progress { step: images / 8, images, total_images: 80 };
    step.step(&batch(), progress, StepSeed::new(11, 12, progress.step))
}

/// The pairs that a step with this seed draws from the default levels.
fn pairs(config: &ConsistencyConfig, num_levels: usize, seed: StepSeed) -> Vec<LevelPair> {
    use cm_diffusion::NumLevels;
    let num_levels = NumLevels::new(num_levels).unwrap();
    let levels = config.discretisation.build().unwrap().noise_levels(num_levels).unwrap();
    let law = config.index_law.build(config.discretisation.range().unwrap()).unwrap();
    law.draw(&levels, 8, &mut Random::with_stream(seed.noise(), 1))
}

/// junhsss/consistency-models clamps outputs to [-1, 1] inside training; ECT trains and evaluates with different
/// boundaries. The loss of a step is that of the model as it is sampled from, without any clamp.
#[test]
fn outputs_are_not_clamped_in_training_and_training_has_the_model_s_own_boundary() {
    let fixed = config(CurriculumConfig::Fixed(FixedConfig { num_levels: 18 }));
    let built = network(0.0);
    let loss = take(&mut step(&fixed, &built, PairDistance::SquaredL2), 0).unwrap().loss;
    let seed = StepSeed::new(11, 12, 0);
    let pairs = pairs(&fixed, 18, seed);
    let [upper, lower] = [|p: &LevelPair| p.upper, |p: &LevelPair| p.lower]
        .map(|side| pairs.iter().map(side).collect::<Vec<Sigma>>());
    let seeds: Vec<u64> = (0..8).map(|image| derive_seed(seed.noise(), image)).collect();
    let z = noise::batch_noise(SHAPE, &seeds, 0);
    let model = ConsistencyModel::new(built.0.as_ref(), built.1.clone(), BOUNDARY);
    let at = |sigma: &[Sigma]| {
        model.endpoint(&noise::perturb(&batch().images, sigma, &z), sigma, &[]).unwrap().values().to_vec()
    };
    let (student, target) = (at(&upper), at(&lower));
    let mean = |f: &dyn Fn(f32) -> f32| {
        let squares = student.iter().zip(&target).map(|(a, b)| f64::from(f(*a) - f(*b)).powi(2));
        squares.sum::<f64>() / student.len() as f64
    };
    let (plain, clamped) = (mean(&|v| v), mean(&|v| v.clamp(-1.0, 1.0)));
    assert!((loss / plain - 1.0).abs() < 1e-5, "{loss} {plain}");
    assert!((clamped / plain - 1.0).abs() > 0.1, "a clamp would show: {clamped} {plain}");
}

/// openai/consistency_models_cifar10 sums losses with nansum, and ECT replaces NaN gradients by 0: one broken image is
/// silently left out. Here it stops the run, and it alone is named, with its levels.
#[test]
fn a_loss_that_is_no_number_is_not_left_out_of_the_sum() {
    let fixed = config(CurriculumConfig::Fixed(FixedConfig { num_levels: 18 }));
    for distance in [
        PairDistance::L1,
        PairDistance::L2,
        PairDistance::SquaredL2,
        PairDistance::LInfinity,
        PairDistance::PseudoHuber { c: 0.03 },
    ] {
        let built = network(0.0);
        let mut step = step(&fixed, &built, distance);
        let mut batch = batch();
        batch.images.images_mut().nth(3).unwrap()[2] = f32::NAN;
        let progress = Progress { step: 4, images: 32, total_images: 80 };
        let error = step.step(&batch, progress, StepSeed::new(11, 12, 4)).unwrap_err().to_string();
        let seed = StepSeed::new(11, 12, 4);
        let pair = pairs(&fixed, 18, seed)[3];
        let blamed = format!("image 3 at noise levels {} and {}", pair.upper.get(), pair.lower.get());
        let seeds = format!("noise {:#018x}, dropout {:#018x}", seed.noise(), seed.dropout());
        for part in ["not finite at step 4", blamed.as_str(), seeds.as_str()] {
            assert!(error.contains(part), "{distance:?}: `{part}` in {error}");
        }
        assert!(!error.contains("image 2") && !error.contains("more"), "{error}");
        assert_eq!(step.state().step(), 0, "nothing was updated");
    }
}

/// Kinyugo/consistency_models applies pseudo-Huber to each element with the c of a whole image. It is a function of the
/// norm of the whole difference: sqrt(3^2 + 4^2 + 12^2) - 12 = 1.
#[test]
fn pseudo_huber_is_not_per_element() {
    let image = |values: &[f32]| Images::constant(values.to_vec(), [1, 1, 2, 1]);
    let distance = Pixels(PairDistance::PseudoHuber { c: 12.0 });
    let d = distance.distance(&mut Graph::inference(), &image(&[3.0, 0.0]), &image(&[0.0, 4.0]));
    assert_eq!(d.values(), [1.0]);
}

/// cloneofsimo/consistency_models has c_out = 0.25 t / .. instead of sigma_data (t - epsilon) / .., junhsss's c_out uses
/// t where t - epsilon belongs, and neither has c_in. By hand at sigma_data 0.5, epsilon 0.1, t = 1.2:
/// c_skip = 0.25 / (1.1^2 + 0.25), c_out = 0.5 x 1.1 / 1.3, c_in = 1 / 1.3, as sqrt(1.2^2 + 0.5^2) = 1.3.
#[test]
fn the_boundary_s_coefficients_are_the_paper_s() {
    let boundary = Boundary { sigma_data: 0.5, sigma_min: 0.1 };
    let c = boundary.coefficients(Sigma::new(1.2).unwrap());
    for (ours, expected) in
        [(c.c_skip, 0.25 / 1.46), (c.c_out, 0.55 / 1.3), (c.c_in, 1.0 / 1.3), (c.c_noise, 0.25 * 1.2f64.ln())]
    {
        assert!((f64::from(ours) - expected).abs() < 1e-7, "{c:?}: {expected}");
    }
    let at_min = boundary.coefficients(Sigma::new(0.1).unwrap());
    assert_eq!((at_min.c_skip, at_min.c_out), (1.0, 0.0));
}

/// Kinyugo's README has a log-normal mean of +1.1. At -1.1 most pairs lie at low noise: ln sigma has its middle there,
/// so about half of the pairs are below e^-1.1 = 0.33.
#[test]
fn the_log_normal_law_has_a_mean_of_minus_1_1() {
    use cm_diffusion::{IndexLawConfig, LogNormalIndexConfig};
    assert_eq!(LogNormalIndexConfig::default().mean, -1.1);
    let law = IndexLawConfig::LogNormal(LogNormalIndexConfig::default());
    let ict = ConsistencyConfig { index_law: law, ..config(CurriculumConfig::default()) };
    let below = (0..400)
        .flat_map(|step| pairs(&ict, 1281, StepSeed::new(1, 2, step)))
        .filter(|pair| pair.upper.get() < (-1.1f32).exp())
        .count();
    assert!((1_400..1_800).contains(&below), "{below} of 3200");
    assert_eq!(crate::ContinuousConfig::default().mean, -1.1);
}

/// openai/consistency_models restores a random state of the CPU only, so that on a GPU student and target have different
/// dropout masks. Between neighbours of very many levels the two outputs agree if their masks do.
#[test]
fn student_and_target_share_their_dropout_masks() {
    let many = config(CurriculumConfig::Fixed(FixedConfig { num_levels: 200_000 }));
    let loss = |dropout| take(&mut step(&many, &network(dropout), PairDistance::SquaredL2), 0).unwrap().loss;
    let (shared, without) = (loss(0.5), loss(0.0));
    assert!(shared < 1e-5 && without < 1e-5, "{shared} {without}");
    // Masks that differ from step to step do make a difference.
    let built = network(0.5);
    let mut step = step(&many, &built, PairDistance::SquaredL2);
    let gradient = |report: StepReport| report.gradient_norm;
    assert_ne!(gradient(take(&mut step, 0).unwrap()), gradient(take(&mut step, 8).unwrap()));
}

/// joliGEN (pull request 616) and others: the schedules of N and mu start again when a run is resumed. They are
/// functions of the images seen, so a fresh step with a restored state has the values of the run's place.
#[test]
fn schedules_go_on_after_resuming() {
    let progressive = config(CurriculumConfig::Progressive(ProgressiveConfig { start: 2, end: 10 }));
    let built = network(0.0);
    let mut whole = step(&progressive, &built, PairDistance::SquaredL2);
    let straight: Vec<StepReport> = (0..10).map(|k| take(&mut whole, 8 * k).unwrap()).collect();
    let levels: Vec<f64> = straight.iter().map(|report| report.scalars[0].1).collect();
    assert!(levels[9] > levels[5] && levels[5] > levels[0], "{levels:?}");
    let mut first = step(&progressive, &built, PairDistance::SquaredL2);
    (0..5).for_each(|k| drop(take(&mut first, 8 * k).unwrap()));
    let mut file = TensorFile::default();
    first.save(&mut file);
    let mut second = step(&progressive, &built, PairDistance::SquaredL2);
    second.load(&file).unwrap();
    let resumed: Vec<StepReport> = (5..10).map(|k| take(&mut second, 8 * k).unwrap()).collect();
    assert_eq!(resumed, straight[5..]);
}

/// openai/consistency_models silently takes the current weights where an average, a target network or the optimiser's
/// state is missing from a checkpoint.
#[test]
fn a_checkpoint_without_an_average_a_target_or_moments_is_refused() {
    let mut with_target = config(CurriculumConfig::Fixed(FixedConfig { num_levels: 18 }));
    with_target.target = crate::TargetConfig::Ema(0.9);
    with_target.train.snapshots = Some(cm_training::SnapshotsConfig::default());
    let built = network(0.0);
    let mut trained = step(&with_target, &built, PairDistance::SquaredL2);
    take(&mut trained, 0).unwrap();
    let mut whole = TensorFile::default();
    trained.save(&mut whole);
    step(&with_target, &built, PairDistance::SquaredL2).load(&whole).unwrap();
    for part in ["weights/", "average.0/", "tracked.1/", "target/", "first_moment/", "second_moment/"] {
        let mut partial = whole.clone();
        partial.arrays.retain(|(name, ..)| !name.starts_with(part));
        assert!(partial.arrays.len() < whole.arrays.len(), "{part} is in no checkpoint");
        let loaded = step(&with_target, &built, PairDistance::SquaredL2).load(&partial);
        assert!(loaded.is_err(), "{part} was missing and nobody minded");
    }
    let mut no_step = whole.clone();
    no_step.metadata.remove("step");
    assert!(step(&with_target, &built, PairDistance::SquaredL2).load(&no_step).is_err());
}

/// The RAdam branch of openai/consistency_models_cifar10 ignores the warm-up, the schedule and the clipping that its
/// configurations ask for.
#[test]
fn radam_obeys_warm_up_and_clipping() {
    let mut wanted = config(CurriculumConfig::Fixed(FixedConfig { num_levels: 18 }));
    wanted.train.learning_rate =
        LearningRateConfig { peak: 1e-3, warmup: Duration::Images(64), ..LearningRateConfig::default() };
    wanted.train.ema = vec![EmaConfig::None];
    let built = network(0.0);
    let mut warming = step(&wanted, &built, PairDistance::SquaredL2);
    let rates: Vec<f32> = [8, 32, 64].map(|k| take(&mut warming, k).unwrap().learning_rate).to_vec();
    assert_eq!(rates, [1.25e-4, 5e-4, 1e-3]);
    let change = |clip: Option<f32>| {
        let mut clipped = wanted.clone();
        clipped.train.gradient_clip = clip;
        let mut step = step(&clipped, &built, PairDistance::SquaredL2);
        let norm = take(&mut step, 64).unwrap().gradient_norm;
        let moved = built.1.iter().zip(step.state().weights.iter());
        let squares =
            moved.flat_map(|((.., a), (.., b))| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)));
        (norm, squares.sum::<f64>().sqrt())
    };
    let (norm, free) = change(None);
    let (same_norm, held) = change(Some(0.1 * norm as f32));
    assert_eq!(norm, same_norm, "the norm is that before clipping");
    // The first steps of RAdam are those of momentum: as long as the gradient.
    assert!((held / free - 0.1).abs() < 1e-3, "{held} {free}");
}
