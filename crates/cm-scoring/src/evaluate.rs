//! One set of images against another by some metrics: `cm evaluate`.

use crate::card::Card;
use crate::error::ScoringError;
use crate::image_source::ImageStream;
use crate::judge::{FeatureChoice, Judge};
use crate::side::{Pass, Side};
use cm_evaluator::{
    ComparisonError, FeatureScaling, InceptionResize, MetricConfig, SetMetric, SetPart, compare,
};
use cm_host::{FileError, Progress, ResultFolder, StopFlag, durable};
use cm_image::ImageShape;
use cm_study::Problems;
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
    /// On which scale features are compared. None: [`FeatureChoice::scaling`]'s.
    pub scaling: Option<FeatureScaling>,
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

/// Compares samples with a reference; nothing if it was asked to stop.
///
/// # Errors
/// [`ScoringError`] if what was typed cannot be, files are not what they should be, or a metric has no value.
pub fn evaluate_sets(
    request: &EvaluateRequest,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<Option<Card>, ScoringError> {
    let mut problems = Problems::default();
    let choice = FeatureChoice::asked_for(&request.features, &mut problems);
    let channels = choice.as_ref().and_then(FeatureChoice::channels);
    let samples = Side::open("--samples", &request.samples, channels, &mut problems)?;
    let reference = Side::open("--reference", &request.reference, channels, &mut problems)?;
    let (Some(choice), Some(samples), Some(reference)) = (choice, samples, reference) else {
        problems.check()?;
        return Ok(None);
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
    if let (FeatureChoice::Pixels | FeatureChoice::Classifier | FeatureChoice::Judge(_), Some(a), Some(b)) =
        (&choice, samples.shape(), reference.shape())
        && a != b
    {
        problems.add("--reference", format!("images of {b} are compared with samples of {a}"), "one shape");
    }
    let scaling = request.scaling.unwrap_or_else(|| choice.scaling());
    let config = MetricConfig { neighbours: request.neighbours, scaling, ..MetricConfig::default() };
    let metrics = chosen(request, &choice, (&samples, &reference), &judge, &config, &mut problems);
    problems.check()?;
    let pass = Pass { split: request.split, batch: request.batch, cache: request.cache.as_deref() };
    let of_samples: Vec<SetPart> = metrics.iter().map(|metric| metric.needs().0).collect();
    let of_reference: Vec<SetPart> = metrics.iter().filter_map(|metric| metric.needs().1).collect();
    let (sample_card, reference_card) = (samples.card(), reference.card());
    let Some(samples) = samples.summarise("samples", &judge, &of_samples, &pass, stop, progress)? else {
        return Ok(None);
    };
    let Some(reference) = reference.summarise("reference", &judge, &of_reference, &pass, stop, progress)?
    else {
        return Ok(None);
    };
    let failed = |error: ComparisonError| ScoringError::failed("comparing the two sets", error);
    progress.phase("metrics", 0);
    let scores = compare(&metrics, samples, reference, &config).map_err(failed)?;
    progress.finish_phase();
    let card = Card::new(&scores, sample_card, reference_card, judge.card, &config, request.split);
    if let Some(folder) = &request.out {
        write_card(folder, &card)?;
    }
    Ok(Some(card))
}

/// The metrics that were asked for, or all that can be had. What was asked for and cannot be is a problem.
fn chosen(
    request: &EvaluateRequest,
    choice: &FeatureChoice,
    (samples, reference): (&Side, &Side),
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
    let usual = || SetMetric::ALL.into_iter().filter(|&metric| choice.is_usual(metric)).collect();
    for metric in request.metrics.clone().unwrap_or_else(usual) {
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
fn write_card(folder: &Path, card: &Card) -> Result<(), ScoringError> {
    let files = ["evaluation.md", "evaluation.json", "evaluation.csv"];
    let results = ResultFolder::new(folder, &files)?;
    let csv = card.csv().map_err(|error| ScoringError::failed("the card as CSV", error))?;
    for (name, bytes) in files.into_iter().zip([card.markdown().into_bytes(), card.json().into_bytes(), csv])
    {
        let path = folder.join(name);
        durable::write(&path, &bytes).map_err(FileError::io(&path))?;
    }
    results.keep();
    Ok(())
}
