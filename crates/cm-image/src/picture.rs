//! Pictures of samples for people to look at.

use crate::{GridError, ImageBatch, ImageShape, contact_sheet, scatter_plot};

/// Pixels that a picture is wide, about.
const WIDTH: usize = 400;

/// How many images a picture of `grid` images wants; none if they cannot be drawn. A cloud of points wants more of them
/// than a sheet has images.
pub fn wanted(shape: ImageShape, grid: usize) -> Option<usize> {
    if is_plane(shape) {
        Some(grid * 32)
    } else {
        (shape.channels == 1 || shape.channels == 3).then_some(grid)
    }
}

/// A contact sheet, about square, or a scatter plot of points in the plane.
pub fn draw(images: &ImageBatch) -> Result<ImageBatch, GridError> {
    if is_plane(images.shape()) {
        return scatter_plot(images, 1.6, 320);
    }
    row_by_row(images, (images.count() as f64).sqrt().ceil() as usize)
}

/// A contact sheet of so many columns. Small images are enlarged until it is a few hundred pixels wide.
pub fn row_by_row(images: &ImageBatch, columns: usize) -> Result<ImageBatch, GridError> {
    let zoom = (WIDTH / (columns * images.shape().width).max(1)).clamp(1, 8);
    contact_sheet(images, columns, zoom)
}

fn is_plane(shape: ImageShape) -> bool {
    shape == ImageShape::vector(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_become_sheets_and_points_become_plots() {
        let digits = ImageShape::new(8, 8, 1);
        assert_eq!(wanted(digits, 100), Some(100));
        assert_eq!(draw(&ImageBatch::zeros(digits, 100)).unwrap().shape(), ImageShape::new(455, 455, 1));
        let points = ImageShape::vector(2);
        assert_eq!(wanted(points, 100), Some(3_200));
        assert_eq!(draw(&ImageBatch::zeros(points, 5)).unwrap().shape(), ImageShape::new(320, 320, 1));
        assert_eq!(wanted(ImageShape::vector(16), 100), None);
    }
}
