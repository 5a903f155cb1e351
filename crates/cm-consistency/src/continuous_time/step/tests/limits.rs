//! Pairs of ever nearer levels: what their losses and gradients tend to.

use super::*;
use crate::NoisyPair;

/// d sigma / du of the grid's time u, 1 at its top.
fn speed(place: f64) -> f64 {
    let grid = GRID.build().unwrap();
    (grid.between(place - 1e-5) - grid.between(place + 1e-5)) / 2e-5
}

/// Theorems 5 and 6: (N - 1) times the gradient of the discrete loss tends to the continuous loss's, by 1 / N. Pairs are
/// the same images, noise and upper levels for all N.
#[test]
fn gradients_of_pairs_tend_to_the_continuous_loss_s_by_the_first_order() {
    let (network, weights) = network();
    let mixture = mixture();
    let (count, batch) = (24, clean(24));
    let places = places(count);
    let upper: Vec<Sigma> = places.iter().map(|&place| level(place)).collect();
    for teacher in [Some(&mixture), None] {
        let step = step(
            plain(UNNORMALISED),
            &TrainConfig::default(),
            network.as_ref(),
            &weights,
            trajectory(teacher),
        );
        let shard = step.state.shards(count).remove(0);
        let (graph, losses) = step.losses(&batch, &upper, &shard, (PROGRESS, seed())).unwrap();
        let seeds = step.weights(&upper).0.iter().zip(&places).map(|(w, &u)| w * speed(u) as f32).collect();
        let limit = gradient_of(graph, &losses, seeds, &step.state.weights);
        let mut errors = Vec::new();
        for intervals in [16, 64, 256, 1024] {
            let lower: Vec<Sigma> =
                places.iter().map(|place| level((place + 1.0 / f64::from(intervals)).min(1.0))).collect();
            let (points, z) = noisy(&batch, &upper);
            let pair = NoisyPair {
                clean: &batch.images,
                noise: &z,
                noisy: &points,
                upper: &upper,
                lower: &lower,
                labels: &[],
            };
            let lower_point = step.parts.trajectory.lower_point(&pair).unwrap();
            let f = |graph: &mut Graph, x: &ImageBatch, sigma: &[Sigma]| {
                let scaling = crate::model::scaling(&BOUNDARY, sigma);
                let x = Images::from_batch(x);
                network.forward_scaled(graph, &step.state.weights, &x, &scaling, Extra::default())
            };
            let target = f(&mut Graph::inference(), &lower_point, &lower);
            let mut graph = Graph::recording();
            let student = f(&mut graph, &points, &upper);
            let losses = pair_distance(&mut graph, PairDistance::SquaredL2, &student, &target);
            let seeds = vec![intervals as f32 / count as f32; count];
            let found = gradient_of(graph, &losses, seeds, &step.state.weights);
            errors.push(norm(found.iter().zip(&limit).map(|(a, b)| a - b)) / norm(limit.iter().copied()));
        }
        let orders: Vec<f64> = errors.windows(2).map(|pair| (pair[0] / pair[1]).log(4.0)).collect();
        assert!(errors[3] < 5e-3, "{errors:?}");
        assert!(orders.iter().all(|order| (0.8..1.2).contains(order)), "{errors:?}: {orders:?}");
    }
}

/// Theorems 3 and 4: (N - 1)^2 times the loss of squared differences and N - 1 times that of absolute ones tend to the size
/// of the derivative.
#[test]
fn losses_of_pairs_tend_to_the_derivative_s_size_by_the_first_order() {
    let (network, weights) = network();
    let mixture = mixture();
    let (count, batch) = (24, clean(24));
    let places = places(count);
    let upper: Vec<Sigma> = places.iter().map(|&place| level(place)).collect();
    for (size, power) in [(DerivativeNorm::SquaredL2, 2), (DerivativeNorm::L1, 1)] {
        let config = plain(ContinuousLossConfig::Full(size));
        let step =
            step(config, &TrainConfig::default(), network.as_ref(), &weights, trajectory(Some(&mixture)));
        let shard = step.state.shards(count).remove(0);
        let (_, losses) = step.losses(&batch, &upper, &shard, (PROGRESS, seed())).unwrap();
        let limit: Vec<f64> =
            losses.values().iter().zip(&places).map(|(l, &u)| f64::from(*l) * speed(u).powi(power)).collect();
        let model = ConsistencyModel::new(network.as_ref(), weights.clone(), BOUNDARY);
        let mut errors = Vec::new();
        for intervals in [16, 64, 256, 1024] {
            let lower: Vec<Sigma> =
                places.iter().map(|place| level((place + 1.0 / f64::from(intervals)).min(1.0))).collect();
            let (points, z) = noisy(&batch, &upper);
            let pair = NoisyPair {
                clean: &batch.images,
                noise: &z,
                noisy: &points,
                upper: &upper,
                lower: &lower,
                labels: &[],
            };
            let there =
                model.endpoint(&step.parts.trajectory.lower_point(&pair).unwrap(), &lower, &[]).unwrap();
            let here = model.endpoint(&points, &upper, &[]).unwrap();
            let found: Vec<f64> = (here.images().zip(there.images()))
                .map(|(here, there)| {
                    let differences = here.iter().zip(there).map(|(a, b)| f64::from(a - b).abs());
                    differences.map(|difference| difference.powi(power)).sum::<f64>() / 3.0
                })
                .map(|mean| mean * f64::from(intervals).powi(power))
                .collect();
            errors.push(norm(found.iter().zip(&limit).map(|(a, b)| a - b)) / norm(limit.iter().copied()));
        }
        let orders: Vec<f64> = errors.windows(2).map(|pair| (pair[0] / pair[1]).log(4.0)).collect();
        assert!(errors[3] < 5e-3, "{size:?}: {errors:?}");
        assert!(orders.iter().all(|order| (0.8..1.2).contains(order)), "{size:?} {errors:?}: {orders:?}");
    }
}
