//! Named pieces of work, and the clock.

use crate::record::OnDevice;
use crate::{Record, handover, peak};
use cm_gpu::Gpu;
use cm_tensor::device::{Device, done};
use cm_tensor::devices;
use std::io::{BufRead, Write};
use std::time::Instant;

/// Untimed runs on a GPU before the clock starts: its memory finds its places, and rows of launches become graphs.
const SETTLES: usize = 3;

/// A piece of work that can be timed.
pub struct Case {
    name: String,
    batch: usize,
    flops: u64,
    /// What has to be read and written at least, where that is what counts.
    bytes: Option<u64>,
    prepare: Box<dyn Fn() -> Box<dyn FnMut()>>,
}

impl Case {
    /// `prepare` makes everything the work needs; what it returns does the work once. `flops`: multiplications and
    /// additions of once, as the direct algorithm needs them.
    pub(super) fn new<W: FnMut() + 'static>(
        name: String,
        batch: usize,
        flops: u64,
        prepare: impl Fn() -> W + 'static,
    ) -> Self {
        Self { name, batch, flops, bytes: None, prepare: Box::new(move || Box::new(prepare())) }
    }

    /// The same of work whose `bytes` count: what has to be read and written at least.
    pub(super) fn moving(self, bytes: u64) -> Self {
        Self { bytes: Some(bytes), ..self }
    }

    /// What it is called by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The work, done once before any clock starts, so that buffers exist and the processor is awake.
    fn warmed_up(&self) -> Box<dyn FnMut()> {
        let mut work = (self.prepare)();
        work();
        work
    }
}

/// Why cases were not timed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A request is not understood.
    #[error("request {line:?}: {reason}")]
    Request {
        /// What was asked.
        line: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No case has a name with the wanted text in it.
    #[error("no case's name contains {filter:?}; there are: {names}")]
    NoCase {
        /// The wanted text.
        filter: String,
        /// All names.
        names: String,
    },
    /// Reading requests or writing results failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Cases of one kind.
pub struct Suite {
    /// `kernels`, `step`, `sample` or `evaluation`.
    pub bench: &'static str,
    /// The cases, in the order of their timing.
    pub cases: Vec<Case>,
}

impl Suite {
    /// Keeps the cases whose names contain `filter`.
    ///
    /// # Errors
    /// [`BenchError::NoCase`] if none does.
    pub fn only(mut self, filter: &str) -> Result<Self, BenchError> {
        let names = self.names();
        self.cases.retain(|case| case.name.contains(filter));
        if self.cases.is_empty() {
            return Err(BenchError::NoCase { filter: filter.to_owned(), names });
        }
        Ok(self)
    }

    fn names(&self) -> String {
        self.cases.iter().map(Case::name).collect::<Vec<_>>().join(", ")
    }

    /// Times every case `repeats` times and writes a JSON line for each.
    ///
    /// # Errors
    /// [`BenchError::Io`] if `out` cannot be written.
    pub fn run(&self, repeats: usize, out: &mut dyn Write) -> Result<(), BenchError> {
        for case in &self.cases {
            self.record(case, &mut case.warmed_up(), repeats).write(out)?;
        }
        Ok(())
    }

    /// For each line `NAME REPEATS` of `requests`, times that case so many times and writes a JSON line. A case is
    /// prepared when it is first asked for, and kept. Each request begins with an untimed run: while another process
    /// had its turn, this one's memory may have been taken away.
    ///
    /// # Errors
    /// [`BenchError`] for a line that is no request, or if a line cannot be read or written.
    pub fn serve(&self, requests: impl BufRead, out: &mut dyn Write) -> Result<(), BenchError> {
        let mut prepared: Vec<Option<Box<dyn FnMut()>>> = self.cases.iter().map(|_| None).collect();
        for line in requests.lines() {
            let line = line?;
            let wrong = |reason: String| BenchError::Request { line: line.clone(), reason };
            let (name, repeats) =
                line.split_once(' ').ok_or_else(|| wrong("not of the form NAME REPEATS".into()))?;
            let repeats = repeats
                .parse()
                .ok()
                .filter(|&repeats: &usize| repeats > 0)
                .ok_or_else(|| wrong("the number of repeats is not a whole number above 0".into()))?;
            let index = self
                .cases
                .iter()
                .position(|case| case.name == name)
                .ok_or_else(|| wrong(format!("there is no such case; there are: {}", self.names())))?;
            let case = &self.cases[index];
            let work = prepared[index].get_or_insert_with(|| (case.prepare)());
            work();
            self.record(case, work, repeats).write(out)?;
            out.flush()?;
        }
        Ok(())
    }

    fn record(&self, case: &Case, work: &mut dyn FnMut(), repeats: usize) -> Record {
        let device = devices::current();
        let gpu = device.as_ref().map(Device::gpu);
        let record = |seconds: &[f64], peaks: &[f64], handover| {
            Record::new(
                self.bench,
                &case.name,
                case.batch,
                (case.flops, case.bytes),
                seconds,
                peaks,
                handover,
            )
        };
        if let Some(gpu) = gpu {
            (0..SETTLES).for_each(|_| finished(Some(gpu), work));
            let before = gpu.work();
            let times: Vec<f64> = (0..repeats).map(|_| seconds(&mut || finished(Some(gpu), work))).collect();
            let on = OnDevice::new(devices::described(), gpu.work() - before, gpu.memory(), repeats as u64);
            return Record { device: Some(on), ..record(&times, &[], None) };
        }
        let before = handover::nanoseconds();
        let mut peaks = vec![peak::gflops_now()];
        let mut times = Vec::new();
        for _ in 0..repeats {
            times.push(seconds(work));
            peaks.push(peak::gflops_now());
        }
        let handover = handover::nanoseconds().zip(before).map(|(after, before)| after.max(before));
        record(&times, &peaks, handover)
    }
}

/// Does the work, and all that it has asked a GPU for.
fn finished(gpu: Option<&Gpu>, work: &mut dyn FnMut()) {
    work();
    if let Some(gpu) = gpu {
        done(gpu.wait());
    }
}

/// How long the work takes.
fn seconds(work: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite() -> Suite {
        let case = |name: &str| {
            Case::new(name.to_owned(), 2, 1000, || {
                let mut values = vec![1.0f32; 1000];
                move || values.iter_mut().for_each(|v| *v = std::hint::black_box(*v) * 1.5)
            })
        };
        Suite { bench: "kernels", cases: vec![case("a"), case("ab"), case("c")] }
    }

    fn lines(written: &[u8]) -> Vec<serde_json::Value> {
        std::str::from_utf8(written)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn every_chosen_case_gives_one_line_of_json() {
        let mut out = Vec::new();
        suite().only("a").unwrap().run(3, &mut out).unwrap();
        let lines = lines(&out);
        let names: Vec<_> = lines.iter().map(|line| line["case"].as_str().unwrap()).collect();
        assert_eq!(names, ["a", "ab"]);
        for line in &lines {
            assert_eq!((line["batch"].as_u64(), line["repeats"].as_u64()), (Some(2), Some(3)));
            assert!(line["minimum_ms"].as_f64() <= line["median_ms"].as_f64());
            assert!(line["share_of_peak"].as_f64().unwrap() > 0.0);
        }
    }

    #[test]
    fn requests_are_answered_in_their_order() {
        let mut out = Vec::new();
        suite().serve(&b"c 2\na 1\nc 4\n"[..], &mut out).unwrap();
        let answers: Vec<_> = lines(&out)
            .iter()
            .map(|line| (line["case"].as_str().unwrap().to_owned(), line["repeats"].as_u64().unwrap()))
            .collect();
        assert_eq!(answers, [("c".into(), 2), ("a".into(), 1), ("c".into(), 4)]);
    }

    #[test]
    fn a_request_that_makes_no_sense_is_told_with_what_there_is() {
        for (line, part) in [("c", "NAME REPEATS"), ("c 0", "above 0"), ("x 1", "there are: a, ab, c")] {
            let error = suite().serve(line.as_bytes(), &mut Vec::new()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(suite().only("z").err().unwrap().to_string().contains("there are: a, ab, c"));
    }
}
