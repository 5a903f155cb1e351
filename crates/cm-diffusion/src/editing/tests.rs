use super::*;
use crate::analytic::{ExactConsistency, GaussianMixture};
use crate::{ConsistencyFunction, Labels, ModelError, Multistep, OneStep, Sampler, Sigma, SigmaRange};
use cm_image::ImageBatch;
use cm_image::random::Random;

fn sigma(value: f32) -> Sigma {
    Sigma::new(value).unwrap()
}

fn range() -> SigmaRange {
    SigmaRange::new(0.002, 80.0).unwrap()
}

fn levels(values: &[f32]) -> Vec<Sigma> {
    values.iter().map(|&value| sigma(value)).collect()
}

fn random_images(shape: ImageShape, count: usize, seed: u64) -> ImageBatch {
    let mut random = Random::new(seed);
    ImageBatch::from_fn(shape, count, |_, out| out.fill_with(|| 2.0 * random.uniform() - 1.0))
}

/// A consistency function of nothing in particular: each value depends on all of them, on the level and on the class.
/// At sigma_min it is the identity.
struct Stirred;

impl ConsistencyFunction for Stirred {
    fn endpoint(
        &self,
        noisy: &ImageBatch,
        sigma: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        Ok(ImageBatch::from_fn(noisy.shape(), noisy.count(), |i, out| {
            let (image, above) = (noisy.image(i), sigma[i].get() - range().min().get());
            let class = labels.get(i).map_or(0.0, |&label| label as f32);
            let mean = image.iter().sum::<f32>() / image.len() as f32;
            for (k, (out, x)) in out.iter_mut().zip(image).enumerate() {
                *out = (x + above * (0.3 * mean + 0.1 * k as f32 + class).sin()) / (1.0 + above);
            }
        }))
    }
}

fn editor(values: &[f32], clip: bool) -> Editor<'static> {
    Editor::new(&Stirred, range(), levels(values), clip, Labels::None).unwrap()
}

/// f over an exact mixture, evaluated at forty levels.
fn exact_edit(mixture: &GaussianMixture, task: &dyn Task, reference: &ImageBatch) -> ImageBatch {
    let model = ExactConsistency { mixture: mixture.clone(), sigma_min: range().min() };
    let falling: Vec<f32> = (0..40).map(|i| 20.0 * 0.8f32.powi(i)).collect();
    let editor = Editor::new(&model, range(), levels(&falling), false, Labels::None).unwrap();
    let seeds: Vec<u64> = (0..reference.count() as u64).collect();
    editor.edit(task, reference, &seeds).unwrap()
}

/// The matrix whose first column is the direction of `first` and whose columns are orthonormal: Gram and Schmidt, twice.
fn orthogonal(first: &[f64]) -> Vec<Vec<f64>> {
    let n = first.len();
    let mut columns: Vec<Vec<f64>> = Vec::new();
    for k in 0..n {
        // A zero of `first` would make a unit vector depend on the others; there is none.
        let mut column = if k == 0 { first.to_vec() } else { (0..n).map(|i| f64::from(i == k)).collect() };
        for _ in 0..2 {
            for done in &columns {
                let along: f64 = column.iter().zip(done).map(|(a, b)| a * b).sum();
                column.iter_mut().zip(done).for_each(|(c, d)| *c -= along * d);
            }
        }
        let length = column.iter().map(|c| c * c).sum::<f64>().sqrt();
        columns.push(column.into_iter().map(|c| c / length).collect());
    }
    columns
}

/// A^-1 [(1 - Omega) A y + Omega A x] as the paper writes it: coordinates of `x` and `y` in the columns, the first of
/// `y` kept, and back.
fn mixed(columns: &[Vec<f64>], y: &[f64], x: &[f64]) -> Vec<f64> {
    let coordinate = |column: &Vec<f64>, v: &[f64]| column.iter().zip(v).map(|(a, b)| a * b).sum::<f64>();
    let mut out = vec![0.0; x.len()];
    for (k, column) in columns.iter().enumerate() {
        let kept = coordinate(column, if k == 0 { y } else { x });
        out.iter_mut().zip(column).for_each(|(out, c)| *out += kept * c);
    }
    out
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

#[test]
fn colours_are_mixed_as_with_the_papers_matrix() {
    // Song et al. 2023, Appendix D: the columns of Q, four decimals.
    let paper = [[0.4471, 0.8780, 0.1705], [-0.8204, 0.4785, -0.3129], [0.3563, 0.0, -0.9343]];
    let columns = orthogonal(&LUMINANCE.map(f64::from));
    for (ours, paper) in columns[0].iter().zip(paper[0]) {
        // Its digits are cut off, not rounded.
        assert!((0.0..1e-4).contains(&(ours - paper)), "{ours} for {paper}");
    }
    let shape = ImageShape::new(2, 3, 3);
    let task = Colourisation::new(shape).unwrap();
    let (y, x) = (random_images(shape, 1, 1), random_images(shape, 1, 2));
    let mut mix = x.clone();
    task.put_back(y.image(0), mix.values_mut());
    for pixel in 0..6 {
        let part = |batch: &ImageBatch| wide(&batch.values()[3 * pixel..3 * pixel + 3]);
        let given = part(&mix);
        let papers = mixed(&paper.map(|column| column.to_vec()), &part(&y), &part(&x));
        let exact = mixed(&columns, &part(&y), &part(&x));
        for ((given, exact), papers) in given.iter().zip(exact).zip(papers) {
            assert!((given - exact).abs() < 1e-6, "{given} for {exact}");
            assert!((given - papers).abs() < 1e-3, "{given} for {papers}, whose digits are four");
        }
    }
}

#[test]
fn blocks_are_mixed_as_with_the_papers_matrix() {
    let shape = ImageShape::new(6, 3, 2);
    let task = SuperResolution::new(shape, 3).unwrap();
    let columns = orthogonal(&[1.0 / 3.0; 9]);
    let (y, x) = (random_images(shape, 1, 3), random_images(shape, 1, 4));
    let mut mix = x.clone();
    task.put_back(y.image(0), mix.values_mut());
    for block in 0..2 {
        for channel in 0..2 {
            let places = (0..9).map(|i| ((block * 3 + i / 3) * 3 + i % 3) * 2 + channel);
            let part = |batch: &ImageBatch| -> Vec<f64> {
                places.clone().map(|at| f64::from(batch.values()[at])).collect()
            };
            for (given, exact) in part(&mix).iter().zip(mixed(&columns, &part(&y), &part(&x))) {
                assert!((given - exact).abs() < 1e-6, "{given} for {exact}");
            }
        }
    }
}

#[test]
fn inpainting_keeps_what_is_known_to_the_bit_and_makes_up_the_rest() {
    let shape = ImageShape::new(4, 4, 3);
    let known: Vec<bool> = (0..48).map(|i| i < 24).collect();
    let task = Inpainting::new(shape, known).unwrap();
    let reference = random_images(shape, 3, 5);
    for clip in [false, true] {
        let edited = editor(&[80.0, 5.0, 0.3], clip).edit(&task, &reference, &[7, 8, 7]).unwrap();
        for (edited, reference) in edited.images().zip(reference.images()) {
            assert_eq!(edited[..24], reference[..24]);
            assert!(edited[24..].iter().zip(&reference[24..]).all(|(a, b)| a != b));
        }
    }
    // What is unknown has no say.
    let mut wiped = reference.clone();
    wiped.images_mut().for_each(|image| image[24..].fill(0.7));
    let edit = |reference| editor(&[80.0, 0.3], true).edit(&task, reference, &[7, 8, 7]).unwrap();
    assert_eq!(edit(&reference), edit(&wiped));
}

#[test]
fn super_resolution_keeps_the_means_of_blocks() {
    let shape = ImageShape::new(8, 4, 3);
    let task = SuperResolution::new(shape, 2).unwrap();
    let reference = random_images(shape, 2, 6);
    let edited = editor(&[80.0, 2.0], true).edit(&task, &reference, &[1, 2]).unwrap();
    let (kept, given) = (task.reduce(&edited), task.reduce(&reference));
    for (kept, given) in kept.values().iter().zip(given.values()) {
        assert!((kept - given).abs() < 1e-5, "{kept} for {given}");
    }
    assert!(edited != reference);
    // The means are all that the result knows of the reference.
    let blurred = task.enlarge(&given);
    let from_blurred = editor(&[80.0, 2.0], true).edit(&task, &blurred, &[1, 2]).unwrap();
    for (a, b) in edited.values().iter().zip(from_blurred.values()) {
        assert!((a - b).abs() < 1e-4, "{a} and {b}");
    }
}

#[test]
fn enlarging_repeats_pixels_and_reducing_takes_them_back() {
    let task = SuperResolution::new(ImageShape::new(4, 6, 1), 2).unwrap();
    assert_eq!(task.small_shape(), ImageShape::new(2, 3, 1));
    let small = ImageBatch::new(task.small_shape(), vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let large = task.enlarge(&small);
    let rows = [[1.0, 1.0, 2.0, 2.0, 3.0, 3.0], [4.0, 4.0, 5.0, 5.0, 6.0, 6.0]];
    assert_eq!(large.values(), [rows[0], rows[0], rows[1], rows[1]].concat());
    assert_eq!(task.reduce(&large), small);
}

#[test]
fn colourisation_keeps_the_luminance() {
    let shape = ImageShape::new(3, 3, 3);
    let task = Colourisation::new(shape).unwrap();
    let reference = random_images(shape, 2, 7);
    let edited = editor(&[80.0, 2.0, 0.1], true).edit(&task, &reference, &[1, 2]).unwrap();
    let luminance =
        |pixel: &[f32]| -> f64 { wide(pixel).iter().zip(LUMINANCE).map(|(v, w)| v * f64::from(w)).sum() };
    for (edited, reference) in edited.values().chunks(3).zip(reference.values().chunks(3)) {
        assert!((luminance(edited) - luminance(reference)).abs() < 1e-5);
        assert!((edited[0] - reference[0]).abs() > 1e-4, "colours are made up");
    }
}

#[test]
fn at_sigma_min_strokes_and_noisy_images_come_back() {
    let shape = ImageShape::new(2, 2, 1);
    let reference = random_images(shape, 2, 8);
    let at_min = [range().min().get()];
    assert_eq!(editor(&at_min, true).edit(&Stroke { shape }, &reference, &[1, 2]).unwrap(), reference);
    assert_eq!(denoise(&Stirred, &reference, range().min(), &[]).unwrap(), reference);
    assert!(denoise(&Stirred, &reference, sigma(0.5), &[]).unwrap() != reference);
    let levels = Stroke::levels();
    assert_eq!(levels.map(Sigma::get), [5.38, 2.24]);
    assert!(
        editor(&levels.map(Sigma::get), true).edit(&Stroke { shape }, &reference, &[1, 2]).unwrap()
            != reference
    );
}

#[test]
fn where_nothing_is_known_an_edit_is_a_sample() {
    let shape = ImageShape::new(2, 2, 1);
    let task = Inpainting::new(shape, vec![false; 4]).unwrap();
    let (seeds, reference) = ([3, 9], random_images(shape, 2, 9));
    let labels = Labels::Uniform { classes: 5 };
    let edit = |values: &[f32]| {
        let editor = Editor::new(&Stirred, range(), levels(values), false, labels).unwrap();
        editor.edit(&task, &reference, &seeds).unwrap()
    };
    let one = OneStep { model: &Stirred, shape, sigma_max: range().max(), labels };
    assert_eq!(edit(&[80.0]), one.sample(&seeds).unwrap());
    let more = Multistep::new(&Stirred, shape, range(), levels(&[3.0, 0.8]), false, labels).unwrap();
    assert_eq!(edit(&[80.0, 3.0, 0.8]), more.sample(&seeds).unwrap());
}

#[test]
fn an_edit_does_not_depend_on_its_batch() {
    let shape = ImageShape::new(2, 2, 1);
    let task = Inpainting::new(shape, vec![true, false, false, false]).unwrap();
    let reference = random_images(shape, 3, 10);
    let together = editor(&[80.0, 3.0], true).edit(&task, &reference, &[4, 5, 6]).unwrap();
    for (i, seed) in [4, 5, 6].into_iter().enumerate() {
        let alone = editor(&[80.0, 3.0], true).edit(&task, &reference.slice(i..i + 1), &[seed]).unwrap();
        assert_eq!(alone.image(0), together.image(i));
    }
}

#[test]
fn the_ends_of_a_path_are_the_samples_of_its_seeds() {
    let shape = ImageShape::new(2, 2, 1);
    let path = Interpolation::between_samples(shape, (3, 9), 5);
    let labels = Labels::Class(2);
    for values in [&[80.0][..], &[80.0, 0.8]] {
        let editor = Editor::new(&Stirred, range(), levels(values), false, labels).unwrap();
        let images = editor.interpolate(&path).unwrap();
        let times = levels(&values[1..]);
        let sampler = Multistep::new(&Stirred, shape, range(), times, false, labels).unwrap();
        let ends = sampler.sample(&[3, 9]).unwrap();
        assert_eq!((images.image(0), images.image(4)), (ends.image(0), ends.image(1)));
        assert!(images.image(2) != images.image(0) && images.image(2) != images.image(4));
    }
    assert_eq!(Interpolation::between_samples(shape, (3, 9), 1).noise(0), path.noise(0).slice(0..1));
}

#[test]
fn a_path_between_images_has_them_as_ends_where_there_is_no_noise() {
    let shape = ImageShape::new(2, 2, 1);
    let (from, to) = (random_images(shape, 1, 11), random_images(shape, 1, 12));
    let path = Interpolation::between_images(&from, &to, (1, 2), 3);
    let images = editor(&[range().min().get()], true).interpolate(&path).unwrap();
    assert_eq!((images.image(0), images.image(2)), (from.image(0), to.image(0)));
    for (middle, (a, b)) in images.image(1).iter().zip(from.values().iter().zip(to.values())) {
        assert!((middle - 0.5 * (a + b)).abs() < 1e-6);
    }
    // With noise the ends are strokes.
    let noisy = editor(&[2.0], true).interpolate(&path).unwrap();
    let stroke = editor(&[2.0], true).edit(&Stroke { shape }, &to, &[2]).unwrap();
    assert_eq!(noisy.image(2), stroke.image(0));
}

#[test]
fn spherical_interpolation_stays_on_the_sphere_at_even_angles() {
    let half = std::f64::consts::FRAC_PI_2;
    for step in 0..=8 {
        let alpha = f64::from(step) / 8.0;
        let point = slerp(&[3.0, 0.0, 0.0], &[0.0, 0.0, 3.0], alpha);
        let expected = [3.0 * (alpha * half).cos(), 0.0, 3.0 * (alpha * half).sin()];
        for (point, expected) in point.iter().zip(expected) {
            assert!((f64::from(*point) - expected).abs() < 1e-6, "{point} for {expected}");
        }
    }
    // Any angle: the norm of two vectors of norm 5 at 2 atan(3 / 4), and the middle halves the angle.
    let (a, b) = ([5.0, 0.0], [1.4, 4.8]);
    for step in 0..=10 {
        let point = wide(&slerp(&a, &b, f64::from(step) / 10.0));
        assert!((point[0].hypot(point[1]) - 5.0).abs() < 1e-6);
    }
    let middle = slerp(&a, &b, 0.5);
    assert!((middle[0] - 4.0).abs() < 1e-6 && (middle[1] - 3.0).abs() < 1e-6, "{middle:?}");
    // To the bit at the ends, whatever the vectors.
    let (a, b) = (random_images(ImageShape::vector(9), 1, 1), random_images(ImageShape::vector(9), 1, 2));
    assert_eq!(slerp(a.values(), b.values(), 0.0), a.values());
    assert_eq!(slerp(a.values(), b.values(), 1.0), b.values());
}

#[test]
fn where_there_is_no_great_circle_the_line_is_straight() {
    assert_eq!(slerp(&[1.0, 2.0], &[1.0, 2.0], 0.3), [1.0, 2.0]);
    assert_eq!(slerp(&[1.0], &[-3.0], 0.5), [-1.0]);
    assert_eq!(slerp(&[0.0, 0.0], &[2.0, 4.0], 0.5), [1.0, 2.0]);
}

/// Three narrow modes in the plane: to the left of 0 there are two, above and below; to the right one, in the middle.
fn three_modes() -> GaussianMixture {
    let means = vec![vec![-0.8, 0.8], vec![-0.8, -0.8], vec![0.8, 0.0]];
    GaussianMixture::new(vec![1.0; 3], means, vec![0.05; 3]).unwrap()
}

#[test]
fn the_unknown_coordinate_of_a_mixture_is_made_up_from_the_known_one() {
    let mixture = three_modes();
    let task = Inpainting::new(mixture.shape(), vec![true, false]).unwrap();
    let n = 100;
    let given = |x: f32| ImageBatch::from_fn(mixture.shape(), n, |_, out| out.copy_from_slice(&[x, 9.0]));
    let right = exact_edit(&mixture, &task, &given(0.8));
    assert!(right.images().all(|point| point[0] == 0.8 && point[1].abs() < 0.25), "{:?}", right.values());
    let left = exact_edit(&mixture, &task, &given(-0.8));
    assert!(left.images().all(|point| point[0] == -0.8 && (point[1].abs() - 0.8).abs() < 0.25));
    let above = left.images().filter(|point| point[1] > 0.0).count();
    // Both modes are equally likely: Binomial(100, 1/2) has a standard deviation of 5.
    assert!((25..=75).contains(&above), "{above} of {n} above");
    // And the spread within a mode is the mode's.
    let spread = (right.images().map(|point| f64::from(point[1]).powi(2)).sum::<f64>() / n as f64).sqrt();
    assert!((0.032..0.068).contains(&spread), "{spread} for 0.05");
}

#[test]
fn colours_of_a_mixture_are_those_of_its_mode_of_that_luminance() {
    // A bright yellow and a dark blue; the grey image knows only the luminance.
    let (yellow, blue) = (vec![0.9, 0.9, -0.2], vec![-0.9, -0.9, 0.2]);
    let mixture =
        GaussianMixture::new(vec![1.0; 2], vec![yellow.clone(), blue.clone()], vec![0.02; 2]).unwrap();
    let task = Colourisation::new(mixture.shape()).unwrap();
    for mode in [yellow, blue] {
        let weights = LUMINANCE.map(f64::from);
        let luminance: f64 = mode.iter().zip(weights).map(|(v, w)| v * w).sum();
        let grey = (luminance / weights.iter().sum::<f64>()) as f32;
        let reference = ImageBatch::from_fn(mixture.shape(), 20, |_, out| out.fill(grey));
        let edited = exact_edit(&mixture, &task, &reference);
        for (value, mean) in edited.images().flat_map(|point| point.iter().zip(&mode)) {
            assert!((f64::from(*value) - mean).abs() < 0.15, "{value} for {mean}");
        }
    }
}

#[test]
fn a_stroke_ends_at_the_mode_it_lies_next_to() {
    let mixture = three_modes();
    let model = ExactConsistency { mixture: mixture.clone(), sigma_min: range().min() };
    let editor = Editor::new(&model, range(), levels(&[0.12, 0.06]), false, Labels::None).unwrap();
    // Five standard deviations of the noise away from the nearest point that another mode would draw in.
    let stroke = ImageBatch::from_fn(mixture.shape(), 50, |_, out| out.copy_from_slice(&[0.6, -0.1]));
    let seeds: Vec<u64> = (0..50).collect();
    let edited = editor.edit(&Stroke { shape: mixture.shape() }, &stroke, &seeds).unwrap();
    for point in edited.images() {
        assert_eq!(mixture.nearest(&wide(point)), 2);
        assert!((point[0] - 0.8).abs() < 0.25 && point[1].abs() < 0.25, "{point:?}");
    }
}

#[test]
fn what_cannot_be_is_an_error() {
    let refuse =
        |values: &[f32]| Editor::new(&Stirred, range(), levels(values), true, Labels::None).err().unwrap();
    assert_eq!(refuse(&[]), EditError::NoLevels);
    let outside = |index, level| EditError::Outside { index, level, min: 0.002, max: 80.0 };
    assert_eq!(refuse(&[80.1]), outside(0, 80.1));
    assert_eq!(refuse(&[1.0, 0.001]), outside(1, 0.001));
    assert_eq!(refuse(&[1.0, 1.0]), EditError::NotFalling { index: 1, level: 1.0, before: 1.0 });
    let shape = ImageShape::new(4, 6, 1);
    assert_eq!(Inpainting::new(shape, vec![true; 23]), Err(EditError::Mask { given: 23, shape }));
    assert_eq!(Colourisation::new(shape), Err(EditError::Channels(shape)));
    for factor in [0, 3, 4] {
        assert_eq!(SuperResolution::new(shape, factor), Err(EditError::Factor { factor, shape }));
    }
    let other = random_images(ImageShape::new(4, 4, 1), 1, 1);
    let edit =
        |images: &ImageBatch, seeds: &[u64]| editor(&[1.0], true).edit(&Stroke { shape }, images, seeds);
    assert!(matches!(edit(&other, &[1]), Err(ModelError::Shape { .. })));
    let fitting = random_images(shape, 2, 1);
    assert!(matches!(edit(&fitting, &[1]), Err(ModelError::Count { images: 2, sigmas: 1 })));
}
