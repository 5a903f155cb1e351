//! Samples of a ring of Gaussians by Heun's method, from a denoiser that is known exactly:
//!
//! ```text
//! cargo run --release -p cm-diffusion --example exact_mixture
//! ```

use cm_diffusion::analytic::GaussianMixture;
use cm_diffusion::{FlowEnd, Labels, NumLevels, ProbabilityFlow, Sampler, SolverConfig};
use cm_diffusion::{SigmaRange, SpacingConfig};
use std::f64::consts::TAU;

/// Modes on the ring, its radius, and their standard deviation.
const MODES: usize = 8;
const RADIUS: f64 = 0.8;
const STD: f64 = 0.05;

#[expect(clippy::print_stdout, reason = "a program that a person runs by hand")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let angle = |mode: usize| TAU * mode as f64 / MODES as f64;
    let means = (0..MODES).map(|mode| vec![RADIUS * angle(mode).cos(), RADIUS * angle(mode).sin()]);
    let mixture = GaussianMixture::new(vec![1.0; MODES], means.collect(), vec![STD; MODES])?;
    for count in [5, 10, 20] {
        let levels = SpacingConfig::default()
            .build(SigmaRange::new(0.002, 80.0)?)?
            .noise_levels(NumLevels::new(count)?)?;
        let sampler = ProbabilityFlow {
            denoiser: &mixture,
            solver: SolverConfig::Heun.solver(),
            shape: mixture.shape(),
            levels: &levels,
            end: FlowEnd::Zero,
            labels: Labels::None,
        };
        let images = sampler.sample(&(0..1000).collect::<Vec<u64>>())?;
        // The mean of -log p: the differential entropy of the mixture, if the samples are its own.
        let surprise: f64 = images
            .values()
            .chunks(2)
            .map(|point| -mixture.log_density(&[f64::from(point[0]), f64::from(point[1])], 0.0) / 1000.0)
            .sum();
        println!("{:2} evaluations: mean of -log p = {surprise:.3}", sampler.evaluations());
    }
    let own: Vec<u64> = (0..1000).collect();
    let own = mixture.sample(&own);
    let surprise: f64 = own
        .values()
        .chunks(2)
        .map(|point| -mixture.log_density(&[f64::from(point[0]), f64::from(point[1])], 0.0) / 1000.0)
        .sum();
    println!("the mixture itself: mean of -log p = {surprise:.3}");
    Ok(())
}
