//! The whole way with an exact answer: a Gaussian mixture's own denoiser distilled into a network, judged by the
//! mixture's exact flow.

use crate::util::{cm, root};
use std::path::Path;

/// The value of a metric in a study's report, for an arm and a model.
fn value(study: &Path, arm: &str, metric: &str) -> f64 {
    let mut report = csv::Reader::from_path(study.join("report.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = report.records().map(Result::unwrap).collect();
    let row = rows
        .iter()
        .find(|row| &row[0] == arm && row[5].starts_with(metric) && &row[3] == "one-step")
        .unwrap_or_else(|| panic!("no {metric} of {arm} in {rows:?}"));
    row[6].parse().unwrap()
}

/// A shortened `experiments/gmm2.ron`: distillation must end near the exact endpoints, and training longer must end
/// nearer.
#[test]
fn a_mixture_s_flow_is_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let study = "(
        base: (
            dataset: GaussianMixture(mixture: (radius: 0.8, std: 0.1), train_len: 4096, test_len: 512),
            network: Mlp(width: 64, blocks: 2, embedding: Positional(scale: 4)),
            teacher: Exact,
            method: Distillation(solver: Heun),
            consistency: (
                train: (
                    total_images: 150_000,
                    batch: 256,
                    optimiser: Adam(),
                    learning_rate: (peak: 3e-3, warmup: Images(5_000), decay: Cosine),
                    ema: [PerStep(0.97)],
                ),
                init: Random,
                curriculum: Fixed(num_levels: 10),
                target: Ema(0.9),
            ),
            evaluation: (samples: 400, metrics: [EndpointRmse, SlicedWasserstein, ModeWeights]),
        ),
        arms: Star([(name: \"long\", changes: []), (name: \"short\", changes: [TotalImages(2_560)])]),
    )";
    std::fs::write(folder.path().join("flow.ron"), study).unwrap();
    cm(&root())
        .arg("run")
        .arg(folder.path().join("flow.ron"))
        .arg("--out")
        .arg(folder.path())
        .assert()
        .success();
    let study = folder.path().join("flow");
    let median = |arm| value(&study, arm, "endpoint-median");
    let wasserstein = |arm| value(&study, arm, "sliced-wasserstein");
    // The ring has radius 0.8: whoever learnt nothing is that far off.
    assert!(median("long") < 0.15, "half of all endpoints are within {}", median("long"));
    assert!(median("short") > 2.0 * median("long"), "{} and {}", median("short"), median("long"));
    assert!(
        wasserstein("short") > 2.0 * wasserstein("long"),
        "{} and {}",
        wasserstein("short"),
        wasserstein("long")
    );
    assert!(value(&study, "long", "mode-weights") < 0.15);
}
