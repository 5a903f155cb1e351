//! Run-time choice of instruction set, made once.
//!
//! `CM_ISA=portable|avx2|avx512` (on ARM `portable|neon`) forces a lower set than the machine offers, so that every
//! variant can be tested on one machine; an unknown or unsupported value is ignored in favour of what the machine has.

use std::sync::OnceLock;

/// The instruction sets of this architecture for which kernels have their own code, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, vectorised by the compiler for the baseline target.
    Portable,
    /// NEON of 64-bit ARM: an Apple laptop, a Graviton.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The name accepted by `CM_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => "neon",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
        }
    }

    /// Whether this machine has it.
    pub(crate) fn is_here(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_here()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
        }
    }

    /// Every set this machine can run, in rising order. Tests run each.
    pub fn available() -> Vec<Isa> {
        let all = [
            Isa::Portable,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512,
        ];
        all.into_iter().filter(|isa| isa.is_here()).collect()
    }
}

/// The set in use: the best of this machine, or the lower one that `CM_ISA` names.
pub fn isa() -> Isa {
    static CHOICE: OnceLock<Isa> = OnceLock::new();
    *CHOICE.get_or_init(|| {
        let wanted = std::env::var("CM_ISA").ok();
        let available = Isa::available();
        let chosen = available.iter().find(|isa| Some(isa.name()) == wanted.as_deref()).or(available.last());
        chosen.copied().unwrap_or(Isa::Portable)
    })
}
