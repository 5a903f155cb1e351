//! Samplers in the limits where the answer is known: exact flows, and each other.

use super::*;

#[test]
fn the_flow_converges_to_the_exact_endpoint() {
    let mixture = mixture(0.2);
    let seeds: Vec<u64> = (0..64).collect();
    let start = starting_noise(mixture.shape(), sigma(80.0), &seeds);
    let exact = mixture.flow(&start, &[sigma(80.0); 64], &[Sigma::ZERO; 64]).unwrap();
    let error = |n: usize| {
        let levels = levels(n);
        let flow = ProbabilityFlow {
            denoiser: &mixture,
            solver: &Heun,
            shape: mixture.shape(),
            levels: &levels,
            end: FlowEnd::Zero,
            labels: Labels::None,
        };
        let ends = flow.sample(&seeds).unwrap();
        assert_eq!(ends, flow.integrate(start.clone(), &[]).unwrap());
        let square: f64 =
            ends.values().iter().zip(exact.values()).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        (square / 128.0).sqrt()
    };
    let errors = [18, 36, 72, 144].map(error);
    assert!(errors.windows(2).all(|pair| pair[1] < 0.4 * pair[0]), "{errors:?}");
    assert!(errors[0] < 0.05 && errors[3] < 1e-3, "{errors:?}");
}

#[test]
fn without_churn_stochastic_sampling_is_the_flow() {
    let mixture = mixture(0.1);
    let (shape, levels) = (mixture.shape(), levels(9));
    let flow = ProbabilityFlow {
        denoiser: &mixture,
        solver: &Heun,
        shape,
        levels: &levels,
        end: FlowEnd::Zero,
        labels: Labels::None,
    };
    let still = Churn { amount: 0.0, ..Churn::default() };
    let quiet = Churn { sigma_min: 100.0, sigma_max: f32::INFINITY, ..Churn::default() };
    let expected = flow.sample(&[1, 2, 3]).unwrap();
    for churn in [still, quiet] {
        let sampler = Stochastic::new(&mixture, &Heun, shape, &levels, churn, Labels::None).unwrap();
        assert_eq!(sampler.sample(&[1, 2, 3]).unwrap(), expected);
    }
    let churned = Stochastic::new(&mixture, &Heun, shape, &levels, Churn::default(), Labels::None).unwrap();
    assert_ne!(churned.sample(&[1, 2, 3]).unwrap(), expected);
    for churn in [
        Churn { amount: -1.0, ..still },
        Churn { noise: 0.0, ..still },
        Churn { sigma_min: 2.0, sigma_max: 1.0, ..still },
        Churn { sigma_max: f32::NAN, ..still },
    ] {
        let sampler = Stochastic::new(&mixture, &Heun, shape, &levels, churn, Labels::None);
        assert!(matches!(sampler.err(), Some(QuantityError::Churn { .. })));
    }
}

/// The exact consistency function's line from (x, t) to its end at sigma_min, prolonged to 0.
struct Chord(ExactConsistency);

impl Denoiser for Chord {
    fn denoise(&self, noisy: &ImageBatch, sigma: &[Sigma], labels: &[u32]) -> Result<ImageBatch, ModelError> {
        let mut ends = self.0.endpoint(noisy, sigma, labels)?;
        let min = self.0.sigma_min.get();
        for ((end, x), sigma) in ends.images_mut().zip(noisy.images()).zip(sigma) {
            let beyond = min / (sigma.get() - min);
            end.iter_mut().zip(x).for_each(|(end, x)| *end -= beyond * (x - *end));
        }
        Ok(ends)
    }
}

#[test]
fn gamma_0_is_euler_along_the_line_to_the_endpoint() {
    let mixture = mixture(0.1);
    let (shape, model) = (mixture.shape(), exact(&mixture));
    let times = [20.0, 5.0, 0.8, 0.1].map(sigma);
    let gamma = Gamma::new(&model, shape, range(), times.to_vec(), 0.0, false, Labels::None).unwrap();
    let levels = NoiseLevels::new([80.0, 20.0, 5.0, 0.8, 0.1, 0.002]).unwrap();
    let chord = Chord(model.clone());
    let flow = ProbabilityFlow {
        denoiser: &chord,
        solver: &Euler,
        shape,
        levels: &levels,
        end: FlowEnd::SigmaMin,
        labels: Labels::None,
    };
    let seeds: Vec<u64> = (0..50).collect();
    let (jumped, stepped) = (gamma.sample(&seeds).unwrap(), flow.sample(&seeds).unwrap());
    // Near a boundary between modes the endpoint magnifies rounding; all but a few noises are far from one.
    let near = jumped.values().iter().zip(stepped.values()).filter(|(a, b)| (*a - *b).abs() < 1e-4).count();
    assert!(near >= 98, "{near} of 100 values agree");
}

#[test]
fn gamma_1_is_multistep_sampling_to_the_bit() {
    let mixture = mixture(0.1);
    let (shape, model) = (mixture.shape(), exact(&mixture));
    let seeds: Vec<u64> = (0..50).collect();
    for (times, clip) in [(vec![], false), (vec![5.0, 0.8, 0.002], false), (vec![0.8], true)] {
        let times: Vec<Sigma> = times.into_iter().map(sigma).collect();
        let gamma = Gamma::new(&model, shape, range(), times.clone(), 1.0, clip, Labels::None).unwrap();
        let multistep = Multistep::new(&model, shape, range(), times, clip, Labels::None).unwrap();
        assert_eq!(gamma.sample(&seeds).unwrap(), multistep.sample(&seeds).unwrap());
    }
}

/// From 10 to 5 above sigma_min = 3 with gamma = 0.6: 5^2 - 3^2 = 16, s^2 = 9 + 0.64 * 16, and noise of std 2.4.
#[test]
fn a_jump_by_hand() {
    /// Ends at 0; remembers what it is given.
    struct Zero(RefCell<Vec<ImageBatch>>);
    impl ConsistencyFunction for Zero {
        fn endpoint(&self, noisy: &ImageBatch, _: &[Sigma], _: &[u32]) -> Result<ImageBatch, ModelError> {
            self.0.borrow_mut().push(noisy.clone());
            Ok(ImageBatch::zeros(noisy.shape(), noisy.count()))
        }
    }
    let (shape, seeds, model) = (ImageShape::vector(3), [11, 12], Zero(RefCell::default()));
    let range = SigmaRange::new(3.0, 10.0).unwrap();
    let gamma = Gamma::new(&model, shape, range, vec![sigma(5.0)], 0.6, false, Labels::None).unwrap();
    gamma.sample(&seeds).unwrap();
    let z = [0, 1].map(|draw| batch_noise(shape, &seeds, draw));
    let kept = (19.24f32.sqrt() - 3.0) / 7.0;
    for ((given, z0), z1) in model.0.borrow()[1].values().iter().zip(z[0].values()).zip(z[1].values()) {
        assert!((given - (kept * 10.0 * z0 + 2.4 * z1)).abs() < 1e-5);
    }
    for gamma in [-0.1, 1.1, f32::NAN] {
        let refused = Gamma::new(&model, shape, range, vec![sigma(5.0)], gamma, false, Labels::None);
        assert!(matches!(refused.err(), Some(QuantityError::Gamma(_))));
    }
    let outside = Gamma::new(&model, shape, range, vec![sigma(10.0)], 0.5, false, Labels::None);
    assert!(matches!(outside.err(), Some(QuantityError::Outside { index: 0, .. })));
}

#[test]
fn without_fresh_noise_ancestral_sampling_is_euler() {
    let mixture = mixture(0.1);
    let (shape, levels) = (mixture.shape(), levels(9));
    let flow = ProbabilityFlow {
        denoiser: &mixture,
        solver: &Euler,
        shape,
        levels: &levels,
        end: FlowEnd::Zero,
        labels: Labels::None,
    };
    let sampler = |eta| Ancestral::new(&mixture, shape, &levels, eta, Labels::None);
    assert_eq!(sampler(0.0).unwrap().sample(&[1, 2, 3]).unwrap(), flow.sample(&[1, 2, 3]).unwrap());
    assert_ne!(sampler(0.1).unwrap().sample(&[1, 2, 3]).unwrap(), flow.sample(&[1, 2, 3]).unwrap());
    for eta in [-0.1, 1.1, f32::NAN] {
        assert!(matches!(sampler(eta).err(), Some(QuantityError::Eta(_))));
    }
}

/// From 4 to 2 of data at 0: Euler goes to 2^2 / 4 = 1, and sqrt(2^2 - 1^2) is noise.
#[test]
fn an_ancestral_step_by_hand() {
    /// Denoises to 0; remembers what it is given.
    struct Zero(RefCell<Vec<ImageBatch>>);
    impl Denoiser for Zero {
        fn denoise(&self, noisy: &ImageBatch, _: &[Sigma], _: &[u32]) -> Result<ImageBatch, ModelError> {
            self.0.borrow_mut().push(noisy.clone());
            Ok(ImageBatch::zeros(noisy.shape(), noisy.count()))
        }
    }
    let (shape, seeds, denoiser) = (ImageShape::vector(3), [11, 12], Zero(RefCell::default()));
    let levels = NoiseLevels::new([4.0, 2.0]).unwrap();
    let end = Ancestral::new(&denoiser, shape, &levels, 1.0, Labels::None).unwrap().sample(&seeds).unwrap();
    assert!(end.values().iter().all(|&value| value == 0.0), "the last step adds no noise");
    let z = [0, 1].map(|draw| batch_noise(shape, &seeds, draw));
    for ((given, z0), z1) in denoiser.0.borrow()[1].values().iter().zip(z[0].values()).zip(z[1].values()) {
        assert!((given - (z0 + 3f32.sqrt() * z1)).abs() < 1e-5);
    }
}

/// One Gaussian of std 3 about 0, D = 9 / (9 + sigma^2) x, over levels that halve, so that D~ = 3/2 D_i - 1/2 D_(i-1).
/// From 25 at 4: D_0 = 9, x = 17 at 2; D_1 = 153 / 13, D~ = 3/2 D_1 - 9/2, x = 17/2 + D~/2 at 1; then 9/10 of it at 0.
#[test]
fn dpm_solver_plus_plus_by_hand() {
    let gaussian = GaussianMixture::new(vec![1.0], vec![vec![0.0]], vec![3.0]).unwrap();
    let levels = NoiseLevels::new([4.0, 2.0, 1.0]).unwrap();
    let end = |end| {
        let (shape, labels) = (gaussian.shape(), Labels::None);
        let sampler = DpmSolverPlusPlus { denoiser: &gaussian, shape, levels: &levels, end, labels };
        let x = ImageBatch::new(ImageShape::vector(1), vec![25.0]).unwrap();
        sampler.integrate(x, &[]).unwrap().values()[0]
    };
    let at_one = 8.5 + 0.5 * (1.5 * 153.0 / 13.0 - 4.5);
    assert!((end(FlowEnd::SigmaMin) - at_one).abs() < 2e-6, "{}", end(FlowEnd::SigmaMin));
    assert!((end(FlowEnd::Zero) - 0.9 * at_one).abs() < 2e-6);
}

/// Root mean square distance of whole trajectories to the exact flow from 2 to 0.2, over n intervals.
fn trajectory_error(
    n: usize,
    integrate: &dyn Fn(&GaussianMixture, &NoiseLevels, ImageBatch) -> ImageBatch,
) -> f64 {
    let mixture = mixture(0.3);
    let seeds: Vec<u64> = (0..32).collect();
    let spacing = DiscretisationConfig { sigma_min: 0.2, sigma_max: 2.0, ..DiscretisationConfig::default() };
    let levels = spacing.build().unwrap().noise_levels(NumLevels::new(n + 1).unwrap()).unwrap();
    let all = |level: f32| vec![sigma(level); seeds.len()];
    let noise = batch_noise(mixture.shape(), &seeds, 0);
    let start = crate::noise::perturb(&mixture.sample(&seeds), &all(2.0), &noise);
    let exact = mixture.flow(&start, &all(2.0), &all(0.2)).unwrap();
    let ends = integrate(&mixture, &levels, start);
    let square: f64 = ends.values().iter().zip(exact.values()).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (square / ends.values().len() as f64).sqrt()
}

/// The slope of log error over log step of DPM-Solver++(2M) is 2, and of Euler's method, with as many evaluations, 1.
#[test]
fn dpm_solver_plus_plus_is_of_second_order_over_whole_trajectories() {
    let (end, labels) = (FlowEnd::SigmaMin, Labels::None);
    let second = |mixture: &GaussianMixture, levels: &NoiseLevels, x| {
        let shape = mixture.shape();
        DpmSolverPlusPlus { denoiser: mixture, shape, levels, end, labels }.integrate(x, &[]).unwrap()
    };
    let first = |mixture: &GaussianMixture, levels: &NoiseLevels, x| {
        let shape = mixture.shape();
        let flow = ProbabilityFlow { denoiser: mixture, solver: &Euler, shape, levels, end, labels };
        flow.integrate(x, &[]).unwrap()
    };
    type Integrate<'a> = &'a dyn Fn(&GaussianMixture, &NoiseLevels, ImageBatch) -> ImageBatch;
    for (order, integrate) in [(2.0, &second as Integrate), (1.0, &first)] {
        let errors = [32, 64, 128, 256].map(|n| trajectory_error(n, integrate));
        let slopes: Vec<f64> = errors.windows(2).map(|pair| (pair[0] / pair[1]).log2()).collect();
        let mean = slopes.iter().sum::<f64>() / 3.0;
        assert!((mean - order).abs() < 0.15, "{order}: {slopes:?} from {errors:?}");
    }
}

/// The exact flow of a mixture.
struct ExactFlow(GaussianMixture);

impl FlowMap for ExactFlow {
    fn jump(
        &self,
        x: &ImageBatch,
        from: &[Sigma],
        to: &[Sigma],
        _: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        self.0.flow(x, from, to).map_err(ModelError::other)
    }
}

/// A flow map that is right ends where the trajectory ends, however many jumps it takes.
#[test]
fn jumps_of_the_exact_flow_end_at_its_endpoint() {
    let mixture = mixture(0.2);
    let seeds: Vec<u64> = (0..32).collect();
    let start = starting_noise(mixture.shape(), sigma(80.0), &seeds);
    let exact = mixture.flow(&start, &[sigma(80.0); 32], &[range().min(); 32]).unwrap();
    let map = ExactFlow(mixture);
    for n in [2, 3, 9] {
        let jumps =
            Jumps { map: Box::new(&map), shape: map.0.shape(), levels: levels(n), labels: Labels::None };
        let ends = jumps.sample(&seeds).unwrap();
        let worst = ends.values().iter().zip(exact.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{} jumps: {worst}", n - 1);
        assert_eq!(jumps.evaluations(), n - 1);
    }
}
