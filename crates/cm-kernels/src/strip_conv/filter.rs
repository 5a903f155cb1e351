//! Minimal filtering along a line: `TILE` outputs of a window of `LENGTH` pixels from `SLOTS = LENGTH + TILE - 1`
//! products instead of `LENGTH * TILE`.
//!
//! With `d` the pixels under the outputs' windows and `g` the window, the outputs are `A^T [(G g) * (B^T d)]` (Toom and
//! Cook; Lavin and Gray 2015, arXiv 1509.09308). The matrices follow from interpolation points: 0, pairs p and -p, and
//! infinity, in this order. The rows of a pair differ in the signs of the odd (or even) columns only, so they cost
//! one row.
//!
//! More outputs at once need more points, and the error grows with them. The points of [`Five`] and [`Seven`] were
//! chosen by search in sixteenths for the smallest mean square error in single precision on non-negative pixels and
//! normal weights, those of [`Three`] are those of the 3x3 kernels. As multiples of the direct sum's rounding error,
//! root mean squares: 1.7, 2.5 and 4.8 for three, five and seven pixels. Six outputs of seven pixels would save a quarter
//! more of the products, and have 13.

use crate::conv2d::F4_PAIRS;
use crate::product::vector::Vector;

/// Outputs computed together.
pub(super) const TILE: usize = 4;

/// Numbers of a transformed tile of the longest window: arrays have this size, others use their first elements.
pub(super) const MAX_SLOTS: usize = 10;

/// Windows of one length.
pub(super) trait Filter: Copy + Send + Sync {
    /// Pixels of the window.
    const LENGTH: usize;
    /// Of each pair of interpolation points the positive one.
    const PAIRS: &'static [f64];
    /// Numbers of a transformed tile; even.
    const SLOTS: usize = Self::LENGTH + TILE - 1;
    /// `B^T`.
    const INPUT: [[f32; MAX_SLOTS]; MAX_SLOTS] = input_matrix(Self::PAIRS);
    /// `A^T`.
    const OUTPUT: [[f32; MAX_SLOTS]; TILE] = output_matrix(Self::PAIRS);
}

/// Windows of three pixels: 6 products for 4 outputs.
#[derive(Clone, Copy)]
pub(super) struct Three;

/// Windows of five pixels: 8 products for 4 outputs.
#[derive(Clone, Copy)]
pub(super) struct Five;

/// Windows of seven pixels: 10 products for 4 outputs.
#[derive(Clone, Copy)]
pub(super) struct Seven;

impl Filter for Three {
    const LENGTH: usize = 3;
    const PAIRS: &'static [f64] = &F4_PAIRS;
}

impl Filter for Five {
    const LENGTH: usize = 5;
    const PAIRS: &'static [f64] = &[0.5, 1.0, 2.0];
}

impl Filter for Seven {
    const LENGTH: usize = 7;
    const PAIRS: &'static [f64] = &[0.4375, 0.8125, 1.1875, 2.375];
}

/// The finite point of a slot.
const fn point(pairs: &[f64], slot: usize) -> f64 {
    match (slot, slot % 2) {
        (0, _) => 0.0,
        (_, 1) => pairs[slot / 2],
        _ => -pairs[slot / 2 - 1],
    }
}

/// Row of a finite point: the coefficients of the product of (x - q) over the other finite points q. Row of infinity:
/// the same over all.
const fn input_matrix(pairs: &[f64]) -> [[f32; MAX_SLOTS]; MAX_SLOTS] {
    let slots = 2 * pairs.len() + 2;
    let mut matrix = [[0.0; MAX_SLOTS]; MAX_SLOTS];
    let mut slot = 0;
    while slot < slots {
        let mut row = [0.0; MAX_SLOTS];
        row[0] = 1.0;
        let mut other = 0;
        while other + 1 < slots {
            if other != slot {
                // Times x, minus the point.
                let mut power = MAX_SLOTS - 1;
                while power > 0 {
                    row[power] = row[power - 1] - point(pairs, other) * row[power];
                    power -= 1;
                }
                row[0] *= -point(pairs, other);
            }
            other += 1;
        }
        let mut power = 0;
        while power < MAX_SLOTS {
            matrix[slot][power] = row[power] as f32;
            power += 1;
        }
        slot += 1;
    }
    matrix
}

/// Row i: the finite points to the power i; infinity counts in the last.
const fn output_matrix(pairs: &[f64]) -> [[f32; MAX_SLOTS]; TILE] {
    let slots = 2 * pairs.len() + 2;
    let mut matrix = [[0.0; MAX_SLOTS]; TILE];
    let mut slot = 0;
    while slot + 1 < slots {
        let (mut power, mut i) = (1.0, 0);
        while i < TILE {
            matrix[i][slot] = power as f32;
            power *= point(pairs, slot);
            i += 1;
        }
        slot += 1;
    }
    matrix[TILE - 1][slots - 1] = 1.0;
    matrix
}

/// `G`, in double precision, for it is applied once: the points' powers by the product of their distances from the
/// others; the last pixel alone for infinity.
pub(super) fn weight_row<F: Filter>(slot: usize) -> Vec<f64> {
    let last = F::SLOTS - 1;
    if slot == last {
        return (0..F::LENGTH).map(|tap| if tap + 1 == F::LENGTH { 1.0 } else { 0.0 }).collect();
    }
    let p = point(F::PAIRS, slot);
    let distances: f64 =
        (0..last).filter(|&other| other != slot).map(|other| p - point(F::PAIRS, other)).product();
    (0..F::LENGTH).map(|tap| p.powi(tap as i32) / distances).collect()
}

/// `B^T d`.
///
/// # Safety
/// The instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn input<V: Vector, F: Filter>(d: &[V; MAX_SLOTS]) -> [V; MAX_SLOTS] {
    let last = F::SLOTS - 1;
    // SAFETY: the instruction set, promised by the caller.
    unsafe {
        let sum = |row: usize, first: usize, end: usize| {
            let mut sum = d[first].mul(V::splat(F::INPUT[row][first]));
            for i in (first + 2..end).step_by(2) {
                sum = d[i].scaled_plus(F::INPUT[row][i], sum);
            }
            sum
        };
        let mut slots = [V::splat(0.0); MAX_SLOTS];
        slots[0] = sum(0, 0, last);
        for slot in (1..last).step_by(2) {
            let (even, odd) = (sum(slot, 2, last), sum(slot, 1, last));
            slots[slot] = even.add(odd);
            slots[slot + 1] = even.sub(odd);
        }
        slots[last] = sum(last, 1, last + 1);
        slots
    }
}

/// `A^T m`.
///
/// # Safety
/// The instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn output<V: Vector, F: Filter>(m: &[V; MAX_SLOTS]) -> [V; TILE] {
    let last = F::SLOTS - 1;
    // SAFETY: the instruction set, promised by the caller.
    unsafe {
        let mut outputs = [m[0], V::splat(0.0), V::splat(0.0), m[last]];
        for slot in (1..last).step_by(2) {
            let (even, odd) = (m[slot].add(m[slot + 1]), m[slot].sub(m[slot + 1]));
            for (i, output) in outputs.iter_mut().enumerate() {
                let part = if i % 2 == 0 { even } else { odd };
                *output = part.scaled_plus(F::OUTPUT[i][slot], *output);
            }
        }
        outputs
    }
}
