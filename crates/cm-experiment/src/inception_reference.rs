//! What training images say by FID's Inception network, with which samples are compared.
//!
//! They pass through the network once for a study: mean and covariance, and the features of some, are kept in its
//! folder, under a name that differs where data, weights or resizing do, with a card that says what they are.
//! ```text
//! shared/inception-HASH/   statistics.npz  features.safetensors  card.json  manifest.json
//! ```
//! `statistics.npz` is such a file as `cm stats` writes, and serves other studies of the same data as a reference.

use crate::assemble::Data;
use crate::error::{Halt, RunError};
use crate::sealed::{self, SealedFolder};
use crate::tensor_file::write_file;
use cm_evaluator::metric::Points;
use cm_evaluator::{
    ActivationExtractor, FeatureMatrix, InceptionJudge, MetricConfig, NetworkReference, RunningStatistics,
    SetMetric, SetSummary,
};
use cm_host::{FileError, Identity, Progress, Provenance, StopFlag, durable};
use cm_image::Quantisation;
use cm_scoring::{FeatureCard, StatisticsFile, inception};
use cm_study::{InceptionConfig, ReferenceConfig, to_ron};
use cm_tensor::TensorFile;
use serde::Serialize;
use std::path::Path;

/// Images that pass through the network at once: its first layers hold 3 MB of each.
const BATCH: usize = 32;
/// The files of a reference.
const FILES: [&str; 3] = [STATISTICS, FEATURES, CARD];
const STATISTICS: &str = "statistics.npz";
const FEATURES: &str = "features.safetensors";
const CARD: &str = "card.json";

/// The network from its file, and what a file says of the reference, if one does.
pub(crate) struct Inception<'a> {
    config: &'a InceptionConfig,
    judge: InceptionJudge,
    card: FeatureCard,
    statistics: Option<StatisticsFile>,
}

/// Whose training images, and where what they gave is kept.
pub(crate) struct Place<'a> {
    /// The data set, as a study has it.
    pub(crate) dataset: &'a str,
    /// The folder, if it is kept.
    pub(crate) folder: Option<&'a Path>,
}

impl<'a> Inception<'a> {
    /// Reads the files of `config`.
    ///
    /// # Errors
    /// [`RunError`] if one is not what it should be.
    pub(crate) fn open(config: &'a InceptionConfig) -> Result<Self, RunError> {
        let (judge, card) = inception(&config.weights, config.resize)?;
        let ReferenceConfig::Statistics(file) = &config.reference else {
            return Ok(Self { config, judge, card, statistics: None });
        };
        let path = &file.path;
        let damaged = |reason: &str| FileError::damaged(path, reason);
        let found = StatisticsFile::read(path)?.ok_or_else(|| damaged("it holds no array `mu`"))?;
        found.fits(&card).map_err(|reason| damaged(&reason))?;
        let spatial = config.metrics.contains(&SetMetric::SpatialFrechet);
        match (&found.spatial, judge.spatial_dim()) {
            (None, _) if spatial => {
                return Err(damaged("it holds no `mu_s` and `sigma_s`, which SpatialFrechet needs").into());
            }
            (Some(found), Some(dim)) if spatial && found.mean().len() != dim => {
                return Err(damaged("its spatial features are other ones than the network's").into());
            }
            (_, _) => {}
        }
        Ok(Self { config, judge, card, statistics: Some(found) })
    }

    /// What scores samples: by metrics that are set as `study`'s.
    pub(crate) fn reference(
        self,
        study: &MetricConfig,
        place: &Place,
        data: &Data,
        stop: &StopFlag,
        progress: &mut dyn Progress,
    ) -> Result<NetworkReference, Halt> {
        let mut summary = self.of_training_images(place, data, stop, progress)?;
        let Self { config, judge, card, statistics } = self;
        if let Some(file) = statistics {
            summary.statistics = Some(file.pooled);
            summary.spatial = file.spatial;
        }
        let metric = config.metric_config(study);
        let (named, passes) = ((card.published, config.resize), (config.split, BATCH));
        let reference =
            NetworkReference::new(Box::new(judge), &config.metrics, summary, &metric, named, passes);
        Ok(reference.map_err(|error| RunError::failed("preparing the Inception network's scores", error))?)
    }

    /// What the training images give by a network: read if it is there, worked out and kept if not.
    fn of_training_images(
        &self,
        place: &Place,
        data: &Data,
        stop: &StopFlag,
        progress: &mut dyn Progress,
    ) -> Result<SetSummary, Halt> {
        let Self { config, judge, card, .. } = self;
        let (taken, kept) = config.reference_images(data.train.len());
        if taken.is_empty() && kept.is_empty() {
            return Ok(SetSummary::default());
        }
        let sha256 = card.sha256.as_deref().unwrap_or_default();
        let decided_by = to_ron(&(place.dataset, sha256, config.resize, taken.len(), kept.len()));
        let hash = blake3::hash(decided_by.as_bytes()).to_hex();
        let folder = place.folder.map(|folder| folder.join(format!("inception-{}", &hash[..16])));
        if let Some(folder) = &folder
            && let Some(summary) = read(folder)?
        {
            return Ok(summary);
        }
        let (statistics, rows) = pass((&taken, &kept), judge, data, stop, progress)?;
        let card = ReferenceCard::new(place.dataset.to_owned(), (taken.len(), kept.len()), card.clone());
        match folder {
            Some(folder) => {
                write(&folder, statistics, rows, &card)?;
                let kept = read(&folder)?;
                Ok(kept
                    .ok_or_else(|| RunError::failed("the reference", "it was removed as it was written"))?)
            }
            None => summary(statistics, rows),
        }
    }
}

/// Mean and covariance of features and of spatial ones, as they are summed.
type Sums = Option<(RunningStatistics, RunningStatistics)>;

/// Passes training images through a network: those of which statistics are taken, and of them those whose features are
/// kept.
fn pass(
    (taken, kept): (&[usize], &[usize]),
    judge: &InceptionJudge,
    data: &Data,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<(Sums, Option<FeatureMatrix>), Halt> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        RunError::failed("the training images through the Inception network", error)
    };
    let mut sums = (!taken.is_empty()).then(|| {
        let spatial = judge.spatial_dim().unwrap_or(1);
        (RunningStatistics::new(judge.dim()), RunningStatistics::new(spatial))
    });
    let mut rows = FeatureMatrix::new(judge.dim(), Vec::new()).map_err(|error| failed(error.into()))?;
    let images = if taken.is_empty() { kept } else { taken };
    let mut next_kept = kept.iter().peekable();
    progress.phase("training images: through the Inception network", images.len() as u64);
    for numbers in images.chunks(BATCH) {
        if stop.is_requested() {
            return Err(Halt::Stopped);
        }
        let batch = Quantisation::Round.delivered(data.train.images(numbers).map_err(RunError::from)?);
        let activations = judge.activations(&batch).map_err(|error| failed(error.into()))?;
        if let (Some((pooled, spatial)), Some(placed)) = (&mut sums, &activations.spatial) {
            pooled.push(&activations.features).map_err(|error| failed(error.into()))?;
            spatial.push(placed).map_err(|error| failed(error.into()))?;
        }
        for (row, number) in numbers.iter().enumerate() {
            if next_kept.next_if_eq(&number).is_some() {
                let values = activations.features.row(row).to_vec();
                let row = FeatureMatrix::new(judge.dim(), values).map_err(|error| failed(error.into()))?;
                rows.append(&row);
            }
        }
        progress.advance(numbers.len() as u64, None);
    }
    progress.finish_phase();
    Ok((sums, (!kept.is_empty()).then_some(rows)))
}

/// What is known of the reference, from what was summed.
fn summary(sums: Sums, rows: Option<FeatureMatrix>) -> Result<SetSummary, Halt> {
    let failed = |error| RunError::failed("the statistics of the training images", error);
    let (pooled, spatial) = sums.unzip();
    let finish = |sums: RunningStatistics| sums.finish().map_err(failed);
    Ok(SetSummary {
        statistics: pooled.map(finish).transpose()?,
        spatial: spatial.map(finish).transpose()?,
        rows: rows.map(|rows| Points::new(&rows)).transpose().map_err(failed)?,
        ..SetSummary::default()
    })
}

/// What a reference is: which data, by which network, how many images, by which rule, by which program.
#[derive(Debug, Serialize)]
struct ReferenceCard {
    /// The data set, as a study has it; its training part.
    data: String,
    /// Images of which mean and covariance are.
    images: usize,
    /// Images whose features are kept.
    rows: usize,
    /// How values became the pixels that the network saw.
    quantisation: &'static str,
    features: FeatureCard,
    version: String,
    commit: String,
    instruction_set: String,
}

impl ReferenceCard {
    fn new(data: String, (images, rows): (usize, usize), features: FeatureCard) -> Self {
        let Provenance { version, commit, dirty, instruction_set, .. } = Provenance::of_this_process(0);
        let commit = if dirty == Some(true) { format!("{commit}, changed") } else { commit };
        let quantisation = Quantisation::Round.describe();
        Self { data, images, rows, quantisation, features, version, commit, instruction_set }
    }
}

/// Keeps a reference; its manifest is written last.
fn write(folder: &Path, sums: Sums, rows: Option<FeatureMatrix>, card: &ReferenceCard) -> Result<(), Halt> {
    durable::create_folders(folder).map_err(FileError::io(folder))?;
    let mut written = vec![CARD];
    let text = serde_json::to_string_pretty(card).expect("a card is text and numbers") + "\n";
    let path = folder.join(CARD);
    durable::write(&path, text.as_bytes()).map_err(FileError::io(&path))?;
    let known = summary(sums, None)?;
    if let Some(pooled) = &known.statistics {
        StatisticsFile::write(&folder.join(STATISTICS), pooled, known.spatial.as_ref(), &card.features)
            .map_err(RunError::from)?;
        written.push(STATISTICS);
    }
    if let Some(rows) = rows {
        let shape = vec![rows.rows(), rows.cols()];
        let file = TensorFile {
            arrays: vec![("features".into(), shape, rows.values().to_vec())],
            ..Default::default()
        };
        write_file(&folder.join(FEATURES), &file)?;
        written.push(FEATURES);
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    sealed::seal(folder, Identity::new("reference", &name, &name), &written)?;
    Ok(())
}

/// A reference that was kept; `None` if it was not, or not to its end.
fn read(folder: &Path) -> Result<Option<SetSummary>, RunError> {
    let sealed = SealedFolder::open(folder)?;
    if sealed.manifest().is_none() || FILES.iter().any(|file| sealed.is_sealed(file) && !sealed.has(file)) {
        return Ok(None);
    }
    let mut summary = SetSummary::default();
    if sealed.bytes(STATISTICS)?.is_some() {
        let file = StatisticsFile::read(&folder.join(STATISTICS))?;
        if let Some(file) = file {
            summary.statistics = Some(file.pooled);
            summary.spatial = file.spatial;
        }
    }
    if let Some(bytes) = sealed.bytes(FEATURES)? {
        let damaged = |reason: String| FileError::damaged(folder.join(FEATURES), reason);
        let file = TensorFile::decode(&bytes).map_err(|error| damaged(error.to_string()))?;
        let (_, shape, values) =
            file.arrays.into_iter().next().ok_or_else(|| damaged("it is empty".to_owned()))?;
        let rows = FeatureMatrix::new(shape.last().copied().unwrap_or(0), values)
            .map_err(|error| damaged(error.to_string()))?;
        summary.rows = Some(Points::new(&rows).map_err(|error| damaged(error.to_string()))?);
    }
    Ok(Some(summary))
}
