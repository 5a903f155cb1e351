use super::*;
use crate::{AdamWConfig, MomentsConfig, PowerEma, SnapshotsConfig};

fn state() -> TrainState {
    let mut weights = Weights::new();
    weights.add("a", &[2], vec![1.0, -2.0]);
    weights.add("b", &[1], vec![0.5]);
    let config = TrainConfig {
        optimiser: OptimiserConfig::Adam(MomentsConfig::default()),
        ema: vec![EmaConfig::None, EmaConfig::PerStep(0.9), EmaConfig::Power(0.1)],
        snapshots: Some(SnapshotsConfig::default()),
        gradient_clip: Some(1.0),
        batch: 4,
        ..TrainConfig::default()
    };
    TrainState::new(&config, weights, true)
}

fn values(weights: &Weights) -> Vec<f32> {
    weights.iter().flat_map(|(_, _, values)| values.to_vec()).collect()
}

#[test]
fn the_first_adam_step_is_the_learning_rate_and_averages_follow() {
    let mut state = state();
    let gradients = vec![vec![3.0, -4.0], vec![0.0]];
    state.update(&gradients, TrainState::norm(&gradients), 0.1, 0.5);
    let new = values(&state.weights);
    for (new, expected) in new.iter().zip([0.9, -1.9, 0.5]) {
        assert!((new - expected).abs() < 1e-6, "{new} {expected}");
    }
    assert_eq!(values(&state.averages[0]), new, "no average is the weights themselves");
    assert!((values(&state.averages[1])[0] - 0.99).abs() < 1e-6);
    assert!((values(state.target.as_ref().unwrap())[0] - 0.95).abs() < 1e-6);
}

/// Decays used to shrink the frequencies of Fourier embeddings.
#[test]
fn what_is_not_trained_does_not_decay() {
    let mut weights = Weights::new();
    weights.add("layer", &[1], vec![2.0]);
    weights.add_untrained("frequencies", &[2], vec![3.0, -5.0]);
    let decayed = MomentsConfig { weight_decay: 0.1, ..MomentsConfig::default() };
    for optimiser in [
        OptimiserConfig::Adam(decayed),
        OptimiserConfig::RAdam(decayed),
        OptimiserConfig::AdamW(AdamWConfig { weight_decay: 0.1, ..AdamWConfig::default() }),
    ] {
        let config = TrainConfig { optimiser, ema: vec![EmaConfig::PerStep(0.9)], ..TrainConfig::default() };
        let mut state = TrainState::new(&config, weights.clone(), true);
        (0..9).for_each(|_| state.update(&[vec![0.0], vec![0.0; 2]], 0.0, 0.1, 0.5));
        for all in [&state.weights, &state.averages[0], state.target.as_ref().unwrap()] {
            assert_eq!(values(all)[1..], [3.0, -5.0]);
            assert!(values(all)[0] < 2.0);
        }
    }
}

#[test]
fn a_restored_state_goes_on_to_the_bit() {
    let step = |state: &mut TrainState, k: f32| {
        let gradients = vec![vec![k, -0.3 * k], vec![0.1 * k * k]];
        state.update(&gradients, TrainState::norm(&gradients), 0.01, 0.9);
    };
    let mut straight = state();
    (1..6).for_each(|k| step(&mut straight, k as f32));
    let mut first = state();
    (1..4).for_each(|k| step(&mut first, k as f32));
    let mut file = TensorFile::default();
    first.save(&mut file);
    let file = TensorFile::decode(&file.encode().unwrap()).unwrap();
    let mut second = state();
    second.load(&file).unwrap();
    (4..6).for_each(|k| step(&mut second, k as f32));
    let (mut a, mut b) = (TensorFile::default(), TensorFile::default());
    straight.save(&mut a);
    second.save(&mut b);
    assert_eq!(a, b);
    assert_eq!(second.step(), 5);
}

/// A restart from the first average, and then the very steps of a new run from those weights, with the counts of
/// optimiser and power averages at 0; also from a checkpoint in the middle.
#[test]
fn a_restarted_state_is_a_new_run_but_for_its_number_of_updates() {
    let mut weights = Weights::new();
    weights.add("a", &[2], vec![1.0, -2.0]);
    let config = TrainConfig {
        optimiser: OptimiserConfig::RAdam(MomentsConfig::default()),
        ema: vec![EmaConfig::PerStep(0.5), EmaConfig::Power(0.1)],
        ..TrainConfig::default()
    };
    let step = |state: &mut TrainState, k: f32| {
        let gradients = vec![vec![k, -0.3 * k]];
        state.update(&gradients, TrainState::norm(&gradients), 0.01, 1.0);
    };
    let mut state = TrainState::new(&config, weights, true);
    (1..8).for_each(|k| step(&mut state, k as f32));
    let reached = state.averages[0].clone();
    assert_ne!(values(&reached), values(&state.weights));
    state.restart();
    let mut fresh = TrainState::new(&config, reached.clone(), true);
    for k in 1..8 {
        step(&mut state, k as f32);
        step(&mut fresh, k as f32);
        if k == 3 {
            let mut file = TensorFile::default();
            state.save(&mut file);
            let mut other = TrainState::new(&config, fresh.weights.clone(), true);
            other.load(&file).unwrap();
            state = other;
        }
    }
    assert_eq!((state.step(), fresh.step()), (14, 7));
    assert_eq!(values(&state.weights), values(&fresh.weights));
    assert_eq!(values(&state.averages[1]), values(&fresh.averages[1]));
    assert_eq!(values(state.target.as_ref().unwrap()), values(&reached), "a decay of 1 keeps it");
}

/// The power average by its definition: step k of K counts (k/K)^(gamma + 1) - ((k-1)/K)^(gamma + 1).
#[test]
fn power_averages_weigh_each_step_by_their_profile() {
    let mut state = state();
    let mut history = Vec::new();
    for k in 1..=12 {
        let gradients = vec![vec![(k as f32).sin(), 0.2], vec![-0.4]];
        state.update(&gradients, TrainState::norm(&gradients), 0.05, 0.9);
        history.push(f64::from(values(&state.weights)[0]));
    }
    for (average, sigma_rel) in
        [(&state.averages[2], 0.1), (&state.tracked[0], 0.05), (&state.tracked[1], 0.1)]
    {
        let exponent = PowerEma::with_sigma_rel(sigma_rel).gamma() + 1.0;
        let upto = |k: usize| (k as f64 / 12.0).powf(exponent);
        let expected: f64 = history.iter().enumerate().map(|(k, w)| (upto(k + 1) - upto(k)) * w).sum();
        let got = f64::from(values(average)[0]);
        assert!((got - expected).abs() < 1e-6, "{sigma_rel}: {got} {expected}");
    }
    assert_eq!(values(&state.averages[2]), values(&state.tracked[1]));
}

#[test]
fn the_images_to_blame_are_named_with_their_levels() {
    let levels = |image| if image == 1 { (2.0, 2.0) } else { (4.0, 3.5) };
    let one = culprits(&[0.5, f64::NAN, 1.0], levels);
    assert_eq!(one, "image 1 at noise level 2");
    let all = culprits(&[0.5; 6], levels);
    assert!(all.starts_with("image 0 at noise levels 4 and 3.5, image 1") && all.ends_with(", 2 more"));
}

#[test]
fn a_checkpoint_of_another_network_is_refused() {
    let mut file = TensorFile::default();
    state().save(&mut file);
    let mut weights = Weights::new();
    weights.add("c", &[1], vec![0.0]);
    let mut other = TrainState::new(&TrainConfig::default(), weights, false);
    assert!(matches!(other.load(&file), Err(CheckpointError::Weights(_))));
}
