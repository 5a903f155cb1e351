//! What each method asks of the settings of the consistency model.

use crate::experiment_config::{ExperimentConfig, MethodConfig};
use crate::problem::{Problem, ranged};
use cm_consistency::{ConsistencyConfig, CurriculumConfig, FixedConfig, TargetConfig};

/// What does not fit an experiment's method.
pub(crate) fn problems(experiment: &ExperimentConfig) -> Vec<Problem> {
    let consistency = &experiment.consistency;
    let mut problems = Vec::new();
    let mut say = |path: &str, message: String, allowed: &str| {
        problems.push(Problem::new(format!("consistency.{path}"), message, allowed));
    };
    if !consistency.coupling.is_independent() {
        if experiment.method != MethodConfig::Training {
            let message = "only consistency training makes both points of a pair of one image".to_owned();
            say("coupling", message, "Independent, or method: Training");
        }
        if consistency.segments > 1 {
            let message =
                "a model of several segments makes no images, but where trajectories leave them".to_owned();
            say("coupling", message, "Independent, or one segment");
        }
    }
    let halving = matches!(consistency.curriculum, CurriculumConfig::Halving(_));
    let mut plain = |method: &str| {
        if consistency.segments > 1 {
            say("segments", format!("{method} has no segments"), "1");
        }
    };
    match &experiment.method {
        MethodConfig::Distillation(_) | MethodConfig::Training => {
            if halving {
                let message = "only progressive distillation halves its steps".to_owned();
                say("curriculum", message, "another curriculum, or method: ProgressiveDistillation");
            }
        }
        MethodConfig::ProgressiveDistillation => {
            plain("progressive distillation");
            if !halving {
                let message = "progressive distillation halves its steps from stage to stage".to_owned();
                say("curriculum", message, "Halving(start: .., end: ..)");
            }
            if consistency.target != TargetConfig::StopGradient {
                let message = "progressive distillation has its teacher for a target".to_owned();
                say("target", message, "StopGradient, the default");
            }
            if consistency.train.snapshots.is_some() {
                let message = "averages over a run whose weights begin anew are of no use".to_owned();
                say("train.snapshots", message, "None");
            }
        }
        MethodConfig::TwoTime(two_time) => {
            plain("a model of two times");
            if !matches!(consistency.curriculum, CurriculumConfig::Fixed(_)) {
                let message = "a model of two times has no levels, so none of their curricula".to_owned();
                say("curriculum", message, "Fixed(..), the default");
            }
            problems.extend(ranged("method", two_time.problems(consistency.train.batch)));
        }
        MethodConfig::ContinuousDistillation(config) | MethodConfig::ContinuousTraining(config) => {
            for (field, what) in given(consistency) {
                let message = format!("continuous time has no {what}");
                say(field, message, "the default; what decides the loss is in `method`");
            }
            problems.extend(ranged("method", config.problems()));
        }
        MethodConfig::InductiveMomentMatching(config) => {
            for (field, what) in given(consistency).into_iter().filter(|(field, _)| *field != "target") {
                let message = format!("inductive moment matching has no {what}");
                say(field, message, "the default; what decides the loss is in `method`");
            }
            problems.extend(ranged("method", config.problems(&consistency.train)));
        }
        MethodConfig::Shortcut(shortcut) => {
            plain("a shortcut model");
            let levels = match consistency.curriculum {
                CurriculumConfig::Fixed(FixedConfig { num_levels }) => Some(num_levels),
                CurriculumConfig::Progressive(_)
                | CurriculumConfig::Doubling(_)
                | CurriculumConfig::Continuous(_)
                | CurriculumConfig::Halving(_) => None,
            };
            if !levels.is_some_and(|levels| levels >= 3 && (levels - 1).is_power_of_two()) {
                let message = "a shortcut model doubles its steps".to_owned();
                say("curriculum", message, "Fixed(num_levels: ..) with a power of two and one, at least 3");
            }
            let batch = consistency.train.batch;
            problems.extend(ranged("method", shortcut.problems(batch).into_iter().collect()));
        }
    }
    problems
}

/// What decides the loss of pairs of levels and is given: its field and what it is.
fn given(consistency: &ConsistencyConfig) -> Vec<(&'static str, &'static str)> {
    let default = ConsistencyConfig::default();
    let all = [
        ("curriculum", consistency.curriculum == default.curriculum, "curriculum"),
        ("index_law", consistency.index_law == default.index_law, "law of intervals"),
        ("target", consistency.target == default.target, "averaged target"),
        ("distance", consistency.distance == default.distance, "distance of outputs"),
        ("weighting", consistency.weighting == default.weighting, "weight of pairs"),
        ("segments", consistency.segments == default.segments, "segments"),
    ];
    all.into_iter().filter(|(_, kept, _)| !kept).map(|(field, _, what)| (field, what)).collect()
}
