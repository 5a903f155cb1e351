use super::*;
use crate::test_model::{self, EDM, SHAPE, shaken, training};
use crate::{JumpModel, Path};
use cm_diffusion::FlowMap;
use cm_training::{Control, DecayConfig, TrainConfig, train};

fn range() -> SigmaRange {
    SigmaRange::new(0.02, 10.0).unwrap()
}

fn config(total_images: u64, batch: usize) -> ConsistencyConfig {
    let train = training(total_images, batch, DecayConfig::Cosine, 0.98);
    ConsistencyConfig { train, ..ConsistencyConfig::default() }
}

fn network() -> (Box<dyn Network>, Weights) {
    test_model::network(32, true)
}

fn batch(step: u64, count: usize) -> Batch {
    let mut random = Random::with_stream(7, step);
    let images = ImageBatch::from_fn(SHAPE, count, |_, v| {
        v.iter_mut().for_each(|v| *v = 0.5 * random.normal());
    });
    Batch { images, labels: vec![] }
}

#[test]
fn levels_fall_and_times_are_uniform() {
    for path in [Path::Straight, Path::Trig] {
        let config = MomentMatchingConfig { path, gap: 5, ..MomentMatchingConfig::default() };
        let (mut random, mut mean, mut at_the_end) = (Random::new(1), 0.0, 0);
        let time = |sigma: f32| path.time(f64::from(sigma) / 0.5, 1.0);
        let count = 20_000;
        for _ in 0..count {
            let Jump { from, middle, to } = config.draw(range(), 0.5, &mut random).unwrap();
            let [from, middle, to] = [from, middle, to].map(Sigma::get);
            assert!(0.02 <= to && to <= middle && middle < from && from <= 10.0, "{from} {middle} {to}");
            // A thirty-second of the range, or as far as the jump goes.
            let gap = (9.98f32 / 32.0).min(from - to);
            assert!((from - middle - gap).abs() < 1e-5, "{from} {middle} {to}");
            mean += (time(from) - time(0.02)) / (time(10.0) - time(0.02)) / f64::from(count);
            at_the_end += u32::from(middle == to);
        }
        // Five standard errors of a uniform law.
        assert!((mean - 0.5).abs() < 5.0 * (1.0 / 12.0 / f64::from(count)).sqrt(), "{mean}");
        assert!(at_the_end > 100 && at_the_end < count as u32 - 100, "{at_the_end}");
    }
}

/// The formula as it is printed, with the derivative of the logarithm by differences in the paper's time.
#[test]
fn weights_are_those_of_the_paper() {
    for path in [Path::Straight, Path::Trig] {
        let coefficients = |t: f64| match path {
            Path::Straight => (1.0 - t, t),
            Path::Trig => {
                let angle = t * std::f64::consts::FRAC_PI_2;
                (angle.cos(), angle.sin())
            }
        };
        let ratio = |t: f64| {
            let (alpha, sigma) = coefficients(t);
            2.0 * (alpha / sigma).ln()
        };
        for (alpha_power, shift) in [(1.0f32, 5.0f32), (0.0, -1.0), (2.0, 2.5)] {
            let config = MomentMatchingConfig { path, alpha_power, shift, ..MomentMatchingConfig::default() };
            for t in [0.01, 0.3, 0.5, 0.9, 0.99] {
                let (alpha, sigma) = coefficients(t);
                let fall = (ratio(t - 1e-6) - ratio(t + 1e-6)) / 2e-6;
                let sigmoid = 1.0 / (1.0 + (ratio(t) - f64::from(shift)).exp());
                let expected = 0.5 * sigmoid * fall * alpha.powf(f64::from(alpha_power))
                    / (alpha * alpha + sigma * sigma);
                let got = config.weight(Sigma::new((0.5 * sigma / alpha) as f32).unwrap(), 0.5);
                assert!((got / expected - 1.0).abs() < 1e-5, "{path:?} {t}: {got} {expected}");
            }
        }
    }
}

/// The loss of a step worked out from its definition, in the paper's variables on the straight path.
#[test]
fn the_loss_is_the_weighted_discrepancy_of_jumps_in_the_paper_s_variables() {
    const COUNT: usize = 12;
    let (network, weights) = network();
    let weights = shaken(&weights, 0.2, 2);
    for (group, seed) in [(4, 1), (1, 2), (3, 3)] {
        let moments = MomentMatchingConfig { group, gap: 4, ..MomentMatchingConfig::default() };
        let config = config(1200, COUNT);
        let mut step =
            MomentMatchingStep::new(&config, moments, network.as_ref(), weights.clone(), EDM, range());
        let seed = StepSeed::new(seed, 5, 0);
        let jumps = step.draw(COUNT, seed).unwrap();
        let batch = batch(3, COUNT);
        let progress = Progress { step: 0, images: 0, total_images: 1200 };
        let got = step.step(&batch, progress, seed).unwrap().loss;

        let model = JumpModel::shortcut(network.as_ref(), weights.clone(), EDM);
        let noise = noise::batch_noise(SHAPE, &seed.image_noise(0..COUNT), 0);
        let of = |pick: fn(&Jump) -> Sigma| jumps.iter().map(pick).collect::<Vec<Sigma>>();
        let (from, middle, to) = (of(|jump| jump.from), of(|jump| jump.middle), of(|jump| jump.to));
        // alpha of the straight path with noise of the data's spread.
        let alpha = |sigma: Sigma| 1.0 / (1.0 + f64::from(sigma.get()) / 0.5);
        let ends = |start: &[Sigma]| -> Vec<Vec<f64>> {
            let x = noise::perturb(&batch.images, start, &noise);
            // A jump of no length ends where it starts.
            let aims = model.denoise_for_jump(&x, start, &to, &[]).unwrap();
            let end = |image: usize| {
                let q = f64::from(to[image].get()) / f64::from(start[image].get());
                let both = x.image(image).iter().zip(aims.image(image));
                let value = |(&x, &d): (&f32, &f32)| q * f64::from(x) + (1.0 - q) * f64::from(d);
                both.map(|both| alpha(to[image]) * value(both)).collect()
            };
            (0..COUNT).map(end).collect()
        };
        let (own, other) = (ends(&from), ends(&middle));
        let kernel = |image: usize, a: &[f64], b: &[f64]| {
            let [(at, st), (a_s, s_s)] =
                [from[image], to[image]].map(|sigma| (alpha(sigma), 1.0 - alpha(sigma)));
            let c_out = 0.5 * (a_s * st - at * s_s).abs() / (at * at + st * st).sqrt();
            let distance = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
            (-distance.max(1e-8) / (2.0 * c_out)).exp()
        };
        let mut expected = 0.0;
        for first in (0..COUNT).step_by(group) {
            let mut sum = 0.0;
            for j in first..first + group {
                for k in first..first + group {
                    sum += kernel(j, &own[j], &own[k]) + kernel(j, &other[j], &other[k])
                        - 2.0 * kernel(j, &own[j], &other[k]);
                }
            }
            let weight = moments.weight(from[first], 0.5);
            expected += weight * sum / (group * group) as f64 * group as f64 / COUNT as f64;
        }
        assert!((got / expected - 1.0).abs() < 1e-4, "{group}: {got} {expected}");
        assert!(jumps.chunks(group).all(|group| group.iter().all(|jump| *jump == group[0])));
    }
}

/// With a target of other weights, which does not move with the student's.
#[test]
fn the_gradient_by_the_weights_is_that_of_central_differences() {
    const COUNT: usize = 8;
    let (network, weights) = network();
    let (weights, target) = (shaken(&weights, 0.2, 2), shaken(&weights, 0.2, 3));
    let config = ConsistencyConfig { target: TargetConfig::Ema(0.5), ..config(800, COUNT) };
    let moments = MomentMatchingConfig { gap: 2, ..MomentMatchingConfig::default() };
    let mut step = MomentMatchingStep::new(&config, moments, network.as_ref(), target, EDM, range());
    let seed = StepSeed::new(1, 2, 3);
    let jumps = step.draw(COUNT, seed).unwrap();
    let shard = step.state.shards(COUNT).remove(0);
    let batch = batch(1, COUNT);
    step.state.weights = weights.clone();
    let (graph, losses) = step.losses(&batch, &jumps, &shard, seed).unwrap();
    let gradient = step.state.weights.gradients(&mut graph.backward(&losses, vec![1.0; COUNT]));
    let mut random = Random::new(9);
    for _ in 0..4 {
        let direction: Vec<Vec<f32>> =
            gradient.iter().map(|array| array.iter().map(|_| random.normal()).collect()).collect();
        let slope: f64 = (gradient.iter().flatten().zip(direction.iter().flatten()))
            .map(|(g, d)| f64::from(*g) * f64::from(*d))
            .sum();
        let mut at = |by: f32| -> f64 {
            let mut moved = weights.clone();
            for (values, direction) in moved.values_mut().zip(&direction) {
                values.iter_mut().zip(direction).for_each(|(value, d)| *value += by * d);
            }
            step.state.weights = moved;
            let (_, losses) = step.losses(&batch, &jumps, &shard, seed).unwrap();
            losses.values().iter().map(|&loss| f64::from(loss)).sum()
        };
        let expected = (at(1e-3) - at(-1e-3)) / 2e-3;
        assert!((slope - expected).abs() < 0.01 * expected.abs().max(0.1), "{slope} {expected}");
    }
}

/// With the data for targets (r = s) one particle can only aim at the middle of what may be; many push each other apart
/// towards its law, of which a training as short as this reaches half the spread.
#[test]
fn one_particle_aims_at_the_middle_and_many_spread() {
    let spread = |group: usize| {
        let (network, weights) = network();
        let config = config(96_000, 128);
        let moments = MomentMatchingConfig { gap: 0, group, ..MomentMatchingConfig::default() };
        let mut step = MomentMatchingStep::new(&config, moments, network.as_ref(), weights, EDM, range());
        let batches = |number| Ok::<_, TrainError>(batch(number, 128));
        train(&mut step, &config.train, 0, (1, 2), batches, |_, _| Ok(Control::Continue)).unwrap();
        let model = JumpModel::shortcut(network.as_ref(), step.state().averages[0].clone(), EDM);
        let mut random = Random::new(4);
        let x = ImageBatch::from_fn(SHAPE, 2000, |_, v| random.fill_normal(v));
        let (from, to) = (vec![Sigma::new(10.0).unwrap(); 2000], vec![Sigma::new(0.02).unwrap(); 2000]);
        let ends = model.jump(&x.map(|z| 100.25f32.sqrt() * z), &from, &to, &[]).unwrap();
        (ends.values().iter().map(|&y| f64::from(y).powi(2)).sum::<f64>() / 4000.0).sqrt()
    };
    let (one, many) = (spread(1), spread(16));
    assert!(one < 0.1 && many > 3.0 * one && many < 0.55, "{one} {many}");
}

#[test]
fn a_group_is_never_cut_by_a_part_of_a_batch() {
    let moments = MomentMatchingConfig { group: 4, ..MomentMatchingConfig::default() };
    let of = |batch, shards| {
        let train = TrainConfig { batch, shards, ..TrainConfig::default() };
        moments.problems(&train).into_iter().map(|problem| problem.field).collect::<Vec<_>>()
    };
    assert!(of(32, 1).is_empty() && of(32, 8).is_empty());
    assert_eq!([of(32, 16), of(30, 1), of(2, 1)], [["group"], ["group"], ["group"]]);
    let wrong = MomentMatchingConfig { group: 0, gap: 41, alpha_power: f32::NAN, shift: 1e9, ..moments };
    assert_eq!(wrong.problems(&TrainConfig::default()).len(), 4);
}
