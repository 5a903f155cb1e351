//! PNG and JPEG files to bytes.

use super::SourceConfig;
use super::pixels::Pixels;
use super::resize::fit;
use cm_image::ImageShape;
use cm_jpeg::JpegError;
use png::{ColorType, Transformations};
use rayon::prelude::*;
use std::fs::File;
use std::io::{Cursor, Read};
use std::iter;
use std::path::Path;

/// Bytes of one file.
pub(super) const MAX_FILE: u64 = 1 << 25;
/// The largest height or width.
const MAX_SIDE: usize = 1 << 14;
/// Pixels of one image that is resized: 8192 x 8192.
const MAX_PIXELS: usize = 1 << 26;
/// Pixels of one image that is not: 4096 x 4096.
const MAX_KEPT_PIXELS: usize = 1 << 24;

/// How image files become images of a data set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) resolution: Option<usize>,
    /// `None`: those of the file.
    pub(super) channels: Option<usize>,
    pub(super) background: u8,
}

impl Wanted {
    pub(super) fn of(config: &SourceConfig) -> Self {
        let SourceConfig { resolution, channels, background, .. } = *config;
        Self { resolution, channels, background }
    }
}

/// Whether a file is an image by its name.
pub(super) fn is_image(name: &str) -> bool {
    let name = name.to_lowercase();
    [".png", ".jpg", ".jpeg"].iter().any(|ending| name.ends_with(ending))
}

/// The image in the bytes of a PNG or JPEG file, of the wanted size and channels.
pub(super) fn decode(file: &[u8], wanted: Wanted) -> Result<Pixels, String> {
    let pixels = if file.starts_with(&[0xff, 0xd8]) { jpeg(file) } else { png(file, wanted.background) }?;
    let pixels = match wanted.channels {
        Some(channels) if channels != pixels.shape.channels => recolour(&pixels, channels),
        Some(_) | None => pixels,
    };
    match wanted.resolution {
        Some(side) => Ok(fit(pixels, side)),
        None => {
            let ImageShape { height, width, .. } = pixels.shape;
            let small = height * width <= MAX_KEPT_PIXELS;
            let what = || format!("an image of {height}x{width}: give a resolution to which it is reduced");
            if small { Ok(pixels) } else { Err(what()) }
        }
    }
}

/// The images in the bytes of some files, decoded in parallel. Where no channels are wanted, all have those of the very
/// first.
pub(super) fn decode_all(files: &[&[u8]], wanted: &mut Wanted) -> Vec<Result<Pixels, String>> {
    let Some((first, others)) = files.split_first() else { return Vec::new() };
    let first = decode(first, *wanted);
    if let Ok(image) = &first {
        wanted.channels = Some(image.shape.channels);
    }
    let wanted = *wanted;
    let others: Vec<_> = others.par_iter().map(|file| decode(file, wanted)).collect();
    iter::once(first).chain(others).collect()
}

/// The pixels of a PNG or JPEG file, in NHWC order, in the wanted channels (1 or 3) or its own; what is transparent lies
/// on black.
///
/// # Errors
/// What is wrong with the file: it cannot be read, is no such image, is damaged, or larger than 2^24 pixels.
pub fn read_image(path: &Path, channels: Option<usize>) -> Result<(ImageShape, Vec<u8>), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("a file of more than {MAX_FILE} bytes"));
    }
    let pixels = decode(&bytes, Wanted { resolution: None, channels, background: 0 })?;
    Ok((pixels.shape, pixels.values))
}

fn check(height: usize, width: usize) -> Result<(), String> {
    if height > MAX_SIDE || width > MAX_SIDE || height * width > MAX_PIXELS {
        return Err(format!("an image of {height}x{width}; at most {MAX_PIXELS} pixels are read"));
    }
    Ok(())
}

fn png(file: &[u8], background: u8) -> Result<Pixels, String> {
    let no_png = |error: png::DecodingError| format!("neither a PNG nor a JPEG that can be read: {error}");
    let mut decoder = png::Decoder::new(Cursor::new(file));
    // Palettes and fewer than 8 bits become bytes, 16 bits their upper 8.
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder.set_limits(png::Limits { bytes: 4 * MAX_PIXELS });
    let header = decoder.read_header_info().map_err(no_png)?;
    let (height, width) = (header.height as usize, header.width as usize);
    check(height, width)?;
    let mut reader = decoder.read_info().map_err(no_png)?;
    let mut bytes = vec![0; reader.output_buffer_size().ok_or("too large an image")?];
    let frame = reader.next_frame(&mut bytes).map_err(no_png)?;
    bytes.truncate(frame.buffer_size());
    let (channels, alpha) = match frame.color_type {
        ColorType::Grayscale | ColorType::Indexed => (1, false),
        ColorType::GrayscaleAlpha => (1, true),
        ColorType::Rgb => (3, false),
        ColorType::Rgba => (3, true),
    };
    let values = if alpha {
        bytes.chunks_exact(channels + 1).flat_map(|pixel| over(pixel, background)).collect()
    } else {
        bytes
    };
    Ok(Pixels { shape: ImageShape::new(height, width, channels), values })
}

/// A pixel with its cover behind it, laid over a background and rounded.
fn over(pixel: &[u8], background: u8) -> impl Iterator<Item = u8> {
    let (colours, cover) = pixel.split_at(pixel.len() - 1);
    let cover = u32::from(cover[0]);
    colours.iter().map(move |&colour| {
        let mixed = u32::from(colour) * cover + u32::from(background) * (255 - cover);
        ((mixed + 127) / 255) as u8
    })
}

fn jpeg(file: &[u8]) -> Result<Pixels, String> {
    let picture = cm_jpeg::decode(file, MAX_PIXELS).map_err(|error| match error {
        JpegError::Damaged(_) | JpegError::Cut(_) => format!("no JPEG that can be read: {error}"),
        JpegError::Unsupported(_) | JpegError::TooLarge { .. } => error.to_string(),
    })?;
    check(picture.height, picture.width)?;
    let shape = ImageShape::new(picture.height, picture.width, picture.channels);
    Ok(Pixels { shape, values: picture.values })
}

/// Grey to colour by repetition, colour to grey by the weights of BT.601 in 16 bits, as Pillow has them.
fn recolour(image: &Pixels, channels: usize) -> Pixels {
    let shape = ImageShape { channels, ..image.shape };
    let values = if channels == 3 {
        image.values.iter().flat_map(|&value| [value; 3]).collect()
    } else {
        let grey = |pixel: &[u8]| {
            let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
            ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16) as u8
        };
        image.values.chunks_exact(3).map(grey).collect()
    };
    Pixels { shape, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_mix_with_the_background() {
        let mixed = |pixel: &[u8], background| over(pixel, background).collect::<Vec<u8>>();
        assert_eq!(mixed(&[200, 100, 0, 255], 9), [200, 100, 0]);
        assert_eq!(mixed(&[200, 100, 0, 0], 9), [9, 9, 9]);
        assert_eq!(mixed(&[200, 51], 0), [40]);
        assert_eq!(mixed(&[0, 51], 255), [204]);
    }

    #[test]
    fn what_is_no_image_or_too_large_is_an_error() {
        let wanted = Wanted { resolution: None, channels: None, background: 0 };
        for (file, part) in [
            (&b"GIF89a"[..], "neither a PNG nor a JPEG"),
            (b"", "neither a PNG nor a JPEG"),
            (b"\xff\xd8\xff\xe0", "no JPEG"),
        ] {
            let said = decode(file, wanted).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
        // A header that announces 60,000 x 60,000 pixels, and nothing behind it.
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 60_000, 60_000);
        encoder.set_color(ColorType::Rgb);
        drop(encoder.write_header().unwrap());
        let said = decode(&file, wanted).unwrap_err();
        assert!(said.contains("60000x60000"), "{said}");
    }
}
