//! The bytes of PNG, JPEG and WebP files to pixels, and what their headers say before that.

use super::orientation::{Orientation, Turn};
use super::pixels::Pixels;
use cm_image::ImageShape;
use cm_jpeg::JpegError;
use image_webp::WebPDecoder;
use png::{ColorType, Transformations};
use std::io::Cursor;
use std::iter;

/// The largest height or width.
const MAX_SIDE: usize = 1 << 14;
/// Pixels of one image: 8192 x 8192.
const MAX_PIXELS: usize = 1 << 26;

/// Endings of the files that are read.
const ENDINGS: [&str; 6] = [".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp"];

/// Whether a file is, by its name, an image of a kind that [`read_image`](super::read_image) reads.
pub fn is_image(name: &str) -> bool {
    let name = name.to_lowercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// A file's kind by its first bytes.
enum Kind {
    Jpeg,
    WebP,
    /// Or nothing that is known, which the decoder then says.
    Png,
}

impl Kind {
    fn of(file: &[u8]) -> Self {
        if file.starts_with(&[0xff, 0xd8]) {
            Self::Jpeg
        } else if file.starts_with(b"RIFF") && file.get(8..12) == Some(b"WEBP") {
            Self::WebP
        } else {
            Self::Png
        }
    }
}

/// Whether the image has colours, as its header says; `None` if the header cannot be read.
pub(super) fn is_coloured(file: &[u8]) -> Option<bool> {
    match Kind::of(file) {
        Kind::Jpeg => {
            // The components of the first frame; all frames of JPEG but tables 0xc4, 0xc8 and 0xcc.
            let is_frame = |marker| matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc);
            let (_, frame) = segments(file).find(|&(marker, _)| is_frame(marker))?;
            frame.get(5).map(|&components| components != 1)
        }
        Kind::WebP => Some(true),
        Kind::Png => {
            let mut decoder = png::Decoder::new(Cursor::new(file));
            let header = decoder.read_header_info().ok()?;
            Some(!matches!(header.color_type, ColorType::Grayscale | ColorType::GrayscaleAlpha))
        }
    }
}

/// The pixels of a file, upright or as stored; what is transparent lies on the grey `background`. And whether it had to be
/// turned.
pub(super) fn decode(
    file: &[u8],
    background: u8,
    orientation: Orientation,
) -> Result<(Pixels, bool), String> {
    let (pixels, turn) = match Kind::of(file) {
        Kind::Jpeg => (jpeg(file)?, exif_of_jpeg(file)),
        Kind::WebP => webp(file, background)?,
        Kind::Png => png(file, background)?,
    };
    match orientation {
        Orientation::Upright => Ok((turn.apply(pixels), turn != Turn::NONE)),
        Orientation::Stored => Ok((pixels, turn != Turn::NONE)),
    }
}

fn check(height: usize, width: usize) -> Result<(), String> {
    if height > MAX_SIDE || width > MAX_SIDE || height * width > MAX_PIXELS {
        return Err(format!("an image of {height}x{width}; at most {MAX_PIXELS} pixels are read"));
    }
    Ok(())
}

fn png(file: &[u8], background: u8) -> Result<(Pixels, Turn), String> {
    let no_png = |error: png::DecodingError| format!("no PNG, JPEG or WebP that can be read: {error}");
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
    let turn = reader.info().exif_metadata.as_ref().map_or(Turn::NONE, |data| Turn::of_exif(data));
    let (channels, alpha) = match frame.color_type {
        ColorType::Grayscale | ColorType::Indexed => (1, false),
        ColorType::GrayscaleAlpha => (1, true),
        ColorType::Rgb => (3, false),
        ColorType::Rgba => (3, true),
    };
    let values = if alpha { flatten(&bytes, channels, background) } else { bytes };
    Ok((Pixels { shape: ImageShape::new(height, width, channels), values }, turn))
}

/// Pixels with a cover behind each, laid over a background.
fn flatten(bytes: &[u8], channels: usize, background: u8) -> Vec<u8> {
    bytes.chunks_exact(channels + 1).flat_map(|pixel| over(pixel, background)).collect()
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

/// What the segment APP1 of a JPEG file says.
fn exif_of_jpeg(file: &[u8]) -> Turn {
    let exif = segments(file).find(|(marker, data)| *marker == 0xe1 && data.starts_with(b"Exif\0\0"));
    exif.map_or(Turn::NONE, |(_, data)| Turn::of_exif(data))
}

/// Marker and payload of each segment of a JPEG file before its first scan.
fn segments(file: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    const START_OF_SCAN: u8 = 0xda;
    let mut rest = file.get(2..).unwrap_or_default();
    iter::from_fn(move || {
        // Any number of bytes 0xff may come before a marker.
        while let [0xff, 0xff, ..] = rest {
            rest = &rest[1..];
        }
        let &[0xff, marker, high, low, ..] = rest else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let data = rest.get(4..2 + length).filter(|_| marker != START_OF_SCAN)?;
        rest = &rest[2 + length..];
        Some((marker, data))
    })
}

fn webp(file: &[u8], background: u8) -> Result<(Pixels, Turn), String> {
    let no_webp = |error: image_webp::DecodingError| format!("no WebP that can be read: {error}");
    let mut decoder = WebPDecoder::new(Cursor::new(file)).map_err(no_webp)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    check(height, width)?;
    if decoder.is_animated() {
        return Err("a WebP with more than one picture".into());
    }
    decoder.set_memory_limit(4 * MAX_PIXELS);
    let alpha = decoder.has_alpha();
    let mut bytes = vec![0; decoder.output_buffer_size().ok_or("too large an image")?];
    decoder.read_image(&mut bytes).map_err(no_webp)?;
    let turn = decoder.exif_metadata().map_err(no_webp)?.map_or(Turn::NONE, |data| Turn::of_exif(&data));
    let values = if alpha { flatten(&bytes, 3, background) } else { bytes };
    Ok((Pixels { shape: ImageShape::new(height, width, 3), values }, turn))
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
        for (file, part) in [
            (&b"GIF89a"[..], "no PNG, JPEG or WebP"),
            (b"", "no PNG, JPEG or WebP"),
            (b"\xff\xd8\xff\xe0", "no JPEG"),
            (b"RIFF\x20\0\0\0WEBPVP8 \0\0\0\0", "no WebP"),
        ] {
            let said = decode(file, 0, Orientation::Upright).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
        // A header that announces 60,000 x 60,000 pixels, and nothing behind it.
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 60_000, 60_000);
        encoder.set_color(ColorType::Rgb);
        drop(encoder.write_header().unwrap());
        let said = decode(&file, 0, Orientation::Upright).unwrap_err();
        assert!(said.contains("60000x60000"), "{said}");
    }
}
