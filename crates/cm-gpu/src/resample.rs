//! Halving, doubling and interpolating to another resolution: a linear map along each axis of an image.

use crate::launch::Launch;
use crate::source::{RESAMPLE, Variant};
use crate::{Buffer, Gpu, GpuError};

/// What a resampling does along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Map {
    /// Each value twice.
    NearestUp,
    /// The mean of each pair.
    AverageDown,
    /// Zeros between the values, then the filter (1, 3, 3, 1) / 4 over 2 zeros before and 1 after.
    FirUp,
    /// Every second value of the filter (1, 3, 3, 1) / 8 over 1 zero on either side.
    FirDown,
    /// The filter (1, 3, 3, 1) / 8 over 2 zeros on either side: one output more than inputs.
    FirSmooth,
    /// Linear interpolation to so many rows and columns between the centres of the values, constant beyond the outermost.
    Bilinear(usize, usize),
    /// Linear interpolation to so many rows and columns as TensorFlow 1 did it: the upper left corners coincide.
    BilinearCorners(usize, usize),
    /// Cubic convolution with a = -1/2 to so many rows and columns, stretched over the inputs of an output when it reduces:
    /// the Python Imaging Library's `BICUBIC`.
    BicubicSmooth(usize, usize),
}

/// The taps of an axis: row `o` holds the (input, weight) pairs that make output `o`.
struct Axis {
    inputs: usize,
    rows: Vec<Vec<(usize, f32)>>,
}

/// (1, 3, 3, 1) / 8.
const FIR: [f32; 4] = [0.125, 0.375, 0.375, 0.125];

impl Axis {
    /// Of the pairs that `of` gives for each output; what lies outside reads zeros and is dropped.
    fn new<I>(inputs: usize, outputs: usize, of: impl Fn(usize) -> I) -> Self
    where
        I: IntoIterator<Item = (isize, f32)>,
    {
        let inside = |(input, weight): (isize, f32)| {
            let input = usize::try_from(input).ok().filter(|&input| input < inputs && weight != 0.0)?;
            Some((input, weight))
        };
        let rows = (0..outputs).map(|o| of(o).into_iter().filter_map(inside).collect()).collect();
        Self { inputs, rows }
    }

    fn of(map: Map, size: usize, to: usize) -> Self {
        match map {
            Map::NearestUp => Self::new(size, to, |o| [((o / 2) as isize, 1.0)]),
            Map::AverageDown => Self::new(size, to, |o| [0, 1].map(|tap| ((2 * o + tap) as isize, 0.5))),
            Map::FirUp => Self::new(size, to, |o| {
                let i = (o / 2) as isize;
                if o % 2 == 0 { [(i - 1, 0.25), (i, 0.75)] } else { [(i, 0.75), (i + 1, 0.25)] }
            }),
            Map::FirDown => Self::filtered(size, to, |o| 2 * o as isize - 1),
            Map::FirSmooth => Self::filtered(size, to, |o| o as isize - 2),
            Map::Bilinear(..) => {
                let ratio = size as f64 / to.max(1) as f64;
                Self::new(size, to, |o| {
                    let at = ((o as f64 + 0.5) * ratio - 0.5).max(0.0);
                    Self::between(size, at as usize, |lower| (at - lower as f64) as f32)
                })
            }
            Map::BilinearCorners(..) => {
                // In single precision, as there.
                let ratio = size as f32 / to.max(1) as f32;
                Self::new(size, to, |o| {
                    let at = o as f32 * ratio;
                    Self::between(size, at as usize, |lower| at - lower as f32)
                })
            }
            Map::BicubicSmooth(..) => Self::bicubic(size, to),
        }
    }

    /// Two neighbours, the second with the weight of the first; at the end one.
    fn between(size: usize, lower: usize, weight: impl Fn(usize) -> f32) -> [(isize, f32); 2] {
        let lower = lower.min(size.saturating_sub(1));
        if lower + 1 >= size {
            return [(lower as isize, 1.0), (lower as isize, 0.0)];
        }
        let weight = weight(lower);
        [(lower as isize, 1.0 - weight), (lower as isize + 1, weight)]
    }

    fn bicubic(size: usize, to: usize) -> Self {
        let ratio = size as f64 / to.max(1) as f64;
        let stretch = ratio.max(1.0);
        Self::new(size, to, |o| {
            let centre = (o as f64 + 0.5) * ratio;
            // Conversion cuts off towards 0, as in C.
            let inputs = (centre - 2.0 * stretch + 0.5).max(0.0) as usize
                ..((centre + 2.0 * stretch + 0.5) as usize).min(size);
            let weight = |i: usize| cubic((i as f64 - centre + 0.5) / stretch);
            let sum: f64 = inputs.clone().map(weight).sum();
            inputs.map(move |i| (i as isize, (weight(i) / sum) as f32)).collect::<Vec<_>>()
        })
    }

    fn filtered(size: usize, to: usize, first: impl Fn(usize) -> isize) -> Self {
        Self::new(size, to, |o| std::array::from_fn::<_, 4, _>(|tap| (first(o) + tap as isize, FIR[tap])))
    }

    /// The adjoint map.
    fn transposed(&self) -> Self {
        let mut rows = vec![Vec::new(); self.inputs];
        for (output, taps) in self.rows.iter().enumerate() {
            for &(input, weight) in taps {
                rows[input].push((output, weight));
            }
        }
        Self { inputs: self.rows.len(), rows }
    }

    /// Where each row's taps begin, and where the last end.
    fn starts(&self) -> Vec<u32> {
        let mut end = 0;
        let ends = self.rows.iter().map(|taps| {
            end += taps.len() as u32;
            end
        });
        std::iter::once(0).chain(ends).collect()
    }
}

/// Keys 1981, Equation 4, with a = -1/2.
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

impl Map {
    /// The size that `size` becomes, as the row if `first`.
    fn of_side(self, size: usize, first: bool) -> usize {
        match self {
            Self::NearestUp | Self::FirUp => 2 * size,
            Self::AverageDown | Self::FirDown => {
                assert!(size.is_multiple_of(2), "an image of odd side {size} cannot be halved");
                size / 2
            }
            Self::FirSmooth => size + 1,
            Self::Bilinear(height, width)
            | Self::BilinearCorners(height, width)
            | Self::BicubicSmooth(height, width) => {
                if first {
                    height
                } else {
                    width
                }
            }
        }
    }

    /// Height and width of what images of `from` become.
    ///
    /// # Panics
    /// If an odd side is to be halved.
    pub fn size(self, from: (usize, usize)) -> (usize, usize) {
        (self.of_side(from.0, true), self.of_side(from.1, false))
    }
}

impl Gpu {
    /// Images of `from` = (height, width) under `map`.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit.
    pub fn resample(
        &self,
        map: Map,
        batch: usize,
        from: (usize, usize),
        channels: usize,
        x: &Buffer,
    ) -> Result<Buffer, GpuError> {
        let to = map.size(from);
        self.resampled(map, false, batch, (from, to), channels, x)
    }

    /// The gradient of [`Gpu::resample`]; `from` is the forward pass's.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit.
    pub fn resample_backward(
        &self,
        map: Map,
        batch: usize,
        from: (usize, usize),
        channels: usize,
        grad_out: &Buffer,
    ) -> Result<Buffer, GpuError> {
        let to = map.size(from);
        self.resampled(map, true, batch, (to, from), channels, grad_out)
    }

    fn resampled(
        &self,
        map: Map,
        transposed: bool,
        batch: usize,
        ((height, width), (to_height, to_width)): ((usize, usize), (usize, usize)),
        channels: usize,
        x: &Buffer,
    ) -> Result<Buffer, GpuError> {
        assert_eq!(
            x.len(),
            batch * height * width * channels,
            "{batch} images of {height}x{width}x{channels}"
        );
        let len = batch * to_height * to_width * channels;
        let mut out = self.unwritten(x.element(), len)?;
        if len == 0 {
            return Ok(out);
        }
        let [rows, columns] = [(height, to_height), (width, to_width)].map(|(from, to)| {
            let axis =
                || if transposed { Axis::of(map, to, from).transposed() } else { Axis::of(map, from, to) };
            let name = |part| format!("{part} of {map:?}, transposed {transposed}, {from} to {to}");
            let taps = |axis: Axis| axis.rows.into_iter().flatten();
            Ok::<_, GpuError>([
                self.table(name("starts"), || axis().starts())?,
                self.table(name("inputs"), || taps(axis()).map(|(input, _)| input as u32).collect())?,
                self.table(name("weights"), || taps(axis()).map(|(_, weight)| weight).collect::<Vec<f32>>())?,
            ])
        });
        let (rows, columns) = (rows?, columns?);
        let launch = self.launch(&RESAMPLE, Variant::of(x.element()), "resample")?.read(x).write(&mut out);
        let launch = rows.iter().chain(&columns).fold(launch, Launch::read);
        let launch = launch.long(len).int(height).int(width).int(to_height).int(to_width);
        launch.int(channels).over(len)?;
        Ok(out)
    }
}
