//! What diffusers calls ADM's arrays.

use super::super::naming::{Naming, split, torch};
use super::super::table::{Layout, Outputs, Piece};
use cm_network::AdmConfig;
use std::collections::HashMap;

/// `UNet2DModel`'s names.
pub(crate) struct Diffusers {
    /// From our blocks and attentions to theirs.
    blocks: HashMap<String, String>,
    scale_shift: bool,
}

impl Diffusers {
    pub(crate) fn new(config: &AdmConfig) -> Self {
        let AdmConfig { multipliers, blocks, scale_shift, .. } = config;
        let last = multipliers.len() - 1;
        let mut map = HashMap::new();
        for level in 0..=last {
            for index in 0..*blocks {
                let (ours, theirs) = (format!("down.{level}.{index}"), format!("down_blocks.{level}"));
                map.insert(format!("{ours}.attention"), format!("{theirs}.attentions.{index}"));
                map.insert(ours, format!("{theirs}.resnets.{index}"));
            }
            let theirs = format!("up_blocks.{}", last - level);
            for index in 0..=*blocks {
                let ours = format!("up.{level}.{index}");
                map.insert(format!("{ours}.attention"), format!("{theirs}.attentions.{index}"));
                map.insert(ours, format!("{theirs}.resnets.{index}"));
            }
            if level > 0 {
                // A change of resolution ends the level before it.
                let before = format!("down_blocks.{}.downsamplers.0", level - 1);
                map.insert(format!("down.{level}.resample"), before);
                map.insert(format!("up.{}.resample", level - 1), format!("{theirs}.upsamplers.0"));
            }
        }
        map.insert("middle.0".into(), "mid_block.resnets.0".into());
        map.insert("middle.0.attention".into(), "mid_block.attentions.0".into());
        map.insert("middle.1".into(), "mid_block.resnets.1".into());
        Self { blocks: map, scale_shift: *scale_shift }
    }
}

impl Naming for Diffusers {
    fn pieces(&self, owner: &str, leaf: &str, shape: &[usize]) -> Option<Vec<Piece>> {
        let fixed = match owner {
            "input" => Some("conv_in"),
            "embedding.layer0" => Some("time_embedding.linear_1"),
            "embedding.layer1" => Some("time_embedding.linear_2"),
            "output.norm" => Some("conv_norm_out"),
            "output.conv" => Some("conv_out"),
            _ => None,
        };
        if let Some(theirs) = fixed {
            return Some(vec![torch(format!("{theirs}.{leaf}"), shape)]);
        }
        if owner == "embedding.label" {
            // A table: one row for each class, as ours.
            let (name, outputs) = ("class_embedding.weight".to_owned(), Outputs::first(*shape.last()?));
            return Some(vec![Piece { name, shape: shape.to_vec(), layout: Layout::Ours, outputs }]);
        }
        if let Some((block, _)) = split(owner, &[("affine", ""), ("film_scale", "")]) {
            let mut piece = torch(format!("{}.time_emb_proj.{leaf}", self.blocks.get(block)?), shape);
            if self.scale_shift {
                // One map gives both: scales, then shifts.
                piece.shape[0] *= 2;
                piece.outputs.first = if owner.ends_with("affine") { piece.outputs.count } else { 0 };
            }
            return Some(vec![piece]);
        }
        let of_attention =
            [("attention.norm", "group_norm"), ("attention.qkv", "qkv"), ("attention.proj", "to_out.0")];
        if let Some((block, part)) = split(owner, &of_attention) {
            let theirs = self.blocks.get(&format!("{block}.attention"))?;
            // Maps there, kernels of one pixel here.
            let flat: &[usize] = if shape.len() == 4 { &shape[2..] } else { shape };
            return Some(match part {
                "qkv" => {
                    let width = shape.last()? / 3;
                    let mut own = flat.to_vec();
                    *own.last_mut()? = width;
                    ["to_q", "to_k", "to_v"].map(|part| torch(format!("{theirs}.{part}.{leaf}"), &own)).into()
                }
                part => vec![torch(format!("{theirs}.{part}.{leaf}"), flat)],
            });
        }
        let parts = [
            ("norm0", "norm1"),
            ("conv0", "conv1"),
            ("norm1", "norm2"),
            ("conv1", "conv2"),
            ("skip", "conv_shortcut"),
            ("conv", "conv"),
        ];
        let (block, part) = split(owner, &parts)?;
        Some(vec![torch(format!("{}.{part}.{leaf}", self.blocks.get(block)?), shape)])
    }
}
