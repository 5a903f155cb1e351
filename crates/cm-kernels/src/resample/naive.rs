//! The truth: each resampling as the literature defines it, one value at a time, generic over the float.

use crate::elementwise::testing::Real;

/// An image batch \[batch, height, width, channels\].
#[derive(Clone)]
pub(super) struct Images<F> {
    pub(super) size: [usize; 4],
    pub(super) data: Vec<F>,
}

impl<F: Real> Images<F> {
    /// The images whose value at (n, y, x, c) is `value(n, y, x, c)`.
    fn from(size: [usize; 4], value: impl Fn(usize, usize, usize, usize) -> F) -> Self {
        let [batch, height, width, channels] = size;
        let mut data = Vec::new();
        for n in 0..batch {
            for y in 0..height {
                for x in 0..width {
                    data.extend((0..channels).map(|c| value(n, y, x, c)));
                }
            }
        }
        Self { size, data }
    }

    /// The value at (n, y, x, c), zero outside.
    fn at(&self, n: usize, y: isize, x: isize, c: usize) -> F {
        let [_, height, width, channels] = self.size;
        if y < 0 || x < 0 || y as usize >= height || x as usize >= width {
            return F::of(0.0);
        }
        self.data[((n * height + y as usize) * width + x as usize) * channels + c]
    }
}

pub(super) fn nearest_up2<F: Real>(image: &Images<F>) -> Images<F> {
    let [n, h, w, c] = image.size;
    Images::from([n, 2 * h, 2 * w, c], |n, y, x, c| image.at(n, y as isize / 2, x as isize / 2, c))
}

pub(super) fn avg_down2<F: Real>(image: &Images<F>) -> Images<F> {
    let [n, h, w, c] = image.size;
    Images::from([n, h / 2, w / 2, c], |n, y, x, c| {
        let (y, x) = (2 * y as isize, 2 * x as isize);
        (image.at(n, y, x, c)
            + image.at(n, y, x + 1, c)
            + image.at(n, y + 1, x, c)
            + image.at(n, y + 1, x + 1, c))
            / F::of(4.0)
    })
}

/// `upfirdn`: zeros in between (`up`), padding (before, after), correlation with outer((1, 3, 3, 1)) / 64 * gain,
/// every `down`-th value.
fn upfirdn<F: Real>(image: &Images<F>, up: usize, down: usize, pad: (usize, usize), gain: f64) -> Images<F> {
    let [n, h, w, c] = image.size;
    let stuffed = Images::from([n, up * h, up * w, c], |n, y, x, c| {
        if y % up == 0 && x % up == 0 {
            image.at(n, (y / up) as isize, (x / up) as isize, c)
        } else {
            F::of(0.0)
        }
    });
    let size = |s: usize| (up * s + pad.0 + pad.1 - 4) / down + 1;
    let taps = [1.0, 3.0, 3.0, 1.0];
    Images::from([n, size(h), size(w), c], |n, y, x, c| {
        let mut sum = F::of(0.0);
        for (ky, ty) in taps.iter().enumerate() {
            for (kx, tx) in taps.iter().enumerate() {
                let (y, x) =
                    ((y * down + ky) as isize - pad.0 as isize, (x * down + kx) as isize - pad.0 as isize);
                sum += stuffed.at(n, y, x, c) * F::of(ty * tx / 64.0 * gain);
            }
        }
        sum
    })
}

pub(super) fn fir_up2<F: Real>(image: &Images<F>) -> Images<F> {
    upfirdn(image, 2, 1, (2, 1), 4.0)
}

pub(super) fn fir_down2<F: Real>(image: &Images<F>) -> Images<F> {
    upfirdn(image, 1, 2, (1, 1), 1.0)
}

pub(super) fn fir_smooth<F: Real>(image: &Images<F>) -> Images<F> {
    upfirdn(image, 1, 1, (2, 2), 1.0)
}

pub(super) fn bilinear<F: Real>(image: &Images<F>, to: (usize, usize)) -> Images<F> {
    let [n, h, w, c] = image.size;
    let place = |o: usize, from: usize, to: usize| {
        ((o as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, from as f64 - 1.0)
    };
    Images::from([n, to.0, to.1, c], |n, y, x, c| {
        let (fy, fx) = (place(y, h, to.0), place(x, w, to.1));
        let mut sum = F::of(0.0);
        for yy in 0..h {
            for xx in 0..w {
                // The tent of bilinear interpolation around every pixel.
                let weight =
                    (1.0 - (fy - yy as f64).abs()).max(0.0) * (1.0 - (fx - xx as f64).abs()).max(0.0);
                sum += image.at(n, yy as isize, xx as isize, c) * F::of(weight);
            }
        }
        sum
    })
}

/// TensorFlow 1's `ResizeBilinear`: the tent around place `o` x inputs / outputs.
pub(super) fn bilinear_corners<F: Real>(image: &Images<F>, to: (usize, usize)) -> Images<F> {
    let [n, h, w, c] = image.size;
    let place = |o: usize, from: usize, to: usize| {
        let at = o as f32 * (from as f32 / to as f32);
        f64::from(at).min(from as f64 - 1.0)
    };
    Images::from([n, to.0, to.1, c], |n, y, x, c| {
        let (fy, fx) = (place(y, h, to.0), place(x, w, to.1));
        let mut sum = F::of(0.0);
        for yy in 0..h {
            for xx in 0..w {
                let weight =
                    (1.0 - (fy - yy as f64).abs()).max(0.0) * (1.0 - (fx - xx as f64).abs()).max(0.0);
                sum += image.at(n, yy as isize, xx as isize, c) * F::of(weight);
            }
        }
        sum
    })
}
