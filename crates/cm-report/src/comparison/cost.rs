//! What the training of each model cost, beside its scores.

use super::{Extra, Part};
use crate::findings::Findings;
use cm_study::{ArmCost, TrainingCost};

/// What a training cost for one seed.
#[derive(Clone, Copy, Default)]
pub(super) struct Cost {
    /// As planned.
    pub(super) operations: Option<f64>,
    /// As measured, of training alone.
    pub(super) seconds: Option<f64>,
}

impl Part {
    /// Fills in what is planned and was measured; of runs that are not finished, nothing.
    pub(super) fn add_costs(&mut self, findings: &Findings) {
        let seconds = |group: &str| {
            let records =
                findings.runs.iter().chain(&findings.teachers).filter(|record| record.group == group);
            let seconds: Vec<f64> = records.filter_map(|record| record.seconds).collect();
            (!seconds.is_empty()).then(|| seconds.iter().sum::<f64>() / seconds.len() as f64)
        };
        for (line, Extra { cost, .. }) in self.lines.iter_mut().filter(|(_, extra)| !extra.is_unfinished) {
            let planned = |pick: &dyn Fn(&ArmCost) -> Option<TrainingCost>| {
                let of_arm = findings.costs.iter().find(|cost| cost.arm == line.arm || line.arm == "-");
                of_arm.and_then(pick).map(|cost| cost.flops)
            };
            *cost = match line.model.as_str() {
                // A mid-training and a first stage are several arms' and have their own time.
                "floor" | "mid-trained" | "first-stage" => Cost::default(),
                "teacher" => Cost { operations: planned(&|cost| cost.teacher), seconds: seconds("teacher") },
                _ => Cost { operations: planned(&|cost| Some(cost.student)), seconds: seconds(&line.arm) },
            };
        }
    }
}
