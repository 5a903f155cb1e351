//! Halving, doubling and interpolating to another resolution.

use crate::composed::{AnyDevice, Flat, Tape, along_both_sides, flat, shaped, taken};
use crate::{BackwardContext, CustomOp, Graph, Images};
use cm_kernels::{buffer::written_by, resample};

#[derive(Clone, Copy)]
struct Extents {
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
}

/// A linear map of images and its adjoint, both of `cm-kernels`, on the extents of the map's input.
struct Linear {
    from: Extents,
    forward: Kernel,
    backward: Kernel,
    map: Map,
}

type Kernel = fn(usize, usize, usize, usize, &[f32], &mut [f32]);

impl CustomOp for Linear {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        let Extents { batch, height, width, channels } = self.from;
        (self.forward)(batch, height, width, channels, inputs[0], output);
        Vec::new()
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let Extents { batch, height, width, channels } = self.from;
        vec![Some(written_by(batch * height * width * channels, |out| {
            (self.backward)(batch, height, width, channels, &context.gradient, out);
        }))]
    }

    fn composed<D: AnyDevice, T: Tape<f32, D>>(&self, inputs: Vec<Flat<D, T>>) -> Flat<D, T> {
        let Extents { batch, height, width, channels } = self.from;
        let [x] = taken(inputs);
        let x = shaped(x, (batch, height, width, channels));
        flat(along_both_sides(x, self.map.of_side(height), self.map.of_side(width)))
    }
}

/// What each map does along one side: images are mapped along both.
#[derive(Clone, Copy)]
enum Map {
    Average,
    Nearest,
    FirDown,
    FirUp,
    FirSmooth,
}

impl Map {
    /// The matrix of a side of `size` pixels, `[to, size]`.
    fn of_side(self, size: usize) -> Vec<f32> {
        // The taps of (1, 3, 3, 1), summing to 1, at the distance `i - first`.
        let fir = |first: isize, i: usize| match i as isize - first {
            0 | 3 => 0.125,
            1 | 2 => 0.375,
            _ => 0.0,
        };
        match self {
            Self::Average => matrix(size / 2, size, |o, i| if i / 2 == o { 0.5 } else { 0.0 }),
            Self::Nearest => matrix(2 * size, size, |o, i| if o / 2 == i { 1.0 } else { 0.0 }),
            Self::FirDown => matrix(size / 2, size, |o, i| fir(2 * o as isize - 1, i)),
            // Zeros in between halve the sum of the taps, hence the 2.
            Self::FirUp => matrix(2 * size, size, |o, i| 2.0 * fir(o as isize - 2, 2 * i)),
            Self::FirSmooth => matrix(size + 1, size, |o, i| fir(o as isize - 2, i)),
        }
    }
}

fn matrix(to: usize, from: usize, value: impl Fn(usize, usize) -> f64) -> Vec<f32> {
    (0..to * from).map(|index| value(index / from, index % from) as f32).collect()
}

/// Applies a map from images of any size to images of `to` = (height, width).
fn apply(
    graph: &mut Graph,
    x: &Images,
    to: (usize, usize),
    map: Map,
    forward: Kernel,
    backward: Kernel,
) -> Images {
    let [batch, height, width, channels] = x.shape();
    let from = Extents { batch, height, width, channels };
    graph.apply(Linear { from, forward, backward, map }, &[x], [batch, to.0, to.1, channels])
}

/// Half of each side.
///
/// # Panics
/// If height or width is odd.
fn halves(x: &Images) -> (usize, usize) {
    let [_, height, width, _] = x.shape();
    assert!(height % 2 == 0 && width % 2 == 0, "{height}x{width} pixels cannot be halved");
    (height / 2, width / 2)
}

/// Means of 2x2 pixels: `[N, H, W, C]` to `[N, H/2, W/2, C]`.
///
/// # Panics
/// If height or width is odd.
pub fn average_down(graph: &mut Graph, x: &Images) -> Images {
    apply(graph, x, halves(x), Map::Average, resample::avg_down2, resample::avg_down2_backward)
}

/// Each pixel repeated 2x2: `[N, H, W, C]` to `[N, 2H, 2W, C]`.
pub fn nearest_up(graph: &mut Graph, x: &Images) -> Images {
    let [_, height, width, _] = x.shape();
    apply(
        graph,
        x,
        (2 * height, 2 * width),
        Map::Nearest,
        resample::nearest_up2,
        resample::nearest_up2_backward,
    )
}

/// Half the resolution through the filter (1, 3, 3, 1): `[N, H, W, C]` to `[N, H/2, W/2, C]` (Song et al. 2021).
///
/// # Panics
/// If height or width is odd.
pub fn fir_down(graph: &mut Graph, x: &Images) -> Images {
    apply(graph, x, halves(x), Map::FirDown, resample::fir_down2, resample::fir_down2_backward)
}

/// Twice the resolution through the filter (1, 3, 3, 1): `[N, H, W, C]` to `[N, 2H, 2W, C]` (Song et al. 2021).
pub fn fir_up(graph: &mut Graph, x: &Images) -> Images {
    let [_, height, width, _] = x.shape();
    apply(graph, x, (2 * height, 2 * width), Map::FirUp, resample::fir_up2, resample::fir_up2_backward)
}

/// The filter (1, 3, 3, 1) alone, over two zeros on every side: `[N, H, W, C]` to `[N, H+1, W+1, C]`. A 3x3 convolution
/// of stride 2 without padding then halves the image (Song et al. 2021, the input pyramid).
pub fn fir_smooth(graph: &mut Graph, x: &Images) -> Images {
    let [_, height, width, _] = x.shape();
    apply(
        graph,
        x,
        (height + 1, width + 1),
        Map::FirSmooth,
        resample::fir_smooth,
        resample::fir_smooth_backward,
    )
}

struct Bilinear {
    from: [usize; 4],
    to: (usize, usize),
}

impl CustomOp for Bilinear {
    fn forward(&self, inputs: &[&[f32]], output: &mut [f32]) -> Vec<f32> {
        let [batch, height, width, channels] = self.from;
        resample::bilinear(batch, (height, width), self.to, channels, inputs[0], output);
        Vec::new()
    }

    fn keeps_input(&self, _: usize) -> bool {
        false
    }

    fn backward(&self, context: BackwardContext<'_>) -> Vec<Option<Vec<f32>>> {
        let [batch, height, width, channels] = self.from;
        vec![Some(written_by(self.from.iter().product(), |out| {
            let from = (height, width);
            resample::bilinear_backward(batch, from, self.to, channels, &context.gradient, out);
        }))]
    }

    fn composed<D: AnyDevice, T: Tape<f32, D>>(&self, inputs: Vec<Flat<D, T>>) -> Flat<D, T> {
        let [batch, height, width, channels] = self.from;
        let [x] = taken(inputs);
        let side = |from: usize, to: usize| {
            let place =
                |o: usize| ((o as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, from as f64 - 1.0);
            matrix(to, from, |o, i| (1.0 - (place(o) - i as f64).abs()).max(0.0))
        };
        let x = shaped(x, (batch, height, width, channels));
        flat(along_both_sides(x, side(height, self.to.0), side(width, self.to.1)))
    }
}

/// Bilinear interpolation to `to` = (height, width), pixel centres aligned, no smoothing before reduction:
/// `[N, H, W, C]` to `[N, to.0, to.1, C]`.
pub fn bilinear(graph: &mut Graph, x: &Images, to: (usize, usize)) -> Images {
    let from @ [batch, _, _, channels] = x.shape();
    graph.apply(Bilinear { from, to }, &[x], [batch, to.0, to.1, channels])
}
