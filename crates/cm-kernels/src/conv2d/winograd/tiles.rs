//! Where the tiles of a batch lie.

use super::algorithm::{Algorithm, MAX_SIDE, MAX_TILE};
use crate::conv2d::Conv2dShape;

/// The output tiles of a batch of images, in row-major order; the last row and column may stick out of the image.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    batch: usize,
    height: usize,
    width: usize,
    rows: usize,
    cols: usize,
    tile: usize,
}

/// One tile: its image and the first pixel of its outputs.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) image: usize,
    row: usize,
    col: usize,
}

impl Tiles {
    pub(super) fn new<A: Algorithm>(shape: &Conv2dShape) -> Self {
        let (height, width) = (shape.height, shape.width);
        let (rows, cols) = (height.div_ceil(A::TILE), width.div_ceil(A::TILE));
        Self { batch: shape.batch, height, width, rows, cols, tile: A::TILE }
    }

    /// Number of tiles.
    pub(super) fn count(&self) -> usize {
        self.batch * self.rows * self.cols
    }

    #[inline(always)]
    pub(super) fn get(&self, index: usize) -> Tile {
        let (row_index, col) = (index / self.cols, index % self.cols);
        let (image, row) = (row_index / self.rows, row_index % self.rows);
        Tile { image, row: row * self.tile, col: col * self.tile }
    }

    /// Index of the pixel `(row, col)` of a tile's image within the batch.
    #[inline(always)]
    fn pixel(&self, tile: Tile, row: usize, col: usize) -> usize {
        (tile.image * self.height + row) * self.width + col
    }

    /// Addresses of the pixels under a tile's input, one pixel wider on each side than its output; `outside` for
    /// those in the padding.
    #[inline(always)]
    pub(super) fn inputs<A: Algorithm>(
        &self,
        tile: Tile,
        pixels: *const f32,
        channels: usize,
        outside: *const f32,
    ) -> [[*const f32; MAX_SIDE]; MAX_SIDE] {
        let mut addresses = [[outside; MAX_SIDE]; MAX_SIDE];
        for r in 0..A::SIDE {
            // The input starts one row above and one column left of the output: wrapped below 0, past every size.
            let row = (tile.row + r).wrapping_sub(1);
            for c in 0..A::SIDE {
                let col = (tile.col + c).wrapping_sub(1);
                if row < self.height && col < self.width {
                    addresses[r][c] = pixels.wrapping_add(self.pixel(tile, row, col) * channels);
                }
            }
        }
        addresses
    }

    /// Indices of the pixels of a tile's output; `None` for those outside the image.
    #[inline(always)]
    pub(super) fn outputs<A: Algorithm>(&self, tile: Tile) -> [[Option<usize>; MAX_TILE]; MAX_TILE] {
        let mut pixels = [[None; MAX_TILE]; MAX_TILE];
        for r in 0..A::TILE {
            for c in 0..A::TILE {
                let (row, col) = (tile.row + r, tile.col + c);
                if row < self.height && col < self.width {
                    pixels[r][c] = Some(self.pixel(tile, row, col));
                }
            }
        }
        pixels
    }
}
