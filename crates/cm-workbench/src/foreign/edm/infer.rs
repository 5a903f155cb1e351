//! Which SongUNet or DhariwalUNet a file holds.

use super::super::guess::{Dialect, EdmNames, Guess, Hints, Told};
use super::wrapper;
use cm_image::ImageShape;
use cm_import::{Archive, ModuleInfo};
use cm_network::{
    AdmConfig, Conditions, EmbeddingConfig, FourierConfig, HeadsConfig, NetworkConfig, ResamplingConfig,
    ScaleConfig, UNetConfig,
};
use cm_study::to_ron;
use std::collections::BTreeSet;

/// The names and shapes behind a prefix.
pub(super) struct Names<'a> {
    pub(super) archive: &'a Archive,
    pub(super) prefix: &'a str,
}

impl<'a> Names<'a> {
    pub(super) fn shape(&self, name: &str) -> Option<&'a [usize]> {
        self.archive.find(&format!("{}{name}", self.prefix)).map(|info| info.shape.as_slice())
    }

    pub(super) fn needed(&self, name: &str) -> Result<&'a [usize], String> {
        self.shape(name).ok_or_else(|| format!("the network in it has no `{}{name}`", self.prefix))
    }

    pub(super) fn outputs(&self, name: &str) -> Result<usize, String> {
        self.needed(name)?.first().copied().ok_or_else(|| format!("`{}{name}` is one number", self.prefix))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    fn all(&self) -> impl Iterator<Item = (&'a str, &'a [usize])> {
        let prefix = self.prefix;
        self.archive
            .tensors()
            .iter()
            .filter_map(move |tensor| Some((tensor.name.strip_prefix(prefix)?, tensor.shape.as_slice())))
    }

    /// Modules of a class inside the network, with the names of their parts.
    fn modules(&self, class: &'static str) -> impl Iterator<Item = (&'a str, &'a ModuleInfo)> {
        let prefix = self.prefix;
        self.archive
            .modules()
            .iter()
            .filter(move |module| module.class == class)
            .filter_map(move |module| Some((module.path.strip_prefix(prefix)?, module)))
    }
}

/// The resolutions of the way down, widest first.
pub(super) fn heights(names: &Names<'_>) -> Result<Vec<usize>, String> {
    let mut found = BTreeSet::new();
    for (name, _) in names.all() {
        let Some((sides, _)) = name.strip_prefix("enc.").and_then(|rest| rest.split_once('_')) else {
            continue;
        };
        match sides.split_once('x').map(|(h, w)| (h.parse::<usize>(), w.parse::<usize>())) {
            Some((Ok(height), Ok(width))) if height == width => drop(found.insert(height)),
            _ => {
                return Err(format!(
                    "`{}{name}` does not begin with a resolution such as 32x32",
                    names.prefix
                ));
            }
        }
    }
    let heights: Vec<usize> = found.into_iter().rev().collect();
    match heights.windows(2).all(|pair| pair[0] >> 1 == pair[1]) {
        true if !heights.is_empty() => Ok(heights),
        true => Err(format!("no names begin with `{}enc.`", names.prefix)),
        false => Err(format!("its resolutions are {heights:?}, and each should be half of the one before")),
    }
}

/// The network behind a prefix.
pub(in super::super) fn infer(archive: &Archive, prefix: &str, hints: &Hints) -> Result<Guess, String> {
    let names = Names { archive, prefix };
    let heights = heights(&names)?;
    let widest = heights[0];
    if let Some(size) = hints.size.filter(|&size| size != widest) {
        return Err(format!("the names in it are of images of {widest} pixels, not of {size}"));
    }
    let dhariwal = names.has("out_conv.weight");
    let &[first, image_channels, ..] = names.needed(&format!("enc.{widest}x{widest}_conv.weight"))? else {
        return Err("its first convolution has no kernel".to_owned());
    };
    let &[embedded, waves] = names.needed("map_layer0.weight")? else {
        return Err("its `map_layer0.weight` is no matrix".to_owned());
    };
    let channels = if dhariwal { waves } else { first };
    let each = |total: usize, what: &str| match channels > 0 && total.is_multiple_of(channels) {
        true => Ok(total / channels),
        false => Err(format!("it has {total} {what}, which is no multiple of its {channels} channels")),
    };
    let blocks =
        (0..).take_while(|n| names.has(&format!("enc.{widest}x{widest}_block{n}.conv0.weight"))).count();
    let (mut multipliers, mut attention) = (Vec::new(), Vec::new());
    for height in &heights {
        let block = format!("enc.{height}x{height}_block0");
        multipliers.push(each(names.outputs(&format!("{block}.conv0.weight"))?, "channels at a resolution")?);
        if names.has(&format!("{block}.qkv.weight")) {
            attention.push(*height);
        }
    }
    let mut told = Told::default();
    wrapper::read(archive, prefix, &mut told)?;
    let embedding_multiplier = each(embedded, "values in its embedding")?;
    let network = match dhariwal {
        true => NetworkConfig::Adm(AdmConfig {
            channels,
            multipliers,
            blocks,
            attention,
            heads: match hints.heads {
                Some(heads) => given_heads(heads),
                None => heads(&names, "UNetBlock", &mut told)?,
            },
            embedding_scale: 1.0,
            small_groups: true,
            embedding_multiplier,
            ..AdmConfig::default()
        }),
        false => NetworkConfig::UNet(UNetConfig {
            channels,
            multipliers,
            blocks,
            attention,
            heads: match hints.heads {
                Some(HeadsConfig::Count(heads)) => heads,
                Some(HeadsConfig::Channels(_) | HeadsConfig::Whole(_)) => {
                    return Err("a SongUNet has so many heads at every resolution: give --heads".to_owned());
                }
                None => 1,
            },
            embedding: match names.has("map_noise.freqs") {
                true => EmbeddingConfig::Fourier(FourierConfig {
                    width: each(waves, "waves")?,
                    ..FourierConfig::default()
                }),
                false => EmbeddingConfig::Positional(ScaleConfig {
                    width: each(waves, "waves")?,
                    ..ScaleConfig::default()
                }),
            },
            input_pyramid: heights.iter().any(|h| names.has(&format!("enc.{h}x{h}_aux_residual.weight"))),
            input_skip: heights.iter().any(|h| names.has(&format!("enc.{h}x{h}_aux_skip.weight"))),
            output_skip: heights[1..].iter().any(|h| names.has(&format!("dec.{h}x{h}_aux_conv.weight"))),
            embedding_multiplier,
            ..UNetConfig::default()
        }),
    };
    let network = match network {
        NetworkConfig::UNet(config) => NetworkConfig::UNet(filtered(&names, config, hints)?),
        other => other,
    };
    consistent(&names, dhariwal)?;
    complete(archive, prefix, network, ImageShape::new(widest, widest, image_channels), told)
}

/// The guess around a network that was given.
pub(in super::super) fn given(
    archive: &Archive,
    prefix: &str,
    network: NetworkConfig,
    size: Option<usize>,
) -> Result<Guess, String> {
    let names = Names { archive, prefix };
    let widest = heights(&names)?[0];
    if let Some(size) = size.filter(|&size| size != widest) {
        return Err(format!("the names in it are of images of {widest} pixels, not of {size}"));
    }
    let channels = names.needed(&format!("enc.{widest}x{widest}_conv.weight"))?.get(1).copied().unwrap_or(0);
    let mut told = Told::default();
    wrapper::read(archive, prefix, &mut told)?;
    complete(archive, prefix, network, ImageShape::new(widest, widest, channels), told)
}

/// The guess around a network and what was told besides.
fn complete(
    archive: &Archive,
    prefix: &str,
    network: NetworkConfig,
    shape: ImageShape,
    mut told: Told,
) -> Result<Guess, String> {
    let names = Names { archive, prefix };
    let last = match network {
        NetworkConfig::Adm(_) => "out_conv.weight".to_owned(),
        NetworkConfig::UNet(_) | NetworkConfig::Edm2(_) | NetworkConfig::Mlp(_) => {
            format!("dec.{0}x{0}_aux_conv.weight", shape.height)
        }
    };
    let outputs = names.outputs(&last)?;
    if outputs != shape.channels && outputs != 2 * shape.channels {
        let channels = shape.channels;
        return Err(format!("it makes {outputs} channels of {channels}: neither as many nor twice as many"));
    }
    if outputs > shape.channels {
        told.notes
            .push("of its two outputs for each channel the first is used, as iDDPM's sampling does".into());
    }
    let augmented = "map_augment.weight";
    if names.has(augmented) {
        told.ignored.insert(augmented.to_owned());
        told.notes.push(
            "its input of augmentations is left out: for images that are not augmented it adds 0".into(),
        );
    }
    let buffers = names.all().filter(|(name, _)| name.ends_with(".resample_filter"));
    told.ignored.extend(buffers.map(|(name, _)| name.to_owned()));
    let classes = names.shape("map_label.weight").and_then(|shape| shape.get(1).copied());
    let conditions = Conditions { classes, ..Conditions::default() };
    let dialect = Dialect::Edm(EdmNames { outputs: outputs / shape.channels.max(1) });
    Ok(Guess { network, shape, conditions, dialect, prefix: prefix.to_owned(), told })
}

/// How blocks change the resolution: the filters are in the file.
fn filtered(names: &Names<'_>, config: UNetConfig, hints: &Hints) -> Result<UNetConfig, String> {
    let taps: BTreeSet<usize> = names
        .all()
        .filter(|(name, _)| name.ends_with(".resample_filter"))
        .map(|(_, shape)| shape.last().copied().unwrap_or(0))
        .collect();
    let resampling = match (taps.into_iter().collect::<Vec<_>>().as_slice(), hints.resampling) {
        (_, Some(given)) => given,
        ([2], None) => ResamplingConfig::Plain,
        ([4], None) => ResamplingConfig::Fir,
        ([], None) if config.multipliers.len() == 1 => ResamplingConfig::Plain,
        ([], None) => {
            let network = to_ron(&NetworkConfig::UNet(config));
            return Err(format!(
                "it holds none of its filters (`...resample_filter`), and [1, 1] fits as well as [1, 3, 3, 1]: give \
                 --resampling plain or --resampling fir; the rest is {network}"
            ));
        }
        (taps, None) => {
            return Err(format!(
                "its filters have {taps:?} taps: only [1, 1] and [1, 3, 3, 1] are known here"
            ));
        }
    };
    Ok(UNetConfig { resampling, ..config })
}

/// The heads that were given, as these classes count them: rounded down.
pub(super) fn given_heads(heads: HeadsConfig) -> HeadsConfig {
    match heads {
        HeadsConfig::Channels(each) => HeadsConfig::Whole(each),
        other @ (HeadsConfig::Count(_) | HeadsConfig::Whole(_)) => other,
    }
}

/// The heads of a DhariwalUNet or of EDM2's network: a pickle says them, a state dict has those of the class.
pub(super) fn heads(names: &Names<'_>, class: &'static str, told: &mut Told) -> Result<HeadsConfig, String> {
    let of = |(_, module): (&str, &ModuleInfo)| {
        Some((module.number("out_channels")? as usize, module.number("num_heads")? as usize))
    };
    let found: Vec<(usize, usize)> =
        names.modules(class).filter_map(of).filter(|&(_, heads)| heads > 0).collect();
    if found.is_empty() {
        let attentions = names.all().filter(|(name, _)| name.ends_with("qkv.weight"));
        let narrowest = attentions.filter_map(|(_, shape)| shape.get(1).copied()).min();
        match narrowest.filter(|_| names.archive.modules().is_empty()) {
            None => {}
            Some(channels) if channels < 64 => {
                return Err(format!(
                    "the heads of its attention cannot be told from its arrays: the class has one for 64 channels, and \
                     there is attention of {channels}; give --head-channels or --heads"
                ));
            }
            Some(_) => told.notes.push(
                "heads of attention: one for 64 channels, as the class with these names has; else give --heads"
                    .to_owned(),
            ),
        }
        return Ok(HeadsConfig::Whole(64));
    }
    let (channels, heads) = found[0];
    let choices = [HeadsConfig::Whole(64), HeadsConfig::Count(heads), HeadsConfig::Whole(channels / heads)];
    let holds = |choice: &HeadsConfig| {
        found.iter().all(|&(channels, heads)| match *choice {
            HeadsConfig::Count(count) => heads == count,
            HeadsConfig::Channels(each) | HeadsConfig::Whole(each) => {
                heads * each <= channels && channels / each == heads
            }
        })
    };
    choices
        .into_iter()
        .find(holds)
        .ok_or_else(|| "its numbers of heads follow no rule that is known here".to_owned())
}

/// What a pickle says of its blocks must be what the classes of these names do.
fn consistent(names: &Names<'_>, dhariwal: bool) -> Result<(), String> {
    let (scale, eps, adaptive) = if dhariwal { (1.0, 1e-5, 1.0) } else { (0.5f64.sqrt(), 1e-6, 0.0) };
    let expected = [
        ("UNetBlock", "skip_scale", scale),
        ("UNetBlock", "adaptive_scale", adaptive),
        ("GroupNorm", "eps", eps),
        ("PositionalEmbedding", "endpoint", if dhariwal { 0.0 } else { 1.0 }),
        ("PositionalEmbedding", "max_positions", 10_000.0),
    ];
    for (class, attribute, expected) in expected {
        for (name, module) in names.modules(class) {
            match module.number(attribute) {
                Some(value) if (value - expected).abs() > 1e-6 * expected.abs() => {
                    let class_of_all = if dhariwal { "DhariwalUNet" } else { "SongUNet" };
                    return Err(format!(
                        "`{name}` has {attribute} {value}, and a {class_of_all}'s is {expected}: it is another network"
                    ));
                }
                Some(_) | None => {}
            }
        }
    }
    let of_song = |module: &ModuleInfo| module.number("num_heads").filter(|&heads| heads > 1.0);
    match names.modules("UNetBlock").find_map(|(name, module)| Some((name, of_song(module)?))) {
        Some((name, heads)) if !dhariwal => {
            Err(format!("`{name}` has {heads} heads, and a SongUNet has one: it is another network"))
        }
        Some(_) | None => Ok(()),
    }
}
