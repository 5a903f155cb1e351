//! What decides a part of a study, as text, and that text's hash: parts with the same key are made once and shared.

use crate::experiment_config::{EvaluationConfig, ExperimentConfig, TeacherSource};
use crate::first_stage_config::FirstStageConfig;
use crate::mid_training_config::MidTrainingConfig;
use crate::notation::to_ron;
use cm_training::Precision;

/// What decides a trained teacher: runs with the same key share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeacherKey {
    /// Sixteen hexadecimal digits, the name of its folder.
    pub hash: String,
    /// Seed of its training.
    pub seed: u64,
    /// The text itself.
    pub decided_by: String,
}

impl TeacherKey {
    fn new(seed: u64, decided_by: String) -> Self {
        let hash = blake3::hash(decided_by.as_bytes()).to_hex()[..16].to_owned();
        Self { hash, seed, decided_by }
    }

    /// The key of a mid-training of a run with this seed.
    pub fn of_mid_training(experiment: &ExperimentConfig, config: &MidTrainingConfig, seed: u64) -> Self {
        Self::new(seed, mid_trained_by(experiment, config, seed))
    }

    /// The key of the first stage of a run with this seed.
    pub fn of_first_stage(experiment: &ExperimentConfig, config: &FirstStageConfig, seed: u64) -> Self {
        let ExperimentConfig { dataset, network, class_conditional, teacher, teacher_seed, .. } = experiment;
        let ExperimentConfig { method, mid_training, consistency, .. } = experiment;
        let start = (&consistency.init, &consistency.discretisation, mid_training);
        let decided_by = to_ron(&(
            dataset,
            network,
            class_conditional,
            teacher,
            teacher_seed,
            start,
            method,
            config,
            seed,
        ));
        let beside = precision_of(experiment) + &guidance_of(experiment) + changes_of(experiment);
        Self::new(seed, decided_by + &beside)
    }

    /// The keys of all teachers of an experiment that are trained: the one it has, and the weaker one that guides it.
    pub fn all_of(experiment: &ExperimentConfig) -> Vec<Self> {
        let weaker = experiment.weaker();
        [Some(experiment), weaker.as_ref()].into_iter().flatten().filter_map(Self::of).collect()
    }

    /// The key of the teacher of an experiment; `None` if none is trained.
    pub fn of(experiment: &ExperimentConfig) -> Option<Self> {
        let ExperimentConfig { dataset, network, class_conditional, teacher, teacher_seed, .. } = experiment;
        match teacher {
            TeacherSource::Trained(teacher) => {
                let decided_by = to_ron(&(dataset, network, class_conditional, teacher, teacher_seed));
                Some(Self::new(*teacher_seed, decided_by + &precision_of(experiment)))
            }
            TeacherSource::File(_) | TeacherSource::Exact | TeacherSource::None => None,
        }
    }
}

/// What guidance adds to a key: nothing where there is none, as before it was known.
fn guidance_of(experiment: &ExperimentConfig) -> String {
    match experiment.guidance.is_none() {
        true => String::new(),
        false => {
            let weaker = experiment.weaker().map(|_| format!(", by {}", to_ron(&experiment.guide)));
            format!(", guided {}{}", to_ron(&experiment.guidance), weaker.unwrap_or_default())
        }
    }
}

/// All that decides the weights after mid-training, but its seed.
fn mid_trained_by(experiment: &ExperimentConfig, config: &MidTrainingConfig, seed: u64) -> String {
    let ExperimentConfig { dataset, network, class_conditional, teacher, teacher_seed, consistency, .. } =
        experiment;
    let start = (&consistency.init, &consistency.discretisation);
    let decided_by =
        to_ron(&(dataset, network, class_conditional, teacher, teacher_seed, start, config, seed));
    decided_by + &precision_of(experiment) + &guidance_of(experiment) + changes_of(experiment)
}

/// What it adds to a key of the student's weights that its network may be told how images were changed.
fn changes_of(experiment: &ExperimentConfig) -> &'static str {
    if experiment.student_conditions(None).augmentation { ", told of changes" } else { "" }
}

/// What a precision adds to a key: nothing for single precision, in which everything without a word of it was made.
fn precision_of(experiment: &ExperimentConfig) -> String {
    match experiment.precision {
        Precision::F32 => String::new(),
        other => format!(", {}", other.name()),
    }
}

/// What decides floor and teacher's scores.
pub fn baseline_key(e: &ExperimentConfig) -> String {
    let EvaluationConfig {
        samples,
        teacher,
        quantisation,
        metrics,
        metric,
        networks,
        student: _,
        every_images: _,
        every_samples: _,
    } = &e.evaluation;
    let evaluation = (samples, teacher, quantisation, metrics, metric);
    let decided_by = to_ron(&(
        &e.dataset,
        &e.network,
        &e.class_conditional,
        &e.teacher,
        &e.teacher_seed,
        &e.consistency.discretisation,
        evaluation,
    ));
    let networks = if networks.is_empty() { String::new() } else { to_ron(networks) };
    decided_by + &networks + &precision_of(e) + &guidance_of(e)
}
