//! Dropout whose mask is a pure function of a key, the same to the bit as the CPU's: the law is written in
//! `cm-kernels`.

use crate::source::{DROPOUT, Variant};
use crate::{Buffer, Gpu, GpuError};

/// Elements that share their keys.
const CHUNK: usize = 4096 * 4096;
const ROUNDS: u64 = 5;
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The mixing of SplitMix64.
fn mixed(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The keys of all rounds for `len` elements, chunk by chunk, in \[0, 1).
fn round_keys(key: u64, len: usize) -> Vec<f32> {
    let chunks = 0..len.div_ceil(CHUNK) as u64;
    chunks
        .flat_map(|chunk| {
            let chunk_key = mixed(key ^ chunk.wrapping_mul(STEP));
            (1..=ROUNDS).map(move |round| {
                (mixed(chunk_key.wrapping_add(round.wrapping_mul(STEP))) >> 40) as f32 / 16_777_216.0
            })
        })
        .collect()
}

impl Gpu {
    /// Each value with probability 1 - `p` times 1 / (1 - p), else 0. The backward pass is this on the gradient.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If `p` is not in \[0, 1).
    pub fn dropout(&self, key: u64, p: f32, x: &Buffer) -> Result<Buffer, GpuError> {
        assert!((0.0..1.0).contains(&p), "dropout probability {p} is outside [0, 1)");
        let keys = self.upload(&round_keys(key, x.len()))?;
        let mut out = self.unwritten(x.element(), x.len())?;
        let launch = self.launch(&DROPOUT, Variant::of(x.element()), "dropout")?.read(x).write(&mut out);
        launch.read(&keys).long(x.len()).float(p).over(x.len())?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_cpu_s() {
        let expected: Vec<f32> =
            (0..3).flat_map(|chunk| cm_kernels::dropout::round_keys(99, chunk)).collect();
        assert_eq!(round_keys(99, 2 * CHUNK + 1), expected);
    }
}
