use super::*;
use crate::analytic::{ExactConsistency, GaussianMixture, MixtureConfig};
use crate::{
    AlongLine, Autoguided, ConsistencyFunction, Denoiser, DiscretisationConfig, Euler, FlowMap, Guidance,
    Heun, NoiseLevels, NumLevels, QuantityError, SigmaRange, SolverConfig,
};
use std::cell::{Cell, RefCell};

mod laws;
mod limits;
mod regression;

fn sigma(value: f32) -> Sigma {
    Sigma::new(value).unwrap()
}

fn range() -> SigmaRange {
    DiscretisationConfig::default().range().unwrap()
}

fn levels(n: usize) -> NoiseLevels {
    DiscretisationConfig::default().build().unwrap().noise_levels(NumLevels::new(n).unwrap()).unwrap()
}

fn mixture(std: f32) -> GaussianMixture {
    MixtureConfig { std, ..MixtureConfig::default() }.build().unwrap()
}

fn exact(mixture: &GaussianMixture) -> ExactConsistency {
    ExactConsistency { mixture: mixture.clone(), sigma_min: range().min() }
}

/// Counts the images it is given.
struct Counted<M> {
    model: M,
    images: Cell<usize>,
}

impl<M: Denoiser> Denoiser for Counted<M> {
    fn denoise(&self, noisy: &ImageBatch, sigma: &[Sigma], labels: &[u32]) -> Result<ImageBatch, ModelError> {
        self.images.set(self.images.get() + noisy.count());
        self.model.denoise(noisy, sigma, labels)
    }
}

impl<M: ConsistencyFunction> ConsistencyFunction for Counted<M> {
    fn endpoint(
        &self,
        noisy: &ImageBatch,
        sigma: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        self.images.set(self.images.get() + noisy.count());
        self.model.endpoint(noisy, sigma, labels)
    }
}

/// A model whose image is its label, whatever it is given.
struct LabelAsImage;

impl Denoiser for LabelAsImage {
    fn denoise(&self, noisy: &ImageBatch, _: &[Sigma], labels: &[u32]) -> Result<ImageBatch, ModelError> {
        Ok(ImageBatch::from_fn(noisy.shape(), noisy.count(), |i, image| image.fill(labels[i] as f32)))
    }
}

impl ConsistencyFunction for LabelAsImage {
    fn endpoint(
        &self,
        noisy: &ImageBatch,
        sigma: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        self.denoise(noisy, sigma, labels)
    }
}

#[test]
fn every_sampler_tells_its_model_the_class_of_each_seed() {
    let (model, shape, levels) = (LabelAsImage, ImageShape::vector(1), levels(4));
    let seeds: Vec<u64> = (0..20).collect();
    for labels in [Labels::Uniform { classes: 10 }, Labels::Class(3)] {
        let expected: Vec<f32> = labels.of(&seeds).into_iter().map(|label| label as f32).collect();
        let check = |sampler: &dyn Sampler| {
            assert_eq!(sampler.sample(&seeds).unwrap().values(), expected);
        };
        check(&OneStep { model: &model, shape, sigma_max: sigma(80.0), labels });
        check(&Multistep::new(&model, shape, range(), vec![sigma(0.8)], false, labels).unwrap());
        check(&ProbabilityFlow {
            denoiser: &model,
            solver: &Heun,
            shape,
            levels: &levels,
            end: FlowEnd::Zero,
            labels,
        });
        check(&Stochastic::new(&model, &Heun, shape, &levels, Churn::default(), labels).unwrap());
        check(&DpmSolverPlusPlus { denoiser: &model, shape, levels: &levels, end: FlowEnd::Zero, labels });
        check(&Gamma::new(&model, shape, range(), vec![sigma(0.8)], 0.5, false, labels).unwrap());
        check(&Ancestral::new(&model, shape, &levels, 1.0, labels).unwrap());
        let line = AlongLine { model: &model, sigma_min: range().min() };
        check(&Jumps { map: Box::new(line), shape, levels: levels.clone(), labels });
    }
}

/// Runs `check` on every sampler over an exact mixture, with the counters of its two models.
fn for_every_sampler(check: impl Fn(&str, &dyn Sampler, &dyn Fn() -> usize)) {
    let mixture = mixture(0.1);
    let shape = mixture.shape();
    let model = Counted { model: exact(&mixture), images: Cell::new(0) };
    let denoiser = Counted { model: mixture, images: Cell::new(0) };
    let (levels, heun) = (levels(6), SolverConfig::Heun.build());
    let count = || model.images.get() + denoiser.images.get();
    check(
        "one step",
        &OneStep { model: &model, shape, sigma_max: sigma(80.0), labels: Labels::None },
        &count,
    );
    let times = vec![sigma(5.0), sigma(0.8)];
    check("multistep", &Multistep::new(&model, shape, range(), times, true, Labels::None).unwrap(), &count);
    let times = vec![sigma(5.0), sigma(0.8)];
    check("gamma", &Gamma::new(&model, shape, range(), times, 0.6, true, Labels::None).unwrap(), &count);
    let line = AlongLine { model: &model, sigma_min: range().min() };
    check(
        "jumps",
        &Jumps { map: Box::new(line), shape, levels: levels.clone(), labels: Labels::None },
        &count,
    );
    for end in [FlowEnd::Zero, FlowEnd::SigmaMin] {
        let labels = Labels::None;
        let flow =
            ProbabilityFlow { denoiser: &denoiser, solver: &*heun, shape, levels: &levels, end, labels };
        check("probability flow", &flow, &count);
        let multistep = DpmSolverPlusPlus { denoiser: &denoiser, shape, levels: &levels, end, labels };
        check("dpm-solver++", &multistep, &count);
    }
    let ancestral = Ancestral::new(&denoiser, shape, &levels, 0.7, Labels::None).unwrap();
    check("ancestral", &ancestral, &count);
    let churned = Stochastic::new(&denoiser, &*heun, shape, &levels, Churn::default(), Labels::None).unwrap();
    check("stochastic", &churned, &count);
}

#[test]
fn images_do_not_depend_on_their_batch() {
    for_every_sampler(|name, sampler, _| {
        let together = sampler.sample(&[3, 1, 4, 1, 5]).unwrap();
        assert_eq!(together.shape(), sampler.shape());
        for (i, seed) in [3, 1, 4, 1, 5].into_iter().enumerate() {
            assert_eq!(together.image(i), sampler.sample(&[seed]).unwrap().image(0), "{name}");
        }
        assert_ne!(together.image(0), together.image(1), "{name}");
        assert_eq!(sampler.sample(&[]).unwrap().count(), 0, "{name}");
    });
}

#[test]
fn images_do_not_depend_on_the_number_of_threads() {
    let seeds: Vec<u64> = (0..37).collect();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let samples = std::sync::Mutex::new(Vec::new());
            for_every_sampler(|_, sampler, _| samples.lock().unwrap().push(sampler.sample(&seeds).unwrap()));
            samples.into_inner().unwrap()
        })
    };
    let alone = with(1);
    assert_eq!(alone.len(), 10);
    assert_eq!(alone, with(3));
}

/// A guide's evaluations were left out of the number beside a guided teacher's scores.
#[test]
fn a_guide_s_evaluations_are_counted_where_it_is_asked() {
    let counted = |std| Counted { model: mixture(std), images: Cell::new(0) };
    let (denoiser, weaker) = (counted(0.1), counted(0.3));
    let guidance = Guidance { weight: 1.5, above: 0.05, up_to: 20.0 };
    let guided = Autoguided { denoiser: &denoiser, weaker: &weaker, guidance };
    for config in SolverConfig::ALL {
        let (solver, shape, levels) = (config.build(), ImageShape::vector(2), levels(6));
        let check = |name: &str, sampler: &dyn Sampler| {
            let before = [&denoiser, &weaker].map(|counted| counted.images.get());
            sampler.sample(&[1, 2]).unwrap();
            let asked = [&denoiser, &weaker].map(|counted| counted.images.get());
            let [own, guide] = [0, 1].map(|i| (asked[i] - before[i]) / 2);
            assert!(0 < guide && guide < own, "{name}: {guide} of {own}");
            assert_eq!(sampler.evaluations(), own + guide, "{name}");
        };
        for end in [FlowEnd::Zero, FlowEnd::SigmaMin] {
            let (denoiser, levels, labels) = (&guided, &levels, Labels::None);
            check("flow", &ProbabilityFlow { denoiser, solver: &*solver, shape, levels, end, labels });
            check("dpm-solver++", &DpmSolverPlusPlus { denoiser, shape, levels, end, labels });
        }
        let churned = Stochastic::new(&guided, &*solver, shape, &levels, Churn::default(), Labels::None);
        check("stochastic", &churned.unwrap());
        check("ancestral", &Ancestral::new(&guided, shape, &levels, 1.0, Labels::None).unwrap());
    }
}

#[test]
fn evaluations_are_counted_right() {
    for_every_sampler(|name, sampler, count| {
        let before = count();
        sampler.sample(&[1, 2, 3]).unwrap();
        assert_eq!(count() - before, 3 * sampler.evaluations(), "{name}");
    });
    // Karras et al. 2022: 18 levels are 35 evaluations, 40 are 79.
    let mixture = mixture(0.1);
    for (n, config, expected) in [
        (18, SolverConfig::Heun, 35),
        (40, SolverConfig::Heun, 79),
        (18, SolverConfig::Midpoint, 35),
        (18, SolverConfig::DpmSolver2, 35),
        (18, SolverConfig::Rho3Midpoint, 35),
        (18, SolverConfig::Euler, 18),
    ] {
        let (solver, levels) = (config.build(), levels(n));
        let flow = ProbabilityFlow {
            denoiser: &mixture,
            solver: &*solver,
            shape: mixture.shape(),
            levels: &levels,
            end: FlowEnd::Zero,
            labels: Labels::None,
        };
        assert_eq!(flow.evaluations(), expected);
    }
}

#[test]
fn sampling_times_are_checked() {
    let mixture = mixture(0.1);
    let model = exact(&mixture);
    let new = |times: &[f32]| {
        let times = times.iter().map(|&t| sigma(t)).collect();
        Multistep::new(&model, mixture.shape(), range(), times, false, Labels::None).err()
    };
    assert_eq!(new(&[]), None);
    assert_eq!(new(&[79.0, 0.002]), None);
    assert!(matches!(new(&[80.0]), Some(QuantityError::Outside { index: 0, .. })));
    assert!(matches!(new(&[1.0, 0.001]), Some(QuantityError::Outside { index: 1, .. })));
    assert!(matches!(new(&[1.0, 1.0]), Some(QuantityError::NotFalling { index: 1, .. })));
}

#[test]
fn intermediate_endpoints_are_clipped_only_if_asked() {
    /// Ends far outside [-1, 1] from T; returns its input elsewhere.
    struct Far;
    impl ConsistencyFunction for Far {
        fn endpoint(&self, noisy: &ImageBatch, sigma: &[Sigma], _: &[u32]) -> Result<ImageBatch, ModelError> {
            let first = sigma[0].get() == 80.0;
            Ok(noisy.clone().map(|v| if first { 7.0 } else { v }))
        }
    }
    let end = |clip| {
        let sampler =
            Multistep::new(&Far, ImageShape::vector(1), range(), vec![range().min()], clip, Labels::None)
                .unwrap();
        sampler.sample(&[1]).unwrap().values()[0]
    };
    // At t = sigma_min no noise is added.
    assert_eq!((end(false), end(true)), (7.0, 1.0));
}

/// Every draw of an image's noise is a new one: what the models are given is known to the bit.
#[test]
fn later_noise_is_not_the_starting_noise() {
    /// Denoises to 0, and remembers the batches it is given.
    struct Zero(RefCell<Vec<ImageBatch>>);
    impl Denoiser for Zero {
        fn denoise(&self, noisy: &ImageBatch, _: &[Sigma], _: &[u32]) -> Result<ImageBatch, ModelError> {
            self.0.borrow_mut().push(noisy.clone());
            Ok(ImageBatch::zeros(noisy.shape(), noisy.count()))
        }
    }
    impl ConsistencyFunction for Zero {
        fn endpoint(
            &self,
            noisy: &ImageBatch,
            sigma: &[Sigma],
            labels: &[u32],
        ) -> Result<ImageBatch, ModelError> {
            self.denoise(noisy, sigma, labels)
        }
    }
    let (shape, seeds) = (ImageShape::new(2, 2, 1), [11, 12]);
    let z = [0, 1, 2].map(|draw| batch_noise(shape, &seeds, draw));

    let model = Zero(RefCell::default());
    let range = SigmaRange::new(3.0, 10.0).unwrap();
    Multistep::new(&model, shape, range, vec![sigma(5.0), sigma(3.0)], false, Labels::None)
        .unwrap()
        .sample(&seeds)
        .unwrap();
    // sqrt(5^2 - 3^2) = 4.
    let given =
        [z[0].clone().map(|z| 10.0 * z), z[1].clone().map(|z| 4.0 * z), z[2].clone().map(|z| 0.0 * z)];
    assert_eq!(*model.0.borrow(), given);

    let denoiser = Zero(RefCell::default());
    let levels = NoiseLevels::new([4.0, 1.0]).unwrap();
    // gamma = 0.5 / 2, from 4 to 5 with noise of std 3 at the first level only.
    let churn = Churn { amount: 0.5, sigma_min: 2.0, sigma_max: 50.0, noise: 1.0 };
    Stochastic::new(&denoiser, &Euler, shape, &levels, churn, Labels::None).unwrap().sample(&seeds).unwrap();
    let mut first = z[0].clone().map(|z| 4.0 * z);
    first.values_mut().iter_mut().zip(z[1].values()).for_each(|(x, z)| *x += 3.0 * z);
    assert_eq!(denoiser.0.borrow()[0], first);
}
