//! Against published formulas: the fixture is by `scripts/parity/metrics.py`.

use super::*;
use crate::features::{ActivationExtractor, Activations, FeatureMatrix, Pixels};
use crate::metric::FeatureScaling;
use cm_image::{ImageBatch, ImageShape};

/// A linear congruential generator's upper 12 bits, as multiples of 1/256 from -8 to 8.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 20) as f32 / 256.0 - 8.0
    };
    (0..count).map(next).collect()
}

fn features(rows: usize, cols: usize, ill: bool, seed: u32, shift: f32) -> FeatureMatrix {
    let raw = numbers(rows * cols, seed);
    let at = |i: usize| {
        let left = if i.is_multiple_of(cols) { 0.0 } else { raw[i - 1] };
        let scale = if ill { 0.125f32.powi((i % cols) as i32) } else { 1.0 };
        (raw[i] + left + shift) * scale
    };
    FeatureMatrix::new(cols, (0..rows * cols).map(at).collect()).unwrap()
}

/// Gives rows that were worked out before, image after image; an image's first value is its number.
struct Rows {
    features: FeatureMatrix,
    probabilities: FeatureMatrix,
}

impl ActivationExtractor for Rows {
    fn dim(&self) -> usize {
        self.features.cols()
    }

    fn spatial_dim(&self) -> Option<usize> {
        Some(self.features.cols())
    }

    fn classes(&self) -> Option<usize> {
        Some(self.probabilities.cols())
    }

    fn activations(&self, images: &ImageBatch) -> Result<Activations, ModelError> {
        let pick = |matrix: &FeatureMatrix| {
            let rows = images.images().flat_map(|image| matrix.row(image[0] as usize)).copied().collect();
            FeatureMatrix::new(matrix.cols(), rows).unwrap()
        };
        Ok(Activations {
            features: pick(&self.features),
            spatial: Some(pick(&self.features)),
            probabilities: Some(pick(&self.probabilities)),
        })
    }
}

fn numbered(count: usize) -> ImageBatch {
    ImageBatch::from_fn(ImageShape::vector(1), count, |i, image| image[0] = i as f32)
}

const PARTS: [SetPart; 4] =
    [SetPart::Rows, SetPart::SpatialStatistics, SetPart::ClassScore, SetPart::Classes];

/// Features as they are.
fn raw() -> MetricConfig {
    MetricConfig { scaling: FeatureScaling::Raw, ..MetricConfig::default() }
}

fn summary(extractor: &dyn ActivationExtractor, images: &ImageBatch, split: usize) -> SetSummary {
    let mut collector = SetCollector::new(extractor, &PARTS, split);
    for from in (0..images.count()).step_by(7) {
        collector.push(&images.slice(from..(from + 7).min(images.count()))).unwrap();
    }
    assert_eq!(collector.count(), images.count());
    collector.finish().unwrap()
}

/// Softmax of rows of numbers, in double precision.
fn probabilities(rows: usize, classes: usize) -> FeatureMatrix {
    let mut values = Vec::new();
    for row in numbers(rows * classes, 3).chunks_exact(classes) {
        let exp: Vec<f64> = row.iter().map(|&v| f64::from(v).exp()).collect();
        let sum: f64 = exp.iter().sum();
        values.extend(exp.iter().map(|e| (e / sum) as f32));
    }
    FeatureMatrix::new(classes, values).unwrap()
}

#[test]
fn every_metric_is_that_of_the_published_formulas() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/parity/metrics.csv");
    let text = std::fs::read_to_string(path).unwrap();
    let expected = |case: usize, metric: SetMetric| -> f64 {
        let begin = format!("{case},{},", metric.name(false));
        text.lines().find_map(|line| line.strip_prefix(&begin)).unwrap().parse().unwrap()
    };
    let config = raw();
    for (case, (n, m, cols, ill)) in
        [(90, 70, 12, false), (20, 25, 32, false), (90, 70, 12, true)].into_iter().enumerate()
    {
        let set = |rows, seed, shift| {
            let judge = Rows {
                features: features(rows, cols, ill, seed, shift),
                probabilities: probabilities(100, 5),
            };
            summary(&judge, &numbered(rows), 40)
        };
        let (samples, reference) = (set(n, 1, 0.25), set(m, 2, 0.0));
        // Twenty samples are too few to extrapolate from.
        let metrics: Vec<SetMetric> =
            SetMetric::ALL.into_iter().filter(|metric| metric.min_images(&config) <= n).collect();
        let scores = compare(&metrics, samples, reference, &config).unwrap();
        for SetScore { metric, value, .. } in scores {
            let (wanted, tolerance) = match metric {
                SetMetric::ClassScore
                | SetMetric::Copied
                | SetMetric::Recognised
                | SetMetric::ClassHistogram
                | SetMetric::FrechetExtrapolated => continue,
                // Without full rank a zero eigenvalue is 1e-16 of the largest, and its root 1e-8.
                SetMetric::Frechet | SetMetric::SpatialFrechet => (expected(case, SetMetric::Frechet), 1e-8),
                SetMetric::Kid => (expected(case, metric), 1e-9),
                SetMetric::Precision | SetMetric::Recall | SetMetric::Density | SetMetric::Coverage => {
                    (expected(case, metric), 1e-15)
                }
            };
            let error = (value - wanted).abs();
            assert!(error <= tolerance * wanted.abs().max(1.0), "case {case}, {metric:?}: {value}, {wanted}");
        }
    }
    let judge = Rows { features: features(100, 3, false, 1, 0.0), probabilities: probabilities(100, 5) };
    let score = summary(&judge, &numbered(100), 40).class_score.unwrap();
    let wanted = expected(0, SetMetric::ClassScore);
    // Probabilities are in single precision here.
    assert!((score.mean - wanted).abs() < 1e-6 * wanted && score.splits == 3, "{score:?} {wanted}");
}

#[test]
fn what_is_not_known_is_missed_before_anything_is_worked_out() {
    let pixels = Pixels { shape: ImageShape::vector(1) };
    let known = summary(&pixels, &numbered(30), 10);
    assert!(known.spatial.is_none() && known.class_score.is_none() && known.rows.is_some());
    let config = raw();
    let error = compare(&[SetMetric::SpatialFrechet], known.clone(), known.clone(), &config).unwrap_err();
    assert!(matches!(error, ComparisonError::Missing { of: "samples", .. }), "{error}");
    let statistics = SetSummary { statistics: known.statistics.clone(), ..SetSummary::default() };
    let error = compare(&[SetMetric::Frechet, SetMetric::Recall], known.clone(), statistics.clone(), &config)
        .unwrap_err();
    assert_eq!(error.to_string(), "recall needs Rows of the reference");
    assert_eq!(
        compare(&[SetMetric::Frechet], known.clone(), statistics.clone(), &config).unwrap()[0].value,
        0.0
    );
}

#[test]
fn too_few_images_and_values_that_are_no_numbers_are_refused() {
    let pixels = Pixels { shape: ImageShape::vector(1) };
    let mut collector = SetCollector::new(&pixels, &PARTS, 10);
    collector.push(&numbered(1)).unwrap();
    let broken = ImageBatch::new(ImageShape::vector(1), vec![f32::NAN]).unwrap();
    let error = collector.push(&broken).unwrap_err();
    assert!(
        matches!(error, ComparisonError::Summary(MetricError::NotFinite { rows: 1, first: 0 })),
        "{error}"
    );
    let error = collector.finish().unwrap_err().to_string();
    assert_eq!(error, "1 rows of features, but at least 2 are needed");
    let few = summary(&pixels, &numbered(3), 10);
    let error = compare(&[SetMetric::Recall], few.clone(), few, &raw()).unwrap_err().to_string();
    assert_eq!(error, "recall: 3 points of a manifold, but at least 4 are needed");
}

#[test]
fn only_published_weights_make_an_fid() {
    for metric in SetMetric::ALL {
        let name = metric.name(false);
        assert!(!name.contains("fid") && !name.contains("inception"), "{name}");
    }
    assert_eq!(SetMetric::Frechet.name(true), "fid");
}
