//! What a plan costs in time: on this machine, measured, and on accelerators at least, by their peaks.

use crate::cost::{ArmCost, TrainingCost};
use crate::experiment_config::ExperimentConfig;
use crate::key::TeacherKey;
use crate::plan::Plan;
use cm_datasets::{DatasetError, Split};
use cm_diffusion::Edm;
use cm_image::ImageBatch;
use cm_image::random::Random;
use cm_network::{Conditions, NetworkConfig};
use cm_teacher::{TeacherConfig, TeacherStep};
use cm_training::{Batch, Progress, StepSeed, TrainConfig, TrainStep};
use std::time::Instant;

/// Accelerators with their peak of dense matrix products, operations a second, as their makers state it: half
/// precision or its like with sums in single precision.
const ACCELERATORS: [(&str, f64); 3] = [("V100", 125e12), ("A100", 312e12), ("H100", 989e12)];

/// Plans of fewer operations are not priced on accelerators: they take minutes here.
const LEAST_PRICED: f64 = 1e15;

/// Images of a step of the calibration: this many operations of a forward pass, at most the batch.
const FORWARD_OPERATIONS: f64 = 2e10;
/// Bytes that a network's training may take for a calibration: weights, gradients, two moments, an average.
const MOST_BYTES: f64 = 8e9;
/// Seconds for which steps are timed.
const SECONDS: f64 = 2.0;

/// Why a plan's time on this machine is not known.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// Its data are not what they should be.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A network does not train.
    #[error("measuring a training step: {0}")]
    Failed(String),
}

impl CalibrationError {
    /// Whether the user must change the input (exit code 2).
    pub fn is_input(&self) -> bool {
        match self {
            Self::Dataset(error) => error.is_input(),
            Self::Failed(_) => false,
        }
    }
}

/// How long so many operations take on accelerators at least; nothing for a plan of minutes.
pub(crate) fn on_accelerators(operations: f64) -> Option<String> {
    let told = ACCELERATORS.map(|(name, peak)| format!("{} on one {name}", duration(operations / peak)));
    let known = "by their peaks in half precision; what trainings reach of these is not measured";
    (operations >= LEAST_PRICED).then(|| format!("at least {}, {known}", told.join(", ")))
}

impl Plan {
    /// Floating-point operations of all trainings: of every run, and of each teacher once.
    pub(crate) fn training_operations(&self) -> f64 {
        let costs = self.cost();
        let students: f64 =
            costs.iter().map(|cost| cost.student_operations() * self.seeds.len() as f64).sum();
        self.teachers(&costs).iter().fold(students, |total, (_, teacher)| total + teacher.flops)
    }

    /// The teachers of all arms, of which these are the costs, each once.
    pub(crate) fn teachers(&self, costs: &[ArmCost]) -> Vec<(TeacherKey, TrainingCost)> {
        let mut teachers: Vec<(TeacherKey, TrainingCost)> = Vec::new();
        for (arm, cost) in self.arms.iter().zip(costs) {
            for (key, training) in TeacherKey::all_of(&arm.experiment).into_iter().zip(cost.teachers()) {
                if teachers.iter().all(|(known, _)| *known != key) {
                    teachers.push((key, training));
                }
            }
        }
        teachers
    }

    /// What a training of this plan takes on this machine, from a few steps of each network on noise: lines for people.
    /// Without scoring and pictures.
    ///
    /// # Errors
    /// [`CalibrationError`] if a network does not train.
    pub fn calibrate(&self) -> Result<Vec<String>, CalibrationError> {
        let costs = self.cost();
        let mut rates: Vec<(&NetworkConfig, usize, Option<f64>)> = Vec::new();
        let mut teachers: Vec<TeacherKey> = Vec::new();
        let (mut lines, mut total) = (Vec::new(), Some(0.0));
        for (arm, cost) in self.arms.iter().zip(&costs) {
            let experiment = &arm.experiment;
            let batch = experiment.consistency.train.batch;
            let known = rates.iter().find(|(net, images, _)| (*net, *images) == (&experiment.network, batch));
            let rate = match known {
                Some((.., rate)) => *rate,
                None => {
                    let rate = measure(experiment, cost, batch)?;
                    let at = format!("a training step of arm {}'s network", arm.name);
                    lines.push(match rate {
                        Some(rate) => format!("this machine: {:.1e} operations a second in {at}", rate),
                        None => format!("this machine: {at} takes too much memory to be measured"),
                    });
                    rates.push((&experiment.network, batch, rate));
                    rate
                }
            };
            let mut operations = self.seeds.len() as f64 * cost.student_operations();
            for (key, teacher) in TeacherKey::all_of(experiment).into_iter().zip(cost.teachers()) {
                if !teachers.contains(&key) {
                    operations += teacher.flops;
                    teachers.push(key);
                }
            }
            total = total.zip(rate).map(|(total, rate)| total + operations / rate);
        }
        if let Some(total) = total {
            lines.push(format!("this machine: training in all takes about {}", duration(total)));
        }
        Ok(lines)
    }
}

/// Operations a second in a training step of an experiment's network; `None` if that takes too much memory.
fn measure(
    experiment: &ExperimentConfig,
    cost: &ArmCost,
    batch: usize,
) -> Result<Option<f64>, CalibrationError> {
    const COPIES: f64 = 5.0;
    if cost.parameters as f64 * 4.0 * COPIES > MOST_BYTES {
        return Ok(None);
    }
    let failed = |error: String| CalibrationError::Failed(error);
    let data = experiment.dataset.outline(Split::Train)?;
    let conditions = Conditions { second_time: false, ..experiment.conditions(data.classes) };
    let (network, weights) =
        experiment.network.build(data.shape, conditions, 0).map_err(|error| failed(error.to_string()))?;
    let forward = experiment
        .network
        .count(data.shape, conditions)
        .map_err(|error| failed(error.to_string()))?
        .flops_per_image;
    let count = ((FORWARD_OPERATIONS / forward as f64) as usize).clamp(1, batch);
    let train = TrainConfig {
        batch: count,
        total_images: 1 << 40,
        snapshots: None,
        ..experiment.consistency.train.clone()
    };
    let config = TeacherConfig { train, ..TeacherConfig::default() };
    let noise = config.noise.build().map_err(|error| failed(error.to_string()))?;
    let mut step = TeacherStep::new(&config, network.as_ref(), weights, Edm { sigma_data: 0.5 }, noise);
    let mut random = Random::new(1);
    let images = ImageBatch::from_fn(data.shape, count, |_, values| random.fill_normal(values));
    let labels =
        conditions.classes.map_or(Vec::new(), |classes| (0..count).map(|i| (i % classes) as u32).collect());
    let images = Batch { images, labels };
    let mut once = |number: u64| {
        let progress = Progress { step: number, images: 0, total_images: 1 << 40 };
        step.step(&images, progress, StepSeed::new(2, 3, number)).map_err(|error| failed(error.to_string()))
    };
    once(0)?;
    let (begin, mut steps) = (Instant::now(), 0);
    while steps == 0 || begin.elapsed().as_secs_f64() < SECONDS {
        steps += 1;
        once(steps)?;
    }
    let operations = 3.0 * forward as f64 * count as f64 * steps as f64;
    Ok(Some(operations / begin.elapsed().as_secs_f64()))
}

/// Seconds as a person says them: `40 seconds`, `12 minutes`, `3.5 hours`, `9 days`, `11 years`.
pub fn duration(seconds: f64) -> String {
    const UNITS: [(&str, f64); 5] = [
        ("years", 365.25 * 86_400.0),
        ("days", 86_400.0),
        ("hours", 3600.0),
        ("minutes", 60.0),
        ("seconds", 1.0),
    ];
    let (unit, length) =
        UNITS.into_iter().find(|(_, length)| seconds >= 2.0 * length).unwrap_or(("seconds", 1.0));
    let count = seconds / length;
    if count < 10.0 { format!("{count:.1} {unit}") } else { format!("{count:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_the_largest_unit_that_fits_twice() {
        let said = [0.25, 119.0, 120.0, 7199.0, 7200.0, 172_800.0, 1e9].map(duration);
        let expected =
            ["0.2 seconds", "119 seconds", "2.0 minutes", "120 minutes", "2.0 hours", "2.0 days", "32 years"];
        assert_eq!(said, expected);
    }

    #[test]
    fn accelerators_are_priced_by_their_peaks() {
        assert_eq!(on_accelerators(9e14), None);
        // 125e12 a second for 1000 s.
        let told = on_accelerators(1.25e17).unwrap();
        let expected =
            "at least 17 minutes on one V100, 6.7 minutes on one A100, 2.1 minutes on one H100, by";
        assert!(told.starts_with(expected), "{told}");
    }
}
