//! The U-Net of DDPM++ and NCSN++ (Song et al. 2021), as Karras et al. 2022 arrange it.

use crate::init::Builder;
use crate::layers::{
    BlockContext, BranchContext, Conv2d, Embedding, Epilogue, GroupNorm, Grouping, Manner, Resample,
    ResidualBlock,
};
use crate::limits::MOST_CHANNELS;
use crate::problem::Problems;
use crate::recompute::Passes;
use crate::{Conditions, Extra, Network, NetworkConfigError, ResamplingConfig, UNetConfig};
use cm_image::ImageShape;
use cm_tensor::{Graph, Images, Weights, ops};
use std::f32::consts::FRAC_1_SQRT_2;
use std::sync::Arc;

/// See [`UNetConfig`].
pub struct UNet {
    shape: ImageShape,
    embedding: Embedding,
    input: Conv2d,
    /// The way down; every output is kept for the way up.
    encoder: Vec<(Arc<ResidualBlock>, Join)>,
    middle: [Arc<ResidualBlock>; 2],
    decoder: Vec<Up>,
    resampling: ResamplingConfig,
    recompute: bool,
}

/// How the reduced input joins behind a block of the way down.
enum Join {
    None,
    /// Through this convolution, of stride 2 behind the filter, or halved behind it; the sum is what is reduced next.
    Pyramid(Conv2d),
    /// Halved, and through this projection.
    Skip(Conv2d),
}

/// A step of the way up.
enum Up {
    /// `true` where a kept output is concatenated to the input first.
    Block(Arc<ResidualBlock>, bool),
    /// An image, added to the doubled one of the resolution below if there is one.
    Output(GroupNorm, Conv2d),
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
                embedding: config.embedding_multiplier * channels,
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
        let ends = (*channels, context.branch.embedding);
        let embedding = Embedding::new(&mut b, *embedding, ends, conditions, Manner::Song);
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
                let join = if config.input_pyramid {
                    let conv = Conv2d::new(&mut b, &format!("down.{level}.pyramid"), pyramid, width, 3, 1.0);
                    pyramid = width;
                    Join::Pyramid(match config.resampling {
                        ResamplingConfig::Plain => conv,
                        ResamplingConfig::Fir => conv.with_stride(2).without_padding(),
                    })
                } else if config.input_skip {
                    let name = format!("down.{level}.input_skip");
                    Join::Skip(Conv2d::new(&mut b, &name, shape.channels, width, 1, 1.0))
                } else {
                    Join::None
                };
                encoder.push((down, join));
                kept.push(width);
            }
            for index in 0..*blocks {
                let ends = (width, channels * multiplier);
                let attends = attention.contains(&height);
                let name = format!("down.{level}.{index}");
                encoder.push((block(&mut b, name, ends, Resample::None, attends), Join::None));
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
                decoder.push(Up::Block(up, false));
            }
            for index in 0..=*blocks {
                let skipped = kept.pop().expect("one output was kept for each block of the way up");
                let ends = (width + skipped, channels * multiplier);
                // On the way up only the last block of a resolution attends (SongUNet).
                let attends = index == *blocks && attention.contains(&height);
                let name = format!("up.{level}.{index}");
                decoder.push(Up::Block(block(&mut b, name, ends, Resample::None, attends), true));
                width = ends.1;
            }
            if level == 0 || config.output_skip {
                let name = if level == 0 { "output".to_owned() } else { format!("up.{level}.output") };
                let norm = GroupNorm::new(&mut b, &format!("{name}.norm"), width, Grouping::Song);
                let conv = Conv2d::new(&mut b, &format!("{name}.conv"), width, shape.channels, 3, 0.0);
                decoder.push(Up::Output(norm, conv));
            }
        }
        let UNetConfig { resampling, recompute, .. } = *config;
        let network = Self { shape, embedding, input, encoder, middle, decoder, resampling, recompute };
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
        // The input as it is reduced.
        let mut reduced = x.clone();
        for (block, join) in &self.encoder {
            hidden = pass(g, block, &hidden);
            match (join, self.resampling) {
                (Join::None, _) => {}
                (Join::Pyramid(conv), ResamplingConfig::Fir) => {
                    let smooth = ops::fir_smooth(g, &reduced);
                    let epilogue =
                        Epilogue { residual: Some(&hidden), scale: FRAC_1_SQRT_2, ..Epilogue::default() };
                    hidden = conv.forward(g, w, &smooth, epilogue);
                    reduced = hidden.clone();
                }
                (Join::Pyramid(conv), ResamplingConfig::Plain) => {
                    let joining = conv.forward(g, w, &reduced, Epilogue::default());
                    let joining = ops::average_down(g, &joining);
                    hidden = ops::add(g, &joining, &hidden, FRAC_1_SQRT_2);
                    reduced = hidden.clone();
                }
                (Join::Skip(conv), resampling) => {
                    reduced = Resample::Down.apply(g, reduced, resampling);
                    let epilogue = Epilogue { residual: Some(&hidden), ..Epilogue::default() };
                    hidden = conv.forward(g, w, &reduced, epilogue);
                }
            }
            kept.push(hidden.clone());
        }
        for block in &self.middle {
            hidden = pass(g, block, &hidden);
        }
        let mut output: Option<Images> = None;
        for step in &self.decoder {
            match step {
                Up::Block(block, joins) => {
                    if *joins {
                        let skipped = kept.pop().expect("one output was kept for each block of the way up");
                        hidden = ops::concat(g, &hidden, &skipped);
                    }
                    hidden = pass(g, block, &hidden);
                }
                Up::Output(norm, conv) => {
                    let normed = norm.forward(g, w, &hidden, true);
                    let below = output.map(|below| Resample::Up.apply(g, below, self.resampling));
                    let epilogue = Epilogue { residual: below.as_ref(), ..Epilogue::default() };
                    output = Some(conv.forward(g, w, &normed, epilogue));
                }
            }
        }
        output.expect("the widest resolution gives an image")
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
    problems.unless(
        !(config.input_pyramid && config.input_skip),
        "input_skip",
        config.input_skip,
        "false where the input_pyramid is: the input joins in one way",
    );
    problems.embedding_multiplier(config.embedding_multiplier);
    embedding.check(&mut problems);
    problems.none()
}
