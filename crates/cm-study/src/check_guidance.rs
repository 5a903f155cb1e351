//! Checks of guidance and of the classes that are kept from a teacher.

use crate::experiment_config::{ExperimentConfig, TeacherSource};
use crate::problem::Problem;

/// Guidance needs a teacher that was told classes, and sometimes was not.
pub(crate) fn guidance(experiment: &ExperimentConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut say =
        |path: &str, message: String, allowed: &str| problems.push(Problem::new(path, message, allowed));
    if let Err(error) = experiment.guidance.check() {
        say("guidance", error.to_string(), "(weight: 2, above: 0.3, up_to: 5)");
    }
    let guided = experiment.guidance.weight != 1.0;
    let dropout = match &experiment.teacher {
        TeacherSource::Trained(teacher) => Some(teacher.label_dropout),
        TeacherSource::File(_) | TeacherSource::Exact | TeacherSource::None => None,
    };
    if dropout.is_some_and(|share| !(0.0..1.0).contains(&share)) {
        let message = format!("label_dropout is {}", dropout.unwrap_or_default());
        say("teacher.label_dropout", message, "0 or more, below 1");
    }
    if (guided || dropout.is_some_and(|share| share > 0.0)) && !experiment.class_conditional {
        let message = "without classes there is none to be driven to, and none to be kept back".to_owned();
        say("class_conditional", message, "true, or neither guidance nor label_dropout");
    }
    if guided && dropout == Some(0.0) {
        let message = "a teacher that was always told the class cannot be guided".to_owned();
        say("teacher.label_dropout", message, "above 0, as 0.1");
    }
    if guided && matches!(experiment.teacher, TeacherSource::Exact | TeacherSource::None) {
        say(
            "guidance",
            "there is no teacher that knows classes".to_owned(),
            "teacher: Trained(..) or File(..)",
        );
    }
    problems
}
