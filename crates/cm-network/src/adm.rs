//! The U-Net of ADM (Dhariwal and Nichol 2021), as Song et al. 2023 use it.

use crate::init::Builder;
use crate::layers::{
    AdmBlock, BranchContext, Conv2d, Embedding, Epilogue, GroupNorm, Grouping, Manner, Resample,
    SelfAttention,
};
use crate::limits::MOST_CHANNELS;
use crate::problem::Problems;
use crate::recompute::Passes;
use crate::{AdmConfig, Conditions, EmbeddingConfig, Extra, Network, NetworkConfigError, ScaleConfig};
use cm_image::ImageShape;
use cm_tensor::{Graph, Images, Matrix, Weights, ops};
use std::sync::Arc;

/// See [`AdmConfig`].
pub struct Adm {
    shape: ImageShape,
    embedding: Embedding,
    input: Conv2d,
    /// The way down; every output is kept for the way up.
    encoder: Vec<Arc<Stage>>,
    middle: [Arc<Stage>; 2],
    /// The way up; `true` where a kept output is concatenated to the input first.
    decoder: Vec<(Arc<Stage>, bool)>,
    norm: GroupNorm,
    output: Conv2d,
    recompute: bool,
}

/// What the way consists of.
enum Stage {
    Block(Box<AdmBlock>, Option<SelfAttention>),
    /// A convolution of stride 2.
    Down(Conv2d),
    /// Pixels repeated, then a convolution.
    Up(Conv2d),
}

impl Stage {
    fn forward(
        &self,
        g: &mut Graph,
        w: &Weights,
        x: &Images,
        embedding: &Matrix,
        extra: Extra<'_>,
    ) -> Images {
        match self {
            Self::Block(block, attention) => {
                let out = block.forward(g, w, x, embedding, extra);
                match attention {
                    Some(attention) => attention.forward(g, w, &out),
                    None => out,
                }
            }
            Self::Down(conv) => conv.forward(g, w, x, Epilogue::default()),
            Self::Up(conv) => {
                let large = ops::nearest_up(g, x);
                conv.forward(g, w, &large, Epilogue::default())
            }
        }
    }
}

impl Adm {
    /// The network and its weights.
    ///
    /// # Errors
    /// [`NetworkConfigError`] if numbers are out of range or do not fit `shape`.
    pub(crate) fn new(
        config: &AdmConfig,
        shape: ImageShape,
        conditions: Conditions,
        mut b: Builder,
    ) -> Result<(Self, Weights), NetworkConfigError> {
        check(config, shape)?;
        let AdmConfig { channels, multipliers, blocks, attention, heads, .. } = config;
        let grouping = if config.small_groups { Grouping::Dhariwal } else { Grouping::Adm };
        let context = BranchContext {
            embedding: config.embedding_multiplier * channels,
            grouping,
            scale: config.scale_shift,
            dropout: config.dropout,
        };
        let mut dropout_stream = 0;
        let mut block = |b: &mut Builder, name: String, ends: (usize, usize), resample, attends: bool| {
            dropout_stream += 1;
            let block = AdmBlock::new(b, &name, ends, resample, &context, dropout_stream);
            let heads = heads.of(ends.1).filter(|&heads| attends && heads > 0);
            let attention = heads
                .map(|heads| SelfAttention::new(b, &format!("{name}.attention"), ends.1, heads, grouping));
            Arc::new(Stage::Block(Box::new(block), attention))
        };
        let conv = |b: &mut Builder, name: &str, width: usize| {
            Conv2d::new(b, &format!("{name}.conv"), width, width, 3, 1.0)
        };
        let ends = (*channels, context.embedding);
        let embedding = Embedding::new(&mut b, embedding_config(config), ends, conditions, Manner::Adm);
        // Dhariwal and Nichol 2021 multiply the first convolution's channels, too.
        let mut width = channels * multipliers[0];
        let input = Conv2d::new(&mut b, "input", shape.channels, width, 3, 1.0);
        let mut encoder = Vec::new();
        let mut kept = vec![width];
        for (level, multiplier) in multipliers.iter().enumerate() {
            let attends = attention.contains(&(shape.height >> level));
            if level > 0 {
                let name = format!("down.{level}.resample");
                encoder.push(match config.resample_in_blocks {
                    true => block(&mut b, name, (width, width), Resample::Down, false),
                    false => Arc::new(Stage::Down(conv(&mut b, &name, width).with_stride(2))),
                });
                kept.push(width);
            }
            for index in 0..*blocks {
                let ends = (width, channels * multiplier);
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
            let attends = attention.contains(&(shape.height >> level));
            if level + 1 < multipliers.len() {
                let name = format!("up.{level}.resample");
                let up = match config.resample_in_blocks {
                    true => block(&mut b, name, (width, width), Resample::Up, false),
                    false => Arc::new(Stage::Up(conv(&mut b, &name, width))),
                };
                decoder.push((up, false));
            }
            for index in 0..=*blocks {
                let skipped = kept.pop().expect("one output was kept for each block of the way up");
                let ends = (width + skipped, channels * multiplier);
                let name = format!("up.{level}.{index}");
                decoder.push((block(&mut b, name, ends, Resample::None, attends), true));
                width = ends.1;
            }
        }
        let norm = GroupNorm::new(&mut b, "output.norm", width, grouping);
        let output = Conv2d::new(&mut b, "output.conv", width, shape.channels, 3, 0.0);
        let recompute = config.recompute;
        let network = Self { shape, embedding, input, encoder, middle, decoder, norm, output, recompute };
        Ok((network, b.finish()))
    }
}

impl Network for Adm {
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
        let passes = Passes::new(self.recompute, w);
        let pass = |g: &mut Graph, stage: &Arc<Stage>, x: &Images| {
            let stage = stage.clone();
            let (x, embedding) = (x.clone(), embedding.clone());
            passes.run(g, w, extra, move |g, w, extra| stage.forward(g, w, &x, &embedding, extra))
        };
        let mut hidden = self.input.forward(g, w, x, Epilogue::default());
        let mut kept = vec![hidden.clone()];
        for stage in &self.encoder {
            hidden = pass(g, stage, &hidden);
            kept.push(hidden.clone());
        }
        for stage in &self.middle {
            hidden = pass(g, stage, &hidden);
        }
        for (stage, joins) in &self.decoder {
            if *joins {
                let skipped = kept.pop().expect("one output was kept for each block of the way up");
                hidden = ops::concat(g, &hidden, &skipped);
            }
            hidden = pass(g, stage, &hidden);
        }
        let hidden = self.norm.forward(g, w, &hidden, true);
        self.output.forward(g, w, &hidden, Epilogue::default())
    }
}

fn check(config: &AdmConfig, shape: ImageShape) -> Result<(), NetworkConfigError> {
    let AdmConfig { channels, multipliers, blocks, attention, heads, dropout, embedding_multiplier, .. } =
        config;
    let mut problems = Problems::default();
    let unit = if config.small_groups { 4 } else { 32 };
    let whole = (1..=MOST_CHANNELS).contains(channels) && channels.is_multiple_of(unit);
    problems.unless(whole, "channels", channels, format!("a multiple of {unit}, {unit} to {MOST_CHANNELS}"));
    problems.resolutions(*channels, multipliers, *blocks, shape);
    // The middle attends at the last resolution.
    let last = multipliers.len().saturating_sub(1);
    let attend = multipliers.iter().enumerate().filter(|&(level, _)| {
        level == last || attention.contains(&shape.height.checked_shr(level as u32).unwrap_or(0))
    });
    let shared = attend.into_iter().all(|(_, m)| heads.of(channels.saturating_mul(*m)).is_some());
    problems.unless(
        shared,
        "heads",
        heads,
        format!("heads that the channels of every resolution with attention can be shared out to ({channels} x {multipliers:?})"),
    );
    problems.unless((0.0..1.0).contains(dropout), "dropout", dropout, "in [0, 1)");
    problems.embedding_multiplier(*embedding_multiplier);
    embedding_config(config).check(&mut problems);
    problems.none()
}

fn embedding_config(config: &AdmConfig) -> EmbeddingConfig {
    EmbeddingConfig::Positional(ScaleConfig { scale: config.embedding_scale, ..ScaleConfig::default() })
}
