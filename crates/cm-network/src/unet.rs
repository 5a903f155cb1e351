//! The U-Net of DDPM++ and NCSN++ (Song et al. 2021), as Karras et al. 2022 arrange it.

use crate::config::{MOST_CHANNELS, Problems};
use crate::init::Builder;
use crate::layers::{
    BlockContext, BranchContext, Conv2d, Embedding, Epilogue, GroupNorm, Grouping, Manner, Resample,
    ResidualBlock,
};
use crate::recompute::Passes;
use crate::{Conditions, Extra, Network, NetworkConfigError, UNetConfig};
use cm_image::ImageShape;
use cm_tensor::{Graph, Images, Weights, ops};
use std::f32::consts::FRAC_1_SQRT_2;
use std::sync::Arc;

/// See [`UNetConfig`].
pub struct UNet {
    shape: ImageShape,
    embedding: Embedding,
    input: Conv2d,
    /// The way down; every output is kept for the way up. Behind a block with a convolution the pyramid joins.
    encoder: Vec<(Arc<ResidualBlock>, Option<Conv2d>)>,
    middle: [Arc<ResidualBlock>; 2],
    /// The way up; `true` where a kept output is concatenated to the input first.
    decoder: Vec<(Arc<ResidualBlock>, bool)>,
    norm: GroupNorm,
    output: Conv2d,
    recompute: bool,
}

impl UNet {
    /// The network and its initial weights.
    ///
    /// # Errors
    /// [`NetworkConfigError`] if numbers are out of range or do not fit `shape`.
    pub(crate) fn new(
        config: &UNetConfig,
        shape: ImageShape,
        conditions: Conditions,
        mut b: Builder,
    ) -> Result<(Self, Weights), NetworkConfigError> {
        check(config, shape)?;
        let UNetConfig { channels, multipliers, blocks, attention, embedding, .. } = config;
        let context = BlockContext {
            branch: BranchContext {
                embedding: 4 * channels,
                grouping: Grouping::Song,
                scale: config.film,
                dropout: config.dropout,
            },
            heads: config.heads,
            resampling: config.resampling,
        };
        let mut dropout_stream = 0;
        let mut block = |b: &mut Builder, name: String, ends: (usize, usize), resample, attends: bool| {
            dropout_stream += 1;
            Arc::new(ResidualBlock::new(b, &name, ends, resample, attends, &context, dropout_stream))
        };
        let embedding = Embedding::new(&mut b, *embedding, *channels, conditions, Manner::Song);
        let input = Conv2d::new(&mut b, "input", shape.channels, *channels, 3, 1.0);
        let mut encoder = Vec::new();
        let mut kept = vec![*channels];
        let mut width = *channels;
        // The pyramid begins with the image and takes on the width of each resolution it joins.
        let mut pyramid = shape.channels;
        for (level, multiplier) in multipliers.iter().enumerate() {
            let height = shape.height >> level;
            if level > 0 {
                let name = format!("down.{level}.resample");
                let down = block(&mut b, name, (width, width), Resample::Down, false);
                let joins = config.input_pyramid.then(|| {
                    let conv = Conv2d::new(&mut b, &format!("down.{level}.pyramid"), pyramid, width, 3, 1.0);
                    pyramid = width;
                    conv.with_stride(2).without_padding()
                });
                encoder.push((down, joins));
                kept.push(width);
            }
            for index in 0..*blocks {
                let ends = (width, channels * multiplier);
                let attends = attention.contains(&height);
                let name = format!("down.{level}.{index}");
                encoder.push((block(&mut b, name, ends, Resample::None, attends), None));
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
        let norm = GroupNorm::new(&mut b, "output.norm", width, Grouping::Song);
        let output = Conv2d::new(&mut b, "output.conv", width, shape.channels, 3, 0.0);
        let recompute = config.recompute;
        let network = Self { shape, embedding, input, encoder, middle, decoder, norm, output, recompute };
        Ok((network, b.finish()))
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
        let passes = Passes::new(self.recompute, w);
        let pass = |g: &mut Graph, block: &Arc<ResidualBlock>, x: &Images| {
            let block = block.clone();
            let (x, embedding) = (x.clone(), embedding.clone());
            passes.run(g, w, extra, move |g, w, extra| block.forward(g, w, &x, &embedding, extra))
        };
        let mut kept = vec![hidden.clone()];
        let mut pyramid = x.clone();
        for (block, joins) in &self.encoder {
            hidden = pass(g, block, &hidden);
            if let Some(joins) = joins {
                let smooth = ops::fir_smooth(g, &pyramid);
                let epilogue =
                    Epilogue { residual: Some(&hidden), scale: FRAC_1_SQRT_2, ..Epilogue::default() };
                hidden = joins.forward(g, w, &smooth, epilogue);
                pyramid = hidden.clone();
            }
            kept.push(hidden.clone());
        }
        for block in &self.middle {
            hidden = pass(g, block, &hidden);
        }
        for (block, joins) in &self.decoder {
            if *joins {
                let skipped = kept.pop().expect("one output was kept for each block of the way up");
                hidden = ops::concat(g, &hidden, &skipped);
            }
            hidden = pass(g, block, &hidden);
        }
        let hidden = self.norm.forward(g, w, &hidden, true);
        self.output.forward(g, w, &hidden, Epilogue::default())
    }
}

fn check(config: &UNetConfig, shape: ImageShape) -> Result<(), NetworkConfigError> {
    let UNetConfig { channels, multipliers, blocks, heads, dropout, embedding, .. } = config;
    let mut problems = Problems::default();
    problems.unless(
        (1..=MOST_CHANNELS).contains(channels) && channels.is_multiple_of(4),
        "channels",
        channels,
        format!("a multiple of 4, 4 to {MOST_CHANNELS}"),
    );
    problems.resolutions(*channels, multipliers, *blocks, shape);
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
