//! Numbers that no one writes, and that a plan depends on: worked out from the data.

use crate::experiment_config::ExperimentConfig;
use crate::plan::Plan;
use cm_consistency::{DistanceConfig, PseudoHuberConfig};
use cm_datasets::{Dataset, DatasetConfig, Outline, Split, sigma_data};

/// Values beyond which data whose spread is not known beforehand are not read for a plan: some seconds.
const MOST_VALUES: usize = 100_000_000;

impl Plan {
    /// A line for each data set, and one for each constant that depends on it, with the arms it is of.
    pub(crate) fn derived(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut told: Vec<&DatasetConfig> = Vec::new();
        for arm in &self.arms {
            let ExperimentConfig { dataset, consistency, .. } = &arm.experiment;
            let Ok(data) = dataset.outline(Split::Train) else { continue };
            if !told.contains(&dataset) {
                told.push(dataset);
                lines.push(about(dataset, &data));
            }
            if let DistanceConfig::PseudoHuber(config @ PseudoHuberConfig { c: None }) = consistency.distance
            {
                let c = config.constant(data.shape.len());
                let values = data.shape.len();
                lines.push(format!(
                    "arm {}: c of the pseudo-Huber distance is {c:.5}, of {values} values",
                    arm.name
                ));
            }
        }
        lines
    }
}

/// Counts, shape, classes and spread.
fn about(config: &DatasetConfig, data: &Outline) -> String {
    let held_out = config.outline(Split::Test).map_or(0, |test| test.len);
    let classes = match data.classes {
        Some(classes) if config.has_classes() => format!(", {classes} classes"),
        _ => String::new(),
    };
    let spread = match config.absent() {
        Some(_) => None,
        None => config.build(Split::Train).ok().and_then(|data| known(&*data)),
    };
    let spread = spread.map_or("; sigma_data is measured before training".to_owned(), |sigma_data| {
        format!("; sigma_data {sigma_data:.4}")
    });
    format!("data: {} images of {} to train on, {held_out} held out{classes}{spread}", data.len, data.shape)
}

fn known(data: &dyn Dataset) -> Option<f32> {
    let few = data.len().saturating_mul(data.shape().len()) <= MOST_VALUES;
    if few || data.known_sigma_data().is_some() { sigma_data(data).ok() } else { None }
}
