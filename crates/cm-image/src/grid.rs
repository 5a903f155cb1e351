//! Contact sheets: many images on one PNG, for people to look at.

use crate::{ImageBatch, ImageShape, to_u8};
use std::io::Write;

/// Why no picture could be made.
#[derive(Debug, thiserror::Error)]
pub enum GridError {
    /// Only grey (1 channel) and colour (3 channels) images can be shown.
    #[error("images of {0} cannot be drawn: a picture has 1 or 3 channels")]
    Channels(ImageShape),
    /// Only points of the plane can be scattered.
    #[error("images of {0} are not points of the plane")]
    Plane(ImageShape),
    /// Nothing to draw.
    #[error("no images to draw")]
    Empty,
    /// The PNG could not be encoded or written.
    #[error("cannot write the PNG: {0}")]
    Png(#[from] png::EncodingError),
}

/// The images of `batch` row by row in `columns` columns, each pixel enlarged to `zoom` x `zoom`, a border of
/// `zoom` white pixels between images. Returned as a batch of one image.
///
/// # Errors
/// [`GridError::Empty`] without images, columns or zoom; [`GridError::Channels`] unless there are 1 or 3 channels.
pub fn contact_sheet(batch: &ImageBatch, columns: usize, zoom: usize) -> Result<ImageBatch, GridError> {
    let shape = batch.shape();
    if shape.channels != 1 && shape.channels != 3 {
        return Err(GridError::Channels(shape));
    }
    if batch.count() == 0 || columns == 0 || zoom == 0 {
        return Err(GridError::Empty);
    }
    let columns = columns.min(batch.count());
    let rows = batch.count().div_ceil(columns);
    let (cell_h, cell_w) = (shape.height * zoom + zoom, shape.width * zoom + zoom);
    let sheet = ImageShape::new(rows * cell_h + zoom, columns * cell_w + zoom, shape.channels);
    Ok(ImageBatch::from_fn(sheet, 1, |_, out| {
        out.fill(1.0);
        for (index, image) in batch.images().enumerate() {
            let (top, left) = ((index / columns) * cell_h + zoom, (index % columns) * cell_w + zoom);
            for y in 0..shape.height * zoom {
                for x in 0..shape.width * zoom {
                    let from = ((y / zoom) * shape.width + x / zoom) * shape.channels;
                    let to = ((top + y) * sheet.width + left + x) * shape.channels;
                    out[to..to + shape.channels].copy_from_slice(&image[from..from + shape.channels]);
                }
            }
        }
    }))
}

/// Points of the plane as dots on white: a square of `size` x `size` pixels that shows [-`extent`, `extent`]^2, y
/// upwards. Dots that coincide darken. Returned as a batch of one grey image.
///
/// # Errors
/// [`GridError::Empty`] without points or pixels; [`GridError::Plane`] unless points have two coordinates.
pub fn scatter_plot(points: &ImageBatch, extent: f32, size: usize) -> Result<ImageBatch, GridError> {
    let shape = points.shape();
    if shape.len() != 2 {
        return Err(GridError::Plane(shape));
    }
    if points.count() == 0 || size == 0 {
        return Err(GridError::Empty);
    }
    Ok(ImageBatch::from_fn(ImageShape::new(size, size, 1), 1, |_, out| {
        out.fill(1.0);
        let pixel = |coordinate: f32| {
            let at = ((coordinate / extent + 1.0) * 0.5 * size as f32).floor();
            (at >= 0.0 && at < size as f32).then_some(at as usize)
        };
        for point in points.images() {
            // A point outside (or NaN) is not drawn.
            if let (Some(x), Some(y)) = (pixel(point[0]), pixel(-point[1])) {
                let dot = &mut out[y * size + x];
                *dot = (*dot - 0.7).max(-1.0);
            }
        }
    }))
}

/// Writes the first image of `batch` as an 8-bit PNG.
///
/// # Errors
/// [`GridError`] if it has other than 1 or 3 channels, or cannot be written.
pub fn write_png(batch: &ImageBatch, out: impl Write) -> Result<(), GridError> {
    let shape = batch.shape();
    let color = match shape.channels {
        1 => png::ColorType::Grayscale,
        3 => png::ColorType::Rgb,
        _ => return Err(GridError::Channels(shape)),
    };
    if batch.count() == 0 {
        return Err(GridError::Empty);
    }
    let mut encoder = png::Encoder::new(out, shape.width as u32, shape.height as u32);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    let pixels: Vec<u8> = batch.image(0).iter().map(|&value| to_u8(value)).collect();
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_decodes_to_the_pixels_that_were_drawn() {
        let batch = ImageBatch::from_fn(ImageShape::new(2, 2, 1), 3, |i, v| v.fill(i as f32 - 1.0));
        let sheet = contact_sheet(&batch, 2, 3).unwrap();
        assert_eq!(sheet.shape(), ImageShape::new(21, 21, 1));
        let mut bytes = Vec::new();
        write_png(&sheet, &mut bytes).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels[0], 255, "the border is white");
        assert_eq!(pixels[3 * 21 + 3], 0, "the first image is black");
        assert_eq!(pixels[3 * 21 + 12], 128, "the second image is grey");
        assert_eq!(pixels[12 * 21 + 3], 255, "the third image is white");
    }

    #[test]
    fn points_are_drawn_where_they_are() {
        let points =
            ImageBatch::new(ImageShape::vector(2), vec![-0.9, 0.9, 5.0, 0.0, f32::NAN, 0.0]).unwrap();
        let plot = scatter_plot(&points, 1.0, 10).unwrap();
        let dark: Vec<usize> = (0..100).filter(|&i| plot.values()[i] < 1.0).collect();
        assert_eq!(dark, [0], "left and up is the first pixel; points outside are left out");
        let images = ImageBatch::zeros(ImageShape::vector(3), 1);
        assert!(matches!(scatter_plot(&images, 1.0, 10), Err(GridError::Plane(_))));
    }

    #[test]
    fn only_grey_and_colour_are_drawn() {
        let points = ImageBatch::zeros(ImageShape::vector(2), 4);
        assert!(matches!(contact_sheet(&points, 2, 1), Err(GridError::Channels(_))));
        assert!(matches!(
            contact_sheet(&ImageBatch::zeros(ImageShape::vector(1), 0), 2, 1),
            Err(GridError::Empty)
        ));
    }
}
