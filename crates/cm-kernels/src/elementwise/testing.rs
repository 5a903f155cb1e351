//! What the tests of every kernel share: a float to be generic over, inputs, errors, numerical gradients.

use std::cmp::Ordering;
use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// `f32` or `f64`, as the naive twins need it.
pub(crate) trait Real:
    Copy
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    fn of(value: f64) -> Self;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
    fn sqrt(self) -> Self;
}

macro_rules! real {
    ($float:ty) => {
        impl Real for $float {
            fn of(value: f64) -> Self {
                value as $float
            }
            fn exp(self) -> Self {
                self.exp()
            }
            fn ln(self) -> Self {
                self.ln()
            }
            fn sqrt(self) -> Self {
                self.sqrt()
            }
        }
    };
}
real!(f32);
real!(f64);

/// A number and how it changes. A naive twin in dual numbers is the tangent of its kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dual {
    pub(crate) value: f64,
    pub(crate) slope: f64,
}

impl PartialOrd for Dual {
    /// By the numbers alone.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl Add for Dual {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { value: self.value + other.value, slope: self.slope + other.slope }
    }
}

impl Sub for Dual {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Dual {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let slope = self.slope * other.value + self.value * other.slope;
        Self { value: self.value * other.value, slope }
    }
}

impl Div for Dual {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        Self { value, slope: (self.slope - value * other.slope) / other.value }
    }
}

impl Neg for Dual {
    type Output = Self;
    fn neg(self) -> Self {
        Self { value: -self.value, slope: -self.slope }
    }
}

impl AddAssign for Dual {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Real for Dual {
    fn of(value: f64) -> Self {
        Self { value, slope: 0.0 }
    }
    fn exp(self) -> Self {
        let value = self.value.exp();
        Self { value, slope: value * self.slope }
    }
    fn ln(self) -> Self {
        Self { value: self.value.ln(), slope: self.slope / self.value }
    }
    fn sqrt(self) -> Self {
        let value = self.value.sqrt();
        Self { value, slope: self.slope / (2.0 * value) }
    }
}

/// Numbers that change along `along`, or stay.
pub(crate) fn dual(x: &[f32], along: Option<&[f32]>) -> Vec<Dual> {
    let slope = |i: usize| along.map_or(0.0, |along| f64::from(along[i]));
    x.iter().enumerate().map(|(i, &x)| Dual { value: f64::from(x), slope: slope(i) }).collect()
}

/// How they change.
pub(crate) fn slopes(x: &[Dual]) -> Vec<f64> {
    x.iter().map(|x| x.slope).collect()
}

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

/// The same numbers in double precision.
pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| f64::from(v)).collect()
}

/// max |fast - exact| / max |exact|; infinite if `fast` holds a NaN or the lengths differ.
pub(crate) fn relative_error(fast: &[f32], exact: &[f64]) -> f64 {
    if fast.len() != exact.len() || fast.iter().any(|v| v.is_nan()) {
        return f64::INFINITY;
    }
    let largest = exact.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
    fast.iter().zip(exact).fold(0.0, |m: f64, (&f, e)| m.max((f64::from(f) - e).abs())) / largest
}

/// Panics unless `fast` is within `tolerance` of `exact`.
#[track_caller]
pub(crate) fn assert_close(fast: &[f32], exact: &[f64], tolerance: f64, what: &dyn Debug) {
    let error = relative_error(fast, exact);
    assert!(error <= tolerance, "{what:?}: error {error:.2e} above {tolerance:.0e}");
}

/// Panics unless `gradient` is the gradient of `f` at `x` by central differences in double precision.
#[track_caller]
pub(crate) fn assert_gradient(f: impl Fn(&[f64]) -> f64, x: &[f64], gradient: &[f64], what: &dyn Debug) {
    assert_eq!(x.len(), gradient.len());
    let step = 1e-5;
    let mut moved = x.to_vec();
    let largest = gradient.iter().fold(1e-3_f64, |m, v| m.max(v.abs()));
    for i in 0..x.len() {
        moved[i] = x[i] + step;
        let above = f(&moved);
        moved[i] = x[i] - step;
        let below = f(&moved);
        moved[i] = x[i];
        let numeric = (above - below) / (2.0 * step);
        let error = (numeric - gradient[i]).abs() / largest;
        assert!(error < 1e-7, "{what:?}, element {i}: {numeric} by differences, {} by formula", gradient[i]);
    }
}

/// A loss with a different weight on every output, so that no symmetry hides an error.
pub(crate) fn weighted_sum(y: &[f64], weights: &[f64]) -> f64 {
    assert_eq!(y.len(), weights.len());
    y.iter().zip(weights).map(|(y, w)| y * w).sum()
}

/// Panics unless `run` gives the same bits in pools of 1, 2 and 3 threads.
#[track_caller]
pub(crate) fn assert_same_for_any_threads(run: impl Fn() -> Vec<f32> + Sync + Send) {
    let on = |n| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(&run).into_iter().map(f32::to_bits).collect::<Vec<u32>>()
    };
    let alone = on(1);
    assert!(alone == on(2), "2 threads differ from 1");
    assert!(alone == on(3), "3 threads differ from 1");
}
