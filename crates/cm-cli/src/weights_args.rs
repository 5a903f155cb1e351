//! What can be typed about weights of other programs: `cm import`, `cm export`, `cm denoise`.

use clap::ValueEnum;
use cm_network::{HeadsConfig, ResamplingConfig};
use cm_study::{IddpmConfig, PreconditionConfig, VpConfig};
use cm_workbench::{DenoiseRequest, ExportFormat, ExportRequest, ImportRequest, ModelRequest, PageRequest};
use std::path::PathBuf;

/// How a network's output is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Precondition {
    /// As a diffusion model's.
    Edm,
    /// As a consistency model's.
    Consistency,
    /// As a diffusion model's of the variance-preserving formulation (VP), with the published numbers.
    Vp,
    /// As a diffusion model's of the variance-exploding formulation (VE).
    Ve,
    /// As a diffusion model's of improved DDPM, with the published numbers.
    Iddpm,
}

/// How blocks change the resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Resampling {
    /// Means of 2x2 pixels, and each pixel four times.
    Plain,
    /// Through the filter (1, 3, 3, 1).
    Fir,
}

impl From<Resampling> for ResamplingConfig {
    fn from(resampling: Resampling) -> Self {
        match resampling {
            Resampling::Plain => Self::Plain,
            Resampling::Fir => Self::Fir,
        }
    }
}

impl From<Precondition> for PreconditionConfig {
    fn from(precondition: Precondition) -> Self {
        match precondition {
            Precondition::Edm => Self::Edm,
            Precondition::Consistency => Self::Consistency,
            Precondition::Vp => Self::Vp(VpConfig::default()),
            Precondition::Ve => Self::Ve,
            Precondition::Iddpm => Self::Iddpm(IddpmConfig::default()),
        }
    }
}

/// Arguments of `cm import`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// The file: `.pt` or `.pth` of PyTorch, old or new; a pickled network of EDM or EDM2 (`.pkl`), whose source is not
    /// run; msgpack of Flax; safetensors with the original names. Or the folder of a diffusers pipeline, or of its network.
    input: PathBuf,
    /// The file to write: safetensors with all that `cm sample`, `cm denoise` and studies need to know.
    #[arg(long)]
    out: PathBuf,
    /// Whether the weights are a diffusion model's or a consistency model's. Pickled networks of EDM say so; state dicts do
    /// not, and it is asked for.
    #[arg(long, value_enum)]
    precondition: Option<Precondition>,
    /// The network, as in a study: `AdmImagenet64`, `Adm(channels: 64)`. Without it, what the names and shapes say.
    #[arg(long)]
    network: Option<String>,
    /// Height and width of the images; needed where the network is not one of the paper's.
    #[arg(long)]
    size: Option<usize>,
    /// What the names of the wanted weights begin with, if the file holds several: `params/`, `state_dict.`. Without it,
    /// averaged weights (`ema.`, `model_ema.`, `params_ema/`, ...) are taken before raw ones.
    #[arg(long)]
    prefix: Option<String>,
    /// The number of attention heads, where the file does not say it.
    #[arg(long, value_name = "N", conflicts_with_all = ["head_channels", "network"])]
    heads: Option<usize>,
    /// The channels of each attention head, where the file does not say it.
    #[arg(long, value_name = "N", conflicts_with = "network")]
    head_channels: Option<usize>,
    /// How blocks change the resolution, where the file does not say it.
    #[arg(long, value_enum, conflicts_with = "network")]
    resampling: Option<Resampling>,
    /// Standard deviation of the data, if not 0.5 or as the file says.
    #[arg(long, allow_negative_numbers = true)]
    sigma_data: Option<f32>,
    /// The lowest noise level, if not 0.002.
    #[arg(long, allow_negative_numbers = true)]
    sigma_min: Option<f32>,
    /// The highest noise level, if not 80.
    #[arg(long, allow_negative_numbers = true)]
    sigma_max: Option<f32>,
    /// Curvature of the noise levels, if not 7.
    #[arg(long, allow_negative_numbers = true)]
    rho: Option<f32>,
}

impl From<ImportArgs> for ImportRequest {
    fn from(args: ImportArgs) -> Self {
        Self {
            input: args.input,
            out: args.out,
            network: args.network,
            size: args.size,
            prefix: args.prefix,
            precondition: args.precondition.map(Into::into),
            heads: args.heads.map(HeadsConfig::Count).or(args.head_channels.map(HeadsConfig::Channels)),
            resampling: args.resampling.map(Into::into),
            sigma_data: args.sigma_data,
            sigma_min: args.sigma_min,
            sigma_max: args.sigma_max,
            rho: args.rho,
        }
    }
}

/// The forms in which a model can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One file of weights under the names of the original programs, by its ending.
    Original,
    /// A folder of ONNX models: the denoiser and, of a consistency model, the generator that draws in one step.
    Onnx,
    /// A folder for PyTorch: a state dict, and the module that it is of, in Python.
    Torch,
    /// A folder that diffusers' ConsistencyModelPipeline loads; of ADM's networks.
    Diffusers,
    /// One page of HTML that draws in any browser, without a server: of consistency models.
    Web,
}

/// Arguments of `cm export`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The folder of a finished run or of a trained teacher, the model.safetensors in it, or a file that `cm import` wrote. For
    /// the network that judges: a study's classifier.safetensors, or `classifier` for the shipped one of digits.
    model: PathBuf,
    /// In which form.
    #[arg(long, value_enum, default_value = "original")]
    format: Format,
    /// The file to write: `.pt`, `.pth` or `.safetensors` for PyTorch, `.msgpack` for Flax, a page of HTML. Of formats that are
    /// folders, the folder, which is not there yet.
    #[arg(long)]
    out: PathBuf,
    /// The page's module of WebAssembly. Without it, the file that `cargo build --release --target wasm32-unknown-unknown -p
    /// cm-web` leaves below the current folder.
    #[arg(long)]
    module: Option<PathBuf>,
    /// The average of the weights, as the run's table names it; without it, the first.
    #[arg(long)]
    ema: Option<String>,
}

/// What is to be written.
pub(crate) enum ExportAsked {
    /// A model in the form of another program.
    Model(ExportRequest),
    /// A page that draws.
    Page(PageRequest),
}

impl ExportArgs {
    /// What is to be written.
    ///
    /// # Errors
    /// That what was typed does not go together.
    pub(crate) fn asked(self) -> Result<ExportAsked, &'static str> {
        let Self { model, format, out, module, ema } = self;
        let model = ModelRequest { path: model, ema, class: None };
        if module.is_some() && format != Format::Web {
            return Err("--module: it is of a page; allowed with --format web");
        }
        let format = match format {
            Format::Web => return Ok(ExportAsked::Page(PageRequest { model, out, module })),
            Format::Original => ExportFormat::Original,
            Format::Onnx => ExportFormat::Onnx,
            Format::Torch => ExportFormat::Torch,
            Format::Diffusers => ExportFormat::Diffusers,
        };
        Ok(ExportAsked::Model(ExportRequest { model, format, out }))
    }
}

/// Arguments of `cm denoise`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DenoiseArgs {
    /// A file that `cm import` wrote, or the folder of a finished run or of a trained teacher, of which the first average is
    /// taken.
    #[arg(long)]
    weights: PathBuf,
    /// An `.npz` with `x` (N, C, H, W), `sigma` (N) and, if the network knows classes, `labels` (N).
    #[arg(long)]
    input: PathBuf,
    /// The `.npz` to write, with `denoised` and `raw`, the network's output before its preconditioning.
    #[arg(long)]
    out: PathBuf,
    /// How the network's output is used, if not as the weights were imported.
    #[arg(long, value_enum)]
    precondition: Option<Precondition>,
    /// Images at a time.
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Also write the gradients of sum(`seed` x raw) by all parameters, under the original names, as safetensors; `seed`
    /// is an array of the input, of the shape of x. All images are then evaluated at once.
    #[arg(long)]
    gradients: Option<PathBuf>,
}

impl From<DenoiseArgs> for DenoiseRequest {
    fn from(args: DenoiseArgs) -> Self {
        Self {
            weights: args.weights,
            input: args.input,
            out: args.out,
            precondition: args.precondition.map(Into::into),
            batch: args.batch,
            gradients: args.gradients,
        }
    }
}

/// The networks of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PresetName {
    #[value(name = "ncsnpp-cifar10")]
    NcsnppCifar10,
    #[value(name = "ddpmpp-cifar10")]
    DdpmppCifar10,
    #[value(name = "adm-imagenet64")]
    AdmImagenet64,
    #[value(name = "adm-lsun256")]
    AdmLsun256,
}

impl From<PresetName> for cm_network::Preset {
    fn from(name: PresetName) -> Self {
        match name {
            PresetName::NcsnppCifar10 => Self::NcsnppCifar10,
            PresetName::DdpmppCifar10 => Self::DdpmppCifar10,
            PresetName::AdmImagenet64 => Self::AdmImagenet64,
            PresetName::AdmLsun256 => Self::AdmLsun256,
        }
    }
}
