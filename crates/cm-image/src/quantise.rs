//! 8-bit pixels to and from [-1, 1].

use crate::ImageBatch;
use serde::{Deserialize, Serialize};

/// The value in [-1, 1] of an 8-bit pixel: `p / 127.5 - 1`.
pub fn from_u8(pixel: u8) -> f32 {
    f32::from(pixel) / 127.5 - 1.0
}

/// The nearest 8-bit pixel of a value, clamped to [-1, 1]; NaN gives 0. Exact inverse of [`from_u8`].
///
/// The original code truncates instead (`(x + 1) * 127.5` cast to u8), which darkens by half a level and does not
/// invert its own mapping; what must match it uses [`to_u8_truncated`].
pub fn to_u8(value: f32) -> u8 {
    // `as` saturates and sends NaN to 0.
    ((value.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8
}

/// The 8-bit pixel that the original code makes of a value: `(x + 1) * 127.5` cut off to a whole number, within 0 to
/// 255; NaN gives 0.
pub fn to_u8_truncated(value: f32) -> u8 {
    // `as` cuts off, saturates and sends NaN to 0.
    ((value + 1.0) * 127.5) as u8
}

/// How values become the 8-bit pixels that are delivered and scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Quantisation {
    /// To the nearest level ([`to_u8`]), as NVlabs/edm does. The default: it undoes what pixels of data became, and
    /// has no bias.
    #[default] // NVlabs/edm
    Round,
    /// Cut off ([`to_u8_truncated`]), as the original code of consistency models does, on which its published numbers
    /// rest: half a level darker.
    Truncate,
}

impl Quantisation {
    /// The 8-bit pixel of a value.
    pub fn pixel(self, value: f32) -> u8 {
        match self {
            Self::Round => to_u8(value),
            Self::Truncate => to_u8_truncated(value),
        }
    }

    /// The images that are left of `images` when they were 8-bit pixels once. A second time changes nothing by
    /// [`Self::Round`]; to cut off twice can darken twice, so it is done where images are drawn and nowhere else.
    pub fn delivered(self, images: ImageBatch) -> ImageBatch {
        images.map(|value| from_u8(self.pixel(value)))
    }

    /// The rule in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Round => "rounded to the nearest of 256 levels",
            Self::Truncate => "cut off to one of 256 levels, as the original code does",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_256_levels_survive_the_round_trip() {
        for pixel in 0..=255 {
            assert_eq!(to_u8(from_u8(pixel)), pixel);
        }
        assert_eq!((to_u8(-7.0), to_u8(7.0), to_u8(f32::NAN)), (0, 255, 0));
        assert_eq!((from_u8(0), from_u8(255)), (-1.0, 1.0));
    }

    #[test]
    fn the_original_cuts_off() {
        // 127.5 (x + 1): 0, 127.5, 254.9, 255, beyond.
        let pixels = [-1.0, 0.0, 0.9992, 1.0, 1.7, -3.0, f32::NAN].map(to_u8_truncated);
        assert_eq!(pixels, [0, 127, 254, 255, 255, 0, 0]);
    }

    #[test]
    fn the_nearest_level_stays_as_it_is_and_a_cut_one_may_fall_again() {
        let shape = crate::ImageShape::new(1, 3, 1);
        let images = ImageBatch::new(shape, vec![-1.3, 0.001, 0.77]).unwrap();
        let rounded = Quantisation::Round.delivered(images.clone());
        assert_eq!(rounded.values(), [-1.0, from_u8(128), from_u8(226)]);
        assert_eq!(Quantisation::Truncate.delivered(images).values(), [-1.0, from_u8(127), from_u8(225)]);
        let again =
            |rule: Quantisation| (0..=255).filter(|&pixel| rule.pixel(from_u8(pixel)) != pixel).count();
        assert_eq!(again(Quantisation::Round), 0);
        assert!(again(Quantisation::Truncate) > 0);
    }
}
