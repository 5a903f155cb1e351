use super::*;
use crate::{
    ContinuousConfig, FixedConfig, GeneratorAugmentedConfig, KnownNoise, Pixels, StudentTConfig,
    TruncationConfig,
};
use cm_diffusion::{DiscretisationConfig, SpacingConfig, WeightingConfig};
use cm_image::ImageShape;
use cm_network::{Conditions, MlpConfig, NetworkConfig};
use cm_tensor::ops::PairDistance;
use cm_training::{EmaConfig, TrainConfig};

const BOUNDARY: Boundary = Boundary { sigma_data: 0.5, sigma_min: 0.01 };
const GRID: DiscretisationConfig =
    DiscretisationConfig { sigma_min: 0.01, sigma_max: 20.0, spacing: SpacingConfig::Exponential };
const SHAPE: ImageShape = ImageShape::vector(4);
const BATCH: usize = 16;

/// A network with dropout, whose every weight counts; weights of two seeds.
fn network() -> (Box<dyn Network>, [Weights; 2]) {
    let config = NetworkConfig::Mlp(MlpConfig { width: 16, dropout: 0.2, ..MlpConfig::default() });
    let build = |seed| {
        let (network, mut weights) = config.build(SHAPE, Conditions::default(), seed).unwrap();
        let mut random = Random::new(seed);
        weights.values_mut().for_each(|v| v.iter_mut().for_each(|v| *v += 0.2 * random.normal()));
        (network, weights)
    };
    let ((network, first), (_, second)) = (build(1), build(2));
    (network, [first, second])
}

fn config(curriculum: CurriculumConfig) -> ConsistencyConfig {
    let train = TrainConfig {
        batch: BATCH,
        total_images: 1600,
        ema: vec![EmaConfig::PerStep(0.5)],
        ..TrainConfig::default()
    };
    let weighting = WeightingConfig::InverseGap;
    ConsistencyConfig { train, curriculum, discretisation: GRID, weighting, ..ConsistencyConfig::default() }
}

fn step<'a>(
    config: &ConsistencyConfig,
    network: &'a dyn Network,
    [first, weights]: &[Weights; 2],
) -> ConsistencyStep<'a> {
    let range = GRID.range().unwrap();
    let continuous = match config.curriculum {
        CurriculumConfig::Continuous(continuous) => Some(ContinuousPairs::new(continuous, range).unwrap()),
        _ => None,
    };
    let truncation =
        config.truncation.map(|truncation| Truncation::new(truncation, range, first.clone()).unwrap());
    let parts = Parts {
        trajectory: Box::new(KnownNoise),
        discretisation: GRID.build().unwrap(),
        index_law: config.index_law.build(range).unwrap(),
        continuous,
        distance: Box::new(Pixels(PairDistance::SquaredL2)),
        weighting: config.weighting.build(BOUNDARY.sigma_data),
        segments: None,
        truncation,
    };
    ConsistencyStep::new(config, network, weights.clone(), BOUNDARY, parts)
}

fn batch(step: u64) -> Batch {
    let mut random = Random::new(50 + step);
    Batch { images: ImageBatch::from_fn(SHAPE, BATCH, |_, v| random.fill_normal(v)), labels: vec![] }
}

fn at(step: u64) -> (Progress, StepSeed) {
    let images = step * BATCH as u64;
    (Progress { step, images, total_images: 1600 }, StepSeed::new(11, 12, step))
}

fn take(step: &mut ConsistencyStep<'_>, number: u64) -> StepReport {
    let (progress, seed) = at(number);
    step.step(&batch(number), progress, seed).unwrap()
}

/// f of these weights with a step's dropout, or without any.
fn answer(
    network: &dyn Network,
    weights: &Weights,
    x: &ImageBatch,
    sigma: &[Sigma],
    dropout_key: Option<u64>,
) -> ImageBatch {
    let extra = Extra { dropout_key, ..Extra::default() };
    let scaling = scaling(&BOUNDARY, sigma);
    let x = Images::from_batch(x);
    network.forward_scaled(&mut Graph::inference(), weights, &x, &scaling, extra).to_batch()
}

/// The mean squared difference of two images.
fn squares(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / a.len() as f64
}

fn columns(pairs: &[LevelPair]) -> [Vec<Sigma>; 2] {
    [pairs.iter().map(|pair| pair.upper).collect(), pairs.iter().map(|pair| pair.lower).collect()]
}

/// The loss of a step is that of pairs of the images that the model makes of their lower points, by whichever weights
/// make them, without dropout; of the others it is as ever.
#[test]
fn augmented_pairs_belong_to_what_the_model_makes_of_their_lower_points() {
    let (network, weights) = network();
    let mut losses = Vec::new();
    for predictor in [Predictor::Average, Predictor::Student] {
        let coupling = GeneratorAugmentedConfig { share: 0.5, predictor };
        let config = ConsistencyConfig {
            coupling: CouplingConfig::GeneratorAugmented(coupling),
            ..config(CurriculumConfig::Fixed(FixedConfig { num_levels: 9 }))
        };
        let mut step = step(&config, network.as_ref(), &weights);
        // Then the average is not the student.
        (0..3).for_each(|number| drop(take(&mut step, number)));
        let state = step.state().clone();
        let report = take(&mut step, 3);

        let (_, seed) = at(3);
        let levels = GRID.build().unwrap().noise_levels(cm_diffusion::NumLevels::new(9).unwrap()).unwrap();
        let law = config.index_law.build(GRID.range().unwrap()).unwrap();
        let pairs = law.draw(&levels, BATCH, &mut Random::with_stream(seed.noise(), LEVELS_STREAM));
        let [upper, lower] = columns(&pairs);
        let z = noise::batch_noise(SHAPE, &seed.image_noise(0..BATCH), 0);
        let mut clean = batch(3).images;
        let by = match predictor {
            Predictor::Average => &state.averages[0],
            Predictor::Student => &state.weights,
        };
        let made = answer(network.as_ref(), by, &noise::perturb(&clean, &lower, &z), &lower, None);
        let chosen = coupling.chosen(BATCH, seed);
        take_where(&mut clean, &made, |image| chosen[image]);
        let key = Some(seed.dropout());
        let [student, target] = [&upper, &lower]
            .map(|at| answer(network.as_ref(), &state.weights, &noise::perturb(&clean, at, &z), at, key));
        let expected: f64 = (0..BATCH)
            .map(|image| {
                let gap = f64::from(upper[image].get()) - f64::from(lower[image].get());
                squares(student.image(image), target.image(image)) / gap / BATCH as f64
            })
            .sum();
        assert!((report.loss / expected - 1.0).abs() < 1e-4, "{predictor:?}: {} {expected}", report.loss);
        let made = chosen.iter().filter(|chosen| **chosen).count();
        assert!(made > 0 && made < BATCH, "{made}");
        assert!(report.scalars.contains(&("augmented_share", made as f64 / BATCH as f64)));
        losses.push(report.loss);
    }
    assert_ne!(losses[0], losses[1]);
}

/// Both means of a truncated model's loss, by a twin: the first model answers below the level, the student above.
#[test]
fn a_truncated_model_s_loss_is_the_mean_of_its_pairs_and_a_part_of_that_of_its_boundary() {
    let (network, weights) = network();
    let truncation = TruncationConfig {
        level: 0.8,
        boundary_share: 0.25,
        boundary_weight: 0.3,
        law: StudentTConfig::default(),
    };
    // A wide gap, so that of the others too some targets lie below the level.
    let continuous = ContinuousConfig { q: 2.0, stages: 1, ..ContinuousConfig::default() };
    let config = ConsistencyConfig {
        truncation: Some(truncation),
        ..config(CurriculumConfig::Continuous(continuous))
    };
    let mut step = step(&config, network.as_ref(), &weights);
    take(&mut step, 0);
    let student_weights = step.state().weights.clone();
    let report = take(&mut step, 1);

    let (_, seed) = at(1);
    let range = GRID.range().unwrap();
    let law = ContinuousPairs::new(continuous, range).unwrap();
    let built = Truncation::new(truncation, range, weights[0].clone()).unwrap();
    let mut random = Random::with_stream(seed.noise(), LEVELS_STREAM);
    let pairs = built.draw(&law, 0, BATCH, &mut random);
    let [upper, lower] = columns(&pairs);
    assert!(upper[..4].iter().all(|level| level.get() == 0.8) && lower[..4].iter().all(|r| r.get() < 0.8));
    assert!(upper[4..].iter().all(|level| level.get() >= 0.8));
    let below = lower[4..].iter().filter(|level| level.get() < 0.8).count();
    assert!(below > 0 && below < BATCH - 4, "{below}");

    let z = noise::batch_noise(SHAPE, &seed.image_noise(0..BATCH), 0);
    let clean = batch(1).images;
    let key = Some(seed.dropout());
    let of = |weights: &Weights, at: &[Sigma]| {
        answer(network.as_ref(), weights, &noise::perturb(&clean, at, &z), at, key)
    };
    let student = of(&student_weights, &upper);
    let (own, first) = (of(&student_weights, &lower), of(&weights[0], &lower));
    let each: Vec<f64> = (0..BATCH)
        .map(|image| {
            let target = if lower[image].get() < 0.8 { &first } else { &own };
            let gap = f64::from(upper[image].get()) - f64::from(lower[image].get());
            squares(student.image(image), target.image(image)) / gap
        })
        .collect();
    let (boundary, others) = (each[..4].iter().sum::<f64>() / 4.0, each[4..].iter().sum::<f64>() / 12.0);
    let near = |got: f64, expected: f64| assert!((got / expected - 1.0).abs() < 1e-4, "{got} {expected}");
    near(report.loss, others + 0.3 * boundary);
    let scalar = |wanted| report.scalars.iter().find(|(name, _)| *name == wanted).unwrap().1;
    near(scalar("boundary_loss"), boundary);
    near(scalar("consistency_loss"), others);
}
