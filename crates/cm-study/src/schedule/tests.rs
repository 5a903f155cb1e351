use super::*;
use cm_consistency::{
    ContinuousConfig, DoublingConfig, FixedConfig, HalvingConfig, ProgressiveConfig, TargetConfig,
};

fn experiment(curriculum: CurriculumConfig, batch: usize, total_images: u64) -> ExperimentConfig {
    let mut experiment = ExperimentConfig { method: MethodConfig::Training, ..Default::default() };
    experiment.consistency.curriculum = curriculum;
    experiment.consistency.train.batch = batch;
    experiment.consistency.train.total_images = total_images;
    experiment
}

fn plan(experiment: ExperimentConfig) -> Plan {
    let arm = crate::PlannedArm { name: "a".into(), experiment };
    Plan { question: String::new(), seeds: vec![0], shortened_by: 1, arms: vec![arm] }
}

/// Eight phases of equal length, 10 to 1280 intervals: Song and Dhariwal 2024, Section 3.4.
#[test]
fn a_doubling_curriculum_has_a_line_for_each_phase() {
    let doubling = CurriculumConfig::Doubling(DoublingConfig::default());
    let found = student(&experiment(doubling, 1024, 1024 * 4_000));
    let phases: Vec<(u64, u64, String)> =
        found.iter().map(|s| (s.from_image / 1024, s.steps, s.levels.to_string())).collect();
    let expected = |phase: u64| (500 * phase, 500, (10 * (1 << phase) + 1).to_string());
    assert_eq!(phases, (0..8).map(expected).collect::<Vec<_>>());
    assert_eq!(found[3].steps_per_interval(), Some(500.0 / 80.0));
}

#[test]
fn a_progressive_curriculum_has_a_line_for_each_doubling_and_none_is_lost() {
    let progressive = CurriculumConfig::Progressive(ProgressiveConfig { start: 2, end: 30 });
    let found = student(&experiment(progressive, 10, 10_000));
    let levels: Vec<String> = found.iter().map(|s| s.levels.to_string()).collect();
    assert_eq!(levels, ["2", "3-4", "5-8", "9-16", "17-31"]);
    assert_eq!(found.iter().map(|s| s.steps).sum::<u64>(), 1_000);
    assert!(found.windows(2).all(|pair| pair[0].to_image == pair[1].from_image));
    assert_eq!((found[0].from_image, found[4].to_image), (0, 10_000));
}

/// Looking at every step, as was done until plans of 10^12 images did not end.
#[test]
fn a_few_looks_find_what_looking_at_every_step_finds() {
    let curricula = [
        CurriculumConfig::Fixed(FixedConfig { num_levels: 6 }),
        CurriculumConfig::Progressive(ProgressiveConfig { start: 2, end: 150 }),
        CurriculumConfig::Progressive(ProgressiveConfig { start: 3, end: 3 }),
        CurriculumConfig::Doubling(DoublingConfig { start: 5, end: 70 }),
        CurriculumConfig::Continuous(ContinuousConfig::default()),
        CurriculumConfig::Halving(HalvingConfig { start: 16, end: 1 }),
    ];
    for (curriculum, images) in curricula.into_iter().flat_map(|c| [(c, 3), (c, 70), (c, 4_999)]) {
        let found = student(&experiment(curriculum, 7, images));
        let mut steps = 0;
        for stretch in &found {
            let begin = one_step(curriculum, steps, images);
            let end = steps + stretch.steps;
            for step in steps..end {
                let last = one_step(curriculum, step, images);
                assert!(begin.joined(last).is_some(), "{curriculum:?} at {step}");
            }
            let joined = begin.joined(one_step(curriculum, end - 1, images));
            assert_eq!(joined, Some(stretch.levels), "{curriculum:?}");
            if end * 7 < images {
                assert!(begin.joined(one_step(curriculum, end, images)).is_none(), "{curriculum:?}");
            }
            steps = end;
        }
        assert_eq!(steps, images.div_ceil(7), "{curriculum:?}");
    }
}

/// The levels of one step alone.
fn one_step(curriculum: CurriculumConfig, step: u64, images: u64) -> Levels {
    let total_images = images.div_ceil(7) * 7;
    let curriculum = Curriculum { levels: curriculum, target: TargetConfig::StopGradient };
    match curriculum.at(Progress { step, images: step * 7, total_images }).0 {
        Spacing::Levels(levels) => Levels::Grid { first: levels.intervals(), last: levels.intervals() },
        Spacing::Stage(stage) => Levels::Gap(2f64.powi(-(stage as i32 + 1))),
    }
}

#[test]
fn the_rule_of_steps_per_interval() {
    for (batch, wanted) in [(1, 200.0), (128, 200.0), (1024, 40.0), (4096, 40.0), (362, 89.45)] {
        assert!((wanted_steps_per_interval(batch) - wanted).abs() < 0.05, "{batch}");
    }
}

#[test]
fn a_phase_too_short_for_its_levels_is_warned_of_with_the_rule() {
    let fixed = |num_levels| CurriculumConfig::Fixed(FixedConfig { num_levels });
    // 2,000 steps on 10 intervals are 200 each, on 11 they are 182.
    assert!(plan(experiment(fixed(11), 100, 200_000)).hasty().is_empty());
    let warnings = plan(experiment(fixed(12), 100, 200_000)).hasty();
    assert_eq!(warnings.len(), 1);
    for part in ["arm a: 182 steps", "N is 12", "images 0 to 200000", "batch of 100 wants 200", RULE] {
        assert!(warnings[0].contains(part), "{part}: {warnings:?}");
    }
    let mut distilled = experiment(fixed(12), 100, 200_000);
    distilled.method = MethodConfig::default();
    assert!(plan(distilled).hasty().is_empty());
}

#[test]
fn arms_that_agree_share_their_lines() {
    let experiment = experiment(CurriculumConfig::default(), 512, 512_000);
    let arm = |name: &str| crate::PlannedArm { name: name.into(), experiment: experiment.clone() };
    let arms = vec![arm("a"), arm("b")];
    let table = Plan { question: String::new(), seeds: vec![0], shortened_by: 1, arms }.schedule();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "header, rule, teacher, students: {table}");
    assert!(lines[2].starts_with("| teacher |") && lines[3].starts_with("| a, b    |"), "{table}");
    assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{table}");
}
