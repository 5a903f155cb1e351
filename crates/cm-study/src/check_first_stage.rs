//! Checks of a first stage, and of what a truncated model is trained above.

use crate::experiment_config::{ExperimentConfig, MethodConfig, TeacherSource};
use crate::problem::{Problem, ranged};
use crate::weights_card::WeightsCard;
use cm_consistency::{CurriculumConfig, InitConfig};

/// What a first stage asks of the rest, and a truncation of the student's start.
pub(crate) fn problems(experiment: &ExperimentConfig) -> Vec<Problem> {
    let consistency = &experiment.consistency;
    let mut problems = Vec::new();
    let pairs = matches!(experiment.method, MethodConfig::Distillation(_) | MethodConfig::Training);
    if let Some(stage) = &experiment.first_stage {
        // What it shares with the student is reported of the student.
        let shared = ["discretisation.", "init"];
        let own = stage.training(consistency).problems().into_iter();
        let own = own.filter(|problem| !shared.iter().any(|shared| problem.field.starts_with(shared)));
        problems.extend(ranged("first_stage", own.collect()));
        let mut say = |path: &str, message: &str, allowed: &str| {
            problems.push(Problem::new(format!("first_stage{path}"), message, allowed));
        };
        if !pairs {
            say("", "a first stage has the student's method, and this one has no pairs of levels", "None");
        }
        if consistency.segments > 1 {
            say("", "a first stage is consistent over all levels, and the student is not", "None");
        }
        if matches!(stage.curriculum, CurriculumConfig::Halving(_)) {
            say(".curriculum", "only progressive distillation halves its steps", "another curriculum");
        }
        if stage.train.snapshots.is_some() {
            say(".train.snapshots", "only a student's averages are worked out after its run", "None");
        }
    }
    if consistency.truncation.is_some() {
        let mut say = |message: &str, allowed: &str| {
            problems.push(Problem::new("consistency.truncation", message, allowed));
        };
        if !pairs {
            say("only consistency distillation and training can be truncated", "None, or another method");
        }
        if !starts_from_consistency(experiment) {
            let message = "below its level a truncated model is what the student starts from, and that is no \
                           consistency model";
            let allowed =
                "first_stage: (..), mid_training: (..), or teacher: File(..) with a consistency model";
            say(message, allowed);
        }
    }
    problems
}

/// Whether the student's own training begins with the weights of a consistency model.
fn starts_from_consistency(experiment: &ExperimentConfig) -> bool {
    let of_file = match &experiment.teacher {
        TeacherSource::File(config) if experiment.consistency.init == InitConfig::Teacher => {
            // A file that cannot be read is reported on its own.
            WeightsCard::read(&config.path).map_or(true, |card| card.precondition.is_consistency())
        }
        TeacherSource::File(_) | TeacherSource::Trained(_) | TeacherSource::Exact | TeacherSource::None => {
            false
        }
    };
    experiment.first_stage.is_some() || experiment.mid_training.is_some() || of_file
}
