//! Images under affine maps of their plane, as Karras et al. (2020, 2022) resample them: reflected beyond their edges,
//! doubled by a wavelet's low-pass filter, taken at the mapped points by bilinear interpolation, halved by the same filter.
//! With a map that moves nothing, or by whole pixels, that is exact but for rounding.
//!
//! Deliberately absent: which maps, see [`augmentation`](crate::augmentation).

use crate::ImageShape;

/// A map from a point of the transformed image to the point of the original that it shows: in pixels from the middles of
/// both, x to the right and y down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Affine([[f64; 3]; 2]);

impl Affine {
    /// Each coordinate times a factor.
    pub(crate) fn scaling(x: f64, y: f64) -> Self {
        Self([[x, 0.0, 0.0], [0.0, y, 0.0]])
    }

    /// By an angle, from x towards y.
    pub(crate) fn rotation(angle: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        Self([[cos, -sin, 0.0], [sin, cos, 0.0]])
    }

    /// By so many pixels.
    pub(crate) fn translation(x: f64, y: f64) -> Self {
        Self([[1.0, 0.0, x], [0.0, 1.0, y]])
    }

    /// First `inner`, then this.
    pub(crate) fn after(&self, inner: &Self) -> Self {
        let (a, b) = (&self.0, &inner.0);
        let row = |row: usize| {
            [0, 1, 2].map(|column| {
                let own = if column == 2 { a[row][2] } else { 0.0 };
                a[row][0] * b[0][column] + a[row][1] * b[1][column] + own
            })
        };
        Self([row(0), row(1)])
    }

    /// Where it takes a point.
    pub(crate) fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let [[a, b, c], [d, e, f]] = self.0;
        (a * x + b * y + c, d * x + e * y + f)
    }
}

/// The low-pass filter of the wavelet sym6 (Daubechies 1992; PyWavelets, `sym6`, dec_lo).
const FILTER: [f64; 12] = [
    0.015_404_109_327_027_373,
    0.003_490_712_084_217_470_2,
    -0.117_990_111_148_190_57,
    -0.048_311_742_585_633,
    0.491_055_941_926_746_7,
    0.787_641_141_030_194,
    0.337_929_421_727_621_8,
    -0.072_637_522_786_462_52,
    -0.021_060_292_512_300_564,
    0.044_724_901_770_665_78,
    0.001_767_711_864_242_803_6,
    -0.007_800_708_325_034_148,
];
/// Pixels beyond an edge that the filter reaches.
const REACH: usize = FILTER.len() / 4;

/// Values of an image that is worked on, `[height, width, channels]`.
struct Plane {
    height: usize,
    width: usize,
    channels: usize,
    values: Vec<f64>,
}

impl Plane {
    fn zeros(height: usize, width: usize, channels: usize) -> Self {
        Self { height, width, channels, values: vec![0.0; height * width * channels] }
    }

    fn row(&self, y: usize) -> &[f64] {
        &self.values[y * self.width * self.channels..][..self.width * self.channels]
    }

    fn pixel(&self, y: usize, x: usize) -> &[f64] {
        &self.values[(y * self.width + x) * self.channels..][..self.channels]
    }

    /// Rows and columns exchanged, so that one pass of each filter serves both.
    fn transposed(&self) -> Self {
        let mut out = Self::zeros(self.width, self.height, self.channels);
        for y in 0..self.height {
            for x in 0..self.width {
                let to = (x * self.height + y) * self.channels;
                out.values[to..to + self.channels].copy_from_slice(self.pixel(y, x));
            }
        }
        out
    }

    /// Twice as many rows: out[i] = sum over j of filter[5 + i - 2 j] in[j].
    fn doubled(&self) -> Self {
        let mut out = Self::zeros(2 * self.height, self.width, self.channels);
        let len = self.width * self.channels;
        for (i, out) in out.values.chunks_exact_mut(len).enumerate() {
            for j in (i + 5).saturating_sub(FILTER.len() - 1).div_ceil(2)..=((i + 5) / 2).min(self.height - 1)
            {
                add(out, self.row(j), FILTER[5 + i - 2 * j]);
            }
        }
        out
    }

    /// Half as many rows: out[j] = sum over k of filter[k] in[2 j + k - 5].
    fn halved(&self) -> Self {
        let mut out = Self::zeros(self.height / 2, self.width, self.channels);
        let len = self.width * self.channels;
        for (j, out) in out.values.chunks_exact_mut(len).enumerate() {
            for (k, &factor) in FILTER.iter().enumerate() {
                if let Some(row) = (2 * j + k).checked_sub(5).filter(|&row| row < self.height) {
                    add(out, self.row(row), factor);
                }
            }
        }
        out
    }

    /// The value between pixels, into `out`; beyond the edges all is 0.
    fn bilinear(&self, y: f64, x: f64, out: &mut [f64]) {
        out.fill(0.0);
        let (top, left) = (y.floor(), x.floor());
        for (row, down) in [(top, top + 1.0 - y), (top + 1.0, y - top)] {
            for (column, right) in [(left, left + 1.0 - x), (left + 1.0, x - left)] {
                let inside = |at: f64, len: usize| at >= 0.0 && at < len as f64;
                if inside(row, self.height) && inside(column, self.width) {
                    add(out, self.pixel(row as usize, column as usize), down * right);
                }
            }
        }
    }
}

fn add(out: &mut [f64], values: &[f64], factor: f64) {
    out.iter_mut().zip(values).for_each(|(out, value)| *out += factor * value);
}

/// The image whose points show those of `image` to which `map` takes them, into `out`.
///
/// # Shapes
/// `image`, `out`: `[height, width, channels]` of `shape`.
///
/// # Panics
/// If they are not, or the shape is empty.
pub(crate) fn resample(image: &[f32], shape: ImageShape, map: &Affine, out: &mut [f32]) {
    let ImageShape { height, width, channels } = shape;
    assert_eq!([image.len(), out.len()], [shape.len(); 2], "images of the shape");
    let (left, top, right, bottom) = margins(shape, map);
    let (tall, wide) = (height + top + bottom, width + left + right);
    let mut padded = Plane::zeros(tall, wide, channels);
    for y in 0..tall {
        for x in 0..wide {
            let from = (reflected(y, top, height) * width + reflected(x, left, width)) * channels;
            let to = (y * wide + x) * channels;
            for channel in 0..channels {
                padded.values[to + channel] = f64::from(image[from + channel]);
            }
        }
    }
    let large = padded.doubled().transposed().doubled().transposed();
    // Both planes have twice the pixels; a doubled image lies half a pixel of its own off.
    let middle = Affine::translation((left as f64 - right as f64) / 2.0, (top as f64 - bottom as f64) / 2.0);
    let in_halves = Affine::scaling(2.0, 2.0).after(&middle.after(map)).after(&Affine::scaling(0.5, 0.5));
    let map = Affine::translation(-0.5, -0.5).after(&in_halves).after(&Affine::translation(0.5, 0.5));
    let mut taken = Plane::zeros(2 * (height + 2 * REACH), 2 * (width + 2 * REACH), channels);
    let (rows, columns) = (taken.height, taken.width);
    let mut pixels = taken.values.chunks_exact_mut(channels);
    for y in 0..rows {
        for x in 0..columns {
            let from_middle = |at: usize, len: usize| at as f64 + 0.5 - len as f64 / 2.0;
            let (x, y) = map.at(from_middle(x, columns), from_middle(y, rows));
            let (x, y) = (x + large.width as f64 / 2.0 - 0.5, y + large.height as f64 / 2.0 - 0.5);
            if let Some(out) = pixels.next() {
                large.bilinear(y, x, out);
            }
        }
    }
    let small = taken.halved().transposed().halved().transposed();
    let mut out = out.chunks_exact_mut(channels);
    for y in 0..height {
        for x in 0..width {
            let values = small.pixel(y + REACH, x + REACH);
            if let Some(out) = out.next() {
                out.iter_mut().zip(values).for_each(|(out, &value)| *out = value as f32);
            }
        }
    }
}

/// Pixels that the image is continued by, left, top, right and bottom, to hold what its corners are taken to and what the
/// filters reach beyond; at most what a reflection has.
fn margins(ImageShape { height, width, .. }: ImageShape, map: &Affine) -> (usize, usize, usize, usize) {
    let (x, y) = ((width as f64 - 1.0) / 2.0, (height as f64 - 1.0) / 2.0);
    let corners = [map.at(-x, -y), map.at(x, -y), map.at(x, y), map.at(-x, y)];
    let reach = |furthest: &dyn Fn(&(f64, f64)) -> f64, half: f64, len: usize| {
        let furthest = corners.iter().map(furthest).fold(f64::NEG_INFINITY, f64::max);
        (furthest + 2.0 * REACH as f64 - half).clamp(0.0, len as f64 - 1.0).ceil() as usize
    };
    (
        reach(&|&(x, _)| -x, x, width),
        reach(&|&(_, y)| -y, y, height),
        reach(&|&(x, _)| x, x, width),
        reach(&|&(_, y)| y, y, height),
    )
}

/// The row or column of `len` that is shown at `at` of those that begin `margin` before it; an edge is not repeated.
fn reflected(at: usize, margin: usize, len: usize) -> usize {
    let from_start = at.abs_diff(margin);
    if from_start < len { from_start } else { 2 * (len - 1) - from_start }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn image(shape: ImageShape) -> Vec<f32> {
        let mut values = vec![0.0; shape.len()];
        Random::new(5).fill_normal(&mut values);
        values
    }

    fn resampled(image: &[f32], shape: ImageShape, map: &Affine) -> Vec<f32> {
        let mut out = vec![f32::NAN; shape.len()];
        resample(image, shape, map, &mut out);
        out
    }

    /// One pixel at a time from the definitions, all sums over all terms, the image continued as far as a reflection goes.
    fn naive(image: &[f32], shape: ImageShape, map: &Affine) -> Vec<f32> {
        let ImageShape { height, width, channels } = shape;
        let filter = |index: i64| usize::try_from(index).ok().and_then(|index| FILTER.get(index)).copied();
        let continued = |y: i64, x: i64, channel: usize| -> f64 {
            let inside = |at: i64, len: usize| {
                let len = len as i64;
                let back = if at < 0 {
                    -at
                } else if at >= len {
                    2 * (len - 1) - at
                } else {
                    at
                };
                (0..len).contains(&back).then_some(back as usize)
            };
            match (inside(y, height), inside(x, width)) {
                (Some(y), Some(x)) => f64::from(image[(y * width + x) * channels + channel]),
                _ => 0.0,
            }
        };
        // Pixel i of the doubled image, counted from the first of the image itself.
        let doubled = |i: i64, j: i64, channel: usize| -> f64 {
            let near = |i: i64| (i / 2 - 8)..(i / 2 + 8);
            let mut sum = 0.0;
            for y in near(i) {
                for x in near(j) {
                    let (Some(a), Some(b)) = (filter(5 + i - 2 * y), filter(5 + j - 2 * x)) else { continue };
                    sum += a * b * continued(y, x, channel);
                }
            }
            sum
        };
        let taken = |i: i64, j: i64, channel: usize| -> f64 {
            // Pixel i of the doubled image is at (i + 1/2 + 1/2) / 2 pixels from the image's edge.
            let at = |i: i64, len: usize| (i as f64 + 1.0) / 2.0 - len as f64 / 2.0;
            let (x, y) = map.at(at(j, width), at(i, height));
            let back = |at: f64, len: usize| 2.0 * (at + len as f64 / 2.0) - 1.0;
            let (y, x) = (back(y, height), back(x, width));
            let (top, left) = (y.floor(), x.floor());
            let mut sum = 0.0;
            for (row, down) in [(top, top + 1.0 - y), (top + 1.0, y - top)] {
                for (column, right) in [(left, left + 1.0 - x), (left + 1.0, x - left)] {
                    sum += down * right * doubled(row as i64, column as i64, channel);
                }
            }
            sum
        };
        let mut out = Vec::new();
        for y in 0..height as i64 {
            for x in 0..width as i64 {
                for channel in 0..channels {
                    let mut sum = 0.0;
                    for (k, a) in FILTER.iter().enumerate() {
                        for (l, b) in FILTER.iter().enumerate() {
                            sum += a * b * taken(2 * y + k as i64 - 5, 2 * x + l as i64 - 5, channel);
                        }
                    }
                    out.push(sum as f32);
                }
            }
        }
        out
    }

    #[test]
    fn it_is_the_naive_twin_s_image_for_each_kind_of_map() {
        let shape = ImageShape { height: 11, width: 13, channels: 2 };
        let image = image(shape);
        for map in [
            Affine::translation(0.0, 0.0),
            Affine::scaling(0.8, 0.8),
            Affine::scaling(1.2, 1.2),
            Affine::rotation(0.3),
            Affine::rotation(-1.9),
            Affine::rotation(0.4).after(&Affine::scaling(0.9, 1.1)).after(&Affine::rotation(-0.4)),
            Affine::translation(1.3, -0.6),
            Affine::translation(0.5, 1.0).after(&Affine::rotation(0.2)),
        ] {
            let (fast, slow) = (resampled(&image, shape, &map), naive(&image, shape, &map));
            for (place, (a, b)) in fast.iter().zip(&slow).enumerate() {
                assert!((a - b).abs() < 1e-5, "{map:?} at {place}: {a} {b}");
            }
        }
    }

    #[test]
    fn what_moves_nothing_or_by_whole_pixels_is_exact() {
        let shape = ImageShape { height: 8, width: 8, channels: 1 };
        let image = image(shape);
        let same = resampled(&image, shape, &Affine::translation(0.0, 0.0));
        assert!(same.iter().zip(&image).all(|(a, b)| (a - b).abs() < 1e-6), "{same:?}");
        let moved = resampled(&image, shape, &Affine::translation(2.0, -1.0));
        for y in 0..8usize {
            for x in 0..8usize {
                let from = |at: isize| if at < 0 { -at } else if at > 7 { 14 - at } else { at } as usize;
                let expected = image[from(y as isize - 1) * 8 + from(x as isize + 2)];
                assert!((moved[y * 8 + x] - expected).abs() < 1e-6, "{y} {x}");
            }
        }
    }
}
