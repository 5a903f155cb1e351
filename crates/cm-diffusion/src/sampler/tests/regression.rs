//! One test for each mistake of the original code of Song et al. 2023 that samplers could repeat.

use super::*;

/// A consistency function that remembers the levels it is asked about, and the spread of what it is given.
#[derive(Default)]
struct Witness {
    levels: RefCell<Vec<f32>>,
    spreads: RefCell<Vec<f32>>,
}

impl ConsistencyFunction for Witness {
    fn endpoint(&self, noisy: &ImageBatch, sigma: &[Sigma], _: &[u32]) -> Result<ImageBatch, ModelError> {
        let square: f32 = noisy.values().iter().map(|value| value * value).sum();
        self.levels.borrow_mut().push(sigma[0].get());
        self.spreads.borrow_mut().push((square / noisy.values().len() as f32).sqrt());
        Ok(ImageBatch::zeros(noisy.shape(), noisy.count()))
    }
}

/// The original's notebook starts from an index into the grid, 0, where the noise level at that index is meant: no noise
/// at all, evaluated as if it were sigma_max. Here every evaluation is given the noise of the level it is told.
#[test]
fn what_is_evaluated_at_a_level_has_that_level_s_noise() {
    let (shape, seeds): (_, Vec<u64>) = (ImageShape::vector(10), (0..500).collect());
    let (range, times) = (SigmaRange::new(0.002, 80.0).unwrap(), [24.4, 5.84].map(sigma));
    for gamma in [None, Some(0.0), Some(0.7)] {
        let witness = Witness::default();
        let sampler: Box<dyn Sampler> = match gamma {
            None => {
                Box::new(Multistep::new(&witness, shape, range, times.to_vec(), false, Labels::None).unwrap())
            }
            Some(gamma) => Box::new(
                Gamma::new(&witness, shape, range, times.to_vec(), gamma, false, Labels::None).unwrap(),
            ),
        };
        sampler.sample(&seeds).unwrap();
        assert_eq!(*witness.levels.borrow(), [80.0, 24.4, 5.84]);
        for (level, spread) in witness.levels.borrow().iter().zip(&*witness.spreads.borrow()) {
            // 5000 values: the spread is good to a hundredth; five of those.
            assert!((spread / level - 1.0).abs() < 0.05, "{gamma:?}: {spread} at {level}");
        }
    }
}

/// The original's `determ` generator promises images that do not depend on the batch, but never counts the samples done.
#[test]
fn a_second_batch_has_noise_of_its_own_and_the_same_as_in_one() {
    for_every_sampler(|name, sampler, _| {
        let together = sampler.sample(&[1, 2, 3, 4]).unwrap();
        let (first, second) = (sampler.sample(&[1, 2]).unwrap(), sampler.sample(&[3, 4]).unwrap());
        assert_eq!((together.slice(0..2), together.slice(2..4)), (first.clone(), second.clone()), "{name}");
        assert_ne!(first, second, "{name}");
    });
}

/// The original draws the labels of samples outside its seeded generator: the same seed, other classes.
#[test]
fn the_same_seed_gives_the_same_class() {
    let (model, shape, labels) = (LabelAsImage, ImageShape::vector(1), Labels::Uniform { classes: 1000 });
    let sampler = OneStep { model: &model, shape, sigma_max: sigma(80.0), labels };
    let seeds: Vec<u64> = (0..20).collect();
    let classes = sampler.sample(&seeds).unwrap();
    assert_eq!(classes, sampler.sample(&seeds).unwrap());
    assert!(classes.values().windows(2).any(|pair| pair[0] != pair[1]));
}

/// The original reports N evaluations for Heun's N levels; they are 2 N - 1.
#[test]
fn heun_s_second_evaluations_are_counted() {
    let denoiser = Counted { model: mixture(0.1), images: Cell::new(0) };
    let (shape, levels) = (ImageShape::vector(2), levels(18));
    let (end, labels) = (FlowEnd::Zero, Labels::None);
    let flow = ProbabilityFlow { denoiser: &denoiser, solver: &Heun, shape, levels: &levels, end, labels };
    flow.sample(&[1]).unwrap();
    assert_eq!((denoiser.images.get(), flow.evaluations()), (35, 35));
}
