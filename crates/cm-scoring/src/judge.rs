//! What images are compared by, from what was typed to a network with its card.

use crate::card::FeatureCard;
use crate::error::ScoringError;
use cm_evaluator::{
    ActivationExtractor, FeatureScaling, InceptionJudge, InceptionResize, MetricConfig, NetworkJudge, Pixels,
    SetMetric,
};
use cm_host::FileError;
use cm_image::ImageShape;
use cm_network::feature_net::load_inception;
use cm_study::Problems;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// Features by which sets of images are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeatureChoice {
    /// FID's Inception network with the weights of another program's file.
    Inception(PathBuf),
    /// The shipped classifier of 8x8 digits.
    Classifier,
    /// The classifier that a study on other data has trained: its `classifier.safetensors`.
    Judge(PathBuf),
    /// The pixels themselves.
    Pixels,
}

impl FeatureChoice {
    /// A choice from what was typed: `inception:FILE`, `classifier`, `judge:FILE` or `pixels`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match (text, text.split_once(':')) {
            ("classifier", _) => Ok(Self::Classifier),
            ("pixels", _) => Ok(Self::Pixels),
            (_, Some(("inception", file))) if !file.is_empty() => Ok(Self::Inception(file.into())),
            (_, Some(("judge", file))) if !file.is_empty() => Ok(Self::Judge(file.into())),
            (_, _) => Err(format!("`{text}` is none of {CHOICES}")),
        }
    }

    /// A choice from the option `--features`; a problem if it is none.
    pub(crate) fn asked_for(text: &str, problems: &mut Problems) -> Option<Self> {
        Self::parse(text).map_err(|message| problems.add("--features", message, CHOICES)).ok()
    }

    /// The scale on which these features are compared where nobody asks for another: that of the literature for the
    /// Inception network, and that of studies for all others.
    pub fn scaling(&self) -> FeatureScaling {
        match self {
            Self::Inception(_) => FeatureScaling::Raw, // Heusel et al. 2017
            Self::Classifier | Self::Judge(_) | Self::Pixels => MetricConfig::default().scaling,
        }
    }

    /// Whether a metric is worked out by these features where nobody asks for metrics by name: what a network sees of
    /// ImageNet's classes is no share of anything, and an extrapolation takes fifteen square roots of its covariances.
    pub(crate) fn is_usual(&self, metric: SetMetric) -> bool {
        match (self, metric) {
            (
                Self::Inception(_),
                SetMetric::Recognised | SetMetric::ClassHistogram | SetMetric::FrechetExtrapolated,
            ) => false,
            (Self::Inception(_) | Self::Classifier | Self::Judge(_) | Self::Pixels, _) => true,
        }
    }

    /// The channels it wants images in, if it wants any.
    pub(crate) fn channels(&self) -> Option<usize> {
        match self {
            Self::Inception(_) => Some(3),
            Self::Classifier => Some(1),
            Self::Judge(_) | Self::Pixels => None,
        }
    }

    /// The judge of images of `shape`.
    pub(crate) fn build(&self, shape: ImageShape, resize: InceptionResize) -> Result<Judge, ScoringError> {
        match self {
            Self::Inception(path) => {
                let (judge, card) = inception(path, resize)?;
                if !judge.has_published_size() {
                    let (features, classes) = (judge.dim(), judge.classes().unwrap_or(0));
                    let reason = format!(
                        "an Inception network of {features} features and {classes} classes: FID's has 2048 and 1008"
                    );
                    return Err(FileError::damaged(path, reason).into());
                }
                Ok(Judge { extractor: Box::new(judge), card })
            }
            Self::Classifier => {
                let failed = |error| ScoringError::failed("loading the digits' judge", error);
                let judge = NetworkJudge::digits().map_err(failed)?;
                classifier(judge, "the shipped classifier of 8x8 digits", None, shape)
            }
            Self::Judge(path) => {
                let bytes = fs::read(path).map_err(FileError::io(path))?;
                let judge =
                    NetworkJudge::from_bytes(&bytes).map_err(|error| FileError::damaged(path, error))?;
                let sha256 = format!("{:x}", Sha256::digest(&bytes));
                let weights = Some((path.display().to_string(), sha256));
                classifier(judge, "the classifier of a study", weights, shape)
            }
            Self::Pixels => {
                let pixels = Pixels { shape };
                let card = FeatureCard {
                    network: format!("the pixels, {}", size(shape)),
                    weights: None,
                    sha256: None,
                    published: false,
                    dim: pixels.dim(),
                    resize: None,
                };
                Ok(Judge { extractor: Box::new(pixels), card })
            }
        }
    }
}

/// An Inception network, of whatever size, from the file of its weights.
///
/// # Errors
/// [`ScoringError::Features`] if the file is none.
pub fn inception(
    path: &Path,
    resize: InceptionResize,
) -> Result<(InceptionJudge, FeatureCard), ScoringError> {
    let (network, (sha256, published)) = load_inception(path)?;
    let judge = InceptionJudge::new(network, resize);
    let card = FeatureCard {
        network: "FID's Inception network of 2015".to_owned(),
        weights: Some(path.display().to_string()),
        sha256: Some(sha256),
        published,
        dim: judge.dim(),
        resize: Some(resize),
    };
    Ok((judge, card))
}

/// What can be typed.
const CHOICES: &str = "inception:FILE, classifier, judge:FILE, pixels";

fn size(ImageShape { height, width, channels }: ImageShape) -> String {
    format!("{height}x{width}x{channels}")
}

/// A classifier as a judge of images of `shape`, if it is one of such images; `weights` are its file and the file's hash.
fn classifier(
    judge: NetworkJudge,
    name: &str,
    weights: Option<(String, String)>,
    shape: ImageShape,
) -> Result<Judge, ScoringError> {
    if shape != judge.shape() {
        let (given, wanted) = (size(shape), size(judge.shape()));
        let mut problems = Problems::default();
        let message = format!("{name} knows images of {wanted}, not of {given}");
        problems.add("--features", message, "inception:FILE, judge:FILE, pixels");
        problems.check()?;
    }
    let (weights, sha256) = weights.unzip();
    let dim = judge.dim();
    let card = FeatureCard { network: name.to_owned(), weights, sha256, published: false, dim, resize: None };
    Ok(Judge { extractor: Box::new(judge), card })
}

/// What compares images, and what there is to know of it.
pub(crate) struct Judge {
    pub(crate) extractor: Box<dyn ActivationExtractor>,
    pub(crate) card: FeatureCard,
}
