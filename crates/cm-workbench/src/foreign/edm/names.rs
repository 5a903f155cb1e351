//! What SongUNet and DhariwalUNet call each array.

use super::super::guess::EdmNames;
use super::super::naming::{Naming, split, torch};
use super::super::table::{Fold, Layout, Outputs, Piece};
use cm_network::{EmbeddingConfig, FourierConfig, NetworkConfig, ScaleConfig};
use std::collections::HashMap;

/// The names of a U-Net with images of this height, which is told classes or not.
pub(in super::super) fn naming(
    config: &NetworkConfig,
    height: usize,
    names: EdmNames,
    labelled: bool,
) -> Box<dyn Naming> {
    let (levels, blocks, dhariwal, waves) = match config {
        NetworkConfig::Adm(config) => (config.multipliers.len(), config.blocks, true, 0),
        NetworkConfig::UNet(config) => {
            let width = match config.embedding {
                EmbeddingConfig::Positional(ScaleConfig { width, .. })
                | EmbeddingConfig::Fourier(FourierConfig { width, .. }) => width,
            };
            let waves = if labelled { width * config.channels } else { 0 };
            (config.multipliers.len(), config.blocks, false, waves)
        }
        NetworkConfig::Edm2(_) | NetworkConfig::Mlp(_) => (0, 0, false, 0),
    };
    Box::new(Names { waves, ..Names::new(levels, blocks, height, dhariwal, names) })
}

struct Names {
    /// From our blocks and single layers to theirs.
    blocks: HashMap<String, String>,
    dhariwal: bool,
    outputs: usize,
    /// Of a SongUNet that is told classes: the values that they join; else 0.
    waves: usize,
}

impl Names {
    fn new(levels: usize, blocks: usize, height: usize, dhariwal: bool, names: EdmNames) -> Self {
        let mut map = HashMap::new();
        let mut put = |ours: String, theirs: String| drop(map.insert(ours, theirs));
        for (ours, theirs) in [("embedding.layer0", "map_layer0"), ("embedding.layer1", "map_layer1")] {
            put(ours.to_owned(), theirs.to_owned());
        }
        for level in 0..levels {
            let side = height.checked_shr(level as u32).unwrap_or(0);
            let (down, up) = (format!("enc.{side}x{side}"), format!("dec.{side}x{side}"));
            if level == 0 {
                put("input".to_owned(), format!("{down}_conv"));
            } else {
                put(format!("down.{level}.resample"), format!("{down}_down"));
                put(format!("down.{level}.pyramid"), format!("{down}_aux_residual"));
                put(format!("down.{level}.input_skip"), format!("{down}_aux_skip"));
            }
            if level + 1 == levels {
                put("middle.0".to_owned(), format!("{up}_in0"));
                put("middle.1".to_owned(), format!("{up}_in1"));
            } else {
                put(format!("up.{level}.resample"), format!("{up}_up"));
            }
            (0..blocks).for_each(|n| put(format!("down.{level}.{n}"), format!("{down}_block{n}")));
            (0..=blocks).for_each(|n| put(format!("up.{level}.{n}"), format!("{up}_block{n}")));
            let ours = if level == 0 { "output".to_owned() } else { format!("up.{level}.output") };
            let theirs = if dhariwal { "out".to_owned() } else { format!("{up}_aux") };
            for part in ["norm", "conv"] {
                put(format!("{ours}.{part}"), format!("{theirs}_{part}"));
            }
        }
        Self { blocks: map, dhariwal, outputs: names.outputs, waves: 0 }
    }
}

impl Naming for Names {
    fn pieces(&self, owner: &str, leaf: &str, shape: &[usize]) -> Option<Vec<Piece>> {
        if (owner, leaf) == ("embedding", "frequencies") {
            let outputs = Outputs::first(*shape.last()?);
            let name = "map_noise.freqs".to_owned();
            return Some(vec![Piece { name, shape: shape.to_vec(), layout: Layout::Ours, outputs }]);
        }
        if owner == "embedding.label" {
            return Some(vec![torch(format!("map_label.{leaf}"), shape)]);
        }
        if let Some(theirs) = self.blocks.get(owner) {
            let mut piece = torch(format!("{theirs}.{leaf}"), shape);
            if owner.ends_with("output.conv") {
                piece.shape[0] *= self.outputs;
            }
            return Some(vec![piece]);
        }
        if let Some((block, _)) = split(owner, &[("affine", ""), ("film_scale", "")]) {
            let mut piece = torch(format!("{}.affine.{leaf}", self.blocks.get(block)?), shape);
            if self.dhariwal {
                // One map gives both: scales, then shifts.
                piece.shape[0] *= 2;
                piece.outputs.first = if owner.ends_with("affine") { piece.outputs.count } else { 0 };
            }
            return Some(vec![piece]);
        }
        let parts = [
            ("attention.norm", "norm2"),
            ("attention.qkv", "qkv"),
            ("attention.proj", "proj"),
            ("norm0", "norm0"),
            ("conv0", "conv0"),
            ("norm1", "norm1"),
            ("conv1", "conv1"),
            ("skip", "skip"),
        ];
        let (block, part) = split(owner, &parts)?;
        let piece = torch(format!("{}.{part}.{leaf}", self.blocks.get(block)?), shape);
        Some(match part {
            // Query, key and value of a channel side by side.
            "qkv" => (0..3)
                .map(|first| Piece {
                    outputs: Outputs { first, step: 3, count: piece.outputs.count / 3 },
                    ..piece.clone()
                })
                .collect(),
            _ => vec![piece],
        })
    }

    fn fold(&self, owner: &str, shape: &[usize]) -> Fold {
        match *shape {
            // SongUNet multiplies the one-hot class by the root of their number. Its map has a bias, which joins without
            // a class as well: what the next layer makes of it is that layer's.
            [classes, _] if owner == "embedding.label" && !self.dhariwal => {
                Fold::Scale((classes as f32).sqrt())
            }
            [outputs] if owner == "embedding.layer0" && self.waves > 0 => Fold::Through {
                matrix: torch("map_layer0.weight".to_owned(), &[self.waves, outputs]),
                vector: torch("map_label.bias".to_owned(), &[self.waves]),
            },
            _ => Fold::None,
        }
    }
}
