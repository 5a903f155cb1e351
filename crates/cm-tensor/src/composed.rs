//! Operations a second time, composed of dfdx's own: [`CustomOp::composed`](crate::CustomOp::composed).
//!
//! Written once for every device of dfdx. On the CPU the fused kernels of `cm-kernels` do the work, and the composed
//! forms are what they are compared with; on a device whose memory the kernels cannot reach, the composed forms are
//! the operations. Everything crosses this file's border as flat tensors, row-major: an operation knows its extents.
//!
//! What dfdx lacks and how it is made up for: a convolution is a sum over the places of its kernel, each a slice of
//! the padded images times a matrix; what changes the resolution is a product with one small matrix for each side.
//!
//! Where they differ from the kernels: of equal largest values [`max_pool`](crate::ops::max_pool) and the L-infinity
//! distance share the gradient among all, where the kernels give it to the first.

pub(crate) use dfdx::shapes::{Axes2, Axes4, Axis, HasShape, Shape};
pub(crate) use dfdx::tensor::{Tape, Tensor, WithEmptyTape};
pub(crate) use dfdx::tensor_ops::{
    BroadcastTo, MaxTo, MeanTo, PermuteTo, ReshapeTo, SumTo, TryConcatAlong, TryMatMul,
};

/// The device on which [`Graph::composed`](crate::Graph::composed) runs: the GPU if this was built with the feature
/// `cuda`, else the CPU.
#[cfg(feature = "cuda")]
pub type Accelerator = dfdx::tensor::Cuda;
/// The device on which [`Graph::composed`](crate::Graph::composed) runs: the GPU if this was built with the feature
/// `cuda`, else the CPU.
#[cfg(not(feature = "cuda"))]
pub type Accelerator = dfdx::tensor::Cpu;

/// This thread's [`Accelerator`], opened once.
///
/// # Panics
/// If there is no such GPU: [`check_accelerator`](crate::devices::check_accelerator) tells beforehand.
pub fn accelerator() -> Accelerator {
    thread_local! {
        static OPEN: Accelerator = open();
    }
    OPEN.with(Accelerator::clone)
}

#[cfg(feature = "cuda")]
fn open() -> Accelerator {
    let ordinal = crate::devices::chosen_gpu().unwrap_or_else(|error| panic!("{error}"));
    let opened = dfdx::tensor::Cuda::try_build(ordinal, 0);
    opened.unwrap_or_else(|error| panic!("GPU {ordinal} cannot be used: {error}"))
}

#[cfg(not(feature = "cuda"))]
fn open() -> Accelerator {
    Accelerator::default()
}

/// A device that can do what the composed operations need: any of dfdx's.
pub trait AnyDevice: dfdx::tensor_ops::Device<f32> {}

impl<D: dfdx::tensor_ops::Device<f32>> AnyDevice for D {}

/// Values in row-major order on any device, with or without a tape.
pub type Flat<D, T> = Tensor<(usize,), f32, D, T>;

/// Images on any device: `[N, H, W, C]`.
pub(crate) type Nhwc<D, T> = Tensor<(usize, usize, usize, usize), f32, D, T>;

/// An operation's inputs, as many as it takes.
pub(crate) fn taken<X, const N: usize>(inputs: Vec<X>) -> [X; N] {
    inputs
        .try_into()
        .unwrap_or_else(|_| unreachable!("an operation is applied to as many inputs as it takes"))
}

/// The same values under other extents.
pub(crate) fn shaped<S: Shape, R: Shape, D: AnyDevice, T: Tape<f32, D>>(
    x: Tensor<S, f32, D, T>,
    shape: R,
) -> Tensor<R, f32, D, T> {
    x.reshape_like(&shape)
}

/// The same values, flat.
pub(crate) fn flat<S: Shape, D: AnyDevice, T: Tape<f32, D>>(x: Tensor<S, f32, D, T>) -> Flat<D, T> {
    let len = x.shape().num_elements();
    shaped(x, (len,))
}

/// The same values with a gradient of their own, which joins that of `x`. Slices that overlap each need one: on the
/// CPU, dfdx 0.13's backward pass of a slice overwrites what others have left there, instead of adding to it.
pub(crate) fn fresh<S: Shape, D: AnyDevice, T: Tape<f32, D>>(
    x: Tensor<S, f32, D, T>,
) -> Tensor<S, f32, D, T> {
    x + 0.0
}

/// x sigmoid(x).
pub(crate) fn silu<S: Shape, D: AnyDevice, T: Tape<f32, D>>(x: Tensor<S, f32, D, T>) -> Tensor<S, f32, D, T> {
    x.with_empty_tape().sigmoid() * x
}

/// `x` between borders of `value`: `above` and `below` rows, `left` and `right` columns.
pub(crate) fn padded<D: AnyDevice, T: Tape<f32, D>>(
    mut x: Nhwc<D, T>,
    (above, below): (usize, usize),
    (left, right): (usize, usize),
    value: f32,
) -> Nhwc<D, T> {
    let device = x.device().clone();
    let border = |shape: &(usize, usize, usize, usize)| device.zeros_like(shape) + value;
    let &(n, _, w, c) = x.shape();
    if above > 0 {
        x = (border(&(n, above, w, c)).put_empty::<T>(), x).concat_along(Axis::<1>);
    }
    if below > 0 {
        x = (x, border(&(n, below, w, c))).concat_along(Axis::<1>);
    }
    let &(n, h, _, c) = x.shape();
    if left > 0 {
        x = (border(&(n, h, left, c)).put_empty::<T>(), x).concat_along(Axis::<2>);
    }
    if right > 0 {
        x = (x, border(&(n, h, right, c))).concat_along(Axis::<2>);
    }
    x
}

/// Windows that slide over images.
#[derive(Clone, Copy)]
pub(crate) struct Windows {
    /// Height and width of a window.
    pub(crate) kernel: usize,
    /// Distance of two neighbouring windows.
    pub(crate) stride: usize,
    /// Border around the image.
    pub(crate) padding: usize,
    /// Rows and columns of windows.
    pub(crate) out: (usize, usize),
}

impl Windows {
    /// For each place in a window, row by row, what all windows hold there: `[N H' W', C]` each. Beyond the image
    /// lies `border`.
    pub(crate) fn places<D: AnyDevice, T: Tape<f32, D>>(
        self,
        x: Nhwc<D, T>,
        border: f32,
    ) -> impl Iterator<Item = Tensor<(usize, usize), f32, D, T>> {
        let Self { kernel, stride, padding, out: (height, width) } = self;
        let &(n, h, w, c) = x.shape();
        let behind = |size: usize, count: usize| (kernel - 1 + stride * count).saturating_sub(padding + size);
        let x = padded(x, (padding, behind(h, height)), (padding, behind(w, width)), border);
        let last = kernel * kernel - 1;
        // The tape goes with the last place; gradients of all meet at the padded images.
        let mut x = Some(x);
        (0..=last).map(move |place| {
            let images =
                if place == last { x.take() } else { x.as_ref().map(WithEmptyTape::with_empty_tape) };
            let images = images.expect("taken at the last place only");
            let (dy, dx) = (place / kernel, place % kernel);
            let images = if last == 0 { images } else { fresh(images) };
            let part = images.slice((.., dy..dy + stride * height, dx..dx + stride * width, ..));
            if stride == 1 {
                return shaped(part, (n * height * width, c));
            }
            let grid = shaped(part, (n, height, stride, width, stride, c));
            shaped(grid.slice((.., .., 0..1, .., 0..1, ..)), (n * height * width, c))
        })
    }
}

/// Every column of every image times `rows`, then every row times `columns`: both `[to, from]`, row-major.
pub(crate) fn along_both_sides<D: AnyDevice, T: Tape<f32, D>>(
    x: Nhwc<D, T>,
    rows: Vec<f32>,
    columns: Vec<f32>,
) -> Nhwc<D, T> {
    let along_height = swap_sides(along_width(swap_sides(x), rows));
    along_width(along_height, columns)
}

fn swap_sides<D: AnyDevice, T: Tape<f32, D>>(x: Nhwc<D, T>) -> Nhwc<D, T> {
    x.permute::<_, Axes4<0, 2, 1, 3>>()
}

fn along_width<D: AnyDevice, T: Tape<f32, D>>(x: Nhwc<D, T>, matrix: Vec<f32>) -> Nhwc<D, T> {
    let &(n, h, w, c) = x.shape();
    let to = matrix.len() / w;
    let mut transposed = vec![0.0; matrix.len()];
    for (index, value) in matrix.into_iter().enumerate() {
        transposed[index % w * to + index / w] = value;
    }
    let matrix = x.device().tensor_from_vec(transposed, (w, to));
    let last: Nhwc<D, T> = x.permute::<_, Axes4<0, 1, 3, 2>>();
    let product = shaped(last, (n * h * c, w)).matmul(matrix);
    shaped(product, (n, h, c, to)).permute::<_, Axes4<0, 1, 3, 2>>()
}

/// One row of numbers for all rows of `x`.
pub(crate) fn for_each_row<D: AnyDevice, T: Tape<f32, D>, R: Tape<f32, D>>(
    row: Tensor<(usize,), f32, D, R>,
    x: &Tensor<(usize, usize), f32, D, T>,
) -> Tensor<(usize, usize), f32, D, R> {
    row.broadcast_like::<_, Axis<0>>(x)
}

/// One number for all columns of `x`, another for each row.
pub(crate) fn for_each_column<D: AnyDevice, T: Tape<f32, D>, R: Tape<f32, D>>(
    column: Tensor<(usize,), f32, D, R>,
    x: &Tensor<(usize, usize), f32, D, T>,
) -> Tensor<(usize, usize), f32, D, R> {
    column.broadcast_like::<_, Axis<1>>(x)
}

/// A constant gets an empty tape, to stand in front of what has one.
trait PutEmpty<S: Shape, D: AnyDevice> {
    fn put_empty<T: Tape<f32, D>>(self) -> Tensor<S, f32, D, T>;
}

impl<S: Shape, D: AnyDevice> PutEmpty<S, D> for Tensor<S, f32, D> {
    fn put_empty<T: Tape<f32, D>>(self) -> Tensor<S, f32, D, T> {
        self.retaped()
    }
}
