//! What made a result, besides its plan: the program, the machine and the seed.

use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};

/// What made a result. Nothing in it changes a number of the result but `version`, `commit` and `seed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of this workspace.
    pub version: String,
    /// Commit the program was built from; `unknown` outside a repository.
    pub commit: String,
    /// Whether the sources differed from that commit when the program was built.
    pub dirty: Option<bool>,
    /// Versions of the crates that decide numbers, as they were locked when the program was built.
    pub crates: Vec<String>,
    /// Optimised (`release`) or not (`debug`).
    pub profile: String,
    /// Operating system and architecture.
    pub platform: String,
    /// The processor's name, as the system tells it.
    pub cpu: String,
    /// Worker threads. Results do not depend on them.
    pub threads: usize,
    /// The run's seed.
    pub seed: u64,
    /// When the folder was made, seconds since 1970.
    pub created: u64,
}

impl Provenance {
    /// What there is to know now, of a run with this seed.
    pub fn of_this_process(seed: u64) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("CM_COMMIT").to_owned(),
            dirty: match env!("CM_DIRTY") {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            },
            crates: env!("CM_CRATES").split_whitespace().map(str::to_owned).collect(),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            cpu: cpu(),
            threads: rayon::current_num_threads(),
            seed,
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        }
    }
}

/// The processor's name on Linux; elsewhere the architecture.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crates_that_decide_numbers_are_named_with_their_versions() {
        let provenance = Provenance::of_this_process(7);
        for name in ["dfdx-", "gemm-", "libm-", "rayon-"] {
            assert!(provenance.crates.iter().any(|krate| krate.starts_with(name)), "{provenance:?}");
        }
        assert_eq!(provenance.seed, 7);
        assert!(provenance.threads > 0 && !provenance.cpu.is_empty());
    }
}
