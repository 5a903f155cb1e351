//! Whole training steps, the very ones that a run takes.

use crate::{BenchNetwork, Case, Suite};
use cm_consistency::{
    ConsistencyConfig, ConsistencyStep, ContinuousParts, ContinuousTimeConfig, ContinuousTimeStep,
    KnownNoise, LocalPath, Parts, Pixels, Raw, TangentConfig, TargetConfig, TeacherStep as SolverStep,
};
use cm_diffusion::{Boundary, Denoiser, Edm, Sigma, SolverConfig};
use cm_network::{Extra, Network};
use cm_teacher::{Teacher, TeacherConfig, TeacherStep};
use cm_tensor::ops::PairDistance;
use cm_tensor::{Graph, Weights};
use cm_training::{Batch, EmaConfig, OptimiserConfig, Progress, StepSeed, TrainConfig, TrainStep};

const SIGMA_DATA: f32 = 0.5;
const BOUNDARY: Boundary = Boundary { sigma_data: SIGMA_DATA, sigma_min: 0.002 };

/// A step of the teacher's training (forward, backward, RAdam, one average) and one of distillation with Heun (two
/// evaluations of the teacher, one of the target, forward, backward, RAdam, target, one average); one of sCT with the
/// derivative by differences and one in forward mode; and an evaluation with its derivative, of which nothing is kept.
pub fn step(network: BenchNetwork) -> Suite {
    let batch = network.batch();
    let flops = |evaluations: u64| batch as u64 * evaluations * network.flops_per_image();
    let name = |method: &str| format!("{}/{method}", network.name());
    // A backward pass costs two forward passes.
    Suite {
        bench: "step",
        cases: vec![
            Case::new(name("teacher"), batch, flops(3), move || teacher(network)),
            Case::new(name("distillation"), batch, flops(6), move || distillation(network)),
            Case::new(name("sct-central"), batch, flops(5), move || sct(network, TangentConfig::default())),
            Case::new(name("sct-forward"), batch, flops(4), move || sct(network, TangentConfig::Forward)),
            Case::new(name("tangent"), batch, flops(2), move || tangent(network)),
        ],
    }
}

fn train_config(network: BenchNetwork) -> TrainConfig {
    TrainConfig {
        total_images: TrainConfig::MOST_IMAGES,
        batch: network.batch(),
        optimiser: OptimiserConfig::RAdam(Default::default()),
        ema: vec![EmaConfig::PerStep(0.999)],
        ..TrainConfig::default()
    }
}

fn teacher(network: BenchNetwork) -> impl FnMut() {
    let (net, weights) = leaked(network);
    let config = TeacherConfig { train: train_config(network), ..TeacherConfig::default() };
    let noise = config.noise.build().expect("the default noise distribution is valid");
    steps(network, TeacherStep::new(&config, net, weights, Edm { sigma_data: SIGMA_DATA }, noise))
}

fn distillation(network: BenchNetwork) -> impl FnMut() {
    let (net, weights) = leaked(network);
    let config = ConsistencyConfig {
        train: train_config(network),
        target: TargetConfig::Ema(0.95),
        ..ConsistencyConfig::default()
    };
    let denoiser: &'static dyn Denoiser =
        Box::leak(Box::new(Teacher::new(net, weights.clone(), Edm { sigma_data: SIGMA_DATA })));
    let parts = Parts {
        trajectory: Box::new(SolverStep { denoiser, solver: SolverConfig::Heun.build() }),
        discretisation: config.discretisation.build().expect("the default levels are valid"),
        continuous: None,
        index_law: config
            .index_law
            .build(config.discretisation.range().expect("the default levels are valid"))
            .expect("the default law is valid"),
        distance: Box::new(Pixels(PairDistance::SquaredL2)),
        weighting: config.weighting.build(SIGMA_DATA),
        segments: None,
        truncation: None,
    };
    steps(network, ConsistencyStep::new(&config, net, weights, BOUNDARY, parts))
}

fn sct(network: BenchNetwork, tangent: TangentConfig) -> impl FnMut() {
    let (net, weights) = leaked(network);
    let config = ConsistencyConfig { train: train_config(network), ..ConsistencyConfig::default() };
    let parts = ContinuousParts {
        trajectory: Box::new(KnownNoise),
        discretisation: config.discretisation.build().expect("the default levels are valid"),
    };
    let time = ContinuousTimeConfig { tangent, ..ContinuousTimeConfig::default() };
    let step = ContinuousTimeStep::new(&config, time, net, weights, BOUNDARY, parts);
    steps(network, step.expect("the default law is valid"))
}

fn tangent(network: BenchNetwork) -> impl FnMut() {
    let (net, weights) = leaked(network);
    let count = network.batch();
    let (noisy, aim, labels) = (network.images(count), network.images(count), network.labels(count));
    let sigma = vec![Sigma::new(1.0).expect("1 is a noise level"); count];
    move || {
        let extra = Extra { labels: (!labels.is_empty()).then_some(&labels), ..Extra::default() };
        let raw = Raw { network: net, weights: &weights, precondition: BOUNDARY, extra };
        let path = LocalPath { noisy: &noisy, sigma: &sigma, aim: &aim };
        let output = raw.forward_along(&mut Graph::inference().on_host().with_tangents(), &path);
        assert!(output.tangent().is_some_and(|tangent| tangent[0].is_finite()));
    }
}

/// A network that lives as long as the process, as a benchmark may: steps borrow theirs.
fn leaked(network: BenchNetwork) -> (&'static dyn Network, Weights) {
    let (net, weights) = network.build();
    (Box::leak(net), weights)
}

/// One step after the other on the same images.
fn steps(network: BenchNetwork, mut step: impl TrainStep) -> impl FnMut() {
    let count = network.batch();
    let batch = Batch { images: network.images(count), labels: network.labels(count) };
    let mut progress = Progress { step: 0, images: 0, total_images: TrainConfig::MOST_IMAGES };
    move || {
        let report = step
            .step(&batch, progress, StepSeed::new(4, 5, progress.step))
            .expect("noise trains without an error");
        assert!(report.loss.is_finite());
        (progress.step, progress.images) = (report.step, report.images);
    }
}
