//! A residual perceptron for vectors: points of the plane, small mixtures.

use crate::init::Builder;
use crate::layers::{Embedding, Linear, Manner};
use crate::limits::{MOST_BLOCKS, MOST_CHANNELS};
use crate::problem::Problems;
use crate::{Conditions, Extra, MlpConfig, Network, NetworkConfigError};
use cm_image::ImageShape;
use cm_image::random::derive_seed;
use cm_tensor::{Graph, Images, Weights, ops};

/// See [`MlpConfig`]: h <- h + W2 silu(W1 silu(h) + A e), with e the embedding of the noise level.
pub struct Mlp {
    shape: ImageShape,
    embedding: Embedding,
    input: Linear,
    blocks: Vec<Block>,
    output: Linear,
    dropout: f32,
}

struct Block {
    layer0: Linear,
    affine: Linear,
    layer1: Linear,
}

impl Mlp {
    /// The network and its initial weights.
    ///
    /// # Errors
    /// [`NetworkConfigError`] if numbers are out of range.
    pub(crate) fn new(
        config: &MlpConfig,
        shape: ImageShape,
        conditions: Conditions,
        mut b: Builder,
    ) -> Result<(Self, Weights), NetworkConfigError> {
        let MlpConfig { width, blocks, dropout, embedding } = *config;
        let mut problems = Problems::default();
        let whole = (1..=MOST_CHANNELS).contains(&width) && width.is_multiple_of(4);
        problems.unless(whole, "width", width, format!("a multiple of 4, 4 to {MOST_CHANNELS}"));
        let some = (1..=MOST_BLOCKS).contains(&blocks);
        problems.unless(some, "blocks", blocks, format!("1 to {MOST_BLOCKS}"));
        problems.unless((0.0..1.0).contains(&dropout), "dropout", dropout, "in [0, 1)");
        embedding.check(&mut problems);
        problems.none()?;
        let embedding = Embedding::new(&mut b, embedding, (width / 4, width), conditions, Manner::Song);
        let input = Linear::new(&mut b, "input", shape.len(), width, 1.0);
        let blocks = (0..blocks)
            .map(|index| Block {
                layer0: Linear::new(&mut b, &format!("block.{index}.layer0"), width, width, 1.0),
                affine: Linear::new(&mut b, &format!("block.{index}.affine"), width, width, 1.0),
                layer1: Linear::new(&mut b, &format!("block.{index}.layer1"), width, width, 0.0),
            })
            .collect();
        let output = Linear::new(&mut b, "output", width, shape.len(), 0.0);
        Ok((Self { shape, embedding, input, blocks, output, dropout }, b.finish()))
    }
}

impl Network for Mlp {
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
        let x = ops::as_matrix(g, x);
        let mut hidden = self.input.forward(g, w, &x);
        for (index, block) in self.blocks.iter().enumerate() {
            let inner = ops::silu(g, &hidden);
            let inner = block.layer0.forward(g, w, &inner);
            let shift = block.affine.forward(g, w, &embedding);
            let inner = ops::add(g, &inner, &shift, 1.0);
            let mut inner = ops::silu(g, &inner);
            if let Some(key) = extra.dropout_key.filter(|_| self.dropout > 0.0) {
                inner = ops::dropout(g, &inner, derive_seed(key, index as u64), self.dropout);
            }
            let inner = block.layer1.forward(g, w, &inner);
            hidden = ops::add(g, &hidden, &inner, 1.0);
        }
        let hidden = ops::silu(g, &hidden);
        let out = self.output.forward(g, w, &hidden);
        ops::as_images(g, &out, [height, width, channels])
    }
}
