//! Which network a file of weights belongs to, from its names and shapes.

use super::edm;
use super::guess::{Dialect, Guess, Hints, Told};
use super::names::names;
use super::root::{Family, Root, root};
use super::table::Mismatches;
use cm_image::ImageShape;
use cm_import::Archive;
use cm_network::{AdmConfig, Conditions, HeadsConfig, NetworkConfig, Preset, ResamplingConfig, UNetConfig};

const ADM_INPUT: &str = "input_blocks.0.0.weight";

/// The network of a file, or the one that is given; an error says what cannot be told from the file.
pub(crate) fn infer(archive: &Archive, hints: &Hints) -> Result<Guess, String> {
    let Root { family, prefix, notes } = root(archive, hints.prefix.as_deref())?;
    let mut guess = match (family, &hints.network) {
        (Family::Edm2, _) => edm::infer_edm2(archive, &prefix, hints)?,
        (Family::Edm, Some(network)) => edm::given(archive, &prefix, network.clone(), hints.size)?,
        (Family::Edm, None) => edm::infer(archive, &prefix, hints)?,
        (Family::Adm, Some(network)) => {
            fitted(archive, network.clone(), hints.size, &prefix, Dialect::Torch)?
        }
        (Family::Adm, None) => adm(archive, hints, &prefix)?,
        (Family::Song(dialect), Some(network)) => {
            fitted(archive, network.clone(), hints.size, &prefix, dialect)?
        }
        (Family::Song(dialect), None) => song(archive, hints, &prefix, dialect)?,
    };
    guess.told.notes.splice(0..0, notes);
    Ok(guess)
}

/// A network that was given, with what it does not say itself: the images' channels, and classes.
fn fitted(
    archive: &Archive,
    network: NetworkConfig,
    size: Option<usize>,
    prefix: &str,
    dialect: Dialect,
) -> Result<Guess, String> {
    let preset = Preset::ALL.into_iter().find(|preset| preset.config() == network);
    let height = size.or(preset.map(|preset| preset.shape().height));
    let height = height.ok_or("the height of the images must be given (--size)")?;
    let names = Names { archive, prefix };
    // The last kernel makes images: outputs first in PyTorch, last in Flax.
    let last = (names.shape("out.2.weight"), names.shape("Conv_1.weight"), names.shape("Conv_1/kernel"));
    let channels = match last {
        (Some(&[outputs, ..]), _, _) | (_, Some(&[outputs, ..]), _) | (_, _, Some(&[.., outputs])) => outputs,
        _ => 3,
    };
    let classes = names.shape("label_emb.weight").and_then(|shape| shape.first().copied());
    Ok(Guess {
        network,
        shape: ImageShape::new(height, height, channels),
        conditions: Conditions { classes, ..Conditions::default() },
        dialect,
        prefix: prefix.to_owned(),
        told: Told::default(),
    })
}

/// Whether a network's names and shapes are exactly those of the file.
fn fits(guess: &Guess, archive: &Archive) -> bool {
    let Guess { network, shape, conditions, dialect, prefix, told } = guess;
    let Ok((_, weights)) = network.outline(*shape, *conditions) else { return false };
    names(network, shape.height, &weights, *dialect)
        .is_ok_and(|table| Mismatches::between(&table, archive, prefix, &told.ignored).is_empty())
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
            told: Told::default(),
        })
        .find(|guess| fits(guess, archive))
}

/// The file's tensors without their prefix.
struct Names<'a> {
    archive: &'a Archive,
    prefix: &'a str,
}

impl<'a> Names<'a> {
    fn shape(&self, name: &str) -> Option<&'a [usize]> {
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
    format!("{what} fits no preset, so the height of its images must be given (--size)")
}

fn adm(archive: &Archive, hints: &Hints, prefix: &str) -> Result<Guess, String> {
    let of_preset = presets(archive, prefix, Dialect::Torch);
    let fits_size = |guess: &Guess| hints.size.is_none_or(|size| size == guess.shape.height);
    if let Some(mut guess) = of_preset.filter(fits_size) {
        if let NetworkConfig::Adm(config) = &mut guess.network {
            match hints.heads {
                Some(heads) => config.heads = heads,
                None => guess.told.notes.push(
                    "heads of attention: one for 64 channels, as the published network of this size has; the file \
                     does not say it, and --heads or --head-channels would"
                        .to_owned(),
                ),
            }
        }
        guess.told.notes.push(scale_note());
        return Ok(guess);
    }
    let names = Names { archive, prefix };
    let height = hints.size.ok_or_else(|| needs_height("the ADM in this file"))?;
    let unclear = |what: &str| format!("the ADM in this file has no {what} where it should");
    let &[_, image_channels, ..] = names.shape(ADM_INPUT).ok_or_else(|| unclear("first convolution"))? else {
        return Err(unclear("first convolution"));
    };
    // The first convolution's channels are multiplied; the waves are not.
    let &[_, channels] = names.shape("time_embed.0.weight").ok_or_else(|| unclear("time_embed.0.weight"))?
    else {
        return Err(unclear("time_embed.0.weight"));
    };
    let outputs =
        names.shape("out.2.weight").and_then(|shape| shape.first().copied()).unwrap_or(image_channels);
    if outputs != image_channels {
        return Err(format!(
            "it makes {outputs} channels of {image_channels}: a model of noise with learned variances \
             (guided-diffusion), and not EDM's, whose use of the network is known here"
        ));
    }
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
    let heads = match hints.heads {
        Some(heads) => heads,
        None => return Err(heads_question()),
    };
    let network = NetworkConfig::Adm(AdmConfig {
        channels,
        multipliers,
        blocks,
        attention,
        heads,
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
        told: Told { notes: vec![scale_note()], ..Told::default() },
    })
}

/// That another number of heads would make other numbers of the same weights.
fn heads_question() -> String {
    "the heads of its attention cannot be told from its arrays, and every number of them gives other images: give \
     --head-channels (64 in OpenAI's published networks) or --heads"
        .to_owned()
}

fn scale_note() -> String {
    "its noise level enters as 1000 x ln(sigma) / 4, as in OpenAI's consistency models; else give --network"
        .to_owned()
}

fn song(archive: &Archive, hints: &Hints, prefix: &str, dialect: Dialect) -> Result<Guess, String> {
    let of_preset = presets(archive, prefix, dialect);
    let fits_size = |guess: &Guess| hints.size.is_none_or(|size| size == guess.shape.height);
    if let Some(guess) = of_preset.filter(fits_size) {
        return chosen(guess, hints);
    }
    let names = Names { archive, prefix };
    let height = hints.size.ok_or_else(|| needs_height("the network in this file"))?;
    let (joint, kernel) = match dialect {
        Dialect::Torch | Dialect::Edm(_) | Dialect::Diffusers => ('.', "weight"),
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
            told: Told::default(),
        }
    });
    let mut fitting: Vec<Guess> = choices.filter(|guess| fits(guess, archive)).collect();
    match fitting.len() {
        1 => chosen(fitting.remove(0), hints),
        0 => Err("no choice of resolutions with attention fits the names and shapes".to_owned()),
        _ => Err("several choices of resolutions with attention fit: the network must be given".to_owned()),
    }
}

/// The guess with what no array says: one head, as the original program has, and how resolutions change.
fn chosen(mut guess: Guess, hints: &Hints) -> Result<Guess, String> {
    let NetworkConfig::UNet(config) = &mut guess.network else { return Ok(guess) };
    match hints.heads {
        Some(HeadsConfig::Count(heads)) => config.heads = heads,
        Some(HeadsConfig::Channels(_) | HeadsConfig::Whole(_)) => {
            return Err("an NCSN++ or DDPM++ has so many heads at every resolution: give --heads".to_owned());
        }
        None => guess
            .told
            .notes
            .push("one head of attention, as the program with these names has; else give --heads".to_owned()),
    }
    match hints.resampling {
        Some(resampling) => config.resampling = resampling,
        None => {
            let (chosen, of) = match config.resampling {
                ResamplingConfig::Plain => ("without a filter (plain)", "DDPM++ (Karras et al. 2022)"),
                ResamplingConfig::Fir => ("through the filter (1, 3, 3, 1) (fir)", "NCSN++"),
            };
            guess.told.notes.push(format!("resolutions change {chosen}, as in {of}; else give --resampling"));
        }
    }
    Ok(guess)
}
