//! Where the tiles of a batch lie.

use super::algorithm::{Algorithm, MAX_SIDE, MAX_TILE};
use crate::conv2d::Conv2dShape;

/// The output tiles of a batch of images, in row-major order; the last row and column may stick out of the image.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    batch: usize,
    input: Plane,
    output: Plane,
    /// Zeros on each side of the input.
    padding: usize,
    rows: usize,
    cols: usize,
    tile: usize,
}

/// The size of an image in pixels.
#[derive(Clone, Copy)]
struct Plane {
    height: usize,
    width: usize,
}

/// An offset of no pixel.
const OUTSIDE: usize = usize::MAX;

impl Tiles {
    pub(super) fn new<A: Algorithm>(shape: &Conv2dShape) -> Self {
        let input = Plane { height: shape.height, width: shape.width };
        let output = Plane { height: shape.out_height(), width: shape.out_width() };
        let (rows, cols) = (output.height.div_ceil(A::TILE), output.width.div_ceil(A::TILE));
        Self { batch: shape.batch, input, output, padding: shape.padding, rows, cols, tile: A::TILE }
    }

    /// Number of tiles.
    pub(super) fn count(&self) -> usize {
        self.batch * self.rows * self.cols
    }

    /// The image of a tile, and the row and column of its first output.
    #[inline(always)]
    fn locate(&self, index: usize) -> (usize, usize, usize) {
        let (row_index, col) = (index / self.cols, index % self.cols);
        (row_index / self.rows, row_index % self.rows * self.tile, col * self.tile)
    }

    /// The image of a tile.
    #[inline(always)]
    pub(super) fn image(&self, index: usize) -> usize {
        index / (self.rows * self.cols)
    }

    /// The square of `side` pixels of which the first is `margin` above and left of a tile's first output, on images of
    /// a plane's size: the floats from the start of the batch to each pixel of `channels` floats, `outside` for those
    /// outside the image.
    #[inline(always)]
    fn square<const N: usize, T: Copy>(
        &self,
        index: usize,
        plane: Plane,
        (side, margin): (usize, usize),
        channels: usize,
        outside: T,
        inside: impl Fn(usize) -> T,
    ) -> [[T; N]; N] {
        let (image, row, col) = self.locate(index);
        let base = image * plane.height * plane.width * channels;
        let (mut rows, mut cols) = ([OUTSIDE; N], [OUTSIDE; N]);
        for i in 0..side {
            // Wrapped below 0, which is past every size.
            let (r, c) = ((row + i).wrapping_sub(margin), (col + i).wrapping_sub(margin));
            if r < plane.height {
                rows[i] = base + r * plane.width * channels;
            }
            if c < plane.width {
                cols[i] = c * channels;
            }
        }
        let mut square = [[outside; N]; N];
        for r in 0..side {
            for c in 0..side {
                if rows[r] != OUTSIDE && cols[c] != OUTSIDE {
                    square[r][c] = inside(rows[r] + cols[c]);
                }
            }
        }
        square
    }

    /// Addresses of the pixels under a tile's input, two rows and columns more than of its output; `outside` for those
    /// in the padding.
    #[inline(always)]
    pub(super) fn inputs<A: Algorithm>(
        &self,
        index: usize,
        pixels: *const f32,
        channels: usize,
        outside: *const f32,
    ) -> [[*const f32; MAX_SIDE]; MAX_SIDE] {
        self.square(index, self.input, (A::SIDE, self.padding), channels, outside, |at| {
            pixels.wrapping_add(at)
        })
    }

    /// Offsets of the pixels of a tile's output; `None` for those outside the image.
    #[inline(always)]
    pub(super) fn outputs<A: Algorithm>(
        &self,
        index: usize,
        channels: usize,
    ) -> [[Option<usize>; MAX_TILE]; MAX_TILE] {
        self.square(index, self.output, (A::TILE, 0), channels, None, Some)
    }
}
