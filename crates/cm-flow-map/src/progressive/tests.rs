use super::*;
use crate::test_model::{self, EDM, SHAPE, shaken, training};
use cm_consistency::Pixels;
use cm_diffusion::analytic::GaussianMixture;
use cm_diffusion::{
    DiscretisationConfig, IndexLawConfig, Jumps, Labels, LevelPair, Sampler, SpacingConfig, WeightingConfig,
};
use cm_image::random::derive_seed;
use cm_network::{Conditions, EmbeddingConfig, MlpConfig, NetworkConfig, ScaleConfig};
use cm_tensor::ops::PairDistance;
use cm_training::{Control, DecayConfig, train};

const HALVING: HalvingConfig = HalvingConfig { start: 4, end: 1 };

fn grid() -> DiscretisationConfig {
    DiscretisationConfig { sigma_min: 0.02, sigma_max: 10.0, spacing: SpacingConfig::default() }
}

fn parts() -> JumpParts {
    JumpParts {
        discretisation: grid().build().unwrap(),
        index_law: IndexLawConfig::Uniform.build(grid().range().unwrap()).unwrap(),
        distance: Box::new(Pixels(PairDistance::SquaredL2)),
        weighting: WeightingConfig::TruncatedSnr.build(EDM.sigma_data),
    }
}

/// A network whose every weight counts, the last layer's included.
fn network() -> (Box<dyn Network>, Weights) {
    let (network, weights) = test_model::network(32, false);
    (network, shaken(&weights, 0.1, 2))
}

fn mixture() -> GaussianMixture {
    GaussianMixture::new(vec![1.0; 2], vec![vec![0.6, 0.2], vec![-0.6, -0.2]], vec![0.2, 0.2]).unwrap()
}

fn config(total_images: u64, batch: usize) -> TrainConfig {
    training(total_images, batch, DecayConfig::Linear, 0.9)
}

fn batch(step: u64, count: usize) -> Batch {
    let mut random = Random::with_stream(7, step);
    let images = ImageBatch::from_fn(SHAPE, count, |_, v| {
        let side = if random.below(2) == 0 { 1.0 } else { -1.0 };
        v[0] = side * 0.6 + 0.2 * random.normal();
        v[1] = side * 0.2 + 0.2 * random.normal();
    });
    Batch { images, labels: vec![] }
}

fn values(weights: &Weights) -> Vec<f32> {
    weights.iter().flat_map(|(_, _, values)| values.to_vec()).collect()
}

fn take(step: &mut ProgressiveStep<'_>, number: u64, config: &TrainConfig) -> StepReport {
    let batch_len = config.batch as u64;
    let progress = Progress { step: number, images: number * batch_len, total_images: config.images() };
    step.step(&batch(number, config.batch), progress, StepSeed::new(1, 2, number)).unwrap()
}

/// The interval of each image of a step, of a student with `steps` steps: the draw is part of the plan's bits.
fn drawn(steps: usize, count: usize, seed: StepSeed) -> Vec<LevelPair> {
    let levels = grid().build().unwrap().noise_levels(NumLevels::new(steps + 1).unwrap()).unwrap();
    let law = IndexLawConfig::Uniform.build(grid().range().unwrap()).unwrap();
    law.draw(&levels, count, &mut Random::with_stream(seed.noise(), 1))
}

/// The loss of one step, worked out again from the original code's formulas: two Euler steps of the teacher to x'', and
/// x - t (x'' - x) / (t'' - t) as the student's target.
fn expected_loss(
    teacher: &dyn Denoiser,
    student: &JumpModel<'_>,
    steps: usize,
    number: u64,
    count: usize,
) -> f64 {
    let seed = StepSeed::new(1, 2, number);
    let grid = grid().build().unwrap();
    let pairs = drawn(steps, count, seed);
    let fine = grid.noise_levels(NumLevels::new(2 * steps + 1).unwrap()).unwrap();
    let place = |pair: &LevelPair| fine.as_slice().iter().position(|&level| level == pair.upper).unwrap();
    let from: Vec<Sigma> = pairs.iter().map(|pair| pair.upper).collect();
    let middle: Vec<Sigma> = pairs.iter().map(|pair| fine.as_slice()[place(pair) + 1]).collect();
    let to: Vec<Sigma> = pairs.iter().map(|pair| fine.as_slice()[place(pair) + 2]).collect();
    let seeds: Vec<u64> = (0..count as u64).map(|image| derive_seed(seed.noise(), image)).collect();
    let x = noise::perturb(&batch(number, count).images, &from, &noise::batch_noise(SHAPE, &seeds, 0));
    let step = |x: &ImageBatch, from: &[Sigma], to: &[Sigma]| {
        let denoised = teacher.denoise(x, from, &[]).unwrap();
        let mut moved = x.clone();
        let rows = moved.images_mut().zip(denoised.images()).zip(from.iter().zip(to));
        for ((x, d), (from, to)) in rows {
            x.iter_mut().zip(d).for_each(|(x, d)| *x += (to.get() - from.get()) * (*x - d) / from.get());
        }
        moved
    };
    let end = step(&step(&x, &from, &middle), &middle, &to);
    let answer = student.denoise_for_jump(&x, &from, &to, &[]).unwrap();
    let mut loss = 0.0;
    for image in 0..count {
        let (t, t2) = (f64::from(from[image].get()), f64::from(to[image].get()));
        let weight = t.powi(-2).max(1.0);
        for ((&x, &end), &answer) in x.image(image).iter().zip(end.image(image)).zip(answer.image(image)) {
            let [x, end, answer] = [x, end, answer].map(f64::from);
            let target = x - t * (end - x) / (t2 - t);
            loss += weight * (answer - target).powi(2) / (SHAPE.len() * count) as f64;
        }
    }
    loss
}

#[test]
fn the_loss_is_the_original_code_s_in_every_stage() {
    let (network, weights) = network();
    let (config, mixture) = (config(5 * 16 * 4, 16), mixture());
    let mut step = ProgressiveStep::new(&config, HALVING, network.as_ref(), weights, EDM, &mixture, parts());
    let model = |weights: &Weights| JumpModel::distilled(network.as_ref(), weights.clone(), EDM);
    // 20 steps: S = 4 for 4, S = 2 for 8, S = 1 for 8.
    for number in 0..20 {
        let steps = match number {
            0..4 => 4,
            4..12 => 2,
            _ => 1,
        };
        let begins = [4, 12].contains(&number);
        let student = if begins { &step.state.averages[0] } else { &step.state.weights }.clone();
        let teacher = if begins { Some(student.clone()) } else { step.state.target.clone() };
        let expected = match (number, teacher) {
            (0..4, _) | (_, None) => expected_loss(&mixture, &model(&student), steps, number, 16),
            (_, Some(teacher)) => {
                let teacher = NetworkDenoiser(model(&teacher));
                expected_loss(&teacher, &model(&student), steps, number, 16)
            }
        };
        let report = take(&mut step, number, &config);
        assert!((report.loss / expected - 1.0).abs() < 1e-3, "{number}: {} {expected}", report.loss);
        assert_eq!((report.step, report.images), (number + 1, (number + 1) * 16));
    }
}

/// openai/consistency_models distils every later stage from a target model that it never updates, and hands the
/// student to a teacher that it no longer uses.
#[test]
fn each_stage_s_teacher_is_the_student_of_the_stage_before() {
    let (network, weights) = network();
    let (config, mixture) = (config(5 * 8 * 4, 8), mixture());
    let mut step =
        ProgressiveStep::new(&config, HALVING, network.as_ref(), weights.clone(), EDM, &mixture, parts());
    let mut finished = Vec::new();
    for number in 0..20 {
        let before = step.state.averages[0].clone();
        let report = take(&mut step, number, &config);
        if number == 4 || number == 12 {
            assert_eq!(values(step.state.target.as_ref().unwrap()), values(&before), "step {number}");
            assert_ne!(values(&before), values(&weights));
        }
        let ended = step.finished_stage(report.images, config.images());
        finished.extend(ended.map(|stage| (number, stage.steps)));
    }
    assert_eq!(finished, [(3, 4), (11, 2), (19, 1)]);
}

/// The original code makes a new optimiser for each stage, and its learning rate decays anew.
#[test]
fn each_stage_has_a_new_optimiser_and_its_own_learning_rate() {
    let (network, weights) = network();
    let (config, mixture) = (config(5 * 8 * 4, 8), mixture());
    let mut step = ProgressiveStep::new(&config, HALVING, network.as_ref(), weights, EDM, &mixture, parts());
    let mut rates = Vec::new();
    for number in 0..20 {
        let before = values(&step.state.averages[0]);
        let report = take(&mut step, number, &config);
        rates.push(report.learning_rate / 4e-3);
        if number == 4 {
            // The first step of Adam is the learning rate in every coordinate that has a gradient.
            let moved = values(&step.state.weights)
                .iter()
                .zip(&before)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!((moved / 4e-3 - 1.0).abs() < 1e-2, "{moved}");
        }
    }
    let expected = [4, 8, 8].into_iter().flat_map(|n| (0..n).map(move |k| 1.0 - k as f32 / n as f32));
    for (rate, expected) in rates.iter().zip(expected) {
        assert!((rate - expected).abs() < 1e-6, "{rates:?}");
    }
}

#[test]
fn a_run_that_is_resumed_anywhere_goes_on_to_the_bit() {
    let (network, weights) = network();
    let (config, mixture) = (config(5 * 8 * 2, 8), mixture());
    let new =
        || ProgressiveStep::new(&config, HALVING, network.as_ref(), weights.clone(), EDM, &mixture, parts());
    let saved = |step: &ProgressiveStep<'_>| {
        let mut file = TensorFile::default();
        step.save(&mut file);
        file
    };
    let mut straight = new();
    (0..10).for_each(|number| _ = take(&mut straight, number, &config));
    // In mid-stage, at the end of a stage, after the first step of one.
    for stop in [1, 2, 3, 6, 7] {
        let mut first = new();
        (0..stop).for_each(|number| _ = take(&mut first, number, &config));
        let mut second = new();
        second.load(&TensorFile::decode(&saved(&first).encode().unwrap()).unwrap()).unwrap();
        (stop..10).for_each(|number| _ = take(&mut second, number, &config));
        assert!(saved(&second) == saved(&straight), "stopped after {stop}");
    }
}

/// A mixture's exact denoiser, distilled from 8 steps of the teacher to one of the student: its one step must be much
/// nearer to the exact flow than one step of the teacher.
#[test]
fn one_step_of_the_student_is_nearer_the_flow_than_one_of_its_teacher() {
    let (network, _) = network();
    let (_, fresh) = NetworkConfig::Mlp(MlpConfig {
        width: 32,
        blocks: 2,
        embedding: EmbeddingConfig::Positional(ScaleConfig { scale: 4.0, ..ScaleConfig::default() }),
        ..MlpConfig::default()
    })
    .build(SHAPE, Conditions::default(), 0)
    .unwrap();
    let (config, mixture) = (config(160_000, 64), mixture());
    let mut step = ProgressiveStep::new(&config, HALVING, network.as_ref(), fresh, EDM, &mixture, parts());
    let end: Result<_, TrainError> =
        train(&mut step, &config, 0, (1, 2), |number| Ok(batch(number, 64)), |_, _| Ok(Control::Continue));
    assert_eq!(end.unwrap(), Control::Continue);
    let range = grid().range().unwrap();
    let levels = grid().build().unwrap().noise_levels(NumLevels::new(2).unwrap()).unwrap();
    let seeds: Vec<u64> = (0..256).collect();
    let model = JumpModel::distilled(network.as_ref(), step.state.averages[0].clone(), EDM);
    let drawn =
        Jumps { map: Box::new(&model), shape: SHAPE, levels, labels: Labels::None }.sample(&seeds).unwrap();
    let start = noise::batch_noise(SHAPE, &seeds, 0).map(|z| range.max().get() * z);
    let (from, to) = (vec![range.max(); 256], vec![range.min(); 256]);
    let exact = mixture.flow(&start, &from, &to).unwrap();
    let naive = euler_jump(&start, mixture.denoise(&start, &from, &[]).unwrap(), &from, &to).unwrap();
    let rmse = |x: &ImageBatch| {
        let squares = x.values().iter().zip(exact.values()).map(|(a, b)| f64::from(a - b).powi(2));
        (squares.sum::<f64>() / exact.values().len() as f64).sqrt()
    };
    let (student, teacher) = (rmse(&drawn), rmse(&naive));
    assert!(student < 0.4 * teacher, "student {student}, teacher {teacher}");
}
