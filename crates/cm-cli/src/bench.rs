//! `cm bench`: what can be typed, and doing it.

use crate::common_args::Threads;
use crate::ending::{Ending, FAILED, WRONG_INPUT, failed, wrong_input};
use clap::{Subcommand, ValueEnum};
use cm_bench::{self as bench, BenchError, BenchNetwork, InceptionFile, NetworkSize, Suite, Variation};
use cm_network::Preset;
use cm_tensor::device::Precision;
use cm_tensor::devices;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What to time.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Convolutions, normalisations and attention, forward and backward, at the sizes of real networks.
    #[command(after_help = "Example:\n  cm bench kernels --filter conv2d.forward")]
    Kernels {
        #[command(flatten)]
        timing: Timing,
    },
    /// Whole training steps: the teacher's, and distillation with Heun.
    #[command(after_help = "Example:\n  cm bench step --network medium")]
    Step {
        #[command(flatten)]
        network: OfNetwork,
        /// Write down who computes which product on a GPU and how long each takes, if CM_PRODUCTS=timed has them timed.
        #[arg(long, value_name = "FILE")]
        products: Option<PathBuf>,
        #[command(flatten)]
        timing: Timing,
    },
    /// Kernels on a GPU at the sizes of real networks: 10^9 bytes and 10^9 operations a second.
    #[command(after_help = "Example:\n  cm bench gpu --device cuda --filter bf16")]
    Gpu {
        #[command(flatten)]
        timing: Timing,
    },
    /// Whether a GPU computes what the CPU does: every operation both ways on random values, in three precisions. A line
    /// of JSON for each; exit code 1 if one is too far off.
    #[command(after_help = "Example:\n  cm bench parity --device cuda")]
    Parity {
        /// Only operations with this text in their names.
        #[arg(long, default_value = "")]
        filter: String,
    },
    /// One-step sampling.
    #[command(after_help = "Example:\n  cm bench sample --network ddpm++")]
    Sample {
        #[command(flatten)]
        network: OfNetwork,
        #[command(flatten)]
        timing: Timing,
    },
    /// What an evaluation costs: square roots of covariances, neighbours among features, the Inception network.
    #[command(after_help = "Example:\n  cm bench evaluation --repeats 3")]
    Evaluation {
        /// The weights of an Inception network; without it, the network is not timed.
        #[arg(long)]
        inception: Option<PathBuf>,
        #[command(flatten)]
        timing: Timing,
    },
    /// Write a network's weights, an input, its output and its gradients, so that another program can check that it
    /// computes the same.
    #[command(after_help = "Example:\n  cm bench export --network small small.safetensors")]
    Export {
        #[command(flatten)]
        network: OfNetwork,
        /// The safetensors file to write.
        file: PathBuf,
    },
}

/// The network that is timed.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct OfNetwork {
    /// 8x8 images and 1.03 million parameters, 32x32 and 6.99 million, the 55.7 million of DDPM++ for CIFAR-10, or one of
    /// the paper's largest.
    #[arg(long, value_enum, default_value_t = NetworkName::Small)]
    pub(crate) network: NetworkName,
    /// Images at a time, if not the network's own number.
    #[arg(long)]
    batch: Option<usize>,
    /// Channels at the highest resolution, if not the network's own number.
    #[arg(long)]
    channels: Option<usize>,
    /// Height and width of the images, if not the network's own.
    #[arg(long)]
    resolution: Option<usize>,
    /// How a GPU computes products.
    #[arg(long, value_enum, default_value_t = PrecisionName::F32)]
    pub(crate) precision: PrecisionName,
    /// Computes blocks a second time on the way back instead of keeping what is between them.
    #[arg(long)]
    recompute: bool,
}

impl OfNetwork {
    /// What differs from the network's own numbers.
    pub(crate) fn variation(self) -> Variation {
        let Self { batch, channels, resolution, recompute, .. } = self;
        Variation { batch, channels, resolution, recompute }
    }
}

/// The names of [`NetworkSize`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum NetworkName {
    Small,
    Medium,
    #[value(name = "ddpm++")]
    DdpmPp,
    AdmImagenet64,
    AdmLsun256,
}

impl From<NetworkName> for NetworkSize {
    fn from(name: NetworkName) -> Self {
        match name {
            NetworkName::Small => Self::Small,
            NetworkName::Medium => Self::Medium,
            NetworkName::DdpmPp => Self::DdpmPp,
            NetworkName::AdmImagenet64 => Self::Preset(Preset::AdmImagenet64),
            NetworkName::AdmLsun256 => Self::Preset(Preset::AdmLsun256),
        }
    }
}

/// The names of [`Precision`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PrecisionName {
    F32,
    Tf32,
    Bf16,
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Self::F32,
            PrecisionName::Tf32 => Self::Tf32,
            PrecisionName::Bf16 => Self::Bf16,
        }
    }
}

/// How often, and on what.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Timing {
    /// How often each case is timed, after one run that is not.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeats: u32,
    /// Only cases with this text in their names.
    #[arg(long, default_value = "")]
    pub(crate) filter: String,
    /// Print the names of the cases, and time nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// Time a case whenever standard input has a line `NAME REPEATS`, so that another program can take turns.
    #[arg(long, conflicts_with = "repeats")]
    pub(crate) serve: bool,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

pub(crate) fn perform(bench: Bench) -> Result<(), Ending> {
    match bench {
        Bench::Kernels { timing } => time(bench::kernels, timing),
        Bench::Gpu { timing } => {
            let device = devices::need_gpu().map_err(|error| wrong_input(&error))?;
            time(move || bench::gpu_kernels(device.gpu()), timing)
        }
        Bench::Parity { filter } => parity(&filter),
        Bench::Step { network, products, timing } => {
            let network = bench_network(network)?;
            time(|| bench::step(network), timing)?;
            products.map_or(Ok(()), |file| write_products(&file))
        }
        Bench::Sample { network, timing } => {
            let network = bench_network(network)?;
            time(|| bench::sample(network), timing)
        }
        Bench::Evaluation { inception, timing } => {
            let inception = inception.map(|path| InceptionFile::new(&path)).transpose()?;
            time(|| bench::evaluation(inception), timing)
        }
        Bench::Export { network, file } => bench::export(bench_network(network)?, &file).map_err(|error| {
            Ending { message: format!("error: cannot write {}: {error}", file.display()), code: WRONG_INPUT }
        }),
    }
}

/// The table of products that this process has timed.
fn write_products(file: &Path) -> Result<(), Ending> {
    let wrong = |reason: &dyn std::fmt::Display| {
        wrong_input(&format!("no table of products for {}: {reason}", file.display()))
    };
    let table = devices::products_table().ok_or_else(|| {
        wrong(&"nothing was timed; CM_PRODUCTS=timed and --device cuda have products timed")
    })?;
    std::fs::write(file, table).map_err(|error| wrong(&error))
}

/// A line for each case that is compared.
fn parity(filter: &str) -> Result<(), Ending> {
    let device = devices::poisoned().map_err(|error| wrong_input(&error))?;
    let off = bench::parity(&device, filter, &mut std::io::stdout()).map_err(|error| failed(&error))?;
    match off.is_empty() {
        true => Ok(()),
        false => {
            let message = format!("error: too far from what the CPU computes: {}", off.join("; "));
            Err(Ending { message, code: FAILED })
        }
    }
}

/// The network that is timed, and how products are computed from now on.
fn bench_network(wanted: OfNetwork) -> Result<BenchNetwork, Ending> {
    devices::set_precision(wanted.precision.into()).map_err(|error| wrong_input(&error))?;
    BenchNetwork::new(wanted.network.into(), wanted.variation()).map_err(|error| wrong_input(&error))
}

/// Times a suite on the wanted number of threads; results go to standard output as they come.
fn time(suite: impl FnOnce() -> Suite + Send, timing: Timing) -> Result<(), Ending> {
    let Timing { repeats, filter, list, serve, threads: Threads { threads } } = timing;
    let timed = cm_host::on_threads(threads.map(usize::from), || {
        let suite = suite().only(&filter)?;
        let out = &mut std::io::stdout();
        if list {
            return Ok(suite.cases.iter().try_for_each(|case| writeln!(out, "{}", case.name()))?);
        }
        if serve { suite.serve(std::io::stdin().lock(), out) } else { suite.run(repeats as usize, out) }
    });
    let failed = |message: String, code| Ending { message: format!("error: {message}"), code };
    match timed.map_err(|error| failed(error.to_string(), FAILED))? {
        // A reader that has gone away is no error.
        Err(BenchError::Io(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error @ BenchError::Io(_)) => Err(failed(error.to_string(), FAILED)),
        Err(error @ (BenchError::Request { .. } | BenchError::NoCase { .. })) => {
            Err(failed(error.to_string(), WRONG_INPUT))
        }
        Ok(()) => Ok(()),
    }
}
