//! PNG files to images.

use crate::{ImageBatch, ImageShape};
use png::{BitDepth, ColorType, Decoder, Transformations};
use std::io::{BufRead, Seek};

/// How much red, green and blue count for the grey of a pixel: Recommendation ITU-R BT.601.
const GREY: [f64; 3] = [0.299, 0.587, 0.114];

/// Why a PNG is no image.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be decoded or read.
    #[error("not a PNG that can be read: {0}")]
    Png(#[from] png::DecodingError),
    /// Images are read as grey or as colour.
    #[error("a PNG has no {0} channels: 1 (grey) or 3 (colour)")]
    Channels(usize),
    /// It is too large for the memory of this machine.
    #[error("the image is too large")]
    Size,
}

/// A PNG whose header was read: its size is known before any memory is taken for its pixels.
pub struct PngImage<R: BufRead + Seek> {
    reader: png::Reader<R>,
}

impl<R: BufRead + Seek> PngImage<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ReadError::Png`] if it is none.
    pub fn open(input: R) -> Result<Self, ReadError> {
        let mut decoder = Decoder::new(input);
        // Palettes and fewer than 8 bits become bytes, a transparent colour becomes alpha.
        decoder.set_transformations(Transformations::EXPAND);
        Ok(Self { reader: decoder.read_info()? })
    }

    /// Height and width.
    pub fn size(&self) -> (usize, usize) {
        let info = self.reader.info();
        (info.height as usize, info.width as usize)
    }

    /// 3 for a file with colours, 1 for a grey one.
    pub fn colours(&self) -> usize {
        match self.reader.output_color_type().0 {
            ColorType::Grayscale | ColorType::GrayscaleAlpha | ColorType::Indexed => 1,
            ColorType::Rgb | ColorType::Rgba => 3,
        }
    }

    /// The image with 1 or 3 channels in [-1, 1], whatever the file's bit depth and colours. Colour becomes grey by the
    /// weights of BT.601, grey becomes colour by repetition, and what is transparent lies on black.
    ///
    /// # Errors
    /// [`ReadError`] for another number of channels, or if the pixels cannot be decoded.
    pub fn decode(mut self, channels: usize) -> Result<ImageBatch, ReadError> {
        if channels != 1 && channels != 3 {
            return Err(ReadError::Channels(channels));
        }
        let (height, width) = self.size();
        let mut bytes = vec![0; self.reader.output_buffer_size().ok_or(ReadError::Size)?];
        let frame = self.reader.next_frame(&mut bytes)?;
        // In [0, 1].
        let samples: Vec<f64> = match frame.bit_depth {
            BitDepth::Sixteen => bytes
                .chunks_exact(2)
                .map(|pair| f64::from(u16::from_be_bytes([pair[0], pair[1]])) / 65_535.0)
                .collect(),
            BitDepth::One | BitDepth::Two | BitDepth::Four | BitDepth::Eight => {
                bytes.iter().map(|&byte| f64::from(byte) / 255.0).collect()
            }
        };
        let (colours, alpha) = match frame.color_type {
            ColorType::Grayscale | ColorType::Indexed => (1, false),
            ColorType::GrayscaleAlpha => (1, true),
            ColorType::Rgb => (3, false),
            ColorType::Rgba => (3, true),
        };
        let per_pixel = colours + usize::from(alpha);
        Ok(ImageBatch::from_fn(ImageShape::new(height, width, channels), 1, |_, out| {
            for (out, pixel) in out.chunks_exact_mut(channels).zip(samples.chunks_exact(per_pixel)) {
                let cover = if alpha { pixel[colours] } else { 1.0 };
                for (channel, out) in out.iter_mut().enumerate() {
                    *out = (2.0 * cover * sample(&pixel[..colours], channel, channels) - 1.0) as f32;
                }
            }
        }))
    }
}

/// One of `channels` channels of a pixel that has one colour or three.
fn sample(pixel: &[f64], channel: usize, channels: usize) -> f64 {
    match pixel {
        [red, green, blue] if channels == 1 => {
            // Grey written as colour stays exactly what it is.
            if red == green && green == blue {
                *red
            } else {
                GREY[0] * red + GREY[1] * green + GREY[2] * blue
            }
        }
        [_, _, _] => pixel[channel],
        _ => pixel[0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{to_u8, write_png};
    use std::io::Cursor;

    /// A PNG of one row, and what it is decoded to with so many channels.
    fn decoded(color: ColorType, depth: BitDepth, width: u32, row: &[u8], channels: usize) -> Vec<f32> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, 1);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ColorType::Indexed {
            encoder.set_palette(vec![0, 0, 0, 255, 0, 0, 255, 255, 255]);
        }
        encoder.write_header().unwrap().write_image_data(row).unwrap();
        PngImage::open(Cursor::new(file)).unwrap().decode(channels).unwrap().into_values()
    }

    fn levels(values: &[f32]) -> Vec<u8> {
        values.iter().map(|&value| to_u8(value)).collect()
    }

    #[test]
    fn what_was_written_is_read_back_to_the_bit_of_its_pixels() {
        for channels in [1, 3] {
            let shape = ImageShape::new(3, 5, channels);
            let batch = ImageBatch::from_fn(shape, 1, |_, out| {
                out.iter_mut().enumerate().for_each(|(i, v)| *v = crate::from_u8((i * 17 % 256) as u8));
            });
            let mut file = Vec::new();
            write_png(&batch, &mut file).unwrap();
            let image = PngImage::open(Cursor::new(file)).unwrap();
            assert_eq!((image.size(), image.colours()), ((3, 5), channels));
            let read = image.decode(channels).unwrap();
            assert_eq!(read.shape(), shape);
            assert_eq!(levels(read.values()), levels(batch.values()));
        }
    }

    #[test]
    fn every_bit_depth_and_colour_type_is_understood() {
        use {BitDepth::*, ColorType::*};
        assert_eq!(levels(&decoded(Grayscale, One, 3, &[0b1010_0000], 1)), [255, 0, 255]);
        assert_eq!(levels(&decoded(Grayscale, Two, 3, &[0b0001_1000], 1)), [0, 85, 170]);
        assert_eq!(levels(&decoded(Grayscale, Four, 2, &[0x0f], 1)), [0, 255]);
        let sixteen = decoded(Grayscale, Sixteen, 2, &[0x80, 0x00, 0xff, 0xff], 1);
        assert!((sixteen[0] - 1.0 / 65_535.0).abs() < 1e-9 && sixteen[1] == 1.0, "{sixteen:?}");
        assert_eq!(levels(&decoded(Indexed, Eight, 3, &[0, 1, 2], 3)), [0, 0, 0, 255, 0, 0, 255, 255, 255]);
        assert_eq!(levels(&decoded(Indexed, Eight, 3, &[0, 1, 2], 1)), [0, 76, 255]);
        assert_eq!(levels(&decoded(Rgb, Eight, 2, &[9, 9, 9, 0, 255, 0], 1)), [9, 150]);
        assert_eq!(levels(&decoded(Grayscale, Eight, 1, &[7], 3)), [7, 7, 7]);
        assert_eq!(
            levels(&decoded(Rgba, Eight, 2, &[255, 100, 50, 0, 255, 100, 50, 255], 3)),
            [0, 0, 0, 255, 100, 50]
        );
        assert_eq!(levels(&decoded(GrayscaleAlpha, Eight, 1, &[200, 51], 1)), [40]);
    }

    #[test]
    fn what_is_no_png_is_an_error() {
        assert!(matches!(PngImage::open(Cursor::new(b"GIF89a".to_vec())), Err(ReadError::Png(_))));
        let mut file = Vec::new();
        write_png(&ImageBatch::zeros(ImageShape::new(9, 9, 1), 1), &mut file).unwrap();
        let open = |bytes: &[u8]| PngImage::open(Cursor::new(bytes.to_vec())).unwrap();
        assert!(matches!(open(&file).decode(2), Err(ReadError::Channels(2))));
        assert!(matches!(open(&file[..file.len() - 20]).decode(1), Err(ReadError::Png(_))));
    }
}
