//! Image files to images of one size and one number of channels.

use super::SourceConfig;
use super::orientation::Orientation;
use super::pixels::Pixels;
use super::raster;
use super::resize::fit;
use cm_image::ImageShape;
use rayon::prelude::*;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes of one file.
pub(super) const MAX_FILE: u64 = 1 << 25;
/// Pixels of one image that is not resized: 4096 x 4096.
const MAX_KEPT_PIXELS: usize = 1 << 24;

/// How image files become images of a data set.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    resolution: Option<usize>,
    /// `None`: those of the file.
    channels: Option<usize>,
    background: u8,
    orientation: Orientation,
}

/// An image, and what had to be done to it.
struct Decoded {
    pixels: Pixels,
    turned: bool,
    recoloured: bool,
}

/// The image files of a source.
pub(super) struct ImageFiles {
    wanted: Wanted,
    /// Whether the user says which channels images have.
    told: bool,
    images: usize,
    turned: usize,
    recoloured: usize,
}

impl ImageFiles {
    pub(super) fn new(config: &SourceConfig) -> Self {
        let SourceConfig { resolution, channels, background, orientation, .. } = *config;
        let wanted = Wanted { resolution, channels, background, orientation };
        Self { wanted, told: channels.is_some(), images: 0, turned: 0, recoloured: 0 }
    }

    /// Whether it must be seen, before the first image is read, if any of the files [is coloured](raster::is_coloured).
    pub(super) fn asks_for_colour(&self) -> bool {
        self.wanted.channels.is_none()
    }

    /// What was asked for.
    pub(super) fn any_is_coloured(&mut self, any: bool) {
        self.wanted.channels.get_or_insert(if any { 3 } else { 1 });
    }

    /// The images in the bytes of some files, decoded in parallel. Where it was not said which channels they have, all have
    /// those of the very first, and a coloured one among grey ones is an error.
    pub(super) fn decode_all(&mut self, files: &[&[u8]]) -> Vec<Result<Pixels, String>> {
        if let (None, Some(first)) = (self.wanted.channels, files.first()) {
            // What cannot be read is an error in a moment.
            self.wanted.channels = raster::is_coloured(first).map(|coloured| if coloured { 3 } else { 1 });
        }
        let wanted = self.wanted;
        let all: Vec<_> = files.par_iter().map(|file| decode(file, wanted)).collect();
        let each = |decoded: Result<Decoded, String>| {
            let Decoded { pixels, turned, recoloured } = decoded?;
            if recoloured && !self.told && wanted.channels == Some(1) {
                return Err("it is coloured, and the first image is grey: say `channels`, 3 or 1".into());
            }
            self.images += 1;
            self.turned += usize::from(turned);
            self.recoloured += usize::from(recoloured);
            Ok(pixels)
        };
        all.into_iter().map(each).collect()
    }

    /// What the user should know of all that were decoded.
    pub(super) fn notes(&self) -> Vec<String> {
        let Self { images, turned, recoloured, .. } = *self;
        let mut notes = Vec::new();
        if turned > 0 {
            let (done, instead) = match self.wanted.orientation {
                Orientation::Upright => {
                    ("turned upright", "orientation `stored`: as the original code reads them")
                }
                Orientation::Stored => {
                    ("read as they are stored", "orientation `upright`: as viewers show them")
                }
            };
            notes.push(format!("{turned} of {images} images are {done}, for their Exif data say which way up they are ({instead})"));
        }
        if recoloured > 0 && !self.told {
            notes.push(format!("{recoloured} of {images} images are grey; the others are coloured, so grey is repeated in three channels"));
        }
        notes
    }
}

/// The image in the bytes of a file, of the wanted size and channels.
fn decode(file: &[u8], wanted: Wanted) -> Result<Decoded, String> {
    let (mut pixels, turned) = raster::decode(file, wanted.background, wanted.orientation)?;
    let other = wanted.channels.filter(|&channels| channels != pixels.shape.channels);
    if let Some(channels) = other {
        pixels = recolour(&pixels, channels);
    }
    match wanted.resolution {
        Some(side) => pixels = fit(pixels, side),
        None => {
            let ImageShape { height, width, .. } = pixels.shape;
            if height * width > MAX_KEPT_PIXELS {
                return Err(format!(
                    "an image of {height}x{width}: give a resolution to which it is reduced"
                ));
            }
        }
    }
    Ok(Decoded { pixels, turned, recoloured: other.is_some() })
}

/// The pixels of a PNG, JPEG or WebP file, upright, in NHWC order, in the wanted channels (1 or 3) or its own; what is
/// transparent lies on black.
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
    let wanted = Wanted { resolution: None, channels, background: 0, orientation: Orientation::Upright };
    let Decoded { pixels, .. } = decode(&bytes, wanted)?;
    Ok((pixels.shape, pixels.values))
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
