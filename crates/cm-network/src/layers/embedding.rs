//! From a noise level, a label and a second time to the vector that every residual block sees.

use super::Linear;
use crate::init::Builder;
use crate::{Conditions, EmbeddingConfig, Extra, FourierConfig, ScaleConfig};
use cm_image::NO_CLASS;
use cm_image::augmentation::AUGMENTATION_LABELS;
use cm_tensor::{Given, Graph, Matrix, Operation, ParameterId, Weights, ops};
use std::f32::consts::TAU;
use std::f64::consts::FRAC_PI_2;

pub(crate) struct Embedding {
    frequencies: Frequencies,
    label: Option<(Linear, usize)>,
    second_time: Option<Linear>,
    augmentation: Option<Linear>,
    layer0: Linear,
    layer1: Linear,
    manner: Manner,
    /// Sines and cosines.
    features: usize,
}

/// What differs between the families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// DDPM++ and NCSN++: sines first; the label joins before the layers.
    Song,
    /// ADM: cosines first, frequencies that end before the lowest; the label joins behind the layers.
    Adm,
}

enum Frequencies {
    Geometric { scale: f32 },
    Random(ParameterId),
}

/// Ratio of the highest to the lowest frequency of the positional embedding (Vaswani et al. 2017).
const MAX_PERIOD: f64 = 10_000.0;

/// A row of `classes` for each label, 1 at its place. A class that is not told adds nothing.
pub(crate) fn one_hot(g: &mut Graph, labels: &[u32], classes: usize) -> Matrix {
    let shape = [labels.len(), classes];
    g.outlined(|| Operation::OneHot, shape).unwrap_or_else(|| {
        let mut values = vec![0.0; labels.len() * classes];
        let rows = values.chunks_exact_mut(classes);
        let told = labels.iter().zip(rows).filter(|(label, _)| **label != NO_CLASS);
        told.for_each(|(&label, row)| row[label as usize] = 1.0);
        Matrix::constant(values, shape)
    })
}

/// The sum with what `layer` makes of the images' changes, if they were changed.
///
/// # Panics
/// If the network was not built to be told of changes and there are some, or not as many as its images want.
pub(crate) fn told_changes(
    g: &mut Graph,
    w: &Weights,
    layer: Option<&Linear>,
    sum: Matrix,
    extra: Extra<'_>,
) -> Matrix {
    let Some(told) = extra.augmentation else { return sum };
    let layer = layer.expect("changes of images for a network that was built to be told of them");
    let shape = [sum.shape()[0], AUGMENTATION_LABELS];
    let told = if g.is_counting() { Matrix::outline(shape) } else { Matrix::constant(told.to_vec(), shape) };
    let embedded = layer.forward(g, w, &told);
    ops::add(g, &sum, &embedded, 1.0)
}

impl Embedding {
    /// `channels` (even) waves in, or a multiple, and `outputs` values out.
    pub(crate) fn new(
        b: &mut Builder,
        config: EmbeddingConfig,
        (channels, outputs): (usize, usize),
        conditions: Conditions,
        manner: Manner,
    ) -> Self {
        let (frequencies, features) = match config {
            EmbeddingConfig::Positional(ScaleConfig { scale, width }) => {
                (Frequencies::Geometric { scale }, channels * width)
            }
            EmbeddingConfig::Fourier(FourierConfig { scale, width }) => {
                let features = channels * width;
                let drawn = b.untrained_normal("embedding.frequencies", &[features / 2], scale);
                (Frequencies::Random(drawn), features)
            }
        };
        let joins = match manner {
            Manner::Song => features,
            Manner::Adm => outputs,
        };
        // Karras et al. 2022, SongUNet: the one-hot label is scaled by sqrt(classes), i.e. unit variance.
        let label = conditions.classes.map(|classes| {
            (Linear::unbiased(b, "embedding.label", classes, joins, (classes as f32).sqrt()), classes)
        });
        // Begins at no influence, so that a network may gain a second time after training without one.
        let second_time = conditions
            .second_time
            .then(|| Linear::unbiased(b, "embedding.second_time", features, features, 0.0));
        // The same; without a bias, so that an image that was not changed adds nothing (NVlabs/edm, map_augment).
        let augmentation = conditions
            .augmentation
            .then(|| Linear::unbiased(b, "embedding.augmentation", AUGMENTATION_LABELS, features, 0.0));
        let layer0 = Linear::new(b, "embedding.layer0", features, outputs, 1.0);
        let layer1 = Linear::new(b, "embedding.layer1", outputs, outputs, 1.0);
        Self { frequencies, label, second_time, augmentation, layer0, layer1, manner, features }
    }

    /// The number of classes it must be told one of, if any.
    pub(crate) fn classes(&self) -> Option<usize> {
        self.label.as_ref().map(|&(_, classes)| classes)
    }

    pub(crate) fn forward(&self, g: &mut Graph, w: &Weights, c_noise: &[f32], extra: Extra<'_>) -> Matrix {
        let count = c_noise.len();
        assert_eq!(
            extra.labels.is_some(),
            self.label.is_some(),
            "labels if and only if the network has classes"
        );
        assert_eq!(
            extra.second_time.is_some(),
            self.second_time.is_some(),
            "a second time if and only if the network was built for one"
        );
        let mut sum = self.waves(g, w, Given::Noise, c_noise, extra.c_noise_tangent);
        if self.manner == Manner::Song {
            sum = self.labelled(g, w, sum, extra);
        }
        if let (Some(layer), Some(second)) = (&self.second_time, extra.second_time) {
            assert_eq!(second.len(), count, "one second time for each image");
            let waves = self.waves(g, w, Given::SecondTime, second, None);
            let embedded = layer.forward(g, w, &waves);
            sum = ops::add(g, &sum, &embedded, 1.0);
        }
        sum = told_changes(g, w, self.augmentation.as_ref(), sum, extra);
        let hidden = self.layer0.forward(g, w, &sum);
        let hidden = ops::silu(g, &hidden);
        let mut out = self.layer1.forward(g, w, &hidden);
        if self.manner == Manner::Adm {
            out = self.labelled(g, w, out, extra);
        }
        ops::silu(g, &out)
    }

    /// The sum with the embedded labels, if there are any.
    fn labelled(&self, g: &mut Graph, w: &Weights, sum: Matrix, extra: Extra<'_>) -> Matrix {
        let (Some((layer, classes)), Some(labels)) = (&self.label, extra.labels) else { return sum };
        let count = sum.shape()[0];
        assert_eq!(labels.len(), count, "one label for each image");
        let one_hot = one_hot(g, labels, *classes);
        let embedded = layer.forward(g, w, &one_hot);
        ops::add(g, &sum, &embedded, 1.0)
    }

    /// Sines and cosines of each number times each frequency, which change as the numbers do.
    fn waves(
        &self,
        g: &mut Graph,
        w: &Weights,
        of: Given,
        numbers: &[f32],
        tangent: Option<&[f32]>,
    ) -> Matrix {
        let shape = [numbers.len(), self.features];
        if let Some(outline) = g.outlined(|| self.operation(w, of), shape) {
            return outline;
        }
        let frequencies = self.each_frequency(w);
        // First those that the family has first.
        let in_order = |values: &mut Vec<f32>, sine: &dyn Fn(f64) -> f64, cosine: &dyn Fn(f64) -> f64| {
            let (first, second) = match self.manner {
                Manner::Song => (sine, cosine),
                Manner::Adm => (cosine, sine),
            };
            values.extend(frequencies.iter().map(|&f| first(f) as f32));
            values.extend(frequencies.iter().map(|&f| second(f) as f32));
        };
        let mut values = Vec::with_capacity(numbers.len() * self.features);
        for &number in numbers {
            let angle = |f: f64| self.angle(f, number);
            in_order(&mut values, &|f| angle(f).sin(), &|f| angle(f).cos());
        }
        let waves = Matrix::constant(values, shape);
        let Some(tangent) = tangent else { return waves };
        assert_eq!(tangent.len(), numbers.len(), "one change for each number");
        let mut changes = Vec::with_capacity(numbers.len() * self.features);
        for (&number, &change) in numbers.iter().zip(tangent) {
            let (angle, change) = (|f: f64| self.angle(f, number), f64::from(change));
            let sine = |f: f64| f * change * angle(f).cos();
            in_order(&mut changes, &sine, &|f| -f * change * angle(f).sin());
        }
        waves.moving(changes)
    }

    /// Radians for each unit of a number.
    fn each_frequency(&self, w: &Weights) -> Vec<f64> {
        let half = self.features / 2;
        let last = match self.manner {
            Manner::Song => half.max(2) - 1,
            Manner::Adm => half,
        };
        match self.frequencies {
            Frequencies::Geometric { scale } => {
                (0..half).map(|i| f64::from(scale) * MAX_PERIOD.powf(-(i as f64) / last as f64)).collect()
            }
            Frequencies::Random(id) => w.get(id).values().iter().map(|&f| f64::from(TAU * f)).collect(),
        }
    }

    /// Radians of a number at a frequency. Random frequencies make angles of many turns, of which the original code keeps
    /// what single precision leaves (up to 1/64 of a radian with iDDPM's steps for numbers), and networks are trained with that.
    fn angle(&self, frequency: f64, number: f32) -> f64 {
        match self.frequencies {
            Frequencies::Geometric { .. } => frequency * f64::from(number),
            Frequencies::Random(_) => f64::from(frequency as f32 * number),
        }
    }

    /// The waves in a trace: sines are cosines a quarter of a turn later.
    fn operation(&self, w: &Weights, of: Given) -> Operation {
        let frequencies = self.each_frequency(w);
        let (first, second) = match self.manner {
            Manner::Song => (-FRAC_PI_2, 0.0),
            Manner::Adm => (0.0, -FRAC_PI_2),
        };
        let half = frequencies.len();
        let phases = [vec![first; half], vec![second; half]].concat();
        Operation::Waves { of, frequencies: frequencies.repeat(2), phases, factor: 1.0 }
    }
}
