//! Values to compute with, and comparisons.

use crate::standin::{Standin, standin};
use cm_gpu::conv2d::Precision;
use cm_gpu::{Buffer, Element, Gpu, GpuError};
use std::fmt::Debug;

/// The kinds of values that kernels compute with.
pub(crate) const STORED: [Element; 2] = [Element::F32, Element::Bf16];

/// How products are computed.
pub(crate) const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Tf32, Precision::Bf16];

/// Values in [-2, 2) that depend on the seed and the index only.
pub(crate) fn values(len: usize, seed: u64) -> Vec<f32> {
    (0..len as u64)
        .map(|i| {
            let mut z = (seed + 1)
                .wrapping_mul(0xD134_2543_DE82_EF95)
                .wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z >> 40) as f32) * (4.0 / 16_777_216.0) - 2.0
        })
        .collect()
}

/// The bits of the nearest bf16, ties to even.
pub(crate) fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() { (bits >> 16) as u16 | 0x40 } else { ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16 }
}

/// The value of a bf16.
pub(crate) fn of_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Values as they are when they are stored so.
pub(crate) fn stored(element: Element, values: Vec<f32>) -> Vec<f32> {
    match element {
        Element::Bf16 => values.into_iter().map(|x| of_bf16(bf16(x))).collect(),
        _ => values,
    }
}

/// Random values as they are when they are stored so.
pub(crate) fn drawn(element: Element, len: usize, seed: u64) -> Vec<f32> {
    stored(element, values(len, seed))
}

/// What tf32 does to a factor: ten bits of mantissa.
pub(crate) fn multiplied(precision: Precision, values: Vec<f32>) -> Vec<f32> {
    match precision {
        Precision::Tf32 => {
            values.iter().map(|x| f32::from_bits((x.to_bits() + 0x1000) & 0xffff_e000)).collect()
        }
        Precision::F32 | Precision::Bf16 => values,
    }
}

/// Values on the GPU, stored so.
pub(crate) fn put(gpu: &Gpu, element: Element, values: &[f32]) -> Buffer {
    match element {
        Element::Bf16 => gpu.upload(&values.iter().map(|&x| bf16(x)).collect::<Vec<_>>()).unwrap(),
        _ => gpu.upload(values).unwrap(),
    }
}

/// Values of a GPU's buffer.
pub(crate) fn taken(gpu: &Gpu, buffer: &Buffer) -> Result<Vec<f32>, GpuError> {
    Ok(match buffer.element() {
        Element::Bf16 => gpu.download(buffer)?.into_iter().map(of_bf16).collect(),
        _ => gpu.download(buffer)?,
    })
}

/// Room for what a kernel of `cm-kernels` writes.
pub(crate) fn written(len: usize, write: impl FnOnce(&mut [f32])) -> Vec<f32> {
    cm_kernels::buffer::written_by(len, write)
}

/// The results of `work` under the given order of threads.
pub(crate) fn in_order(
    standin: &Standin,
    order: u32,
    work: &dyn Fn(&Gpu) -> Result<Vec<Buffer>, GpuError>,
) -> Result<Vec<Vec<f32>>, GpuError> {
    standin.order(order);
    let gpu = standin.gpu();
    let results = work(&gpu).and_then(|buffers| buffers.iter().map(|buffer| taken(&gpu, buffer)).collect());
    // The buffers are given back by now: whoever wrote past their ends is found out.
    let intact = gpu.wait();
    standin.order(0);
    let results = results?;
    intact.map(|()| results)
}

/// The results of `work`, which must have the same bits in three orders of threads and blocks; `None` where kernels
/// cannot be run.
#[track_caller]
pub(crate) fn in_three_orders(
    what: &dyn Debug,
    work: &dyn Fn(&Gpu) -> Result<Vec<Buffer>, GpuError>,
) -> Option<Vec<Vec<f32>>> {
    let standin = standin()?;
    let all = [0, 1, 7].map(|order| {
        let results = in_order(standin, order, work);
        results.unwrap_or_else(|error| panic!("{what:?}, order {order}: {error}"))
    });
    let bits = all
        .each_ref()
        .map(|results| results.iter().flatten().map(|value| value.to_bits()).collect::<Vec<_>>());
    assert!(bits[0] == bits[1] && bits[0] == bits[2], "{what:?}: bits depend on the order of threads");
    let [first, ..] = all;
    Some(first)
}

/// max |got - exact| / max |exact|; infinite if there is a NaN where none is due, or the lengths differ.
pub(crate) fn error(got: &[f32], exact: &[f32]) -> f64 {
    if got.len() != exact.len() || got.iter().zip(exact).any(|(g, e)| g.is_nan() != e.is_nan()) {
        return f64::INFINITY;
    }
    let finite = |v: &&f32| !v.is_nan();
    let largest = exact.iter().filter(finite).fold(1e-30, |most: f64, v| most.max(f64::from(v.abs())));
    let worst = got.iter().zip(exact).filter(|(g, _)| !g.is_nan());
    worst.fold(0.0, |most: f64, (g, e)| most.max((f64::from(*g) - f64::from(*e)).abs())) / largest
}

/// How far a result may be from the exact one where it is stored so: `single` in single precision, and the rounding of
/// bf16 beside it.
pub(crate) fn tolerance(element: Element, single: f64) -> f64 {
    match element {
        Element::Bf16 => single + 2.0_f64.powi(-8),
        _ => single,
    }
}

/// Panics unless `got` is within `tolerance` of `exact`, relative to the largest value.
#[track_caller]
pub(crate) fn assert_close(got: &[f32], exact: &[f32], tolerance: f64, what: &dyn Debug) {
    let error = error(got, exact);
    assert!(error <= tolerance, "{what:?}: error {error:.2e} above {tolerance:.1e}");
}
