//! What is wrong with how samples are to be drawn and judged.

use crate::experiment_config::{EvaluationConfig, ExperimentConfig};
use crate::problem::Problem;
use crate::{check_samplers, feature_network};
use cm_datasets::{DatasetConfig, Split};
use cm_evaluator::{MetricConfigError, MetricKind, Needs};

/// What is wrong with the evaluation, with paths inside the experiment.
pub(crate) fn problems(experiment: &ExperimentConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    let EvaluationConfig { samples, metrics, metric, every_images, every_samples, networks, .. } =
        &experiment.evaluation;
    problems.extend(check_samplers::problems(experiment));
    let mut say = |path: &str, message: String, allowed: &str| {
        problems.push(Problem::new(format!("evaluation.{path}"), message, allowed));
    };
    if *samples == 0 || *samples > EvaluationConfig::MOST_SAMPLES {
        let allowed = format!("1 to {}", EvaluationConfig::MOST_SAMPLES);
        say("samples", format!("samples is {samples}"), &allowed);
    }
    if *every_images == Some(0) {
        say("every_images", "every_images is 0".into(), "at least 1 image, or None");
    }
    if let Some(few) = *every_samples
        && (few == 0 || few > EvaluationConfig::MOST_SAMPLES)
    {
        let allowed = format!("1 to {}, or None", EvaluationConfig::MOST_SAMPLES);
        say("every_samples", format!("every_samples is {few}"), &allowed);
    }
    // Who draws the fewest is to blame where they are too few.
    let fewest_samples = experiment.evaluation.fewest_samples();
    let few = if fewest_samples < *samples { "every_samples" } else { "samples" };
    for error in metric.problems() {
        let field = match error {
            MetricConfigError::Count { field, .. } => field,
            MetricConfigError::Confidence(_) => "confidence",
            MetricConfigError::ModeRadius(_) => "mode_radius",
        };
        say(&format!("metric.{field}"), error.to_string(), "");
    }
    let test_len = experiment.dataset.outline(Split::Test).map_or(usize::MAX, |data| data.len);
    for (index, kind) in metrics.iter().enumerate() {
        let path = format!("metrics[{index}]");
        if metrics[..index].contains(kind) {
            say(&path, format!("metric {kind:?} is given twice"), "each metric once");
        }
        if !fits(&experiment.dataset, kind.needs()) {
            let message = format!("metric {kind:?} needs {}, which these data do not have", kind.needs());
            let fitting = MetricKind::ALL.into_iter().filter(|kind| fits(&experiment.dataset, kind.needs()));
            let names: Vec<String> = fitting.map(|kind| format!("{kind:?}")).collect();
            say(&path, message, &names.join(", "));
        }
        let fewest = kind.min_images(metric);
        if fewest_samples < fewest {
            let message = format!("{fewest_samples} samples are too few for metric {kind:?}");
            say(few, message, &format!("at least {fewest}"));
        }
        if test_len < fewest {
            let message = format!("metric {kind:?} needs {fewest} test images, but there are {test_len}");
            say(&path, message, "another metric or more test images");
        }
    }
    let of_networks = feature_network::problems(networks, (fewest_samples, metric), &experiment.dataset);
    problems.extend(
        of_networks
            .into_iter()
            .map(|problem| Problem { path: format!("evaluation.{}", problem.path), ..problem }),
    );
    problems
}

/// Whether data have what a metric needs.
fn fits(dataset: &DatasetConfig, needs: Needs) -> bool {
    match needs {
        Needs::Features | Needs::Nothing => true,
        // Of data that cannot be read nothing is known, and that is told already.
        Needs::Classifier => dataset.has_classes() || dataset.outline(Split::Train).is_err(),
        Needs::ExactEndpoint | Needs::Modes => matches!(dataset, DatasetConfig::GaussianMixture(_)),
    }
}
