//! Training with the derivative in forward mode.

use super::*;
use cm_training::resumption::{IMAGES, TOTAL, assert_goes_on};

fn config(tangent: TangentConfig) -> ContinuousTimeConfig {
    ContinuousTimeConfig { tangent, ..ContinuousTimeConfig::default() }
}

fn central(step: f32) -> TangentConfig {
    TangentConfig::Central(CentralConfig { step })
}

/// A step is that with differences, whose error falls with the square of theirs; also where blocks are computed again on
/// the way back.
#[test]
fn a_step_is_where_those_with_differences_tend_to() {
    let shape = ImageShape::new(8, 8, 1);
    let mut random = Random::new(8);
    let images = ImageBatch::from_fn(shape, 4, |_, v| random.fill_normal(v));
    let unet = |recompute| UNetConfig {
        channels: 8,
        multipliers: vec![1, 2],
        blocks: 1,
        attention: vec![4],
        dropout: 0.3,
        recompute,
        ..UNetConfig::default()
    };
    let gradient = |tangent, recompute| {
        let (network, mut weights) =
            NetworkConfig::UNet(unet(recompute)).build(shape, Conditions::default(), 0).unwrap();
        let mut random = Random::new(2);
        weights.values_mut().for_each(|v| v.iter_mut().for_each(|v| *v += 0.1 * random.normal()));
        let step =
            step(config(tangent), &TrainConfig::default(), network.as_ref(), &weights, Box::new(KnownNoise));
        let batch = Batch { images: images.clone(), labels: vec![] };
        let sigma: Vec<Sigma> = places(4).iter().map(|&place| level(place)).collect();
        let shard = step.state.shards(4).remove(0);
        let progress = Progress { images: 40, ..PROGRESS };
        let (graph, losses) = step.losses(&batch, &sigma, &shard, (progress, seed())).unwrap();
        gradient_of(graph, &losses, vec![1.0; 4], &step.state.weights)
    };
    let forward = gradient(TangentConfig::Forward, false);
    let size = norm(forward.iter().copied());
    let error = |other: &[f64]| norm(forward.iter().zip(other).map(|(a, b)| a - b)) / size;
    let [wide, middle] = [0.2, 0.1].map(|step| error(&gradient(central(step), false)));
    assert!((3.0..5.0).contains(&(wide / middle)), "{wide} {middle}");
    assert!(error(&gradient(central(0.01), false)) < 2e-3, "{wide} {middle}");
    assert!(error(&gradient(TangentConfig::Forward, true)) < 1e-5);
}

/// In single precision, through the pass that records: of the exact consistency function of a Gaussian along its exact flow
/// nothing is left but rounding, a millionth of the tangent's largest part. Differences leave theirs over the step, a
/// thousand times as much.
#[test]
fn the_exact_function_of_a_gaussian_has_no_tangent() {
    let gaussian = GaussianMixture::new(vec![1.0], vec![vec![0.3]], vec![0.7]).unwrap();
    let mut weights = Weights::new();
    let network = Exact { mean: 0.3, std: 0.7, factor: weights.add("factor", &[1], vec![1.0]) };
    let sigma: Vec<Sigma> = places(64).iter().map(|&place| level(place)).collect();
    let batch = Batch { images: gaussian.sample(&(0..64).collect::<Vec<_>>()), labels: vec![] };
    let z = noise::batch_noise(ImageShape::vector(1), &seed().image_noise(0..64), 0);
    let points = noise::perturb(&batch.images, &sigma, &z);
    let aim = cm_diffusion::Denoiser::denoise(&gaussian, &points, &sigma, &[]).unwrap();
    let path = LocalPath { noisy: &points, sigma: &sigma, aim: &aim };
    let raw = Raw { network: &network, weights: &weights, precondition: BOUNDARY, extra: Extra::default() };
    let left = |tangent: TangentConfig| {
        let (_, output, slopes) = tangent.build().recorded(&raw, &path);
        let of_point = |place: usize| {
            let here = Level::new(sigma[place], BOUNDARY);
            let [x, aim, raw, slope] = [points.values(), aim.values(), output.values(), slopes.values()]
                .map(|values| f64::from(values[place]));
            let parts =
                [[x, 0.0, 0.0, 0.0], [0.0, aim, 0.0, 0.0], [0.0, 0.0, raw, 0.0], [0.0, 0.0, 0.0, slope]];
            let size = parts.map(|[x, aim, raw, slope]| here.tangent(x, aim, raw, slope, 1.0).abs());
            here.tangent(x, aim, raw, slope, 1.0).abs() / size.into_iter().fold(0.0, f64::max)
        };
        (0..64).map(of_point).fold(0.0, f64::max)
    };
    let (forward, differences) = (left(TangentConfig::Forward), left(TangentConfig::default()));
    assert!(forward < 1e-6 && differences < 1e-3, "{forward} {differences}");
}

/// In two parts of the batch.
#[test]
fn a_run_goes_on_to_the_bit_where_it_was_stopped() {
    let (network, weights) = network();
    let train = TrainConfig { total_images: TOTAL, batch: IMAGES, shards: 2, ..TrainConfig::default() };
    let new =
        || step(config(TangentConfig::Forward), &train, network.as_ref(), &weights, Box::new(KnownNoise));
    assert_goes_on("sCT", new, |_| clean(IMAGES));
}

#[test]
fn a_loss_through_a_forward_derivative_is_refused() {
    let full = ContinuousLossConfig::Full(DerivativeNorm::L1);
    let fields = |config: ContinuousTimeConfig| -> Vec<String> {
        config.problems().into_iter().map(|problem| problem.field).collect()
    };
    let of = |tangent| ContinuousTimeConfig { loss: full, ..config(tangent) };
    assert_eq!(fields(of(TangentConfig::Forward)), ["tangent"]);
    assert!(fields(of(central(0.01))).is_empty() && fields(config(TangentConfig::Forward)).is_empty());
    // The student forward and backward, and each product once more.
    assert_eq!(config(TangentConfig::Forward).evaluations(), 4.0);
    assert_eq!(config(central(0.01)).evaluations(), 5.0);
}
