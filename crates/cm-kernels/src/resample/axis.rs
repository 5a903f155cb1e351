//! A linear map along one axis as a sparse matrix: which inputs make an output, with which weights.

/// Row `o` holds the (input, weight) pairs that make output `o`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    /// Length of the input.
    pub(super) inputs: usize,
    rows: Vec<usize>,
    taps: Vec<(usize, f32)>,
}

impl Axis {
    /// From the taps of each output; taps outside `0..inputs` read zeros and are dropped.
    fn new<I: IntoIterator<Item = (isize, f32)>>(
        inputs: usize,
        outputs: usize,
        of: impl Fn(usize) -> I,
    ) -> Self {
        let (mut rows, mut taps) = (vec![0], Vec::new());
        for o in 0..outputs {
            taps.extend(of(o).into_iter().filter_map(|(i, w)| {
                usize::try_from(i).ok().filter(|&i| i < inputs && w != 0.0).map(|i| (i, w))
            }));
            rows.push(taps.len());
        }
        Self { inputs, rows, taps }
    }

    /// Length of the output.
    pub(super) fn outputs(&self) -> usize {
        self.rows.len() - 1
    }

    /// The (input, weight) pairs of one output.
    pub(super) fn taps(&self, output: usize) -> &[(usize, f32)] {
        &self.taps[self.rows[output]..self.rows[output + 1]]
    }

    /// The adjoint map.
    pub(super) fn transposed(&self) -> Self {
        let mut columns = vec![Vec::new(); self.inputs];
        for o in 0..self.outputs() {
            for &(i, w) in self.taps(o) {
                columns[i].push((o as isize, w));
            }
        }
        Self::new(self.outputs(), self.inputs, |i| columns[i].clone())
    }

    /// Each value twice.
    pub(super) fn nearest_up2(size: usize) -> Self {
        Self::new(size, 2 * size, |o| [((o / 2) as isize, 1.0)])
    }

    /// Mean of each pair.
    pub(super) fn avg_down2(size: usize) -> Self {
        Self::new(size, halved(size), |o| [0, 1].map(|t| ((2 * o + t) as isize, 0.5)))
    }

    /// Zeros between the values, then the filter (1, 3, 3, 1) / 4 over 2 zeros before and 1 after.
    pub(super) fn fir_up2(size: usize) -> Self {
        Self::new(size, 2 * size, |o| {
            let i = (o / 2) as isize;
            if o % 2 == 0 { [(i - 1, 0.25), (i, 0.75)] } else { [(i, 0.75), (i + 1, 0.25)] }
        })
    }

    /// Every second value of the filter (1, 3, 3, 1) / 8 over 1 zero on either side.
    pub(super) fn fir_down2(size: usize) -> Self {
        Self::new(size, halved(size), |o| {
            [0.125, 0.375, 0.375, 0.125].into_iter().zip(2 * o as isize - 1..).map(|(w, i)| (i, w))
        })
    }

    /// The filter (1, 3, 3, 1) / 8 over 2 zeros on either side: one output more than inputs.
    pub(super) fn fir_smooth(size: usize) -> Self {
        Self::new(size, size + 1, |o| {
            [0.125, 0.375, 0.375, 0.125].into_iter().zip(o as isize - 2..).map(|(w, i)| (i, w))
        })
    }

    /// Linear interpolation between the centres of the values, held constant beyond the outermost centres.
    pub(super) fn bilinear(size: usize, outputs: usize) -> Self {
        let ratio = size as f64 / outputs.max(1) as f64;
        Self::new(size, outputs, |o| {
            let at = ((o as f64 + 0.5) * ratio - 0.5).max(0.0);
            let lower = (at as usize).min(size.saturating_sub(1));
            let upper = (lower + 1).min(size.saturating_sub(1));
            let w = (at - lower as f64) as f32;
            if upper == lower {
                [(lower as isize, 1.0), (lower as isize, 0.0)]
            } else {
                [(lower as isize, 1.0 - w), (upper as isize, w)]
            }
        })
    }
}

impl Axis {
    /// Linear interpolation as TensorFlow 1 did it: output `o` is read at `o` x inputs / outputs, so that the first
    /// pixels coincide and the image is shifted (`ResizeBilinear` without aligned corners or half-pixel centres).
    pub(super) fn bilinear_corner(size: usize, outputs: usize) -> Self {
        let ratio = size as f32 / outputs.max(1) as f32;
        Self::new(size, outputs, |o| {
            // In single precision, as there.
            let at = o as f32 * ratio;
            let lower = (at as usize).min(size.saturating_sub(1));
            let upper = (lower + 1).min(size.saturating_sub(1));
            let w = at - lower as f32;
            if upper == lower {
                [(lower as isize, 1.0), (lower as isize, 0.0)]
            } else {
                [(lower as isize, 1.0 - w), (upper as isize, w)]
            }
        })
    }

    /// Cubic convolution with a = -1/2, stretched over the inputs of an output when it reduces, and made to sum to 1
    /// at the borders: the Python Imaging Library's `BICUBIC`.
    pub(super) fn bicubic_smooth(size: usize, outputs: usize) -> Self {
        let ratio = size as f64 / outputs.max(1) as f64;
        let stretch = ratio.max(1.0);
        let support = 2.0 * stretch;
        Self::new(size, outputs, |o| {
            let centre = (o as f64 + 0.5) * ratio;
            // Conversion cuts off towards 0, as in C.
            let from = (centre - support + 0.5).max(0.0) as usize;
            let to = ((centre + support + 0.5) as usize).min(size);
            let weights: Vec<f64> = (from..to).map(|i| cubic((i as f64 - centre + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            (from..to).zip(weights).map(|(i, w)| (i as isize, (w / sum) as f32)).collect::<Vec<_>>()
        })
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

/// Half of an even size.
fn halved(size: usize) -> usize {
    assert!(size.is_multiple_of(2), "an image of odd side {size} cannot be halved");
    size / 2
}
