//! The networks of Karras et al. 2022 as their own classes compute them (`scripts/parity/edm.py`).

use super::super::tests::noise;
use super::super::{Hints, Mismatches, check_filters, infer, load, names};
use cm_diffusion::Sigma;
use cm_import::Archive;
use cm_network::{Edm2Config, Extra, Graph, HeadsConfig, Images, NetworkConfig, ResamplingConfig, Scaling};
use cm_study::{IddpmConfig, PreconditionConfig, VpConfig, WeightsCard};
use std::collections::BTreeMap;
use std::io::Cursor;

macro_rules! fixtures {
    ($($name:literal),*) => {
        [$(($name, include_bytes!(concat!("../../../../../tests/fixtures/parity/edm-", $name, ".safetensors")).as_slice())),*]
    };
}

const CASES: [(&str, &[u8]); 19] = fixtures![
    "song-ddpmpp",
    "song-ncsnpp",
    "song-labels",
    "song-skip",
    "song-skip-fir",
    "song-residual-plain",
    "song-fir-decoder",
    "song-vp",
    "song-ve",
    "song-iddpm",
    "song-many-turns",
    "song-one-level",
    "adm",
    "adm-heads",
    "adm-odd",
    "adm-iddpm",
    "edm2",
    "edm2-others",
    "edm2-alone"
];

/// The fixture of this name.
fn case(name: &str) -> &'static [u8] {
    CASES.into_iter().find_map(|(case, bytes)| (case == name).then_some(bytes)).unwrap()
}

/// What a state dict does not say.
fn hints(name: &str) -> Hints {
    match name {
        "edm2" => Hints { heads: Some(HeadsConfig::Whole(8)), ..Hints::default() },
        "edm2-others" => {
            let network = NetworkConfig::Edm2(Edm2Config {
                channels: 8,
                multipliers: vec![2, 1, 3],
                blocks: 2,
                attention: vec![8, 4],
                heads: HeadsConfig::Whole(8),
                waves: 8,
                embedding: 16,
                resampling: ResamplingConfig::Fir,
                label_balance: 0.3,
                residual_balance: 0.4,
                attention_balance: 0.25,
                concat_balance: 0.6,
                clamp: 2.0,
                ..Edm2Config::default()
            });
            Hints { network: Some(network), ..Hints::default() }
        }
        _ => Hints::default(),
    }
}

fn sigma_data(name: &str) -> f32 {
    match name {
        "song-labels" => 0.7,
        "edm2-others" => 0.8,
        _ => 0.5,
    }
}

fn open(bytes: &[u8]) -> Archive {
    Archive::from_reader(Cursor::new(bytes.to_vec())).unwrap()
}

/// `formula` of the script, and the filters, which are no weights.
fn formula(name: &str, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    if name.ends_with("resample_filter") {
        let taps: &[f32] = match count {
            4 => &[0.5, 0.5],
            9 => &[0.25, 0.5, 0.25],
            _ => &[0.125, 0.375, 0.375, 0.125],
        };
        return taps.iter().flat_map(|a| taps.iter().map(move |b| a * b)).collect();
    }
    let inputs: usize = shape[shape.len().min(1)..].iter().product();
    let scale = (1.5 / inputs as f64).sqrt();
    let value = |v: f64| match shape.len() {
        _ if name.ends_with(".freqs") => 4.0 * v,
        1 => 0.2 * v + f64::from(u8::from(name.ends_with(".weight"))),
        _ => scale * v,
    };
    noise(name, count).into_iter().map(|v| value(v) as f32).collect()
}

/// A file of safetensors with these arrays.
fn file(arrays: &BTreeMap<String, Vec<usize>>) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in arrays {
        let first = data.len();
        data.extend(formula(name, shape).iter().flat_map(|value| value.to_le_bytes()));
        let entry =
            serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [first, data.len()] });
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [(header.len() as u64).to_le_bytes().to_vec(), header, data].concat()
}

fn shapes(fixture: &Archive) -> BTreeMap<String, Vec<usize>> {
    serde_json::from_str(&fixture.metadata()["shapes"]).unwrap()
}

fn precondition(name: &str, wrapper: &str) -> PreconditionConfig {
    match (name, wrapper) {
        ("song-vp", _) => PreconditionConfig::Vp(VpConfig { beta_d: 19.1, ..VpConfig::default() }),
        ("adm-iddpm", _) => {
            PreconditionConfig::Iddpm(IddpmConfig { c2: 0.01, steps: 500, ..IddpmConfig::default() })
        }
        (_, "VEPrecond") => PreconditionConfig::Ve,
        (_, "iDDPMPrecond") => PreconditionConfig::Iddpm(IddpmConfig::default()),
        _ => PreconditionConfig::Edm,
    }
}

/// Largest difference over the largest value, of images in N, C, H, W.
fn difference(ours: &Images, theirs: &[f32]) -> f64 {
    let [_, height, width, channels] = ours.shape();
    let pixels = height * width;
    let (mut worst, mut largest) = (0.0f64, 0.0f64);
    for (i, &value) in ours.values().iter().enumerate() {
        let (image, at) = (i / (pixels * channels), i % (pixels * channels));
        let theirs = f64::from(theirs[(image * channels + at % channels) * pixels + at / channels]);
        worst = worst.max((f64::from(value) - theirs).abs());
        largest = largest.max(theirs.abs());
    }
    worst / largest
}

#[test]
fn outputs_are_those_of_the_original_classes() {
    for (name, bytes) in CASES {
        let mut fixture = open(bytes);
        let mut weights_file = open(&file(&shapes(&fixture)));
        let guess = infer(&weights_file, &hints(name)).unwrap_or_else(|told| panic!("{name}: {told}"));
        let (network, mut weights) = guess.network.outline(guess.shape, guess.conditions).unwrap();
        let table = names(&guess.network, guess.shape.height, &weights, guess.dialect).unwrap();
        let found = Mismatches::between(&table, &weights_file, &guess.prefix, &guess.told.ignored);
        assert!(found.is_empty(), "{name}: {found:?}");
        check_filters(&mut weights_file, &guess.prefix, &guess.told.ignored).unwrap();
        load(&table, &mut weights_file, &guess.prefix, &mut weights).unwrap();
        let card = WeightsCard {
            precondition: precondition(name, &fixture.metadata()["wrapper"]),
            sigma_data: sigma_data(name),
            ..WeightsCard::default()
        };
        let sigma = fixture.read("sigma").unwrap();
        let mut scaling = Scaling::default();
        for &sigma in &sigma {
            let c = card.precondition(None).coefficients(Sigma::new(sigma).unwrap());
            scaling.push(c.c_skip, c.c_out, c.c_in, c.c_noise);
        }
        let (height, channels) = (guess.shape.height, guess.shape.channels);
        let pixels = height * height;
        let x = fixture.read("x").unwrap();
        let x: Vec<f32> = (0..x.len())
            .map(|i| x[(i / (pixels * channels) * channels + i % channels) * pixels + i / channels % pixels])
            .collect();
        let x = Images::constant(x, [sigma.len(), height, height, channels]);
        let labels: Option<Vec<u32>> = guess
            .conditions
            .classes
            .map(|_| fixture.read("labels").unwrap().iter().map(|&label| label as u32).collect());
        let extra = Extra { labels: labels.as_deref(), ..Extra::default() };
        let mut graph = Graph::inference();
        let scaled = cm_tensor::scaled_rows(&x, &scaling.input);
        let raw = network.forward(&mut graph, &weights, &scaled, &scaling.c_noise, extra);
        let denoised = network.forward_scaled(&mut graph, &weights, &x, &scaling, extra);
        let raw = difference(&raw, &fixture.read("raw").unwrap());
        let denoised = difference(&denoised, &fixture.read("denoised").unwrap());
        assert!(raw <= 3e-6 && denoised <= 3e-6, "{name}: raw {raw:.2e}, denoised {denoised:.2e}");
    }
}

/// Sixty-four channels a head were taken of networks that have fewer channels, and their attention left out.
#[test]
fn heads_that_a_state_dict_does_not_say_are_asked_for() {
    let archive = open(&file(&shapes(&open(case("edm2")))));
    let told = infer(&archive, &Hints::default()).unwrap_err();
    assert!(told.contains("attention of 16") && told.contains("--head-channels"), "{told}");
    let hints = Hints { heads: Some(HeadsConfig::Channels(8)), ..Hints::default() };
    let NetworkConfig::Edm2(config) = infer(&archive, &hints).unwrap().network else { panic!("an EDM2") };
    assert_eq!(config.heads, HeadsConfig::Whole(8));
}

/// Whole numbers are no weights: they were read as such.
#[test]
fn quantised_weights_are_refused() {
    let bytes = file(&shapes(&open(case("song-ddpmpp"))));
    let name = b"\"model.map_layer0.bias\":";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    let text = b"\"dtype\":\"F32\"";
    let at = at + bytes[at..].windows(text.len()).position(|window| window == text).unwrap();
    let changed = [&bytes[..at], b"\"dtype\":\"I32\"", &bytes[at + text.len()..]].concat();
    let archive = open(&changed);
    let guess = infer(&archive, &Hints::default()).unwrap();
    let (_, weights) = guess.network.outline(guess.shape, guess.conditions).unwrap();
    let table = names(&guess.network, guess.shape.height, &weights, guess.dialect).unwrap();
    let found = Mismatches::between(&table, &archive, &guess.prefix, &guess.told.ignored);
    assert_eq!(found.whole, ["map_layer0.bias (I32)"]);
}

/// Without its filters, two networks fit the names, and they compute different things.
#[test]
fn a_file_without_filters_is_asked_about() {
    let fixture = open(case("song-ddpmpp"));
    let stripped: BTreeMap<String, Vec<usize>> =
        shapes(&fixture).into_iter().filter(|(name, _)| !name.ends_with("resample_filter")).collect();
    let archive = open(&file(&stripped));
    let told = infer(&archive, &Hints::default()).unwrap_err();
    assert!(told.contains("--resampling plain or --resampling fir"), "{told}");
    let hints = Hints { resampling: Some(ResamplingConfig::Fir), ..Hints::default() };
    let NetworkConfig::UNet(config) = infer(&archive, &hints).unwrap().network else { panic!("a SongUNet") };
    assert_eq!(config.resampling, ResamplingConfig::Fir);
}

#[test]
fn other_filters_and_other_outputs_are_refused() {
    let fixture = open(case("song-ddpmpp"));
    let mut other = shapes(&fixture);
    for (name, shape) in &mut other {
        if name.ends_with("resample_filter") {
            *shape = vec![1, 1, 3, 3];
        }
    }
    let told = infer(&open(&file(&other)), &Hints::default()).unwrap_err();
    assert!(told.contains("[3] taps"), "{told}");
    let mut other = shapes(&fixture);
    other.insert("model.dec.8x8_aux_conv.weight".into(), vec![5, 8, 3, 3]);
    let told = infer(&open(&file(&other)), &Hints::default()).unwrap_err();
    assert!(told.contains("5 channels of 3"), "{told}");
    // Of the same size, but not the filter.
    let bytes = file(&shapes(&fixture));
    let of = |value: f32| value.to_le_bytes().repeat(4);
    let at = bytes.windows(16).position(|window| window == of(0.25)).unwrap();
    let changed = [&bytes[..at], &of(0.3), &bytes[at + 16..]].concat();
    let mut archive = open(&changed);
    let guess = infer(&archive, &Hints::default()).unwrap();
    assert!(
        check_filters(&mut archive, &guess.prefix, &guess.told.ignored)
            .unwrap_err()
            .contains("only the filters")
    );
}
