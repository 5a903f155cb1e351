use super::*;
use crate::noise::batch_noise;
use crate::{ConsistencyFunction, Denoiser, ModelError, Sigma};
use cm_image::random::Random;
use cm_image::{ImageBatch, ImageShape};

/// Unlike components on a line, wide enough to overlap.
fn line() -> GaussianMixture {
    GaussianMixture::new(vec![0.5, 0.3, 0.2], vec![vec![-0.8], vec![0.1], vec![0.9]], vec![0.15, 0.3, 0.2])
        .unwrap()
}

/// Unlike components in space.
fn space() -> GaussianMixture {
    let means = vec![vec![-0.5, 0.2, 0.0], vec![0.6, 0.5, -0.4], vec![0.0, -0.9, 0.3]];
    GaussianMixture::new(vec![1.0, 2.0, 3.0], means, vec![0.1, 0.4, 0.0]).unwrap()
}

#[test]
fn components_are_checked() {
    let new = |w: &[f64], m: &[&[f64]], s: &[f64]| {
        GaussianMixture::new(w.to_vec(), m.iter().map(|m| m.to_vec()).collect(), s.to_vec()).err()
    };
    assert_eq!(new(&[], &[], &[]), Some(MixtureError::Empty));
    assert_eq!(new(&[1.0], &[&[]], &[1.0]), Some(MixtureError::Empty));
    assert_eq!(
        new(&[1.0], &[&[0.0], &[1.0]], &[1.0, 1.0]),
        Some(MixtureError::Count { weights: 1, means: 2, stds: 2 })
    );
    assert_eq!(
        new(&[1.0, 1.0], &[&[0.0], &[1.0, 2.0]], &[1.0, 1.0]),
        Some(MixtureError::Dimension { component: 1, given: 2, expected: 1 })
    );
    for (w, m, s) in [(0.0, 0.0, 1.0), (1.0, f64::NAN, 1.0), (1.0, 0.0, -1.0), (f64::INFINITY, 0.0, 1.0)] {
        assert_eq!(new(&[w], &[&[m]], &[s]), Some(MixtureError::Component { component: 0 }));
    }
}

/// The trapezoidal rule is exact to rounding for functions that vanish smoothly at both ends.
fn integral(f: impl Fn(f64) -> f64) -> f64 {
    let n = 40_000;
    (0..n).map(|i| f(-10.0 + 20.0 * f64::from(i) / f64::from(n))).sum::<f64>() * 20.0 / f64::from(n)
}

#[test]
fn densities_integrate_to_one_and_spread_as_they_say() {
    let mixture = line();
    for sigma in [0.0, 0.3, 1.0] {
        let total = integral(|x| mixture.log_density(&[x], sigma).exp());
        assert!((total - 1.0).abs() < 1e-10, "{total}");
    }
    let mean = integral(|x| x * mixture.log_density(&[x], 0.0).exp());
    let variance = integral(|x| (x - mean).powi(2) * mixture.log_density(&[x], 0.0).exp());
    assert!((variance.sqrt() - mixture.sigma_data()).abs() < 1e-10);
}

#[test]
fn the_posterior_mean_is_the_integral_of_bayes_rule() {
    let mixture = line();
    for (x, sigma) in [(0.0, 0.1), (-0.4, 0.3), (0.55, 0.2), (1.7, 1.0), (-3.0, 0.8)] {
        let weight =
            |y: f64| mixture.log_density(&[y], 0.0).exp() * (-(x - y).powi(2) / (2.0 * sigma * sigma)).exp();
        let brute = integral(|y| y * weight(y)) / integral(weight);
        let exact = mixture.posterior_mean(&[x], sigma)[0];
        assert!((brute - exact).abs() < 1e-9, "x = {x}, sigma = {sigma}: {brute} {exact}");
    }
}

#[test]
fn the_score_is_the_gradient_of_the_log_density_and_gives_the_posterior_mean() {
    let mixture = space();
    let mut random = Random::new(2);
    for sigma in [0.05, 0.3, 2.0, 80.0] {
        let x: Vec<f64> = (0..3).map(|_| (0.5 + sigma) * f64::from(random.normal())).collect();
        let (score, posterior) = (mixture.score(&x, sigma), mixture.posterior_mean(&x, sigma));
        let h = 1e-4 * sigma;
        for i in 0..3 {
            let moved = |by: f64| {
                let mut x = x.clone();
                x[i] += by;
                mixture.log_density(&x, sigma)
            };
            // Fourth-order central difference.
            let difference = (8.0 * (moved(h) - moved(-h)) - (moved(2.0 * h) - moved(-2.0 * h))) / (12.0 * h);
            let scale = score[i].abs().max(1.0 / sigma);
            assert!((difference - score[i]).abs() < 1e-7 * scale, "sigma {sigma}: {difference} {}", score[i]);
            // Tweedie: D = x + sigma^2 score.
            let tweedie = x[i] + sigma * sigma * score[i];
            assert!((tweedie - posterior[i]).abs() < 1e-12 * (1.0 + sigma * sigma));
        }
    }
}

#[test]
fn without_noise_the_posterior_mean_is_the_point_itself() {
    let x = [0.3, -0.2, 0.1];
    for (a, b) in space().posterior_mean(&x, 0.0).into_iter().zip(x) {
        assert!((a - b).abs() < 1e-15);
    }
    assert_eq!(space().responsibilities(&[0.0, -0.9, 0.3], 0.0)[2], 0.0);
    let points = GaussianMixture::new(vec![1.0, 9.0], vec![vec![0.0], vec![1.0]], vec![0.0; 2]).unwrap();
    assert_eq!(points.posterior_mean(&[0.4], 0.0), [0.0]);
    assert_eq!(points.log_density(&[0.4], 0.0), f64::NEG_INFINITY);
}

#[test]
fn far_away_nothing_underflows() {
    let posterior = space().posterior_mean(&[1e4, -1e4, 1e4], 1e-3);
    assert!(posterior.iter().all(|value| value.is_finite()));
    assert!(space().log_density(&[1e4, 0.0, 0.0], 1e-3) < -1e6);
}

#[test]
fn draws_have_the_mixtures_frequencies_and_spreads() {
    let mixture = line();
    let n = 60_000u64;
    let (mut counts, mut squares) = ([0.0f64; 3], [0.0f64; 3]);
    let mut random = Random::new(4);
    let mut point = [0.0];
    for _ in 0..n {
        let k = mixture.draw(&mut random, &mut point);
        counts[k] += 1.0;
        squares[k] += (f64::from(point[0]) - mixture.means()[k][0]).powi(2);
    }
    for k in 0..3 {
        let (w, s) = (mixture.weights()[k], mixture.stds()[k]);
        // Five standard errors.
        assert!((counts[k] / n as f64 - w).abs() < 5.0 * (w * (1.0 - w) / n as f64).sqrt(), "{counts:?}");
        let variance = squares[k] / counts[k];
        assert!((variance / (s * s) - 1.0).abs() < 5.0 * (2.0 / counts[k]).sqrt(), "{squares:?}");
    }
    let batch = mixture.sample(&[7, 8, 9]);
    assert_eq!(batch.image(2), mixture.sample(&[9]).image(0));
    assert_ne!(batch.image(0), batch.image(1));
}

#[test]
fn the_denoiser_is_the_posterior_mean_image_by_image() {
    let mixture = space();
    let x = batch_noise(ImageShape::vector(3), &[1, 2, 3], 0);
    let sigma = [0.0, 0.4, 9.0].map(|s| Sigma::new(s).unwrap());
    let denoised = mixture.denoise(&x, &sigma, &[]).unwrap();
    for (i, level) in sigma.iter().enumerate() {
        let wide: Vec<f64> = x.image(i).iter().map(|&v| f64::from(v)).collect();
        let expected = mixture.posterior_mean(&wide, f64::from(level.get()));
        assert_eq!(denoised.image(i), expected.iter().map(|&v| v as f32).collect::<Vec<f32>>());
    }
    assert!(matches!(mixture.denoise(&x, &sigma[..2], &[]), Err(ModelError::Count { images: 3, sigmas: 2 })));
    let plane = ImageBatch::zeros(ImageShape::vector(2), 3);
    assert!(matches!(mixture.denoise(&plane, &sigma, &[]), Err(ModelError::Shape { .. })));
}

mod flow {
    use super::*;

    fn sigma(value: f64) -> Sigma {
        Sigma::new(value as f32).unwrap()
    }

    /// P(X <= x), or P(X > x), at a noise level.
    fn tail(mixture: &GaussianMixture, x: f64, sigma: f64, above: bool) -> f64 {
        (0..mixture.components())
            .map(|k| {
                let z = (x - mixture.means()[k][0]) / mixture.stds()[k].hypot(sigma);
                let z = if above { z } else { -z };
                mixture.weights()[k] * 0.5 * libm::erfc(z / std::f64::consts::SQRT_2)
            })
            .sum()
    }

    /// On a line trajectories cannot cross, so the flow is the monotone transport: it keeps P(X <= x).
    fn transported(mixture: &GaussianMixture, x: f64, from: f64, to: f64) -> f64 {
        let above = tail(mixture, x, from, true) < 0.5;
        let kept = tail(mixture, x, from, above);
        let (mut low, mut high) = (-1e3, 1e3);
        for _ in 0..200 {
            let middle = 0.5 * (low + high);
            if (tail(mixture, middle, to, above) > kept) == above {
                low = middle;
            } else {
                high = middle;
            }
        }
        0.5 * (low + high)
    }

    #[test]
    fn on_a_line_it_is_the_monotone_transport() {
        let mixture = line();
        for (from, to) in
            [(80.0f32, 0.0f32), (80.0, 0.002), (1.0, 0.25), (0.3, 0.0), (0.002, 5.0), (0.0, 80.0)]
        {
            for quantile in [-2.5, -1.3, -0.6, -0.1, 0.2, 0.7, 1.5, 2.4] {
                let x = quantile * mixture.sigma_data().hypot(f64::from(from));
                let end = mixture.flow_endpoint(&[x], Sigma::new(from).unwrap(), Sigma::new(to).unwrap());
                let (end, exact) =
                    (end.unwrap()[0], transported(&mixture, x, f64::from(from), f64::from(to)));
                let error = (end - exact).abs() / exact.abs().max(1.0);
                assert!(error < 1e-8, "{x} from {from} to {to}: {end} {exact}");
            }
        }
    }

    /// Two equal components are one Gaussian, but are not treated as one.
    #[test]
    fn the_integrator_agrees_with_the_closed_form() {
        let one = GaussianMixture::new(vec![1.0], vec![vec![0.3, -0.4]], vec![0.05]).unwrap();
        let mean = one.means()[0].clone();
        let two = GaussianMixture::new(vec![1.0, 2.0], vec![mean.clone(), mean], vec![0.05; 2]).unwrap();
        for (from, to) in [(80.0, 0.002), (80.0, 0.0), (0.01, 3.0), (2.0, 2.0)] {
            let x = [from * 0.7 + 0.1, -from];
            let [a, b] = [&one, &two].map(|m| m.flow_endpoint(&x, sigma(from), sigma(to)).unwrap());
            for (a, b) in a.iter().zip(b) {
                assert!((a - b).abs() < 1e-8 * a.abs().max(1.0), "from {from} to {to}: {a} {b}");
            }
        }
    }

    #[test]
    fn a_tighter_tolerance_changes_nothing_that_matters() {
        let ring = MixtureConfig::default().build().unwrap();
        let wide = |level: f64, seed: u64| {
            let noise = batch_noise(ImageShape::vector(2), &[seed], 0);
            noise.values().iter().map(|&z| level * f64::from(z)).collect::<Vec<f64>>()
        };
        let mut worst = 0.0f64;
        for seed in 0..40 {
            let x = wide(80.0, seed);
            let ends =
                [TOLERANCE, tighter()].map(|t| ring.flow_within(&x, sigma(80.0), sigma(0.002), t).unwrap());
            worst = worst.max(squared_distance(ends[0].clone(), ends[1].clone()).sqrt());
        }
        assert!(worst < 1e-8, "{worst}");
    }

    use super::super::dormand_prince::Tolerance;
    use super::super::flow::TOLERANCE;

    fn tighter() -> Tolerance {
        Tolerance { relative: TOLERANCE.relative / 16.0, absolute: TOLERANCE.absolute / 16.0 }
    }

    #[test]
    fn points_catch_the_share_of_noise_that_is_their_weight() {
        let points = GaussianMixture::new(vec![1.0, 3.0], vec![vec![-1.0], vec![1.0]], vec![0.0; 2]).unwrap();
        // P(Z < -0.6745) = 1/4: noise below that quantile belongs to the first point.
        let start = |quantile: f64| transported(&points, quantile, 80.0, 80.0);
        let boundary = transported_quantile(&points, 0.25);
        for (offset, expected) in [(-0.05, -1.0), (0.05, 1.0)] {
            let x = start(boundary + offset);
            let end = points.flow_endpoint(&[x], sigma(80.0), Sigma::ZERO).unwrap();
            assert!((end[0] - expected).abs() < 1e-12, "{end:?}");
        }
    }

    /// The point below which a share of the noisy points at level 80 lies.
    fn transported_quantile(mixture: &GaussianMixture, share: f64) -> f64 {
        let (mut low, mut high) = (-1e3, 1e3);
        for _ in 0..200 {
            let middle = 0.5 * (low + high);
            if tail(mixture, middle, 80.0, false) < share { low = middle } else { high = middle }
        }
        low
    }

    #[test]
    fn there_and_back_is_nowhere() {
        let ring = MixtureConfig { std: 0.3, ..MixtureConfig::default() }.build().unwrap();
        let x = [0.31, -0.52];
        let up = ring.flow_endpoint(&x, Sigma::ZERO, sigma(80.0)).unwrap();
        let back = ring.flow_endpoint(&up, sigma(80.0), Sigma::ZERO).unwrap();
        assert!(squared_distance(back.clone(), x).sqrt() < 1e-8, "{back:?}");
        assert_eq!(ring.flow_endpoint(&[f64::NAN, 0.0], sigma(1.0), sigma(0.5)), Err(FlowError::NotFinite));
    }

    /// Song et al. 2023, Section 3: the identity at epsilon, and the same end from every point of a trajectory.
    #[test]
    fn the_exact_consistency_function_is_consistent() {
        let mixture = MixtureConfig { dim: 16, std: 0.2, ..MixtureConfig::default() }.build().unwrap();
        let model = ExactConsistency { mixture: mixture.clone(), sigma_min: sigma(0.002) };
        let start = batch_noise(mixture.shape(), &(0..20).collect::<Vec<u64>>(), 0).map(|z| 80.0 * z);
        let all = |level: f64| vec![sigma(level); 20];
        let ends = model.endpoint(&start, &all(80.0), &[]).unwrap();
        assert_eq!(model.endpoint(&ends, &all(0.002), &[]).unwrap(), ends);
        for level in [10.0, 1.0, 0.1] {
            let along = mixture.flow(&start, &all(80.0), &all(level)).unwrap();
            let from_there = model.endpoint(&along, &all(level), &[]).unwrap();
            for (a, b) in ends.values().iter().zip(from_there.values()) {
                // Rounding of the point on the way, at most 40 * 6e-8, is carried along.
                assert!((a - b).abs() < 2e-5, "from {level}: {a} {b}");
            }
        }
    }
}
