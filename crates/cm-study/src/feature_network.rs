//! Networks of features by which samples are scored beside the study's own judge, as the literature does. Deliberately
//! absent: the networks (`cm-network`) and scoring with them (the runner's).

use crate::check_lpips;
use crate::problem::Problem;
use cm_consistency::LpipsConfig;
use cm_datasets::{DatasetConfig, Split};
use cm_evaluator::{Diversity, FeatureScaling, InceptionResize, MetricConfig, SetMetric, SetPart};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A network of features, with what is computed by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum FeatureNetworkConfig {
    /// FID's Inception network with the weights of another program's file.
    Inception(InceptionConfig),
    /// How varied samples are: the mean LPIPS of pairs of them, drawn anew at random (Zhu et al. 2017, Section 5). Best is
    /// what held-out images have.
    Lpips(LpipsConfig),
}

/// Settings of [`FeatureNetworkConfig::Inception`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InceptionConfig {
    /// The file of its weights, from where the program is run. No default: it must be given. Only with the published
    /// ones is anything called FID.
    pub weights: PathBuf,
    /// How images come to 299 x 299 pixels.
    pub resize: InceptionResize,
    /// What samples are compared with.
    pub reference: ReferenceConfig,
    /// What is computed, of features as they are.
    pub metrics: Vec<SetMetric>,
    /// Images in a split of the class score, at least 1.
    pub split: usize,
    /// Training images whose features are kept for precision, recall and their like, at even distances: at least 2, or
    /// what the metrics ask for.
    pub rows: usize,
}

impl Default for InceptionConfig {
    fn default() -> Self {
        Self {
            weights: PathBuf::new(),               // none: must be given
            resize: InceptionResize::Tf1Bilinear,  // the original evaluator
            reference: ReferenceConfig::default(), // beside that type
            metrics: vec![
                // Song et al. 2023, Tables 1 and 2; the original evaluator reports sFID too
                SetMetric::Frechet,
                SetMetric::SpatialFrechet,
                SetMetric::ClassScore,
                SetMetric::Precision,
                SetMetric::Recall,
            ],
            split: 5000,  // the original evaluator
            rows: 10_000, // as many as the original evaluator's reference batches hold
        }
    }
}

/// What samples are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ReferenceConfig {
    /// The study's training images: they pass through the network once.
    Training(TrainingReference),
    /// Mean and covariance from a file: `cm stats` writes such, and so do the original evaluator and EDM's. What needs
    /// the features of single images has them of the training images.
    Statistics(StatisticsReference),
}

impl Default for ReferenceConfig {
    fn default() -> Self {
        Self::Training(TrainingReference::default()) // Song et al. 2023, Section 6
    }
}

/// Settings of [`ReferenceConfig::Training`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingReference {
    /// Images that pass through the network, at even distances, at least 2. None: all.
    pub most: Option<usize>, // Heusel et al. 2017: all
}

/// Settings of [`ReferenceConfig::Statistics`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatisticsReference {
    /// An npz file with `mu` and `sigma`, and `mu_s` and `sigma_s` for sFID. No default: it must be given.
    pub path: PathBuf,
}

/// Operations of one image's way through the published network: twice the multiplications of its convolutions.
pub(crate) const INCEPTION_OPERATIONS: f64 = 1.151e10; // counted by hooks on every convolution
/// Features of the published network.
pub const INCEPTION_FEATURES: usize = 2048;

impl FeatureNetworkConfig {
    /// The files it needs: weights, then statistics.
    pub fn files(&self) -> Vec<&Path> {
        let (weights, more) = match self {
            Self::Inception(config) => (&config.weights, config.reference.file()),
            Self::Lpips(config) => (&config.trunk_weights, config.heads.as_deref()),
        };
        std::iter::once(weights.as_path()).chain(more).collect()
    }

    /// Its settings, if it is an Inception network.
    pub fn inception(&self) -> Option<&InceptionConfig> {
        match self {
            Self::Inception(config) => Some(config),
            Self::Lpips(_) => None,
        }
    }

    /// The fewest samples of which all that is asked of it can be computed.
    pub(crate) fn min_images(&self, study: &MetricConfig) -> usize {
        match self {
            Self::Inception(config) => {
                config.metrics.iter().map(|metric| metric.min_images(study)).max().unwrap_or(0)
            }
            Self::Lpips(_) => Diversity::MIN_IMAGES,
        }
    }

    /// Bytes of the features that are kept of so many samples and of the reference.
    pub(crate) fn bytes_kept(&self, samples: usize) -> u64 {
        if !self.inception().is_some_and(InceptionConfig::wants_rows) {
            return 0;
        }
        let rows = self.inception().map_or(0, |config| config.rows);
        (samples as u64).saturating_add(rows as u64).saturating_mul(INCEPTION_FEATURES as u64 * 4)
    }
}

impl ReferenceConfig {
    /// Its file, if it has one.
    fn file(&self) -> Option<&Path> {
        match self {
            Self::Training(_) => None,
            Self::Statistics(file) => Some(&file.path),
        }
    }
}

impl InceptionConfig {
    /// How its metrics are set: as the study's others, but of features as they are.
    pub fn metric_config(&self, study: &MetricConfig) -> MetricConfig {
        MetricConfig { scaling: FeatureScaling::Raw, ..study.clone() } // Heusel et al. 2017
    }

    /// Whether a metric needs the features of single reference images.
    pub fn wants_rows(&self) -> bool {
        self.metrics.iter().any(|metric| metric.needs().1 == Some(SetPart::Rows))
    }

    /// Whether a metric needs mean and covariance of the reference, of features or of spatial ones.
    pub fn wants_statistics(&self) -> bool {
        let of =
            |part: Option<SetPart>| matches!(part, Some(SetPart::Statistics | SetPart::SpatialStatistics));
        self.metrics.iter().any(|metric| of(metric.needs().1))
    }

    /// Of `len` training images those whose statistics are taken, and of these those whose features are kept: numbers of
    /// images at even distances.
    pub fn reference_images(&self, len: usize) -> (Vec<usize>, Vec<usize>) {
        let taken = match &self.reference {
            ReferenceConfig::Training(TrainingReference { most }) if self.wants_statistics() => {
                evenly(len, most.unwrap_or(len))
            }
            ReferenceConfig::Training(_) | ReferenceConfig::Statistics(_) => Vec::new(),
        };
        let kept = match (self.wants_rows(), taken.is_empty()) {
            (false, _) => Vec::new(),
            (true, true) => evenly(len, self.rows),
            (true, false) => evenly(taken.len(), self.rows).into_iter().map(|place| taken[place]).collect(),
        };
        (taken, kept)
    }
}

/// At most `most` of `len` numbers, at even distances.
fn evenly(len: usize, most: usize) -> Vec<usize> {
    let count = len.min(most);
    (0..count).map(|place| (place as u64 * len as u64 / count as u64) as usize).collect()
}

/// What is wrong with the networks of an evaluation of so many samples, with paths inside the evaluation. Files are
/// looked for now: a training is long.
pub(crate) fn problems(
    networks: &[FeatureNetworkConfig],
    (fewest, study): (usize, &MetricConfig),
    dataset: &DatasetConfig,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (place, network) in networks.iter().enumerate() {
        let (path, before) = (format!("networks[{place}]"), &networks[..place]);
        match network {
            FeatureNetworkConfig::Inception(config) => {
                let mut inceptions = before.iter().filter_map(FeatureNetworkConfig::inception);
                if inceptions.any(|other| other.resize == config.resize) {
                    let message =
                        format!("two networks of which images come to their size by {:?}", config.resize);
                    let allowed = "another resizing: names of scores say nothing else";
                    problems.push(Problem::new(format!("{path}.resize"), message, allowed));
                }
                let found = config.problems(fewest, study, dataset).into_iter();
                problems
                    .extend(found.map(|found| Problem { path: format!("{path}.{}", found.path), ..found }));
            }
            FeatureNetworkConfig::Lpips(config) => {
                if before.iter().any(|other| matches!(other, FeatureNetworkConfig::Lpips(_))) {
                    let message = "LPIPS is asked for twice".to_owned();
                    problems.push(Problem::new(&path, message, "it once: its score has one name"));
                }
                problems.extend(check_lpips::problems(config, dataset, &path));
                if fewest < Diversity::MIN_IMAGES {
                    let message = format!("{fewest} samples are too few for a spread of pairs");
                    let least = Diversity::MIN_IMAGES;
                    let allowed = format!("at least {least} in `samples` and `every_samples`");
                    problems.push(Problem::new(&path, message, allowed));
                }
            }
        }
    }
    problems
}

impl InceptionConfig {
    fn problems(&self, fewest: usize, study: &MetricConfig, dataset: &DatasetConfig) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut file = |field: &str, path: &Path, allowed: &str| {
            if path.as_os_str().is_empty() {
                problems.push(Problem::new(field, "no file is given", allowed));
            } else if !path.is_file() {
                problems.push(Problem::absent(
                    field,
                    format!("there is no file {}", path.display()),
                    allowed,
                ));
            }
        };
        let weights =
            "a file of the network's weights, such as pytorch-fid's pt_inception-2015-12-05-6726825d.pth";
        file("weights", &self.weights, weights);
        if let ReferenceConfig::Statistics(StatisticsReference { path }) = &self.reference {
            file("reference.path", path, "an npz file with `mu` and `sigma`, as `cm stats` writes it");
        }
        let mut say = |field: &str, message: String, allowed: &str| {
            problems.push(Problem::new(field, message, allowed));
        };
        if self.split == 0 {
            say("split", "split is 0".into(), "at least 1 image");
        }
        if let ReferenceConfig::Training(TrainingReference { most: Some(most @ 0..2) }) = self.reference {
            say("reference.most", format!("{most} images have no covariance"), "at least 2, or None");
        }
        if self.metrics.is_empty() {
            say("metrics", "no metric is asked for".into(), "at least one; or no network");
        }
        let Ok(data) = dataset.outline(Split::Train) else { return problems };
        let mut say = |field: &str, message: String, allowed: &str| {
            problems.push(Problem::new(field, message, allowed));
        };
        if !dataset.holds_pictures() || ![1, 3].contains(&data.shape.channels) {
            let message = format!("the network looks at pictures, and the data are {}", data.shape);
            say("weights", message, "images of 1 or 3 channels, or no network");
        }
        let (_, kept) = self.reference_images(data.len);
        for (index, &metric) in self.metrics.iter().enumerate() {
            let path = format!("metrics[{index}]");
            if self.metrics[..index].contains(&metric) {
                say(&path, format!("metric {metric:?} is given twice"), "each metric once");
            }
            if matches!(metric, SetMetric::Recognised | SetMetric::ClassHistogram) {
                let message =
                    format!("metric {metric:?} is of the data's classes, and the network knows others");
                say(&path, message, "it in `metrics` of the evaluation, which is the judge's");
            }
            // A covariance takes two, whatever is asked for.
            let least = metric.min_images(study).max(2);
            if fewest < least {
                let message = format!("{fewest} samples are too few for metric {metric:?}");
                say(&path, message, &format!("at least {least} in `samples` and `every_samples`"));
            }
            if metric.needs().1 == Some(SetPart::Rows) && kept.len() < least {
                let message = format!("{} reference images are too few for metric {metric:?}", kept.len());
                say("rows", message, &format!("at least {least}"));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_images_lie_at_even_distances_and_none_passes_through_for_nothing() {
        let mut config = InceptionConfig { rows: 3, ..InceptionConfig::default() };
        let (taken, kept) = config.reference_images(12);
        assert_eq!((taken.len(), kept), (12, vec![0, 4, 8]));
        config.reference = ReferenceConfig::Training(TrainingReference { most: Some(6) });
        assert_eq!(config.reference_images(12), (vec![0, 2, 4, 6, 8, 10], vec![0, 4, 8]));
        config.reference = ReferenceConfig::Statistics(StatisticsReference { path: "a.npz".into() });
        assert_eq!(config.reference_images(12), (vec![], vec![0, 4, 8]));
        config.metrics = vec![SetMetric::ClassScore];
        config.reference = ReferenceConfig::default();
        assert_eq!(config.reference_images(12), (vec![], vec![]));
    }

    #[test]
    fn what_cannot_be_is_told_with_its_place() {
        let told = |config: InceptionConfig| -> Vec<String> {
            let networks = [FeatureNetworkConfig::Inception(config)];
            let found = problems(
                &networks,
                (100, &MetricConfig::default()),
                &DatasetConfig::Digits(Default::default()),
            );
            found
                .into_iter()
                .map(|p| format!("{}: {}{}", p.path, p.message, ["", " (absent)"][usize::from(p.absent)]))
                .collect()
        };
        assert_eq!(told(InceptionConfig::default()), ["networks[0].weights: no file is given"]);
        let away = InceptionConfig { weights: "no/such.pth".into(), ..InceptionConfig::default() };
        assert_eq!(told(away.clone()), ["networks[0].weights: there is no file no/such.pth (absent)"]);
        let wrong = InceptionConfig {
            metrics: vec![SetMetric::Recognised, SetMetric::Recall, SetMetric::Recall],
            rows: 3,
            split: 0,
            ..away
        };
        let expected = [
            "networks[0].weights: there is no file no/such.pth (absent)",
            "networks[0].split: split is 0",
            "networks[0].metrics[0]: metric Recognised is of the data's classes, and the network knows others",
            "networks[0].rows: 3 reference images are too few for metric Recall",
            "networks[0].metrics[2]: metric Recall is given twice",
            "networks[0].rows: 3 reference images are too few for metric Recall",
        ];
        assert_eq!(told(wrong), expected);
    }
}
