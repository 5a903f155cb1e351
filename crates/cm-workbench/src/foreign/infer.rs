//! Which network a file of weights belongs to, from its names and shapes.

use super::{Dialect, Mismatches, names};
use cm_image::ImageShape;
use cm_import::{Archive, Format};
use cm_network::{AdmConfig, Conditions, NetworkConfig, Preset, UNetConfig};

/// A network that fits a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Guess {
    pub(crate) network: NetworkConfig,
    pub(crate) shape: ImageShape,
    pub(crate) conditions: Conditions,
    pub(crate) dialect: Dialect,
    /// What all names begin with.
    pub(crate) prefix: String,
}

/// Names by which a family is known, where everything else about it is told apart.
const ADM_INPUT: &str = "input_blocks.0.0.weight";
const SONG_INPUT: [(&str, Dialect); 2] =
    [("Conv_0.weight", Dialect::Torch), ("Conv_0/kernel", Dialect::Flax)];

/// The network of a file; an error says what cannot be told from it. `height` is that of the images, where it is given:
/// a convolution does not know it, and only a file that fits a preset tells it.
pub(crate) fn infer(archive: &Archive, height: Option<usize>, prefix: Option<&str>) -> Result<Guess, String> {
    if let Some(prefix) = prefix_of(archive, ADM_INPUT, prefix)? {
        return adm(archive, height, &prefix);
    }
    for (input, dialect) in SONG_INPUT {
        if let Some(prefix) = prefix_of(archive, input, prefix)? {
            return song(archive, height, &prefix, dialect);
        }
    }
    Err(format!(
        "the names are neither ADM's (`{ADM_INPUT}`) nor NCSN++'s or DDPM++'s (`Conv_0/kernel`): {}",
        archive.tensors().iter().take(3).map(|t| format!("`{}`", t.name)).collect::<Vec<_>>().join(", ")
    ))
}

/// What stands before the name of the first convolution. Of averaged and raw weights, the averaged ones.
fn prefix_of(archive: &Archive, name: &str, given: Option<&str>) -> Result<Option<String>, String> {
    let candidates: Vec<&str> = archive
        .tensors()
        .iter()
        .filter_map(|tensor| tensor.name.strip_suffix(name))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with(['.', '/']))
        .filter(|prefix| !(prefix.contains("Block") || prefix.contains("block")))
        .collect();
    if let Some(given) = given {
        return Ok(candidates.contains(&given).then(|| given.to_owned()));
    }
    match candidates.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some((*only).to_owned())),
        several => match several.iter().find(|prefix| prefix.starts_with("params_ema")) {
            Some(averaged) => Ok(Some((*averaged).to_owned())),
            None => Err(format!(
                "there are several sets of weights, one of which must be named: {}",
                several.join(", ")
            )),
        },
    }
}

/// Whether a network's names and shapes are exactly those of the file.
fn fits(guess: &Guess, archive: &Archive) -> bool {
    let Guess { network, shape, conditions, dialect, prefix } = guess;
    let Ok((_, weights)) = network.outline(*shape, *conditions) else { return false };
    names(network, shape.height, &weights, *dialect)
        .is_ok_and(|table| Mismatches::between(&table, archive, prefix).is_empty())
}

fn presets(archive: &Archive, prefix: &str, dialect: Dialect) -> Option<Guess> {
    Preset::ALL
        .into_iter()
        .map(|preset| Guess {
            network: preset.config(),
            shape: preset.shape(),
            conditions: preset.conditions(),
            dialect,
            prefix: prefix.to_owned(),
        })
        .find(|guess| fits(guess, archive))
}

/// The file's tensors without their prefix.
struct Names<'a> {
    archive: &'a Archive,
    prefix: &'a str,
}

impl Names<'_> {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.archive.find(&format!("{}{name}", self.prefix)).map(|info| info.shape.as_slice())
    }

    fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// The first number from `first` on for which there is no tensor.
    fn count(&self, first: usize, name: impl Fn(usize) -> String) -> usize {
        (first..).take_while(|&number| self.has(&name(number))).count()
    }
}

fn needs_height(what: &str) -> String {
    format!("{what} fits no preset, so the height of its images must be given")
}

fn adm(archive: &Archive, height: Option<usize>, prefix: &str) -> Result<Guess, String> {
    let of_preset = presets(archive, prefix, Dialect::Torch);
    if let Some(guess) = of_preset.filter(|guess| height.is_none_or(|height| height == guess.shape.height)) {
        return Ok(guess);
    }
    let names = Names { archive, prefix };
    let height = height.ok_or_else(|| needs_height("the ADM in this file"))?;
    let unclear = |what: &str| format!("the ADM in this file has no {what} where it should");
    let &[channels, image_channels, ..] =
        names.shape(ADM_INPUT).ok_or_else(|| unclear("first convolution"))?
    else {
        return Err(unclear("first convolution"));
    };
    let in_block = |n: usize| format!("output_blocks.{n}.0.in_layers.0.weight");
    let out_blocks = names.count(0, in_block);
    let up_in_block =
        |n: usize| (1..=2).any(|at| names.has(&format!("output_blocks.{n}.{at}.in_layers.0.weight")));
    let up_by_convolution =
        |n: usize| (1..=2).any(|at| names.has(&format!("output_blocks.{n}.{at}.conv.weight")));
    let ups = (0..out_blocks).filter(|&n| up_in_block(n) || up_by_convolution(n)).count();
    let levels = ups + 1;
    if out_blocks == 0 || !out_blocks.is_multiple_of(levels) || out_blocks / levels < 2 {
        return Err(format!("{out_blocks} blocks on the way up and {ups} doublings make no ADM"));
    }
    let blocks = out_blocks / levels - 1;
    let resample_in_blocks = !(0..out_blocks).any(up_by_convolution);
    let (mut multipliers, mut attention) = (Vec::new(), Vec::new());
    for level in 0..levels {
        let first = 1 + level * (blocks + 1);
        let name = format!("input_blocks.{first}.0.in_layers.2.weight");
        let outputs = names.shape(&name).and_then(|shape| shape.first().copied());
        let outputs = outputs.filter(|outputs| outputs % channels == 0);
        multipliers.push(outputs.ok_or_else(|| unclear(&name))? / channels);
        if names.has(&format!("input_blocks.{first}.1.qkv.weight")) {
            attention.push(height >> level);
        }
    }
    let embedded = names.shape("input_blocks.1.0.emb_layers.1.weight").and_then(|shape| shape.first());
    let scale_shift = embedded == Some(&(2 * channels * multipliers[0]));
    let classes = names.shape("label_emb.weight").and_then(|shape| shape.first().copied());
    let network = NetworkConfig::Adm(AdmConfig {
        channels,
        multipliers,
        blocks,
        attention,
        scale_shift,
        resample_in_blocks,
        ..AdmConfig::default()
    });
    Ok(Guess {
        network,
        shape: ImageShape::new(height, height, image_channels),
        conditions: Conditions { classes, ..Conditions::default() },
        dialect: Dialect::Torch,
        prefix: prefix.to_owned(),
    })
}

fn song(archive: &Archive, height: Option<usize>, prefix: &str, dialect: Dialect) -> Result<Guess, String> {
    let of_preset = presets(archive, prefix, dialect);
    if let Some(guess) = of_preset.filter(|guess| height.is_none_or(|height| height == guess.shape.height)) {
        return Ok(guess);
    }
    let names = Names { archive, prefix };
    let height = height.ok_or_else(|| needs_height("the network in this file"))?;
    let (joint, kernel) = match dialect {
        Dialect::Torch => ('.', "weight"),
        Dialect::Flax => ('/', "kernel"),
    };
    let convolution = |module: &str| -> Option<(usize, usize)> {
        let shape = names.shape(&format!("{module}{joint}{kernel}"))?;
        match *shape {
            [outputs, inputs, _, _] if dialect == Dialect::Torch => Some((inputs, outputs)),
            [_, _, inputs, outputs] => Some((inputs, outputs)),
            _ => None,
        }
    };
    let (image_channels, channels) = convolution("Conv_0").ok_or("there is no first convolution")?;
    let block = |n: usize| format!("ResnetBlockBigGANpp_{n}");
    let total = names.count(0, |n| format!("{}{joint}Conv_0{joint}{kernel}", block(n)));
    let ends: Vec<(usize, usize)> =
        (0..total).filter_map(|n| convolution(&format!("{}{joint}Conv_0", block(n)))).collect();
    // A block that projects what it need not project changes the resolution.
    let resamples =
        |n: &usize| ends[*n].0 == ends[*n].1 && convolution(&format!("{}{joint}Conv_2", block(*n))).is_some();
    let changes = (0..ends.len()).filter(resamples).count();
    let levels = changes / 2 + 1;
    if ends.len() != total
        || !changes.is_multiple_of(2)
        || !total.is_multiple_of(levels)
        || !(total / levels).saturating_sub(3).is_multiple_of(2)
    {
        return Err(format!(
            "{total} blocks, {changes} of which change the resolution, make no NCSN++ and no DDPM++"
        ));
    }
    let blocks = (total / levels).saturating_sub(3) / 2;
    let multipliers: Vec<usize> = (0..levels)
        .filter_map(|level| ends.get(level * (blocks + 1)))
        .map(|(_, outputs)| outputs / channels)
        .collect();
    let fourier = names.has(&format!("GaussianFourierProjection_0{joint}W"));
    let base = if fourier { Preset::NcsnppCifar10.config() } else { Preset::DdpmppCifar10.config() };
    let NetworkConfig::UNet(base) = base else { unreachable!("the presets for CIFAR-10 are U-Nets") };
    // Attention is told by its number and width only: every choice of resolutions is tried.
    let choices = (0..1u32 << levels.min(16)).map(|choice| {
        let attention = (0..levels).filter(|level| choice >> level & 1 == 1).map(|level| height >> level);
        Guess {
            network: NetworkConfig::UNet(UNetConfig {
                channels,
                multipliers: multipliers.clone(),
                blocks,
                attention: attention.collect(),
                ..base.clone()
            }),
            shape: ImageShape::new(height, height, image_channels),
            conditions: Conditions::default(),
            dialect,
            prefix: prefix.to_owned(),
        }
    });
    let mut fitting: Vec<Guess> = choices.filter(|guess| fits(guess, archive)).collect();
    match fitting.len() {
        1 => Ok(fitting.remove(0)),
        0 => Err("no choice of resolutions with attention fits the names and shapes".to_owned()),
        _ => Err("several choices of resolutions with attention fit: the network must be given".to_owned()),
    }
}

/// Whose manner of writing names a format has, for a network that is given.
pub(crate) fn dialect_of(format: Format) -> Dialect {
    match format {
        Format::FlaxMsgpack => Dialect::Flax,
        Format::PytorchZip
        | Format::PytorchStream
        | Format::Pickle
        | Format::Npy
        | Format::Npz
        | Format::Safetensors => Dialect::Torch,
    }
}
