//! Progressive distillation: a student that takes one step where its teacher takes two, again and again (Salimans and
//! Ho 2022, Algorithm 2).

use crate::jump_model::{NetworkDenoiser, columns, merged_target};
use crate::{JumpModel, JumpParts};
use cm_consistency::{HalvingConfig, Stage};
use cm_diffusion::{
    Denoiser, Discretisation, Edm, ModelError, NoiseLevels, NumLevels, QuantityError, Sigma, euler_jump,
    noise,
};
use cm_image::ImageBatch;
use cm_image::random::Random;
use cm_network::{Extra, Network, check_labels};
use cm_tensor::{CheckpointError, TensorFile, Weights};
use cm_training::{
    Batch, GradientSum, Progress, StepReport, StepSeed, TrainConfig, TrainError, TrainState, TrainStep,
};

/// The stream of a step's seed from which levels are drawn; images' noise uses seeds derived per image.
const LEVELS_STREAM: u64 = 1;

/// The entry of a checkpoint that says in which stage it is.
const STAGE: &str = "stage";

/// Training of a [`JumpModel`] by stages.
///
/// In a stage with S steps the student learns, for each of the S intervals of the noise levels, the denoised image with
/// which one Euler step does what two Euler steps of the teacher do over the interval's halves. Then the first average
/// of the student becomes the next stage's teacher and its start, the optimiser is made anew, and S is halved.
pub struct ProgressiveStep<'a> {
    network: &'a dyn Network,
    precondition: Edm,
    parts: JumpParts,
    teacher: &'a dyn Denoiser,
    halving: HalvingConfig,
    stage: usize,
    state: TrainState,
}

impl<'a> ProgressiveStep<'a> {
    /// Training from `weights`, which are the network's: the teacher's or fresh ones. `teacher` is the first stage's.
    pub fn new(
        config: &TrainConfig,
        halving: HalvingConfig,
        network: &'a dyn Network,
        weights: Weights,
        precondition: Edm,
        teacher: &'a dyn Denoiser,
        parts: JumpParts,
    ) -> Self {
        // The target holds the teacher of all stages but the first.
        let state = TrainState::new(config, weights, true);
        Self { network, precondition, parts, teacher, halving, stage: 0, state }
    }

    /// The stage of the step whose report says that `images` of `total_images` are seen, if it was its last step.
    /// [`state`](Self::state) still holds that stage's student then.
    pub fn finished_stage(&self, images: u64, total_images: u64) -> Option<Stage> {
        let stages = self.halving.stages(total_images);
        stages.get(self.stage).copied().filter(|stage| stage.ends_at(images, total_images))
    }

    /// The number of steps in which the present stage's student samples.
    pub fn steps(&self) -> usize {
        self.halving.ladder().nth(self.stage).expect("a stage of the plan")
    }

    /// The teacher's two half steps: the target and the levels of each image.
    fn target(
        &self,
        noisy: &ImageBatch,
        levels: &[[Sigma; 3]],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        let successor;
        let teacher: &dyn Denoiser = match (&self.state.target, self.stage) {
            (Some(weights), 1..) => {
                let model = JumpModel::distilled(self.network, weights.clone(), self.precondition);
                successor = NetworkDenoiser(model);
                &successor
            }
            _ => self.teacher,
        };
        let [from, middle, _] = columns(levels);
        let first = teacher.denoise(noisy, &from, labels)?;
        let half = euler_jump(noisy, first.clone(), &from, &middle)?;
        let second = teacher.denoise(&half, &middle, labels)?;
        ModelError::check(&second, &middle, noisy.shape())?;
        Ok(merged_target(&first, second, levels))
    }
}

/// The noise levels of a student with `steps` steps, each with the one between it and the next: 2 steps + 1 levels.
fn halved_levels(
    discretisation: &dyn Discretisation,
    steps: usize,
) -> Result<(NoiseLevels, Vec<Sigma>), QuantityError> {
    let fine = discretisation.noise_levels(NumLevels::new(2 * steps + 1)?)?;
    let coarse = NoiseLevels::new(fine.as_slice().iter().step_by(2).map(|level| level.get()))?;
    Ok((coarse, fine.as_slice().iter().skip(1).step_by(2).copied().collect()))
}

impl TrainStep for ProgressiveStep<'_> {
    fn state(&self) -> &TrainState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut TrainState {
        &mut self.state
    }

    fn step(&mut self, batch: &Batch, progress: Progress, seed: StepSeed) -> Result<StepReport, TrainError> {
        batch.check_shape(self.network.shape())?;
        let count = batch.images.count();
        check_labels(self.network, &batch.labels, count).map_err(TrainError::model)?;
        let stage = self.halving.at(progress);
        if stage.index != self.stage {
            self.stage = stage.index;
            self.state.restart();
        }
        let (coarse, middles) =
            halved_levels(self.parts.discretisation.as_ref(), stage.steps).map_err(TrainError::model)?;
        let mut random = Random::with_stream(seed.noise(), LEVELS_STREAM);
        let levels: Vec<[Sigma; 3]> = (self.parts.index_law.draw(&coarse, count, &mut random).iter())
            .map(|pair| {
                let interval = coarse.as_slice().partition_point(|&level| level > pair.upper);
                [pair.upper, middles[interval], pair.lower]
            })
            .collect();
        let [from, _, to] = columns(&levels);
        let weights = self.parts.weights(&from, &to);
        let mut sum = GradientSum::new(count);
        for shard in self.state.shards(count) {
            let Batch { images: clean, labels } = batch.slice(shard.images.clone());
            let (levels, from) = (&levels[shard.images.clone()], &from[shard.images.clone()]);
            let noise = noise::batch_noise(clean.shape(), &seed.image_noise(shard.images.clone()), 0);
            let noisy = noise::perturb(&clean, from, &noise);
            let target = self.target(&noisy, levels, &labels).map_err(TrainError::model)?;
            let labels = check_labels(self.network, &labels, clean.count()).map_err(TrainError::model)?;
            let extra = Extra { labels, dropout_key: Some(shard.dropout_key(seed)), ..Extra::default() };
            let student = (self.network, &self.state.weights, &self.precondition);
            let (graph, distances) = self.parts.distances(student, (&noisy, &target), from, extra);
            sum.add(&shard, graph, &distances, weights[shard.images.clone()].to_vec(), &self.state.weights);
        }
        let at = (stage.progress(progress), seed);
        let ends = |image: usize| (from[image].get(), to[image].get());
        // A decay of 1 keeps the teacher as it is.
        let mut report = self.state.descend_by(sum, &weights, at, 1.0, ends)?;
        report.images = progress.images + count as u64;
        report.scalars = vec![("steps", stage.steps as f64)];
        Ok(report)
    }

    fn save(&self, file: &mut TensorFile) {
        self.state.save(file);
        file.metadata.insert(STAGE.into(), self.stage.to_string());
    }

    fn load(&mut self, file: &TensorFile) -> Result<(), CheckpointError> {
        self.state.load(file)?;
        let stage = file.parse(STAGE)?;
        if stage >= self.halving.ladder().count() {
            return Err(CheckpointError::Entry(STAGE.into()));
        }
        self.stage = stage;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
