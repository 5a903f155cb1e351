//! The card of an evaluation: every number with how it was made, as Markdown, JSON and CSV.
//!
//! "Which FID?" is answered here and nowhere else: counts, splits, network and its weights, resizing, quantisation,
//! versions.

use cm_evaluator::{FeatureScaling, InceptionResize, MetricConfig, SetMetric, SetScore};
use cm_host::{Provenance, SamplesCard, self_sealed};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Which features images were compared by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureCard {
    /// The network's name.
    pub network: String,
    /// The file of its weights; none of what is shipped with the program.
    pub weights: Option<String>,
    /// The file's SHA-256.
    pub sha256: Option<String>,
    /// Whether these are the published Inception weights, without which nothing is called FID.
    pub published: bool,
    /// The number of features.
    pub dim: usize,
    /// How images came to the network's size.
    pub resize: Option<InceptionResize>,
}

/// One of the two sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetCard {
    /// Where it comes from, as it was typed.
    pub source: String,
    /// The number of images, if it is known.
    pub images: Option<usize>,
    /// Height, width and channels; none of a file of statistics alone.
    pub shape: Option<[usize; 3]>,
    /// Whether mean and covariance were read from a file instead of worked out.
    pub statistics_from_file: bool,
    /// How values became the pixels that were compared.
    pub quantisation: String,
    /// What drew them, if their file says so.
    pub drawn: Option<SamplesCard>,
}

/// A metric's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricCard {
    /// Its name; FID, sFID and the inception score are called so only of published weights.
    pub metric: String,
    /// The value.
    pub value: f64,
    /// Its spread, if there is an honest one.
    pub spread: Option<f64>,
    /// What the spread is.
    pub spread_is: Option<String>,
}

/// An evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The numbers.
    pub metrics: Vec<MetricCard>,
    /// What was evaluated.
    pub samples: SetCard,
    /// What it was compared with.
    pub reference: SetCard,
    /// What by.
    pub features: FeatureCard,
    /// On which scale features were compared.
    pub scaling: FeatureScaling,
    /// Images in a split of the class score.
    pub split: usize,
    /// k of precision and recall.
    pub neighbours: usize,
    /// k of density and coverage.
    pub density_neighbours: usize,
    /// Groups of the jackknife behind the kernel distance's standard error.
    pub kid_groups: usize,
    /// Version of this program.
    pub version: String,
    /// The commit it was built from.
    pub commit: String,
    /// The instruction set it ran with.
    pub instruction_set: String,
    /// The BLAKE3 hash of all of this, with nothing in this place.
    seal: String,
}

/// What is said where there is no value.
const NONE: &str = "-";

impl Card {
    pub(crate) fn new(
        scores: &[SetScore],
        samples: SetCard,
        reference: SetCard,
        features: FeatureCard,
        config: &MetricConfig,
        split: usize,
    ) -> Self {
        let Provenance { version, commit, dirty, instruction_set, .. } = Provenance::of_this_process(0);
        // On another scale the distance of published features is no FID either.
        let published = features.published && config.scaling == FeatureScaling::Raw;
        let metric = |score: &SetScore| MetricCard {
            metric: score.metric.name(published).to_owned(),
            value: score.value,
            spread: score.spread,
            spread_is: score.spread.and_then(|_| spread_of(score.metric)).map(str::to_owned),
        };
        Self {
            metrics: scores.iter().map(metric).collect(),
            samples,
            reference,
            scaling: config.scaling,
            split,
            neighbours: config.neighbours,
            density_neighbours: config.density_neighbours,
            kid_groups: config.kid_groups,
            version,
            commit: if dirty == Some(true) { format!("{commit}, changed") } else { commit },
            instruction_set,
            features,
            seal: String::new(),
        }
    }

    /// The card whose [`json`](Self::json) this is.
    ///
    /// # Errors
    /// In words, if it is no card, or was changed since.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let card: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if card.json().as_bytes() != bytes {
            return Err("it was changed since it was written; evaluate again, or remove it".to_owned());
        }
        Ok(card)
    }

    /// For people.
    pub fn markdown(&self) -> String {
        let mut text =
            "| metric | value | spread | samples | reference |\n|:--|--:|--:|--:|--:|\n".to_owned();
        let count = |set: &SetCard| set.images.map_or(NONE.to_owned(), |n| n.to_string());
        for metric in &self.metrics {
            let spread = match (&metric.spread, &metric.spread_is) {
                (Some(spread), Some(what)) => format!("{spread:.4} ({what})"),
                (_, _) => NONE.to_owned(),
            };
            let (samples, reference) = (count(&self.samples), count(&self.reference));
            let name = &metric.metric;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {name} | {:.6} | {spread} | {samples} | {reference} |", metric.value);
        }
        text.push('\n');
        for (key, value) in self.rows() {
            let _ = writeln!(text, "* {key}: {value}");
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> String {
        self_sealed(self, |card| &mut card.seal)
    }

    /// For spreadsheets: a line for each metric, with all that the card says on every line.
    ///
    /// # Errors
    /// Those of the `csv` crate.
    pub fn csv(&self) -> Result<Vec<u8>, csv::Error> {
        let rows = self.rows();
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut header = vec!["metric".to_owned(), "value".to_owned(), "spread".to_owned()];
        header.extend(rows.iter().map(|(key, _)| (*key).to_owned()));
        writer.write_record(&header)?;
        for metric in &self.metrics {
            let spread = metric.spread.map(|spread| spread.to_string()).unwrap_or_default();
            let mut line = vec![metric.metric.clone(), metric.value.to_string(), spread];
            line.extend(rows.iter().map(|(_, value)| value.clone()));
            writer.write_record(&line)?;
        }
        writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
    }

    /// What the card says besides the numbers.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let set = |set: &SetCard| {
            let images = set.images.map_or("an unknown number of".to_owned(), |n| n.to_string());
            let shape = set.shape.map_or(String::new(), |[h, w, c]| format!(" of {h}x{w}x{c}"));
            let how =
                if set.statistics_from_file { "; mean and covariance as the file has them" } else { "" };
            let drawn = set.drawn.as_ref().map_or(String::new(), |drawn| {
                let SamplesCard { model, sampler, evaluations, seed, version, instruction_set, .. } = drawn;
                format!("; drawn from {model} by {sampler}, NFE {evaluations}, seed {seed}, cm {version}, {instruction_set}")
            });
            format!("{}, {images} images{shape}{how}{drawn}", set.source)
        };
        let FeatureCard { network, weights, sha256, published, dim, resize } = &self.features;
        let weights = match (weights, sha256) {
            (Some(file), Some(sha256)) => format!(", weights {file} (sha256 {sha256})"),
            (_, _) => String::new(),
        };
        let called = if *published && self.scaling == FeatureScaling::Raw {
            "the published weights"
        } else if *published {
            "the published weights on another scale than the literature's, so these numbers are no FID, sFID or \
             inception score"
        } else {
            "not the published Inception weights, so these numbers are no FID, sFID or inception score and compare only \
             with numbers of the same features"
        };
        let resize = match resize {
            None => "none",
            Some(InceptionResize::Tf1Bilinear) => {
                "to 299x299, bilinear as TensorFlow 1 (upper left corners aligned, no smoothing), as the original evaluator"
            }
            Some(InceptionResize::CentredBilinear) => {
                "to 299x299, bilinear with pixel centres aligned, no smoothing, as pytorch-fid"
            }
            Some(InceptionResize::SmoothBicubic) => "to 299x299, bicubic with smoothing, as clean-fid",
        };
        let scale = match self.scaling {
            FeatureScaling::Standardised => "by the reference's mean and standard deviation",
            FeatureScaling::Raw => "as they are",
        };
        vec![
            ("samples", set(&self.samples)),
            ("reference", set(&self.reference)),
            ("features", format!("{network}, {dim} numbers{weights}; {called}")),
            ("scale of features", scale.to_owned()),
            ("resizing", resize.to_owned()),
            ("quantisation of samples", self.samples.quantisation.clone()),
            ("quantisation of the reference", self.reference.quantisation.clone()),
            ("split of the class score", format!("{} images", self.split)),
            ("k of precision and recall", self.neighbours.to_string()),
            ("k of density and coverage", self.density_neighbours.to_string()),
            ("groups of the jackknife of kid", self.kid_groups.to_string()),
            ("program", format!("cm {}, commit {}, {}", self.version, self.commit, self.instruction_set)),
        ]
    }
}

/// What the spread of a metric is.
fn spread_of(metric: SetMetric) -> Option<&'static str> {
    match metric {
        SetMetric::ClassScore => Some("standard deviation over splits"),
        SetMetric::Kid | SetMetric::Copied | SetMetric::Recognised => Some("standard error"),
        SetMetric::Frechet
        | SetMetric::SpatialFrechet
        | SetMetric::Precision
        | SetMetric::Recall
        | SetMetric::Density
        | SetMetric::Coverage
        | SetMetric::ClassHistogram
        | SetMetric::FrechetExtrapolated => None,
    }
}
