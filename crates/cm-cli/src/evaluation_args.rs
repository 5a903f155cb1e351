//! What can be typed to evaluate sets of images: `cm evaluate`, `cm stats` and `cm lpips`.

use clap::ValueEnum;
use cm_evaluator::{FeatureScaling, InceptionResize, MetricConfig, SetMetric};
use cm_network::feature_net::{LpipsOptions, LpipsPooling, LpipsResize, LpipsTrunk, LpipsVersion};
use cm_scoring::{EvaluateRequest, PerceptualRequest, StatsRequest};
use cm_study::EvaluationConfig;
use std::path::PathBuf;

/// What both commands on features take.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FeatureArgs {
    /// What images are compared by: `inception:FILE`, FID's network with the weights of a file that keeps
    /// pytorch-fid's names; `classifier`, the shipped one of 8x8 digits; `judge:FILE`, the one that a study on other data
    /// has trained, its `classifier.safetensors`; or `pixels`. Only published Inception weights make an FID, and the card
    /// says so.
    #[arg(long)]
    features: String,
    /// How images come to Inception's 299x299 pixels.
    #[arg(long, value_enum, default_value_t = Resize::Tf1)]
    resize: Resize,
    /// Images at a time.
    #[arg(long, default_value_t = 32, value_parser = batch)]
    batch: usize,
    /// A folder where what the network says of each image is kept: work that was broken off goes on, and other metrics of
    /// the same images cost no second pass. For the Inception network 20 KB an image.
    #[arg(long)]
    cache: Option<PathBuf>,
}

/// How images come to 299x299 pixels.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Resize {
    /// Bilinear as TensorFlow 1 does it: the original evaluator's FID, EDM's.
    Tf1,
    /// Bilinear with pixel centres aligned: pytorch-fid's.
    Centred,
    /// Bicubic with smoothing: clean-fid's.
    Clean,
}

impl From<Resize> for InceptionResize {
    fn from(resize: Resize) -> Self {
        match resize {
            Resize::Tf1 => Self::Tf1Bilinear,
            Resize::Centred => Self::CentredBilinear,
            Resize::Clean => Self::SmoothBicubic,
        }
    }
}

/// The names of [`FeatureScaling`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Scaling {
    /// As they are.
    Raw,
    /// Less the reference's mean, over its standard deviation.
    Standardised,
}

impl From<Scaling> for FeatureScaling {
    fn from(scaling: Scaling) -> Self {
        match scaling {
            Scaling::Raw => Self::Raw,
            Scaling::Standardised => Self::Standardised,
        }
    }
}

/// Arguments of `cm evaluate`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EvaluateArgs {
    /// The samples: a .npz file with `arr_0` (u8, N x height x width x channels; f32 of points), a folder of PNG files, or
    /// `dataset:RON` such as `dataset:Digits()@test`.
    #[arg(long)]
    samples: String,
    /// What they are compared with: the same, or a .npz file of statistics (`mu`, `sigma`, and `mu_s`, `sigma_s`).
    #[arg(long)]
    reference: String,
    #[command(flatten)]
    features: FeatureArgs,
    /// The scale on which features are compared. Without it, that of studies for a classifier's and for pixels
    /// (standardised), and that of the literature for Inception's (raw).
    #[arg(long, value_enum)]
    scaling: Option<Scaling>,
    /// Which metrics, separated by commas. Without it, all that can be had of the two sets.
    #[arg(long, value_enum, value_delimiter = ',')]
    metrics: Option<Vec<Metric>>,
    /// Images in a split of the inception score.
    #[arg(long, default_value_t = 5000, value_parser = split)]
    split: usize,
    /// k of precision and recall.
    #[arg(long, default_value_t = 3, value_parser = neighbours)]
    neighbours: usize,
    /// A folder for `evaluation.md`, `evaluation.json` and `evaluation.csv`.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// The names of [`SetMetric`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Metric {
    /// Fréchet distance; FID with the published network.
    #[value(alias = "fid")]
    Frechet,
    /// Fréchet distance of spatial features; sFID with the published network.
    #[value(alias = "sfid")]
    SpatialFrechet,
    /// Class score; the inception score with the published network.
    #[value(alias = "inception-score", alias = "is")]
    ClassScore,
    /// Share of samples in the reference's manifold.
    Precision,
    /// Share of reference images in the samples' manifold.
    Recall,
    /// Kernel distance, with its standard error.
    Kid,
    /// Mean number of the reference's neighbourhoods about a sample.
    Density,
    /// Share of the reference's neighbourhoods with a sample in them.
    Coverage,
    /// Share of samples nearer to a reference image than any other reference image is to that one.
    Copied,
    /// Share of samples whose class the classifier is confident of.
    Recognised,
    /// Distance between the classes seen in samples and in the reference.
    ClassHistogram,
    /// Fréchet distance that infinitely many samples would have.
    #[value(alias = "fid-extrapolated")]
    FrechetExtrapolated,
}

impl From<Metric> for SetMetric {
    fn from(metric: Metric) -> Self {
        match metric {
            Metric::Frechet => Self::Frechet,
            Metric::SpatialFrechet => Self::SpatialFrechet,
            Metric::ClassScore => Self::ClassScore,
            Metric::Precision => Self::Precision,
            Metric::Recall => Self::Recall,
            Metric::Kid => Self::Kid,
            Metric::Density => Self::Density,
            Metric::Coverage => Self::Coverage,
            Metric::Copied => Self::Copied,
            Metric::Recognised => Self::Recognised,
            Metric::ClassHistogram => Self::ClassHistogram,
            Metric::FrechetExtrapolated => Self::FrechetExtrapolated,
        }
    }
}

impl From<EvaluateArgs> for EvaluateRequest {
    fn from(args: EvaluateArgs) -> Self {
        Self {
            samples: args.samples,
            reference: args.reference,
            features: args.features.features,
            resize: args.features.resize.into(),
            scaling: args.scaling.map(FeatureScaling::from),
            metrics: args.metrics.map(|metrics| metrics.into_iter().map(SetMetric::from).collect()),
            split: args.split,
            neighbours: args.neighbours,
            batch: args.features.batch,
            cache: args.features.cache,
            out: args.out,
        }
    }
}

/// Arguments of `cm stats`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StatsArgs {
    /// The images: a .npz file with `arr_0`, a folder of PNG files, or `dataset:RON`.
    images: String,
    #[command(flatten)]
    features: FeatureArgs,
    /// Leave out the spatial features, as EDM's files do: `mu` and `sigma` alone.
    #[arg(long)]
    pooled_only: bool,
    /// The .npz file to write.
    #[arg(long)]
    out: PathBuf,
}

impl From<StatsArgs> for StatsRequest {
    fn from(args: StatsArgs) -> Self {
        Self {
            images: args.images,
            features: args.features.features,
            resize: args.features.resize.into(),
            pooled_only: args.pooled_only,
            batch: args.features.batch,
            cache: args.features.cache,
            out: args.out,
        }
    }
}

/// Arguments of `cm lpips`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LpipsArgs {
    /// The first image of each pair: a PNG file, a folder of them, a .npz file, or `dataset:RON`.
    a: String,
    /// The second image of each pair, as many.
    b: String,
    /// The trunk.
    #[arg(long, value_enum, default_value_t = Trunk::Vgg16)]
    trunk: Trunk,
    /// The trunk's weights: a file (PyTorch's, safetensors) with torchvision's names, or the LPIPS package's.
    #[arg(long)]
    trunk_weights: PathBuf,
    /// The learned weights: such a file with the LPIPS package's names. Without it, they are in the trunk's file.
    #[arg(long)]
    heads: Option<PathBuf>,
    /// Which release the learned weights are from.
    #[arg(long, value_enum, default_value_t = Release::V0_1)]
    release: Release,
    /// How the trunk reduces its maps: `max`, as the LPIPS package; `average`, as the original training code (VGG16 only).
    #[arg(long, value_enum, default_value_t = Pooling::Max)]
    pooling: Pooling,
    /// The size at which images are compared: their own, or 224x224 if they are less than 256 wide.
    #[arg(long, value_enum, default_value_t = PairSize::Never)]
    resize: PairSize,
    /// Pairs at a time.
    #[arg(long, default_value_t = 16, value_parser = batch)]
    batch: usize,
    /// A CSV file for the distance of each pair.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// The names of [`LpipsTrunk`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Trunk {
    Vgg16,
    #[value(name = "alexnet")]
    AlexNet,
    #[value(name = "squeezenet")]
    SqueezeNet,
}

/// The names of [`LpipsVersion`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Release {
    #[value(name = "0.0")]
    V0_0,
    #[value(name = "0.1")]
    V0_1,
}

/// The names of [`LpipsPooling`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Pooling {
    Max,
    Average,
}

/// The names of [`LpipsResize`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PairSize {
    Never,
    #[value(name = "below-256")]
    Below256,
}

impl From<LpipsArgs> for PerceptualRequest {
    fn from(args: LpipsArgs) -> Self {
        let options = LpipsOptions {
            trunk: match args.trunk {
                Trunk::Vgg16 => LpipsTrunk::Vgg16,
                Trunk::AlexNet => LpipsTrunk::AlexNet,
                Trunk::SqueezeNet => LpipsTrunk::SqueezeNet,
            },
            version: match args.release {
                Release::V0_0 => LpipsVersion::V00,
                Release::V0_1 => LpipsVersion::V01,
            },
            pooling: match args.pooling {
                Pooling::Max => LpipsPooling::Max,
                Pooling::Average => LpipsPooling::Average,
            },
            resize: match args.resize {
                PairSize::Never => LpipsResize::Never,
                PairSize::Below256 => LpipsResize::Below256,
            },
        };
        Self {
            a: args.a,
            b: args.b,
            options,
            trunk: args.trunk_weights,
            heads: args.heads,
            batch: args.batch,
            out: args.out,
        }
    }
}

/// Images at a time.
fn batch(text: &str) -> Result<usize, String> {
    within(text, MetricConfig::MOST_BATCH)
}

/// k of precision and recall.
fn neighbours(text: &str) -> Result<usize, String> {
    within(text, MetricConfig::MOST_NEIGHBOURS)
}

/// Images in a split: there are not more samples than a study may have.
fn split(text: &str) -> Result<usize, String> {
    within(text, EvaluationConfig::MOST_SAMPLES)
}

/// A number from 1 to `most`.
fn within(text: &str, most: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("a whole number from 1 to {most}"))
}
