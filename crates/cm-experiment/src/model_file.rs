//! The model file of a run or a teacher: the averaged weights and, as text, the plan they come from, so that it alone
//! says what network, data and noise levels belong to them. Deliberately absent: reading it back (`opened_model.rs`).

use cm_network::{TensorFile, Weights};
use cm_study::{PlannedRun, to_ron};
use serde::{Deserialize, Serialize};

/// Name of the model file in the folder of a run or a teacher.
pub(crate) const MODEL_FILE: &str = "model.safetensors";

/// Whose weights a model file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ModelKind {
    /// A diffusion model's.
    Teacher,
    /// A consistency model's.
    Student,
}

/// What the names of the weights of a truncated model's lower part begin with.
pub(crate) const FIRST_STAGE: &str = "first-stage/";

/// The weights that sampling needs, with the plan they come from; `first`: those of a truncated model's lower part.
pub(crate) fn model_file(
    kind: ModelKind,
    run: &PlannedRun,
    sigma_data: f32,
    averages: &[Weights],
    first: Option<&Weights>,
) -> TensorFile {
    let mut file = TensorFile::default();
    for (index, average) in averages.iter().enumerate() {
        file.add_weights(&prefix(index), average);
    }
    if let Some(first) = first {
        file.add_weights(FIRST_STAGE, first);
    }
    file.metadata.insert("model".into(), to_ron(&kind));
    file.metadata.insert("plan".into(), run.to_ron());
    file.metadata.insert("sigma_data".into(), sigma_data.to_string());
    file
}

/// What the names of the `index`-th average's weights begin with.
pub(crate) fn prefix(index: usize) -> String {
    format!("average.{index}/")
}
