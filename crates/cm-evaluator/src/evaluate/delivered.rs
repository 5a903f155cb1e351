//! What is scored is what is delivered: 8-bit pixels, within [-1, 1].

use super::*;
use crate::features::Pixels;
use cm_image::Quantisation;

#[test]
fn raw_samples_were_scored_and_not_the_delivered_pixels() {
    let pixels = Pixels { shape: ImageShape::new(1, 2, 1) };
    let judges = Judges { extractor: Some(&pixels), ..Default::default() };
    let config = MetricConfig::default();
    // Levels of which no 8-bit pixel is one, as the digits have them.
    let data = |seed| {
        ImageBatch::from_fn(pixels.shape, 60, |i, image| {
            let mut random = cm_image::random::Random::new(derive_seed(seed, i as u64));
            image.fill_with(|| (16.0 * random.uniform()).floor() / 8.0 - 0.93);
        })
    };
    let kinds = [MetricKind::Frechet, MetricKind::Kid, MetricKind::SlicedWasserstein];
    /// A level of the data for each pixel, and one of them beyond [-1, 1].
    struct Beyond<F: Fn(u64) -> ImageBatch>(F);
    impl<F: Fn(u64) -> ImageBatch> Sampler for Beyond<F> {
        fn shape(&self) -> ImageShape {
            ImageShape::new(1, 2, 1)
        }
        fn sample(&self, seeds: &[u64]) -> Result<ImageBatch, ModelError> {
            Ok(ImageBatch::from_fn(self.shape(), seeds.len(), |i, image| {
                image.copy_from_slice((self.0)(seeds[i]).image(0));
                image[1] *= 1.4;
            }))
        }
        fn evaluations(&self) -> usize {
            1
        }
    }
    let sampler = Beyond(data);
    let mut go_on = |_, _| ControlFlow::Continue(());
    let mut scored = |rule| {
        let reference = Reference::new(&kinds, &config, rule, data(1), judges).unwrap();
        evaluate(&reference, &sampler, 40, 9, &mut go_on).unwrap()
    };
    let raw = sampler.sample(&image_seeds(9, 40)).unwrap();
    for rule in [Quantisation::Round, Quantisation::Truncate] {
        let delivered = raw.clone().map(|value| cm_image::from_u8(rule.pixel(value)));
        let reference = Quantisation::Round.delivered(data(1));
        let by_hand = Reference::new(&kinds, &config, None, reference, judges).unwrap();
        assert_eq!(scored(Some(rule)), by_hand.score(&delivered, None).unwrap());
        // The floor's images are data, whatever the rule of samples.
        let reference = Reference::new(&kinds, &config, Some(rule), data(1), judges).unwrap();
        let rounded = Quantisation::Round.delivered(data(2));
        assert_eq!(floor(&reference, data(2)).unwrap(), by_hand.score(&rounded, None).unwrap());
    }
    let values = |scores: Vec<Score>| scores.into_iter().map(|score| score.value).collect::<Vec<_>>();
    let all =
        [Some(Quantisation::Round), Some(Quantisation::Truncate), None].map(|rule| values(scored(rule)));
    assert!(all[0] != all[1] && all[0] != all[2] && all[1] != all[2], "{all:?}");
}
