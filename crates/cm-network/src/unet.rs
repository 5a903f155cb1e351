//! The U-Net of DDPM++ (Song et al. 2021), as Karras et al. 2022 arrange it.

use crate::config::Problems;
use crate::init::Builder;
use crate::layers::{BlockContext, Conv2d, Embedding, Epilogue, GroupNorm, Resample, ResidualBlock};
use crate::{Conditions, Extra, Network, NetworkConfigError, UNetConfig};
use cm_image::ImageShape;
use cm_tensor::{Graph, Images, Weights, ops};

/// See [`UNetConfig`].
pub struct UNet {
    shape: ImageShape,
    embedding: Embedding,
    input: Conv2d,
    /// The way down; every output is kept for the way up.
    encoder: Vec<ResidualBlock>,
    middle: [ResidualBlock; 2],
    /// The way up; `true` where a kept output is concatenated to the input first.
    decoder: Vec<(ResidualBlock, bool)>,
    norm: GroupNorm,
    output: Conv2d,
}

impl UNet {
    /// The network and its initial weights.
    ///
    /// # Errors
    /// [`NetworkConfigError`] if numbers are out of range or do not fit `shape`.
    pub fn new(
        config: &UNetConfig,
        shape: ImageShape,
        conditions: Conditions,
        seed: u64,
    ) -> Result<(Self, Weights), NetworkConfigError> {
        check(config, shape)?;
        let UNetConfig { channels, multipliers, blocks, attention, heads, dropout, embedding, film } = config;
        let mut b = Builder::new(seed);
        let context = BlockContext { embedding: 4 * channels, heads: *heads, dropout: *dropout, film: *film };
        let mut dropout_stream = 0;
        let mut block = |b: &mut Builder, name: String, ends: (usize, usize), resample, attends: bool| {
            dropout_stream += 1;
            ResidualBlock::new(b, &name, ends, resample, attends, &context, dropout_stream)
        };
        let embedding = Embedding::new(&mut b, *embedding, *channels, conditions);
        let input = Conv2d::new(&mut b, "input", shape.channels, *channels, 3, 1.0);
        let mut encoder = Vec::new();
        let mut kept = vec![*channels];
        let mut width = *channels;
        for (level, multiplier) in multipliers.iter().enumerate() {
            let height = shape.height >> level;
            if level > 0 {
                encoder.push(block(
                    &mut b,
                    format!("down.{level}.resample"),
                    (width, width),
                    Resample::Down,
                    false,
                ));
                kept.push(width);
            }
            for index in 0..*blocks {
                let ends = (width, channels * multiplier);
                let attends = attention.contains(&height);
                encoder.push(block(&mut b, format!("down.{level}.{index}"), ends, Resample::None, attends));
                width = ends.1;
                kept.push(width);
            }
        }
        let middle = [
            block(&mut b, "middle.0".into(), (width, width), Resample::None, true),
            block(&mut b, "middle.1".into(), (width, width), Resample::None, false),
        ];
        let mut decoder = Vec::new();
        for (level, multiplier) in multipliers.iter().enumerate().rev() {
            let height = shape.height >> level;
            if level + 1 < multipliers.len() {
                let up = block(&mut b, format!("up.{level}.resample"), (width, width), Resample::Up, false);
                decoder.push((up, false));
            }
            for index in 0..=*blocks {
                let skipped = kept.pop().expect("one output was kept for each block of the way up");
                let ends = (width + skipped, channels * multiplier);
                // On the way up only the last block of a resolution attends (SongUNet).
                let attends = index == *blocks && attention.contains(&height);
                decoder.push((
                    block(&mut b, format!("up.{level}.{index}"), ends, Resample::None, attends),
                    true,
                ));
                width = ends.1;
            }
        }
        let norm = GroupNorm::new(&mut b, "output.norm", width);
        let output = Conv2d::new(&mut b, "output.conv", width, shape.channels, 3, 0.0);
        Ok((Self { shape, embedding, input, encoder, middle, decoder, norm, output }, b.finish()))
    }
}

impl Network for UNet {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn classes(&self) -> Option<usize> {
        self.embedding.classes()
    }

    fn forward(&self, g: &mut Graph, w: &Weights, x: &Images, c_noise: &[f32], extra: Extra<'_>) -> Images {
        let ImageShape { height, width, channels } = self.shape;
        assert_eq!(x.shape(), [c_noise.len(), height, width, channels], "one noise level for each image");
        let embedding = self.embedding.forward(g, w, c_noise, extra);
        let mut hidden = self.input.forward(g, w, x, Epilogue::default());
        let mut kept = vec![hidden.clone()];
        for block in &self.encoder {
            hidden = block.forward(g, w, &hidden, &embedding, extra);
            kept.push(hidden.clone());
        }
        for block in &self.middle {
            hidden = block.forward(g, w, &hidden, &embedding, extra);
        }
        for (block, joins) in &self.decoder {
            if *joins {
                let skipped = kept.pop().expect("one output was kept for each block of the way up");
                hidden = ops::concat(g, &hidden, &skipped);
            }
            hidden = block.forward(g, w, &hidden, &embedding, extra);
        }
        let hidden = self.norm.forward(g, w, &hidden, true);
        self.output.forward(g, w, &hidden, Epilogue::default())
    }
}

fn check(config: &UNetConfig, shape: ImageShape) -> Result<(), NetworkConfigError> {
    let UNetConfig { channels, multipliers, blocks, heads, dropout, embedding, .. } = config;
    let mut problems = Problems::default();
    problems.unless(
        *channels > 0 && channels.is_multiple_of(4),
        "channels",
        channels,
        "a multiple of 4, at least 4",
    );
    let some = !multipliers.is_empty() && multipliers.iter().all(|&m| m > 0);
    problems.unless(some, "multipliers", multipliers, "at least one factor, each at least 1");
    let halvings = multipliers.len().saturating_sub(1);
    let divides = |extent: usize| halvings < 32 && extent.is_multiple_of(1 << halvings);
    problems.unless(
        divides(shape.height) && divides(shape.width),
        "multipliers",
        multipliers,
        format!("images of {shape} can be halved no more than their height and width divide by 2"),
    );
    problems.unless(*blocks > 0, "blocks", blocks, "at least 1");
    problems.unless(
        *heads > 0 && multipliers.iter().all(|m| channels.saturating_mul(*m).is_multiple_of(*heads)),
        "heads",
        heads,
        format!("a divisor of the channels of every resolution ({channels} x {multipliers:?})"),
    );
    problems.unless((0.0..1.0).contains(dropout), "dropout", dropout, "in [0, 1)");
    embedding.check(&mut problems);
    problems.none()
}
