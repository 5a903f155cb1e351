//! One line of a benchmark's result.

use serde::Serialize;
use std::io::Write;

/// The times of one case, as it is written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// `kernels`, `step`, `sample` or `evaluation`.
    pub bench: &'static str,
    /// The case's name.
    pub case: String,
    /// Images at a time.
    pub batch: usize,
    /// Worker threads.
    pub threads: usize,
    /// The instructions the kernels use.
    pub isa: &'static str,
    /// How often it was timed.
    pub repeats: usize,
    /// The median time, in milliseconds.
    pub median_ms: f64,
    /// The shortest time, in milliseconds.
    pub minimum_ms: f64,
    /// Multiplications and additions of the direct algorithm, in 10^9.
    pub gflop: f64,
    /// These, over the median time, in 10^9 per second. A Winograd convolution does fewer than the direct algorithm
    /// and may exceed the machine's peak.
    pub gflops: f64,
    /// That, over what this machine reaches in a loop of independent multiply-adds on the same threads.
    pub share_of_peak: f64,
    /// Nanoseconds in which a cache line goes from one thread to another, the longer of before and after; `None` if
    /// there is one thread only. Compare times of threads as far apart.
    pub handover_ns: Option<f64>,
    /// The most memory this process has held so far, in MiB; `None` where the system does not tell.
    pub peak_resident_mib: Option<f64>,
}

impl Record {
    /// From the time of each repeat, in seconds; there is at least one. `peak_gflops`: the machine's.
    pub(super) fn new(
        bench: &'static str,
        case: &str,
        batch: usize,
        flops: u64,
        seconds: &[f64],
        peak_gflops: f64,
        handover_ns: Option<f64>,
    ) -> Self {
        let mut sorted = seconds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        } else {
            sorted[middle]
        };
        let gflop = flops as f64 * 1e-9;
        Self {
            bench,
            case: case.to_owned(),
            batch,
            threads: rayon::current_num_threads(),
            isa: cm_kernels::dispatch::isa().name(),
            repeats: seconds.len(),
            median_ms: 1e3 * median,
            minimum_ms: 1e3 * sorted[0],
            gflop,
            gflops: gflop / median,
            share_of_peak: gflop / median / peak_gflops,
            handover_ns,
            peak_resident_mib: cm_kernels::memory::peak_resident()
                .map(|bytes| bytes as f64 / 1024.0 / 1024.0),
        }
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_rates_follow_from_it() {
        let record = |seconds: &[f64]| Record::new("step", "x", 4, 3_000_000_000, seconds, 100.0, None);
        let odd = record(&[0.5, 0.1, 0.2]);
        assert_eq!((odd.median_ms, odd.minimum_ms, odd.repeats), (200.0, 100.0, 3));
        assert!((odd.gflops - 15.0).abs() < 1e-12 && (odd.share_of_peak - 0.15).abs() < 1e-12);
        assert!((record(&[0.4, 0.1, 0.2, 0.3]).median_ms - 250.0).abs() < 1e-9);
    }
}
