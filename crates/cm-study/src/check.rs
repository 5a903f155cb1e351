//! What is wrong with one experiment: each component's own ranges, and the rules that join components.

use crate::experiment_config::{
    ExperimentConfig, LoggingConfig, MethodConfig, TeacherFileConfig, TeacherSource,
};
use crate::mid_training_config::bytes_kept;
use crate::problem::{Problem, ranged};
use crate::samplers::TeacherMethodConfig;
use crate::weights_card::{PreconditionConfig, WeightsCard};
use crate::{
    check_augmentation, check_evaluation, check_first_stage, check_guidance, check_lpips, check_methods,
    check_samplers,
};
use cm_consistency::{DistanceConfig, InitConfig};
use cm_datasets::{DatasetConfig, Split};
use cm_network::NetworkProblem;

/// Everything wrong with an experiment, with paths inside it. Empty if it can be run.
pub(crate) fn problems(experiment: &ExperimentConfig) -> Vec<Problem> {
    let mut problems = components(experiment);
    problems.extend(method(experiment));
    problems.extend(check_methods::problems(experiment));
    problems.extend(mid_training(experiment));
    problems.extend(check_first_stage::problems(experiment));
    problems.extend(check_evaluation::problems(experiment));
    problems.extend(check_augmentation::problems(experiment));
    problems.extend(logging(&experiment.logging));
    problems
}

/// What each crate says of its own configuration.
fn components(experiment: &ExperimentConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    match experiment.dataset.outline(Split::Train) {
        Ok(data) => {
            if let Some(folder) = experiment.dataset.absent() {
                let message = format!("there is no folder {}", folder.display());
                problems.push(Problem::absent(
                    "dataset",
                    message,
                    "a folder that `cm dataset prepare` wrote",
                ));
            }
            if experiment.class_conditional && data.classes.is_none() {
                let message = "these data have no classes to tell the networks";
                problems.push(Problem::new("class_conditional", message, "false, or a dataset with classes"));
            }
            let conditions = experiment.student_conditions(data.classes);
            if let Err(error) = experiment.network.outline(data.shape, conditions) {
                problems.extend(error.0.into_iter().map(|NetworkProblem { field, given, allowed }| {
                    Problem::new(format!("network.{field}"), format!("{field} is {given}"), allowed)
                }));
            }
        }
        Err(error) => {
            let allowed = "data that can be read; paths begin where cm was started, or beside the study file";
            problems.push(Problem::new("dataset", error.to_string(), allowed));
        }
    }
    if let TeacherSource::Trained(teacher) = &experiment.teacher {
        problems.extend(ranged("teacher.train", teacher.train.problems()));
        if teacher.train.snapshots.is_some() {
            let message = "only a student's averages are worked out after its run";
            problems.push(Problem::new("teacher.train.snapshots", message, "None"));
        }
        if let Some(dropout) = teacher.dropout.filter(|share| !(0.0..1.0).contains(share)) {
            let message = format!("dropout is {dropout}");
            problems.push(Problem::new("teacher.dropout", message, "in [0, 1), or None for the network's"));
        }
        if let Err(error) = teacher.noise.build() {
            problems.push(Problem::new("teacher.noise", error.to_string(), ""));
        }
    }
    problems.extend(ranged("consistency", experiment.consistency.problems()));
    problems
}

/// Which teacher, method and data go together.
fn method(experiment: &ExperimentConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    let trained = matches!(experiment.teacher, TeacherSource::Trained(_) | TeacherSource::File(_));
    let mixture = matches!(experiment.dataset, DatasetConfig::GaussianMixture(_));
    if experiment.teacher == TeacherSource::Exact && !mixture {
        let message = "only a Gaussian mixture has an exact teacher";
        problems.push(Problem::new(
            "teacher",
            message,
            "teacher: Trained(..), or dataset: GaussianMixture(..)",
        ));
    }
    if experiment.teacher == TeacherSource::Exact && experiment.class_conditional {
        let message = "the exact teacher knows no classes";
        problems.push(Problem::new("class_conditional", message, "false, or teacher: Trained(..)"));
    }
    if let TeacherSource::File(config) = &experiment.teacher {
        problems.extend(teacher_file(experiment, config));
    }
    problems.extend(check_guidance::guidance(experiment));
    if experiment.teacher == TeacherSource::None && experiment.method.asks_teacher() {
        let message = "distillation needs a teacher";
        problems.push(Problem::new("teacher", message, "Trained(..), Exact; or method: Training"));
    }
    if experiment.consistency.init == InitConfig::Teacher && !trained {
        let message = "the student is to start from a teacher's weights, but there are none";
        problems.push(Problem::new("consistency.init", message, "Random, or teacher: Trained(..)"));
    }
    let first = experiment.first_stage.as_ref().map(|stage| (&stage.distance, "first_stage.distance"));
    let distances = [(&experiment.consistency.distance, "consistency.distance")].into_iter().chain(first);
    for (distance, path) in distances {
        if matches!(distance, DistanceConfig::Features(_)) && lacks_classes(&experiment.dataset) {
            let message = "feature distances need a classifier, and these data have no classes to learn";
            problems.push(Problem::new(
                path,
                message,
                "a dataset of images with classes, or another distance",
            ));
        }
        if let DistanceConfig::Lpips(config) = distance {
            problems.extend(check_lpips::problems(config, &experiment.dataset, path));
        }
    }
    problems
}

/// Whether data are known to have no classes; of what cannot be read nothing is, and that is told already.
fn lacks_classes(dataset: &DatasetConfig) -> bool {
    dataset.outline(Split::Train).is_ok() && !dataset.has_classes()
}

/// The most memory that kept trajectories may take.
const MOST_BYTES: u64 = 8 << 30;

/// What mid-training asks of the rest.
fn mid_training(experiment: &ExperimentConfig) -> Vec<Problem> {
    let Some(config) = &experiment.mid_training else { return Vec::new() };
    let mut problems: Vec<Problem> = ranged("mid_training.train", config.train.problems()).collect();
    problems.extend(check_samplers::of_teacher(
        &config.sampler,
        &experiment.consistency.discretisation,
        "mid_training.sampler",
    ));
    let mut say = |path: &str, message: String, allowed: &str| {
        problems.push(Problem::new(format!("mid_training{path}"), message, allowed));
    };
    if experiment.teacher == TeacherSource::None {
        say(
            "",
            "mid-training needs a teacher's trajectories".into(),
            "teacher: Trained(..) or Exact; or None",
        );
    }
    if let Some(model) = experiment.jumps() {
        say("", format!("mid-training makes a consistency model, not {model}"), "None");
    }
    match config.sampler.method {
        TeacherMethodConfig::Flow(_) | TeacherMethodConfig::DpmSolverPlusPlus(_) => {}
        TeacherMethodConfig::Churned(_) | TeacherMethodConfig::Ancestral(_) => {
            let message = "a sampler that adds noise follows no trajectory".to_owned();
            say(".sampler.method", message, "Flow(..) or DpmSolverPlusPlus(..)");
        }
    }
    if config.train.snapshots.is_some() {
        let message = "only a student's averages are worked out after its run".to_owned();
        say(".train.snapshots", message, "None");
    }
    if matches!(config.distance, DistanceConfig::Features(_)) && lacks_classes(&experiment.dataset) {
        let message = "feature distances need a classifier, and these data have no classes to learn";
        say(".distance", message.into(), "a dataset of images with classes, or another distance");
    }
    let values = experiment.dataset.outline(Split::Train).map_or(1, |data| data.shape.len());
    let bytes = bytes_kept(config, values);
    if config.trajectories == 0 || bytes > MOST_BYTES {
        let message = format!("{} trajectories take {bytes} bytes", config.trajectories);
        say(".trajectories", message, "at least 1, and at most 8 GiB in all");
    }
    problems
}

/// Whether a file of weights fits the experiment.
fn teacher_file(experiment: &ExperimentConfig, config: &TeacherFileConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !config.path.as_os_str().is_empty() && !config.path.exists() {
        let message = format!("there is no file {}", config.path.display());
        return vec![Problem::absent("teacher.path", message, "a file that `cm import` wrote")];
    }
    let mut say = |message: String, allowed: &str| {
        problems.push(Problem::new("teacher.path", message, allowed));
    };
    let card = match WeightsCard::read(&config.path) {
        Ok(card) => card,
        Err(error) => {
            say(error.to_string(), "a file that `cm import` wrote");
            return problems;
        }
    };
    if card.network.without_training() != experiment.network.without_training() {
        say(format!("the weights in it are of another network: {:?}", card.network), "the study's network");
    }
    if let Ok(data) = experiment.dataset.outline(Split::Train) {
        if card.shape() != data.shape {
            let message = format!("its images are {}, but the data's are {}", card.shape(), data.shape);
            say(message, "images of one shape");
        }
        if card.classes != experiment.conditions(data.classes).classes {
            let message = format!("it knows {:?} classes", card.classes);
            say(message, "as many as the study's networks are told (class_conditional)");
        }
    }
    if experiment.method.asks_teacher() && card.precondition.is_consistency() {
        let message = "it holds a consistency model, which cannot be distilled".to_owned();
        say(message, "a diffusion model, or method: Training, which starts from it");
    }
    let starts = experiment.consistency.init == InitConfig::Teacher
        || experiment.method == MethodConfig::ProgressiveDistillation;
    let of_edm = matches!(card.precondition, PreconditionConfig::Edm | PreconditionConfig::Consistency);
    if starts && !of_edm {
        let message = format!(
            "it holds a {}: its network is told other numbers and makes other ones",
            card.precondition
        );
        say(message, "consistency: (init: Random), or a teacher with EDM's preconditioning to start from");
    }
    problems
}

fn logging(logging: &LoggingConfig) -> Vec<Problem> {
    let LoggingConfig { record_images, picture_images, residual_images, grid, checkpoint_images } = *logging;
    let intervals = [
        ("record_images", record_images),
        ("picture_images", picture_images.unwrap_or(1)),
        ("residual_images", residual_images.unwrap_or(1)),
        ("checkpoint_images", checkpoint_images),
        ("grid", grid as u64),
    ];
    let zero = intervals.into_iter().filter(|&(_, images)| images == 0);
    let zero = zero
        .map(|(field, _)| Problem::new(format!("logging.{field}"), format!("{field} is 0"), "at least 1"));
    let large = (grid > LoggingConfig::MOST_GRID).then(|| {
        let allowed = format!("1 to {}", LoggingConfig::MOST_GRID);
        Problem::new("logging.grid", format!("grid is {grid}"), allowed)
    });
    zero.chain(large).collect()
}
