//! What made a result, besides its plan: the program, the machine and the seed.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the program was built from, which only the binary's own build knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The commit; `unknown` outside a repository.
    pub commit: String,
    /// Whether the sources differed from it.
    pub dirty: Option<bool>,
    /// Versions of the crates that decide numbers, as they were locked.
    pub crates: Vec<String>,
}

static BUILD: OnceLock<Build> = OnceLock::new();

impl Build {
    /// Makes this the build that every [`Provenance`] of this process names; the first one stands. It is said by the
    /// binary once, and not compiled in here: a library that knew the commit would be built anew with each.
    pub fn is_of_this_process(self) {
        BUILD.get_or_init(|| self);
    }

    fn said() -> Self {
        let unknown = || Self { commit: "unknown".to_owned(), dirty: None, crates: Vec::new() };
        BUILD.get().cloned().unwrap_or_else(unknown)
    }
}

/// Where this process computes networks, and how.
static COMPUTES_ON: RwLock<Cow<'static, str>> = RwLock::new(Cow::Borrowed("cpu, F32"));

/// Says where this process computes networks from now on, and how: every [`Provenance`] names it.
pub fn computes_on(device: String) {
    *COMPUTES_ON.write().unwrap_or_else(PoisonError::into_inner) = Cow::Owned(device);
}

/// On the CPU, in single precision: where results were made before there was a choice.
fn cpu_in_single_precision() -> String {
    "cpu, F32".to_owned()
}

/// What made a result. Of what is in it, `seed` decides the numbers; `version`, `commit`, `crates`, `platform`,
/// `instruction_set` and `device` decide their last digits (and over a training more than those: rounding differs, and a training
/// amplifies it). Nothing else in it does.
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
    /// The instruction set of the kernels: `portable`, `neon`, `avx2` or `avx512`. The last two give the same weights and
    /// pictures, the others sum in orders of their own.
    pub instruction_set: String,
    /// Where networks were computed, and the precision of their products.
    #[serde(default = "cpu_in_single_precision")]
    pub device: String,
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
        let Build { commit, dirty, crates } = Build::said();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit,
            dirty,
            crates,
            profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            cpu: cpu(),
            instruction_set: cm_kernels::dispatch::isa().name().to_owned(),
            device: COMPUTES_ON.read().unwrap_or_else(PoisonError::into_inner).to_string(),
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
    fn a_library_alone_does_not_know_its_build_and_the_first_that_is_said_stands() {
        let provenance = Provenance::of_this_process(7);
        assert_eq!((provenance.commit.as_str(), provenance.dirty, provenance.seed), ("unknown", None, 7));
        assert!(provenance.threads > 0 && !provenance.cpu.is_empty());
        assert_eq!(provenance.device, "cpu, F32");
        computes_on("cuda:1 a GPU, Bf16".to_owned());
        assert_eq!(Provenance::of_this_process(7).device, "cuda:1 a GPU, Bf16");
        let build = |commit: &str| Build { commit: commit.to_owned(), dirty: Some(false), crates: vec![] };
        build("a").is_of_this_process();
        build("b").is_of_this_process();
        assert_eq!(Provenance::of_this_process(7).commit, "a");
    }
}
