//! Mid-training of a student: the teacher's trajectories, kept, and the regression onto their ends.
//!
//! Arms that agree on all that decides it share it, as they share a teacher; it lies in `mid-training/HASH`.

use crate::assemble::distance;
use crate::config::ExperimentConfig;
use crate::context::Context;
use crate::error::{Halt, RunError};
use crate::phase::{damaged, read, write_file};
use crate::progress::Progress;
use crate::run::Run;
use crate::run_dir::TeacherKey;
use crate::samplers::{DpmSolverPlusPlusConfig, FlowConfig, TeacherMethodConfig, TeacherSamplerConfig};
use crate::seed::NamedSeeds;
use crate::trained::{MODEL_FILE, ModelKind, model_file, prefix};
use cm_consistency::{DistanceConfig, MidTrainingStep, Trajectories};
use cm_diffusion::{
    Denoiser, DpmSolverPlusPlus, FlowEnd, NoiseLevels, NumLevels, ProbabilityFlow, WeightingConfig, noise,
};
use cm_image::ImageBatch;
use cm_network::Weights;
use cm_training::{StepReport, TrainConfig};
use serde::{Deserialize, Serialize};

/// Consistency mid-training (Hu et al. 2025, CMT): before its own training the student learns, from each state of the
/// teacher's trajectories, where the trajectory ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MidTrainingConfig {
    /// Batches, optimiser, learning rate; the first average is what the student starts from.
    pub train: TrainConfig,
    /// Trajectories that are kept, at least 1.
    pub trajectories: usize,
    /// How they are made; without fresh noise.
    pub sampler: TeacherSamplerConfig,
    /// How the student's output is compared with a trajectory's end.
    pub distance: DistanceConfig,
    /// The weight of a state.
    pub weighting: WeightingConfig,
}

impl Default for MidTrainingConfig {
    fn default() -> Self {
        let flow = DpmSolverPlusPlusConfig { end: FlowEnd::SigmaMin };
        Self {
            train: TrainConfig {
                total_images: 38_400_000, // Hu et al. 2025, CIFAR-10
                batch: 128,               // Hu et al. 2025, CIFAR-10
                ..TrainConfig::default()  // the rest as beside that type
            },
            trajectories: 50_000, // ours: as many as CIFAR-10 has images
            sampler: TeacherSamplerConfig {
                method: TeacherMethodConfig::DpmSolverPlusPlus(flow), // Hu et al. 2025
                levels: 17,                                           // Hu et al. 2025: 16 steps
                spacing: None,                                        // as the student's
            },
            distance: DistanceConfig::default(), // Hu et al. 2025 have LPIPS or squared differences
            weighting: WeightingConfig::Uniform, // ours: the paper's is not known to us
        }
    }
}

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
        let path = folder.path().join(MODEL_FILE);
        if let Some(file) = read(&path)? {
            let mut weights = weights;
            file.load_weights(&prefix(0), &mut weights).map_err(|error| damaged(&path, &error))?;
            return Ok(weights);
        }
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
        phase.train(&mut step, progress, |_: &MidTrainingStep, _: &StepReport, _, _| Ok(()))?;
        let averages = &step.state().averages;
        write_file(&path, &model_file(ModelKind::Student, self.planned, context.data.sigma_data, averages))?;
        Ok(averages[0].clone())
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

/// Bytes of the kept trajectories.
pub(crate) fn bytes_kept(config: &MidTrainingConfig, values: usize) -> u64 {
    let numbers = (config.trajectories as u64).saturating_mul(config.sampler.levels as u64);
    numbers.saturating_mul(values as u64).saturating_mul(4)
}

/// All that decides the weights after mid-training, but its seed.
pub(crate) fn decided_by(experiment: &ExperimentConfig, config: &MidTrainingConfig, seed: u64) -> String {
    let ExperimentConfig { dataset, network, class_conditional, teacher, teacher_seed, consistency, .. } =
        experiment;
    let start = (&consistency.init, &consistency.discretisation);
    crate::plan::to_ron(&(dataset, network, class_conditional, teacher, teacher_seed, start, config, seed))
}
