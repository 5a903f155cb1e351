use super::*;
use cm_image::ImageShape;

fn sigma(value: f32) -> Sigma {
    Sigma::new(value).unwrap()
}

/// Only what was chosen is replaced, by the model's answer to its own lower point with its own class.
#[test]
fn chosen_images_are_what_the_model_makes_of_their_lower_points() {
    let shape = ImageShape::vector(2);
    let batch = |values: [f32; 6]| ImageBatch::new(shape, values.to_vec()).unwrap();
    let mut clean = batch([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let noise = batch([0.5, -0.5, 9.0, 9.0, 1.0, -2.0]);
    let lower = [0.5, 7.0, 2.0].map(sigma);
    // Worked out by hand: x + lower z is (1.25, 1.75) and (7, 2); the answer is that, plus the class, times the level.
    let predict = |x: &ImageBatch, sigma: &[Sigma], labels: &[u32]| {
        assert_eq!((sigma, labels), (&[lower[0], lower[2]][..], &[10, 30][..]));
        Ok(ImageBatch::from_fn(shape, 2, |image, out| {
            for (out, x) in out.iter_mut().zip(x.image(image)) {
                *out = sigma[image].get() * (x + labels[image] as f32);
            }
        }))
    };
    augment(&mut clean, (&[true, false, true], &noise, &lower), &[10, 20, 30], predict).unwrap();
    assert_eq!(clean.values(), [5.625, 5.875, 3.0, 4.0, 74.0, 64.0]);
}

#[test]
fn none_chosen_asks_nobody() {
    let mut clean = ImageBatch::zeros(ImageShape::vector(1), 2);
    let noise = clean.clone();
    let never = |_: &ImageBatch, _: &[Sigma], _: &[u32]| panic!("nothing to be made");
    augment(&mut clean, (&[false; 2], &noise, &[sigma(1.0); 2]), &[], never).unwrap();
}

#[test]
fn about_the_share_is_chosen_and_always_the_same() {
    let config = GeneratorAugmentedConfig { share: 0.3, ..GeneratorAugmentedConfig::default() };
    let chosen = |step| config.chosen(10_000, StepSeed::new(1, 2, step));
    assert_eq!(chosen(4), chosen(4));
    assert_ne!(chosen(4), chosen(5));
    let share = chosen(4).iter().filter(|chosen| **chosen).count() as f64 / 1e4;
    // Five standard errors.
    assert!((share - 0.3).abs() < 5.0 * (0.21f64 / 1e4).sqrt(), "{share}");
    let all = GeneratorAugmentedConfig { share: 1.0, ..config };
    assert!(all.chosen(100, StepSeed::new(1, 2, 3)).iter().all(|chosen| *chosen));
}
