//! A plan in words, for people to read before they run it.

use crate::cost::{ArmCost, TrainingCost};
use crate::experiment_config::MethodConfig;
use crate::feature_network::INCEPTION_OPERATIONS;
use crate::marks::marked;
use crate::memory::{MemoryNeed, bytes};
use crate::notation::to_ron;
use crate::plan::Plan;
use crate::price;
use cm_consistency::TangentConfig;
use cm_network::Preset;
use cm_training::Precision;

impl Plan {
    /// What is worked out from the data, the cost, the schedule and warnings as comment lines, and the plan as RON in
    /// which what is no default is marked: for people to read before they run it.
    pub fn describe(&self) -> String {
        let costs = self.cost();
        let runs = self.seeds.len() * self.arms.len();
        let mut text = format!("// {runs} runs: {} arms x {} seeds\n", self.arms.len(), self.seeds.len());
        for cost in &costs {
            let ArmCost { arm, parameters, student, .. } = cost;
            text += &format!("// arm {arm}: {parameters} parameters; student {}\n", training(student));
        }
        for arm in self.arms.iter().filter(|arm| arm.experiment.precision != Precision::F32) {
            let precision = arm.experiment.precision.name();
            text += &format!("// arm {}: products in {precision}, on a GPU only\n", arm.name);
        }
        let forward = |method: &MethodConfig| method.tangent() == Some(TangentConfig::Forward);
        for arm in self.arms.iter().filter(|arm| forward(&arm.experiment.method)) {
            text += &format!("// arm {}: derivatives in forward mode, on the CPU only\n", arm.name);
        }
        for cost in &costs {
            if let Some(mid) = &cost.mid_training {
                text += &format!("// arm {}: mid-training {}\n", cost.arm, training(mid));
            }
            if let Some(stage) = &cost.first_stage {
                text += &format!("// arm {}: first stage {}\n", cost.arm, training(stage));
            }
        }
        for (key, cost) in self.teachers(&costs) {
            text += &format!("// teacher {}: {}\n", key.hash, training(&cost));
        }
        let total = self.training_operations();
        text += &format!("// training in all: {total:.2e} floating-point operations\n");
        if let Some(images) = self.images_through_networks() {
            let operations = images as f64 * INCEPTION_OPERATIONS;
            text += &format!(
                "// scores: {images} images pass through the Inception network, {operations:.2e} operations, and none of \
                 that is counted above\n"
            );
        }
        if self.shortened_by > 1 {
            text += &format!(
                "// shortened {} times: a rehearsal, whose numbers say nothing of the method\n",
                self.shortened_by
            );
        }
        if let Some(told) = price::on_accelerators(total) {
            text += &format!("// that is {told}\n");
        }
        if let Some(told) = self.memory() {
            text += &format!("// {told}\n");
        }
        self.derived().iter().for_each(|line| text += &format!("// {line}\n"));
        text += "//\n";
        self.schedule().lines().for_each(|line| text += &format!("// {line}\n"));
        self.warnings().iter().for_each(|warning| text += &format!("// warning: {warning}\n"));
        text + &marked(&to_ron(self))
    }

    /// What the arm that takes the most memory takes, and what it would if blocks were computed a second time.
    fn memory(&self) -> Option<String> {
        let needs = self.arms.iter().filter_map(|arm| Some((MemoryNeed::of(&arm.experiment)?, arm)));
        let (need, arm) = needs.max_by_key(|(need, _)| need.total())?;
        let mut recomputed = arm.experiment.clone();
        recomputed.network = recomputed.network.recomputed(true);
        let less = MemoryNeed::of(&recomputed)?;
        let instead = match less.total() < need.total() {
            true => format!("; with `recompute` {}", bytes(less.total())),
            false => String::new(),
        };
        Some(format!("memory: arm {} takes {need}{instead}", arm.name))
    }
}

/// One of the paper's networks: its parameters, its arithmetic, its configuration.
pub fn describe_preset(preset: Preset) -> String {
    let (network, shape, conditions) = (preset.config(), preset.shape(), preset.conditions());
    let (parameters, operations) = network
        .count(shape, conditions)
        .map_or((0, 0.0), |counts| (counts.parameters, counts.flops_per_image as f64));
    let classes = conditions.classes.map_or("no classes".to_owned(), |classes| format!("{classes} classes"));
    format!(
        "// {}: images of {shape}, {classes}: {parameters} parameters, {operations:.3e} operations for an image\n{}",
        preset.name(),
        to_ron(&network)
    )
}

fn training(cost: &TrainingCost) -> String {
    format!("{} images in {} steps, {:.2e} operations", cost.images, cost.steps, cost.flops)
}
