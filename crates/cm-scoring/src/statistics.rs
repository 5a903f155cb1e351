//! `cm stats`: the statistics of a set of images in a file.

use crate::card::FeatureCard;
use crate::error::ScoringError;
use crate::image_source::ImageSource;
use crate::judge::FeatureChoice;
use crate::side::{Pass, collect};
use crate::statistics_file::StatisticsFile;
use cm_evaluator::{InceptionResize, SetPart};
use cm_host::{Progress, StopFlag};
use cm_study::Problems;
use std::path::PathBuf;

/// Whose statistics are to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct StatsRequest {
    /// The images, as typed.
    pub images: String,
    /// What by, as typed.
    pub features: String,
    /// How images come to the size of an Inception network.
    pub resize: InceptionResize,
    /// Whether the spatial features are left out, as EDM's files have it.
    pub pooled_only: bool,
    /// Images at a time, at least 1.
    pub batch: usize,
    /// A folder where activations are kept, so that work that was broken off goes on.
    pub cache: Option<PathBuf>,
    /// The npz file to write.
    pub out: PathBuf,
}

/// Writes the statistics of a set of images; nothing if it was asked to stop.
///
/// # Errors
/// As [`evaluate_sets`](super::evaluate_sets).
pub fn write_statistics(
    request: &StatsRequest,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<Option<FeatureCard>, ScoringError> {
    let mut problems = Problems::default();
    let choice = FeatureChoice::asked_for(&request.features, &mut problems);
    let source = ImageSource::parse(&request.images)
        .map_err(|message| {
            problems.add(
                "IMAGES",
                message,
                "a .npz file, a folder of PNG, JPEG or WebP files, dataset:RON[@train|@test]",
            );
        })
        .ok();
    let (Some(choice), Some(source)) = (choice, source) else {
        problems.check()?;
        return Ok(None);
    };
    let images = source.open(choice.channels())?;
    let (count, shape) = (images.count(), images.shape());
    if count < 2 {
        problems.add("IMAGES", format!("{count} image has no covariance"), "at least 2");
    }
    problems.check()?;
    let judge = choice.build(shape, request.resize)?;
    let pass = Pass { split: 1, batch: request.batch, cache: request.cache.as_deref() };
    let parts: &[SetPart] = if request.pooled_only { &[] } else { &[SetPart::SpatialStatistics] };
    let Some(summary) = collect((&source, images), "images", &judge, parts, &pass, stop, progress)? else {
        return Ok(None);
    };
    let pooled =
        summary.statistics.ok_or_else(|| ScoringError::failed("the statistics", "there are none"))?;
    StatisticsFile::write(&request.out, &pooled, summary.spatial.as_ref(), &judge.card)?;
    Ok(Some(judge.card))
}
