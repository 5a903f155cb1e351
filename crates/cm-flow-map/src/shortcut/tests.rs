use super::*;
use crate::test_model::{self, EDM, SHAPE, training};
use cm_consistency::{CurriculumConfig, FixedConfig, Pixels};
use cm_diffusion::analytic::GaussianMixture;
use cm_diffusion::{DiscretisationConfig, FlowMap, NumLevels, SpacingConfig, WeightingConfig};
use cm_image::random::derive_seed;
use cm_tensor::ops::PairDistance;
use cm_training::resumption::{IMAGES, TOTAL, assert_goes_on};
use cm_training::{Control, DecayConfig, train};
use std::collections::BTreeMap;

fn config(total_images: u64, batch: usize) -> ConsistencyConfig {
    ConsistencyConfig {
        train: training(total_images, batch, DecayConfig::Cosine, 0.98),
        discretisation: DiscretisationConfig {
            sigma_min: 0.02,
            sigma_max: 10.0,
            spacing: SpacingConfig::default(),
        },
        curriculum: CurriculumConfig::Fixed(FixedConfig { num_levels: 17 }),
        target: TargetConfig::Ema(0.98),
        weighting: WeightingConfig::Karras,
        ..ConsistencyConfig::default()
    }
}

fn levels(config: &ConsistencyConfig) -> NoiseLevels {
    let grid = config.discretisation.build().unwrap();
    grid.noise_levels(NumLevels::new(17).unwrap()).unwrap()
}

fn network() -> (Box<dyn Network>, Weights) {
    test_model::network(48, true)
}

fn step<'a>(
    config: &ConsistencyConfig,
    shortcut: ShortcutConfig,
    network: &'a dyn Network,
    weights: Weights,
) -> ShortcutStep<'a> {
    let parts = JumpParts {
        discretisation: config.discretisation.build().unwrap(),
        index_law: config.index_law.build(config.discretisation.range().unwrap()).unwrap(),
        distance: Box::new(Pixels(PairDistance::SquaredL2)),
        weighting: config.weighting.build(EDM.sigma_data),
    };
    ShortcutStep::new(config, shortcut, network, weights, EDM, parts)
}

fn mixture() -> GaussianMixture {
    GaussianMixture::new(vec![1.0; 2], vec![vec![0.6, 0.2], vec![-0.6, -0.2]], vec![0.2, 0.2]).unwrap()
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

/// kvfrans/shortcut-models: each length alike, and of each length the places on its own grid alike.
#[test]
fn jumps_are_of_every_length_at_every_place_of_its_grid() {
    let levels = levels(&config(1, 1));
    let at = |level: Sigma| levels.as_slice().iter().position(|&other| other == level).unwrap();
    let mut found: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    let count = 40_000;
    for jump in draw_jumps(&levels, count, &mut Random::new(3)) {
        let [from, middle, to] = jump.map(at);
        assert_eq!(middle - from, to - middle);
        *found.entry((to - from, from)).or_default() += 1;
    }
    // Lengths 2, 4, 8, 16 with 8, 4, 2, 1 places.
    assert_eq!(found.len(), 15);
    for ((length, place), seen) in found {
        assert_eq!(place % length, 0);
        let expected = count as f64 / 4.0 * length as f64 / 16.0;
        assert!((f64::from(seen) / expected - 1.0).abs() < 0.15, "{length} {place}: {seen} {expected}");
    }
}

#[test]
fn a_batch_is_partly_bootstrapped_and_partly_denoised() {
    let shortcut = ShortcutConfig::default();
    assert_eq!([8, 64, 20, 100].map(|batch| shortcut.images(batch)), [1, 8, 3, 13]);
    let refused = |bootstrap, batch| ShortcutConfig { bootstrap }.problems(batch).is_some();
    assert!(!refused(0.125, 4) && !refused(0.5, 2));
    for (bootstrap, batch) in [(0.125, 3), (0.0, 64), (1.0, 64), (-0.5, 64), (f32::NAN, 64), (0.99, 8)] {
        assert!(refused(bootstrap, batch), "{bootstrap} {batch}");
    }
}

/// The loss of a step worked out from its definition: where the target network's two jumps end, as the point at which
/// one aims, for the first images, and the clean image for the rest.
#[test]
fn the_loss_is_self_consistency_at_twice_the_step_and_denoising() {
    let config = config(16, 16);
    let (network, mut weights) = network();
    let mut random = Random::new(2);
    weights.values_mut().for_each(|v| v.iter_mut().for_each(|v| *v += 0.1 * random.normal()));
    let shortcut = ShortcutConfig { bootstrap: 0.5 };
    let mut step = step(&config, shortcut, network.as_ref(), weights.clone());
    let seed = StepSeed::new(1, 2, 0);
    let progress = Progress { step: 0, images: 0, total_images: 16 };
    let report = step.step(&batch(0, 16), progress, seed).unwrap();

    let mut random = Random::with_stream(seed.noise(), 1);
    let levels = levels(&config);
    let jumps = draw_jumps(&levels, 8, &mut random);
    let law = config.index_law.build(config.discretisation.range().unwrap()).unwrap();
    let pairs = law.draw(&levels, 8, &mut random);
    let model = JumpModel::shortcut(network.as_ref(), weights, EDM);
    let mut losses = Vec::new();
    for image in 0..16 {
        let clean = batch(0, 16).images.slice(image..image + 1);
        let z = noise::batch_noise(SHAPE, &[derive_seed(seed.noise(), image as u64)], 0);
        let (from, to) = match image {
            0..8 => (jumps[image][0], jumps[image][2]),
            _ => (pairs[image - 8].upper, pairs[image - 8].lower),
        };
        let x = noise::perturb(&clean, &[from], &z);
        let answer = model.denoise_for_jump(&x, &[from], &[to], &[]).unwrap();
        let target: Vec<f64> = if image < 8 {
            let middle = jumps[image][1];
            let half = model.jump(&x, &[from], &[middle], &[]).unwrap();
            let end = model.jump(&half, &[middle], &[to], &[]).unwrap();
            let (t, r) = (f64::from(from.get()), f64::from(to.get()));
            // The point at which the straight line from (x, t) to (end, r) aims at 0.
            let aim = |(&x, &end): (&f32, &f32)| {
                let (x, end) = (f64::from(x), f64::from(end));
                (end - r / t * x) / (1.0 - r / t)
            };
            x.values().iter().zip(end.values()).map(aim).collect()
        } else {
            clean.values().iter().copied().map(f64::from).collect()
        };
        let squares = answer.values().iter().zip(&target).map(|(a, b)| (f64::from(*a) - b).powi(2));
        let t = f64::from(from.get());
        losses.push((t.powi(-2) + 0.5f64.powi(-2)) * squares.sum::<f64>() / 2.0);
    }
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let scalar = |name| report.scalars.iter().find(|(other, _)| *other == name).unwrap().1;
    for (found, expected) in [
        (report.loss, mean(&losses)),
        (scalar("bootstrap_loss"), mean(&losses[..8])),
        (scalar("denoising_loss"), mean(&losses[8..])),
    ] {
        assert!((found / expected - 1.0).abs() < 1e-3, "{found} {expected}");
    }
}

/// Without a teacher, from random weights: few jumps must be far nearer the exact flow than as many Euler steps of the
/// exact denoiser, which is what a diffusion model would give.
#[test]
fn a_trained_model_takes_the_flow_in_one_jump() {
    let config = config(250_000, 64);
    let (network, weights) = network();
    let shortcut = ShortcutConfig { bootstrap: 0.25 };
    let mut step = step(&config, shortcut, network.as_ref(), weights);
    let end: Result<_, TrainError> = train(
        &mut step,
        &config.train,
        0,
        (1, 2),
        |number| Ok(batch(number, 64)),
        |_, _| Ok(Control::Continue),
    );
    assert_eq!(end.unwrap(), Control::Continue);
    let model = JumpModel::shortcut(network.as_ref(), step.state.averages[0].clone(), EDM);
    let (levels, mixture, n) = (levels(&config), mixture(), 256);
    let (top, bottom) = (levels.as_slice()[0], levels.as_slice()[16]);
    let seeds: Vec<u64> = (0..n as u64).collect();
    let start = noise::batch_noise(SHAPE, &seeds, 0).map(|z| top.get() * z);
    let (from, to) = (vec![top; n], vec![bottom; n]);
    let exact = mixture.flow(&start, &from, &to).unwrap();
    let rmse = |x: &ImageBatch| {
        let squares = x.values().iter().zip(exact.values()).map(|(a, b)| f64::from(a - b).powi(2));
        (squares.sum::<f64>() / exact.values().len() as f64).sqrt()
    };
    let one = rmse(&model.jump(&start, &from, &to, &[]).unwrap());
    use cm_diffusion::Denoiser;
    let naive = rmse(&euler_jump(&start, mixture.denoise(&start, &from, &[]).unwrap(), &from, &to).unwrap());
    assert!(one < 0.5 * naive, "one jump {one}, one Euler step {naive}");
}

#[test]
fn a_run_that_is_resumed_goes_on_to_the_bit() {
    let config = config(TOTAL, IMAGES);
    let (network, weights) = network();
    let new = || step(&config, ShortcutConfig::default(), network.as_ref(), weights.clone());
    assert_goes_on("a shortcut model", new, |number| batch(number, IMAGES));
}
