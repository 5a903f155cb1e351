//! Whole networks: gradients, determinism, parameter counts.

mod device;
mod families;
mod tangents;

use crate::feature_net::Classifier;
use crate::{
    AdmConfig, Conditions, Edm2Config, EmbeddingConfig, Extra, FourierConfig, HeadsConfig, MlpConfig,
    Network, NetworkConfig, Preset, ResamplingConfig, ScaleConfig, UNetConfig,
};
use cm_image::ImageShape;
use cm_image::random::Random;
use cm_tensor::gradient_check::{assert_gradient, assert_gradient_with_step, normal_values};
use cm_tensor::{Graph, Images, Weights};
use families::{tiny_dhariwal, tiny_edm2, tiny_plain_pyramid, tiny_skips};

fn tiny_unet() -> NetworkConfig {
    NetworkConfig::UNet(UNetConfig {
        channels: 8,
        multipliers: vec![1, 2],
        blocks: 1,
        attention: vec![4],
        heads: 2,
        embedding: EmbeddingConfig::Fourier(FourierConfig { scale: 0.5, width: 1 }),
        ..UNetConfig::default()
    })
}

fn tiny_film() -> NetworkConfig {
    let NetworkConfig::UNet(config) = tiny_unet() else { unreachable!("a U-Net") };
    NetworkConfig::UNet(UNetConfig { film: true, ..config })
}

fn tiny_ncsnpp() -> NetworkConfig {
    let NetworkConfig::UNet(config) = tiny_unet() else { unreachable!("a U-Net") };
    NetworkConfig::UNet(UNetConfig {
        embedding: EmbeddingConfig::Fourier(FourierConfig { scale: 0.5, width: 2 }),
        resampling: ResamplingConfig::Fir,
        input_pyramid: true,
        ..config
    })
}

fn tiny_adm() -> NetworkConfig {
    NetworkConfig::Adm(AdmConfig {
        channels: 64, // two for each group: of one alone nothing would be left
        multipliers: vec![1, 2],
        blocks: 1,
        attention: vec![4],
        heads: HeadsConfig::Channels(16),
        embedding_scale: 1.0,
        ..AdmConfig::default()
    })
}

fn plain_adm() -> NetworkConfig {
    let NetworkConfig::Adm(config) = tiny_adm() else { unreachable!("an ADM") };
    NetworkConfig::Adm(AdmConfig { scale_shift: false, resample_in_blocks: false, ..config })
}

fn tiny_mlp() -> NetworkConfig {
    NetworkConfig::Mlp(MlpConfig { width: 16, blocks: 2, ..MlpConfig::default() })
}

fn networks() -> [(NetworkConfig, ImageShape); 10] {
    let images = ImageShape::new(8, 8, 2);
    [
        (tiny_unet(), images),
        (tiny_film(), images),
        (tiny_ncsnpp(), images),
        (tiny_skips(), images),
        (tiny_plain_pyramid(), images),
        (tiny_dhariwal(), images),
        (tiny_edm2(), images),
        (tiny_adm(), images),
        (plain_adm(), images),
        (tiny_mlp(), ImageShape::vector(3)),
    ]
}

const ALL: Conditions = Conditions { classes: Some(3), second_time: true, augmentation: true };

/// What two images went through.
const CHANGES: [f32; 18] =
    [1.0, 0.0, 0.7, -0.3, 0.5, 0.2, -0.9, 1.1, -0.4, 0.0, 1.0, -1.2, 0.0, 0.0, 0.6, 0.1, -0.8, 0.3];

/// Moves every weight off its initial zeros, so that no path is cut.
fn shaken(config: &NetworkConfig, mut weights: Weights) -> Weights {
    // A kernel of many channels sums more of them, and gains multiply from block to block.
    let std = if matches!(config, NetworkConfig::Adm(_) | NetworkConfig::Edm2(_)) { 0.04 } else { 0.2 };
    let mut random = Random::new(5);
    for values in weights.values_mut() {
        values.iter_mut().for_each(|v| *v += std * random.normal());
    }
    weights
}

fn build(config: &NetworkConfig, shape: ImageShape) -> (Box<dyn Network>, Weights) {
    let (network, weights) = config.build(shape, ALL, 1).unwrap();
    (network, shaken(config, weights))
}

fn extra(dropout_key: Option<u64>) -> Extra<'static> {
    Extra {
        labels: Some(&[2, 0]),
        second_time: Some(&[0.3, -0.1]),
        augmentation: Some(&CHANGES),
        dropout_key,
        ..Extra::default()
    }
}

/// An image that was not changed is one that nothing is told of, and a layer that has not learnt changes nothing.
#[test]
fn changes_of_images_count_if_there_are_some() {
    for (config, shape) in networks() {
        let x: Images = normal_values([2, shape.height, shape.width, shape.channels], 1);
        let of = |(network, weights): &(Box<dyn Network>, Weights), augmentation| {
            let extra = Extra { augmentation, ..extra(None) };
            network.forward(&mut Graph::inference(), weights, &x, &[-0.7, 0.4], extra).values().to_vec()
        };
        let shaken = build(&config, shape);
        let none = [0.0; CHANGES.len()];
        assert_eq!(of(&shaken, None), of(&shaken, Some(&none)));
        assert_ne!(of(&shaken, None), of(&shaken, Some(&CHANGES)));
        let fresh = config.build(shape, ALL, 1).unwrap();
        assert_eq!(of(&fresh, None), of(&fresh, Some(&CHANGES)));
    }
}

#[test]
fn gradients_by_the_images() {
    for (config, shape) in networks() {
        let (network, weights) = build(&config, shape);
        let x: Images = normal_values([2, shape.height, shape.width, shape.channels], 1);
        assert_gradient(&x, 1e-2, |g, x| network.forward(g, &weights, x, &[-0.7, 0.4], extra(None)));
    }
}

#[test]
fn gradients_by_every_weight() {
    for (config, shape) in networks() {
        let (network, weights) = build(&config, shape);
        let x: Images = normal_values([2, shape.height, shape.width, shape.channels], 1);
        let run = |g: &mut Graph, w: &Weights| network.forward(g, w, &x, &[-0.7, 0.4], extra(None));
        let mut graph = Graph::recording();
        let output = run(&mut graph, &weights);
        let seed: Vec<f32> = normal_values([output.values().len()], 2).values().to_vec();
        let gradients = weights.gradients(&mut graph.backward(&output, seed.clone()));
        let loss = |w: &Weights| -> f64 {
            let output = run(&mut Graph::inference(), w);
            output.values().iter().zip(&seed).map(|(o, r)| f64::from(o * r)).sum()
        };
        let names: Vec<String> = weights.iter().map(|(name, _, _)| name.to_string()).collect();
        for (index, name) in names.iter().enumerate() {
            // One direction for each array: the sign of its gradient, so nothing cancels.
            let direction: Vec<f32> = gradients[index].iter().map(|g| g.signum()).collect();
            let claimed: f64 = gradients[index].iter().map(|g| f64::from(g.abs())).sum();
            let trained = weights.trained().nth(index).unwrap();
            assert_eq!(
                trained,
                !["embedding.frequencies", "embedding.phases"].contains(&name.as_str()),
                "{name}"
            );
            if !trained {
                assert_eq!(claimed, 0.0, "{name} is not trained");
                continue;
            }
            assert!(claimed > 0.0, "{name} gets no gradient");
            let moved = |h: f32| {
                let mut w = weights.clone();
                let values = w.values_mut().nth(index).unwrap();
                values.iter_mut().zip(&direction).for_each(|(v, d)| *v += h * d);
                loss(&w)
            };
            // With a fifth of this step the rounding of the loss is up to 3% of its difference.
            let h = 1e-2 / (direction.len() as f32).sqrt();
            let measured = (moved(h) - moved(-h)) / (2.0 * f64::from(h));
            assert!((claimed - measured).abs() <= 0.01 * claimed, "{name}: {claimed} against {measured}");
        }
    }
}

#[test]
fn a_fresh_network_returns_zero_whatever_it_sees() {
    let shape = ImageShape::new(8, 8, 2);
    let (network, weights) = tiny_unet().build(shape, Conditions::default(), 1).unwrap();
    let x: Images = normal_values([2, 8, 8, 2], 1);
    let output = network.forward(&mut Graph::inference(), &weights, &x, &[0.1, 0.2], Extra::default());
    assert!(output.values().iter().all(|&v| v == 0.0), "the last layer begins at zero");
}

#[test]
fn an_image_s_output_does_not_depend_on_its_batch() {
    let shape = ImageShape::new(8, 8, 2);
    let (network, weights) = tiny_unet().build(shape, Conditions::default(), 1).unwrap();
    let weights = shaken(&tiny_unet(), weights);
    let x: Images = normal_values([5, 8, 8, 2], 1);
    let levels = [0.1, -0.2, 0.3, -0.4, 0.5];
    let all = network.forward(&mut Graph::inference(), &weights, &x, &levels, Extra::default());
    let one = Images::constant(x.values()[3 * 128..4 * 128].to_vec(), [1, 8, 8, 2]);
    let alone = network.forward(&mut Graph::inference(), &weights, &one, &levels[3..4], Extra::default());
    // Not to the bit: matrix products block differently for different numbers of rows.
    for (a, b) in alone.values().iter().zip(&all.values()[3 * 128..4 * 128]) {
        assert!((a - b).abs() < 1e-5 * a.abs().max(1.0), "{a} {b}");
    }
}

#[test]
fn dropout_is_a_function_of_its_key() {
    let config = NetworkConfig::Mlp(MlpConfig { width: 16, blocks: 2, dropout: 0.5, ..MlpConfig::default() });
    let (network, weights) = build(&config, ImageShape::vector(3));
    let x: Images = normal_values([2, 1, 1, 3], 1);
    let run = |key| {
        network.forward(&mut Graph::inference(), &weights, &x, &[0.1, 0.2], extra(key)).values().to_vec()
    };
    assert_eq!(run(Some(1)), run(Some(1)));
    assert_ne!(run(Some(1)), run(Some(2)));
    assert_ne!(run(Some(1)), run(None));
}

/// Counted from the original code.
#[test]
fn the_presets_are_the_paper_s_networks_to_the_parameter() {
    let count = |preset: Preset| {
        let (network, weights) = preset.config().outline(preset.shape(), preset.conditions()).unwrap();
        assert_eq!(network.classes(), preset.conditions().classes);
        weights.count()
    };
    assert_eq!(Preset::ALL.map(count), [56_395_651, 55_732_739, 295_899_267, 526_304_771]);
    assert_eq!(NetworkConfig::default(), Preset::DdpmppCifar10.config());
}

#[test]
fn counting_is_not_computing_and_says_the_same() {
    for (config, shape) in networks() {
        let (network, weights) = build(&config, shape);
        let x: Images = normal_values([1, shape.height, shape.width, shape.channels], 1);
        let extra = Extra { labels: Some(&[2]), second_time: Some(&[0.3]), ..Extra::default() };
        let mut graph = Graph::inference();
        network.forward(&mut graph, &weights, &x, &[0.1], extra);
        assert!(graph.flops() > 0);
        assert_eq!(config.count(shape, ALL).unwrap().flops_per_image, graph.flops());
    }
    // A trillion operations, at once.
    let preset = Preset::AdmLsun256;
    assert!(preset.config().count(preset.shape(), preset.conditions()).unwrap().flops_per_image > 1 << 40);
}

/// The largest network that is allowed, counted without making it; what is larger is refused with its size.
#[test]
fn networks_of_any_size_are_counted_or_refused_without_being_made() {
    let shape = ImageShape::new(8, 8, 1);
    let wide = |channels| {
        NetworkConfig::UNet(UNetConfig {
            channels,
            multipliers: vec![1],
            blocks: 1,
            attention: vec![],
            ..UNetConfig::default()
        })
    };
    let counts = wide(16_384).count(shape, Conditions::default()).unwrap();
    assert!(counts.parameters > 30_000_000_000 && counts.flops_per_image > 1 << 40);
    let refused = wide(65_536).count(shape, Conditions::default()).unwrap_err().to_string();
    assert!(refused.contains("at most 68719476736 weights, and this one has "), "{refused}");
    assert!(wide(1 << 32).build(shape, Conditions::default(), 1).is_err());
    let images = ImageShape::new(usize::MAX, 2, 3);
    assert!(wide(8).count(images, Conditions::default()).is_err());
}

#[test]
fn recomputation_keeps_less() {
    let kept = |recompute| {
        let config = NetworkConfig::UNet(UNetConfig { recompute, ..UNetConfig::default() });
        let counts = config.count(ImageShape::new(32, 32, 3), Conditions::default()).unwrap();
        (counts.kept_per_image, counts.flops_per_image)
    };
    let ((all, flops), (less, same)) = (kept(false), kept(true));
    assert!(less * 2 < all, "{less} of {all}");
    assert_eq!(flops, same);
}

#[test]
fn recomputation_changes_nothing_but_the_order_of_sums() {
    for (config, shape) in networks() {
        let dropping = match config {
            NetworkConfig::UNet(c) => NetworkConfig::UNet(UNetConfig { dropout: 0.3, ..c }),
            NetworkConfig::Adm(c) => NetworkConfig::Adm(AdmConfig { dropout: 0.3, ..c }),
            NetworkConfig::Edm2(c) => NetworkConfig::Edm2(Edm2Config { dropout: 0.3, ..c }),
            NetworkConfig::Mlp(_) => continue,
        };
        let (recomputing, keeping) = (dropping.clone().recomputed(true), dropping.recomputed(false));
        let run = |config: &NetworkConfig| {
            let (network, weights) = build(config, shape);
            let x: Images = normal_values([2, shape.height, shape.width, shape.channels], 1);
            let x = x.detached(true);
            let mut graph = Graph::recording();
            let output = network.forward(&mut graph, &weights, &x, &[-0.7, 0.4], extra(Some(3)));
            let values = output.values().to_vec();
            let mut gradients = graph.backward(&output, values.clone());
            (values, weights.gradients(&mut gradients), gradients.take(&x).unwrap())
        };
        let (recomputed, kept) = (run(&recomputing), run(&keeping));
        assert!(recomputed.0 == kept.0, "the output is the same to the bit");
        let all = |(_, weights, x): &(Vec<f32>, Vec<Vec<f32>>, Vec<f32>)| {
            [weights.as_slice(), std::slice::from_ref(x)].concat()
        };
        for (a, b) in all(&recomputed).iter().zip(&all(&kept)) {
            let (norm, difference) = a.iter().zip(b).fold((0.0, 0.0), |(norm, difference), (a, b)| {
                (norm + f64::from(b * b), difference + f64::from((a - b) * (a - b)))
            });
            assert!(difference.sqrt() <= 1e-5 * norm.sqrt(), "{difference} of {norm}");
        }
    }
}

#[test]
fn impossible_networks_are_refused_with_the_reason() {
    let refuse = |change: fn(&mut UNetConfig), field: &str| {
        let mut config =
            UNetConfig { channels: 8, multipliers: vec![1, 2], blocks: 1, ..UNetConfig::default() };
        change(&mut config);
        let error = NetworkConfig::UNet(config).build(ImageShape::new(8, 8, 1), Conditions::default(), 0);
        let error = error.err().unwrap_or_else(|| panic!("{field} is accepted"));
        assert!(error.to_string().starts_with(field), "{field}: {error}");
    };
    refuse(|c| c.channels = 6, "channels");
    refuse(|c| c.multipliers = vec![], "multipliers");
    refuse(|c| c.multipliers = vec![1; 5], "multipliers");
    refuse(|c| c.multipliers = vec![1; 70], "multipliers");
    refuse(|c| c.blocks = 0, "blocks");
    refuse(|c| c.heads = 3, "heads");
    refuse(|c| c.dropout = 1.0, "dropout");
    refuse(
        |c| c.embedding = EmbeddingConfig::Fourier(FourierConfig { scale: 0.0, width: 1 }),
        "embedding.scale",
    );
    refuse(
        |c| c.embedding = EmbeddingConfig::Fourier(FourierConfig { scale: 1.0, width: 0 }),
        "embedding.width",
    );
    let adm = |change: fn(&mut AdmConfig)| {
        let NetworkConfig::Adm(mut config) = tiny_adm() else { unreachable!("an ADM") };
        change(&mut config);
        let error = NetworkConfig::Adm(config).build(ImageShape::new(8, 8, 1), Conditions::default(), 0);
        error.err().unwrap().0[0].field
    };
    assert_eq!(adm(|c| c.channels = 48), "channels");
    assert_eq!(adm(|c| c.heads = HeadsConfig::Channels(48)), "heads");
    assert_eq!(adm(|c| c.heads = HeadsConfig::Count(0)), "heads");
    assert_eq!(adm(|c| c.embedding_scale = 0.0), "embedding.scale");
}

#[test]
fn everything_wrong_with_a_network_is_told_at_once() {
    let fields = |config: NetworkConfig| -> Vec<_> {
        let error = config.build(ImageShape::new(8, 8, 1), Conditions::default(), 0).err().unwrap();
        error.0.into_iter().map(|problem| problem.field).collect()
    };
    let embedding = EmbeddingConfig::Positional(ScaleConfig { scale: f32::NAN, ..ScaleConfig::default() });
    let unet = UNetConfig {
        channels: 0,
        multipliers: vec![],
        blocks: 0,
        heads: 0,
        dropout: 2.0,
        embedding,
        ..UNetConfig::default()
    };
    assert_eq!(
        fields(NetworkConfig::UNet(unet)),
        ["channels", "multipliers", "blocks", "heads", "dropout", "embedding.scale"]
    );
    let mlp = MlpConfig { width: 3, blocks: 0, dropout: -1.0, embedding };
    assert_eq!(fields(NetworkConfig::Mlp(mlp)), ["width", "blocks", "dropout", "embedding.scale"]);
}

#[test]
fn the_classifier_s_gradient() {
    let (classifier, weights) = Classifier::new(ImageShape::new(8, 8, 1), 10, 4, 3);
    let x: Images = normal_values([2, 8, 8, 1], 4);
    assert_eq!(classifier.features(), 16);
    // ReLU has kinks: a small step, and the rounding that comes with it.
    assert_gradient_with_step(&x, 1e-3, 3e-2, |g, x| classifier.forward(g, &weights, x).features);
}
