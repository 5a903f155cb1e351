//! Samples compared with the law they should have.

use super::*;

/// Shares of the components and the spread within them, over samples of a well-separated mixture.
fn assert_lands_on(mixture: &GaussianMixture, samples: &ImageBatch, name: &str) {
    let n = samples.count() as f64;
    let k = mixture.components();
    let (mut counts, mut squares) = (vec![0.0; k], 0.0);
    for image in samples.images() {
        let x: Vec<f64> = image.iter().map(|&v| f64::from(v)).collect();
        let nearest = mixture.nearest(&x);
        counts[nearest] += 1.0;
        squares += x.iter().zip(&mixture.means()[nearest]).map(|(x, m)| (x - m).powi(2)).sum::<f64>();
    }
    let share = 1.0 / k as f64;
    // Five standard errors; the spread also a hundredth for sigma_min and overlap.
    let allowed = 5.0 * (share * (1.0 - share) / n).sqrt();
    assert!(counts.iter().all(|c| (c / n - share).abs() < allowed), "{name}: {counts:?}");
    let coordinates = n * mixture.dim() as f64;
    let variance = squares / coordinates / mixture.stds()[0].powi(2);
    assert!((variance - 1.0).abs() < 0.01 + 5.0 * (2.0 / coordinates).sqrt(), "{name}: {variance}");
}

#[test]
fn an_exact_consistency_function_lands_on_the_data() {
    let mixture = mixture(0.05);
    let model = exact(&mixture);
    let seeds: Vec<u64> = (0..2000).collect();
    let shape = mixture.shape();
    let one = OneStep { model: &model, shape, sigma_max: sigma(80.0), labels: Labels::None };
    assert_lands_on(&mixture, &one.sample(&seeds).unwrap(), "one step");
    let times = vec![sigma(5.0), sigma(0.8), sigma(0.1)];
    let many = Multistep::new(&model, shape, range(), times, false, Labels::None).unwrap();
    assert_lands_on(&mixture, &many.sample(&seeds).unwrap(), "multistep");
}

#[test]
fn churned_samples_land_on_the_data() {
    let mixture = mixture(0.1);
    let levels = levels(80);
    let churn = Churn { noise: 1.0, ..Churn::default() };
    let sampler = Stochastic::new(&mixture, &Heun, mixture.shape(), &levels, churn, Labels::None).unwrap();
    assert_lands_on(&mixture, &sampler.sample(&(0..2000).collect::<Vec<u64>>()).unwrap(), "stochastic");
}

/// Mean distance, over 16 directions, between the sorted projections of two sets of as many points of the plane.
fn sliced_wasserstein(a: &ImageBatch, b: &ImageBatch) -> f64 {
    let projected = |images: &ImageBatch, angle: f64| {
        let along = |image: &[f32]| angle.cos() * f64::from(image[0]) + angle.sin() * f64::from(image[1]);
        let mut values: Vec<f64> = images.images().map(along).collect();
        values.sort_unstable_by(f64::total_cmp);
        values
    };
    let distance = |direction: usize| {
        let angle = std::f64::consts::PI * direction as f64 / 16.0;
        let pairs = projected(a, angle).into_iter().zip(projected(b, angle));
        pairs.map(|(a, b)| (a - b).abs()).sum::<f64>() / a.count() as f64
    };
    (0..16).map(distance).sum::<f64>() / 16.0
}

/// Every sampler of an exact denoiser: as near to the law as that law's own samples are (the floor).
#[test]
fn samples_are_as_near_to_the_law_as_its_own_samples() {
    let mixture = mixture(0.1);
    let (shape, labels, levels) = (mixture.shape(), Labels::None, levels(80));
    let seeds: Vec<u64> = (0..2000).collect();
    let reference = mixture.sample(&(10_000..12_000).collect::<Vec<u64>>());
    let own = mixture.sample(&seeds);
    assert_lands_on(&mixture, &own, "the law itself");
    let floor = sliced_wasserstein(&own, &reference);
    let check = |name: &str, sampler: &dyn Sampler| {
        let samples = sampler.sample(&seeds).unwrap();
        assert_lands_on(&mixture, &samples, name);
        let distance = sliced_wasserstein(&samples, &reference);
        assert!(distance < 2.0 * floor, "{name}: {distance}, and the floor is {floor}");
    };
    for eta in [0.5, 1.0] {
        check("ancestral", &Ancestral::new(&mixture, shape, &levels, eta, labels).unwrap());
    }
    let end = FlowEnd::Zero;
    check("dpm-solver++", &DpmSolverPlusPlus { denoiser: &mixture, shape, levels: &levels, end, labels });
    let end = FlowEnd::SigmaMin;
    let flow = ProbabilityFlow { denoiser: &mixture, solver: &Heun, shape, levels: &levels, end, labels };
    check("to sigma_min", &flow);
    // What is wrong by a tenth of the ring is seen.
    let off = own.clone().map(|value| 1.1 * value);
    assert!(sliced_wasserstein(&off, &reference) > 2.0 * floor);
}
