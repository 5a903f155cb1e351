use super::*;
use crate::features::{ActivationExtractor, Activations, FeatureMatrix, Pixels};
use crate::metric::FeatureScaling;
use cm_diffusion::analytic::{ExactConsistency, GaussianMixture, MixtureConfig};
use cm_diffusion::{Labels, OneStep, Sigma};
use std::cell::RefCell;

const SIGMA_MAX: f32 = 20.0;
const SIGMA_MIN: f32 = 0.002;

fn sigma(level: f32) -> Sigma {
    Sigma::new(level).unwrap()
}

fn mixture() -> GaussianMixture {
    MixtureConfig { dim: 2, components: 4, radius: 1.0, std: 0.05, ..Default::default() }.build().unwrap()
}

fn go_on(_: usize, _: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn exact() -> ExactConsistency {
    ExactConsistency { mixture: mixture(), sigma_min: sigma(SIGMA_MIN) }
}

/// The coordinates of a point, and which mode it belongs to.
struct ModeClassifier(GaussianMixture);

impl ActivationExtractor for ModeClassifier {
    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn spatial_dim(&self) -> Option<usize> {
        None
    }

    fn classes(&self) -> Option<usize> {
        Some(self.0.components())
    }

    fn activations(&self, images: &ImageBatch) -> Result<Activations, ModelError> {
        let row = |image: &[f32]| {
            let x: Vec<f64> = image.iter().map(|&v| f64::from(v)).collect();
            self.0.responsibilities(&x, 0.1).into_iter().map(|p| p as f32).collect::<Vec<_>>()
        };
        let probabilities = images.images().flat_map(row).collect();
        Ok(Activations {
            features: FeatureMatrix::new(self.0.dim(), images.values().to_vec()).unwrap(),
            spatial: None,
            probabilities: Some(FeatureMatrix::new(self.0.components(), probabilities).unwrap()),
        })
    }
}

/// A sampler from a function of seed and values, which counts its images.
struct Draw<F: Fn(u64, &mut [f32])> {
    shape: ImageShape,
    fill: F,
    drawn: RefCell<Vec<usize>>,
}

impl<F: Fn(u64, &mut [f32])> Draw<F> {
    fn new(shape: ImageShape, fill: F) -> Self {
        Self { shape, fill, drawn: RefCell::default() }
    }
}

impl<F: Fn(u64, &mut [f32])> Sampler for Draw<F> {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn sample(&self, seeds: &[u64]) -> Result<ImageBatch, ModelError> {
        self.drawn.borrow_mut().push(seeds.len());
        Ok(ImageBatch::from_fn(self.shape, seeds.len(), |i, image| (self.fill)(seeds[i], image)))
    }

    fn evaluations(&self) -> usize {
        1
    }
}

/// Everything that judges points of the mixture.
struct Bench {
    exact: ExactConsistency,
    classifier: ModeClassifier,
    pixels: Pixels,
}

impl Bench {
    fn new() -> Self {
        let exact = exact();
        let pixels = Pixels { shape: exact.mixture.shape() };
        Self { classifier: ModeClassifier(mixture()), exact, pixels }
    }

    fn judges(&self) -> Judges<'_> {
        Judges {
            extractor: Some(&self.classifier),
            endpoint: Some(ExactEndpoint { function: &self.exact, sigma_max: sigma(SIGMA_MAX) }),
            modes: Some(ExactModes { mixture: &self.exact.mixture, sigma_min: sigma(SIGMA_MIN) }),
        }
    }

    fn reference(&self, config: &MetricConfig) -> Reference<'_> {
        Reference::new(&MetricKind::ALL, config, None, data(0, 500), self.judges()).unwrap()
    }

    fn sampler(&self) -> OneStep<'_> {
        OneStep {
            model: &self.exact,
            shape: self.pixels.shape,
            sigma_max: sigma(SIGMA_MAX),
            labels: Labels::None,
        }
    }
}

/// Draws of the mixture.
fn data(seed: u64, count: usize) -> ImageBatch {
    mixture().sample(&image_seeds(seed, count))
}

fn value(scores: &[Score], metric: &str) -> f64 {
    let found = scores.iter().find(|score| score.metric == metric);
    found.unwrap_or_else(|| panic!("no {metric} in {scores:?}")).value
}

#[test]
fn drawing_can_be_broken_off_after_any_batch() {
    let bench = Bench::new();
    let reference = bench.reference(&MetricConfig::default());
    let mut batches = 0;
    let error = evaluate(&reference, &bench.sampler(), 600, 7, &mut |_, _| {
        batches += 1;
        if batches == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap_err();
    assert!(matches!(error, EvaluationError::Stopped), "{error}");
    assert_eq!(batches, 2);
}

#[test]
fn an_exact_sampler_reaches_the_floor() {
    let bench = Bench::new();
    let reference = bench.reference(&MetricConfig::default());
    let floor = floor(&reference, data(1, 300)).unwrap();
    let mut calls = Vec::new();
    let report = evaluate(&reference, &bench.sampler(), 300, 7, &mut |done, of| {
        calls.push((done, of));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(calls, [(128, 300), (256, 300), (300, 300)]);

    let names: Vec<_> = report.iter().map(|score| score.metric.as_str()).collect();
    let expected: Vec<_> = MetricKind::ALL.iter().flat_map(|kind| kind.names(300)).collect();
    assert_eq!(names, expected);
    assert!(report.iter().all(|score| score.samples == 300 && score.value.is_finite()));
    let without = |kind: &&MetricKind| **kind != MetricKind::EndpointRmse;
    let expected: Vec<_> = MetricKind::ALL.iter().filter(without).flat_map(|kind| kind.names(300)).collect();
    assert_eq!(floor.iter().map(|score| score.metric.clone()).collect::<Vec<_>>(), expected);

    assert_eq!(value(&report, "endpoint-rmse-300"), 0.0);
    for report in [&report, &floor] {
        // Standardised features of two dimensions: the distance of two draws is of the order of 2 (1/300 + 1/500).
        assert!(value(report, "frechet-300") < 0.05, "{report:?}");
        assert!(value(report, "kid-300").abs() < 0.1);
        assert!(value(report, "precision-300") > 0.9 && value(report, "recall-300") > 0.85);
        assert!((value(report, "density-300") - 1.0).abs() < 0.15 && value(report, "coverage-300") > 0.85);
        assert_eq!(value(report, "recognised-300"), 1.0);
        assert!(value(report, "class-histogram-300") < 0.1 && value(report, "mode-weights-300") < 0.1);
        assert!(value(report, "sliced-wasserstein-300") < 0.2);
        assert!(value(report, "off-mode-300") <= 1.0 / 300.0);
    }
}

#[test]
fn every_image_has_a_seed_of_its_own_that_no_count_changes() {
    let seeds = image_seeds(3, 100);
    assert_eq!(image_seeds(3, 40), seeds[..40]);
    assert_eq!(seeds[17], derive_seed(3, 17));
    let mut both = [seeds, image_seeds(4, 100)].concat();
    both.sort_unstable();
    both.dedup();
    assert_eq!(both.len(), 200);
}

#[test]
fn a_collapsed_sampler_is_precise_but_covers_nothing() {
    let bench = Bench::new();
    let reference = bench.reference(&MetricConfig::default());
    let mode: Vec<f32> = bench.exact.mixture.means()[0].iter().map(|&x| x as f32).collect();
    let collapsed = Draw::new(bench.pixels.shape, |_, image| image.copy_from_slice(&mode));
    let report = evaluate(&reference, &collapsed, 200, 0, &mut go_on).unwrap();
    assert_eq!(value(&report, "recall-200"), 0.0);
    assert!(value(&report, "coverage-200") < 0.1);
    assert_eq!((value(&report, "precision-200"), value(&report, "recognised-200")), (1.0, 1.0));
    // Three of four modes are missing, and the reference has its share of the fourth.
    assert!((value(&report, "class-histogram-200") - 0.75).abs() < 0.06);
    assert!((value(&report, "mode-weights-200") - 0.75).abs() < 1e-12);
    assert!(value(&report, "frechet-200") > 1.0 && value(&report, "sliced-wasserstein-200") > 0.5);
}

#[test]
fn a_sampler_off_by_a_known_shift_has_that_endpoint_error() {
    let bench = Bench::new();
    let reference = Reference::new(
        &[MetricKind::EndpointRmse],
        &MetricConfig::default(),
        None,
        data(0, 1),
        bench.judges(),
    )
    .unwrap();
    let sampler = bench.sampler();
    let shifted = Draw::new(bench.pixels.shape, |seed, image| {
        let exact = sampler.sample(&[seed]).unwrap();
        image.iter_mut().zip(exact.image(0)).for_each(|(out, exact)| *out = exact + 0.5);
    });
    let report = evaluate(&reference, &shifted, 40, 3, &mut go_on).unwrap();
    assert!((value(&report, "endpoint-rmse-40") - 0.5).abs() < 1e-6);
    assert!((value(&report, "endpoint-median-40") - 0.5).abs() < 1e-6);
}

#[test]
fn scores_are_the_same_bits_for_any_batch_and_number_of_threads() {
    let bench = Bench::new();
    let run = |batch: usize, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            // A bench of its own on each pool: judges are not shared between threads.
            let bench = Bench::new();
            let reference = bench.reference(&MetricConfig { batch, ..Default::default() });
            let report = evaluate(&reference, &bench.sampler(), 150, 5, &mut go_on).unwrap();
            report.iter().map(|score| (score.value.to_bits(), score.standard_error)).collect::<Vec<_>>()
        })
    };
    let first = run(128, 1);
    assert_eq!(first, run(1, 2));
    assert_eq!(first, run(37, 4));
    let reference = bench.reference(&MetricConfig::default());
    let other = evaluate(&reference, &bench.sampler(), 150, 6, &mut go_on).unwrap();
    assert_ne!(first[0].0, other[0].value.to_bits(), "another seed is another draw");
}

#[test]
fn raw_features_keep_their_unit() {
    let bench = Bench::new();
    let score = |scaling, factor: f32| {
        let config = MetricConfig { scaling, ..Default::default() };
        let times = |images: ImageBatch| images.map(|value| factor * value);
        let reference =
            Reference::new(&[MetricKind::Frechet], &config, None, times(data(0, 50)), bench.judges())
                .unwrap();
        floor(&reference, times(data(1, 40))).unwrap()[0].value
    };
    let raw = [1.0, 4.0].map(|factor| score(FeatureScaling::Raw, factor));
    let standardised = [1.0, 4.0].map(|factor| score(FeatureScaling::Standardised, factor));
    assert!((raw[1] - 16.0 * raw[0]).abs() < 1e-9 * raw[1], "{raw:?}");
    assert!((standardised[0] - standardised[1]).abs() < 1e-6 * standardised[0], "{standardised:?}");
}

#[test]
fn what_cannot_be_scored_is_refused_before_anything_is_drawn() {
    let bench = Bench::new();
    let reference = bench.reference(&MetricConfig::default());
    let never = |shape| Draw::new(shape, |_, _| unreachable!("nothing must be drawn"));
    let error = evaluate(&reference, &never(bench.pixels.shape), 19, 0, &mut go_on).unwrap_err();
    assert_eq!(error.to_string(), "19 samples for FrechetExtrapolated, which needs at least 30");
    let error = evaluate(&reference, &never(ImageShape::vector(3)), 100, 0, &mut go_on).unwrap_err();
    assert!(matches!(error, EvaluationError::Shape { .. }), "{error}");

    let new = |kinds: &[MetricKind], config: &MetricConfig, count, judges| {
        Reference::new(kinds, config, None, data(0, count), judges).err().unwrap()
    };
    let default = MetricConfig::default();
    let twice = new(&[MetricKind::Frechet, MetricKind::Frechet], &default, 9, bench.judges());
    assert!(matches!(twice, EvaluationError::Repeated(MetricKind::Frechet)));
    for kind in MetricKind::ALL.into_iter().filter(|kind| kind.needs() != Needs::Nothing) {
        let error = new(&[kind], &default, 100, Judges::default());
        assert_eq!(error.to_string(), format!("{kind:?} needs {}", kind.needs()));
    }
    let few = new(&[MetricKind::Density], &default, 5, bench.judges());
    assert_eq!(few.to_string(), "5 reference images for Density, which needs at least 6");
    let bad = MetricConfig { kid_groups: 0, projections: 0, ..Default::default() };
    let error = new(&[], &bad, 5, bench.judges()).to_string();
    assert_eq!(
        error,
        "metric settings: kid_groups is 0, but must be 2 to 10000; projections is 0, but must be 1 to 1048576"
    );
}

#[test]
fn broken_samples_are_counted_and_the_first_is_named() {
    let bench = Bench::new();
    let reference = bench.reference(&MetricConfig::default());
    let seeds = image_seeds(0, 50);
    let broken = [seeds[12], seeds[40]];
    let sampler = Draw::new(bench.pixels.shape, |seed, image| {
        image[1] = if broken.contains(&seed) { f32::NAN } else { 0.5 };
    });
    let error = evaluate(&reference, &sampler, 50, 0, &mut go_on).unwrap_err();
    assert_eq!(error.to_string(), "2 of 50 samples hold infinite or NaN values, the first is number 12");
    let infinite = data(0, 30).map(|_| f32::INFINITY);
    let error =
        Reference::new(&[], &MetricConfig::default(), None, infinite, Judges::default()).err().unwrap();
    assert!(matches!(
        error,
        EvaluationError::NotFinite { what: "reference images", images: 30, first: 0, .. }
    ));
}

#[test]
fn answers_of_the_wrong_size_are_refused() {
    /// Claims one feature more than it gives, or gives one row too few.
    struct Short(Pixels, bool);
    impl ActivationExtractor for Short {
        fn dim(&self) -> usize {
            self.0.dim() + usize::from(self.1)
        }
        fn spatial_dim(&self) -> Option<usize> {
            None
        }
        fn classes(&self) -> Option<usize> {
            None
        }
        fn activations(&self, images: &ImageBatch) -> Result<Activations, ModelError> {
            self.0.activations(&images.slice(usize::from(!self.1)..images.count()))
        }
    }
    /// Draws one image whatever it is asked for.
    struct One(ImageShape);
    impl Sampler for One {
        fn shape(&self) -> ImageShape {
            self.0
        }
        fn sample(&self, _: &[u64]) -> Result<ImageBatch, ModelError> {
            Ok(ImageBatch::zeros(self.0, 1))
        }
        fn evaluations(&self) -> usize {
            1
        }
    }
    let bench = Bench::new();
    let config = MetricConfig::default();
    for (of_columns, told) in [
        (true, "2 features in a row, but 3 in the rows compared with"),
        (false, "8 rows are compared one by one with 9"),
    ] {
        let short = Short(bench.pixels, of_columns);
        let judges = Judges { extractor: Some(&short), ..Default::default() };
        let error = Reference::new(&[MetricKind::Frechet], &config, None, data(0, 9), judges).err().unwrap();
        assert_eq!(error.to_string(), told);
    }
    let reference = bench.reference(&config);
    let error = evaluate(&reference, &One(bench.pixels.shape), 30, 0, &mut go_on).unwrap_err();
    assert!(matches!(error, EvaluationError::Answer { given: (1, 2), expected: (30, 2), .. }), "{error}");
    assert!(reference.score(&data(0, 30), Some(&[1, 2])).is_err(), "one seed for each image");
}
