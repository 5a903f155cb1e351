//! Which way up an image file is to be seen, as its Exif data say, and turning it there.

use super::pixels::Pixels;
use cm_image::ImageShape;
use serde::{Deserialize, Serialize};

/// Which way up images are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Orientation {
    /// As viewers show them: turned and mirrored as their Exif data say.
    #[default] // ours: what a person sees is what is learnt
    Upright,
    /// As their rows are stored, whatever Exif says; so the original code and EDM's tools read them.
    Stored,
}

impl Orientation {
    /// Whether it is the default.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What Exif's tag 0x0112 says (Exif 2.32, 4.6.4 A): how rows and columns lie in the picture that is meant. 1 is as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn(u8);

const TAG: u16 = 0x0112;
const SHORT: u16 = 3;

impl Turn {
    pub(super) const NONE: Self = Self(1);

    /// The tag's value in Exif data, with or without `Exif\0\0` before the TIFF header. What cannot be read says nothing.
    pub(super) fn of_exif(data: &[u8]) -> Self {
        tag(data.strip_prefix(b"Exif\0\0").unwrap_or(data)).map_or(Self::NONE, Self)
    }

    /// The picture that is meant.
    pub(super) fn apply(self, image: Pixels) -> Pixels {
        if self == Self::NONE {
            return image;
        }
        let ImageShape { height, width, channels } = image.shape;
        let (tall, wide) = if self.0 >= 5 { (width, height) } else { (height, width) };
        let mut values = Vec::with_capacity(image.values.len());
        for y in 0..tall {
            for x in 0..wide {
                let (bottom, right) = (tall - 1 - y, wide - 1 - x);
                // Row and column of the stored image.
                let (row, column) = match self.0 {
                    2 => (y, right),
                    3 => (bottom, right),
                    4 => (bottom, x),
                    5 => (x, y),
                    6 => (right, y),
                    7 => (right, bottom),
                    8 => (x, bottom),
                    _ => (y, x),
                };
                let at = (row * width + column) * channels;
                values.extend_from_slice(&image.values[at..at + channels]);
            }
        }
        Pixels { shape: ImageShape::new(tall, wide, channels), values }
    }
}

/// The value of the tag in the first directory of TIFF data, if it is one of those that say something.
fn tag(tiff: &[u8]) -> Option<u8> {
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = [*tiff.get(at)?, *tiff.get(at + 1)?];
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| {
        let (first, second) = (u32::from(short(at)?), u32::from(short(at + 2)?));
        Some(if little { second << 16 | first } else { first << 16 | second })
    };
    let directory = usize::try_from(long(4)?).ok()?;
    let entries = usize::from(short(directory)?);
    let entry = (0..entries).map(|index| directory + 2 + 12 * index).find(|&at| short(at) == Some(TAG))?;
    if short(entry + 2)? != SHORT || long(entry + 4)? != 1 {
        return None;
    }
    u8::try_from(short(entry + 8)?).ok().filter(|value| (2..=8).contains(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exif(little: bool, value: u16) -> Vec<u8> {
        let short = |value: u16| if little { value.to_le_bytes() } else { value.to_be_bytes() };
        let long = |value: u32| if little { value.to_le_bytes() } else { value.to_be_bytes() };
        let mut data = b"Exif\0\0".to_vec();
        data.extend(if little { b"II*\0" } else { b"MM\0*" });
        data.extend(long(8));
        data.extend(short(2));
        for (tag, value) in [(0x0100, 7), (TAG, value)] {
            data.extend(short(tag));
            data.extend(short(SHORT));
            data.extend(long(1));
            data.extend(short(value));
            data.extend([0, 0]);
        }
        data
    }

    #[test]
    fn the_tag_is_found_in_both_orders_of_bytes() {
        for little in [true, false] {
            for value in 2..=8 {
                assert_eq!(Turn::of_exif(&exif(little, value.into())), Turn(value));
                assert_eq!(Turn::of_exif(&exif(little, value.into())[6..]), Turn(value));
            }
            for value in [0, 1, 9, 256, 0x0106] {
                assert_eq!(Turn::of_exif(&exif(little, value)), Turn::NONE);
            }
        }
    }

    #[test]
    fn damaged_exif_says_nothing() {
        let whole = exif(true, 6);
        for len in 0..whole.len() - 3 {
            assert_eq!(Turn::of_exif(&whole[..len]), Turn::NONE, "{len}");
        }
        // A directory beyond the end, and beyond all memory.
        for offset in [1000_u32, u32::MAX] {
            let mut bytes = whole.clone();
            bytes[10..14].copy_from_slice(&offset.to_le_bytes());
            assert_eq!(Turn::of_exif(&bytes), Turn::NONE);
        }
    }

    #[test]
    fn turning_twice_by_what_undoes_it_gives_the_image_back() {
        let shape = ImageShape::new(2, 3, 2);
        let image = Pixels { shape, values: (0..12).collect() };
        for (turn, back) in [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 8), (7, 7), (8, 6)] {
            assert_eq!(Turn(back).apply(Turn(turn).apply(image.clone())), image, "{turn}");
        }
    }
}
