//! The U-Net of Karras et al. 2024 (EDM2), whose layers preserve magnitudes.

use crate::init::Builder;
use crate::layers::{Linear, Resample, one_hot, told_changes};
use crate::limits::MOST_CHANNELS;
use crate::problem::Problems;
use crate::recompute::Passes;
use crate::{Conditions, Edm2Config, Extra, Network, NetworkConfigError, ResamplingConfig};
use cm_image::ImageShape;
use cm_image::augmentation::AUGMENTATION_LABELS;
use cm_image::random::derive_seed;
use cm_tensor::{Given, Graph, Images, Matrix, Operation, ParameterId, Vector, Weights, ops};
use std::f32::consts::SQRT_2;
use std::sync::Arc;

/// See [`Edm2Config`].
pub struct Edm2 {
    shape: ImageShape,
    embedding: Embedding,
    input: Conv,
    encoder: Vec<Arc<Block>>,
    /// The way up; `true` where a kept output is concatenated to the input first.
    decoder: Vec<(Arc<Block>, bool)>,
    output: Conv,
    concat_balance: f32,
    recompute: bool,
}

/// sqrt(2) cos(f c_noise + p), a map, and the class (Karras et al. 2024, Equation 75).
struct Embedding {
    frequencies: ParameterId,
    phases: ParameterId,
    noise: Linear,
    label: Option<(Linear, usize)>,
    second_time: Option<Linear>,
    augmentation: Option<Linear>,
}

/// A convolution without a bias, of stride 1 and with "same" padding.
struct Conv {
    weight: ParameterId,
    kernel: usize,
    outputs: usize,
}

impl Conv {
    fn new(b: &mut Builder, name: &str, inputs: usize, outputs: usize, kernel: usize, gain: f32) -> Self {
        let weight = b.xavier(&format!("{name}.weight"), &[kernel, kernel, inputs, outputs], gain);
        Self { weight, kernel, outputs }
    }

    /// `scale` x (conv + residual).
    fn forward(
        &self,
        g: &mut Graph,
        w: &Weights,
        x: &Images,
        residual: Option<&Images>,
        scale: f32,
    ) -> Images {
        let bias = Vector::constant(vec![0.0; self.outputs], [self.outputs]);
        let conv = ops::Conv2d {
            weight: w.get(self.weight),
            bias: &bias,
            kernel: self.kernel,
            stride: 1,
            padding: self.kernel / 2,
            out_channels: self.outputs,
            image_bias: None,
            residual,
            scale,
        };
        ops::conv2d(g, x, conv)
    }
}

/// Figure 21: on the way down the input is projected and normalised first, on the way up its branch alone is not.
struct Block {
    down: bool,
    resample: (Resample, ResamplingConfig),
    conv0: Conv,
    affine: Linear,
    conv1: Conv,
    skip: Option<Conv>,
    attention: Option<(Conv, Conv, usize)>,
    /// Factors of the sums with a branch and with attention: (1 - t) / sqrt((1 - t)^2 + t^2).
    scales: (f32, f32),
    clamp: f32,
    dropout: (f32, u64),
}

fn main_scale(balance: f32) -> f32 {
    (1.0 - balance) / (1.0 - balance).hypot(balance)
}

impl Block {
    fn forward(
        &self,
        g: &mut Graph,
        w: &Weights,
        x: &Images,
        embedding: &Matrix,
        extra: Extra<'_>,
    ) -> Images {
        let mut x = self.resample.0.apply(g, x.clone(), self.resample.1);
        if self.down {
            if let Some(skip) = &self.skip {
                x = skip.forward(g, w, &x, None, 1.0);
            }
            x = ops::pixel_norm(g, &x, 1);
        }
        let hidden = ops::silu(g, &x);
        let hidden = self.conv0.forward(g, w, &hidden, None, 1.0);
        let factors = self.affine.forward(g, w, embedding);
        let hidden = ops::modulate(g, &hidden, &factors);
        let mut hidden = ops::silu(g, &hidden);
        if let Some(key) = extra.dropout_key.filter(|_| self.dropout.0 > 0.0) {
            hidden = ops::dropout(g, &hidden, derive_seed(key, self.dropout.1), self.dropout.0);
        }
        if let Some(skip) = self.skip.as_ref().filter(|_| !self.down) {
            x = skip.forward(g, w, &x, None, 1.0);
        }
        let mut out = self.conv1.forward(g, w, &hidden, Some(&x), self.scales.0);
        if let Some((qkv, proj, heads)) = &self.attention {
            let mixed = qkv.forward(g, w, &out, None, 1.0);
            let mixed = ops::pixel_norm(g, &mixed, 3 * heads);
            let mixed = ops::attention(g, &mixed, *heads);
            out = proj.forward(g, w, &mixed, Some(&out), self.scales.1);
        }
        ops::clamp(g, &out, self.clamp)
    }
}

impl Edm2 {
    /// The network and its weights.
    ///
    /// # Errors
    /// [`NetworkConfigError`] if numbers are out of range or do not fit `shape`.
    pub(crate) fn new(
        config: &Edm2Config,
        shape: ImageShape,
        conditions: Conditions,
        mut b: Builder,
    ) -> Result<(Self, Weights), NetworkConfigError> {
        check(config, shape)?;
        let Edm2Config { channels, multipliers, blocks, attention, waves, embedding: values, .. } = config;
        let embedding = Embedding {
            frequencies: b.untrained_normal("embedding.frequencies", &[*waves], std::f32::consts::TAU),
            phases: b.untrained_normal("embedding.phases", &[*waves], std::f32::consts::TAU),
            noise: Linear::unbiased(&mut b, "embedding.noise", *waves, *values, 1.0),
            label: conditions
                .classes
                .map(|classes| (Linear::unbiased(&mut b, "embedding.label", classes, *values, 1.0), classes)),
            // Begins at no influence, as in the other networks.
            second_time: conditions
                .second_time
                .then(|| Linear::unbiased(&mut b, "embedding.second_time", *waves, *waves, 0.0)),
            augmentation: conditions.augmentation.then(|| {
                Linear::unbiased(&mut b, "embedding.augmentation", AUGMENTATION_LABELS, *waves, 0.0)
            }),
        };
        let mut stream = 0;
        let mut block = |b: &mut Builder,
                         name: String,
                         down: bool,
                         (inputs, outputs): (usize, usize),
                         resample,
                         attends: bool| {
            stream += 1;
            let part = |part: &str| format!("{name}.{part}");
            let heads = config.heads.of(outputs).filter(|&heads| attends && heads > 0);
            Arc::new(Block {
                down,
                resample: (resample, config.resampling),
                conv0: Conv::new(b, &part("conv0"), if down { outputs } else { inputs }, outputs, 3, 1.0),
                affine: Linear::unbiased(b, &part("affine"), *values, outputs, 0.0),
                conv1: Conv::new(b, &part("conv1"), outputs, outputs, 3, 1.0),
                skip: (inputs != outputs).then(|| Conv::new(b, &part("skip"), inputs, outputs, 1, 1.0)),
                attention: heads.map(|heads| {
                    let qkv = Conv::new(b, &part("attention.qkv"), outputs, 3 * outputs, 1, 1.0);
                    (qkv, Conv::new(b, &part("attention.proj"), outputs, outputs, 1, 1.0), heads)
                }),
                scales: (main_scale(config.residual_balance), main_scale(config.attention_balance)),
                clamp: config.clamp,
                dropout: (config.dropout, stream),
            })
        };
        let mut width = channels * multipliers[0];
        let input = Conv::new(&mut b, "input", shape.channels + 1, width, 3, 1.0);
        let (mut encoder, mut kept) = (Vec::new(), vec![width]);
        for (level, multiplier) in multipliers.iter().enumerate() {
            let attends = attention.contains(&(shape.height >> level));
            if level > 0 {
                let name = format!("down.{level}.resample");
                encoder.push(block(&mut b, name, true, (width, width), Resample::Down, false));
                kept.push(width);
            }
            for index in 0..*blocks {
                let ends = (width, channels * multiplier);
                encoder.push(block(
                    &mut b,
                    format!("down.{level}.{index}"),
                    true,
                    ends,
                    Resample::None,
                    attends,
                ));
                width = ends.1;
                kept.push(width);
            }
        }
        let mut decoder = Vec::new();
        for (level, multiplier) in multipliers.iter().enumerate().rev() {
            let attends = attention.contains(&(shape.height >> level));
            if level + 1 == multipliers.len() {
                for (name, attends) in [("middle.0", true), ("middle.1", false)] {
                    let middle = block(&mut b, name.into(), false, (width, width), Resample::None, attends);
                    decoder.push((middle, false));
                }
            } else {
                let name = format!("up.{level}.resample");
                decoder.push((block(&mut b, name, false, (width, width), Resample::Up, false), false));
            }
            for index in 0..=*blocks {
                let skipped = kept.pop().expect("one output was kept for each block of the way up");
                let ends = (width + skipped, channels * multiplier);
                let name = format!("up.{level}.{index}");
                decoder.push((block(&mut b, name, false, ends, Resample::None, attends), true));
                width = ends.1;
            }
        }
        let output = Conv::new(&mut b, "output", width, shape.channels, 3, 0.0);
        let Edm2Config { concat_balance, recompute, .. } = *config;
        let network = Self { shape, embedding, input, encoder, decoder, output, concat_balance, recompute };
        Ok((network, b.finish()))
    }
}

impl Embedding {
    fn forward(&self, g: &mut Graph, w: &Weights, c_noise: &[f32], extra: Extra<'_>) -> Matrix {
        let count = c_noise.len();
        let labels = extra.labels;
        let mut cosines = self.cosines(g, w, Given::Noise, c_noise, extra.c_noise_tangent);
        assert_eq!(
            extra.second_time.is_some(),
            self.second_time.is_some(),
            "a second time if and only if the network was built for one"
        );
        if let (Some(layer), Some(second)) = (&self.second_time, extra.second_time) {
            assert_eq!(second.len(), count, "one second time for each image");
            let waves = self.cosines(g, w, Given::SecondTime, second, None);
            let embedded = layer.forward(g, w, &waves);
            cosines = ops::add(g, &cosines, &embedded, 1.0);
        }
        cosines = told_changes(g, w, self.augmentation.as_ref(), cosines, extra);
        let mut sum = self.noise.forward(g, w, &cosines);
        assert_eq!(labels.is_some(), self.label.is_some(), "labels if and only if the network has classes");
        if let (Some((layer, classes)), Some(labels)) = (&self.label, labels) {
            assert_eq!(labels.len(), count, "one label for each image");
            let one_hot = one_hot(g, labels, *classes);
            let embedded = layer.forward(g, w, &one_hot);
            sum = ops::add(g, &sum, &embedded, 1.0);
        }
        ops::silu(g, &sum)
    }

    /// sqrt(2) cos(f c + p) of each number and each frequency, which change as the numbers do.
    fn cosines(
        &self,
        g: &mut Graph,
        w: &Weights,
        of: Given,
        numbers: &[f32],
        tangent: Option<&[f32]>,
    ) -> Matrix {
        let (frequencies, phases) = (w.get(self.frequencies), w.get(self.phases));
        let (count, waves) = (numbers.len(), frequencies.shape()[0]);
        let doubles = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
        let operation = || Operation::Waves {
            of,
            frequencies: doubles(frequencies.values()),
            phases: doubles(phases.values()),
            factor: SQRT_2,
        };
        if let Some(outline) = g.outlined(operation, [count, waves]) {
            return outline;
        }
        let each = |c: f32, wave: &dyn Fn(f64, f64) -> f32| -> Vec<f32> {
            let pairs = frequencies.values().iter().zip(phases.values());
            let angle = |f: f64, p: f32| f * f64::from(c) + f64::from(p);
            pairs.map(|(&f, &p)| wave(f64::from(f), angle(f64::from(f), p))).collect()
        };
        let cosine = |_: f64, angle: f64| SQRT_2 * angle.cos() as f32;
        let values = numbers.iter().flat_map(|&c| each(c, &cosine)).collect();
        let cosines = Matrix::constant(values, [count, waves]);
        let Some(tangent) = tangent else { return cosines };
        assert_eq!(tangent.len(), count, "one change for each number");
        let changes = numbers.iter().zip(tangent).flat_map(|(&c, &change)| {
            each(c, &|f, angle| -SQRT_2 * (f * f64::from(change) * angle.sin()) as f32)
        });
        cosines.moving(changes.collect())
    }
}

impl Network for Edm2 {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn classes(&self) -> Option<usize> {
        self.embedding.label.as_ref().map(|&(_, classes)| classes)
    }

    fn forward(&self, g: &mut Graph, w: &Weights, x: &Images, c_noise: &[f32], extra: Extra<'_>) -> Images {
        let ImageShape { height, width, channels } = self.shape;
        let count = c_noise.len();
        assert_eq!(x.shape(), [count, height, width, channels], "one noise level for each image");
        let embedding = self.embedding.forward(g, w, c_noise, extra);
        let passes = Passes::new(self.recompute, w);
        let pass = |g: &mut Graph, block: &Arc<Block>, x: &Images| {
            let block = block.clone();
            let (x, embedding) = (x.clone(), embedding.clone());
            passes.run(g, w, extra, move |g, w, extra| block.forward(g, w, &x, &embedding, extra))
        };
        let ones = || Images::constant(vec![1.0; count * height * width], [count, height, width, 1]);
        let one = g.outlined(|| Operation::Filled(1.0), [count, height, width, 1]).unwrap_or_else(ones);
        let with_one = ops::concat(g, x, &one);
        let mut hidden = self.input.forward(g, w, &with_one, None, 1.0);
        let mut kept = vec![hidden.clone()];
        for block in &self.encoder {
            hidden = pass(g, block, &hidden);
            kept.push(hidden.clone());
        }
        for (block, joins) in &self.decoder {
            if *joins {
                let skipped = kept.pop().expect("one output was kept for each block of the way up");
                let scale = concat_scale(hidden.shape()[3], skipped.shape()[3], self.concat_balance);
                hidden = ops::concat(g, &hidden, &skipped);
                let shift = vec![0.0; scale.len()];
                hidden = ops::affine_channels(g, &hidden, scale, shift);
            }
            hidden = pass(g, block, &hidden);
        }
        self.output.forward(g, w, &hidden, None, 1.0)
    }
}

/// Equation 103: factors of the channels of two tensors side by side, so that each has its share of the magnitude.
fn concat_scale(a: usize, b: usize, balance: f32) -> Vec<f32> {
    let (t, na, nb) = (f64::from(balance), a as f64, b as f64);
    let whole = ((na + nb) / ((1.0 - t).powi(2) + t * t)).sqrt();
    let factors = [(whole / na.sqrt() * (1.0 - t)) as f32, (whole / nb.sqrt() * t) as f32];
    [vec![factors[0]; a], vec![factors[1]; b]].concat()
}

fn check(config: &Edm2Config, shape: ImageShape) -> Result<(), NetworkConfigError> {
    let Edm2Config { channels, multipliers, blocks, heads, attention, dropout, waves, embedding, .. } =
        config;
    let mut problems = Problems::default();
    let whole = (1..=MOST_CHANNELS).contains(channels) && channels.is_multiple_of(4);
    problems.unless(whole, "channels", channels, format!("a multiple of 4, 4 to {MOST_CHANNELS}"));
    problems.resolutions(*channels, multipliers, *blocks, shape);
    let last = multipliers.len().saturating_sub(1);
    let attend = multipliers.iter().enumerate().filter(|&(level, _)| {
        level == last || attention.contains(&shape.height.checked_shr(level as u32).unwrap_or(0))
    });
    let shared = attend.into_iter().all(|(_, m)| heads.of(channels.saturating_mul(*m)).is_some());
    problems.unless(
        shared,
        "heads",
        heads,
        "heads that the channels of every resolution with attention can be shared out to",
    );
    problems.unless((0.0..1.0).contains(dropout), "dropout", dropout, "in [0, 1)");
    let some = 1..=MOST_CHANNELS;
    problems.unless(some.contains(waves), "waves", waves, format!("1 to {MOST_CHANNELS}"));
    problems.unless(some.contains(embedding), "embedding", embedding, format!("1 to {MOST_CHANNELS}"));
    for (field, balance) in [
        ("label_balance", config.label_balance),
        ("residual_balance", config.residual_balance),
        ("attention_balance", config.attention_balance),
        ("concat_balance", config.concat_balance),
    ] {
        problems.unless((0.0..1.0).contains(&balance), field, balance, "in [0, 1)");
    }
    problems.unless(config.clamp > 0.0, "clamp", config.clamp, "above 0");
    problems.none()
}
