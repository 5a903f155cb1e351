//! Wrong study files: the message says the file, the line, the column, and what is allowed; the exit code is 2.

use crate::util::{cm, golden, ring, scratch};
use std::fs;

/// What `cm plan` says of a study; nothing goes to standard output.
fn complaint(text: &[u8]) -> String {
    let folder = scratch("");
    fs::write(folder.path().join("study.ron"), text).unwrap();
    let output = cm(folder.path()).args(["plan", "study.ron"]).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(output.stdout.is_empty());
    message
}

fn check(name: &str, text: &str) {
    golden(&format!("errors/{name}.txt"), &complaint(text.as_bytes()));
}

#[test]
fn names_that_do_not_exist() {
    check("misspelt_field", "(qestion: \"which distance?\")");
    check(
        "misspelt_two_levels_down",
        "(\n    base: (\n        consistency: (train: (total_imges: 1)),\n    ),\n)",
    );
    check("unknown_choice", "(base: (method: Distilation(solver: Heun)))");
    check("unknown_change", "(arms: Star([(name: \"a\", changes: [Distanse(L1)])]))");
    check("given_twice", "(seeds: [0], seeds: [1])");
}

#[test]
fn values_of_the_wrong_type() {
    check("text_for_a_number", "(base: (network: UNet(channels: \"24\")))");
    check("float_for_an_integer", "(base: (consistency: (train: (total_images: 1e6))))");
    check("no_settings", "(base: (network: UNet))");
    check("not_a_list", "(seeds: 3)");
}

#[test]
fn values_out_of_range() {
    let study = ring(320, "seeds: [1, 1],")
        .replace("width: 16, blocks: 1", "width: 18, blocks: 0")
        .replace("num_levels: 6", "num_levels: 1")
        .replace("grid: 4", "grid: 0");
    check("out_of_range", &study);
}

#[test]
fn noise_levels_that_cannot_be() {
    let arms = "arms: Star([
        (name: \"a\", changes: [Discretisation(spacing: Karras(rho: 0))]),
        (name: \"b\", changes: [Discretisation(spacing: Cosine(scale: -1))]),
        (name: \"c\", changes: [Discretisation(spacing: Cosin)]),
        (name: \"d\", changes: [Discretisation(sigma_min: 1.0, sigma_max: 1.0000005)]),
    ]),";
    check("noise_levels", &ring(320, arms));
}

#[test]
fn methods_that_do_not_fit_their_settings() {
    let arms = "arms: Star([
        (name: \"a\", changes: [Method(ProgressiveDistillation)]),
        (name: \"b\", changes: [Method(ProgressiveDistillation), Curriculum(Halving(start: 12)), Target(Ema(0.9))]),
        (name: \"c\", changes: [Method(ProgressiveDistillation), Curriculum(Halving(start: 64)),
            Samplers([OneStep, Jumps(steps: 128)])]),
        (name: \"d\", changes: [Method(Shortcut(bootstrap: 0.01)), Samplers([Jumps(steps: 3)])]),
        (name: \"e\", changes: [Curriculum(Halving(start: 4)), Samplers([Jumps(steps: 2)])]),
        (name: \"f\", changes: [Segments(9), Samplers([Jumps(steps: 2), Multistep(times: [0.5])])]),
        (name: \"g\", changes: [Teacher(None), Method(Training), MidTraining(trajectories: 0,
            sampler: (method: Ancestral()))]),
        (name: \"h\", changes: [Method(Shortcut()), Solver(Euler)]),
    ]),";
    check("methods", &ring(320, arms));
}

#[test]
fn settings_that_continuous_time_does_not_have() {
    let arms = "arms: Star([
        (name: \"a\", changes: [Method(ContinuousDistillation())]),
        (name: \"b\", changes: [Method(ContinuousTraining()), Curriculum(Continuous()), Target(Ema(0.9)), Distance(L1),
            Weighting(Snr), Segments(2), IndexLaw(LogNormal())]),
        (name: \"c\", changes: [Curriculum(Fixed()), Method(ContinuousDistillation(tangent: Central(step: 0),
            time: LogNormal(std: -1), loss: StopGradient(normalisation: L2(0), warmup: Fraction(2)),
            weighting: InverseGap, weight_head: Some(channels: 0)))]),
        (name: \"d\", changes: [Curriculum(Fixed()), Method(ContinuousDistillation()), Teacher(None), Solver(Euler)]),
        (name: \"e\", changes: [Curriculum(Fixed()), Method(ContinuousDistillation()), Samplers([Jumps(steps: 2)])]),
        (name: \"f\", changes: [Curriculum(Fixed()), Method(ContinuousDistillation(tangent: Forward, loss: Full(L1)))]),
    ]),";
    check("continuous_time", &ring(320, arms));
}

#[test]
fn couplings_truncations_and_moments_that_do_not_fit() {
    let arms = "arms: Star([
        (name: \"a\", changes: [Coupling(GeneratorAugmented(share: 0))]),
        (name: \"b\", changes: [Method(Training), Coupling(GeneratorAugmented()), Segments(2), Samplers([Jumps(steps: 2)])]),
        (name: \"c\", changes: [Method(Training), Truncation(Some(level: 200, boundary_share: 0.001, boundary_weight: 0,
            law: (degrees: 0)))]),
        (name: \"d\", changes: [Method(Shortcut()), Curriculum(Fixed(num_levels: 9)), Truncation(Some()),
            FirstStage(Some(train: (batch: 0), curriculum: Fixed(num_levels: 1), distance: Features())),
            Samplers([Jumps(steps: 1)])]),
        (name: \"e\", changes: [Method(Training), FirstStage(Some(curriculum: Halving(), train: (snapshots: Some())))]),
        (name: \"f\", changes: [Method(InductiveMomentMatching(group: 3, gap: 50, shift: 100)), Target(Ema(0.9)),
            Distance(L1), Solver(Euler)]),
        (name: \"g\", changes: [Method(InductiveMomentMatching()), Curriculum(Fixed())]),
    ]),";
    check("coupling_truncation_moments", &ring(320, arms));
}

#[test]
fn parts_that_do_not_fit_together() {
    let study = ring(320, "").replace(
        "metrics: [SlicedWasserstein, ModeWeights]",
        "metrics: [Recognised], student: [OneStep, Multistep(times: [0.5, 0.7, 100.0])]",
    );
    check("metrics_and_times", &study);
    check(
        "no_exact_teacher",
        "(base: (teacher: Exact, network: UNet(channels: 8, multipliers: [1], attention: [])))",
    );
    let arms = "arms: Star([
        (name: \"ct\", changes: [Method(Training), Solver(Euler)]),
        (name: \"ct\", changes: [Distance(PseudoHuber(c: -1.0))]),
        (name: \"a/b\", changes: [BatchSize(64), BatchSize(32)]),
    ]),";
    check("arms", &ring(320, arms));
}

#[test]
fn samplers_that_cannot_be() {
    let study = ring(320, "").replace(
        "teacher: (levels: 4)",
        "teacher: (levels: 1, spacing: Karras(rho: -7), method: Ancestral(eta: 2)),
        student: [Gamma(gamma: 1.5, times: []), Gamma(times: [90]), Gamma(times: [90])]",
    );
    check("samplers", &study);
    let arms = "arms: Star([
        (name: \"a\", changes: [TeacherSampler(method: Churned(churn: (amount: -1)))]),
        (name: \"b\", changes: [TeacherSampler(method: Flow(solver: Huen))]),
        (name: \"c\", changes: [TeacherSampler(solver: Heun)]),
    ]),";
    check("teacher_samplers", &ring(320, arms));
}

#[test]
fn everything_at_once() {
    let study = ring(320, "arms: Star([(nme: \"x\", changes: [Distance(L3)])]),")
        .replace("question", "qestion")
        .replace("batch: 32", "batch: 0")
        .replace("width: 16", "widht: 16")
        .replace("total_images: 320", "total_images: 3.2e2");
    check("everything_at_once", &study);
}

#[test]
fn files_that_are_no_study() {
    check("empty", "");
    check("only_a_comment", "// nothing yet\n");
    check("unclosed", "(\n    base: (\n        network: UNet(),\n");
    check("text_behind_the_end", "(seeds: [0]) (seeds: [1])");
    check("nested_too_deeply", &format!("(base: {}", "(network: UNet(".repeat(5_000)));
    golden("errors/not_utf8.txt", &complaint(b"(\n  question: \"\xff\",\n)"));
    let folder = scratch("");
    let output = cm(folder.path()).args(["plan", "missing.ron"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    golden("errors/missing_file.txt", &String::from_utf8(output.stderr).unwrap());
}

#[test]
fn numbers_of_images_beyond_all_measure_were_a_panic() {
    for (field, value) in [("total_images", u64::MAX), ("total_images", (1 << 50) + 1), ("batch", 1 << 63)] {
        let text = ring(64, "").replace("total_images: 64, batch: 32", &format!("{field}: {value}"));
        let said = complaint(text.as_bytes());
        assert!(
            said.contains(&format!("train.{field} is {value}")) && said.contains("allowed: 1 to 2^"),
            "{said}"
        );
    }
}

/// The mistakes of a first hour, each with what is said of it, in one file to be read aloud: what, where, what is allowed,
/// what to do.
#[test]
fn twenty_typical_mistakes() {
    let train = |text: &str| format!("(base: (consistency: (train: ({text}))))");
    let base = |text: &str| format!("(base: ({text}))");
    let mistakes = [
        // A plain value where one of several choices, settings, or a list is wanted.
        train("learning_rate: (warmup: 1000)"),
        train("learning_rate: 3e-4"),
        train("ema: 0.999"),
        base("consistency: (target: 0.95)"),
        base("consistency: (curriculum: 18)"),
        base("network: UNet(attention: 16)"),
        base("dataset: \"data/mnist\""),
        base("network: \"unet\""),
        "(arms: [(name: \"a\")])".to_owned(),
        // Names of other programs.
        train("lr: 1e-4"),
        train("batch_size: 64"),
        train("epochs: 10"),
        train("optimizer: Adam()"),
        base("evaluation: (metrics: [FID])"),
        base("consistency: (distance: LPIPS)"),
        // Numbers of another kind.
        train("batch: 32.0"),
        train("total_images: 2.5"),
        // Brackets that are missing, or too many.
        base("method: Training()"),
        base("method: Distillation"),
        base("consistency: (train: (batch: 32), segments = 2)"),
        "(question: which is best)".to_owned(),
        // Causes without their consequences.
        base(
            "dataset: Source(path: \"nowhere\"), class_conditional: true, evaluation: (metrics: [Recognised])",
        ),
        base("network: UNet(multipliers: [1, 2], attention: [4], dropout: 1.0)"),
    ];
    let told: Vec<String> = mistakes.iter().map(|text| format!("{}\n", complaint(text.as_bytes()))).collect();
    for (text, message) in mistakes.iter().zip(&told) {
        let rust = ["Config", "usize", "f32", "u64", "enum", "struct", "::"];
        assert!(!rust.iter().any(|word| message.contains(word)), "{text}\n{message}");
        assert!(message.contains("allowed: "), "{text}\n{message}");
    }
    golden("errors/typical.txt", &told.concat());
}
