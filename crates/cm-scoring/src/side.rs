//! One side of a comparison: what was typed, opened, and passed through a network.

use crate::activation_cache::ActivationCache;
use crate::card::SetCard;
use crate::error::ScoringError;
use crate::image_source::{ImageSource, ImageStream};
use crate::judge::Judge;
use crate::statistics_file::StatisticsFile;
use cm_evaluator::{Activations, ComparisonError, SetCollector, SetPart, SetSummary};
use cm_host::{Progress, StopFlag};
use cm_image::ImageShape;
use cm_study::Problems;
use std::path::Path;

/// One side of a comparison, before any image was looked at.
pub(crate) struct Side {
    pub(crate) source: String,
    pub(crate) origin: ImageSource,
    pub(crate) statistics: Option<StatisticsFile>,
    pub(crate) images: Option<ImageStream>,
}

impl Side {
    /// Opens what was typed after `option`; what is wrong with it is added to `problems`.
    pub(crate) fn open(
        option: &str,
        text: &str,
        channels: Option<usize>,
        problems: &mut Problems,
    ) -> Result<Option<Self>, ScoringError> {
        let source = match ImageSource::parse(text) {
            Ok(source) => source,
            Err(message) => {
                problems.add(
                    option,
                    message,
                    "a .npz file, a folder of PNG, JPEG or WebP files, dataset:RON[@train|@test]",
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

    pub(crate) fn shape(&self) -> Option<ImageShape> {
        self.images.as_ref().map(ImageStream::shape)
    }

    pub(crate) fn has(&self, part: SetPart, judge: &Judge) -> bool {
        let images = self.images.is_some();
        match part {
            SetPart::Statistics => images || self.statistics.is_some(),
            SetPart::SpatialStatistics => {
                judge.extractor.spatial_dim().is_some() && images
                    || self.statistics.as_ref().is_some_and(|file| file.spatial.is_some())
            }
            SetPart::Rows => images,
            SetPart::ClassScore | SetPart::Classes => images && judge.extractor.classes().is_some(),
        }
    }

    /// Why a part is not there.
    pub(crate) fn why_not(&self, part: SetPart) -> &'static str {
        if self.images.is_none() {
            return "is a file of statistics without images";
        }
        match part {
            SetPart::SpatialStatistics => "has no spatial features by this network",
            SetPart::ClassScore | SetPart::Classes => "has no classes by these features",
            SetPart::Statistics | SetPart::Rows => "lacks what it needs",
        }
    }

    pub(crate) fn card(&self) -> SetCard {
        let images = self.images.as_ref().map(ImageStream::count);
        let shape = self.shape().map(|shape| [shape.height, shape.width, shape.channels]);
        let of_file = self.statistics.as_ref().and_then(|file| file.pooled.count());
        SetCard {
            source: self.source.clone(),
            images: of_file.or(images),
            shape,
            statistics_from_file: self.statistics.is_some(),
            quantisation: (self.images.as_ref())
                .map_or("unknown: statistics of a file".to_owned(), ImageStream::quantisation),
            drawn: self.images.as_ref().and_then(|images| images.drawn().cloned()),
        }
    }

    /// Looks at all images, as far as anything is wanted of them; nothing if it was asked to stop.
    pub(crate) fn summarise(
        self,
        name: &str,
        judge: &Judge,
        parts: &[SetPart],
        pass: &Pass<'_>,
        stop: &StopFlag,
        progress: &mut dyn Progress,
    ) -> Result<Option<SetSummary>, ScoringError> {
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
pub(crate) struct Pass<'a> {
    /// Images in a split of the class score.
    pub(crate) split: usize,
    /// Images at a time.
    pub(crate) batch: usize,
    /// Where activations are kept, if they are.
    pub(crate) cache: Option<&'a Path>,
}

/// Passes images through the judge's network.
pub(crate) fn collect(
    (origin, mut images): (&ImageSource, ImageStream),
    name: &str,
    judge: &Judge,
    parts: &[SetPart],
    pass: &Pass<'_>,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<Option<SetSummary>, ScoringError> {
    let failed = |error: ComparisonError| ScoringError::failed(format!("features of the {name}"), error);
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
