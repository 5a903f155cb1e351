//! The two minimal filtering algorithms, F(2x2,3x3) and F(4x4,3x3), as one-dimensional transforms.
//!
//! Lavin and Gray 2015 (arXiv 1509.09308): an output tile is `A^T [(G g G^T) * (B^T d B)] A`, with `*` element by
//! element, `g` the 3x3 kernel and `d` the input tile. A two-dimensional transform is the one-dimensional one along
//! the columns, then along the rows. The gradients use the transposes of `A` and `G`: the gradient of the
//! transformed kernel is `(B^T d B) * (A y A^T)` for an output gradient `y`, that of the kernel `G^T [.] G`.

use crate::product::vector::Vector;

/// Side of the largest input tile; arrays have this size, a smaller algorithm uses their first elements.
pub(super) const MAX_SIDE: usize = 6;

/// Side of the largest output tile.
pub(super) const MAX_TILE: usize = 4;

/// One-dimensional transforms of an algorithm for three-tap kernels.
///
/// # Safety
/// For all methods: the machine must have the instruction set of `V`.
pub(in crate::conv2d) trait Algorithm: Copy + Send + Sync {
    /// Side of an output tile.
    const TILE: usize;
    /// Side of an input tile and of the transformed kernel.
    const SIDE: usize = Self::TILE + 2;
    /// Numbers in a transformed tile.
    const SLOTS: usize = Self::SIDE * Self::SIDE;

    /// `B^T d`, SIDE to SIDE.
    unsafe fn input<V: Vector>(d: [V; MAX_SIDE]) -> [V; MAX_SIDE];
    /// `A^T m`, SIDE to TILE.
    unsafe fn output<V: Vector>(m: [V; MAX_SIDE]) -> [V; MAX_TILE];
    /// `A y`, TILE to SIDE: the transpose of `output`.
    unsafe fn grad_output<V: Vector>(y: [V; MAX_TILE]) -> [V; MAX_SIDE];
    /// `G g`, 3 to SIDE.
    unsafe fn weight<V: Vector>(g: [V; 3]) -> [V; MAX_SIDE];
    /// `G^T u`, SIDE to 3: the transpose of `weight`.
    unsafe fn grad_weight<V: Vector>(u: [V; MAX_SIDE]) -> [V; 3];
}

/// F(2x2,3x3): 16 products for 4 outputs, interpolation points 0, 1, -1 and infinity.
#[derive(Clone, Copy)]
pub(in crate::conv2d) struct F2;

/// F(4x4,3x3): 36 products for 16 outputs, interpolation points 0, a, -a, b, -b and infinity with a = 5/8 and b = 3/2.
/// Measured largest errors are a quarter of those with the textbook's a = 1 and b = 2, and a, b and their squares are
/// exact in binary.
#[derive(Clone, Copy)]
pub(in crate::conv2d) struct F4;

impl Algorithm for F2 {
    const TILE: usize = 2;

    #[inline(always)]
    unsafe fn input<V: Vector>(d: [V; 6]) -> [V; 6] {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { [d[0].sub(d[2]), d[1].add(d[2]), d[2].sub(d[1]), d[1].sub(d[3]), d[4], d[5]] }
    }

    #[inline(always)]
    unsafe fn output<V: Vector>(m: [V; 6]) -> [V; 4] {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { [m[0].add(m[1]).add(m[2]), m[1].sub(m[2]).sub(m[3]), m[4], m[5]] }
    }

    #[inline(always)]
    unsafe fn grad_output<V: Vector>(y: [V; 4]) -> [V; 6] {
        // SAFETY: the instruction set, promised by the caller.
        unsafe { [y[0], y[0].add(y[1]), y[0].sub(y[1]), V::splat(0.0).sub(y[1]), y[2], y[3]] }
    }

    #[inline(always)]
    unsafe fn weight<V: Vector>(g: [V; 3]) -> [V; 6] {
        // SAFETY: the instruction set, promised by the caller.
        unsafe {
            let half = V::splat(0.5);
            let (even, odd) = (g[0].add(g[2]).mul(half), g[1].mul(half));
            [g[0], even.add(odd), even.sub(odd), g[2], g[2], g[2]]
        }
    }

    #[inline(always)]
    unsafe fn grad_weight<V: Vector>(u: [V; 6]) -> [V; 3] {
        // SAFETY: the instruction set, promised by the caller.
        unsafe {
            let half = V::splat(0.5);
            let (even, odd) = (u[1].add(u[2]).mul(half), u[1].sub(u[2]).mul(half));
            [u[0].add(even), odd, u[3].add(even)]
        }
    }
}

/// The inner and outer interpolation points of [`F4`], a and b: exact in single precision.
pub(crate) const F4_PAIRS: [f64; 2] = [0.625, 1.5];
const A: f32 = F4_PAIRS[0] as f32;
const B: f32 = F4_PAIRS[1] as f32;
const A2: f32 = A * A;
const B2: f32 = B * B;

/// The denominators of the Lagrange polynomials at 0, at a and -a, and at b and -b.
const N0: f32 = A2 * B2;
const NA: f32 = 2.0 * A2 * (A2 - B2);
const NB: f32 = 2.0 * B2 * (B2 - A2);

impl Algorithm for F4 {
    const TILE: usize = 4;

    // Row of B^T for a point: coefficients of the product of (x - q) over the other points q, infinity left out.
    #[inline(always)]
    unsafe fn input<V: Vector>(d: [V; 6]) -> [V; 6] {
        // SAFETY: the instruction set, promised by the caller.
        unsafe {
            let (even_a, odd_a) = (d[2].scaled_plus(-B2, d[4]), d[1].scaled_plus(-B2, d[3]));
            let (even_b, odd_b) = (d[2].scaled_plus(-A2, d[4]), d[1].scaled_plus(-A2, d[3]));
            [
                d[0].scaled_plus(N0, d[2].scaled_plus(-(A2 + B2), d[4])),
                odd_a.scaled_plus(A, even_a),
                odd_a.scaled_plus(-A, even_a),
                odd_b.scaled_plus(B, even_b),
                odd_b.scaled_plus(-B, even_b),
                d[1].scaled_plus(N0, d[3].scaled_plus(-(A2 + B2), d[5])),
            ]
        }
    }

    // Row i of A^T: the points to the power i; infinity counts in the last.
    #[inline(always)]
    unsafe fn output<V: Vector>(m: [V; 6]) -> [V; 4] {
        // SAFETY: the instruction set, promised by the caller.
        unsafe {
            let (even_a, odd_a) = (m[1].add(m[2]), m[1].sub(m[2]));
            let (even_b, odd_b) = (m[3].add(m[4]), m[3].sub(m[4]));
            [
                m[0].add(even_a).add(even_b),
                odd_b.scaled_plus(B, odd_a.mul(V::splat(A))),
                even_b.scaled_plus(B2, even_a.mul(V::splat(A2))),
                odd_b.scaled_plus(B2 * B, odd_a.scaled_plus(A2 * A, m[5])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn grad_output<V: Vector>(y: [V; 4]) -> [V; 6] {
        // SAFETY: the instruction set, promised by the caller.
        unsafe {
            let (even_a, odd_a) = (y[2].scaled_plus(A2, y[0]), y[3].scaled_plus(A2, y[1]));
            let (even_b, odd_b) = (y[2].scaled_plus(B2, y[0]), y[3].scaled_plus(B2, y[1]));
            [
                y[0],
                odd_a.scaled_plus(A, even_a),
                odd_a.scaled_plus(-A, even_a),
                odd_b.scaled_plus(B, even_b),
                odd_b.scaled_plus(-B, even_b),
                y[3],
            ]
        }
    }

    // Row of G for a point p: 1, p, p^2 by the point's denominator; 0 0 1 for infinity.
    #[inline(always)]
    unsafe fn weight<V: Vector>(g: [V; 3]) -> [V; 6] {
        // SAFETY: the instruction set, promised by the caller.
        unsafe {
            let even_a = g[2].scaled_plus(A2 / NA, g[0].mul(V::splat(1.0 / NA)));
            let even_b = g[2].scaled_plus(B2 / NB, g[0].mul(V::splat(1.0 / NB)));
            [
                g[0].mul(V::splat(1.0 / N0)),
                g[1].scaled_plus(A / NA, even_a),
                g[1].scaled_plus(-A / NA, even_a),
                g[1].scaled_plus(B / NB, even_b),
                g[1].scaled_plus(-B / NB, even_b),
                g[2],
            ]
        }
    }

    #[inline(always)]
    unsafe fn grad_weight<V: Vector>(u: [V; 6]) -> [V; 3] {
        // SAFETY: the instruction set, promised by the caller.
        unsafe {
            let (even_a, odd_a) = (u[1].add(u[2]), u[1].sub(u[2]));
            let (even_b, odd_b) = (u[3].add(u[4]), u[3].sub(u[4]));
            [
                u[0].scaled_plus(1.0 / N0, even_a.scaled_plus(1.0 / NA, even_b.mul(V::splat(1.0 / NB)))),
                odd_a.scaled_plus(A / NA, odd_b.mul(V::splat(B / NB))),
                even_a.scaled_plus(A2 / NA, even_b.scaled_plus(B2 / NB, u[5])),
            ]
        }
    }
}
