//! What an image may go through before it is trained on (Karras et al. 2022, Appendix F.2), and the numbers that tell a
//! network what it went through, so that it does not draw such images itself.
//!
//! Deliberately absent: how often, which is a training's.

use crate::affine::{Affine, resample};
use crate::{ImageBatch, ImageShape};

/// Numbers that tell a network how an image was changed.
pub const AUGMENTATION_LABELS: usize = 9;

/// Standard deviation of the logarithm to base 2 of a scaling, and of an anisotropic one.
const SCALING: f64 = 0.2; // NVlabs/edm, training/augment.py
/// Standard deviation of a translation in widths and heights of the image.
const TRANSLATION: f64 = 0.125; // the same

/// The changes of one image; by default there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augmentation {
    /// Whether left and right are exchanged.
    pub mirrored: bool,
    /// Whether top and bottom are.
    pub upended: bool,
    /// Enlarged by 2 to the power of 0.2 times this.
    pub scaling: f64,
    /// Turned by this angle, from x to the right towards y downwards.
    pub rotation: f64,
    /// Stretched by 2 to the power of 0.2 times the first along the axis at the second's angle, and shrunk as much across.
    pub anisotropy: [f64; 2],
    /// Moved by an eighth of its width times the first and an eighth of its height times the second.
    pub translation: [f64; 2],
}

impl Augmentation {
    /// The numbers for a network; all 0 of an image that is not changed.
    pub fn labels(&self) -> [f32; AUGMENTATION_LABELS] {
        let [stretch, axis] = self.anisotropy;
        let flag = |set: bool| f64::from(u8::from(set));
        [
            flag(self.mirrored),
            flag(self.upended),
            self.scaling,
            self.rotation.cos() - 1.0,
            self.rotation.sin(),
            stretch * axis.cos(),
            stretch * axis.sin(),
            self.translation[0],
            self.translation[1],
        ]
        .map(|label| label as f32)
    }

    /// Where a point of the changed image lies in the original, but for flips.
    fn inverse(&self, shape: ImageShape) -> Affine {
        let [stretch, axis] = self.anisotropy;
        let (larger, longer) = ((SCALING * self.scaling).exp2(), (SCALING * stretch).exp2());
        let [right, down] = self.translation;
        let moved = Affine::translation(
            -right * TRANSLATION * shape.width as f64,
            -down * TRANSLATION * shape.height as f64,
        );
        let stretched = Affine::rotation(-axis)
            .after(&Affine::scaling(longer.recip(), longer))
            .after(&Affine::rotation(axis));
        Affine::scaling(larger.recip(), larger.recip())
            .after(&Affine::rotation(self.rotation))
            .after(&stretched)
            .after(&moved)
    }

    /// The image changed, to the bit itself if there is nothing to change.
    ///
    /// # Panics
    /// If it is not of `shape`.
    pub fn apply(&self, image: &[f32], shape: ImageShape) -> Vec<f32> {
        let mut flipped = image.to_vec();
        if self.mirrored || self.upended {
            let ImageShape { height, width, channels } = shape;
            for (place, pixel) in flipped.chunks_exact_mut(channels).enumerate() {
                let (y, x) = (place / width, place % width);
                let y = if self.upended { height - 1 - y } else { y };
                let x = if self.mirrored { width - 1 - x } else { x };
                pixel.copy_from_slice(&image[(y * width + x) * channels..][..channels]);
            }
        }
        let still = Self { mirrored: self.mirrored, upended: self.upended, ..Self::default() };
        let axis_alone = Self { anisotropy: [0.0, self.anisotropy[1]], ..still };
        if *self == still || *self == axis_alone {
            return flipped;
        }
        let mut out = vec![0.0; image.len()];
        resample(&flipped, shape, &self.inverse(shape), &mut out);
        out
    }
}

/// Each image changed as its own augmentation says.
///
/// # Panics
/// If there is not one for each.
pub fn augmented(images: &ImageBatch, augmentations: &[Augmentation]) -> ImageBatch {
    assert_eq!(images.count(), augmentations.len(), "an augmentation for each image");
    let shape = images.shape();
    ImageBatch::from_fn(shape, images.count(), |image, out| {
        out.copy_from_slice(&augmentations[image].apply(images.image(image), shape));
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const SHAPE: ImageShape = ImageShape { height: 6, width: 8, channels: 2 };

    fn image() -> Vec<f32> {
        let mut values = vec![0.0; SHAPE.len()];
        Random::new(3).fill_normal(&mut values);
        values
    }

    #[test]
    fn nothing_to_change_is_the_image_to_the_bit_and_all_labels_0() {
        let none = Augmentation::default();
        assert_eq!(none.apply(&image(), SHAPE), image());
        assert_eq!(none.labels(), [0.0; AUGMENTATION_LABELS]);
        let axis_alone = Augmentation { anisotropy: [0.0, 1.0], ..none };
        assert_eq!(axis_alone.apply(&image(), SHAPE), image());
        assert_eq!(axis_alone.labels(), [0.0; AUGMENTATION_LABELS]);
    }

    #[test]
    fn flips_exchange_sides() {
        let at = |values: &[f32], y: usize, x: usize| values[(y * 8 + x) * 2..][..2].to_vec();
        let original = image();
        for (mirrored, upended) in [(true, false), (false, true), (true, true)] {
            let flip = Augmentation { mirrored, upended, ..Augmentation::default() };
            let flipped = flip.apply(&original, SHAPE);
            for y in 0..6 {
                for x in 0..8 {
                    let (from_y, from_x) =
                        (if upended { 5 - y } else { y }, if mirrored { 7 - x } else { x });
                    assert_eq!(at(&flipped, y, x), at(&original, from_y, from_x));
                }
            }
            assert_eq!(
                flip.labels()[..3],
                [f32::from(u8::from(mirrored)), f32::from(u8::from(upended)), 0.0]
            );
        }
    }

    /// `scripts/parity/augmentation.py`: images changed by the original code, one change at a time and all at once.
    #[test]
    fn images_and_labels_are_those_of_the_original_code() {
        let fixture = include_str!("../../../tests/fixtures/parity/augmentation.csv");
        let rows = || fixture.lines().filter(|line| !line.starts_with('#'));
        let numbers =
            |text: &str| text.split(' ').map(|number| number.parse().unwrap()).collect::<Vec<f64>>();
        let mut cases = 0;
        for row in rows() {
            let columns: Vec<Vec<f64>> = row.split(',').map(numbers).collect();
            let [shape, p, labels, before, after] = columns.as_slice() else { panic!("{row}") };
            let shape = ImageShape {
                height: shape[0] as usize,
                width: shape[1] as usize,
                channels: shape[2] as usize,
            };
            let augmentation = Augmentation {
                mirrored: p[0] == 1.0,
                upended: p[1] == 1.0,
                scaling: p[2],
                rotation: p[3],
                anisotropy: [p[4], p[5]],
                translation: [p[6], p[7]],
            };
            for (ours, theirs) in augmentation.labels().iter().zip(labels) {
                assert!((f64::from(*ours) - theirs).abs() < 1e-6, "{p:?}: {ours} {theirs}");
            }
            let image: Vec<f32> = before.iter().map(|&value| value as f32).collect();
            let ours = augmentation.apply(&image, shape);
            assert_eq!(ours.len(), after.len());
            for (place, (ours, theirs)) in ours.iter().zip(after).enumerate() {
                // Single precision there; images of values up to 3.
                assert!((f64::from(*ours) - theirs).abs() < 2e-5, "{p:?} at {place}: {ours} {theirs}");
            }
            cases += 1;
        }
        assert!(cases >= 8, "{cases}");
    }
}
