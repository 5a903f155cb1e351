//! The arguments of `cm dataset`.

use clap::{Subcommand, ValueEnum};
use cm_datasets::prepared::PrepareOptions;
use cm_datasets::{Format, LabelRule, Orientation, SourceConfig};
use std::path::PathBuf;

/// What to do with a data set.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DatasetCommand {
    /// Turn images as they were downloaded into the form from which training streams them.
    ///
    /// Reads CIFAR-10 (binary or Python, .tar.gz or unpacked), downsampled ImageNet (pickles or .npz), folders of PNG,
    /// JPEG and WebP files, EDM's ZIP files, MNIST and its like (idx, perhaps .gz) and NumPy archives (.npz). The result is
    /// named in a study as `dataset: Prepared(path: "DIR")`.
    #[command(
        after_help = "Example:\n  cm dataset prepare cifar-10-binary.tar.gz --out data/cifar10\n  cm dataset prepare lsun-cats --out data/cats --resolution 256 --labels nowhere"
    )]
    Prepare {
        #[command(flatten)]
        source: SourceArgs,
        /// The folder to make; it must not be there.
        #[arg(long)]
        out: PathBuf,
        /// MiB of a shard.
        #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=65_536))]
        shard_mib: u64,
        /// Make nothing if there is anything to note: files left out, images turned, classes without images.
        #[arg(long)]
        strict: bool,
    },
    /// Print what a prepared folder or a source holds: images, shape, mean, standard deviation, classes.
    #[command(after_help = "Example:\n  cm dataset inspect data/cifar10 --sheet cifar10.png")]
    Inspect {
        #[command(flatten)]
        source: SourceArgs,
        /// A PNG to write with the first training images, a row for each class.
        #[arg(long)]
        sheet: Option<PathBuf>,
        /// Images of each class on it.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
        images: u16,
    },
    /// Read a prepared folder and compare every file with its checksum.
    #[command(after_help = "Example:\n  cm dataset verify data/cifar10")]
    Verify {
        /// The prepared folder.
        dir: PathBuf,
    },
}

/// The source and how it is read.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SourceArgs {
    /// The file or folder.
    path: PathBuf,
    /// How it is laid out. Without it, told from names.
    #[arg(long, value_enum)]
    format: Option<FormatName>,
    /// Height and width of the images: halved while they are at least twice as large, resized by the shorter side,
    /// cropped at the centre. Without it, they stay as they are. Only for image files.
    #[arg(long)]
    resolution: Option<usize>,
    /// 1 (grey) or 3 (colour). Without it, colour if any image has it. Only for image files.
    #[arg(long)]
    channels: Option<usize>,
    /// Where an image's class stands. Only for folders.
    #[arg(long, value_enum, default_value_t = LabelsName::Folders)]
    labels: LabelsName,
    /// The grey on which transparent images lie, 0 (black) to 255 (white). Only for image files.
    #[arg(long, default_value_t = 0)]
    background: u8,
    /// Images held out for testing, where the source has no test part. Without it, a tenth, at most 10,000.
    #[arg(long)]
    held_out: Option<usize>,
    /// Which way up images are read whose Exif data say so. Only for image files.
    #[arg(long, value_enum, default_value_t = OrientationName::Upright)]
    orientation: OrientationName,
}

/// The names of [`Format`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FormatName {
    Cifar10,
    #[value(name = "downsampled-imagenet")]
    DownsampledImageNet,
    Folder,
    EdmZip,
    Idx,
    Npz,
    /// Parquet files of the Hugging Face Hub; needs a program built with `--features hub`.
    Parquet,
}

/// The names of [`LabelRule`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LabelsName {
    /// The first folder below the source.
    Folders,
    /// The file name up to the first `_`.
    Prefixes,
    /// Images have none.
    Nowhere,
}

/// The names of [`Orientation`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OrientationName {
    /// As viewers show them.
    Upright,
    /// As they are stored; so the original code and EDM's tools read them.
    Stored,
}

impl From<SourceArgs> for SourceConfig {
    fn from(args: SourceArgs) -> Self {
        let SourceArgs { path, format, resolution, channels, labels, background, held_out, orientation } =
            args;
        let format = format.map(|format| match format {
            FormatName::Cifar10 => Format::Cifar10,
            FormatName::DownsampledImageNet => Format::DownsampledImageNet,
            FormatName::Folder => Format::Folder,
            FormatName::EdmZip => Format::EdmZip,
            FormatName::Idx => Format::Idx,
            FormatName::Npz => Format::Npz,
            FormatName::Parquet => Format::Parquet,
        });
        let labels = match labels {
            LabelsName::Folders => LabelRule::Folders,
            LabelsName::Prefixes => LabelRule::Prefixes,
            LabelsName::Nowhere => LabelRule::Nowhere,
        };
        let orientation = match orientation {
            OrientationName::Upright => Orientation::Upright,
            OrientationName::Stored => Orientation::Stored,
        };
        Self {
            path,
            format,
            resolution,
            channels,
            labels,
            background,
            held_out,
            orientation,
            ..Self::default()
        }
    }
}

/// What `cm dataset prepare` asks for.
pub(crate) fn prepare_options(
    source: SourceArgs,
    out: PathBuf,
    shard_mib: u64,
    strict: bool,
) -> PrepareOptions {
    PrepareOptions { source: source.into(), out, shard_bytes: shard_mib << 20, strict }
}
