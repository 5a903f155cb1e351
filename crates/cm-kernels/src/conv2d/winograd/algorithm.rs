//! The two minimal filtering algorithms, F(2x2,3x3) and F(4x4,3x3), as one-dimensional transforms.
//!
//! Lavin and Gray 2015 (arXiv 1509.09308): an output tile is `A^T [(G g G^T) * (B^T d B)] A`, with `*` element by
//! element, `g` the 3x3 kernel and `d` the input tile. A two-dimensional transform is the one-dimensional one along
//! the columns, then along the rows. The gradients use the transposes of `A` and `G`: the gradient of the
//! transformed kernel is `(B^T d B) * (A y A^T)` for an output gradient `y`, that of the kernel `G^T [.] G`.

use crate::conv2d::vector::Vector;

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

/// F(4x4,3x3): 36 products for 16 outputs, interpolation points 0, 1, -1, 2, -2 and infinity.
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

impl Algorithm for F4 {
    const TILE: usize = 4;

    // Rows of B^T: 4 0 -5 0 1 0 | 0 -4 -4 1 1 0 | 0 4 -4 -1 1 0 | 0 -2 -1 2 1 0 | 0 2 -1 -2 1 0 | 0 4 0 -5 0 1.
    #[inline(always)]
    unsafe fn input<V: Vector>(d: [V; 6]) -> [V; 6] {
        // SAFETY: the instruction set, promised by the caller.
        unsafe {
            let even4 = d[2].scaled_plus(-4.0, d[4]);
            let odd4 = d[1].scaled_plus(-4.0, d[3]);
            let even1 = d[4].sub(d[2]);
            let odd1 = d[3].sub(d[1]);
            [
                d[0].scaled_plus(4.0, d[2].scaled_plus(-5.0, d[4])),
                even4.add(odd4),
                even4.sub(odd4),
                odd1.scaled_plus(2.0, even1),
                odd1.scaled_plus(-2.0, even1),
                d[1].scaled_plus(4.0, d[3].scaled_plus(-5.0, d[5])),
            ]
        }
    }

    // Rows of A^T: 1 1 1 1 1 0 | 0 1 -1 2 -2 0 | 0 1 1 4 4 0 | 0 1 -1 8 -8 1.
    #[inline(always)]
    unsafe fn output<V: Vector>(m: [V; 6]) -> [V; 4] {
        // SAFETY: the instruction set, promised by the caller.
        unsafe {
            let (even1, odd1) = (m[1].add(m[2]), m[1].sub(m[2]));
            let (even2, odd2) = (m[3].add(m[4]), m[3].sub(m[4]));
            [
                m[0].add(even1).add(even2),
                odd2.scaled_plus(2.0, odd1),
                even2.scaled_plus(4.0, even1),
                odd2.scaled_plus(8.0, odd1).add(m[5]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn grad_output<V: Vector>(y: [V; 4]) -> [V; 6] {
        // SAFETY: the instruction set, promised by the caller.
        unsafe {
            let (even1, odd1) = (y[0].add(y[2]), y[1].add(y[3]));
            let even2 = y[2].scaled_plus(4.0, y[0]);
            let odd2 = y[3].scaled_plus(4.0, y[1]);
            [
                y[0],
                even1.add(odd1),
                even1.sub(odd1),
                odd2.scaled_plus(2.0, even2),
                odd2.scaled_plus(-2.0, even2),
                y[3],
            ]
        }
    }

    // Rows of G: 1/4 0 0 | -1/6 -1/6 -1/6 | -1/6 1/6 -1/6 | 1/24 1/12 1/6 | 1/24 -1/12 1/6 | 0 0 1.
    #[inline(always)]
    unsafe fn weight<V: Vector>(g: [V; 3]) -> [V; 6] {
        // SAFETY: the instruction set, promised by the caller.
        unsafe {
            let even1 = g[0].add(g[2]).mul(V::splat(-1.0 / 6.0));
            let odd1 = g[1].mul(V::splat(1.0 / 6.0));
            let even2 = g[0].scaled_plus(1.0 / 24.0, g[2].mul(V::splat(1.0 / 6.0)));
            let odd2 = g[1].mul(V::splat(1.0 / 12.0));
            [
                g[0].mul(V::splat(0.25)),
                even1.sub(odd1),
                even1.add(odd1),
                even2.add(odd2),
                even2.sub(odd2),
                g[2],
            ]
        }
    }

    #[inline(always)]
    unsafe fn grad_weight<V: Vector>(u: [V; 6]) -> [V; 3] {
        // SAFETY: the instruction set, promised by the caller.
        unsafe {
            let (even1, odd1) = (u[1].add(u[2]).mul(V::splat(-1.0 / 6.0)), u[2].sub(u[1]));
            let (even2, odd2) = (u[3].add(u[4]), u[3].sub(u[4]));
            [
                u[0].scaled_plus(0.25, even2.scaled_plus(1.0 / 24.0, even1)),
                odd1.scaled_plus(1.0 / 6.0, odd2.mul(V::splat(1.0 / 12.0))),
                even2.scaled_plus(1.0 / 6.0, even1).add(u[5]),
            ]
        }
    }
}
