//! What a plan costs in time on machines that training steps were measured on: `cm bench step` writes a line of JSON for each,
//! and these, joined in a file, are the table.

use crate::plan::Plan;
use crate::price::duration;
use serde::Deserialize;

/// What is read of a benchmark's line.
#[derive(Deserialize)]
struct Line {
    bench: String,
    case: String,
    batch: usize,
    threads: usize,
    isa: String,
    gflops: f64,
    device: Option<OnDevice>,
}

#[derive(Deserialize)]
struct OnDevice {
    on: String,
}

impl Plan {
    /// How long the trainings of this plan take at the rates of measured steps, a line for each, slowest last: which step,
    /// where, at what rate. Rates are of other networks as well, so each line says which; without scoring and pictures.
    ///
    /// # Errors
    /// Which line of the table is none of a training step, or that there is none.
    pub fn at_measured_rates(&self, table: &str) -> Result<Vec<String>, String> {
        let operations = self.training_operations();
        let mut steps = Vec::new();
        for (number, text) in table.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
            let wrong = |reason: String| format!("line {}: {reason}", number + 1);
            let line: Line = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
            if line.bench != "step" || line.gflops.is_nan() || line.gflops <= 0.0 {
                return Err(wrong(format!(
                    "`{}` at {} GFLOP/s; allowed are lines of `cm bench step`",
                    line.bench, line.gflops
                )));
            }
            steps.push(line);
        }
        if steps.is_empty() {
            return Err("it has no line of `cm bench step`".to_owned());
        }
        steps.sort_by(|a, b| b.gflops.total_cmp(&a.gflops));
        let told = |Line { case, batch, threads, isa, gflops, device, .. }: &Line| {
            let on = match device {
                Some(device) => device.on.clone(),
                None => format!("a CPU with {isa}, {threads} threads"),
            };
            let time = duration(operations / (gflops * 1e9));
            format!(
                "measured: {time} on {on}, at the {:.1e} operations a second of {case} with {batch} images",
                gflops * 1e9
            )
        };
        Ok(steps.iter().map(told).collect())
    }
}
