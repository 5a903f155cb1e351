//! What a model computes, node by node, against the network itself.

/// ONNX's operators as their documentation says them, in double precision.
mod evaluate;

use crate::proto::{ModelProto, TensorProto, ValueInfoProto, data_location};
use crate::{Form, OnnxError, OnnxFile, encode, encode_classifier};
use cm_diffusion::Sigma;
use cm_image::random::Random;
use cm_image::{ImageBatch, ImageShape, NO_CLASS};
use cm_network::feature_net::Classifier;
use cm_network::{
    AdmConfig, Edm2Config, EmbeddingConfig, Extra, FourierConfig, HeadsConfig, Images, MlpConfig,
    NetworkConfig, ResamplingConfig, Scaling, UNetConfig, Weights,
};
use cm_study::{IddpmConfig, PreconditionConfig, VpConfig, WeightsCard};
use cm_tensor::Graph;
use evaluate::{Array, evaluate};
use prost::Message;
use std::collections::BTreeMap;

/// Of the range: ours computes in single precision.
const ALLOWED: f64 = 1e-5;
const SHAPE: ImageShape = ImageShape::new(8, 8, 3);

fn unet() -> UNetConfig {
    UNetConfig {
        channels: 8,
        multipliers: vec![1, 2],
        blocks: 1,
        attention: vec![4],
        heads: 2,
        ..UNetConfig::default()
    }
}

fn adm() -> AdmConfig {
    AdmConfig {
        channels: 8,
        multipliers: vec![1, 2],
        blocks: 1,
        attention: vec![4],
        heads: HeadsConfig::Channels(8),
        embedding_scale: 1.0,
        small_groups: true,
        ..AdmConfig::default()
    }
}

/// Every family, and every choice that changes which operations there are.
fn networks() -> Vec<(&'static str, NetworkConfig)> {
    let fourier = EmbeddingConfig::Fourier(FourierConfig { scale: 1.0, width: 2 });
    let fir = ResamplingConfig::Fir;
    vec![
        ("plain", NetworkConfig::UNet(unet())),
        ("film", NetworkConfig::UNet(UNetConfig { film: true, embedding: fourier, ..unet() })),
        ("ncsn++", NetworkConfig::UNet(UNetConfig { resampling: fir, input_pyramid: true, ..unet() })),
        ("pyramid", NetworkConfig::UNet(UNetConfig { input_pyramid: true, ..unet() })),
        (
            "skips",
            NetworkConfig::UNet(UNetConfig {
                resampling: fir,
                input_skip: true,
                output_skip: true,
                recompute: true,
                ..unet()
            }),
        ),
        ("adm", NetworkConfig::Adm(adm())),
        (
            "adm-lsun",
            NetworkConfig::Adm(AdmConfig { scale_shift: false, resample_in_blocks: false, ..adm() }),
        ),
        (
            "edm2",
            NetworkConfig::Edm2(Edm2Config {
                channels: 8,
                multipliers: vec![1, 2],
                blocks: 1,
                attention: vec![4],
                heads: HeadsConfig::Count(2),
                waves: 8,
                embedding: 16,
                clamp: 1.5,
                ..Edm2Config::default()
            }),
        ),
        ("mlp", NetworkConfig::Mlp(MlpConfig { width: 16, blocks: 2, ..MlpConfig::default() })),
    ]
}

fn card(network: NetworkConfig, precondition: PreconditionConfig, classes: Option<usize>) -> WeightsCard {
    WeightsCard { network, height: 8, width: 8, precondition, classes, ..WeightsCard::default() }
}

/// Weights of which none is at its beginning: some begin at nought.
fn shaken(weights: &mut Weights) {
    let mut random = Random::new(5);
    weights.values_mut().for_each(|values| values.iter_mut().for_each(|v| *v += 0.1 * random.normal()));
}

fn nchw(images: &ImageBatch) -> Array {
    let ImageShape { height, width, channels } = images.shape();
    let mut values = Vec::new();
    for image in images.images() {
        for channel in 0..channels {
            values.extend((0..height * width).map(|pixel| f64::from(image[pixel * channels + channel])));
        }
    }
    Array::new(&[images.count(), channels, height, width], values)
}

/// The largest difference over the range of the truth.
fn difference(found: &Array, expected: &ImageBatch) -> f64 {
    let expected = nchw(expected);
    assert_eq!(found.dims, expected.dims);
    let range = |values: &[f64]| {
        values.iter().copied().fold(f64::MIN, f64::max) - values.iter().copied().fold(f64::MAX, f64::min)
    };
    let apart = found.values.iter().zip(&expected.values).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    apart / range(&expected.values)
}

fn numbers(values: impl IntoIterator<Item = f64>) -> Array {
    let values: Vec<f64> = values.into_iter().collect();
    Array::new(&[values.len()], values)
}

/// The function of the card itself.
fn ours(card: &WeightsCard, x: &ImageBatch, sigma: &[f32], labels: &[u32]) -> ImageBatch {
    let (network, mut weights) = card.network.build(card.shape(), card.conditions(), 1).unwrap();
    shaken(&mut weights);
    let precondition = card.precondition(None);
    let mut scaling = Scaling::default();
    for &sigma in sigma {
        let c = precondition.coefficients(Sigma::new(sigma).unwrap());
        scaling.push(c.c_skip, c.c_out, c.c_in, c.c_noise);
    }
    let extra = Extra { labels: card.classes.map(|_| labels), ..Extra::default() };
    let x = Images::from_batch(x);
    network.forward_scaled(&mut Graph::inference(), &weights, &x, &scaling, extra).to_batch()
}

fn model(form: Form, card: &WeightsCard) -> Result<ModelProto, OnnxError> {
    let (network, mut weights) = card.network.build(card.shape(), card.conditions(), 1).unwrap();
    shaken(&mut weights);
    let about = BTreeMap::from([("licence".to_owned(), "none".to_owned())]);
    Ok(read(&encode(form, card, network.as_ref(), &weights, &about)?))
}

/// The graph's file.
fn read(file: &OnnxFile) -> ModelProto {
    ModelProto::decode(written(file, &file.names()[0]).as_slice()).unwrap()
}

fn written(file: &OnnxFile, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.write(name, &mut bytes).unwrap();
    bytes
}

fn noise(count: usize) -> ImageBatch {
    let mut random = Random::new(count as u64);
    ImageBatch::from_fn(SHAPE, count, |_, values| random.fill_normal(values))
}

#[test]
fn every_network_denoises_as_a_model_too_in_any_batch() {
    for (name, network) in networks() {
        for classes in [None, Some(4)] {
            let card = card(network.clone(), PreconditionConfig::Consistency, classes);
            let model = model(Form::Denoiser, &card).unwrap();
            for count in [1, 3] {
                let x = noise(count);
                let sigma = &[0.7, 0.01, 20.0][..count];
                let labels = &[2, NO_CLASS, 0][..count];
                let mut inputs = BTreeMap::from([
                    ("x".to_owned(), nchw(&x)),
                    ("sigma".to_owned(), numbers(sigma.iter().map(|&sigma| f64::from(sigma)))),
                ]);
                if classes.is_some() {
                    let of = |&label: &u32| if label == NO_CLASS { -1.0 } else { f64::from(label) };
                    inputs.insert("class".to_owned(), numbers(labels.iter().map(of)));
                }
                let found = evaluate(&model, inputs).remove("denoised").unwrap();
                let error = difference(&found, &ours(&card, &x, sigma, labels));
                assert!(error < ALLOWED, "{name} {classes:?} {count}: {error:.2e}");
            }
        }
    }
}

#[test]
fn a_generator_is_one_evaluation_at_the_highest_level() {
    for (name, network) in networks() {
        let card = card(network, PreconditionConfig::Consistency, Some(4));
        let model = model(Form::Generator, &card).unwrap();
        let drawn = noise(3);
        let inputs = BTreeMap::from([
            ("noise".to_owned(), nchw(&drawn)),
            ("class".to_owned(), numbers([3.0, 0.0, 1.0])),
        ]);
        let found = evaluate(&model, inputs).remove("image").unwrap();
        let x = ImageBatch::from_fn(SHAPE, 3, |image, values| {
            values.iter_mut().zip(drawn.image(image)).for_each(|(x, z)| *x = card.sigma_max * z);
        });
        let error = difference(&found, &ours(&card, &x, &[card.sigma_max; 3], &[3, 0, 1]));
        assert!(error < ALLOWED, "{name}: {error:.2e}");
    }
}

#[test]
fn every_preconditioning_is_that_of_the_card() {
    let of = [
        PreconditionConfig::Edm,
        PreconditionConfig::Ve,
        PreconditionConfig::Vp(VpConfig::default()),
        PreconditionConfig::Iddpm(IddpmConfig::default()),
    ];
    for precondition in of {
        let network = NetworkConfig::Mlp(MlpConfig {
            width: 16,
            blocks: 1,
            embedding: EmbeddingConfig::Fourier(FourierConfig { scale: 0.01, width: 1 }),
            ..MlpConfig::default()
        });
        let card = card(network, precondition, None);
        let model = model(Form::Denoiser, &card).unwrap();
        let (x, sigma) = (noise(5), [0.004, 0.3, 1.0, 7.0, 79.0]);
        let inputs = BTreeMap::from([
            ("x".to_owned(), nchw(&x)),
            ("sigma".to_owned(), numbers(sigma.iter().map(|&sigma| f64::from(sigma)))),
        ]);
        let found = evaluate(&model, inputs).remove("denoised").unwrap();
        let error = difference(&found, &ours(&card, &x, &sigma, &[]));
        assert!(error < ALLOWED, "{precondition}: {error:.2e}");
    }
}

#[test]
fn a_diffusion_model_is_no_generator() {
    let card = card(NetworkConfig::Mlp(MlpConfig::default()), PreconditionConfig::Edm, None);
    assert_eq!(model(Form::Generator, &card), Err(OnnxError::NoGenerator));
}

#[test]
fn a_model_says_what_it_is_and_its_weights_have_our_names() {
    let card = card(NetworkConfig::UNet(unet()), PreconditionConfig::Consistency, Some(4));
    let model = model(Form::Denoiser, &card).unwrap();
    let said: Vec<_> = model.metadata_props.iter().map(|entry| (entry.key(), entry.value())).collect();
    assert_eq!(said, [("licence", "none")]);
    let graph = model.graph.unwrap();
    let (_, weights) = card.network.outline(card.shape(), card.conditions()).unwrap();
    for (name, shape) in weights.outlines() {
        let array = graph.initializer.iter().find(|array| array.name() == name);
        let array = array.unwrap_or_else(|| panic!("{name} is no array of the model"));
        assert_eq!(array.dims.iter().product::<i64>() as usize, shape.iter().product::<usize>(), "{name}");
    }
    let free = |value: &ValueInfoProto| {
        let tensor = value.r#type.as_ref().and_then(|of| of.tensor_type.as_ref());
        tensor.and_then(|tensor| tensor.shape.as_ref()).is_some_and(|shape| shape.dim[0].dim_param() == "N")
    };
    assert!(graph.input.iter().chain(&graph.output).all(free));
    let names: Vec<&str> = graph.input.iter().map(ValueInfoProto::name).collect();
    assert_eq!(names, ["x", "sigma", "class"]);
}

#[test]
fn a_classifier_tells_classes_and_features() {
    for side in [8, 11] {
        let shape = ImageShape::new(side, side, 3);
        let (classifier, mut weights) = Classifier::new(shape, 5, 4, 2);
        shaken(&mut weights);
        let model = read(&encode_classifier(&classifier, &weights, &BTreeMap::new()).unwrap());
        let mut random = Random::new(9);
        let images = ImageBatch::from_fn(shape, 3, |_, values| random.fill_normal(values));
        let found = evaluate(&model, BTreeMap::from([("image".to_owned(), nchw(&images))]));
        let expected = classifier.forward(&mut Graph::inference(), &weights, &Images::from_batch(&images));
        for (name, expected) in [("logits", &expected.logits), ("features", &expected.features)] {
            let found = &found[name];
            assert_eq!(found.dims, expected.shape());
            let largest =
                expected.values().iter().fold(0.0, |most: f64, &value| most.max(f64::from(value.abs())));
            for (found, &expected) in found.values.iter().zip(expected.values()) {
                assert!(
                    (found - f64::from(expected)).abs() < ALLOWED * largest,
                    "{name}: {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn what_is_too_large_for_one_file_is_two_with_the_same_values() {
    let card = card(NetworkConfig::UNet(unet()), PreconditionConfig::Consistency, Some(4));
    let whole = model(Form::Denoiser, &card).unwrap();
    let file = OnnxFile::new("denoiser", whole.clone(), whole.encoded_len() - 1);
    let [graph, arrays] = file.names().try_into().unwrap();
    assert_eq!([graph.as_str(), arrays.as_str()], ["denoiser.onnx", "denoiser.onnx.data"]);
    let (mut model, data) = (read(&file), written(&file, &arrays));
    assert!(model.encoded_len() < whole.encoded_len() / 2 && data.len().is_multiple_of(4096));
    let mut moved = 0;
    for array in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
        if array.raw_data.is_some() {
            assert_eq!(array.data_location, None);
            continue;
        }
        let said: BTreeMap<&str, &str> =
            array.external_data.iter().map(|entry| (entry.key(), entry.value())).collect();
        let (offset, length): (usize, usize) =
            (said["offset"].parse().unwrap(), said["length"].parse().unwrap());
        assert_eq!((said["location"], offset % 4096), (arrays.as_str(), 0));
        assert_eq!(array.data_location, Some(data_location::EXTERNAL));
        *array = TensorProto {
            raw_data: Some(data[offset..offset + length].to_vec()),
            external_data: Vec::new(),
            data_location: None,
            ..array.clone()
        };
        moved += 1;
    }
    assert!(moved > 5);
    assert_eq!(model, whole);
    // And one that is not is one.
    assert_eq!(OnnxFile::new("denoiser", whole.clone(), whole.encoded_len()).names(), ["denoiser.onnx"]);
}
