//! Distils the exact denoiser of two Gaussians into a network that draws in one step:
//!
//! ```text
//! cargo run --release -p cm-consistency --example distil_a_toy
//! ```

use cm_consistency::{
    ConsistencyConfig, ConsistencyModel, ConsistencyStep, CurriculumConfig, FixedConfig, Parts, Pixels,
    TargetConfig, TeacherStep,
};
use cm_diffusion::analytic::GaussianMixture;
use cm_diffusion::{Boundary, Labels, OneStep, Sampler, SolverConfig};
use cm_network::{Conditions, EmbeddingConfig, MlpConfig, NetworkConfig, ScaleConfig};
use cm_tensor::ops::PairDistance;
use cm_training::{
    Batch, Control, EmaConfig, LearningRateConfig, MomentsConfig, OptimiserConfig, TrainConfig, TrainError,
    TrainStep, train,
};

#[expect(clippy::print_stdout, reason = "a program that a person runs by hand")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mixture =
        GaussianMixture::new(vec![1.0, 1.0], vec![vec![-0.5, 0.0], vec![0.5, 0.0]], vec![0.1, 0.1])?;
    let config = ConsistencyConfig {
        train: TrainConfig {
            total_images: 256_000,
            batch: 256,
            optimiser: OptimiserConfig::Adam(MomentsConfig::default()),
            learning_rate: LearningRateConfig { peak: 3e-3, ..LearningRateConfig::default() },
            ema: vec![EmaConfig::PerStep(0.97)],
            ..TrainConfig::default()
        },
        curriculum: CurriculumConfig::Fixed(FixedConfig { num_levels: 10 }),
        target: TargetConfig::Ema(0.9),
        ..ConsistencyConfig::default()
    };
    let (levels, sigma_data) = (config.discretisation.build()?, mixture.sigma_data() as f32);
    let range = levels.range();
    let network = NetworkConfig::Mlp(MlpConfig {
        width: 64,
        blocks: 2,
        embedding: EmbeddingConfig::Positional(ScaleConfig { scale: 4.0, ..ScaleConfig::default() }),
        ..MlpConfig::default()
    });
    let (network, weights) = network.build(mixture.shape(), Conditions::default(), 0)?;
    let boundary = Boundary { sigma_data, sigma_min: range.min().get() };
    let parts = Parts {
        trajectory: Box::new(TeacherStep { denoiser: &mixture, solver: SolverConfig::Heun.build() }),
        discretisation: levels,
        index_law: config.index_law.build(range)?,
        continuous: None,
        distance: Box::new(Pixels(PairDistance::SquaredL2)),
        weighting: config.weighting.build(sigma_data),
        segments: None,
        truncation: None,
    };
    let mut step = ConsistencyStep::new(&config, network.as_ref(), weights, boundary, parts);
    let batch = |step: u64| {
        let seeds: Vec<u64> = (step * 256..(step + 1) * 256).collect();
        Ok::<_, TrainError>(Batch { images: mixture.sample(&seeds), labels: Vec::new() })
    };
    train(&mut step, &config.train, 0, (1, 2), batch, |report, _| {
        if report.step % 250 == 0 {
            println!("{} images: loss {:.6}", report.images, report.loss);
        }
        Ok(Control::Continue)
    })?;
    let model = ConsistencyModel::new(network.as_ref(), step.state().averages[0].clone(), boundary);
    let (shape, sigma_max) = (mixture.shape(), range.max());
    let sampler = OneStep { model: &model, shape, sigma_max, labels: Labels::None };
    let drawn = sampler.sample(&(0..1000).collect::<Vec<u64>>())?;
    let mean: f32 = drawn.values().chunks(2).map(|point| point[0].abs() / 1000.0).sum();
    println!("one step: mean |x| = {mean:.3}, the modes are at 0.5");
    Ok(())
}
