//! What can be typed.

use crate::bench::Bench;
use crate::common_args::{Overrides, Threads};
use crate::dataset_args::DatasetCommand;
use crate::evaluation_args::{EvaluateArgs, LpipsArgs, StatsArgs};
use crate::format_args::FormatCommand;
use crate::model_args::{Edit, SampleArgs};
use crate::processes::Shared;
use crate::report_args::{ReportArgs, TableArgs};
use crate::sweep::SweepCommand;
use crate::weights_args::{DenoiseArgs, ExportArgs, ImportArgs, PresetName};
use clap::{Parser, Subcommand};
use cm_tensor::devices::Place;
use cm_workbench::SearchTimes;
use std::path::PathBuf;

/// Consistency models: train a diffusion teacher, distil it or train without it into a one-step generator, and
/// measure the result. Studies are RON files.
#[derive(Debug, Parser)]
#[command(
    name = "cm",
    version,
    after_help = "Exit codes: 0 success; 1 the run failed or was stopped; 2 the input is wrong.\n\nExample:\n  cm run experiments/smoke.ron"
)]
pub(crate) struct Args {
    /// Where networks are computed: cpu, cuda (the first GPU) or cuda:N; otherwise the variable CM_DEVICE says it, or it is
    /// the CPU.
    #[arg(long, global = true)]
    pub(crate) device: Option<Place>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A name that can be a folder on every system.
fn folder_name(text: &str) -> Result<String, String> {
    match cm_study::is_file_name(text) {
        true => Ok(text.to_owned()),
        false => Err("allowed: letters, digits, `-`, `_`, `.`, at most 100 and no dot in front".to_owned()),
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a study from its beginning and print its table.
    #[command(
        after_help = "Example:\n  cm run experiments/smoke.ron --out runs --threads 2\n\nCtrl-C stops after the training step and a checkpoint, or breaks off after five seconds what is no training; a second Ctrl-C ends at once. Go on with `cm resume runs/smoke`."
    )]
    Run {
        /// The study file.
        file: PathBuf,
        /// Where results go: a folder with the name of the study file is made in it.
        #[arg(long, default_value = "runs")]
        out: PathBuf,
        /// The name of that folder, if not the study file's.
        #[arg(long, value_parser = folder_name)]
        name: Option<String>,
        /// If that folder is there and holds a study and nothing else, begin anew in its place: what was there goes.
        #[arg(long)]
        overwrite: bool,
        #[command(flatten)]
        overrides: Overrides,
        #[command(flatten)]
        shared: Shared,
        #[command(flatten)]
        threads: Threads,
    },
    /// Check a study file and print its cost and every value of its arms; touch nothing.
    #[command(
        after_help = "Example:\n  cm plan experiments/smoke.ron\n\nOr the size of one of the paper's networks: cm plan --network adm-imagenet64"
    )]
    Plan {
        /// The study file.
        #[arg(required_unless_present = "network")]
        file: Option<PathBuf>,
        /// Instead of a study: one of the paper's networks, with its parameters and arithmetic.
        #[arg(long, value_enum, conflicts_with = "file")]
        network: Option<PresetName>,
        /// Also train each network for some seconds on noise, and say how long the study takes on this machine.
        #[arg(long, conflicts_with = "network")]
        calibrate: bool,
        /// Also say how long the study takes on machines that training steps were measured on: a file of lines that `cm
        /// bench step` has printed.
        #[arg(long, value_name = "FILE", conflicts_with = "network")]
        measured: Option<PathBuf>,
        #[command(flatten)]
        overrides: Overrides,
    },
    #[command(flatten)]
    Format(FormatCommand),
    /// Say what this machine has to compute with: the CPU's instruction set and threads, and NVIDIA GPUs.
    #[command(
        after_help = "Example:\n  cm devices\n\nWith --device cuda commands compute networks on the first GPU, with --device cuda:1 on the second; CM_DEVICE=cuda says the same to all commands. Without either, on the CPU."
    )]
    Devices,
    /// Share the runs of a study, or of a grid over its fields, among processes or machines.
    #[command(
        after_help = "Example:\n  cm sweep plan experiments/solver.ron && cm sweep run sweeps/solver && cm sweep collect sweeps/solver"
    )]
    Sweep {
        #[command(subcommand)]
        sweep: SweepCommand,
    },
    /// Go on with a study that was stopped.
    #[command(after_help = "Example:\n  cm resume runs/smoke")]
    Resume {
        /// The study's folder.
        run_dir: PathBuf,
        #[command(flatten)]
        shared: Shared,
        #[command(flatten)]
        threads: Threads,
    },
    /// Say where each training of a study stands, whether a process works on it, and about how long the rest takes.
    #[command(after_help = "Example:\n  cm status runs/smoke")]
    Status {
        /// The study's folder.
        study: PathBuf,
    },
    /// Check that a study's folder still holds what was written there: every result, checkpoint, plan and input.
    ///
    /// Every folder of results has a manifest with the length, the rows and the BLAKE3 hash of each file. Other commands
    /// check what they read; this one reads everything and touches nothing. Exit code 0: all is as it was written.
    #[command(after_help = "Example:\n  cm verify runs/smoke")]
    Verify {
        /// The folder of a study, such as runs/smoke, or of one of its runs.
        folder: PathBuf,
    },
    /// Work out averages of the weights of other widths from the snapshots of a finished run, and score them.
    #[command(
        after_help = "Example:\n  cm ema runs/smoke/cd/seed-0 --sigma-rel 0.08\n\nThe run must have kept snapshots: `train: (snapshots: ())`. Each average is also written to post-hoc/ in its folder."
    )]
    Ema {
        /// The run's folder, STUDY/ARM/seed-N.
        run_dir: PathBuf,
        /// Width of the average, as a share of the run; several are allowed.
        #[arg(long, required = true)]
        sigma_rel: Vec<f32>,
        #[command(flatten)]
        threads: Threads,
    },
    /// Print the results of studies so far beside what was published of their arms: means, standard errors, costs.
    ///
    /// A published number is compared with an evaluation by the published Inception network: draw images with
    /// `cm sample`, and write `cm evaluate --features inception:FILE --out RUN/evaluations/SAMPLER`.
    #[command(
        after_help = "Example:\n  cm table runs/smoke\n  cm table --format latex experiments/paper/cifar10.ron"
    )]
    Table {
        #[command(flatten)]
        table: TableArgs,
    },
    /// Write a study or a run as one page of HTML: question, scores, curves, samples, plan, provenance.
    ///
    /// The page needs no server and no network. Of a study that goes on, it shows what there is.
    #[command(after_help = "Example:\n  cm report runs/smoke --out smoke.html")]
    Report {
        #[command(flatten)]
        report: ReportArgs,
    },
    /// Search the times at which a trained model is best sampled in several steps; print them as RON.
    #[command(
        after_help = "Example:\n  cm search-times runs/quickstart/cd/seed-0 --points 1 --samples 5000\n\nThe last line goes into the list `student` of a study's evaluation."
    )]
    SearchTimes {
        /// The folder of a finished run, with its model.safetensors.
        run_dir: PathBuf,
        /// Times to find; one evaluation of the network more for each.
        #[arg(long, default_value_t = SearchTimes::default().points)]
        points: usize,
        /// Images of each Fréchet distance. Without it, as many as in the run's own scores.
        #[arg(long)]
        samples: Option<usize>,
        /// Noise levels among which the times are found. Without it, as many as the run ended with.
        #[arg(long)]
        levels: Option<usize>,
        /// Which of the run's averages of the weights, counted from 0.
        #[arg(long, default_value_t = SearchTimes::default().average)]
        average: usize,
        /// A file for the result, beside standard output.
        #[arg(long)]
        out: Option<PathBuf>,
        #[command(flatten)]
        threads: Threads,
    },
    /// Draw images from a trained consistency model.
    ///
    /// `samples.npz` holds the images as `arr_0`, u8, N x height x width x channels, and, if the model knows classes,
    /// theirs as `arr_1`.
    #[command(
        after_help = "Example:\n  cm sample runs/quickstart/cd/seed-0 --count 1000 --times 3,0.8 --out samples\n\nTwo runs on one sheet, from the same noise: cm sample runs/quickstart/cd/seed-0 runs/quickstart/ct/seed-0 --out both"
    )]
    Sample {
        #[command(flatten)]
        sample: SampleArgs,
        #[command(flatten)]
        threads: Threads,
    },
    /// Edit an image with a trained consistency model that was never trained for it.
    #[command(
        after_help = "Example:\n  cm edit inpaint --model runs/quickstart/cd/seed-0 --class 3 --image three.png --mask upper-half.png --out edited"
    )]
    Edit {
        #[command(subcommand)]
        edit: Edit,
    },
    /// Compare samples with reference images as published evaluators do: FID, sFID, inception score, precision, recall,
    /// kernel distance, density, coverage. Every number comes with how it was made.
    #[command(
        after_help = "Example:\n  cm evaluate --samples samples/samples.npz --reference 'dataset:Digits()' --features classifier --out card"
    )]
    Evaluate {
        #[command(flatten)]
        evaluate: EvaluateArgs,
        #[command(flatten)]
        threads: Threads,
    },
    /// Write mean and covariance of a set's features as an npz file that published evaluators read as well.
    #[command(
        after_help = "Example:\n  cm stats 'dataset:Digits()' --features classifier --out digits.npz\n\nArrays: mu, sigma; with spatial features mu_s, sigma_s; card, what they were made with."
    )]
    Stats {
        #[command(flatten)]
        stats: StatsArgs,
        #[command(flatten)]
        threads: Threads,
    },
    /// LPIPS of pairs of images.
    #[command(
        after_help = "Example:\n  cm lpips before.png after.png --trunk alexnet --trunk-weights alexnet.safetensors --heads lin.safetensors"
    )]
    Lpips {
        #[command(flatten)]
        lpips: LpipsArgs,
        #[command(flatten)]
        threads: Threads,
    },
    /// Prepare, inspect and verify images to train on.
    #[command(after_help = "Example:\n  cm dataset prepare cifar-10-binary.tar.gz --out data/cifar10")]
    Dataset {
        #[command(subcommand)]
        dataset: DatasetCommand,
    },
    /// Turn weights of other programs into a file that this one samples from, distils and starts from.
    ///
    /// The network is told by the names and shapes of the arrays; what does not fit is listed. A pickle is read by an
    /// unpickler that builds tensors and plain containers and runs nothing.
    #[command(
        after_help = "Example:\n  cm import cd_imagenet64_lpips.pt --precondition consistency --out weights/cd-imagenet64.safetensors"
    )]
    Import {
        #[command(flatten)]
        import: ImportArgs,
    },
    /// Write a model so that other programs can use it: weights under the names of the original programs, whole models, or a
    /// page that draws in a browser.
    #[command(
        after_help = "Example:\n  cm export runs/first/base/seed-0 --format onnx --out digits-onnx\n  cm export runs/quickstart/cd/seed-0 --format web --out page.html\n  cm export weights/cd-imagenet64.safetensors --out cd_imagenet64.pt"
    )]
    Export {
        #[command(flatten)]
        export: ExportArgs,
    },
    /// Evaluate a network on arrays of another program.
    #[command(
        after_help = "Example:\n  cm denoise --weights weights/edm-imagenet64.safetensors --input in.npz --out out.npz"
    )]
    Denoise {
        #[command(flatten)]
        denoise: DenoiseArgs,
        #[command(flatten)]
        threads: Threads,
    },
    /// Time kernels, training steps or sampling on this machine; one line of JSON for each case.
    #[command(
        after_help = "Example:\n  cm bench step --network small --repeats 20\n\nCompare with PyTorch: scripts/bench/run"
    )]
    Bench {
        #[command(subcommand)]
        bench: Bench,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_are_consistent_and_each_shows_an_example() {
        let command = Args::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            let name = format!("cm {}", sub.get_name());
            shows_an_example(sub, &name);
            sub.get_subcommands()
                .for_each(|task| shows_an_example(task, &format!("{name} {}", task.get_name())));
        }
    }

    fn shows_an_example(command: &clap::Command, name: &str) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains(&format!("Example:\n  {name}")), "{name}");
    }
}
