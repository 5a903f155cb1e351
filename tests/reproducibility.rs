//! The same plan gives the same bits: twice, with any number of threads, on AVX2 as on AVX-512, and stopped anywhere and
//! resumed.

use crate::util::{cm, ring, root, scratch};
use cm_consistency::{ContinuousLossConfig, TangentConfig};
use cm_experiment::{RunOutcome, resume, run};
use cm_flow_map::TwoTimeTarget;
use cm_host::{Progress, Silent, StopFlag};
use cm_study::{MethodConfig, load};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Everything of a study's folder that must not differ: weights, checkpoints, curves, scores, pictures.
pub(crate) fn results(study: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
                continue;
            }
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            let keeps = [".safetensors", "metrics.jsonl", ".csv", ".png", ".md"];
            if keeps.iter().any(|end| name.ends_with(end)) {
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(study, study, &mut found);
    found
}

pub(crate) fn assert_same(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>, what: &str) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{what}: other files");
    for (name, bytes) in a {
        assert!(*bytes == b[name], "{what}: {name} differs");
    }
}

/// Asks to stop after so many reports of progress.
pub(crate) struct StopAfter {
    pub(crate) left: u32,
    pub(crate) stop: StopFlag,
}

impl Progress for StopAfter {
    fn phase(&mut self, _: &str, _: u64) {}
    fn advance(&mut self, _: u64, _: Option<f64>) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.stop.request();
        }
    }
    fn note(&mut self, _: &str) {}
    fn finish_phase(&mut self) {}
}

/// Where there is AVX-512, the second run with two threads takes AVX2 instead.
#[test]
fn the_same_plan_gives_the_same_bits_with_1_2_and_3_threads_and_on_avx2_as_on_avx512() {
    let folder = tempfile::tempdir().unwrap();
    #[cfg(target_arch = "x86_64")]
    let narrower = is_x86_feature_detected!("avx512f").then_some("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    let narrower = None;
    let mut all = Vec::new();
    for (out, threads, isa) in
        [("one", "1", None), ("two", "2", None), ("three", "3", None), ("again", "2", narrower)]
    {
        let out = folder.path().join(out);
        let mut command = cm(&root());
        command.args(["run", "experiments/smoke.ron", "--threads", threads, "--out"]).arg(&out);
        command.envs(isa.map(|isa| ("CM_ISA", isa))).assert().success();
        all.push(results(&out.join("smoke")));
    }
    assert!(all[0].len() > 15, "{:?}", all[0].keys());
    for (index, other) in all.iter().enumerate().skip(1) {
        assert_same(&all[0], other, &format!("run {index}"));
    }
}

#[test]
fn a_run_that_is_stopped_anywhere_and_resumed_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let study = load(&root().join("experiments/smoke.ron")).unwrap();
    let straight = folder.path().join("straight");
    run(&study, &straight, &StopFlag::new(), &mut Silent).unwrap();
    let expected = results(&straight.join("smoke"));
    // In the first step, in mid-teacher, in its last step, while it is scored, in a student, again and again.
    for stops in [[1, 6, 13, 1], [19, 1, 5, 2], [27, 3, 11, 2]] {
        let out = folder.path().join(format!("stopped-{stops:?}"));
        let mut outcome = None;
        for &left in &stops {
            let stop = StopFlag::new();
            let mut progress = StopAfter { left, stop: stop.clone() };
            let dir = out.join("smoke");
            outcome = Some(if dir.exists() {
                resume(&dir, &stop, &mut progress).unwrap()
            } else {
                run(&study, &out, &stop, &mut progress).unwrap()
            });
        }
        assert!(matches!(outcome, Some(RunOutcome::Stopped { .. })), "{stops:?}: {outcome:?}");
        let end = resume(&out.join("smoke"), &StopFlag::new(), &mut Silent).unwrap();
        assert!(matches!(end, RunOutcome::Finished { .. }), "{stops:?}: {end:?}");
        assert_same(&expected, &results(&out.join("smoke")), &format!("stopped at {stops:?}"));
    }
}

/// An arm for each way to make a model, on points, by steps of 32 images.
const EVERY_METHOD: &str = "arms: Star([
        (name: \"cd\", changes: []),
        (name: \"ct\", changes: [Method(Training)]),
        (name: \"progressive\", changes: [Method(ProgressiveDistillation), Curriculum(Halving(start: 4)),
            Samplers([Jumps(steps: 1), Jumps(steps: 4)])]),
        (name: \"shortcut\", changes: [Method(Shortcut()), Curriculum(Fixed(num_levels: 9)),
            Samplers([Jumps(steps: 1), Jumps(steps: 8)])]),
        (name: \"segments\", changes: [Segments(2), Samplers([Jumps(steps: 2)])]),
        (name: \"mid-training\", changes: [MidTraining(
            train: (total_images: 128, batch: 32, shards: 1, ema: [PerStep(0.9)]), trajectories: 40)]),
        (name: \"coupled\", changes: [Method(Training), Coupling(GeneratorAugmented())]),
        (name: \"truncated\", changes: [Method(Training), Curriculum(Continuous()), FirstStage(Some(
            train: (total_images: 128, batch: 32, shards: 1, ema: [PerStep(0.9)]), curriculum: Continuous(stages: 2))),
            Truncation(Some()), Samplers([OneStep, Multistep(times: [0.4])])]),
        (name: \"imm\", changes: [Method(InductiveMomentMatching()), Curriculum(Fixed()), Samplers([Jumps(steps: 2)])]),
        (name: \"meanflow\", changes: [Method(TwoTime()), Samplers([Jumps(steps: 1)])]),
        (name: \"improved-meanflow\", changes: [Method(TwoTime(target: ImprovedMeanFlow(), velocity: Teacher)),
            Samplers([Jumps(steps: 1)])]),
        (name: \"soflow\", changes: [Method(TwoTime(target: SoFlow(), loss: (over: Mean))), Samplers([Jumps(steps: 1)])]),
        (name: \"alphaflow\", changes: [Method(TwoTime(target: AlphaFlow(), loss: (power: 1))),
            Samplers([Jumps(steps: 1)])]),
        (name: \"split-meanflow\", changes: [Method(TwoTime(target: SplitMeanFlow, equal_share: 0.5)), Target(Ema(0.9)),
            Samplers([Jumps(steps: 3)])]),
        (name: \"transition\", changes: [Method(TwoTime(target: TransitionModel(), path: Trig)),
            Samplers([Jumps(steps: 1)])]),
        (name: \"ayf\", changes: [Method(TwoTime(target: AlignYourFlow(), velocity: Teacher)),
            Samplers([Jumps(steps: 1)])]),
        (name: \"scd\", changes: [Method(ContinuousDistillation()), Curriculum(Fixed())]),
        (name: \"sct\", changes: [Method(ContinuousTraining()), Curriculum(Fixed())]),
        (name: \"sct-forward\", changes: [Method(ContinuousTraining(tangent: Forward)), Curriculum(Fixed())]),
        (name: \"meanflow-forward\", changes: [Method(TwoTime(target: MeanFlow(tangent: Forward))),
            Samplers([Jumps(steps: 1)])]),
        (name: \"autoguided\", changes: [Teacher(Trained(train: (total_images: 128, batch: 32,
            shards: 1, ema: [PerStep(0.9)]))), Guidance(weight: 2), Guide(Weaker(total_images: 64))]),
        (name: \"full\", changes: [Method(ContinuousDistillation(loss: Full(L1), time: Uniform)), Curriculum(Fixed())]),
    ]),";

/// The arm that tries a method; a new one must be given its own before this compiles.
fn arm_of(method: &MethodConfig) -> &'static str {
    match method {
        MethodConfig::Distillation(_) => "cd",
        MethodConfig::Training => "ct",
        MethodConfig::ProgressiveDistillation => "progressive",
        MethodConfig::Shortcut(_) => "shortcut",
        MethodConfig::InductiveMomentMatching(_) => "imm",
        MethodConfig::TwoTime(two_time) => match two_time.target {
            TwoTimeTarget::MeanFlow(config) => match config.tangent {
                TangentConfig::Central(_) => "meanflow",
                TangentConfig::Forward => "meanflow-forward",
            },
            TwoTimeTarget::ImprovedMeanFlow(_) => "improved-meanflow",
            TwoTimeTarget::SoFlow(_) => "soflow",
            TwoTimeTarget::AlphaFlow(_) => "alphaflow",
            TwoTimeTarget::SplitMeanFlow => "split-meanflow",
            TwoTimeTarget::TransitionModel(_) => "transition",
            TwoTimeTarget::AlignYourFlow(_) => "ayf",
        },
        MethodConfig::ContinuousDistillation(config) => match config.loss {
            ContinuousLossConfig::StopGradient(_) => "scd",
            ContinuousLossConfig::Full(_) => "full",
        },
        MethodConfig::ContinuousTraining(config) => match config.tangent {
            TangentConfig::Central(_) => "sct",
            TangentConfig::Forward => "sct-forward",
        },
    }
}

/// The methods are those that the program lists to somebody who asks for another.
#[test]
fn every_method_has_an_arm() {
    let text = ring(64, "").replace("teacher: Exact,", "teacher: Exact, method: Another,");
    let errors = cm_study::check("study.ron".as_ref(), &text).unwrap_err().to_string();
    let allowed = errors.split("allowed: ").nth(1).unwrap().lines().next().unwrap();
    let methods: Vec<&str> = allowed.split(", ").collect();
    assert!(methods.len() >= 7 && methods[0] == "Distillation", "{errors}");
    for method in &methods[1..] {
        assert!(EVERY_METHOD.contains(&format!("Method({method}")), "no arm tries {method}");
    }
}

/// Stages that begin anew, targets of a model's own jumps, kept trajectories: each method goes on where it was.
#[test]
fn every_method_that_is_stopped_and_resumed_gives_the_same_bits() {
    let text = ring(320, EVERY_METHOD).replace("blocks: 1)", "blocks: 1, dropout: 0.2)");
    let folder = scratch(&text);
    let study = load(&folder.path().join("study.ron")).unwrap();
    let tried: BTreeSet<&str> = study.plan.arms.iter().map(|arm| arm.name.as_str()).collect();
    for arm in &study.plan.arms {
        assert!(tried.contains(arm_of(&arm.experiment.method)), "{}", arm.name);
    }
    let straight = folder.path().join("straight");
    run(&study, &straight, &StopFlag::new(), &mut Silent).unwrap();
    let expected = results(&straight.join("study"));
    let rows = fs::read_to_string(straight.join("study/report.csv")).unwrap();
    for row in
        ["progressive,0,student,jumps-4,4,", "shortcut,0,student,jumps-8,8,", "segments,0,student,jumps-2,2,"]
    {
        assert!(rows.contains(row), "{row} is not in {rows}");
    }
    assert!(rows.contains("mid-training,0,mid-trained,one-step,1,"), "{rows}");
    assert!(rows.contains("truncated,0,first-stage,one-step,1,"), "{rows}");
    assert!(rows.contains("truncated,0,student,multistep-0.4,2,"), "{rows}");
    for steps in [4, 2, 1] {
        let stage = format!("progressive/seed-0/stages/steps-{steps}.safetensors");
        assert!(expected.contains_key(&stage), "{:?}", expected.keys());
    }
    // A step or a batch of samples at a time, so that every kind of phase is cut somewhere.
    let out = folder.path().join("stopped");
    let mut stops = 0;
    loop {
        let stop = StopFlag::new();
        let mut progress = StopAfter { left: 6, stop: stop.clone() };
        let dir = out.join("study");
        let outcome = if dir.exists() {
            resume(&dir, &stop, &mut progress).unwrap()
        } else {
            run(&study, &out, &stop, &mut progress).unwrap()
        };
        if matches!(outcome, RunOutcome::Finished { .. }) {
            break;
        }
        stops += 1;
        assert!(stops < 600, "it never ends");
    }
    assert!(stops > 5, "stopped only {stops} times");
    assert_same(&expected, &results(&out.join("study")), "stopped every six");
}

/// The gradient of a batch in parts is the gradient of the batch, up to the order of sums; and always the same one.
#[test]
fn batches_in_parts_train_alike() {
    let text = ring(256, EVERY_METHOD);
    let of = |shards: usize, threads: &str| {
        let text = text
            .replace("batch: 32, ema", &format!("batch: 32, shards: {shards}, ema"))
            .replace("shards: 1", &format!("shards: {shards}"));
        let folder = scratch(&text);
        cm(folder.path()).args(["run", "study.ron", "--out", ".", "--threads", threads]).assert().success();
        results(&folder.path().join("study"))
    };
    let whole = of(1, "1");
    let parts = of(4, "1");
    assert_same(&parts, &of(4, "2"), "four parts");
    let values = |files: &BTreeMap<String, Vec<u8>>, path: &str| -> Vec<(String, f64)> {
        let text = String::from_utf8(files[path].clone()).unwrap();
        let rows = text.lines().skip(1).map(|row| {
            let cells: Vec<&str> = row.split(',').collect();
            (format!("{} {}", cells[0], cells[2]), cells[3].parse().unwrap())
        });
        rows.filter(|(name, _): &(String, f64)| name.ends_with("/loss") || name.ends_with("gradient_norm"))
            .collect()
    };
    let mut compared = 0;
    // The folder of a shared mid-training is called by all that decides it, the number of parts too.
    for path in whole.keys().filter(|path| path.ends_with("curves.csv") && parts.contains_key(*path)) {
        for ((name, a), (other, b)) in values(&whole, path).into_iter().zip(values(&parts, path)) {
            assert_eq!(name, other);
            assert!((a - b).abs() <= 1e-4 * a.abs(), "{path}: {name}: {a} {b}");
            compared += 1;
        }
    }
    assert!(compared >= 52, "{compared}");
    assert!(whole != parts, "other sums, other bits");
}

/// An arm for each way to train on pictures that were changed before.
const AUGMENTED: &str = "arms: Star([
        (name: \"ct\", changes: [Method(Training)]),
        (name: \"sct\", changes: [Method(ContinuousTraining()), Curriculum(Fixed())]),
        (name: \"sct-forward\", changes: [Method(ContinuousTraining(tangent: Forward)), Curriculum(Fixed())]),
        (name: \"meanflow\", changes: [Method(TwoTime(equal_share: 0.5)), Samplers([Jumps(steps: 1)])]),
        (name: \"imm\", changes: [Method(InductiveMomentMatching()), Curriculum(Fixed()), Samplers([Jumps(steps: 2)])]),
    ]),";

/// What becomes of an image is of its seed alone: the teacher's and every student's training is the same however it is cut.
#[test]
fn trainings_on_changed_pictures_give_the_same_bits_with_more_threads_and_stopped() {
    let pictures = ring(160, AUGMENTED)
        .replace("GaussianMixture(train_len: 256, test_len: 128)", "Digits()")
        .replace("[SlicedWasserstein, ModeWeights]", "[Recognised]")
        .replace(
            "Exact",
            "Trained(dropout: Some(0.3), train: (total_images: 96, batch: 32, ema: [PerStep(0.9)],
                augmentation: Some(probability: 0.5)))",
        );
    let changed = pictures.replace(
        "batch: 32, ema: [PerStep(0.9)]),\n            init",
        "batch: 32, ema: [PerStep(0.9)], augmentation: Some(probability: 0.5)),\n            init",
    );
    assert_ne!(pictures, changed);
    let of = |text: &str, threads: &str| {
        let folder = scratch(text);
        cm(folder.path()).args(["run", "study.ron", "--out", ".", "--threads", threads]).assert().success();
        results(&folder.path().join("study"))
    };
    let straight = of(&changed, "1");
    assert_same(&straight, &of(&changed, "2"), "two threads");
    let plain = of(&pictures, "1");
    for arm in ["ct", "sct", "sct-forward", "meanflow", "imm"] {
        let model = format!("{arm}/seed-0/model.safetensors");
        assert!(straight[&model] != plain[&model], "{arm} sees the same pictures");
    }
    let folder = scratch(&changed);
    let study = load(&folder.path().join("study.ron")).unwrap();
    let out = folder.path().join("stopped");
    let mut stops = 0;
    loop {
        let stop = StopFlag::new();
        let mut progress = StopAfter { left: 5, stop: stop.clone() };
        let dir = out.join("study");
        let outcome = match dir.exists() {
            true => resume(&dir, &stop, &mut progress).unwrap(),
            false => run(&study, &out, &stop, &mut progress).unwrap(),
        };
        if matches!(outcome, RunOutcome::Finished { .. }) {
            break;
        }
        stops += 1;
        assert!(stops < 200, "it never ends");
    }
    assert!(stops > 5, "stopped only {stops} times");
    assert_same(&straight, &results(&out.join("study")), "stopped and resumed");
}
