//! Random orders without a list of them.

use cm_image::random::philox4x32;

/// Rounds of the Feistel network; four make a pseudo-random permutation (Luby and Rackoff 1988), more help where
/// halves have few bits.
const ROUNDS: u32 = 8;

/// Where the `seed`-th permutation of `0..len` sends `position` < `len`: a Feistel network on the smallest square
/// domain of a power of four that holds `len`, walked until it comes back below `len` (Black and Rogaway 2002).
pub(crate) fn permuted(position: u64, len: u64, seed: u64) -> u64 {
    let bits = (u64::BITS - (len - 1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1u64 << bits) - 1;
    let key = [seed as u32, (seed >> 32) as u32];
    let mut value = position;
    loop {
        let (mut left, mut right) = (value >> bits, value & mask);
        for round in 0..ROUNDS {
            let [word, ..] = philox4x32([right as u32, (right >> 32) as u32, round, 0x00FE_157E], key);
            (left, right) = (right, left ^ (u64::from(word) & mask));
        }
        value = (left << bits) | right;
        if value < len {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_image::random::derive_seed;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_permutes(len in 1u64..700, seed: u64) {
            let mut seen: Vec<u64> = (0..len).map(|position| permuted(position, len, seed)).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..len).collect::<Vec<u64>>());
        }
    }

    /// First and second places of 5 and the fate of position 0 of 1,000: even within five standard deviations.
    #[test]
    fn orders_are_even() {
        let mut pairs = [[0i32; 5]; 5];
        let mut decile = [0i32; 10];
        for seed in 0..20_000 {
            let seed = derive_seed(9, seed);
            pairs[permuted(0, 5, seed) as usize][permuted(1, 5, seed) as usize] += 1;
            decile[permuted(0, 1000, seed) as usize / 100] += 1;
        }
        for (a, row) in pairs.iter().enumerate() {
            for (b, &n) in row.iter().enumerate() {
                assert!(if a == b { n == 0 } else { (n - 1000).abs() < 155 }, "{pairs:?}");
            }
        }
        assert!(decile.iter().all(|&n| (n - 2000).abs() < 213), "{decile:?}");
    }
}
