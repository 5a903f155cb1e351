//! What can be typed.

use clap::{Parser, Subcommand};
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
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a study from its beginning and print its table.
    #[command(
        after_help = "Example:\n  cm run experiments/smoke.ron --out runs --threads 2\n\nCtrl-C stops after a checkpoint; go on with `cm resume runs/smoke`."
    )]
    Run {
        /// The study file.
        file: PathBuf,
        /// Where results go: a folder with the name of the study file is made in it.
        #[arg(long, default_value = "runs")]
        out: PathBuf,
        #[command(flatten)]
        threads: Threads,
    },
    /// Check a study file and print its cost and every value of its arms; touch nothing.
    #[command(after_help = "Example:\n  cm plan experiments/smoke.ron")]
    Plan {
        /// The study file.
        file: PathBuf,
    },
    /// Go on with a study that was stopped.
    #[command(after_help = "Example:\n  cm resume runs/smoke")]
    Resume {
        /// The study's folder.
        run_dir: PathBuf,
        #[command(flatten)]
        threads: Threads,
    },
    /// Print the table of a study's results so far.
    #[command(after_help = "Example:\n  cm table runs/smoke")]
    Table {
        /// The study's folder.
        run_dir: PathBuf,
    },
}

/// How many threads.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Threads {
    /// Worker threads; results do not depend on them. Without it, one for each core.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: Option<u16>,
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
            let example = format!("Example:\n  cm {}", sub.get_name());
            let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&example), "{}", sub.get_name());
        }
    }
}
