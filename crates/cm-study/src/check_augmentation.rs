//! Checks of the changes that images go through before they are trained on.

use crate::experiment_config::{ExperimentConfig, MethodConfig, TeacherSource};
use crate::problem::Problem;
use cm_consistency::CouplingConfig;

/// Only pictures can be changed, and only a network that is told of it may see them so.
pub(crate) fn problems(experiment: &ExperimentConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut say =
        |path: &str, message: &str, allowed: &str| problems.push(Problem::new(path, message, allowed));
    let teacher = match &experiment.teacher {
        TeacherSource::Trained(teacher) => teacher.train.augmentation,
        TeacherSource::File(_) | TeacherSource::Exact | TeacherSource::None => None,
    };
    let student = experiment.consistency.train.augmentation;
    let first = experiment.first_stage.as_ref().and_then(|stage| stage.train.augmentation);
    let paths = [
        ("teacher.train.augmentation", teacher),
        ("consistency.train.augmentation", student),
        ("first_stage.train.augmentation", first),
    ];
    for (path, _) in paths.iter().filter(|(_, found)| found.is_some()) {
        if !experiment.dataset.holds_pictures() {
            say(
                path,
                "only pictures can be mirrored, turned, stretched and moved",
                "None, or a dataset of pictures",
            );
        }
    }
    if experiment.mid_training.as_ref().is_some_and(|mid| mid.train.augmentation.is_some()) {
        let message = "mid-training sees the teacher's images, which are not changed";
        say("mid_training.train.augmentation", message, "None");
    }
    let Some((path, _)) = paths[1..].iter().find(|(_, found)| found.is_some()) else { return problems };
    let refused = match &experiment.method {
        method if method.asks_teacher() => {
            Some("the teacher is asked, and cannot be told how images were changed")
        }
        MethodConfig::Training if experiment.consistency.coupling != CouplingConfig::Independent => {
            Some("a model that makes its own images is not told how they were changed")
        }
        MethodConfig::Shortcut(_) => {
            Some("a shortcut model's own jumps are not told how images were changed")
        }
        MethodConfig::TwoTime(two_time) if two_time.guidance.is_some() => {
            Some("guidance inside the target is not told how images were changed")
        }
        MethodConfig::Distillation(_)
        | MethodConfig::Training
        | MethodConfig::ProgressiveDistillation
        | MethodConfig::ContinuousDistillation(_)
        | MethodConfig::ContinuousTraining(_)
        | MethodConfig::TwoTime(_)
        | MethodConfig::InductiveMomentMatching(_) => None,
    };
    if let Some(message) = refused {
        let allowed =
            "None; or Training, ContinuousTraining, InductiveMomentMatching, or TwoTime along known noise";
        say(path, message, allowed);
    }
    problems
}
