//! How varied samples are, by LPIPS.

use super::{EvaluationError, SampleScorer, batches, check_finite};
use crate::report::{Score, mean_and_sd};
use cm_image::ImageBatch;
use cm_image::random::Random;
use cm_network::feature_net::Lpips;
use cm_network::{Graph, Images};
use std::ops::ControlFlow;

/// The mean LPIPS of pairs of samples (Zhu et al. 2017, Section 5): which two make a pair is drawn at random, each image
/// is in one pair, and of an odd number one is left over.
///
/// A set that lacks kinds of images has less than held-out images, and one of noise has more.
pub struct Diversity {
    lpips: Lpips,
    seed: u64,
    batch: usize,
}

impl Diversity {
    /// What its score is called, without the number of samples.
    pub const NAME: &str = "lpips-diversity";
    /// Fewest images: two pairs have a spread.
    pub const MIN_IMAGES: usize = 4;

    /// By `lpips`, of pairs that are drawn from `seed`, `batch` pairs at a time.
    ///
    /// # Panics
    /// If `batch` is 0.
    pub fn new(lpips: Lpips, seed: u64, batch: usize) -> Self {
        assert!(batch > 0, "batches have pairs");
        Self { lpips, seed, batch }
    }

    /// The distance of the two images of each pair.
    fn distances(
        &self,
        images: &ImageBatch,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Vec<f64>, EvaluationError> {
        let order = Random::new(self.seed).permutation(images.count());
        let (firsts, seconds) = order.split_at(images.count() / 2);
        let chosen = |numbers: &[usize]| {
            let copied = ImageBatch::from_fn(images.shape(), numbers.len(), |place, out| {
                out.copy_from_slice(images.image(numbers[place]));
            });
            Images::from_batch(&copied)
        };
        let mut distances = Vec::with_capacity(firsts.len());
        for pairs in batches(firsts.len(), self.batch) {
            let (first, second) = (chosen(&firsts[pairs.clone()]), chosen(&seconds[pairs]));
            let values = self.lpips.distance(&mut Graph::inference(), &first, &second);
            distances.extend(values.values().iter().map(|&value| f64::from(value)));
            if progress(2 * distances.len(), images.count()).is_break() {
                return Err(EvaluationError::Stopped);
            }
        }
        Ok(distances)
    }
}

impl SampleScorer for Diversity {
    fn network(&self) -> &'static str {
        "the LPIPS network"
    }

    /// # Panics
    /// If there are fewer than [`MIN_IMAGES`](Diversity::MIN_IMAGES) images.
    fn score(
        &self,
        images: &ImageBatch,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Vec<Score>, EvaluationError> {
        check_finite(images, "samples")?;
        assert!(images.count() >= Self::MIN_IMAGES, "{} images for pairs", images.count());
        let distances = self.distances(images, progress)?;
        let (mean, sd) = mean_and_sd(&distances);
        let standard_error = sd.map(|sd| sd / (distances.len() as f64).sqrt());
        Ok(vec![Score::new(Self::NAME, images.count(), mean, standard_error)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_image::ImageShape;
    use cm_network::feature_net::{LpipsOptions, LpipsPooling, LpipsResize, LpipsTrunk};

    /// AlexNet's trunk with random weights, of a fixture.
    fn lpips() -> Lpips {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/parity/lpips.safetensors");
        let bytes = std::fs::read(path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let values =
            |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let arrays = file.tensors().into_iter().filter_map(|(name, view)| {
            Some((name.strip_prefix("alex/")?.to_owned(), view.shape().to_vec(), values(view.data())))
        });
        let arrays = arrays.collect();
        let options = LpipsOptions {
            trunk: LpipsTrunk::AlexNet,
            pooling: LpipsPooling::Max,
            resize: LpipsResize::Never,
            ..LpipsOptions::default()
        };
        Lpips::new(options, &arrays, &arrays).unwrap()
    }

    fn go_on(_: usize, _: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn each_image_is_in_one_pair_and_batches_are_no_matter() {
        let shape = ImageShape::new(32, 32, 3);
        let mut random = Random::new(3);
        let images =
            ImageBatch::from_fn(shape, 9, |_, image| image.fill_with(|| 2.0 * random.uniform() - 1.0));
        let score = |batch: usize| Diversity::new(lpips(), 5, batch).score(&images, &mut go_on).unwrap();
        let whole = score(4);
        assert_eq!((whole.len(), whole[0].metric.as_str()), (1, "lpips-diversity-9"));
        assert!((score(3)[0].value - whole[0].value).abs() <= 1e-6 * whole[0].value);
        // By hand: the first half of the shuffled images with the second, the ninth left over.
        let order = Random::new(5).permutation(9);
        let lpips = lpips();
        let by_hand: Vec<f64> = (0..4)
            .map(|pair| {
                let image = |number: usize| Images::from_batch(&images.slice(number..number + 1));
                let (first, second) = (image(order[pair]), image(order[pair + 4]));
                f64::from(lpips.distance(&mut Graph::inference(), &first, &second).values()[0])
            })
            .collect();
        let (mean, sd) = mean_and_sd(&by_hand);
        assert!(mean > 0.0 && (whole[0].value - mean).abs() <= 1e-6 * mean, "{} {mean}", whole[0].value);
        let error = whole[0].standard_error.unwrap();
        assert!((error - sd.unwrap() / 2.0).abs() <= 1e-4 * error, "{error} {sd:?}");
    }

    #[test]
    fn one_image_again_and_again_has_none_and_a_stop_is_seen() {
        let images = ImageBatch::from_fn(ImageShape::new(32, 32, 3), 8, |_, image| image.fill(0.25));
        let diversity = Diversity::new(lpips(), 0, 2);
        assert_eq!(diversity.score(&images, &mut go_on).unwrap()[0].value, 0.0);
        let stopped = diversity.score(&images, &mut |_, _| ControlFlow::Break(()));
        assert!(matches!(stopped, Err(EvaluationError::Stopped)), "{stopped:?}");
    }
}
