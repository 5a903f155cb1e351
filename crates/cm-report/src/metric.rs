//! What a score is, by its name: what it measures, which way is better, and whether scores of different counts compare.

use cm_evaluator::{Diversity, MetricKind, SetMetric};

/// A score that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    /// Of a study's own judge.
    Judge(MetricKind),
    /// By an Inception network.
    Inception(SetMetric),
    /// How varied samples are, by LPIPS.
    Diversity,
}

impl Metric {
    /// The metric of a score such as `frechet` or `frechet-1000`, and the name without its number of samples.
    fn of(name: &str) -> Option<(Self, &str)> {
        let stem = name
            .rsplit_once('-')
            .filter(|(_, count)| count.parse::<usize>().is_ok())
            .map_or(name, |(stem, _)| stem);
        let by_judge = MetricKind::ALL.into_iter().find(|kind| kind.stems().contains(&stem));
        let by_inception = || SetMetric::of_inception(stem).map(Self::Inception);
        let by_lpips = || (stem == Diversity::NAME).then_some(Self::Diversity);
        let metric = by_judge.map(Self::Judge).or_else(by_inception).or_else(by_lpips);
        metric.map(|metric| (metric, stem))
    }
}

/// Whether a higher score of this name, such as `frechet-1000`, is a better one; `None` if it is no score's name, or of
/// neither that can be said.
pub(super) fn higher_is_better(name: &str) -> Option<bool> {
    match Metric::of(name)?.0 {
        Metric::Judge(kind) => kind.higher_is_better(),
        Metric::Inception(metric) => metric.higher_is_better(),
        Metric::Diversity => None,
    }
}

/// Whether scores of this name compare only where they are of as many samples.
pub(super) fn depends_on_count(name: &str) -> bool {
    match Metric::of(name) {
        Some((Metric::Judge(kind), _)) => kind.depends_on_count(),
        Some((Metric::Inception(metric), _)) => metric.depends_on_count(),
        // A mean over pairs.
        Some((Metric::Diversity, _)) => false,
        // Of what is not known nothing is claimed.
        None => true,
    }
}

/// Which way is better, in words; nothing where neither is.
pub(super) fn goal(name: &str) -> &'static str {
    match higher_is_better(name) {
        Some(true) => "higher is better",
        Some(false) => "lower is better",
        None => "",
    }
}

/// What a score measures, as a phrase; nothing of a name that is none.
pub(super) fn definition(name: &str) -> Option<&'static str> {
    let (metric, stem) = Metric::of(name)?;
    Some(match metric {
        Metric::Judge(kind) => match kind {
            MetricKind::Frechet => {
                "distance between normal laws fitted to the judge's features of samples and of training images; it falls with the number of samples"
            }
            MetricKind::FrechetExtrapolated => "the Fréchet distance that infinitely many samples would have",
            MetricKind::Kid => {
                "kernel distance of the judge's features: squared maximum mean discrepancy, without bias"
            }
            MetricKind::Precision => "share of samples within the neighbourhoods of real images",
            MetricKind::Recall => "share of real images within the neighbourhoods of samples",
            MetricKind::Density => {
                "mean number of neighbourhoods of real images about a sample, 1 where both laws are the same"
            }
            MetricKind::Coverage => "share of the neighbourhoods of real images with a sample in them",
            MetricKind::Copied => {
                "share of samples nearer to a training image than its nearest neighbour in training; best where held-out images have it"
            }
            MetricKind::Recognised => {
                "share of samples of whose class the judge, a small classifier, is sure"
            }
            MetricKind::ClassHistogram => {
                "total variation distance between the classes that the judge sees in samples and in real images"
            }
            MetricKind::EndpointRmse if stem == "endpoint-median" => {
                "median distance of a sample from where its noise should have led"
            }
            MetricKind::EndpointRmse => {
                "root mean square distance of a sample from where its noise should have led"
            }
            MetricKind::SlicedWasserstein => {
                "Wasserstein-2 distance between the values of samples and of real images, over lines through them"
            }
            MetricKind::ModeWeights if stem == "off-mode" => {
                "share of samples that lie on no mode of the mixture"
            }
            MetricKind::ModeWeights => {
                "total variation distance between the shares of samples on the modes of the mixture and the true ones"
            }
        },
        Metric::Diversity => "mean LPIPS of random pairs of samples; best where held-out images have it",
        Metric::Inception(metric) => match metric {
            SetMetric::Frechet => {
                "distance between normal laws fitted to the Inception network's features of samples and of real images; it falls with the number of samples"
            }
            SetMetric::SpatialFrechet => "the same distance of the network's spatial features",
            SetMetric::ClassScore => {
                "how sure the Inception network is of each sample's class, and how many classes it sees"
            }
            SetMetric::Precision => {
                "share of samples within the neighbourhoods of real images, by Inception features"
            }
            SetMetric::Recall => {
                "share of real images within the neighbourhoods of samples, by Inception features"
            }
            SetMetric::Kid => {
                "kernel distance of Inception features: squared maximum mean discrepancy, without bias"
            }
            SetMetric::Density => {
                "mean number of neighbourhoods of real images about a sample, by Inception features"
            }
            SetMetric::Coverage => {
                "share of the neighbourhoods of real images with a sample in them, by Inception features"
            }
            SetMetric::Copied => {
                "share of samples nearer to a training image than its nearest neighbour in training, by Inception features"
            }
            SetMetric::Recognised => "share of samples of whose class the Inception network is sure",
            SetMetric::ClassHistogram => {
                "total variation distance between the classes that the Inception network sees in samples and in real images"
            }
            SetMetric::FrechetExtrapolated => {
                "the Fréchet distance of Inception features that infinitely many samples would have"
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_scores_are_known_with_and_without_their_counts() {
        let names = ["frechet-1000", "off-mode-50", "fid-50000", "inception-score-50000", "gradient_norm"];
        assert_eq!(names.map(higher_is_better), [Some(false), Some(false), Some(false), Some(true), None]);
        assert_eq!(names.map(depends_on_count), [true, true, true, true, true]);
        assert!(!depends_on_count("recognised") && !depends_on_count("frechet-extrapolated-64"));
        assert_ne!(definition("endpoint-rmse"), definition("endpoint-median"));
        assert_eq!(definition("loss"), None);
    }

    /// The page once showed a column of it without a word.
    #[test]
    fn the_variety_of_samples_is_defined_and_neither_way_is_better() {
        assert!(definition("lpips-diversity-1000").is_some_and(|phrase| phrase.contains("LPIPS")));
        assert_eq!(higher_is_better("lpips-diversity-1000"), None);
        assert!(!depends_on_count("lpips-diversity-1000"));
    }

    #[test]
    fn every_score_of_a_study_is_defined_and_the_phrases_differ() {
        let stems = || MetricKind::ALL.into_iter().flat_map(MetricKind::stems);
        let phrases: std::collections::BTreeSet<&str> =
            stems().map(|stem| definition(stem).unwrap_or_else(|| panic!("{stem}"))).collect();
        assert_eq!(phrases.len(), stems().count());
    }
}
