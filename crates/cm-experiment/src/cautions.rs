//! Where the numbers of a study say little: told beside them, by `cm run`, `cm table` and the report.

use crate::table::ReportRow;
use cm_datasets::Split;
use cm_evaluator::MetricKind;
use cm_study::{ExperimentConfig, FeatureNetworkConfig, INCEPTION_FEATURES, InceptionConfig, Plan, features};

/// The share of held-out images below which a judge's verdicts say little; every sample's is compared with it.
const LEAST_RECOGNISED: f64 = 0.9;

/// What to bear in mind about the numbers of a study, as sentences; `rows` are those that are there.
pub fn cautions(plan: &Plan, rows: &[ReportRow]) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    if plan.seeds.len() == 1 {
        let differences = if plan.arms.len() > 1 { "differences between arms" } else { "its numbers" };
        told.push(format!("one seed: nothing says how far {differences} would be others with another"));
    }
    if plan.shortened_by > 1 {
        told.push(format!(
            "shortened {} times: a rehearsal of every step of the way, whose numbers say nothing of the method",
            plan.shortened_by
        ));
    }
    if rows.iter().any(|row| row.stem().starts_with("other-inception-")) {
        told.push(
            "the Inception network has other weights than the published ones: its numbers are no FID, sFID or inception \
             score, and compare only with numbers by the same file"
                .to_owned(),
        );
    }
    let mut once = |caution: String| {
        if !told.contains(&caution) {
            told.push(caution);
        }
    };
    plan.arms.iter().flat_map(|arm| covariance(&arm.experiment)).for_each(&mut once);
    let recognised = |row: &&ReportRow| row.model == "floor" && row.stem() == "recognised";
    for row in rows.iter().filter(recognised).filter(|row| row.value < LEAST_RECOGNISED) {
        once(format!(
            "the judge is sure of {:.0}% of {} held-out images only: what it recognises and by which features it compares \
             say little of these data",
            100.0 * row.value,
            row.samples
        ));
    }
    told
}

/// Counts of images that are no more than the features of which a covariance is made.
fn covariance(experiment: &ExperimentConfig) -> Vec<String> {
    let of_covariance = |metric: &MetricKind| match metric {
        MetricKind::Frechet | MetricKind::FrechetExtrapolated => true,
        MetricKind::Kid
        | MetricKind::Precision
        | MetricKind::Recall
        | MetricKind::Density
        | MetricKind::Coverage
        | MetricKind::Copied
        | MetricKind::Recognised
        | MetricKind::ClassHistogram
        | MetricKind::EndpointRmse
        | MetricKind::SlicedWasserstein
        | MetricKind::ModeWeights => false,
    };
    let Ok(data) = experiment.dataset.outline(Split::Train) else { return Vec::new() };
    let evaluation = &experiment.evaluation;
    let by_judge = evaluation.metrics.iter().any(of_covariance).then(|| features(&experiment.dataset, &data));
    let mut inceptions = evaluation.networks.iter().filter_map(FeatureNetworkConfig::inception);
    let by_network = inceptions.any(InceptionConfig::wants_statistics).then_some(INCEPTION_FEATURES);
    let counts = [("samples", evaluation.samples), ("training images", data.len)];
    let told = |features: usize| {
        counts.into_iter().filter(move |&(_, count)| count <= features).map(move |(what, count)| {
            format!(
                "{count} {what} for {features} features: their covariance is singular, and a Fréchet distance is mostly bias"
            )
        })
    };
    by_judge.into_iter().chain(by_network).flat_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_study::PlannedArm;

    fn plan(samples: usize, seeds: &[u64]) -> Plan {
        let mut experiment = ExperimentConfig::default();
        experiment.evaluation.samples = samples;
        let arms = vec![PlannedArm { name: "cd".into(), experiment }];
        Plan { question: String::new(), seeds: seeds.to_vec(), shortened_by: 1, arms }
    }

    fn floor(recognised: f64) -> ReportRow {
        ReportRow {
            arm: "-".into(),
            seed: 0,
            model: "floor".into(),
            sampler: "-".into(),
            nfe: 0,
            metric: "recognised-297".into(),
            value: recognised,
            samples: 297,
        }
    }

    #[test]
    fn numbers_that_say_little_are_told_once_and_others_are_not() {
        assert!(cautions(&plan(65, &[0, 1]), &[floor(0.9), floor(0.97)]).is_empty());
        let told = cautions(&plan(64, &[0]), &[floor(0.711), floor(0.711)]);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("one seed"), "{told:?}");
        assert!(told[1].starts_with("64 samples for 64 features"), "{told:?}");
        assert!(told[2].starts_with("the judge is sure of 71% of 297 held-out images"), "{told:?}");
    }
}
