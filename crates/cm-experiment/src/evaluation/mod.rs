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
mod statistics_file;
mod weights_file;

pub use card::{Card, FeatureCard, MetricCard, SetCard};
pub use image_source::ImageSource;
pub use judge::FeatureChoice;
pub(crate) use judge::load_inception;
pub(crate) use perceptual::load_lpips;
pub use perceptual::{Perceptual, PerceptualRequest, perceptual};

// Who asks for an evaluation needs these, and reaches them from here.
pub use cm_evaluator::{InceptionResize, SetMetric};
pub use cm_network::feature_net::{LpipsOptions, LpipsPooling, LpipsResize, LpipsTrunk, LpipsVersion};

use crate::durable;
use crate::error::RunError;
use crate::progress::Progress;
use crate::request::{Problems, make_folder};
use crate::stop::StopFlag;
use activation_cache::ActivationCache;
use cm_evaluator::{Activations, ComparisonError, MetricConfig, SetCollector, SetPart, SetSummary, compare};
use cm_image::ImageShape;
use image_source::ImageStream;
use judge::Judge;
use statistics_file::StatisticsFile;
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

/// One side of a comparison, before any image was looked at.
struct Side {
    source: String,
    origin: ImageSource,
    statistics: Option<StatisticsFile>,
    images: Option<ImageStream>,
}

impl Side {
    /// Opens what was typed after `option`; what is wrong with it is added to `problems`.
    fn open(
        option: &str,
        text: &str,
        channels: Option<usize>,
        problems: &mut Problems,
    ) -> Result<Option<Self>, RunError> {
        let source = match ImageSource::parse(text) {
            Ok(source) => source,
            Err(message) => {
                problems.add(
                    option,
                    message,
                    "a .npz file, a folder of PNG files, dataset:RON[@train|@test]",
                );
                return Ok(None);
            }
        };
        let statistics = match &source {
            ImageSource::Npz(path) => StatisticsFile::read(path)?,
            ImageSource::Folder(_) | ImageSource::Dataset(_, _) => None,
        };
        let images = match &statistics {
            // A file may hold images besides its statistics; then it serves every metric.
            Some(file) if !file.has_images => None,
            Some(_) | None => Some(source.open(channels)?),
        };
        Ok(Some(Self { source: text.to_owned(), origin: source, statistics, images }))
    }

    fn shape(&self) -> Option<ImageShape> {
        self.images.as_ref().map(ImageStream::shape)
    }

    fn has(&self, part: SetPart, judge: &Judge) -> bool {
        let images = self.images.is_some();
        match part {
            SetPart::Statistics => images || self.statistics.is_some(),
            SetPart::SpatialStatistics => {
                judge.extractor.spatial_dim().is_some() && images
                    || self.statistics.as_ref().is_some_and(|file| file.spatial.is_some())
            }
            SetPart::Rows => images,
            SetPart::ClassScore => images && judge.extractor.classes().is_some(),
        }
    }

    /// Why a part is not there.
    fn why_not(&self, part: SetPart) -> &'static str {
        if self.images.is_none() {
            return "is a file of statistics without images";
        }
        match part {
            SetPart::SpatialStatistics => "has no spatial features by this network",
            SetPart::ClassScore => "has no classes by these features",
            SetPart::Statistics | SetPart::Rows => "lacks what it needs",
        }
    }

    fn card(&self) -> SetCard {
        let images = self.images.as_ref().map(ImageStream::count);
        let shape = self.shape().map(|shape| [shape.height, shape.width, shape.channels]);
        let of_file = self.statistics.as_ref().and_then(|file| file.pooled.count());
        SetCard {
            source: self.source.clone(),
            images: of_file.or(images),
            shape,
            statistics_from_file: self.statistics.is_some(),
        }
    }

    /// Looks at all images, as far as anything is wanted of them; nothing if it was asked to stop.
    fn summarise(
        self,
        name: &str,
        judge: &Judge,
        parts: &[SetPart],
        pass: &Pass<'_>,
        stop: &StopFlag,
        progress: &mut dyn Progress,
    ) -> Result<Option<SetSummary>, RunError> {
        let Self { statistics, images, origin, .. } = self;
        let enough = statistics.is_some()
            && parts.iter().all(|part| matches!(part, SetPart::Statistics | SetPart::SpatialStatistics));
        let mut summary = match images {
            Some(images) if !enough => {
                match collect((&origin, images), name, judge, parts, pass, stop, progress)? {
                    Some(summary) => summary,
                    None => return Ok(None),
                }
            }
            Some(_) | None => SetSummary::default(),
        };
        if let Some(file) = statistics {
            summary.statistics = Some(file.pooled);
            summary.spatial = file.spatial.or(summary.spatial);
        }
        Ok(Some(summary))
    }
}

/// How a set is passed through a network.
struct Pass<'a> {
    /// Images in a split of the class score.
    split: usize,
    /// Images at a time.
    batch: usize,
    /// Where activations are kept, if they are.
    cache: Option<&'a Path>,
}

/// Passes images through the judge's network.
fn collect(
    (origin, mut images): (&ImageSource, ImageStream),
    name: &str,
    judge: &Judge,
    parts: &[SetPart],
    pass: &Pass<'_>,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<Option<SetSummary>, RunError> {
    let failed = |error: ComparisonError| RunError::failed(format!("features of the {name}"), error);
    let extractor = judge.extractor.as_ref();
    let mut collector = SetCollector::new(extractor, parts, pass.split);
    progress.phase(&format!("features of the {name}"), images.count() as u64);
    let mut cache = match pass.cache {
        None => None,
        Some(folder) => {
            let fingerprint = format!("{} {}", origin.fingerprint()?, images.shape());
            let push = &mut |part: &Activations| collector.push_activations(part).map_err(failed);
            let cache = ActivationCache::open(folder, &fingerprint, &judge.card, extractor, push)?;
            if collector.count() > 0 {
                let count = collector.count();
                progress.note(&format!("{count} images of the {name} were passed through before"));
            }
            Some(cache)
        }
    };
    images.skip(collector.count())?;
    progress.advance(collector.count() as u64, None);
    while let Some(part) = images.next_batch(pass.batch)? {
        let activations = extractor.activations(&part).map_err(|error| failed(error.into()))?;
        collector.push_activations(&activations).map_err(failed)?;
        if let Some(cache) = &mut cache {
            cache.append(&activations)?;
        }
        progress.advance(part.count() as u64, None);
        if stop.is_requested() {
            progress.finish_phase();
            return Ok(None);
        }
    }
    progress.finish_phase();
    collector.finish().map(Some).map_err(failed)
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

/// Writes the statistics of a set of images; nothing if it was asked to stop.
///
/// # Errors
/// As [`evaluate_sets`].
pub fn write_statistics(
    request: &StatsRequest,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<Option<FeatureCard>, RunError> {
    let mut problems = Problems::default();
    let choice = features(&request.features, &mut problems);
    let source = ImageSource::parse(&request.images)
        .map_err(|message| {
            problems.add("IMAGES", message, "a .npz file, a folder of PNG files, dataset:RON[@train|@test]");
        })
        .ok();
    let (Some(choice), Some(source)) = (choice, source) else { return problems.check().map(|()| None) };
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
    let pooled = summary.statistics.ok_or_else(|| RunError::failed("the statistics", "there are none"))?;
    statistics_file::write(&request.out, &pooled, summary.spatial.as_ref(), &judge.card)?;
    Ok(Some(judge.card))
}
