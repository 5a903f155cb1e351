//! What an evaluation costs: square roots of covariances, neighbours among features, the Inception network.

use crate::{Case, Suite};
use cm_evaluator::metric::Points;
use cm_evaluator::{
    ActivationExtractor, FeatureMatrix, FeatureScaling, InceptionJudge, InceptionResize, MetricConfig,
    SetMetric, SetSummary, Statistics, compare, symmetric_sqrt,
};
use cm_image::random::Random;
use cm_image::{ImageBatch, ImageShape};
use cm_network::feature_net::{FeatureFileError, load_inception};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The published network's features.
const DIM: usize = 2048;
/// Images of each set.
const IMAGES: usize = 10_000;
/// Multiplications and additions of the Inception network for one image of 299x299 pixels.
const INCEPTION_FLOPS: u64 = 11_400_000_000;

/// A file with the weights of an Inception network.
#[derive(Clone, Debug)]
pub struct InceptionFile(PathBuf);

impl InceptionFile {
    /// A file that can be read.
    ///
    /// # Errors
    /// [`FeatureFileError`] if it cannot.
    pub fn new(path: &Path) -> Result<Self, FeatureFileError> {
        load_inception(path)?;
        Ok(Self(path.to_owned()))
    }
}

/// The square root of a covariance, a Fréchet distance, and precision and recall of ten thousand against ten thousand
/// images, all of 2048 features; with the weights of an Inception network, its features too.
pub fn evaluation(inception: Option<InceptionFile>) -> Suite {
    let cube = (DIM as u64).pow(3);
    let neighbours = 3 * 2 * (IMAGES * IMAGES * DIM) as u64;
    let mut cases = vec![
        // Reduction to three diagonals and its vectors take about 9 n^3, the product 2 n^3.
        Case::new(format!("square-root/{DIM}"), 1, 11 * cube, || {
            let statistics = statistics(1);
            move || {
                let root = symmetric_sqrt(statistics.covariance(), DIM).expect("a covariance has a root");
                assert!(root[0] > 0.0);
            }
        }),
        Case::new(format!("frechet/{DIM}"), 1, 2 * 11 * cube + 5 * cube, || {
            let set = |seed| SetSummary { statistics: Some(statistics(seed)), ..SetSummary::default() };
            let (a, b) = (set(1), set(2));
            move || measure(&[SetMetric::Frechet], &a, &b)
        }),
        Case::new(format!("precision-recall/{IMAGES}x{IMAGES}x{DIM}"), IMAGES, neighbours, || {
            let set = |seed| SetSummary { rows: Some(points(seed)), ..SetSummary::default() };
            let (a, b) = (set(1), set(2));
            move || measure(&[SetMetric::Precision, SetMetric::Recall], &a, &b)
        }),
    ];
    if let Some(InceptionFile(path)) = inception {
        for batch in [8, 32] {
            let path = path.clone();
            cases.push(Case::new(
                format!("inception/batch-{batch}"),
                batch,
                batch as u64 * INCEPTION_FLOPS,
                move || {
                    let (network, _) = load_inception(&path).expect("it was read before");
                    let judge = InceptionJudge::new(network, InceptionResize::Tf1Bilinear);
                    let shape = ImageShape::new(32, 32, 3);
                    let mut random = Random::new(1);
                    let images = ImageBatch::from_fn(shape, batch, |_, image| random.fill_normal(image));
                    move || {
                        let activations = judge.activations(&images).expect("the images fit");
                        assert!(activations.features.values()[0].is_finite());
                    }
                },
            ));
        }
    }
    Suite { bench: "evaluation", cases }
}

fn measure(metrics: &[SetMetric], a: &SetSummary, b: &SetSummary) {
    let config = MetricConfig { scaling: FeatureScaling::Raw, ..MetricConfig::default() };
    let scores = compare(metrics, a.clone(), b.clone(), &config).expect("the sets are complete");
    assert!(scores.iter().all(|score| score.value.is_finite()));
}

/// Features of which neighbours have something in common; a few directions carry most of the variance, as with real
/// features.
fn features(seed: u64, rows: usize) -> FeatureMatrix {
    let mut random = Random::new(seed);
    let mut values = vec![0.0; rows * DIM];
    random.fill_normal(&mut values);
    for row in values.chunks_exact_mut(DIM) {
        for i in 1..DIM {
            row[i] = (0.5 * row[i - 1] + row[i]) / (1.0 + i as f32 / 64.0);
        }
    }
    FeatureMatrix::new(DIM, values).expect("whole rows")
}

fn statistics(seed: u64) -> Statistics {
    Statistics::of(&features(seed, 3 * DIM)).expect("more rows than features")
}

fn points(seed: u64) -> Points {
    Points::shared(Arc::new(features(seed, IMAGES))).expect("finite features")
}
