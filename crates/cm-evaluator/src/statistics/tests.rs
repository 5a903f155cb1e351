//! Moments against the plain two-pass formulas, and how features are standardised.

use super::*;
use cm_image::random::Random;
use proptest::prelude::*;

fn normal_features(seed: u64, rows: usize, cols: usize) -> FeatureMatrix {
    let mut values = vec![0.0; rows * cols];
    Random::new(seed).fill_normal(&mut values);
    FeatureMatrix::new(cols, values).unwrap()
}

/// Two passes, by the definition.
fn naive(features: &FeatureMatrix) -> (Vec<f64>, Vec<f64>) {
    let (rows, cols) = (features.rows(), features.cols());
    let at = |i: usize, j: usize| f64::from(features.row(i)[j]);
    let mean: Vec<f64> = (0..cols).map(|j| (0..rows).map(|i| at(i, j)).sum::<f64>() / rows as f64).collect();
    let product = |j: usize, k: usize| -> f64 {
        (0..rows).map(|i| (at(i, j) - mean[j]) * (at(i, k) - mean[k])).sum::<f64>() / (rows - 1) as f64
    };
    let covariance = (0..cols * cols).map(|index| product(index / cols, index % cols)).collect();
    (mean, covariance)
}

fn assert_close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance), "{a:?}\n{b:?}");
}

#[test]
fn small_numbers_by_hand() {
    let features = FeatureMatrix::new(2, vec![1.0, 0.0, 3.0, 4.0]).unwrap();
    let statistics = Statistics::of(&features).unwrap();
    assert_eq!(statistics.mean(), [2.0, 2.0]);
    assert_eq!(statistics.covariance(), [2.0, 4.0, 4.0, 8.0]);
}

#[test]
fn blocks_agree_with_the_definition_around_every_block_edge() {
    for rows in [2, 3, 255, 256, 257, 511, 512, 700] {
        let features = normal_features(rows as u64, rows, 5);
        let (mean, covariance) = naive(&features);
        let statistics = Statistics::of(&features).unwrap();
        assert_close(statistics.mean(), &mean, 1e-14);
        assert_close(statistics.covariance(), &covariance, 1e-13);
        assert_eq!(statistics.count(), Some(rows));
    }
}

#[test]
fn more_features_than_a_tile() {
    let features = normal_features(4, 300, 2 * TILE_ROWS + 3);
    let (mean, covariance) = naive(&features);
    let statistics = Statistics::of(&features).unwrap();
    assert_close(statistics.mean(), &mean, 1e-14);
    assert_close(statistics.covariance(), &covariance, 1e-13);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| Statistics::of(&features).unwrap()), statistics, "{threads} threads");
    }
}

#[test]
fn a_large_offset_does_not_cost_the_variance() {
    let values: Vec<f32> = (0..1000).map(|i| 1e6 + (i % 2) as f32).collect();
    let statistics = Statistics::of(&FeatureMatrix::new(1, values).unwrap()).unwrap();
    assert_eq!(statistics.mean(), [1e6 + 0.5]);
    assert!((statistics.covariance()[0] - 0.25 * 1000.0 / 999.0).abs() < 1e-12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn the_division_into_pushes_changes_no_bit(seed: u64, cuts in prop::collection::vec(0usize..300, 0..5)) {
        let all = normal_features(seed, 600, 3);
        let whole = Statistics::of(&all).unwrap();
        let mut running = RunningStatistics::new(3);
        let mut from = 0;
        for cut in cuts.into_iter().chain([600]) {
            let to = (from + cut).min(600);
            running.push(&FeatureMatrix::new(3, all.values()[from * 3..to * 3].to_vec()).unwrap()).unwrap();
            from = to;
        }
        prop_assert_eq!(running.count(), 600);
        prop_assert_eq!(running.finish().unwrap(), whole);
    }

    #[test]
    fn merging_agrees_with_pushing_all(seed: u64, first in 0usize..400) {
        let all = normal_features(seed, 400, 3);
        let part = |from: usize, to: usize| {
            let mut running = RunningStatistics::new(3);
            running.push(&FeatureMatrix::new(3, all.values()[from * 3..to * 3].to_vec()).unwrap()).unwrap();
            running
        };
        let mut merged = part(0, first);
        merged.merge(part(first, 400)).unwrap();
        let (mean, covariance) = naive(&all);
        let merged = merged.finish().unwrap();
        assert_close(merged.mean(), &mean, 1e-13);
        assert_close(merged.covariance(), &covariance, 1e-13);
    }
}

#[test]
fn statistics_from_elsewhere_are_checked() {
    let parts =
        |mean: &[f64], covariance: &[f64]| Statistics::from_parts(mean.to_vec(), covariance.to_vec(), None);
    let whole = parts(&[1.0, 2.0], &[2.0, 1.0, 1.0, 3.0]).unwrap();
    assert_eq!((whole.count(), whole.mean()), (None, [1.0, 2.0].as_slice()));
    assert_eq!(parts(&[1.0], &[1.0, 2.0]), Err(MetricError::NotSquare { values: 2, dim: 1 }));
    assert!(parts(&[], &[]).is_err());
    let broken = parts(&[1.0, 2.0], &[2.0, 1.0, f64::NAN, 3.0]);
    assert_eq!(broken, Err(MetricError::NotFinite { rows: 1, first: 1 }));
    let askew = parts(&[1.0, 2.0], &[2.0, 1.0, 0.5, 3.0]);
    assert_eq!(askew, Err(MetricError::NotCovariance { row: 1, column: 0 }));
    assert!(parts(&[1.0], &[-1.0]).is_err());
}

#[test]
fn too_few_wrong_and_broken_rows_are_refused() {
    let one = FeatureMatrix::new(2, vec![1.0, 2.0]).unwrap();
    let error = MetricError::TooFew { what: "rows of features", given: 1, needed: 2 };
    assert_eq!(Statistics::of(&one), Err(error));
    let mut running = RunningStatistics::new(3);
    assert_eq!(running.push(&one), Err(MetricError::Columns { given: 2, expected: 3 }));
    assert!(running.merge(RunningStatistics::new(2)).is_err());
    let broken = FeatureMatrix::new(3, vec![0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0]).unwrap();
    assert_eq!(running.push(&broken), Err(MetricError::NotFinite { rows: 1, first: 1 }));
    assert_eq!(running.count(), 0);
}

#[test]
fn standardised_references_have_mean_0_and_variance_1() {
    let stretched = |(at, v): (usize, &f32)| if at % 3 == 2 { 7.0 } else { 5.0 + 3.0 * v };
    let values = normal_features(8, 500, 3).values().iter().enumerate().map(stretched).collect();
    let reference = FeatureMatrix::new(3, values).unwrap();
    let scaler = Standardiser::new(&Statistics::of(&reference).unwrap());
    let scaled = Statistics::of(&scaler.apply(&reference).unwrap()).unwrap();
    assert_close(scaled.mean(), &[0.0; 3], 1e-7);
    let directly = Statistics::of(&reference).unwrap().standardised(&scaler).unwrap();
    assert_close(directly.mean(), scaled.mean(), 1e-6);
    assert_close(directly.covariance(), scaled.covariance(), 1e-6);
    for (at, expected) in [(0, 1.0), (4, 1.0), (8, 0.0)] {
        assert!((scaled.covariance()[at] - expected).abs() < 1e-6);
    }
    // A constant feature keeps its own unit.
    let other = FeatureMatrix::new(3, vec![5.0, 5.0, 9.0]).unwrap();
    assert_eq!(scaler.apply(&other).unwrap().row(0)[2], 2.0);
    let far = FeatureMatrix::new(3, vec![f32::INFINITY, 0.0, 0.0]).unwrap();
    assert!(matches!(scaler.apply(&far), Err(MetricError::NotFinite { rows: 1, first: 0 })));
}
