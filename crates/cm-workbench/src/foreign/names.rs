//! What the original programs call each array.

use super::diffusers::Diffusers;
use super::edm;
use super::guess::Dialect;
use super::naming::{Naming, split, torch};
use super::table::{Entry, Layout, Outputs, Piece};
use cm_network::{AdmConfig, NetworkConfig, UNetConfig, Weights};
use std::collections::HashMap;

/// The table for the arrays of `weights`, in their order; an error names the array that has no foreign name.
pub(crate) fn names(
    config: &NetworkConfig,
    height: usize,
    weights: &Weights,
    dialect: Dialect,
) -> Result<Vec<Entry>, String> {
    let labelled = weights.outlines().any(|(name, _)| name.starts_with("embedding.label."));
    let naming: Box<dyn Naming> = match (config, dialect) {
        (NetworkConfig::Edm2(config), Dialect::Edm(_)) => edm::naming_edm2(config, height, labelled),
        (NetworkConfig::Edm2(_), _) => {
            return Err(
                "EDM2's weights are normalised when they are imported, so they have no names to go back to"
                    .to_owned(),
            );
        }
        (NetworkConfig::UNet(_) | NetworkConfig::Adm(_), Dialect::Edm(names)) => {
            edm::naming(config, height, names, labelled)
        }
        (NetworkConfig::Adm(config), Dialect::Torch) => Box::new(Adm::new(config, height)),
        (NetworkConfig::Adm(_), Dialect::Flax) => {
            return Err("ADM's weights are PyTorch's, not Flax's".to_owned());
        }
        (NetworkConfig::Adm(config), Dialect::Diffusers) => Box::new(Diffusers::new(config)),
        (NetworkConfig::UNet(_), Dialect::Diffusers) => {
            return Err("diffusers has names for ADM's weights only".to_owned());
        }
        (NetworkConfig::UNet(config), Dialect::Torch | Dialect::Flax) => {
            Box::new(Song::new(config, height, dialect))
        }
        (NetworkConfig::Mlp(_), _) => return Err("an MLP has no names in other programs".to_owned()),
    };
    let entry = |(name, shape): (&str, &[usize])| {
        let (owner, leaf) = name.rsplit_once('.').unwrap_or(("", name));
        let pieces = naming.pieces(owner, leaf, shape);
        let pieces =
            pieces.ok_or_else(|| format!("the array `{name}` has no name in the original program"))?;
        Ok(Entry { ours: name.to_owned(), pieces, fold: naming.fold(owner, shape) })
    };
    weights.outlines().map(entry).collect()
}

struct Adm {
    /// From our blocks to theirs.
    blocks: HashMap<String, String>,
    scale_shift: bool,
}

impl Adm {
    fn new(config: &AdmConfig, height: usize) -> Self {
        let AdmConfig { multipliers, blocks, attention, .. } = config;
        let attends = |level: usize| attention.contains(&(height >> level));
        let mut map = HashMap::new();
        let mut block = |ours: String, theirs: String, at: usize| {
            map.insert(format!("{ours}.attention"), format!("{theirs}.{}", at + 1));
            map.insert(ours, format!("{theirs}.{at}"));
        };
        let mut number = 1;
        for level in 0..multipliers.len() {
            if level > 0 {
                block(format!("down.{level}.resample"), format!("input_blocks.{number}"), 0);
                number += 1;
            }
            for index in 0..*blocks {
                block(format!("down.{level}.{index}"), format!("input_blocks.{number}"), 0);
                number += 1;
            }
        }
        block("middle.0".into(), "middle_block".into(), 0);
        block("middle.1".into(), "middle_block".into(), 2);
        let mut number = 0;
        for level in (0..multipliers.len()).rev() {
            if level + 1 < multipliers.len() {
                // It ends the last block of the level below, behind that one's attention.
                let at = 1 + usize::from(attends(level + 1));
                block(format!("up.{level}.resample"), format!("output_blocks.{}", number - 1), at);
            }
            for index in 0..=*blocks {
                block(format!("up.{level}.{index}"), format!("output_blocks.{number}"), 0);
                number += 1;
            }
        }
        Self { blocks: map, scale_shift: config.scale_shift }
    }
}

impl Naming for Adm {
    fn pieces(&self, owner: &str, leaf: &str, shape: &[usize]) -> Option<Vec<Piece>> {
        let fixed = match owner {
            "input" => Some("input_blocks.0.0"),
            "embedding.layer0" => Some("time_embed.0"),
            "embedding.layer1" => Some("time_embed.2"),
            "output.norm" => Some("out.0"),
            "output.conv" => Some("out.2"),
            _ => None,
        };
        if let Some(theirs) = fixed {
            return Some(vec![torch(format!("{theirs}.{leaf}"), shape)]);
        }
        if owner == "embedding.label" {
            // A table: one row for each class, as ours.
            let (name, outputs) = ("label_emb.weight".to_owned(), Outputs::first(*shape.last()?));
            return Some(vec![Piece { name, shape: shape.to_vec(), layout: Layout::Ours, outputs }]);
        }
        if let Some((block, _)) = split(owner, &[("affine", ""), ("film_scale", "")]) {
            let name = format!("{}.emb_layers.1.{leaf}", self.blocks.get(block)?);
            let mut piece = torch(name, shape);
            if self.scale_shift {
                // One map gives both: scales, then shifts.
                piece.shape[0] *= 2;
                piece.outputs.first = if owner.ends_with("affine") { piece.outputs.count } else { 0 };
            }
            return Some(vec![piece]);
        }
        let parts = [
            ("attention.norm", "norm"),
            ("attention.qkv", "qkv"),
            ("attention.proj", "proj_out"),
            ("norm0", "in_layers.0"),
            ("conv0", "in_layers.2"),
            ("norm1", "out_layers.0"),
            ("conv1", "out_layers.3"),
            ("skip", "skip_connection"),
            ("conv", ""),
        ];
        let (block, part) = split(owner, &parts)?;
        let (block, part) = match part {
            "norm" | "qkv" | "proj_out" => (format!("{block}.attention"), part),
            // A resolution that changes by a convolution.
            "" if block.starts_with("down") => (block.to_owned(), "op"),
            "" => (block.to_owned(), "conv"),
            part => (block.to_owned(), part),
        };
        let theirs = self.blocks.get(&block)?;
        Some(vec![torch(format!("{theirs}.{part}.{leaf}"), shape)])
    }
}

struct Song {
    /// From our blocks, attentions and pyramid's convolutions to theirs.
    blocks: HashMap<String, String>,
    dialect: Dialect,
}

impl Song {
    fn new(config: &UNetConfig, height: usize, dialect: Dialect) -> Self {
        let UNetConfig { multipliers, blocks, attention, .. } = config;
        let attends = |level: usize| attention.contains(&(height >> level));
        let mut map = HashMap::new();
        let (mut residuals, mut attentions) = (0, 0);
        let mut block = |ours: String, with_attention: bool| {
            if with_attention {
                map.insert(format!("{ours}.attention"), format!("AttnBlockpp_{attentions}"));
                attentions += 1;
            }
            map.insert(ours, format!("ResnetBlockBigGANpp_{residuals}"));
            residuals += 1;
        };
        for level in 0..multipliers.len() {
            if level > 0 {
                block(format!("down.{level}.resample"), false);
            }
            (0..*blocks).for_each(|index| block(format!("down.{level}.{index}"), attends(level)));
        }
        block("middle.0".into(), true);
        block("middle.1".into(), false);
        for level in (0..multipliers.len()).rev() {
            if level + 1 < multipliers.len() {
                block(format!("up.{level}.resample"), false);
            }
            (0..=*blocks).for_each(|index| {
                block(format!("up.{level}.{index}"), index == *blocks && attends(level));
            });
        }
        for level in 1..multipliers.len() {
            map.insert(format!("down.{level}.pyramid"), format!("Downsample_{}", level - 1));
        }
        Self { blocks: map, dialect }
    }

    fn piece(&self, module: &str, leaf: &str, shape: &[usize]) -> Piece {
        match self.dialect {
            Dialect::Torch | Dialect::Edm(_) | Dialect::Diffusers => torch(format!("{module}.{leaf}"), shape),
            Dialect::Flax => {
                let last = module.rsplit('.').next().unwrap_or(module);
                let leaf = match leaf {
                    "weight" if last.starts_with("GroupNorm") => "scale",
                    // The pyramid's convolution keeps its own name for it.
                    "weight" if !last.starts_with("Conv2d") => "kernel",
                    leaf => leaf,
                };
                let name = format!("{}/{leaf}", module.replace('.', "/"));
                let outputs = Outputs::first(shape.last().copied().unwrap_or(1));
                Piece { name, shape: shape.to_vec(), layout: Layout::Ours, outputs }
            }
        }
    }

    /// One of the 1x1 maps of an attention, as a matrix without taps.
    fn nin(&self, attention: &str, number: usize, leaf: &str, width: usize) -> Piece {
        let joint = match self.dialect {
            Dialect::Torch | Dialect::Edm(_) | Dialect::Diffusers => '.',
            Dialect::Flax => '/',
        };
        let (leaf, shape) = if leaf == "weight" { ("W", vec![width, width]) } else { ("b", vec![width]) };
        let name = format!("{attention}{joint}NIN_{number}{joint}{leaf}");
        Piece { name, shape, layout: Layout::Ours, outputs: Outputs::first(width) }
    }
}

impl Naming for Song {
    fn pieces(&self, owner: &str, leaf: &str, shape: &[usize]) -> Option<Vec<Piece>> {
        let fixed = match owner {
            "input" => Some("Conv_0"),
            "embedding.layer0" => Some("Dense_0"),
            "embedding.layer1" => Some("Dense_1"),
            "output.norm" => Some("GroupNorm_0"),
            "output.conv" => Some("Conv_1"),
            _ => None,
        };
        if let Some(theirs) = fixed {
            return Some(vec![self.piece(theirs, leaf, shape)]);
        }
        if (owner, leaf) == ("embedding", "frequencies") {
            let name = match self.dialect {
                Dialect::Torch | Dialect::Edm(_) | Dialect::Diffusers => "GaussianFourierProjection_0.W",
                Dialect::Flax => "GaussianFourierProjection_0/W",
            };
            let outputs = Outputs::first(*shape.last()?);
            let piece = Piece { name: name.to_owned(), shape: shape.to_vec(), layout: Layout::Ours, outputs };
            return Some(vec![piece]);
        }
        if let Some(down) = self.blocks.get(owner).filter(|theirs| theirs.starts_with("Downsample")) {
            return Some(vec![self.piece(&format!("{down}.Conv2d_0"), leaf, shape)]);
        }
        if let Some((block, part)) =
            split(owner, &[("attention.norm", "norm"), ("attention.qkv", "qkv"), ("attention.proj", "proj")])
        {
            let attention = self.blocks.get(&format!("{block}.attention"))?;
            let outputs = *shape.last()?;
            return Some(match part {
                "norm" => vec![self.piece(&format!("{attention}.GroupNorm_0"), leaf, shape)],
                "qkv" => (0..3).map(|number| self.nin(attention, number, leaf, outputs / 3)).collect(),
                _ => vec![self.nin(attention, 3, leaf, outputs)],
            });
        }
        let parts = [
            ("norm0", "GroupNorm_0"),
            ("conv0", "Conv_0"),
            ("affine", "Dense_0"),
            ("norm1", "GroupNorm_1"),
            ("conv1", "Conv_1"),
            ("skip", "Conv_2"),
        ];
        let (block, part) = split(owner, &parts)?;
        Some(vec![self.piece(&format!("{}.{part}", self.blocks.get(block)?), leaf, shape)])
    }
}
