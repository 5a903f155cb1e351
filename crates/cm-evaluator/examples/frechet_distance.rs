//! The Fréchet distance between two sets of features, beside its exact value:
//!
//! ```text
//! cargo run --release -p cm-evaluator --example frechet_distance
//! ```

use cm_evaluator::metric::frechet::frechet_distance;
use cm_evaluator::{FeatureMatrix, Statistics};
use cm_image::random::Random;

/// Features of each row.
const DIM: usize = 16;

/// Rows of normal numbers around `mean` with standard deviation `std`.
fn rows(count: usize, seed: u64, mean: f32, std: f32) -> Result<FeatureMatrix, cm_evaluator::FeatureError> {
    let mut random = Random::new(seed);
    FeatureMatrix::new(DIM, (0..count * DIM).map(|_| mean + std * random.normal()).collect())
}

#[expect(clippy::print_stdout, reason = "a program that a person runs by hand")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // |m1 - m2|^2 + d (s1 - s2)^2 for two isotropic Gaussians.
    let exact = DIM as f64 * (0.5f64.powi(2) + 0.25f64.powi(2));
    for count in [100, 1_000, 10_000] {
        let a = Statistics::of(&rows(count, 1, 0.0, 1.0)?)?;
        let b = Statistics::of(&rows(count, 2, 0.5, 1.25)?)?;
        println!("{count:6} rows: {:.4}, exactly {exact:.4}", frechet_distance(&a, &b)?);
    }
    Ok(())
}
