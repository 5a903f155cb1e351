//! The yardstick: what the machine's arithmetic units can do at most.

use std::sync::OnceLock;
use std::time::Instant;

/// 10^9 multiplications and additions a second that all worker threads together reach in a loop of independent
/// multiply-adds in registers. Measured once in a process, in some tens of milliseconds.
pub(super) fn gflops() -> f64 {
    static PEAK: OnceLock<f64> = OnceLock::new();
    *PEAK.get_or_init(|| {
        let rounds = 200_000;
        let once = || {
            let start = Instant::now();
            let flops: u64 = rayon::broadcast(|_| cm_kernels::peak::multiply_adds(rounds)).into_iter().sum();
            flops as f64 * 1e-9 / start.elapsed().as_secs_f64()
        };
        (0..8).map(|_| once()).fold(0.0, f64::max)
    })
}
