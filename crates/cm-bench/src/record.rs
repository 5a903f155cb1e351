//! One line of a benchmark's result.

use cm_gpu::{MemoryUse, Work};
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
    /// What has to be read and written at least, over the median time, in 10^9 bytes per second; `None` where it was not
    /// counted.
    pub gb_per_s: Option<f64>,
    /// 10^9 operations per second over what the same threads reach in a loop of independent multiply-adds just before and
    /// after, the median over the repeats: on a machine that is shared both are slowed alike. `None` on a GPU.
    pub share_of_peak: Option<f64>,
    /// Nanoseconds in which a cache line goes from one thread to another, the longer of before and after; `None` if
    /// there is one thread only. Compare times of threads as far apart.
    pub handover_ns: Option<f64>,
    /// The most memory this process has held so far, in MiB; `None` where the system does not tell.
    pub peak_resident_mib: Option<f64>,
    /// What a GPU was asked for, if it was done there.
    pub device: Option<OnDevice>,
}

/// What each run asked a GPU for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnDevice {
    /// Which GPU, and how products are computed: `cuda:0 NAME, F32`.
    pub on: String,
    /// Kernels launched.
    pub kernels: u64,
    /// Calls of the driver that launched them; fewer than kernels where rows of them are CUDA graphs.
    pub launches: u64,
    /// Copies to the GPU.
    pub copies_to: u64,
    /// Their bytes.
    pub bytes_to: u64,
    /// Copies back, each of which waits.
    pub copies_from: u64,
    /// Their bytes.
    pub bytes_from: u64,
    /// The most that tensors have held so far, in MiB.
    pub peak_mib: f64,
    /// What the driver has given so far, in MiB.
    pub taken_mib: f64,
}

impl OnDevice {
    /// From what `repeats` runs asked for together.
    pub(super) fn new(on: String, work: Work, memory: MemoryUse, repeats: u64) -> Self {
        let mib = |bytes: usize| bytes as f64 / 1024.0 / 1024.0;
        Self {
            on,
            kernels: work.kernels / repeats,
            launches: work.launches / repeats,
            copies_to: work.copies_to / repeats,
            bytes_to: work.bytes_to / repeats,
            copies_from: work.copies_from / repeats,
            bytes_from: work.bytes_from / repeats,
            peak_mib: mib(memory.peak),
            taken_mib: mib(memory.taken),
        }
    }
}

impl Record {
    /// From the operations and bytes of a run and the time of each repeat, in seconds; there is at least one.
    /// `peaks_gflops`: the machine's before each repeat and after the last, or none.
    pub(super) fn new(
        bench: &'static str,
        case: &str,
        batch: usize,
        (flops, bytes): (u64, Option<u64>),
        seconds: &[f64],
        peaks_gflops: &[f64],
        handover_ns: Option<f64>,
    ) -> Self {
        let gflop = flops as f64 * 1e-9;
        let median_seconds = median(seconds.to_vec());
        let shares: Vec<f64> = seconds
            .iter()
            .zip(peaks_gflops.windows(2))
            .map(|(seconds, peaks)| gflop / seconds / ((peaks[0] + peaks[1]) / 2.0))
            .collect();
        Self {
            bench,
            case: case.to_owned(),
            batch,
            threads: rayon::current_num_threads(),
            isa: cm_kernels::dispatch::isa().name(),
            repeats: seconds.len(),
            median_ms: 1e3 * median_seconds,
            minimum_ms: 1e3 * seconds.iter().copied().fold(f64::INFINITY, f64::min),
            gflop,
            gflops: gflop / median_seconds,
            gb_per_s: bytes.map(|bytes| bytes as f64 * 1e-9 / median_seconds),
            share_of_peak: (!shares.is_empty()).then(|| median(shares)),
            handover_ns,
            peak_resident_mib: cm_kernels::memory::peak_resident()
                .map(|bytes| bytes as f64 / 1024.0 / 1024.0),
            device: None,
        }
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }
}

/// The middle of some values, or of the two in the middle; there is at least one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_rates_follow_from_it() {
        let record = |seconds: &[f64]| {
            let peaks = [100.0, 100.0, 300.0, 300.0];
            Record::new("step", "x", 4, (3_000_000_000, Some(1_000_000_000)), seconds, &peaks, None)
        };
        let odd = record(&[0.5, 0.1, 0.2]);
        assert_eq!((odd.median_ms, odd.minimum_ms, odd.repeats), (200.0, 100.0, 3));
        assert!((odd.gflops - 15.0).abs() < 1e-12 && (odd.share_of_peak.unwrap() - 0.06).abs() < 1e-12);
        assert!((odd.gb_per_s.unwrap() - 5.0).abs() < 1e-12);
        assert!((record(&[0.4, 0.1, 0.2, 0.3]).median_ms - 250.0).abs() < 1e-9);
    }
}
