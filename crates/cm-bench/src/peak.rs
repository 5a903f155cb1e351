//! The yardstick: what the machine's arithmetic units can do at most.

use cm_kernels::conv2d::{self, Conv2dShape, Epilogue};
use std::time::Instant;

/// 10^9 multiplications and additions a second that all worker threads together reach now, in independent multiply-adds in
/// registers: the best of three tries of a seventh of a millisecond, as a thread may have to be woken. No memory is touched:
/// the caches stay as they were.
pub(super) fn gflops_now() -> f64 {
    let all = || rayon::broadcast(|_| cm_kernels::peak::multiply_adds(70_000)).into_iter().sum();
    (0..3).map(|_| rate(all)).fold(0.0, f64::max)
}

/// 10^9 multiplications and additions a second of one thread: in registers, and in a product of matrices, which is the
/// convolution of one tap of 256 pixels and channels to 256. The best of tries of a millisecond each, which other work on
/// the machine hardly disturbs.
pub(super) fn of_one_thread() -> (f64, f64) {
    let shape = Conv2dShape::same(1, 16, 256, 256, 1);
    let flops = 2 * (shape.output_len() * shape.in_channels) as u64;
    let (x, weight) = (vec![0.5; shape.input_len()], vec![0.5; shape.weight_len()]);
    let mut out = vec![0.0; shape.output_len()];
    let mut tries = || {
        let (mut registers, mut product) = (0.0_f64, 0.0_f64);
        for _ in 0..40 {
            registers = registers.max(rate(|| cm_kernels::peak::multiply_adds(100_000)));
            product = product.max(rate(|| {
                conv2d::forward(&shape, &x, &weight, Epilogue::default(), &mut out);
                flops
            }));
        }
        (registers, product)
    };
    match rayon::ThreadPoolBuilder::new().num_threads(1).build() {
        Ok(pool) => pool.install(tries),
        // No further thread is to be had: then by those that there are.
        Err(_) => tries(),
    }
}

/// 10^9 operations a second of work that says how many it was.
fn rate(work: impl FnOnce() -> u64) -> f64 {
    let start = Instant::now();
    let flops = work();
    flops as f64 * 1e-9 / start.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_product_reaches_a_share_of_the_registers_rate() {
        let (registers, product) = super::of_one_thread();
        assert!(product > 0.02 * registers && product < 2.0 * registers, "{product} of {registers} GFLOP/s");
    }
}
