//! Our networks against PyTorch's, through the original names; files written and read back.

use super::table::Entry;
use super::*;
use cm_image::ImageShape;
use cm_import::Archive;
use cm_network::Weights;
use cm_network::{
    AdmConfig, Conditions, EmbeddingConfig, Extra, FourierConfig, Graph, HeadsConfig, Images, NetworkConfig,
    ResamplingConfig, UNetConfig,
};
use std::collections::BTreeSet;
use std::io::Cursor;

/// `noise` of `scripts/parity/networks.py`: numbers in [-1, 1), a hash of the name and their place.
pub(super) fn noise(name: &str, count: usize) -> Vec<f64> {
    let seed = crc32fast::hash(name.as_bytes());
    let number = |index: usize| {
        let mut h = seed ^ (index as u32).wrapping_mul(0x9E37_79B1);
        h ^= h >> 16;
        h = h.wrapping_mul(0x85EB_CA6B);
        h ^= h >> 13;
        h = h.wrapping_mul(0xC2B2_AE35);
        h ^= h >> 16;
        f64::from(h) / 2f64.powi(31) - 1.0
    };
    (0..count).map(number).collect()
}

/// `formula` there: the weights of both sides.
fn formula(name: &str, shape: &[usize]) -> Vec<f32> {
    let values = noise(name, shape.iter().product());
    let of = |f: &dyn Fn(f64) -> f64| values.iter().map(|&v| f(v) as f32).collect();
    if shape.len() == 1 {
        let one = if name.ends_with(".weight") { 1.0 } else { 0.0 };
        if name.ends_with("Projection_0.W") { of(&|v| 5.0 * (0.2 * v + one)) } else { of(&|v| 0.2 * v + one) }
    } else if name.starts_with("label_emb") {
        of(&|v| v)
    } else {
        let inputs: usize = if name.ends_with(".W") { shape[0] } else { shape[1..].iter().product() };
        of(&|v| (1.5 / inputs as f64).sqrt() * v)
    }
}

fn filled(table: &[Entry], weights: &mut Weights) {
    for (entry, values) in table.iter().zip(weights.values_mut()) {
        let pieces: Vec<Vec<f32>> = entry.pieces.iter().map(|p| formula(&p.name, &p.shape)).collect();
        entry.pair(|piece, theirs, ours| values[ours] = pieces[piece][theirs]);
    }
}

fn adm() -> AdmConfig {
    AdmConfig {
        channels: 64,
        multipliers: vec![1, 2],
        blocks: 1,
        attention: vec![4],
        heads: HeadsConfig::Channels(32),
        ..AdmConfig::default()
    }
}

fn song() -> UNetConfig {
    UNetConfig {
        channels: 32,
        multipliers: vec![1, 2],
        blocks: 1,
        attention: vec![4],
        ..UNetConfig::default()
    }
}

fn ncsnpp() -> UNetConfig {
    UNetConfig {
        embedding: EmbeddingConfig::Fourier(FourierConfig::default()),
        resampling: ResamplingConfig::Fir,
        input_pyramid: true,
        ..song()
    }
}

/// The networks of the fixtures, with their classes.
fn networks() -> [(&'static str, NetworkConfig, Option<usize>, &'static [u8]); 4] {
    macro_rules! fixture {
        ($name:literal) => {
            include_bytes!(concat!("../../../../tests/fixtures/parity/network-", $name, ".safetensors"))
        };
    }
    let plain = AdmConfig { scale_shift: false, resample_in_blocks: false, ..adm() };
    [
        ("adm", NetworkConfig::Adm(adm()), Some(5), fixture!("adm")),
        ("adm-plain", NetworkConfig::Adm(plain), None, fixture!("adm-plain")),
        ("ncsnpp", NetworkConfig::UNet(ncsnpp()), None, fixture!("ncsnpp")),
        ("ddpmpp", NetworkConfig::UNet(song()), None, fixture!("ddpmpp")),
    ]
}

const SHAPE: ImageShape = ImageShape { height: 8, width: 8, channels: 3 };

fn nhwc(values: &[f32]) -> Vec<f32> {
    values.chunks(192).flat_map(|image| (0..192).map(|i| image[i % 3 * 64 + i / 3])).collect()
}

fn relative(ours: impl Iterator<Item = f32>, theirs: &[f32]) -> f64 {
    let (norm, difference) = ours.zip(theirs).fold((0.0, 0.0), |(norm, difference), (a, b)| {
        let (a, b) = (f64::from(a), f64::from(*b));
        (norm + b * b, difference + (a - b) * (a - b))
    });
    (difference / norm).sqrt()
}

/// Forward to 1e-5; gradients by the input and by every parameter to 1e-4, of samples where there are many.
#[test]
fn outputs_and_gradients_are_pytorch_s() {
    for (name, config, classes, fixture) in networks() {
        let mut archive = Archive::from_reader(Cursor::new(fixture)).unwrap();
        let conditions = Conditions { classes, ..Conditions::default() };
        let (network, mut weights) = config.outline(SHAPE, conditions).unwrap();
        let table = names(&config, 8, &weights, Dialect::Torch).unwrap();
        filled(&table, &mut weights);
        let x = Images::tracked(nhwc(&archive.read("x").unwrap()), [2, 8, 8, 3]);
        let levels = archive.read("sigma").unwrap();
        let levels: Vec<f32> = levels.iter().map(|&s| (0.25 * f64::from(s).ln()) as f32).collect();
        let labels: Option<Vec<u32>> =
            classes.map(|_| archive.read("labels").unwrap().iter().map(|&v| v as u32).collect());
        let mut graph = Graph::recording();
        let extra = Extra { labels: labels.as_deref(), ..Extra::default() };
        let output = network.forward(&mut graph, &weights, &x, &levels, extra);
        let expected = nhwc(&archive.read("output").unwrap());
        let forward = relative(output.values().iter().copied(), &expected);
        let seed: Vec<f32> = noise("seed", 384).into_iter().map(|v| v as f32).collect();
        let mut gradients = graph.backward(&output, nhwc(&seed));
        let of_x = relative(gradients.take(&x).unwrap().into_iter(), &nhwc(&archive.read("grad/x").unwrap()));
        let ours = weights.gradients(&mut gradients);
        let ours: Vec<&[f32]> = ours.iter().map(Vec::as_slice).collect();
        let norm = |values: &[f32]| values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let (mut worst, mut compared, mut vanishing) = ((0.0, String::new()), 0, 0);
        for target in targets(&table) {
            let Some(info) = archive.find(&format!("grad/{}", target.name)).cloned() else {
                assert!(target.name.contains("Fourier"), "{} has no gradient in the fixture", target.name);
                continue;
            };
            let values = target.values(&table, &ours);
            let step = (values.len() / 48).max(1);
            let values: Vec<f32> = values.iter().step_by(step).take(48).copied().collect();
            let expected = archive.read(&info.name).unwrap();
            compared += 1;
            if target.name.ends_with("NIN_1.b") {
                // A key's bias moves all scores of a query alike: nothing but rounding is left of its gradient.
                assert!(norm(&values) < 1e-4 && norm(&expected) < 1e-4, "{name}: {}", target.name);
                vanishing += 1;
                continue;
            }
            let error = relative(values.into_iter(), &expected);
            if error > worst.0 {
                worst = (error, target.name.to_owned());
            }
        }
        assert!(vanishing <= 3, "{name}: {vanishing} attentions");
        let expected = archive.tensors().iter().filter(|t| t.name.starts_with("grad/") && t.name != "grad/x");
        assert_eq!(compared, expected.count(), "{name}");
        assert!(forward <= 1e-5, "{name}: forward {forward:.2e}");
        assert!(of_x <= 1e-4, "{name}: gradient by the input {of_x:.2e}");
        assert!(worst.0 <= 1e-4, "{name}: gradient by {} {:.2e}", worst.1, worst.0);
    }
}

/// Whatever goes out comes back: every container, every bit, and the network that belongs to it.
#[test]
fn what_is_written_is_read_back_to_the_bit_and_its_network_is_told() {
    for (name, config, classes, _) in networks() {
        let conditions = Conditions { classes, ..Conditions::default() };
        let (_, weights) = config.build(SHAPE, conditions, 7).unwrap();
        let song = matches!(config, NetworkConfig::UNet(_));
        let containers = [
            (Container::Pytorch, Dialect::Torch),
            (Container::Safetensors, Dialect::Torch),
            (Container::Flax, Dialect::Flax),
        ];
        for (container, dialect) in containers {
            let table = match names(&config, 8, &weights, dialect) {
                Ok(table) => table,
                Err(message) => {
                    assert!(!song && dialect == Dialect::Flax, "{message}");
                    continue;
                }
            };
            let ours: Vec<&[f32]> = weights.iter().map(|(_, _, values)| values).collect();
            let mut bytes = Cursor::new(Vec::new());
            write(&mut bytes, container, &table, &ours, None).unwrap();
            let mut archive = Archive::from_reader(Cursor::new(bytes.into_inner())).unwrap();
            let heads = match &config {
                NetworkConfig::Adm(config) => Some(config.heads),
                _ => None,
            };
            let hints = Hints { size: Some(8), ..Hints::default() };
            if heads.is_some() {
                let told = infer(&archive, &hints).unwrap_err();
                assert!(told.contains("--head-channels"), "{told}");
            }
            let guess = infer(&archive, &Hints { heads, ..hints }).unwrap();
            assert_eq!(guess.network, config, "{name}");
            assert_eq!((guess.conditions, guess.shape, guess.dialect), (conditions, SHAPE, dialect));
            let (_, mut loaded) = config.outline(SHAPE, conditions).unwrap();
            load(&table, &mut archive, "", &mut loaded).unwrap();
            for ((name, _, before), (_, _, after)) in weights.iter().zip(loaded.iter()) {
                assert!(before.iter().zip(after).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_listed_by_its_original_name() {
    let config = NetworkConfig::Adm(adm());
    let (_, weights) = config.build(SHAPE, Conditions::default(), 7).unwrap();
    let table = names(&config, 8, &weights, Dialect::Torch).unwrap();
    let ours: Vec<&[f32]> = weights.iter().map(|(_, _, values)| values).collect();
    let mut bytes = Cursor::new(Vec::new());
    write(&mut bytes, Container::Safetensors, &table, &ours, None).unwrap();
    let archive = Archive::from_reader(Cursor::new(bytes.into_inner())).unwrap();
    let conditions = Conditions { classes: Some(3), ..Conditions::default() };
    let other = NetworkConfig::Adm(AdmConfig { scale_shift: false, attention: vec![], ..adm() });
    let (_, weights) = other.outline(SHAPE, conditions).unwrap();
    let table = names(&other, 8, &weights, Dialect::Torch).unwrap();
    let found = Mismatches::between(&table, &archive, "", &BTreeSet::new());
    assert!(found.missing.contains(&"label_emb.weight".to_owned()));
    assert!(found.unexpected.contains(&"input_blocks.3.1.qkv.weight".to_owned()), "{found:?}");
    let shift = ("input_blocks.1.0.emb_layers.1.weight".to_owned(), vec![128, 256], vec![64, 256]);
    assert!(found.misshapen.contains(&shift), "{found:?}");
}

#[test]
fn names_and_the_presets_are_the_original_s() {
    let of = |config: &NetworkConfig, classes, dialect| -> Vec<String> {
        let conditions = Conditions { classes, ..Conditions::default() };
        let (_, weights) = config.outline(SHAPE, conditions).unwrap();
        let table = names(config, 8, &weights, dialect).unwrap();
        targets(&table).iter().map(|target| target.name.to_owned()).collect()
    };
    let names = of(&NetworkConfig::Adm(adm()), Some(5), Dialect::Torch);
    for expected in [
        "time_embed.0.weight",
        "label_emb.weight",
        "input_blocks.0.0.bias",
        "input_blocks.2.0.in_layers.2.weight",
        "input_blocks.3.1.qkv.weight",
        "middle_block.1.proj_out.bias",
        "output_blocks.1.2.out_layers.3.weight",
        "output_blocks.3.0.skip_connection.weight",
        "out.2.weight",
    ] {
        assert!(names.iter().any(|name| name == expected), "{expected}");
    }
    let names = of(&NetworkConfig::UNet(ncsnpp()), None, Dialect::Flax);
    for expected in [
        "GaussianFourierProjection_0/W",
        "Dense_0/kernel",
        "ResnetBlockBigGANpp_1/Conv_2/kernel",
        "ResnetBlockBigGANpp_0/GroupNorm_1/scale",
        "AttnBlockpp_0/NIN_3/b",
        "Downsample_0/Conv2d_0/weight",
        "Conv_1/bias",
    ] {
        assert!(names.iter().any(|name| name == expected), "{expected}");
    }
    assert!(super::names(&NetworkConfig::Adm(adm()), 8, &Weights::new(), Dialect::Flax).is_err());
}
