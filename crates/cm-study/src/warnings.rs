//! What a plan's author should know before running it.

use crate::plan::Plan;
use cm_datasets::DatasetConfig;

impl Plan {
    /// What was odd when images were read, and curricula that are too fast for their number of levels.
    pub fn warnings(&self) -> Vec<String> {
        let mut data: Vec<&DatasetConfig> = Vec::new();
        for arm in &self.arms {
            if !data.contains(&&arm.experiment.dataset) {
                data.push(&arm.experiment.dataset);
            }
        }
        // Data that cannot be read are told of elsewhere.
        let notes = data.into_iter().filter_map(|data| data.about().ok()).flat_map(|about| about.notes);
        notes.map(|note| format!("data: {note}")).chain(self.hasty()).collect()
    }
}
