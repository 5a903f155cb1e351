//! From a sampler to scores: draw images, compare them with a reference.
//!
//! What the metrics need of the reference images (features, their statistics, neighbours' distances, classes) is
//! computed once, in [`Reference::new`], and serves any number of samplers. Everything that can be refused (a
//! metric without what it needs, too few images) is refused before the first image is drawn.

#[cfg(test)]
mod delivered;
mod diversity;
mod network;
mod reference;
mod scoring;
#[cfg(test)]
mod tests;

pub use diversity::Diversity;
pub use network::NetworkReference;
pub use reference::{ExactEndpoint, ExactModes, Judges, Reference};

use crate::comparison::ComparisonError;
use crate::features::not_finite;
use crate::metric::{MetricConfig, MetricConfigError, MetricError, MetricKind, Needs};
use crate::report::Score;
use cm_diffusion::noise::batch_noise;
use cm_diffusion::{ModelError, Sampler};
use cm_image::random::derive_seed;
use cm_image::{ImageBatch, ImageShape};
use std::ops::{ControlFlow, Range};

/// Why there are no scores.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    /// The settings are wrong; all problems.
    #[error("metric settings: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<MetricConfigError>),
    /// A metric is asked for twice.
    #[error("{0:?} is asked for twice")]
    Repeated(MetricKind),
    /// A metric lacks what it needs.
    #[error("{kind:?} needs {needs}")]
    Missing {
        /// The metric.
        kind: MetricKind,
        /// What it needs.
        needs: Needs,
    },
    /// Too few images for a metric.
    #[error("{given} {what} for {kind:?}, which needs at least {needed}")]
    TooFew {
        /// The metric.
        kind: MetricKind,
        /// Samples or reference images.
        what: &'static str,
        /// How many there are.
        given: usize,
        /// How many it needs.
        needed: usize,
    },
    /// Samples and reference images have different shapes.
    #[error("samples of {samples} are compared with images of {reference}")]
    Shape {
        /// Shape of the samples.
        samples: ImageShape,
        /// Shape of the reference images.
        reference: ImageShape,
    },
    /// Images that hold infinite or NaN values.
    #[error("{images} of {of} {what} hold infinite or NaN values, the first is number {first}")]
    NotFinite {
        /// Samples or reference images.
        what: &'static str,
        /// How many are not finite.
        images: usize,
        /// How many there are.
        of: usize,
        /// The first of them, counted from 0.
        first: usize,
    },
    /// An extractor, classifier or sampler gave another number of rows or columns than it should.
    #[error("the {what} returned {given:?} rows and columns where {expected:?} were expected")]
    Answer {
        /// Who.
        what: &'static str,
        /// What it returned.
        given: (usize, usize),
        /// What it should have returned.
        expected: (usize, usize),
    },
    /// Drawing, or a pass through a network, was broken off.
    #[error("stopped while samples were drawn or looked at")]
    Stopped,
    /// A model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A metric failed.
    #[error("{kind:?}: {source}")]
    Metric {
        /// The metric.
        kind: MetricKind,
        /// Why.
        source: MetricError,
    },
    /// A metric on features or classes failed.
    #[error(transparent)]
    Comparison(#[from] ComparisonError),
}

/// A further network by which samples are scored, beside a study's own judge.
pub trait SampleScorer {
    /// Which network it is, for people.
    fn network(&self) -> &'static str;

    /// Scores of `images` as they are; `progress(done, of)` is called after each batch and may break off.
    ///
    /// # Errors
    /// [`EvaluationError::Stopped`] if it did, [`EvaluationError::NotFinite`], [`EvaluationError::Comparison`] if the
    /// network or a metric fails.
    fn score(
        &self,
        images: &ImageBatch,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Vec<Score>, EvaluationError>;
}

/// The seeds of the images of a run: [`derive_seed`] of `seed` and the image's number.
pub fn image_seeds(seed: u64, count: usize) -> Vec<u64> {
    (0..count as u64).map(|index| derive_seed(seed, index)).collect()
}

/// Draws one image for each seed, `batch` at a time; `progress(drawn, of)` is called after each batch and may break
/// off.
///
/// # Errors
/// [`EvaluationError::Stopped`] if it did, [`EvaluationError::Model`] if the sampler fails, [`EvaluationError::Answer`] if it does not return the images it
/// was asked for.
///
/// # Panics
/// If `batch` is 0.
pub fn draw(
    sampler: &dyn Sampler,
    seeds: &[u64],
    batch: usize,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<ImageBatch, EvaluationError> {
    let shape = sampler.shape();
    let mut images = ImageBatch::zeros(shape, 0);
    for seeds_of_batch in seeds.chunks(batch) {
        let drawn = sampler.sample(seeds_of_batch)?;
        check_answer("sampler", (drawn.count(), drawn.shape().len()), (seeds_of_batch.len(), shape.len()))?;
        images.append(&drawn);
        if progress(images.count(), seeds.len()).is_break() {
            return Err(EvaluationError::Stopped);
        }
    }
    Ok(images)
}

/// Draws `samples` images ([`image_seeds`] of `seed`), makes of them what is delivered ([`Reference::new`]'s rule), and
/// scores them; `progress(drawn, of)` is called as they come and may break off.
///
/// The same seed and number of samples give the same noise to every sampler, so that their scores compare.
///
/// # Errors
/// [`EvaluationError`]; too few samples for a metric, or another shape, before anything is drawn.
pub fn evaluate(
    reference: &Reference,
    sampler: &dyn Sampler,
    samples: usize,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Vec<Score>, EvaluationError> {
    let images = draw_delivered(reference, sampler, samples, seed, progress)?;
    reference.score(&images, Some(&image_seeds(seed, samples)))
}

/// The images that [`evaluate`] scores: drawn, and made what is delivered.
///
/// # Errors
/// As [`evaluate`].
pub fn draw_delivered(
    reference: &Reference,
    sampler: &dyn Sampler,
    samples: usize,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<ImageBatch, EvaluationError> {
    reference.check(sampler.shape(), samples)?;
    let images = draw(sampler, &image_seeds(seed, samples), reference.config().batch, progress)?;
    check_finite(&images, "samples")?;
    Ok(reference.delivered(images))
}

/// The scores of held-out data, such as the test split against a reference of the training split: what a model that
/// draws from the data's law would reach with that many samples. [`MetricKind::EndpointRmse`] is left out.
///
/// # Errors
/// As [`Reference::score`].
pub fn floor(reference: &Reference, held_out: ImageBatch) -> Result<Vec<Score>, EvaluationError> {
    check_finite(&held_out, "samples")?;
    reference.score(&reference.as_data(held_out), None)
}

/// Refuses fewer images than some metric needs.
fn check_count(
    kinds: &[MetricKind],
    config: &MetricConfig,
    what: &'static str,
    given: usize,
) -> Result<(), EvaluationError> {
    for &kind in kinds {
        let needed = kind.min_images(config);
        if given < needed {
            return Err(EvaluationError::TooFew { kind, what, given, needed });
        }
    }
    Ok(())
}

/// Refuses images that are not finite.
fn check_finite(images: &ImageBatch, what: &'static str) -> Result<(), EvaluationError> {
    match not_finite(images.values(), images.shape().len()) {
        Some((rows, first)) => {
            Err(EvaluationError::NotFinite { what, images: rows, of: images.count(), first })
        }
        None => Ok(()),
    }
}

/// Refuses an answer of other rows and columns than expected.
fn check_answer(
    what: &'static str,
    given: (usize, usize),
    expected: (usize, usize),
) -> Result<(), EvaluationError> {
    if given == expected { Ok(()) } else { Err(EvaluationError::Answer { what, given, expected }) }
}

/// Ranges of at most `batch` images.
fn batches(count: usize, batch: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(batch).map(move |from| from..(from + batch).min(count))
}

/// Where the noise of each seed should end, by batches.
fn exact_endpoints(
    endpoint: ExactEndpoint,
    shape: ImageShape,
    seeds: &[u64],
    batch: usize,
) -> Result<ImageBatch, EvaluationError> {
    let ExactEndpoint { function, sigma_max } = endpoint;
    let mut ends = ImageBatch::zeros(shape, 0);
    for seeds in seeds.chunks(batch) {
        let noise = batch_noise(shape, seeds, 0).map(|z| sigma_max.get() * z);
        let part = function.endpoint(&noise, &vec![sigma_max; seeds.len()], &[])?;
        check_answer("exact endpoint", (part.count(), part.shape().len()), (seeds.len(), shape.len()))?;
        ends.append(&part);
    }
    Ok(ends)
}
