//! Checks of guidance, of what guides, and of the classes that are kept from a teacher.

use crate::experiment_config::{ExperimentConfig, TeacherSource};
use crate::guide_config::GuideConfig;
use crate::problem::{Problem, ranged};
use cm_network::NetworkProblem;

/// Guidance needs a teacher that was told classes, and sometimes was not, or a weaker one.
pub(crate) fn guidance(experiment: &ExperimentConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut say =
        |path: &str, message: String, allowed: &str| problems.push(Problem::new(path, message, allowed));
    if let Err(error) = experiment.guidance.check() {
        say("guidance", error.to_string(), "(weight: 2, above: 0.3, up_to: 5)");
    }
    let guided = experiment.guidance.weight != 1.0;
    let by_class = guided && experiment.guide.is_no_class();
    let dropout = match &experiment.teacher {
        TeacherSource::Trained(teacher) => Some(teacher.label_dropout),
        TeacherSource::File(_) | TeacherSource::Exact | TeacherSource::None => None,
    };
    if dropout.is_some_and(|share| !(0.0..1.0).contains(&share)) {
        let message = format!("label_dropout is {}", dropout.unwrap_or_default());
        say("teacher.label_dropout", message, "0 or more, below 1");
    }
    if (by_class || dropout.is_some_and(|share| share > 0.0)) && !experiment.class_conditional {
        let message = "without classes there is none to be driven to, and none to be kept back".to_owned();
        say(
            "class_conditional",
            message,
            "true, or neither guidance nor label_dropout; a weaker teacher guides without classes",
        );
    }
    if by_class && dropout == Some(0.0) {
        let message = "a teacher that was always told the class cannot be guided".to_owned();
        say("teacher.label_dropout", message, "above 0, as 0.1; or guide: Weaker(..)");
    }
    if by_class && matches!(experiment.teacher, TeacherSource::Exact | TeacherSource::None) {
        say(
            "guidance",
            "there is no teacher that knows classes".to_owned(),
            "teacher: Trained(..) or File(..)",
        );
    }
    problems.extend(weaker(experiment));
    problems
}

/// A weaker teacher must be one that can be trained beside the other.
fn weaker(experiment: &ExperimentConfig) -> Vec<Problem> {
    let GuideConfig::Weaker(config) = &experiment.guide else { return Vec::new() };
    let TeacherSource::Trained(teacher) = &experiment.teacher else {
        let message = "a weaker teacher is trained as the teacher is, and that is not trained";
        return vec![Problem::new("guide", message, "NoClass, or teacher: Trained(..)")];
    };
    let mut problems = Vec::new();
    let most = teacher.train.total_images;
    if config.network.is_none() && !(1..most).contains(&config.total_images) {
        let message = format!("{} images with the teacher's network, which sees {most}", config.total_images);
        problems.push(Problem::new("guide.total_images", message, "at least 1, fewer than the teacher's"));
    } else {
        let train = cm_training::TrainConfig { total_images: config.total_images, ..teacher.train.clone() };
        let own = train.problems().into_iter().filter(|problem| problem.field == "total_images");
        problems.extend(ranged("guide", own.collect::<Vec<_>>()));
    }
    if let (Some(network), Ok(data)) =
        (&config.network, experiment.dataset.outline(cm_datasets::Split::Train))
        && let Err(error) = network.outline(data.shape, experiment.conditions(data.classes))
    {
        problems.extend(error.0.into_iter().map(|NetworkProblem { field, given, allowed }| {
            Problem::new(format!("guide.network.{field}"), format!("{field} is {given}"), allowed)
        }));
    }
    problems
}
