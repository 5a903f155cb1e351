//! Mid-training of a student: the teacher's trajectories, kept, and the regression onto their ends.
//!
//! Arms that agree on all that decides it share it, as they share a teacher; it lies in `mid-training/HASH`.

use crate::assemble::distance;
use crate::context::Context;
use crate::error::{Halt, RunError};
use crate::run::Run;
use crate::seed::NamedSeeds;
use cm_consistency::{MidTrainingStep, Trajectories};
use cm_diffusion::{Denoiser, DpmSolverPlusPlus, NoiseLevels, NumLevels, ProbabilityFlow, noise};
use cm_host::Progress;
use cm_image::ImageBatch;
use cm_network::Weights;
use cm_study::{
    DpmSolverPlusPlusConfig, FlowConfig, MidTrainingConfig, TeacherKey, TeacherMethodConfig,
    TeacherSamplerConfig,
};
use cm_training::TrainStep;

/// Trajectories are made so many at a time.
const BATCH: usize = 500;

impl Run<'_> {
    /// The weights after mid-training from `weights`: read if they are there, trained if not.
    pub(crate) fn mid_train(
        &self,
        context: &Context,
        config: &MidTrainingConfig,
        denoiser: &dyn Denoiser,
        weights: Weights,
        progress: &mut dyn Progress,
    ) -> Result<Weights, Halt> {
        let experiment = self.experiment();
        let key = TeacherKey::of_mid_training(experiment, config, self.planned.seed);
        let folder = self.dir.mid_training_dir(&key)?;
        self.kept(context, &folder, weights, |weights| {
            let seeds = NamedSeeds::of(self.planned.seed);
            let name = format!("{}: mid-training", self.planned.name());
            progress.phase(&format!("{name}: trajectories"), config.trajectories as u64);
            let kept = self.trajectories(context, config, denoiser, seeds, progress)?;
            progress.finish_phase();
            let mut step = MidTrainingStep::new(
                &config.train,
                context.network.as_ref(),
                weights,
                context.boundary(),
                &kept,
                distance(&config.distance, context.data.train.as_ref(), seeds.features)?,
                config.weighting.build(context.data.sigma_data),
            );
            let seeds = NamedSeeds { noise: seeds.mid_training, ..seeds };
            let phase = self.phase(context, &folder, (name, "mid-training"), &config.train, seeds);
            phase.train_unseen(&mut step, progress)?;
            Ok(step.state().averages.clone())
        })
    }

    fn trajectories(
        &self,
        context: &Context,
        config: &MidTrainingConfig,
        denoiser: &dyn Denoiser,
        seeds: NamedSeeds,
        progress: &mut dyn Progress,
    ) -> Result<Trajectories, Halt> {
        let levels = levels(context, &config.sampler)?;
        let levels = levels.as_slice().to_vec();
        let grid = NoiseLevels::new(levels.iter().map(|level| level.get()))
            .map_err(self.failed("the levels of the trajectories"))?;
        let shape = context.data.shape();
        // The last level is sigma_min, where the student is the identity.
        let inner = levels.len() - 1;
        let empty = || ImageBatch::zeros(shape, 0);
        let mut states: Vec<ImageBatch> = (0..inner).map(|_| empty()).collect();
        let (mut ends, mut labels) = (empty(), Vec::new());
        let all = cm_evaluator::image_seeds(seeds.trajectories, config.trajectories);
        for some in all.chunks(BATCH) {
            if self.stop.is_requested() {
                return Err(Halt::Stopped);
            }
            let classes = context.labels().of(some);
            let start = noise::batch_noise(shape, some, 0).map(|z| levels[0].get() * z);
            states[0].append(&start);
            let mut level = 1;
            let mut visit = |x: &ImageBatch| {
                if level < inner {
                    states[level].append(x);
                }
                level += 1;
            };
            let none = cm_diffusion::Labels::None;
            let end = match config.sampler.method {
                TeacherMethodConfig::Flow(FlowConfig { solver, end }) => {
                    let solver = solver.solver();
                    ProbabilityFlow { denoiser, solver, shape, levels: &grid, end, labels: none }
                        .follow(start, &classes, &mut visit)
                }
                TeacherMethodConfig::DpmSolverPlusPlus(DpmSolverPlusPlusConfig { end }) => {
                    DpmSolverPlusPlus { denoiser, shape, levels: &grid, end, labels: none }
                        .follow(start, &classes, &mut visit)
                }
                TeacherMethodConfig::Churned(_) | TeacherMethodConfig::Ancestral(_) => {
                    return Err(RunError::failed("the trajectories", "their sampler adds noise").into());
                }
            };
            ends.append(&end.map_err(self.failed("the trajectories"))?);
            labels.extend(classes);
            progress.advance(some.len() as u64, None);
        }
        Ok(Trajectories::new(levels.into_iter().zip(states).collect(), ends, labels))
    }
}

fn levels(context: &Context, config: &TeacherSamplerConfig) -> Result<NoiseLevels, RunError> {
    let levels = NumLevels::new(config.levels).and_then(|levels| match config.spacing {
        Some(spacing) => spacing.build(context.range)?.noise_levels(levels),
        None => context.discretisation.noise_levels(levels),
    });
    levels.map_err(|error| RunError::failed("the levels of the trajectories", error))
}
