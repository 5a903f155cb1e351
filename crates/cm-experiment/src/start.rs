//! What a student starts from: fresh weights or the teacher's, and what mid-training and a first stage make of them.
//!
//! Arms that agree on all that decides a first stage share it, as they share a mid-training; it lies in
//! `first-stage/HASH`.

use crate::assemble::{continuous_pairs, distance, segments, trajectory};
use crate::context::Context;
use crate::error::{Halt, RunError};
use crate::model_file::{MODEL_FILE, ModelKind, model_file, prefix};
use crate::run::Run;
use crate::run_dir::RunDir;
use crate::seed::NamedSeeds;
use crate::table::ReportRow;
use crate::tensor_file::write_file;
use cm_consistency::{ConsistencyConfig, ConsistencyStep, InitConfig, Parts, Truncation};
use cm_diffusion::Denoiser;
use cm_host::{FileError, Progress};
use cm_network::Weights;
use cm_study::{FirstStageConfig, TeacherKey};
use cm_training::TrainStep;

impl Run<'_> {
    /// The weights with which the student's own training begins, and the scores of the models on the way.
    pub(crate) fn start(
        &self,
        context: &Context,
        denoiser: Option<&dyn Denoiser>,
        progress: &mut dyn Progress,
    ) -> Result<(Weights, Vec<ReportRow>), Halt> {
        let experiment = self.experiment();
        let mut weights = match (experiment.consistency.init, &context.teacher) {
            (InitConfig::Teacher, Some(weights)) => context.start_from(weights)?,
            // An exact teacher has no weights to start from.
            (InitConfig::Teacher, None) | (InitConfig::Random, _) => context.fresh.clone(),
        };
        let mut rows = Vec::new();
        let mut score = |name: &str, weights: &Weights, progress: &mut dyn Progress| {
            let reference = context.reference(experiment, &experiment.evaluation.metrics)?;
            let model = [(name.to_owned(), weights)];
            rows.extend(self.student_scores(context, &reference, &model, progress, None)?);
            Ok::<(), Halt>(())
        };
        if let Some(config) = &experiment.mid_training {
            let denoiser = denoiser.ok_or_else(|| RunError::failed("mid-training", "there is no teacher"))?;
            weights = self.mid_train(context, config, denoiser, weights, progress)?;
            score("mid-trained", &weights, progress)?;
        }
        if let Some(config) = &experiment.first_stage {
            weights = self.first_stage(context, config, denoiser, weights, progress)?;
            score("first-stage", &weights, progress)?;
        }
        Ok((weights, rows))
    }

    /// The weights after a first stage from `weights`: read if they are there, trained if not.
    fn first_stage(
        &self,
        context: &Context,
        config: &FirstStageConfig,
        denoiser: Option<&dyn Denoiser>,
        weights: Weights,
        progress: &mut dyn Progress,
    ) -> Result<Weights, Halt> {
        let experiment = self.experiment();
        let key = TeacherKey::of_first_stage(experiment, config, self.planned.seed);
        let folder = self.dir.first_stage_dir(&key)?;
        self.kept(context, &folder, weights, |weights| {
            let training = config.training(&experiment.consistency);
            let parts = self.consistency_parts(context, &training, denoiser, None)?;
            let network = context.network.as_ref();
            let mut step = ConsistencyStep::new(&training, network, weights, context.boundary(), parts);
            let seeds = NamedSeeds::of(self.planned.seed);
            let seeds = NamedSeeds { noise: seeds.first_stage, ..seeds };
            let name = format!("{}: first stage", self.planned.name());
            let phase = self.phase(context, &folder, (name, "first-stage"), &training.train, seeds);
            phase.train_unseen(&mut step, progress)?;
            Ok(step.state().averages.clone())
        })
    }

    /// The first average that a training before the student's leaves in `folder`, which arms may share: read if it is
    /// there; if not `train` is done, from `weights`, and what it returns is kept there.
    pub(crate) fn kept(
        &self,
        context: &Context,
        folder: &RunDir,
        weights: Weights,
        train: impl FnOnce(Weights) -> Result<Vec<Weights>, Halt>,
    ) -> Result<Weights, Halt> {
        let path = folder.path().join(MODEL_FILE);
        if let Some(file) = folder.model(ModelKind::Student)? {
            let mut weights = weights;
            file.load_weights(&prefix(0), &mut weights).map_err(|error| FileError::damaged(&path, error))?;
            return Ok(weights);
        }
        let mut averages = train(weights)?;
        let sigma_data = context.data.sigma_data;
        write_file(&path, &model_file(ModelKind::Student, self.planned, sigma_data, &averages, None))?;
        folder.seal()?;
        Ok(averages.swap_remove(0))
    }

    /// What a consistency training of this run is made of; `first`: the model below, if it is truncated.
    pub(crate) fn consistency_parts<'a>(
        &self,
        context: &Context,
        config: &ConsistencyConfig,
        denoiser: Option<&'a dyn Denoiser>,
        first: Option<&Weights>,
    ) -> Result<Parts<'a>, RunError> {
        let seeds = NamedSeeds::of(self.planned.seed);
        let discretisation = config.discretisation.build().map_err(self.failed("the noise levels"))?;
        let truncation = match config.truncation.zip(first) {
            Some((truncation, first)) => Some(
                Truncation::new(truncation, context.range, first.clone())
                    .map_err(self.failed("the truncation"))?,
            ),
            None => None,
        };
        Ok(Parts {
            trajectory: trajectory(&self.experiment().method, denoiser)?,
            segments: segments(config.segments, discretisation.as_ref())
                .map_err(self.failed("the segments"))?,
            discretisation,
            continuous: continuous_pairs(config.curriculum, context.range)
                .map_err(self.failed("the law of pairs"))?,
            index_law: config.index_law.build(context.range).map_err(self.failed("the law of intervals"))?,
            distance: distance(&config.distance, context.data.train.as_ref(), seeds.features)?,
            weighting: config.weighting.build(context.data.sigma_data),
            truncation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::RunOutcome;
    use crate::execute::run;
    use crate::trained::Trained;
    use cm_diffusion::{ConsistencyFunction, Sigma};
    use cm_host::{Silent, StopFlag};
    use cm_network::TensorFile;
    use cm_study::{Study, check};
    use std::fs;
    use std::path::Path;

    /// The model file of a truncated student holds both models, and its first stage is the one that arms share.
    #[test]
    fn a_truncated_model_that_is_read_back_is_its_first_stage_below_its_level() {
        let text = "(base: (
            dataset: GaussianMixture(train_len: 256, test_len: 128),
            network: Mlp(width: 16, blocks: 1),
            teacher: None,
            method: Training,
            first_stage: (
                train: (total_images: 320, batch: 32, ema: [PerStep(0.9)]),
                curriculum: Continuous(stages: 2),
            ),
            consistency: (
                train: (total_images: 320, batch: 32, ema: [PerStep(0.9)]),
                init: Random,
                curriculum: Continuous(stages: 1),
                truncation: Some(level: 0.5),
            ),
            evaluation: (samples: 64, student: [Multistep(times: [0.2])], metrics: [SlicedWasserstein]),
        ), arms: Star([(name: \"tcm\", changes: []), (name: \"all\", changes: [Truncation(None)])]))";
        let plan = check(Path::new("ring.ron"), text).unwrap().plan;
        let (path, name) = ("ring.ron".into(), "ring".into());
        let study = Study { path, name, text: text.into(), plan, notes: vec![], absent: vec![] };
        let out = tempfile::tempdir().unwrap();
        let RunOutcome::Finished { dir, .. } =
            run(&study, out.path(), &StopFlag::new(), &mut Silent).unwrap()
        else {
            panic!("it was not stopped")
        };
        let stages: Vec<_> = fs::read_dir(dir.join("first-stage")).unwrap().collect();
        assert_eq!(stages.len(), 1, "two arms share it");
        let stage = stages[0].as_ref().unwrap().path().join(MODEL_FILE);
        let stage = TensorFile::decode(&fs::read(stage).unwrap()).unwrap();

        let truncated = Trained::open(&dir.join("tcm/seed-0")).unwrap();
        assert!(truncated.is_truncated());
        let mut first = truncated.weights(0).clone();
        stage.load_weights(&prefix(0), &mut first).unwrap();
        let x = truncated.test_images().slice(0..4);
        let ends = |model: &dyn ConsistencyFunction, level: f32| {
            model.endpoint(&x, &[Sigma::new(level).unwrap(); 4], &[]).unwrap()
        };
        let context = Context::new(truncated.run()).unwrap();
        let plain =
            |weights: &Weights| context.consistency_model(&truncated.run().experiment, weights.clone());
        let own = truncated.weights(0);
        for (level, weights) in [(0.1, &first), (0.499, &first), (0.5, own), (20.0, own)] {
            assert_eq!(ends(&truncated.model(0), level), ends(&plain(weights), level), "{level}");
        }
        assert_ne!(ends(&plain(&first), 0.5), ends(&plain(own), 0.5));
        assert!(!Trained::open(&dir.join("all/seed-0")).unwrap().is_truncated());
    }
}
