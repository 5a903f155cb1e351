//! What images are compared by, from what was typed to a network with its card.

use crate::card::FeatureCard;
use crate::error::ScoringError;
use cm_evaluator::{ActivationExtractor, InceptionJudge, InceptionResize, NetworkJudge, Pixels};
use cm_host::FileError;
use cm_image::ImageShape;
use cm_network::feature_net::load_inception;
use cm_study::Problems;
use std::path::PathBuf;

/// Features by which sets of images are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeatureChoice {
    /// FID's Inception network with the weights of another program's file.
    Inception(PathBuf),
    /// The shipped classifier of 8x8 digits.
    Classifier,
    /// The pixels themselves.
    Pixels,
}

impl FeatureChoice {
    /// A choice from what was typed: `inception:FILE`, `classifier` or `pixels`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match (text, text.split_once(':')) {
            ("classifier", _) => Ok(Self::Classifier),
            ("pixels", _) => Ok(Self::Pixels),
            (_, Some(("inception", file))) if !file.is_empty() => Ok(Self::Inception(file.into())),
            (_, _) => Err(format!("`{text}` is none of inception:FILE, classifier, pixels")),
        }
    }

    /// A choice from the option `--features`; a problem if it is none.
    pub(crate) fn asked_for(text: &str, problems: &mut Problems) -> Option<Self> {
        Self::parse(text)
            .map_err(|message| problems.add("--features", message, "inception:FILE, classifier, pixels"))
            .ok()
    }

    /// The channels it wants images in, if it wants any.
    pub(crate) fn channels(&self) -> Option<usize> {
        match self {
            Self::Inception(_) => Some(3),
            Self::Classifier => Some(1),
            Self::Pixels => None,
        }
    }

    /// The judge of images of `shape`.
    pub(crate) fn build(&self, shape: ImageShape, resize: InceptionResize) -> Result<Judge, ScoringError> {
        let size =
            |ImageShape { height, width, channels }: ImageShape| format!("{height}x{width}x{channels}");
        match self {
            Self::Inception(path) => {
                let (network, (sha256, published)) = load_inception(path)?;
                let judge = InceptionJudge::new(network, resize);
                if !judge.has_published_size() {
                    let (features, classes) = (judge.dim(), judge.classes().unwrap_or(0));
                    let reason = format!(
                        "an Inception network of {features} features and {classes} classes: FID's has 2048 and 1008"
                    );
                    return Err(FileError::damaged(path, reason).into());
                }
                let card = FeatureCard {
                    network: "FID's Inception network of 2015".to_owned(),
                    weights: Some(path.display().to_string()),
                    sha256: Some(sha256),
                    published,
                    dim: judge.dim(),
                    resize: Some(resize),
                };
                Ok(Judge { extractor: Box::new(judge), card })
            }
            Self::Classifier => {
                let failed = |error| ScoringError::failed("loading the digits' judge", error);
                let judge = NetworkJudge::digits().map_err(failed)?;
                if shape != judge.shape() {
                    let (given, wanted) = (size(shape), size(judge.shape()));
                    let mut problems = Problems::default();
                    let message =
                        format!("the shipped classifier knows digits of {wanted}, not images of {given}");
                    problems.add("--features", message, "inception:FILE, pixels");
                    problems.check()?;
                }
                let card = FeatureCard {
                    network: "the shipped classifier of 8x8 digits".to_owned(),
                    weights: None,
                    sha256: None,
                    published: false,
                    dim: ActivationExtractor::dim(&judge),
                    resize: None,
                };
                Ok(Judge { extractor: Box::new(judge), card })
            }
            Self::Pixels => {
                let pixels = Pixels { shape };
                let card = FeatureCard {
                    network: format!("the pixels, {}", size(shape)),
                    weights: None,
                    sha256: None,
                    published: false,
                    dim: ActivationExtractor::dim(&pixels),
                    resize: None,
                };
                Ok(Judge { extractor: Box::new(pixels), card })
            }
        }
    }
}

/// What compares images, and what there is to know of it.
pub(crate) struct Judge {
    pub(crate) extractor: Box<dyn ActivationExtractor>,
    pub(crate) card: FeatureCard,
}
