//! Settings that do nothing, and numbers that will say little: told before a study is run.

use crate::experiment_config::{EvaluationConfig, ExperimentConfig, TeacherSource};
use crate::judged::features;
use crate::plan::Plan;
use cm_datasets::Split;
use cm_evaluator::{MetricConfig, MetricKind};
use cm_network::NetworkConfig;

impl Plan {
    /// What is set and has no effect, and what is too small to judge by; each once, with the arms that it is said of.
    pub(crate) fn idle(&self) -> Vec<String> {
        let mut told: Vec<(String, Vec<&str>)> = Vec::new();
        for arm in &self.arms {
            for text in idle(&arm.experiment).into_iter().chain(scant(&arm.experiment, self.shortened_by)) {
                match told.iter_mut().find(|(known, _)| *known == text) {
                    Some((_, arms)) => arms.push(&arm.name),
                    None => told.push((text, vec![&arm.name])),
                }
            }
        }
        let all = |arms: &[&str]| match arms.len() == self.arms.len() {
            true => String::new(),
            false => format!("{}: ", arms.join(", ")),
        };
        let mut lines: Vec<String> = told.iter().map(|(text, arms)| format!("{}{text}", all(arms))).collect();
        if self.arms.len() > 1 && self.seeds.len() == 1 && self.shortened_by == 1 {
            lines.push(
                "one seed: differences between arms cannot be told from chance; seeds: [0, 1, 2] gives a spread"
                    .to_owned(),
            );
        }
        lines
    }
}

/// What has no effect.
fn idle(experiment: &ExperimentConfig) -> Vec<String> {
    let mut lines = attention(experiment);
    let EvaluationConfig { metric, metrics, every_images, every_samples, .. } = &experiment.evaluation;
    if every_samples.is_some() && every_images.is_none() {
        lines.push("evaluation.every_samples does nothing without evaluation.every_images".to_owned());
    }
    let usual = MetricConfig::default();
    let asked = |wanted: &[MetricKind]| metrics.iter().any(|kind| wanted.contains(kind));
    let of_metrics: [(&str, bool, &[MetricKind], &str); 6] = [
        ("kid_groups", metric.kid_groups != usual.kid_groups, &[MetricKind::Kid], "Kid"),
        (
            "neighbours",
            metric.neighbours != usual.neighbours,
            &[MetricKind::Precision, MetricKind::Recall],
            "Precision or Recall",
        ),
        (
            "density_neighbours",
            metric.density_neighbours != usual.density_neighbours,
            &[MetricKind::Density, MetricKind::Coverage],
            "Density or Coverage",
        ),
        ("confidence", metric.confidence != usual.confidence, &[MetricKind::Recognised], "Recognised"),
        (
            "projections",
            metric.projections != usual.projections,
            &[MetricKind::SlicedWasserstein],
            "SlicedWasserstein",
        ),
        ("mode_radius", metric.mode_radius != usual.mode_radius, &[MetricKind::ModeWeights], "ModeWeights"),
    ];
    // Networks of features have the same settings.
    let alone = experiment.evaluation.networks.is_empty();
    let unused = of_metrics.into_iter().filter(|(_, set, kinds, _)| *set && !asked(kinds) && alone);
    lines.extend(unused.map(|(field, _, _, names)| {
        format!("evaluation.metric.{field} does nothing: evaluation.metrics has no {names}")
    }));
    if experiment.teacher_seed != 0 && !matches!(experiment.teacher, TeacherSource::Trained(_)) {
        lines.push("teacher_seed does nothing: no teacher is trained".to_owned());
    }
    lines
}

/// Attention at resolutions that the network does not have.
fn attention(experiment: &ExperimentConfig) -> Vec<String> {
    let (attention, multipliers) = match &experiment.network {
        NetworkConfig::UNet(config) => (&config.attention, &config.multipliers),
        NetworkConfig::Adm(config) => (&config.attention, &config.multipliers),
        NetworkConfig::Edm2(config) => (&config.attention, &config.multipliers),
        NetworkConfig::Mlp(_) => return Vec::new(),
    };
    let Ok(data) = experiment.dataset.outline(Split::Train) else { return Vec::new() };
    let heights: Vec<usize> =
        (0..multipliers.len().min(32)).map(|level| data.shape.height >> level).collect();
    let missing = attention.iter().filter(|height| !heights.contains(height));
    missing
        .map(|height| {
            let heights: Vec<String> = heights.iter().map(usize::to_string).collect();
            format!(
                "network.attention: {height} does nothing: the network's resolutions are {} pixels high",
                heights.join(", ")
            )
        })
        .collect()
}

/// Scores that will say little.
fn scant(experiment: &ExperimentConfig, shortened_by: u64) -> Vec<String> {
    let EvaluationConfig { metrics, samples, .. } = &experiment.evaluation;
    let frechet =
        metrics.iter().any(|kind| matches!(kind, MetricKind::Frechet | MetricKind::FrechetExtrapolated));
    let Ok(data) = experiment.dataset.outline(Split::Train) else { return Vec::new() };
    let count = features(&experiment.dataset, &data);
    let few = frechet && *samples <= count && shortened_by == 1;
    let samples = few.then(|| {
        format!(
            "{samples} samples are no more than the {count} features that they are compared by: their Fréchet distance \
             says little; {} or more do",
            10 * count
        )
    });
    let held_out = experiment.dataset.outline(Split::Test).map_or(usize::MAX, |test| test.len);
    let floor = (frechet && held_out <= count).then(|| {
        format!("{held_out} held-out images are no more than the {count} features: the Fréchet distance of the floor says little")
    });
    samples.into_iter().chain(floor).collect()
}

#[cfg(test)]
mod tests {
    use crate::load::check;

    fn told(base: &str, more: &str) -> Vec<String> {
        let text = format!("(base: ({base}), {more})");
        let plan = check("f.ron".as_ref(), &text).unwrap_or_else(|errors| panic!("{errors}")).plan;
        plan.idle()
    }

    #[test]
    fn attention_at_a_resolution_that_is_not_there_is_told() {
        let network = |attention: &str| format!("network: UNet(multipliers: [1, 2], attention: {attention})");
        assert_eq!(told(&network("[4]"), ""), [""; 0]);
        let expected = "network.attention: 16 does nothing: the network's resolutions are 8, 4 pixels high";
        assert_eq!(told(&network("[16, 8]"), ""), [expected]);
    }

    #[test]
    fn settings_without_what_they_are_of_are_told() {
        let plain = "network: UNet(multipliers: [1, 2], attention: [4])";
        let base =
            format!("{plain}, evaluation: (every_samples: 500, metric: (kid_groups: 5, confidence: 0.8))");
        let expected = [
            "evaluation.every_samples does nothing without evaluation.every_images",
            "evaluation.metric.kid_groups does nothing: evaluation.metrics has no Kid",
        ];
        assert_eq!(told(&base, ""), expected);
        let base =
            format!("{plain}, teacher: None, teacher_seed: 3, method: Training, consistency: (init: Random)");
        assert_eq!(told(&base, ""), ["teacher_seed does nothing: no teacher is trained"]);
    }

    #[test]
    fn samples_that_are_too_few_to_judge_by_are_told() {
        let base = "network: UNet(multipliers: [1, 2], attention: [4]), evaluation: (samples: 64)";
        let of_arms = told(
            base,
            "arms: Star([(name: \"a\", changes: [Segments(1)]), (name: \"b\", changes: [BatchSize(64)])])",
        );
        assert_eq!(of_arms.len(), 2, "{of_arms:?}");
        assert!(of_arms[0].starts_with("64 samples are no more than the 64 features"), "{of_arms:?}");
        assert!(of_arms[1].starts_with("one seed"), "{of_arms:?}");
        assert!(told(base, "shortened_by: 10").is_empty());
    }
}
