//! Images to the size that is trained on, as the original code does it with Pillow.
//!
//! Pillow's filters are separable, widened when they shrink, with weights rounded to 22 bits and rows before columns;
//! done the same way here, so that pixels are equal to the bit. Deliberately absent: other filters than the two that
//! are used.

use super::pixels::Pixels;
use cm_image::ImageShape;

/// Bits behind the point of a weight: 32 less 8 of a pixel and 2 of what filters overshoot.
const BITS: u32 = 32 - 8 - 2;

/// A filter of Pillow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    Box,
    /// Keys 1981, a = -1/2.
    Bicubic,
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Self::Box => 0.5,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Box => {
                if x > -0.5 && x <= 0.5 {
                    1.0
                } else {
                    0.0
                }
            }
            Self::Bicubic => {
                const A: f64 = -0.5;
                let x = x.abs();
                if x < 1.0 {
                    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * A
                } else {
                    0.0
                }
            }
        }
    }

    /// For each of `to` places: the first of `from` places that counts, and the weights from there on.
    fn weights(self, from: usize, to: usize) -> Vec<(usize, Vec<i32>)> {
        let scale = from as f64 / to as f64;
        let widened = scale.max(1.0);
        let support = self.support() * widened;
        (0..to)
            .map(|place| {
                let centre = (place as f64 + 0.5) * scale;
                let first = ((centre - support + 0.5).max(0.0)) as usize;
                let end = ((centre + support + 0.5) as usize).min(from);
                let place = |x: usize| (x as f64 - centre + 0.5) / widened;
                let weights: Vec<f64> = (first..end).map(|x| self.weight(place(x))).collect();
                let sum: f64 = weights.iter().sum();
                let fixed = |weight: &f64| (weight / sum * f64::from(1 << BITS)).round() as i32;
                (first, weights.iter().map(fixed).collect())
            })
            .collect()
    }
}

/// Height and width become `side`: halved while they are at least twice that, then the shorter one resized to it, then
/// the middle cut out.
pub(super) fn fit(mut image: Pixels, side: usize) -> Pixels {
    while image.shape.height.min(image.shape.width) >= 2 * side {
        let ImageShape { height, width, .. } = image.shape;
        image = resize(&image, (height / 2, width / 2), Filter::Box);
    }
    let ImageShape { height, width, .. } = image.shape;
    let scale = side as f64 / height.min(width) as f64;
    let scaled = |length: usize| (length as f64 * scale).round_ties_even() as usize;
    image = resize(&image, (scaled(height), scaled(width)), Filter::Bicubic);
    crop(&image, side)
}

fn crop(image: &Pixels, side: usize) -> Pixels {
    let ImageShape { height, width, channels } = image.shape;
    if (height, width) == (side, side) {
        return image.clone();
    }
    let (top, left) = ((height - side) / 2, (width - side) / 2);
    let rows = image.values.chunks_exact(width * channels).skip(top).take(side);
    let values = rows.flat_map(|row| &row[left * channels..(left + side) * channels]).copied().collect();
    Pixels { shape: ImageShape::new(side, side, channels), values }
}

fn resize(image: &Pixels, (height, width): (usize, usize), filter: Filter) -> Pixels {
    let from = image.shape;
    let channels = from.channels;
    let mut values = image.values.clone();
    if width != from.width {
        let weights = filter.weights(from.width, width);
        let rows = values.chunks_exact(from.width * channels);
        values = rows
            .flat_map(|row| {
                weights.iter().flat_map(move |(first, weights)| {
                    (0..channels).map(move |channel| {
                        let pixels = row[first * channels..].iter().skip(channel).step_by(channels);
                        mix(weights, pixels)
                    })
                })
            })
            .collect();
    }
    if height != from.height {
        let row = width * channels;
        let weights = filter.weights(from.height, height);
        values = weights
            .iter()
            .flat_map(|(first, weights)| {
                let values = &values;
                (0..row).map(move |x| mix(weights, values[first * row..].iter().skip(x).step_by(row)))
            })
            .collect();
    }
    Pixels { shape: ImageShape::new(height, width, channels), values }
}

/// The weighted sum of some pixels, rounded and kept within a byte.
fn mix<'a>(weights: &[i32], pixels: impl Iterator<Item = &'a u8>) -> u8 {
    let half = 1i32 << (BITS - 1);
    let sum = weights.iter().zip(pixels).fold(half, |sum, (&weight, &pixel)| sum + weight * i32::from(pixel));
    (sum >> BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_the_centre_of_a_grey_image_stays_grey() {
        for filter in [Filter::Box, Filter::Bicubic] {
            for (from, to) in [(7, 3), (3, 7), (64, 64), (100, 1), (1, 9)] {
                for (first, weights) in filter.weights(from, to) {
                    assert!(first + weights.len() <= from);
                    let sum: i32 = weights.iter().sum();
                    assert!((sum - (1 << BITS)).abs() <= weights.len() as i32, "{filter:?} {from} {to}");
                }
            }
        }
        let grey = Pixels { shape: ImageShape::new(37, 23, 3), values: vec![100; 37 * 23 * 3] };
        let fitted = fit(grey, 10);
        assert_eq!(fitted.shape, ImageShape::new(10, 10, 3));
        assert!(fitted.values.iter().all(|&value| value == 100));
    }

    #[test]
    fn a_box_of_two_is_the_mean() {
        let image = Pixels { shape: ImageShape::new(2, 4, 1), values: vec![0, 10, 20, 30, 4, 6, 40, 51] };
        // Rows first, each rounded: (5, 25), (5, 46); then columns.
        assert_eq!(resize(&image, (1, 2), Filter::Box).values, [5, 36]);
    }
}
