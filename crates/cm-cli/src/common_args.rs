//! Arguments that several commands have.

use cm_study::Override;

/// Fields of a study file that are set to other values.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Overrides {
    /// Set a field to a value in RON's syntax, as in base.consistency.train.batch=64; several are set in turn.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(crate) set: Vec<Override>,
}

/// How many threads.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Threads {
    /// Worker threads, at most 1024; results do not depend on them. Without it, one for each core.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

impl Threads {
    /// The same, or `otherwise` if it is not said.
    pub(crate) fn or(self, otherwise: Option<u16>) -> Self {
        Self { threads: self.threads.or(otherwise) }
    }
}
