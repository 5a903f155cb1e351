use super::*;
use crate::analytic::{GaussianMixture, MixtureConfig};
use crate::noise::{batch_noise, perturb};
use crate::{Discretisation, Karras, NumLevels, SigmaRange};
use cm_image::ImageShape;
use std::sync::Mutex;

fn sigma(value: f32) -> Sigma {
    Sigma::new(value).unwrap()
}

fn ring() -> GaussianMixture {
    MixtureConfig { std: 0.3, ..MixtureConfig::default() }.build().unwrap()
}

/// Remembers levels and labels of every call.
struct Spy<'a> {
    inner: &'a dyn Denoiser,
    calls: Mutex<Vec<Vec<f32>>>,
    labels: Mutex<Vec<Vec<u32>>>,
}

impl Denoiser for Spy<'_> {
    fn denoise(&self, noisy: &ImageBatch, sigma: &[Sigma], labels: &[u32]) -> Result<ImageBatch, ModelError> {
        self.calls.lock().unwrap().push(sigma.iter().map(|s| s.get()).collect());
        self.labels.lock().unwrap().push(labels.to_vec());
        self.inner.denoise(noisy, sigma, labels)
    }
}

/// Root mean square distance to the exact flow after `n` steps over Karras levels.
fn error(solver: &dyn OdeSolver, n: usize) -> f64 {
    let mixture = ring();
    let seeds: Vec<u64> = (0..32).collect();
    let levels = Karras::new(SigmaRange::new(0.2, 2.0).unwrap(), 7.0).unwrap();
    let levels = levels.noise_levels(NumLevels::new(n + 1).unwrap()).unwrap();
    let all = |level| vec![level; seeds.len()];
    let clean = mixture.sample(&seeds);
    let start = perturb(&clean, &all(sigma(2.0)), &batch_noise(mixture.shape(), &seeds, 0));
    let exact = mixture.flow(&start, &all(sigma(2.0)), &all(sigma(0.2))).unwrap();
    let mut x = start;
    for i in 0..n {
        let pair = levels.pair(i);
        x = solver.step(&mixture, &x, &all(pair.upper), &all(pair.lower), &[]).unwrap();
    }
    let square: f64 =
        x.values().iter().zip(exact.values()).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum();
    (square / x.values().len() as f64).sqrt()
}

/// The slope of log error over log step is the order each solver claims.
#[test]
fn every_solver_has_its_order() {
    for config in SolverConfig::ALL {
        let solver = config.build();
        // Coarser steps for higher order, so that f32 rounding (1e-7) stays far below the error.
        let counts: [usize; 4] = if solver.order() == 1 { [64, 128, 256, 512] } else { [16, 32, 64, 128] };
        let points: Vec<(f64, f64)> =
            counts.iter().map(|&n| (-(n as f64).ln(), error(&*solver, n).ln())).collect();
        let n = points.len() as f64;
        let (mean_x, mean_y) =
            (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
        let slope = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>()
            / points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>();
        assert!((slope - f64::from(solver.order())).abs() < 0.15, "{config:?}: {slope} from {points:?}");
    }
}

/// One Gaussian of std 3 about 0: D = 9 / (9 + sigma^2) x, d = sigma / (9 + sigma^2) x. From 4 to 1:
#[test]
fn one_step_by_hand() {
    let gaussian = GaussianMixture::new(vec![1.0], vec![vec![0.0]], vec![3.0]).unwrap();
    let x = ImageBatch::new(ImageShape::vector(1), vec![25.0]).unwrap();
    let step = |config: SolverConfig| {
        config.build().step(&gaussian, &x, &[sigma(4.0)], &[sigma(1.0)], &[]).unwrap().values()[0]
    };
    // d = 4; x~ = 25 - 3 * 4 = 13; d' = 1.3; midpoint at 2.5: x~ = 25 - 1.5 * 4 = 19, d' = 47.5 / 15.25; that of ln
    // sigma at 2: x~ = 25 - 2 * 4 = 17, d' = 34 / 13.
    assert_eq!(step(SolverConfig::Euler), 13.0);
    assert!((step(SolverConfig::Heun) - (25.0 - 3.0 * 2.65)).abs() < 2e-6);
    assert!((step(SolverConfig::Midpoint) - (25.0 - 3.0 * 47.5 / 15.25)).abs() < 2e-6);
    assert!((step(SolverConfig::DpmSolver2) - (25.0 - 3.0 * 34.0 / 13.0)).abs() < 2e-6);
    // From 8 to 1 the middle in sigma^(1/3) is 1.5^3 = 27 / 8: d = 8 / 73 * 73 = 8, x~ = 73 - 37 / 8 * 8 = 36,
    // d' = 27 / 8 / (9 + 729 / 64) * 36 = 7776 / 1305.
    let x = ImageBatch::new(ImageShape::vector(1), vec![73.0]).unwrap();
    let cubed =
        SolverConfig::Rho3Midpoint.build().step(&gaussian, &x, &[sigma(8.0)], &[sigma(1.0)], &[]).unwrap();
    assert!((cubed.values()[0] - (73.0 - 7.0 * 7776.0 / 1305.0)).abs() < 4e-6);
}

/// Consistency training's lower point: with D = x_0 every solver stays on x_0 + sigma z, a straight line.
#[test]
fn the_known_noise_is_followed_exactly() {
    struct Clean(ImageBatch);
    impl Denoiser for Clean {
        fn denoise(&self, _: &ImageBatch, _: &[Sigma], _: &[u32]) -> Result<ImageBatch, ModelError> {
            Ok(self.0.clone())
        }
    }
    let seeds: Vec<u64> = (0..50).collect();
    let shape = ImageShape::new(2, 2, 3);
    let (clean, noise) = (batch_noise(shape, &seeds, 0), batch_noise(shape, &seeds, 1));
    let upper: Vec<Sigma> = seeds.iter().map(|&i| sigma(0.01 + i as f32)).collect();
    let lower: Vec<Sigma> = upper.iter().map(|s| sigma(0.7 * s.get())).collect();
    let x = perturb(&clean, &upper, &noise);
    let expected = perturb(&clean, &lower, &noise);
    for config in SolverConfig::ALL {
        let moved = config.build().step(&Clean(clean.clone()), &x, &upper, &lower, &[]).unwrap();
        for (i, (a, b)) in moved.values().iter().zip(expected.values()).enumerate() {
            let scale = upper[i / shape.len()].get().max(1.0) * 4.0;
            assert!((a - b).abs() <= 2.0 * f32::EPSILON * scale, "{config:?}: {a} {b}");
        }
    }
}

#[test]
fn images_at_different_levels_move_as_they_would_alone() {
    let mixture = ring();
    let x = batch_noise(mixture.shape(), &[1, 2, 3, 4], 0);
    let (from, to) = ([5.0, 0.3, 1.0, 0.002].map(sigma), [4.0, 0.0, 0.2, 0.0].map(sigma));
    for config in SolverConfig::ALL {
        let solver = config.build();
        let together = solver.step(&mixture, &x, &from, &to, &[]).unwrap();
        for i in 0..4 {
            let alone = solver.step(&mixture, &x.slice(i..i + 1), &from[i..=i], &to[i..=i], &[]).unwrap();
            assert_eq!(together.image(i), alone.image(0), "{config:?}");
        }
        // The step to 0 is the denoiser's output to the bit.
        assert_eq!(together.image(1), mixture.denoise(&x, &from, &[]).unwrap().image(1));
    }
}

#[test]
fn labels_stay_with_their_images() {
    let mixture = ring();
    let x = batch_noise(mixture.shape(), &[1, 2, 3], 0);
    let from = [4.0, 2.0, 9.0].map(sigma);
    for config in SolverConfig::ALL {
        let labels = |to: [f32; 3], labels: &[u32]| {
            let spy = Spy { inner: &mixture, calls: Mutex::default(), labels: Mutex::default() };
            config.build().step(&spy, &x, &from, &to.map(sigma), labels).unwrap();
            spy.labels.into_inner().unwrap()
        };
        assert!(labels([1.0, 0.0, 4.0], &[]).iter().all(Vec::is_empty));
        let told = labels([1.0, 0.0, 4.0], &[7, 8, 9]);
        assert_eq!(told[0], [7, 8, 9]);
        // The image that goes to 0 is not evaluated a second time, and takes its label with it.
        assert!(told[1..].iter().all(|second| *second == [7, 9]), "{told:?}");
    }
}

#[test]
fn only_images_that_need_it_are_evaluated_twice() {
    let mixture = ring();
    let x = batch_noise(mixture.shape(), &[1, 2, 3], 0);
    let from = [4.0, 2.0, 9.0].map(sigma);
    for config in SolverConfig::ALL {
        let solver = config.build();
        let calls = |to: [f32; 3]| {
            let spy = Spy { inner: &mixture, calls: Mutex::default(), labels: Mutex::default() };
            solver.step(&spy, &x, &from, &to.map(sigma), &[]).unwrap();
            spy.calls.into_inner().unwrap()
        };
        assert_eq!(calls([0.0; 3]), [[4.0, 2.0, 9.0]]);
        assert_eq!(solver.asks_at(sigma(4.0), Sigma::ZERO), [sigma(4.0)]);
        let mixed = calls([1.0, 0.0, 4.0]);
        assert_eq!(mixed.len(), solver.evaluations());
        let second: &[f32] = match config {
            SolverConfig::Euler => continue,
            SolverConfig::Heun => &[1.0, 4.0],
            SolverConfig::Midpoint => &[2.5, 6.5],
            SolverConfig::DpmSolver2 => &[2.0, 6.0],
            SolverConfig::Rho3Midpoint => &[2.165_216_2, 6.166_163],
        };
        assert_eq!(mixed[1], second);
    }
}

#[test]
fn misuse_is_reported() {
    let mixture = ring();
    let x = batch_noise(mixture.shape(), &[1, 2], 0);
    let (one, two) = ([sigma(1.0); 2], [sigma(2.0); 2]);
    for config in SolverConfig::ALL {
        let solver = config.build();
        let step = |from: &[Sigma], to: &[Sigma]| solver.step(&mixture, &x, from, to, &[]).unwrap_err();
        assert!(matches!(step(&one, &two), ModelError::Step { .. }));
        assert!(matches!(step(&one, &one), ModelError::Step { .. }));
        assert!(matches!(step(&two[..1], &one), ModelError::Count { images: 2, sigmas: 1 }));
        assert!(matches!(step(&two, &one[..1]), ModelError::Count { .. }));
        struct Half;
        impl Denoiser for Half {
            fn denoise(&self, noisy: &ImageBatch, _: &[Sigma], _: &[u32]) -> Result<ImageBatch, ModelError> {
                Ok(noisy.slice(0..1))
            }
        }
        assert!(matches!(
            solver.step(&Half, &x, &two, &one, &[]),
            Err(ModelError::Count { images: 1, sigmas: 2 })
        ));
    }
}
