//! Parity with the same networks in PyTorch: the fixtures are by `scripts/parity/inception.py` and `perceptual.py`.

use super::*;
use cm_gpu::conv2d::Precision;
use cm_gpu::standin::{REAL_GPU, gpu, standin};
use cm_image::ImageShape;
use cm_tensor::device::Device;
use cm_tensor::fixed::{self, Interpolation};
use cm_tensor::gradient_check::normal_values;
use cm_tensor::{Graph, Images};
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

fn fixture(name: &str) -> NamedArrays {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parity").join(name);
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let array = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        assert_eq!(view.dtype(), Dtype::F32);
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        (name, view.shape().to_vec(), values)
    };
    file.tensors().into_iter().map(array).collect()
}

/// The arrays whose names begin with `prefix`, without it.
fn part(arrays: &NamedArrays, prefix: &str) -> NamedArrays {
    let strip = |(name, shape, values): (&str, &[usize], &[f32])| {
        Some((name.strip_prefix(prefix)?.to_owned(), shape.to_vec(), values.to_vec()))
    };
    arrays.iter().filter_map(strip).collect()
}

/// The scripts' images, exact in single precision.
fn pattern(count: usize, height: usize, width: usize, salt: usize) -> Images {
    let mut values = Vec::new();
    for n in 0..count {
        for y in 0..height {
            for x in 0..width {
                for c in 0..3 {
                    let level = (17 * n + 31 * c + 5 * y * y + 7 * x * (y + 3) + salt * (x + 2 * y)) % 64;
                    values.push(level as f32 / 32.0 - 1.0);
                }
            }
        }
    }
    Images::constant(values, [count, height, width, 3])
}

/// The largest difference, relative to the largest value expected.
fn relative(given: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(given.len(), expected.len());
    let scale = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    given.iter().zip(expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / scale
}

#[test]
fn inception_s_features_are_pytorch_s() {
    let fixture = fixture("inception.safetensors");
    let network = Inception::new(&part(&fixture, "net/")).unwrap();
    assert_eq!(network.classes(), 11);
    let images = pattern(2, 107, 91, 0);
    inception_is_near(&network, &images, &fixture);
    let Some(gpu) = gpu() else { return };
    let device = Device::new(gpu, Precision::Bf16);
    // What is published is in single precision, and so is this whatever the precision of training.
    let launches = || standin().filter(|_| std::env::var_os(REAL_GPU).is_none()).map(|s| s.tally().launches);
    launches();
    inception_is_near(&network, &fixed::placed_on(&device, &images), &fixture);
    // 94 convolutions, and what stands between them.
    assert!(launches().is_none_or(|launches| launches > 94), "the GPU has done it");
}

/// Whether the network says what PyTorch's did in double precision: what is left is our rounding.
fn inception_is_near(network: &Inception, images: &Images, fixture: &NamedArrays) {
    let output = network.forward(images);
    let probabilities = network.probabilities(&output.features);
    for (name, values) in [
        ("features", output.features.values()),
        ("spatial", output.spatial.values()),
        ("probabilities", probabilities.values()),
    ] {
        let difference = relative(values, fixture.get(name).unwrap().1);
        assert!(difference < 1e-5, "{name}: {difference}");
    }
    assert_eq!(output.spatial.shape(), [2, 5 * 4 * 7]);
}

#[test]
fn weights_of_another_network_are_refused() {
    let fixture = fixture("inception.safetensors");
    let whole = part(&fixture, "net/");
    let error = Inception::new(&part(&fixture, "none/")).err().unwrap().to_string();
    assert!(
        error.contains("FID's Inception network") && error.contains("`Conv2d_1a_3x3.conv.weight`"),
        "{error}"
    );
    // Torchvision's own network has a Mixed_7c of the same shapes, but Mixed_5b is there with all its branches:
    // one misshapen array is named.
    let odd = |(name, shape, values): (&str, &[usize], &[f32])| match name {
        "Mixed_6b.branch7x7_2.conv.weight" => {
            (name.to_owned(), vec![shape[0], shape[1], 7, 1], values.to_vec())
        }
        _ => (name.to_owned(), shape.to_vec(), values.to_vec()),
    };
    let error = Inception::new(&whole.iter().map(odd).collect()).err().unwrap().to_string();
    assert!(error.contains("Mixed_6b.branch7x7_2.conv.weight"), "{error}");
    let options = LpipsOptions::default();
    let error = Lpips::new(options, &whole, &whole).err().unwrap().to_string();
    assert!(error.contains("VGG16") && error.contains("`features.0.weight` is missing"), "{error}");
    let options = LpipsOptions { trunk: LpipsTrunk::AlexNet, ..options };
    assert_eq!(Lpips::new(options, &whole, &whole).err(), Some(LpipsError::Pooling(LpipsTrunk::AlexNet)));
}

#[test]
fn lpips_and_its_gradient_are_pytorch_s() {
    use LpipsPooling::{Average, Max};
    use LpipsResize::{Below256, Never};
    use LpipsTrunk::{AlexNet, SqueezeNet, Vgg16};
    use LpipsVersion::{V00, V01};
    let fixture = fixture("lpips.safetensors");
    let cases = [
        ("vgg/", Vgg16, V01, Average, Below256, (18, 20)),
        ("vgg/", Vgg16, V01, Max, Never, (25, 33)),
        ("vgg/", Vgg16, V00, Max, Never, (17, 18)),
        ("alex/", AlexNet, V01, Max, Never, (33, 35)),
        ("squeeze/", SqueezeNet, V01, Max, Never, (27, 29)),
    ];
    for (case, (prefix, trunk, version, pooling, resize, (height, width))) in cases.into_iter().enumerate() {
        let arrays = part(&fixture, prefix);
        let lpips = Lpips::new(LpipsOptions { trunk, version, pooling, resize }, &arrays, &arrays).unwrap();
        let (x, y) = (pattern(2, height, width, 0).detached(true), pattern(2, height, width, 11));
        let near = |mut graph: Graph| {
            let distance = lpips.distance(&mut graph, &x, &y);
            let expected = fixture.get(&format!("case{case}/distance")).unwrap().1;
            let difference = relative(distance.values(), expected);
            assert!(difference < 1e-5, "case {case}: {:?} is not {expected:?}", distance.values());
            let gradient = graph.backward(&distance, vec![1.0, -2.0]).take(&x).unwrap();
            let difference = relative(&gradient, fixture.get(&format!("case{case}/gradient")).unwrap().1);
            assert!(difference < 1e-4, "gradient of case {case}: {difference}");
        };
        near(Graph::recording().on_host());
        if let Some(gpu) = gpu() {
            near(Graph::recording().on(&Device::new(gpu, Precision::F32)));
        }
    }
}

/// Heads under the names of the package's layers alone, as files of trunk and heads together have them, were missed.
#[test]
fn heads_without_the_place_in_their_layer_are_read() {
    let arrays = part(&fixture("lpips.safetensors"), "vgg/");
    let plain = arrays.iter().map(|(name, shape, values)| {
        let name = if name.starts_with("lin") { name.replace(".model.1", "") } else { name.to_owned() };
        (name, shape.to_vec(), values.to_vec())
    });
    let options = LpipsOptions { resize: LpipsResize::Never, ..Default::default() };
    let lpips = |arrays| Lpips::new(options, arrays, arrays).unwrap();
    let (x, y): (Images, Images) = (normal_values([1, 16, 16, 3], 1), normal_values([1, 16, 16, 3], 2));
    let distance = |lpips: Lpips| lpips.distance(&mut Graph::inference(), &x, &y).values()[0];
    assert_eq!(distance(lpips(&arrays)), distance(lpips(&plain.collect())));
}

#[test]
fn lpips_of_grey_images_is_that_of_their_coloured_twins() {
    let arrays = part(&fixture("lpips.safetensors"), "vgg/");
    let lpips =
        Lpips::new(LpipsOptions { resize: LpipsResize::Never, ..Default::default() }, &arrays, &arrays);
    let lpips = lpips.unwrap();
    let (x, y): (Images, Images) = (normal_values([1, 16, 16, 1], 1), normal_values([1, 16, 16, 1], 2));
    let coloured = |x: &Images| fixed::concat(&[x.clone(), x.clone(), x.clone()]);
    let distance = |x: &Images, y: &Images| lpips.distance(&mut Graph::inference(), x, y).values()[0];
    assert_eq!(distance(&x, &y), distance(&coloured(&x), &coloured(&y)));
    assert!(distance(&x, &x) == 0.0 && distance(&x, &y) > 0.0);
}

#[test]
fn a_resized_image_has_the_size_asked_for_and_is_the_same_on_a_gpu() {
    let x = pattern(1, 32, 20, 0);
    let grey = fixed::first_channels(&x, 1);
    for how in [Interpolation::BilinearCentres, Interpolation::BilinearCorners, Interpolation::BicubicSmooth]
    {
        assert_eq!(fixed::resize(&x, how, (299, 299)).shape(), [1, 299, 299, 3]);
        // As a judge prepares grey images.
        let prepared = |grey: &Images| {
            let scaled = fixed::affine(fixed::resize(grey, how, (51, 47)), 0.5, 0.75, 0.25);
            fixed::concat(&[scaled.clone(), scaled.clone(), scaled])
        };
        let host = prepared(&grey);
        assert_eq!(host.shape(), [1, 51, 47, 3]);
        let Some(gpu) = gpu() else { return };
        let theirs = prepared(&fixed::placed_on(&Device::new(gpu, Precision::F32), &grey));
        let difference = relative(theirs.values(), host.values());
        assert!(difference < 1e-6, "{how:?}: {difference}");
    }
}

/// The parameters of torchvision's `features`, and VGG16's arithmetic at the side it was trained with, layer by layer.
#[test]
fn what_a_published_trunk_takes_is_counted() {
    let options = |trunk| LpipsOptions { trunk, ..LpipsOptions::default() };
    let count = |trunk, shape| Lpips::count(options(trunk), shape).unwrap();
    let small = ImageShape::new(32, 32, 3);
    let parameters = [LpipsTrunk::Vgg16, LpipsTrunk::AlexNet, LpipsTrunk::SqueezeNet]
        .map(|trunk| count(trunk, small).parameters);
    assert_eq!(parameters, [14_714_688, 2_469_696, 722_496]);
    let vgg: u64 = [
        (224, 3, 64),
        (224, 64, 64),
        (112, 64, 128),
        (112, 128, 128),
        (56, 128, 256),
        (56, 256, 256),
        (56, 256, 256),
        (28, 256, 512),
        (28, 512, 512),
        (28, 512, 512),
        (14, 512, 512),
        (14, 512, 512),
        (14, 512, 512),
    ]
    .map(|(side, inputs, outputs): (u64, u64, u64)| 2 * side * side * 9 * inputs * outputs)
    .iter()
    .sum();
    // Images of 32 pixels are enlarged to 224, grey ones are looked at in three colours.
    assert_eq!(count(LpipsTrunk::Vgg16, small).flops_per_image, vgg);
    assert_eq!(count(LpipsTrunk::Vgg16, ImageShape::new(28, 28, 1)).flops_per_image, vgg);
    let own = LpipsOptions { resize: LpipsResize::Never, ..LpipsOptions::default() };
    assert_eq!(Lpips::count(own, small).unwrap().flops_per_image * 49, vgg);
    let resized = LpipsOptions::default();
    assert_eq!([(15, 255), (15, 256), (16, 256)].map(|(h, w)| resized.sees(h, w)), [true, false, true]);
    let unseen = [ImageShape::new(32, 15, 3), ImageShape::new(32, 32, 2)];
    assert!(unseen.into_iter().all(|shape| Lpips::count(own, shape).is_none()));
}
