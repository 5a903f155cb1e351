//! What is out of range in a [`ConsistencyConfig`].

use crate::{
    AdaptiveConfig, ConsistencyConfig, ContinuousConfig, CurriculumConfig, DistanceConfig, DoublingConfig,
    FeaturesConfig, FixedConfig, ProgressiveConfig, PseudoHuberConfig, ResizedConfig, TargetConfig,
};
use cm_diffusion::{
    CosineConfig, DiscretisationConfig, IndexLawConfig, KarrasConfig, LogNormal, NumLevels, QuantityError,
    SpacingConfig,
};
use cm_training::RangeError;

/// A spacing that cannot be built over its range.
fn spacing_problem(discretisation: &DiscretisationConfig) -> Option<RangeError> {
    // A range that is wrong is reported on its own.
    let range = discretisation.range().ok()?;
    let fits = discretisation.spacing.build(range).is_ok();
    match discretisation.spacing {
        SpacingConfig::Karras(KarrasConfig { rho }) => RangeError::unless(
            fits,
            "discretisation.spacing.rho",
            rho,
            "above 0, and sigma^(1/rho) neither overflows nor vanishes",
        ),
        SpacingConfig::Linear | SpacingConfig::Exponential => None,
        SpacingConfig::Cosine(CosineConfig { scale }) => RangeError::unless(
            fits,
            "discretisation.spacing.scale",
            scale,
            "above 0, and near enough to the levels that their angles differ",
        ),
    }
}

impl ConsistencyConfig {
    /// More levels than there are numbers in their range.
    fn crowded(&self) -> Option<RangeError> {
        let (levels, field) = self.curriculum.most_levels()?;
        let range = self.discretisation.range().ok()?;
        if levels > NumLevels::MOST {
            let field = format!("curriculum.{field}");
            return RangeError::unless(false, &field, levels, "at most 1048576 noise levels");
        }
        let room = range.check_room(NumLevels::new(levels).ok()?);
        RangeError::unless(
            room.is_ok(),
            &format!("curriculum.{field}"),
            levels,
            "as many levels as there are different numbers between sigma_min and sigma_max",
        )
    }

    /// Segments must be there, differ, and fit the curriculum.
    fn segment_problems(&self) -> Option<RangeError> {
        let segments = self.segments;
        let say = |holds, allowed| RangeError::unless(holds, "segments", segments, allowed);
        let differ = |segments: usize| {
            let levels = NumLevels::new(segments.saturating_add(1)).ok()?;
            Some(self.discretisation.range().ok()?.check_room(levels).is_ok())
        };
        let coarse = match self.curriculum {
            CurriculumConfig::Fixed(FixedConfig { num_levels }) => num_levels.saturating_sub(1),
            CurriculumConfig::Progressive(ProgressiveConfig { start, .. }) => start.saturating_sub(1),
            CurriculumConfig::Doubling(DoublingConfig { start, .. }) => start,
            CurriculumConfig::Continuous(_) => usize::MAX,
            CurriculumConfig::Halving(_) => 1,
        };
        say((1..NumLevels::MOST).contains(&segments), "1 to 1048575")
            .or_else(|| say(differ(segments) != Some(false), "as many as there are noise levels, or fewer"))
            .or_else(|| {
                say(segments <= coarse.max(1), "at most the intervals of the curriculum, from its start")
            })
    }

    /// A truncation's own ranges, and what it asks of the rest.
    fn truncation_problems(&self) -> Vec<RangeError> {
        let Some(truncation) = &self.truncation else { return Vec::new() };
        let own = truncation.problems(self.train.batch, &self.discretisation).into_iter();
        let mut problems: Vec<RangeError> = own
            .map(|problem| RangeError { field: format!("truncation.{}", problem.field), ..problem })
            .collect();
        let defaults = ContinuousConfig::default();
        let continuous = match self.curriculum {
            CurriculumConfig::Continuous(config) => {
                (config.mean, config.std) == (defaults.mean, defaults.std)
            }
            CurriculumConfig::Fixed(_)
            | CurriculumConfig::Progressive(_)
            | CurriculumConfig::Doubling(_)
            | CurriculumConfig::Halving(_) => false,
        };
        problems.extend(RangeError::unless(
            continuous,
            "curriculum",
            "given, but a truncated model's levels are of the law of its truncation",
            "Continuous(..) without `mean` and `std`",
        ));
        let segments = self.segments;
        problems.extend(RangeError::unless(segments == 1, "segments", segments, "1 with a truncation"));
        problems
    }

    /// Everything that is out of range, with paths relative to this struct.
    pub fn problems(&self) -> Vec<RangeError> {
        let mut problems: Vec<_> = self
            .train
            .problems()
            .into_iter()
            .map(|problem| RangeError { field: format!("train.{}", problem.field), ..problem })
            .collect();
        let d = &self.discretisation;
        problems.extend(RangeError::unless(
            d.range().is_ok(),
            "discretisation.sigma_min",
            format!("{} (sigma_max {})", d.sigma_min, d.sigma_max),
            "0 < sigma_min < sigma_max, both finite",
        ));
        problems.extend(spacing_problem(d));
        problems.extend(self.crowded());
        match self.curriculum {
            CurriculumConfig::Fixed(FixedConfig { num_levels }) => problems.extend(RangeError::unless(
                num_levels >= 2,
                "curriculum.num_levels",
                num_levels,
                "at least 2 noise levels",
            )),
            CurriculumConfig::Progressive(ProgressiveConfig { start, end }) => {
                problems.extend(RangeError::unless(start >= 2, "curriculum.start", start, "at least 2"));
                problems.extend(RangeError::unless(end >= start, "curriculum.end", end, "at least `start`"));
            }
            CurriculumConfig::Continuous(_) => {}
            CurriculumConfig::Halving(halving) => problems.extend(halving.problems(self.train.steps())),
            CurriculumConfig::Doubling(DoublingConfig { start, end }) => {
                problems.extend(RangeError::unless(start >= 1, "curriculum.start", start, "at least 1"));
                problems.extend(RangeError::unless(end >= start, "curriculum.end", end, "at least `start`"));
            }
        }
        if let CurriculumConfig::Continuous(ContinuousConfig { mean, std, q, k, b, stages }) = self.curriculum
        {
            let checks = [
                (LogNormal::new(mean, std).is_ok(), "std", std, "at least 0, and |mean| + 6 std at most 80"),
                (q > 1.0 && q.is_finite(), "q", q, "above 1"),
                (k >= 0.0 && k.is_finite(), "k", k, "at least 0"),
                (b >= 0.0 && b.is_finite(), "b", b, "at least 0"),
            ];
            problems.extend(checks.into_iter().filter_map(|(holds, field, given, allowed)| {
                RangeError::unless(holds, &format!("curriculum.{field}"), given, allowed)
            }));
            problems.extend(RangeError::unless(
                (1..=ContinuousConfig::MOST_STAGES).contains(&stages),
                "curriculum.stages",
                stages,
                "1 to 1024",
            ));
            problems.extend(RangeError::unless(
                self.index_law == IndexLawConfig::Uniform,
                "index_law",
                "given, but continuous pairs have no intervals",
                "no law, or another curriculum",
            ));
            problems.extend(RangeError::unless(
                !matches!(self.target, TargetConfig::Adaptive(_)),
                "target",
                "adaptive, but continuous pairs have no number of levels to adapt to",
                "StopGradient or Ema(..)",
            ));
        }
        problems.extend(self.segment_problems());
        problems.extend(self.truncation_problems());
        let of_coupling = self.coupling.problems();
        problems.extend(
            of_coupling.map(|problem| RangeError { field: format!("coupling.{}", problem.field), ..problem }),
        );
        let law = d.range().and_then(|range| self.index_law.build(range));
        if let Err(QuantityError::IndexLaw { mean, std }) = law {
            problems.push(RangeError {
                field: "index_law".into(),
                given: format!("a mean of {mean} and a std of {std}"),
                allowed: "std above 0, and a share of the law between sigma_min and sigma_max",
            });
        }
        match self.target {
            TargetConfig::StopGradient => {}
            TargetConfig::Ema(mu) => {
                problems.extend(RangeError::unless((0.0..1.0).contains(&mu), "target", mu, "in [0, 1)"));
            }
            TargetConfig::Adaptive(AdaptiveConfig { start }) => problems.extend(RangeError::unless(
                start > 0.0 && start < 1.0,
                "target.start",
                start,
                "in (0, 1)",
            )),
        }
        match &self.distance {
            DistanceConfig::L1
            | DistanceConfig::L2
            | DistanceConfig::SquaredL2
            // The file's weights are checked where files are read.
            | DistanceConfig::LInfinity
            | DistanceConfig::Lpips(_) => {}
            &DistanceConfig::ResizedSquaredL2(ResizedConfig { side }) => {
                problems.extend(RangeError::unless(
                    (1..=ResizedConfig::MOST_SIDE).contains(&side),
                    "distance.side",
                    side,
                    "1 to 4096 pixels",
                ));
            }
            &DistanceConfig::PseudoHuber(PseudoHuberConfig { c }) => problems.extend(
                c.and_then(|c| RangeError::unless(c > 0.0 && c.is_finite(), "distance.c", c, "above 0")),
            ),
            &DistanceConfig::Features(FeaturesConfig { channels, train_images, pixels }) => {
                problems.extend(RangeError::unless(
                    (1..=FeaturesConfig::MOST_CHANNELS).contains(&channels),
                    "distance.channels",
                    channels,
                    "1 to 1024",
                ));
                problems.extend(RangeError::unless(
                    (1..=FeaturesConfig::MOST_IMAGES).contains(&train_images),
                    "distance.train_images",
                    train_images,
                    "1 to 2^30 images",
                ));
                problems.extend(RangeError::unless(
                    pixels >= 0.0 && pixels.is_finite(),
                    "distance.pixels",
                    pixels,
                    "0 or above",
                ));
            }
        }
        problems
    }
}
