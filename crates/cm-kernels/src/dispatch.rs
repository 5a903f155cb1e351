//! Run-time choice of instruction set, made once.
//!
//! `CM_ISA=portable|avx2|avx512` forces a lower set than the machine offers, so that every variant can be tested
//! on one machine; an unknown or unsupported value is ignored in favour of what the machine has.

use std::sync::OnceLock;

/// The instruction sets for which kernels have their own code, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, vectorised by the compiler for the baseline target.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Isa {
    /// The name accepted by `CM_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// Every set this machine can run, in rising order. Tests run each.
    pub fn available() -> Vec<Isa> {
        [Isa::Portable, Isa::Avx2, Isa::Avx512].into_iter().filter(|&isa| isa <= detected()).collect()
    }
}

/// The best set of this machine.
fn detected() -> Isa {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx2 && avx512 {
            return Isa::Avx512;
        }
        if avx2 {
            return Isa::Avx2;
        }
    }
    Isa::Portable
}

/// The set in use: the best of this machine, or the lower one that `CM_ISA` names.
pub fn isa() -> Isa {
    static CHOICE: OnceLock<Isa> = OnceLock::new();
    *CHOICE.get_or_init(|| {
        let wanted = std::env::var("CM_ISA").ok();
        Isa::available()
            .into_iter()
            .find(|isa| Some(isa.name()) == wanted.as_deref())
            .unwrap_or_else(detected)
    })
}
