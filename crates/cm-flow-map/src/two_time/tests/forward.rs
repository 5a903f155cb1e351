//! Training with the derivative in forward mode.

use super::*;
use crate::AlignYourFlowConfig;

/// The rules that differentiate.
fn differentiating(tangent: TangentConfig) -> [TwoTimeTarget; 4] {
    let derivative = DerivativeConfig { tangent };
    [
        TwoTimeTarget::MeanFlow(derivative),
        TwoTimeTarget::ImprovedMeanFlow(derivative),
        TwoTimeTarget::TransitionModel(derivative),
        TwoTimeTarget::AlignYourFlow(AlignYourFlowConfig { tangent, warmup: 0.0, ..Default::default() }),
    ]
}

fn shaken() -> (Box<dyn Network>, Weights) {
    let (network, mut weights) = network();
    let mut random = Random::new(2);
    weights.values_mut().for_each(|v| v.iter_mut().for_each(|v| *v += 0.1 * random.normal()));
    (network, weights)
}

/// A step's losses are those with differences, whose error falls with the square of theirs; with the network's own answers
/// and with those of an average.
#[test]
fn steps_are_where_those_with_differences_tend_to() {
    let (network, weights) = shaken();
    for average in [TargetConfig::StopGradient, TargetConfig::Ema(0.9)] {
        let config = ConsistencyConfig { target: average, ..config(16, 16) };
        let losses = |tangent, rule: usize| -> Vec<f64> {
            let two_time = TwoTimeConfig {
                target: differentiating(tangent)[rule],
                times: times(),
                loss: Power { power: 0.0, ..Power::default() },
                ..TwoTimeConfig::default()
            };
            let mut step = step(&config, two_time, (network.as_ref(), weights.clone()), None);
            let take = |step: &mut TwoTimeStep<'_>, number| {
                let progress = Progress { step: number, images: 16 * number, total_images: 32 };
                step.step(&batch(number, 16), progress, StepSeed::new(1, 2, number)).unwrap()
            };
            // The second sees an average that is not the student.
            let reports = [0, 1].map(|number| take(&mut step, number));
            reports.into_iter().flat_map(|report| report.losses).map(|image| image.loss).collect()
        };
        for rule in 0..4 {
            let central = |step| losses(TangentConfig::Central(CentralConfig { step }), rule);
            let forward = losses(TangentConfig::Forward, rule);
            let size = forward.iter().fold(0.0f64, |most, loss| most.max(loss.abs()));
            let error = |other: &[f64]| {
                let differences = forward.iter().zip(other).map(|(a, b)| (a - b).abs());
                differences.fold(0.0, f64::max) / size
            };
            let [wide, middle, near] = [0.2, 0.1, 0.01].map(|step| error(&central(step)));
            assert!((3.0..5.2).contains(&(wide / middle)), "{rule} {average:?}: {wide} {middle}");
            assert!(near < 2e-3, "{rule} {average:?}: {near}");
        }
    }
}

/// In parts, stopped and resumed.
#[test]
fn a_run_that_is_resumed_goes_on_to_the_bit() {
    let (network, weights) = shaken();
    for target in differentiating(TangentConfig::Forward) {
        let mut config = config(TOTAL, IMAGES);
        config.train.shards = 2;
        let two_time = TwoTimeConfig { target, times: times(), ..TwoTimeConfig::default() };
        let new = || step(&config, two_time, (network.as_ref(), weights.clone()), None);
        assert_goes_on(target, new, |number| batch(number, IMAGES));
    }
}

#[test]
fn passes_are_counted() {
    let passes =
        |target| TwoTimeConfig { target, equal_share: 0.25, ..TwoTimeConfig::default() }.extra_passes();
    let central = TangentConfig::Central(CentralConfig { step: 0.01 });
    // Two evaluations of three images in four; each product of all once more.
    assert_eq!(differentiating(central).map(passes), [1.5, 2.25, 1.5, 1.5]);
    assert_eq!(differentiating(TangentConfig::Forward).map(passes), [1.0, 1.75, 1.0, 1.0]);
}
