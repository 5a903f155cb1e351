//! The teacher of a run: trained once for all runs that share it, scored beside held-out data, and drawn.

use crate::assemble::teacher_sampler;
use crate::context::{Context, WeakerTeacher};
use crate::error::{Halt, RunError};
use crate::event_file::EventFile;
use crate::journal::Journal;
use crate::judge;
use crate::model_file::{MODEL_FILE, ModelKind, model_file, prefix};
use crate::phase::Moment;
use crate::processes::is_first;
use crate::run::Run;
use crate::seed::NamedSeeds;
use crate::table::ReportRow;
use crate::tensor_file::write_file;
use crate::weights_file::WeightsFile;
use cm_diffusion::{Denoiser, Edm, NoiseLevels, Sampler};
use cm_evaluator::floor;
use cm_host::{FileError, Progress};
use cm_image::ImageBatch;
use cm_network::Weights;
use cm_study::{PlannedRun, PreconditionConfig, TeacherKey, TeacherSource};
use cm_teacher::{Teacher, TeacherStep};
use cm_training::TrainStep;

impl Run<'_> {
    /// Data, judge, network, and the teacher if there is one to train.
    pub fn prepare(&self, progress: &mut dyn Progress) -> Result<Context, Halt> {
        let experiment = self.experiment();
        let mut context = Context::new(self.planned)?;
        if judge::is_trained(&experiment.dataset) {
            context.judge.folder = Some(self.dir.shared_dir(&judge::folder_name(&experiment.dataset))?);
        }
        if !experiment.evaluation.networks.is_empty() {
            context.networks.folder = Some(self.dir.path().join("shared"));
        }
        if let TeacherSource::Trained(_) = &experiment.teacher {
            context.teacher = Some(self.teacher(&context, self.planned, progress)?);
        }
        if let Some(weaker) = experiment.weaker() {
            let conditions = experiment.conditions(context.data.train.num_classes());
            let built = weaker.network.outline(context.data.shape(), conditions);
            let (network, _) = built.map_err(self.failed("the weaker teacher's network"))?;
            let planned = PlannedRun { experiment: weaker, ..self.planned.clone() };
            let weights = self.teacher(&context, &planned, progress)?;
            context.weaker = Some(WeakerTeacher { network, weights });
        }
        if let TeacherSource::File(config) = &experiment.teacher {
            let file = WeightsFile::open(&config.path)?;
            match file.card.precondition {
                // The network was trained with this value, whatever the data of this study are.
                PreconditionConfig::Edm | PreconditionConfig::Consistency => {
                    context.data.sigma_data = file.card.sigma_data;
                }
                // These know no such value.
                PreconditionConfig::Vp(_) | PreconditionConfig::Ve | PreconditionConfig::Iddpm(_) => {}
            }
            context.teacher = Some(file.weights);
            context.teacher_card = Some(file.card);
        }
        Ok(context)
    }

    /// The averaged weights of the teacher of `planned`, this run or the one of its weaker teacher: read if they are there,
    /// trained if not.
    fn teacher(
        &self,
        context: &Context,
        planned: &PlannedRun,
        progress: &mut dyn Progress,
    ) -> Result<Weights, Halt> {
        let experiment = &planned.experiment;
        let (TeacherSource::Trained(config), Some(key)) = (&experiment.teacher, TeacherKey::of(experiment))
        else {
            return Err(RunError::failed("the teacher", "the plan has none to train").into());
        };
        let folder = self.dir.teacher_dir(&key)?;
        let path = folder.path().join(MODEL_FILE);
        let seeds = NamedSeeds::of(key.seed);
        let conditions = experiment.conditions(context.data.train.num_classes());
        let (network, mut weights) = experiment
            .teacher_network()
            .build(context.data.shape(), conditions, seeds.init)
            .map_err(self.failed("the teacher's network"))?;
        if let Some(file) = folder.model(ModelKind::Teacher)? {
            file.load_weights(&prefix(0), &mut weights).map_err(|error| FileError::damaged(&path, error))?;
            return Ok(weights);
        }
        let edm = Edm { sigma_data: context.data.sigma_data };
        let noise = config.noise.build().map_err(self.failed("the teacher's noise levels"))?;
        let mut step = TeacherStep::new(config, network.as_ref(), weights, edm, noise);
        let phase = self.phase(context, &folder, ("teacher".into(), "teacher"), &config.train, seeds);
        let due = |_: &TeacherStep, moment| is_first() && self.picture_is_due(moment, &config.train);
        let draw = |step: &TeacherStep, moment: Moment, journal: &mut Journal, _: &mut dyn Progress| {
            let teacher = Teacher::new(network.as_ref(), step.state().averages[0].clone(), edm);
            let picture = self.teacher_picture(context, &teacher, seeds)?;
            picture.map_or(Ok(()), |picture| Ok(journal.picture(moment.step, "teacher", &picture)?))
        };
        phase.train(&mut step, progress, due, draw)?;
        let state = step.state();
        let sigma_data = context.data.sigma_data;
        write_file(&path, &model_file(ModelKind::Teacher, planned, sigma_data, &state.averages, None))?;
        folder.seal()?;
        Ok(state.averages[0].clone())
    }

    /// Scores of held-out data and of the teacher.
    pub fn baselines(&self, context: &Context, progress: &mut dyn Progress) -> Result<Vec<ReportRow>, Halt> {
        if !is_first() {
            return Ok(Vec::new());
        }
        let experiment = self.experiment();
        let evaluation = &experiment.evaluation;
        let reference = context.reference(experiment, &experiment.evaluation.metrics)?;
        let held_out = &context.data.test_images;
        let scored = floor(&reference, held_out.clone()).map_err(self.failed("the floor"))?;
        let mut rows = self.rows(&scored, "floor", "-", 0, self.planned.seed);
        // As many as are drawn of a model, if there are: a distance falls with their number.
        let count = held_out.count().min(evaluation.samples);
        let images = reference.as_data(held_out.slice(0..count));
        let (networks, data) = (&context.networks, &context.data);
        let scored = networks.scores(data, &images, "held-out images", self.stop, progress)?;
        rows.extend(self.rows(&scored, "floor", "-", 0, self.planned.seed));
        if let Some(denoiser) = context.denoiser(experiment) {
            let levels = self.teacher_levels(context)?;
            let sampler = self.teacher_sampler(context, denoiser.as_ref(), &levels)?;
            let seed = NamedSeeds::of(experiment.teacher_seed).sample;
            let scored = self.score(
                context,
                &reference,
                (sampler.as_ref(), evaluation.samples, seed),
                "teacher",
                progress,
                &|_| Ok(()),
            )?;
            let name = evaluation.teacher.name();
            rows.extend(self.rows(&scored, "teacher", &name, sampler.evaluations(), experiment.teacher_seed));
            self.show_scores(&rows)?;
        }
        Ok(rows)
    }

    /// Lays the scores of a teacher that was trained here, and those of held-out data, beside its curves in TensorBoard.
    fn show_scores(&self, rows: &[ReportRow]) -> Result<(), RunError> {
        let experiment = self.experiment();
        let (TeacherSource::Trained(config), Some(key)) = (&experiment.teacher, TeacherKey::of(experiment))
        else {
            return Ok(());
        };
        let folder = self.dir.teacher_dir(&key)?;
        let step = config.train.steps() + 1;
        let write = || {
            // It begins behind its own step, so that TensorBoard drops no scores by another arm's evaluation.
            let mut events = EventFile::create(folder.path(), step + 1)?;
            for row in rows {
                events.scalar(step, &row.score_tag(), row.value)?;
            }
            events.sync()
        };
        write().map_err(FileError::io(folder.path()))?;
        folder.seal_later_events()
    }

    /// The levels the teacher's sampler goes down.
    fn teacher_levels(&self, context: &Context) -> Result<NoiseLevels, RunError> {
        let levels = context.teacher_levels(&self.experiment().evaluation.teacher);
        levels.map_err(self.failed("the levels of the teacher's sampler"))
    }

    fn teacher_sampler<'a>(
        &self,
        context: &Context,
        denoiser: &'a dyn Denoiser,
        levels: &'a NoiseLevels,
    ) -> Result<Box<dyn Sampler + 'a>, RunError> {
        let method = self.experiment().evaluation.teacher.method;
        teacher_sampler(method, denoiser, context.data.shape(), levels, context.labels())
            .map_err(self.failed("the teacher's sampler"))
    }

    fn teacher_picture(
        &self,
        context: &Context,
        teacher: &dyn Denoiser,
        seeds: NamedSeeds,
    ) -> Result<Option<ImageBatch>, RunError> {
        let levels = self.teacher_levels(context)?;
        let sampler = self.teacher_sampler(context, teacher, &levels)?;
        self.picture(sampler.as_ref(), context.labels(), seeds)
    }
}
