mod forward;

use super::*;
use crate::test_model::{self, EDM, SHAPE, training};
use crate::two_time_config::{DerivativeConfig, TargetGuidance, TwoTimeTarget};
use crate::{JumpModel, TimesConfig};
use cm_consistency::Pixels;
use cm_diffusion::analytic::GaussianMixture;
use cm_diffusion::{
    FlowMap, Guidance, Guided, Heun, LogNormalConfig, OdeSolver, WeightingConfig, euler_jump,
};
use cm_image::{ImageShape, NO_CLASS};
use cm_network::{Conditions, EmbeddingConfig, MlpConfig, NetworkConfig, ScaleConfig};
use cm_tensor::ops::PairDistance;
use cm_training::resumption::{IMAGES, TOTAL, assert_goes_on};
use cm_training::{Control, DecayConfig, train};

fn config(total_images: u64, batch: usize) -> ConsistencyConfig {
    ConsistencyConfig {
        train: training(total_images, batch, DecayConfig::Cosine, 0.98),
        ..ConsistencyConfig::default()
    }
}

fn network() -> (Box<dyn Network>, Weights) {
    test_model::network(48, true)
}

fn step<'a>(
    config: &ConsistencyConfig,
    two_time: TwoTimeConfig,
    (network, weights): (&'a dyn Network, Weights),
    teacher: Option<&'a dyn Denoiser>,
) -> TwoTimeStep<'a> {
    let parts = TwoTimeParts {
        range: SigmaRange::new(0.02, 10.0).unwrap(),
        distance: Box::new(Pixels(PairDistance::SquaredL2)),
        weighting: WeightingConfig::Uniform.build(EDM.sigma_data),
        teacher,
    };
    TwoTimeStep::new(config, two_time, network, weights, EDM, parts)
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

fn every() -> [TwoTimeTarget; 7] {
    let derivative = DerivativeConfig::default();
    [
        TwoTimeTarget::MeanFlow(derivative),
        TwoTimeTarget::ImprovedMeanFlow(derivative),
        TwoTimeTarget::SoFlow(crate::SoFlowConfig { start: 0.5, end: 0.02 }),
        TwoTimeTarget::AlphaFlow(crate::AlphaFlowConfig { least: 0.02, ..Default::default() }),
        TwoTimeTarget::SplitMeanFlow,
        TwoTimeTarget::TransitionModel(derivative),
        TwoTimeTarget::AlignYourFlow(crate::AlignYourFlowConfig::default()),
    ]
}

/// Times that reach from noise to data on this range.
fn times() -> TimesConfig {
    TimesConfig::Sorted(LogNormalConfig { mean: -0.5, std: 2.0 })
}

#[test]
fn times_are_in_their_order_and_within_the_range() {
    let range = SigmaRange::new(0.02, 10.0).unwrap();
    for law in [times(), TimesConfig::default()] {
        let mut random = Random::new(1);
        let (mut equal, mut ends) = (0, 0);
        for _ in 0..4000 {
            let (from, to) = law.draw(range, false, &mut random).unwrap();
            assert!(0.02 <= to.get() && to.get() <= from.get() && from.get() <= 10.0);
            equal += u32::from(from == to);
            ends += u32::from(to.get() == 0.02);
            let (from, to) = law.draw(range, true, &mut random).unwrap();
            assert_eq!(from, to);
        }
        // Of two laws r may not lie below t, and much of the second lies below the range.
        assert!(equal < 800 && ends > 50, "{equal} {ends}");
    }
}

/// The loss of a step worked out from its definition, in the paper's variables.
#[test]
fn the_loss_is_the_power_of_the_squared_error_of_velocities() {
    for (over, power) in [(Over::Sum, 0.75), (Over::Mean, 1.0), (Over::Sum, 0.0)] {
        let config = config(16, 16);
        let (network, mut weights) = network();
        let mut random = Random::new(2);
        weights.values_mut().for_each(|v| v.iter_mut().for_each(|v| *v += 0.1 * random.normal()));
        let two_time = TwoTimeConfig {
            target: TwoTimeTarget::SoFlow(crate::SoFlowConfig { start: 0.25, end: 0.25 }),
            times: times(),
            equal_share: 0.5,
            loss: Power { power, constant: 0.02, over },
            ..TwoTimeConfig::default()
        };
        let mut step = step(&config, two_time, (network.as_ref(), weights.clone()), None);
        let seed = StepSeed::new(1, 2, 0);
        let times = step.draw(16, 8, seed).unwrap();
        let progress = Progress { step: 0, images: 0, total_images: 16 };
        let report = step.step(&batch(0, 16), progress, seed).unwrap();

        let model = JumpModel::shortcut(network.as_ref(), weights, EDM);
        let aim = |x: &[f64], from: f64, to: f64| -> Vec<f64> {
            let x =
                ImageBatch::from_fn(SHAPE, 1, |_, v| v.iter_mut().zip(x).for_each(|(v, x)| *v = *x as f32));
            let at = |level: f64| [Sigma::new(level as f32).unwrap()];
            let aims = model.denoise_for_jump(&x, &at(from), &at(to), &[]).unwrap();
            aims.values().iter().copied().map(f64::from).collect()
        };
        let mut expected = 0.0;
        for image in 0..16 {
            let clean: Vec<f64> = batch(0, 16).images.image(image).iter().copied().map(f64::from).collect();
            let e = noise::batch_noise(SHAPE, &seed.image_noise(image..image + 1), 0);
            let [from, to] = [&times.from, &times.to].map(|levels| f64::from(levels[image].get()));
            let (t, r) = (from / (1.0 + from), to / (1.0 + to));
            let e: Vec<f64> = e.values().iter().copied().map(f64::from).collect();
            let z: Vec<f64> = clean.iter().zip(&e).map(|(x, e)| (1.0 - t) * x + t * e).collect();
            let velocity = |z: &[f64], r: f64, t: f64| -> Vec<f64> {
                let x: Vec<f64> = z.iter().map(|z| z / (1.0 - t)).collect();
                let aims = aim(&x, t / (1.0 - t), r / (1.0 - r));
                z.iter().zip(aims).map(|(z, aim)| (z - aim) / t).collect()
            };
            let u = velocity(&z, r, t);
            // SoFlow's own form: Delta, the difference of the two solutions over the step between them.
            let mut delta: Vec<f64> = u.iter().zip(&e).zip(&clean).map(|((u, e), x)| u - (e - x)).collect();
            let a = if from == to { 1.0 } else { 0.25 };
            if a < 1.0 {
                let l = t - a * (t - r);
                let at_l: Vec<f64> = clean.iter().zip(&e).map(|(x, e)| (1.0 - l) * x + l * e).collect();
                let there = velocity(&at_l, r, l);
                for value in 0..2 {
                    let f = z[value] - (t - r) * u[value];
                    let f_l = at_l[value] - (l - r) * there[value];
                    delta[value] = (f - f_l) / (t - l);
                }
            }
            let squares =
                delta.iter().map(|d| d * d).sum::<f64>() / if over == Over::Mean { 2.0 } else { 1.0 };
            expected += a * squares / (squares + 0.02).powf(f64::from(power)) / 16.0;
        }
        assert!((report.loss / expected - 1.0).abs() < 2e-3, "{} {expected}", report.loss);
    }
}

/// The gradient, too: only through the network's own answer, not through weight or target.
#[test]
fn the_weight_falls_with_the_error_as_the_power_says() {
    let power = Power { power: 0.75, constant: 1e-3, over: Over::Sum };
    let (distance, unit) = (0.3, 4.0);
    let error = 0.3 * 5.0 * 4.0;
    let weight = power.weight(distance, 5, (unit, 2.0, 9.0));
    assert!((weight * distance - 2.0 * error / (9.0 * error + 1e-3f64).powf(0.75)).abs() < 1e-9);
    let mean = Power { over: Over::Mean, ..power };
    assert!((mean.weight(distance, 5, (unit, 1.0, 1.0)) - 4.0 / (1.2f64 + 1e-3).powf(0.75)).abs() < 1e-9);
}

/// Without a teacher, from random weights: one jump of each rule's model must be nearer the exact flow than an Euler step
/// of the exact denoiser; with the exact teacher, nearer still.
#[test]
fn trained_models_take_the_flow_in_one_jump() {
    let (mixture, n) = (mixture(), 256);
    let (top, bottom) = (Sigma::new(10.0).unwrap(), Sigma::new(0.02).unwrap());
    let seeds: Vec<u64> = (0..n as u64).collect();
    let start = noise::batch_noise(SHAPE, &seeds, 0).map(|z| top.get() * z);
    let (from, to) = (vec![top; n], vec![bottom; n]);
    let exact = mixture.flow(&start, &from, &to).unwrap();
    let rmse = |x: &ImageBatch| {
        let squares = x.values().iter().zip(exact.values()).map(|(a, b)| f64::from(a - b).powi(2));
        (squares.sum::<f64>() / exact.values().len() as f64).sqrt()
    };
    let naive = rmse(&euler_jump(&start, mixture.denoise(&start, &from, &[]).unwrap(), &from, &to).unwrap());
    let config = config(96_000, 64);
    let (network, weights) = network();
    let trained = |target, velocity| {
        let times = TimesConfig::Sorted(LogNormalConfig { mean: 0.0, std: 2.0 });
        // Nothing else shows a split jump the data, and nothing else keeps it from chasing itself.
        let (equal_share, average) = match target {
            TwoTimeTarget::SplitMeanFlow => (0.5, TargetConfig::Ema(0.98)),
            _ => (0.25, TargetConfig::StopGradient),
        };
        let config = ConsistencyConfig { target: average, ..config.clone() };
        let two_time = TwoTimeConfig { target, velocity, times, equal_share, ..TwoTimeConfig::default() };
        let mut step = step(&config, two_time, (network.as_ref(), weights.clone()), Some(&mixture));
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
        rmse(&model.jump(&start, &from, &to, &[]).unwrap())
    };
    for target in every() {
        let alone = trained(target, Velocity::KnownNoise);
        assert!(alone < 0.65 * naive, "{target:?}: {alone} {naive}");
        let is_taught = matches!(
            target,
            TwoTimeTarget::ImprovedMeanFlow(_)
                | TwoTimeTarget::SplitMeanFlow
                | TwoTimeTarget::AlignYourFlow(_)
        );
        if is_taught {
            let taught = trained(target, Velocity::Teacher);
            assert!(taught < 0.4 * naive, "{target:?} by the teacher: {taught} {naive}");
        }
    }
}

#[test]
fn a_run_that_is_resumed_goes_on_to_the_bit() {
    let config = config(TOTAL, IMAGES);
    let (network, weights) = network();
    for target in every() {
        let two_time = TwoTimeConfig { target, times: times(), ..TwoTimeConfig::default() };
        let new = || step(&config, two_time, (network.as_ref(), weights.clone()), None);
        assert_goes_on(target, new, |number| batch(number, IMAGES));
    }
}

#[test]
fn what_is_out_of_range_is_named() {
    let base = TwoTimeConfig::default();
    assert!(base.problems(4).is_empty());
    let named = |config: TwoTimeConfig, field: &str| {
        let problems = config.problems(4);
        assert!(problems.iter().any(|problem| problem.field == field), "{field}: {problems:?}");
    };
    named(TwoTimeConfig { equal_share: 1.0, ..base }, "equal_share");
    named(TwoTimeConfig { equal_share: 0.9, ..base }, "equal_share");
    named(TwoTimeConfig { equal_share: 0.0, target: TwoTimeTarget::SplitMeanFlow, ..base }, "equal_share");
    named(TwoTimeConfig { loss: Power { power: 1.5, ..base.loss }, ..base }, "loss.power");
    named(TwoTimeConfig { loss: Power { constant: 0.0, ..base.loss }, ..base }, "loss.constant");
    let derivative = DerivativeConfig { tangent: TangentConfig::Central(CentralConfig { step: 0.0 }) };
    named(TwoTimeConfig { target: TwoTimeTarget::MeanFlow(derivative), ..base }, "target.tangent.step");
    let wide = LogNormalConfig { mean: 0.0, std: 20.0 };
    named(TwoTimeConfig { times: TimesConfig::Sorted(wide), ..base }, "times");
}

/// Guided by 2, one evaluation ends where the guided flow of the exact denoisers does, by either form of the target.
#[test]
fn a_guided_target_drives_one_jump_towards_its_class() {
    let shape = ImageShape::vector(1);
    let two_points = |step: u64| {
        let mut random = Random::with_stream(9, step);
        let images = ImageBatch::from_fn(shape, 64, |_, v| {
            v[0] = (if random.below(2) == 0 { -0.5 } else { 0.5 }) + 0.1 * random.normal();
        });
        let labels = images.values().iter().map(|&x| u32::from(x > 0.0)).collect();
        Batch { images, labels }
    };
    let config = config(64_000, 64);
    let conditions = Conditions { classes: Some(2), second_time: true, ..Conditions::default() };
    let mlp = MlpConfig {
        width: 48,
        blocks: 2,
        embedding: EmbeddingConfig::Positional(ScaleConfig { scale: 4.0, ..ScaleConfig::default() }),
        ..MlpConfig::default()
    };
    let (network, weights) = NetworkConfig::Mlp(mlp).build(shape, conditions, 0).unwrap();
    let ends = |guidance: Option<TargetGuidance>| {
        let two_time = TwoTimeConfig {
            target: TwoTimeTarget::SoFlow(crate::SoFlowConfig { start: 0.5, end: 0.05 }),
            times: TimesConfig::Sorted(LogNormalConfig { mean: 0.0, std: 2.0 }),
            guidance,
            // A power draws the answer without a class from the mean to one of the two points.
            loss: Power { power: 0.0, ..Power::default() },
            ..TwoTimeConfig::default()
        };
        let mut step = step(&config, two_time, (network.as_ref(), weights.clone()), None);
        let end: Result<_, TrainError> =
            train(&mut step, &config.train, 0, (1, 2), |k| Ok(two_points(k)), |_, _| Ok(Control::Continue));
        assert_eq!(end.unwrap(), Control::Continue);
        let model = JumpModel::shortcut(network.as_ref(), step.state.averages[0].clone(), EDM);
        let seeds: Vec<u64> = (0..200).collect();
        let start = noise::batch_noise(shape, &seeds, 0).map(|z| 10.0 * z);
        let level = |level: f32| vec![Sigma::new(level).unwrap(); 200];
        let end = model.jump(&start, &level(10.0), &level(0.02), &[1; 200]).unwrap();
        end.values().iter().map(|&v| f64::from(v)).sum::<f64>() / 200.0
    };
    let exact = guided_end();
    let (plain, guided) = (ends(None), ends(Some(TargetGuidance::default())));
    let mixed = ends(Some(TargetGuidance { omega: 1.0, kappa: 0.5, ..TargetGuidance::default() }));
    assert!((plain - 0.5).abs() < 0.03, "{plain}");
    assert!(exact > 0.55, "{exact}");
    assert!((guided - exact).abs() < 0.03 && (mixed - exact).abs() < 0.03, "{guided} {mixed} {exact}");
}

/// Where the exact denoisers' flow, guided by 2, ends for class 1 in the mean.
fn guided_end() -> f64 {
    let gaussians = |means: &[f64]| {
        let means = means.iter().map(|&mean| vec![mean]).collect::<Vec<_>>();
        GaussianMixture::new(vec![1.0; means.len()], means.clone(), vec![0.1; means.len()]).unwrap()
    };
    let (class, all) = (gaussians(&[0.5]), gaussians(&[-0.5, 0.5]));
    struct Either(GaussianMixture, GaussianMixture);
    impl Denoiser for Either {
        fn denoise(&self, x: &ImageBatch, at: &[Sigma], labels: &[u32]) -> Result<ImageBatch, ModelError> {
            if labels[0] == NO_CLASS { self.1.denoise(x, at, &[]) } else { self.0.denoise(x, at, &[]) }
        }
    }
    let guidance = Guidance { weight: 2.0, ..Guidance::default() };
    let teacher = Guided { denoiser: Either(class, all), guidance };
    let seeds: Vec<u64> = (0..200).collect();
    let level = |step: i32| vec![Sigma::new(10.0 * 0.002f32.powf(step as f32 / 300.0)).unwrap(); 200];
    let mut x = noise::batch_noise(ImageShape::vector(1), &seeds, 0).map(|z| 10.0 * z);
    for step in 0..300 {
        x = Heun.step(&teacher, &x, &level(step), &level(step + 1), &[1; 200]).unwrap();
    }
    x.values().iter().map(|&v| f64::from(v)).sum::<f64>() / 200.0
}
