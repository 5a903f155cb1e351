//! The network of Karras et al. 2024 under its own names: which one a file holds, and how its weights act.

use super::super::guess::{Dialect, EdmNames, Guess, Hints, Told};
use super::super::naming::{Naming, split, torch};
use super::super::table::{Fold, Layout, Outputs, Piece};
use super::infer::{Names, given_heads, heads, heights};
use super::wrapper;
use cm_image::ImageShape;
use cm_import::{Archive, Attribute, ModuleInfo};
use cm_network::{Conditions, Edm2Config, NetworkConfig, ResamplingConfig};
use std::collections::HashMap;

/// The magnitude of SiLU of normal numbers, as the original divides by it (Equation 81).
const SILU: f64 = 0.596;

/// The network behind a prefix, or the one that is given.
pub(in super::super) fn infer(archive: &Archive, prefix: &str, hints: &Hints) -> Result<Guess, String> {
    let names = Names { archive, prefix };
    let heights = heights(&names)?;
    let widest = heights[0];
    if let Some(size) = hints.size.filter(|&size| size != widest) {
        return Err(format!("the names in it are of images of {widest} pixels, not of {size}"));
    }
    let input = names.needed(&format!("enc.{widest}x{widest}_conv.weight"))?;
    let image_channels = input.get(1).copied().unwrap_or(0).saturating_sub(1);
    let mut told = Told::default();
    wrapper::read(archive, prefix, &mut told)?;
    if archive.modules().iter().any(|module| module.class == "StabilityVAEEncoder") {
        told.notes
            .push("its images are latents of StabilityVAE, which is not here: they are not decoded".into());
    }
    let network = match &hints.network {
        Some(network) => network.clone(),
        None => NetworkConfig::Edm2(config(&names, &heights, hints, &mut told)?),
    };
    let classes = names.shape("emb_label.weight").and_then(|shape| shape.get(1).copied());
    Ok(Guess {
        network,
        shape: ImageShape::new(widest, widest, image_channels),
        conditions: Conditions { classes, ..Conditions::default() },
        dialect: Dialect::Edm(EdmNames { outputs: 1 }),
        prefix: prefix.to_owned(),
        told,
    })
}

fn config(
    names: &Names<'_>,
    heights: &[usize],
    hints: &Hints,
    told: &mut Told,
) -> Result<Edm2Config, String> {
    let (mut widths, mut attention) = (Vec::new(), Vec::new());
    for height in heights {
        let block = format!("enc.{height}x{height}_block0");
        widths.push(names.outputs(&format!("{block}.conv_res1.weight"))?);
        if names.has(&format!("{block}.attn_qkv.weight")) {
            attention.push(*height);
        }
    }
    let channels = widths.iter().fold(0, |a, &b| divisor(a, b)).max(1);
    let first = heights[0];
    let blocks =
        (0..).take_while(|n| names.has(&format!("enc.{first}x{first}_block{n}.conv_res0.weight"))).count();
    let default = Edm2Config::default();
    if names.archive.modules().is_empty() {
        told.notes.push(
            "balances of sums and the largest value are as published; a state dict does not say them".into(),
        );
    }
    let resampling = match (hints.resampling, filter(names)?) {
        (Some(given), _) => given,
        (None, Some(found)) => found,
        (None, None) => {
            told.notes.push(
                "resolutions change without a filter (plain), as published; else give --resampling".into(),
            );
            ResamplingConfig::Plain
        }
    };
    Ok(Edm2Config {
        channels,
        multipliers: widths.iter().map(|width| width / channels).collect(),
        blocks,
        attention,
        heads: match hints.heads {
            Some(heads) => given_heads(heads),
            None => heads(names, "Block", told)?,
        },
        waves: names.outputs("emb_fourier.freqs")?,
        embedding: names.outputs("emb_noise.weight")?,
        resampling,
        label_balance: same(names, "UNet", "label_balance")?.unwrap_or(default.label_balance),
        concat_balance: same(names, "UNet", "concat_balance")?.unwrap_or(default.concat_balance),
        residual_balance: same(names, "Block", "res_balance")?.unwrap_or(default.residual_balance),
        attention_balance: same(names, "Block", "attn_balance")?.unwrap_or(default.attention_balance),
        clamp: clamp(names)?.unwrap_or(default.clamp),
        ..default
    })
}

fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// Modules of a class, the network itself among them.
fn modules<'a>(names: &Names<'a>, class: &str) -> Vec<&'a ModuleInfo> {
    let (whole, inside) = (names.prefix.trim_end_matches('.'), names.prefix);
    let of_network = |module: &&ModuleInfo| module.path == whole || module.path.starts_with(inside);
    names.archive.modules().iter().filter(|module| module.class == class).filter(of_network).collect()
}

/// The number that all modules of a class have, if they say it.
fn same(names: &Names<'_>, class: &str, attribute: &str) -> Result<Option<f32>, String> {
    let values: Vec<f64> =
        modules(names, class).into_iter().filter_map(|module| module.number(attribute)).collect();
    match values.first() {
        Some(first) if values.iter().any(|value| value != first) => {
            Err(format!("its modules differ in their {attribute}, and one is known here for all"))
        }
        first => Ok(first.map(|&first| first as f32)),
    }
}

/// The largest value behind a block; there may be none.
fn clamp(names: &Names<'_>) -> Result<Option<f32>, String> {
    let unbounded = |module: &&ModuleInfo| module.attributes.get("clip_act") == Some(&Attribute::None);
    if modules(names, "Block").iter().any(unbounded) {
        return Ok(Some(f32::MAX));
    }
    same(names, "Block", "clip_act")
}

fn filter(names: &Names<'_>) -> Result<Option<ResamplingConfig>, String> {
    let mut found = None;
    for module in modules(names, "Block") {
        let taps = match module.attributes.get("resample_filter") {
            Some(Attribute::List(taps)) => taps.as_slice(),
            Some(_) | None => continue,
        };
        let of_module = match taps {
            [1.0, 1.0] => ResamplingConfig::Plain,
            [1.0, 3.0, 3.0, 1.0] => ResamplingConfig::Fir,
            other => {
                return Err(format!("its filter is {other:?}: only [1, 1] and [1, 3, 3, 1] are known here"));
            }
        };
        if found.is_some_and(|found| found != of_module) {
            return Err("its blocks have different filters".to_owned());
        }
        found = Some(of_module);
    }
    Ok(found)
}

/// The names of a network with images of this height.
pub(in super::super) fn naming(config: &Edm2Config, height: usize, labelled: bool) -> Box<dyn Naming> {
    let levels = config.multipliers.len();
    let mut blocks = HashMap::new();
    let mut put = |ours: String, theirs: String| drop(blocks.insert(ours, theirs));
    for level in 0..levels {
        let side = height.checked_shr(level as u32).unwrap_or(0);
        let (down, up) = (format!("enc.{side}x{side}"), format!("dec.{side}x{side}"));
        if level == 0 {
            put("input".to_owned(), format!("{down}_conv"));
        } else {
            put(format!("down.{level}.resample"), format!("{down}_down"));
        }
        if level + 1 == levels {
            put("middle.0".to_owned(), format!("{up}_in0"));
            put("middle.1".to_owned(), format!("{up}_in1"));
        } else {
            put(format!("up.{level}.resample"), format!("{up}_up"));
        }
        (0..config.blocks).for_each(|n| put(format!("down.{level}.{n}"), format!("{down}_block{n}")));
        (0..=config.blocks).for_each(|n| put(format!("up.{level}.{n}"), format!("{up}_block{n}")));
    }
    Box::new(Edm2 { blocks, config: config.clone(), labelled })
}

struct Edm2 {
    blocks: HashMap<String, String>,
    config: Edm2Config,
    labelled: bool,
}

const PARTS: [(&str, &str); 6] = [
    ("attention.qkv", "attn_qkv"),
    ("attention.proj", "attn_proj"),
    ("conv0", "conv_res0"),
    ("conv1", "conv_res1"),
    ("affine", "emb_linear"),
    ("skip", "conv_skip"),
];

impl Naming for Edm2 {
    fn pieces(&self, owner: &str, leaf: &str, shape: &[usize]) -> Option<Vec<Piece>> {
        let single = match (owner, leaf) {
            ("embedding", "frequencies") => Some("emb_fourier.freqs".to_owned()),
            ("embedding", "phases") => Some("emb_fourier.phases".to_owned()),
            ("embedding.noise", _) => Some(format!("emb_noise.{leaf}")),
            ("embedding.label", _) => Some(format!("emb_label.{leaf}")),
            ("output", _) => Some(format!("out_conv.{leaf}")),
            ("input", _) => Some(format!("{}.{leaf}", self.blocks.get(owner)?)),
            _ => None,
        };
        if let Some(name) = single {
            return Some(vec![match shape.len() {
                1 => {
                    let outputs = Outputs::first(shape[0]);
                    Piece { name, shape: shape.to_vec(), layout: Layout::Ours, outputs }
                }
                _ => torch(name, shape),
            }]);
        }
        let (block, part) = split(owner, &PARTS)?;
        let piece = torch(format!("{}.{part}.{leaf}", self.blocks.get(block)?), shape);
        Some(match part {
            // Query, key and value of a channel side by side.
            "attn_qkv" => (0..3)
                .map(|first| Piece {
                    outputs: Outputs { first, step: 3, count: piece.outputs.count / 3 },
                    ..piece.clone()
                })
                .collect(),
            _ => vec![piece],
        })
    }

    /// Activations' and sums' factors, as far as they meet no non-linearity before the next weights.
    fn fold(&self, owner: &str, shape: &[usize]) -> Fold {
        let magnitude = |factor: f64, gain: Option<String>| Fold::Magnitude { factor, gain };
        let balance = f64::from(self.config.label_balance);
        let whole = (1.0 - balance).hypot(balance);
        let noise = if self.labelled { (1.0 - balance) / whole } else { 1.0 };
        let beside = |balance: f32| f64::from(balance) / (1.0 - f64::from(balance));
        match owner {
            "embedding" => Fold::None,
            "embedding.noise" => magnitude(noise, None),
            // The one-hot class is multiplied by the root of their number.
            "embedding.label" => magnitude(balance / whole * (shape[0] as f64).sqrt(), None),
            "input" => magnitude(1.0, None),
            "output" => magnitude(1.0, Some("out_gain".to_owned())),
            _ => match split(owner, &PARTS) {
                Some((_, "conv_res0")) => magnitude(1.0 / SILU, None),
                Some((_, "conv_res1")) => magnitude(beside(self.config.residual_balance) / SILU, None),
                Some((_, "attn_proj")) => magnitude(beside(self.config.attention_balance), None),
                Some((block, "emb_linear")) => {
                    let gain = self.blocks.get(block).map(|block| format!("{block}.emb_gain"));
                    magnitude(1.0 / SILU, gain)
                }
                Some(_) | None => magnitude(1.0, None),
            },
        }
    }
}
