//! A product tried on this card: do a library's plans compute what ours compute, and which is the fastest?
//!
//! Operands are values of their own, drawn for the trial: weights and gradients of a training's first steps are zeros, of
//! which every product is right.

use super::table::{Choice, Entry};
use super::{Ours, Planned, Products};
use crate::buffer::Buffer;
use crate::conv2d::{Epilogue, Precision, Product, Way};
use crate::element::Element;
use crate::error::GpuError;
use crate::gpu::Gpu;
use std::time::Instant;

/// How often a product is computed for one measurement of its time.
const REPEATS: u32 = 10;
/// Measurements, of which the fastest counts.
const MEASUREMENTS: usize = 3;
/// A library's plan is taken if it needs at most this share of our time.
const SHARE: f64 = 0.95;

/// By how much a plan's values may differ from ours: the length of the difference as a share of our values' length.
/// Single precision: both round sums of up to 10^4 products to 24 bits, in different orders. tf32: factors are rounded to
/// 11 bits, by us to nearest, by others perhaps towards zero (2^-11 each). bf16: results are rounded to 8 bits (2^-9), at
/// most twice.
fn bound(product: &Product) -> f64 {
    match (product.precision, product.way) {
        (Precision::F32, _) => 2e-5,
        (Precision::Tf32, _) => 3e-3,
        (Precision::Bf16, Way::BackwardWeight) => 2e-5,
        (Precision::Bf16, Way::Forward | Way::BackwardData) => 1e-2,
    }
}

/// A product with operands and what ours make of them.
pub(super) struct Trial<'a> {
    gpu: &'a Gpu,
    product: &'a Product,
    operands: [Buffer; 2],
    /// `None` without an epilogue that takes one.
    bias: Option<Buffer>,
    ours: Buffer,
}

/// What a trial of several found.
pub(super) struct Fastest {
    pub(super) plan: Option<Planned>,
    pub(super) entry: Entry,
    pub(super) notes: Vec<String>,
}

/// What is no error of the run: that a library refused, or that there was no memory for a trial.
pub(super) fn tolerated<T>(tried: Result<T, GpuError>) -> Result<Result<T, String>, GpuError> {
    match tried {
        Ok(found) => Ok(Ok(found)),
        Err(error @ (GpuError::Library { .. } | GpuError::OutOfMemory { .. })) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

/// Values in [-1, 1), the same each time.
fn drawn(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 * (2.0 / 16_777_216.0) - 1.0
    };
    (0..len).map(|_| draw()).collect()
}

impl<'a> Trial<'a> {
    pub(super) fn new(gpu: &'a Gpu, product: &'a Product) -> Result<Self, GpuError> {
        let element = product.precision.element();
        let put = |len: usize, seed| gpu.converted(&gpu.upload(&drawn(len, seed))?, element);
        let [a, b] = product.operands();
        let operands = [put(a, 1)?, put(b, 2)?];
        let with_bias = product.finished && product.way == Way::Forward;
        let bias = if with_bias { Some(gpu.upload(&drawn(product.shape.out_channels, 3))?) } else { None };
        let (len, element) = product.result();
        let mut trial = Self { gpu, product, operands, bias, ours: gpu.unwritten(element, len)? };
        let mut ours = gpu.unwritten(element, len)?;
        trial.compute(&Ours, &mut ours)?;
        trial.ours = ours;
        Ok(trial)
    }

    fn compute(&self, who: &impl Products, out: &mut Buffer) -> Result<(), GpuError> {
        let scale = if self.product.finished { 0.75 } else { 1.0 };
        let epilogue = Epilogue { bias: self.bias.as_ref(), scale, ..Epilogue::default() };
        who.compute(self.gpu, self.product, self.operands.each_ref(), epilogue, out)
    }

    /// By how much a plan's values differ from ours.
    pub(super) fn agrees(&self, plan: &Planned) -> Result<f64, GpuError> {
        let (len, element) = self.product.result();
        let mut theirs = self.gpu.unwritten(element, len)?;
        // What is not written shows.
        self.gpu.fill(&mut theirs, 0xff)?;
        self.compute(plan, &mut theirs)?;
        let [ours, theirs] = [&self.ours, &theirs].map(|values| {
            self.gpu.converted(values, Element::F32).and_then(|values| self.gpu.download::<f32>(&values))
        });
        let (off, bound) = (difference(&ours?, &theirs?), bound(self.product));
        // Not a number is not within.
        if off <= bound {
            return Ok(off);
        }
        let Choice::Plan(library, text) = plan.choice() else { unreachable!("a plan is a library's") };
        Err(GpuError::Library {
            library: library.name(),
            doing: text,
            answer: format!("it differs from ours by {off:.1e} of their length, and {bound:.0e} is allowed"),
        })
    }

    /// Microseconds, calls and waiting included.
    fn time(&self, who: &impl Products) -> Result<f64, GpuError> {
        let (len, element) = self.product.result();
        let mut out = self.gpu.unwritten(element, len)?;
        self.compute(who, &mut out)?;
        let mut fastest = f64::INFINITY;
        for _ in 0..MEASUREMENTS {
            self.gpu.wait()?;
            let begin = Instant::now();
            for _ in 0..REPEATS {
                self.compute(who, &mut out)?;
            }
            self.gpu.wait()?;
            fastest = fastest.min(begin.elapsed().as_secs_f64() * 1e6 / f64::from(REPEATS));
        }
        Ok(fastest)
    }

    /// The fastest of those that agree, and of ours.
    pub(super) fn fastest(&self, plans: Vec<Planned>) -> Result<Fastest, GpuError> {
        let ours = self.time(&Ours)?;
        let (mut best, mut notes): (Option<(f64, f64, Planned)>, _) = (None, Vec::new());
        for plan in plans {
            let timed = self.agrees(&plan).and_then(|off| Ok((self.time(&plan)?, off)));
            match tolerated(timed)? {
                Ok((time, off)) if best.as_ref().is_none_or(|(fastest, ..)| time < *fastest) => {
                    best = Some((time, off, plan));
                }
                Ok(_) => {}
                Err(reason) => notes.push(format!("{reason}: left out")),
            }
        }
        let theirs = best.as_ref().map(|(time, off, _)| (*time, *off));
        let plan = best.and_then(|(time, _, plan)| (time <= SHARE * ours).then_some(plan));
        let choice = plan.as_ref().map_or(Choice::Ours, Planned::choice);
        Ok(Fastest { plan, entry: Entry { choice, ours, theirs }, notes })
    }
}

/// The length of the difference as a share of the length of `ours`; not a number if one of the values is none.
fn difference(ours: &[f32], theirs: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let length: f64 = ours.iter().map(|&x| square(f64::from(x))).sum();
    let off: f64 = ours.iter().zip(theirs).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    (off / length).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_a_share_of_the_length() {
        assert_eq!(difference(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert_eq!(difference(&[3.0, 4.0], &[3.0, 4.5]), 0.1);
        assert!(difference(&[3.0, 4.0], &[3.0, f32::NAN]).is_nan());
        let (values, again) = (drawn(1000, 1), drawn(1000, 1));
        assert!(values == again && values != drawn(1000, 2));
        assert!(values.iter().all(|v| (-1.0..1.0).contains(v)));
        assert!(values.iter().sum::<f32>().abs() < 60.0);
    }
}
