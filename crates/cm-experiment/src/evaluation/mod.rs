//! Sets of images evaluated against each other, comparably with the literature: `cm evaluate`, `cm stats`, `cm lpips`.
//!
//! A set is an npz file, a folder of pictures, a data set, or a file of statistics that another program wrote. It is
//! passed through a network once, in batches, and only sums are kept, and the features of every image where a metric
//! needs them. Every number comes with a [`Card`]. Deliberately absent: drawing samples (`cm sample`).

mod activation_cache;
mod card;
mod image_source;
mod judge;
mod npz_reader;
mod perceptual;
mod side;
mod statistics;
mod statistics_file;
mod weights_file;

pub use card::{Card, FeatureCard, MetricCard, SetCard};
pub use image_source::ImageSource;
pub use judge::FeatureChoice;
pub(crate) use judge::load_inception;
pub(crate) use perceptual::load_lpips;
pub use perceptual::{Perceptual, PerceptualRequest, perceptual};
pub use statistics::{StatsRequest, write_statistics};

// Who asks for an evaluation needs these, and reaches them from here.
pub use cm_evaluator::{InceptionResize, SetMetric};
pub use cm_network::feature_net::{LpipsOptions, LpipsPooling, LpipsResize, LpipsTrunk, LpipsVersion};

use crate::durable;
use crate::error::RunError;
use crate::progress::Progress;
use crate::request::{Problems, make_folder};
use crate::stop::StopFlag;
use cm_evaluator::{ComparisonError, MetricConfig, SetPart, compare};
use cm_image::ImageShape;
use image_source::ImageStream;
use judge::Judge;
use side::{Pass, Side};
use std::path::{Path, PathBuf};

/// What is to be compared with what.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluateRequest {
    /// The samples, as typed.
    pub samples: String,
    /// What they are compared with, as typed.
    pub reference: String,
    /// What by, as typed.
    pub features: String,
    /// How images come to the size of an Inception network.
    pub resize: InceptionResize,
    /// Whether features are put on the reference's scale first.
    pub standardised: bool,
    /// Which metrics. None: all that can be had of the two sets.
    pub metrics: Option<Vec<SetMetric>>,
    /// Images in a split of the class score, at least 1.
    pub split: usize,
    /// k of precision and recall, at least 1.
    pub neighbours: usize,
    /// Images at a time, at least 1.
    pub batch: usize,
    /// A folder where activations are kept, so that work that was broken off goes on.
    pub cache: Option<PathBuf>,
    /// A folder for the card.
    pub out: Option<PathBuf>,
}

/// The features that were asked for.
fn features(text: &str, problems: &mut Problems) -> Option<FeatureChoice> {
    FeatureChoice::parse(text)
        .map_err(|message| problems.add("--features", message, "inception:FILE, classifier, pixels"))
        .ok()
}

/// Compares samples with a reference; nothing if it was asked to stop.
///
/// # Errors
/// [`RunError`] if what was typed cannot be, files are not what they should be, or a metric has no value.
pub fn evaluate_sets(
    request: &EvaluateRequest,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<Option<Card>, RunError> {
    let mut problems = Problems::default();
    let choice = features(&request.features, &mut problems);
    let channels = choice.as_ref().and_then(FeatureChoice::channels);
    let samples = Side::open("--samples", &request.samples, channels, &mut problems)?;
    let reference = Side::open("--reference", &request.reference, channels, &mut problems)?;
    let (Some(choice), Some(samples), Some(reference)) = (choice, samples, reference) else {
        return problems.check().map(|()| None);
    };
    // Without images on either side nothing is left of the network but its name; any shape will do for it.
    let nothing = ImageShape::new(8, 8, channels.unwrap_or(1));
    let judge = choice.build(samples.shape().or(reference.shape()).unwrap_or(nothing), request.resize)?;
    for (option, side) in [("--samples", &samples), ("--reference", &reference)] {
        if let Some(file) = &side.statistics
            && let Err(message) = file.fits(&judge.card)
        {
            problems.add(option, message, "statistics by the same features, resized in the same way");
        }
    }
    if let (FeatureChoice::Pixels | FeatureChoice::Classifier, Some(a), Some(b)) =
        (&choice, samples.shape(), reference.shape())
        && a != b
    {
        problems.add("--reference", format!("images of {b} are compared with samples of {a}"), "one shape");
    }
    let config = MetricConfig { neighbours: request.neighbours, ..MetricConfig::default() };
    let metrics = chosen(request, &samples, &reference, &judge, &config, &mut problems);
    problems.check()?;
    let pass = Pass { split: request.split, batch: request.batch, cache: request.cache.as_deref() };
    let of_samples: Vec<SetPart> = metrics.iter().map(|metric| metric.needs().0).collect();
    let of_reference: Vec<SetPart> = metrics.iter().filter_map(|metric| metric.needs().1).collect();
    let (sample_card, reference_card) = (samples.card(), reference.card());
    let Some(mut samples) = samples.summarise("samples", &judge, &of_samples, &pass, stop, progress)? else {
        return Ok(None);
    };
    let Some(mut reference) =
        reference.summarise("reference", &judge, &of_reference, &pass, stop, progress)?
    else {
        return Ok(None);
    };
    let failed = |error: ComparisonError| RunError::failed("comparing the two sets", error);
    if request.standardised
        && let Some(scale) = reference.statistics.clone()
    {
        samples = samples.standardised(&scale).map_err(failed)?;
        reference = reference.standardised(&scale).map_err(failed)?;
    }
    progress.phase("metrics", 0);
    let scores = compare(&metrics, &samples, &reference, &config).map_err(failed)?;
    progress.finish_phase();
    let card = Card::new(
        &scores,
        sample_card,
        reference_card,
        judge.card,
        &config,
        request.split,
        request.standardised,
    );
    if let Some(folder) = &request.out {
        write_card(folder, &card)?;
    }
    Ok(Some(card))
}

/// The metrics that were asked for, or all that can be had. What was asked for and cannot be is a problem.
fn chosen(
    request: &EvaluateRequest,
    samples: &Side,
    reference: &Side,
    judge: &Judge,
    config: &MetricConfig,
    problems: &mut Problems,
) -> Vec<SetMetric> {
    let mut told = |metric: SetMetric, message: String, allowed: &str| {
        if request.metrics.is_some() {
            problems.add("--metrics", format!("{}: {message}", metric.name(false)), allowed);
        }
    };
    let mut metrics = Vec::new();
    for metric in request.metrics.clone().unwrap_or_else(|| SetMetric::ALL.to_vec()) {
        let (of_samples, of_reference) = metric.needs();
        let sides = [("samples", samples, Some(of_samples)), ("reference", reference, of_reference)];
        let mut possible = true;
        for (name, side, part) in sides {
            let Some(part) = part else { continue };
            if !side.has(part, judge) {
                let why = side.why_not(part);
                told(metric, format!("the {name} {why}"), "metrics that can be had of both sets");
                possible = false;
            } else if let Some(count) = side.images.as_ref().map(ImageStream::count) {
                let least = metric.min_images(config);
                if count < least {
                    told(metric, format!("{count} images of the {name}"), &format!("at least {least}"));
                    possible = false;
                }
            }
        }
        if possible && !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    if metrics.is_empty() {
        problems.add(
            "--metrics",
            "no metric can be had of these two sets",
            "at least two images on each side",
        );
    }
    metrics
}

/// Writes `evaluation.md`, `.json` and `.csv`.
fn write_card(folder: &Path, card: &Card) -> Result<(), RunError> {
    make_folder(folder)?;
    let csv = card.csv().map_err(|error| RunError::failed("the card as CSV", error))?;
    for (name, bytes) in
        [("md", card.markdown().into_bytes()), ("json", card.json().into_bytes()), ("csv", csv)]
    {
        let path = folder.join(format!("evaluation.{name}"));
        durable::write(&path, &bytes).map_err(RunError::file(&path))?;
    }
    Ok(())
}
