//! What a run's student is, and how it is sampled. Deliberately absent: its training.

use crate::assemble::{jumps, student_sampler};
use crate::context::Context;
use crate::error::RunError;
use cm_consistency::ConsistencyModel;
use cm_diffusion::{Labels, Sampler};
use cm_flow_map::JumpModel;
use cm_network::Weights;
use cm_study::{ExperimentConfig, MethodConfig, StudentSamplerConfig};
use std::path::{Path, PathBuf};

/// What a run's student is.
pub enum Student<'a> {
    /// It knows where trajectories end; of several segments, where they leave theirs.
    Consistency(ConsistencyModel<'a>),
    /// It jumps along trajectories.
    Jumps(JumpModel<'a>),
}

impl<'a> Student<'a> {
    pub(crate) fn new(experiment: &ExperimentConfig, context: &'a Context, weights: Weights) -> Self {
        let network = context.network.as_ref();
        match experiment.method {
            MethodConfig::Distillation(_)
            | MethodConfig::Training
            | MethodConfig::ContinuousDistillation(_)
            | MethodConfig::ContinuousTraining(_) => {
                Self::Consistency(context.consistency_model(experiment, weights))
            }
            MethodConfig::ProgressiveDistillation => {
                Self::Jumps(JumpModel::distilled(network, weights, context.edm()))
            }
            MethodConfig::Shortcut(_)
            | MethodConfig::TwoTime(_)
            | MethodConfig::InductiveMomentMatching(_) => {
                Self::Jumps(JumpModel::shortcut(network, weights, context.edm()))
            }
        }
    }

    /// A sampler of it. Plans with samplers that do not fit the model are refused before this.
    pub(crate) fn sampler<'s>(
        &'s self,
        config: &StudentSamplerConfig,
        context: &Context,
        labels: Labels,
    ) -> Result<Box<dyn Sampler + 's>, RunError> {
        let shape = context.data.shape();
        let grid = context.discretisation.as_ref();
        let failed = |error| RunError::failed("the sampler", error);
        match (self, config) {
            (Self::Consistency(model), _) => {
                student_sampler(config, model, shape, grid, labels).map_err(failed)
            }
            (Self::Jumps(model), StudentSamplerConfig::Jumps(config)) => {
                let sampler = jumps(*config, Box::new(model), shape, grid, labels).map_err(failed)?;
                Ok(Box::new(sampler))
            }
            (
                Self::Jumps(_),
                StudentSamplerConfig::OneStep
                | StudentSamplerConfig::Multistep(_)
                | StudentSamplerConfig::Gamma(_),
            ) => Err(RunError::failed("the sampler", "it needs a consistency model")),
        }
    }
}

/// The model of a stage of progressive distillation, in the folder of its run.
pub(crate) fn stage_file(folder: &Path, steps: usize) -> PathBuf {
    folder.join(stage_name(steps))
}

/// Its name below that folder.
pub(crate) fn stage_name(steps: usize) -> String {
    format!("stages/steps-{steps}.safetensors")
}
