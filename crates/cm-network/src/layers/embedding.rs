//! From a noise level, a label and a second time to the vector that every residual block sees.

use super::Linear;
use crate::{Conditions, EmbeddingConfig, Extra, init::Builder};
use cm_tensor::{Graph, Matrix, ParameterId, Weights, ops};

pub(crate) struct Embedding {
    frequencies: Frequencies,
    label: Option<(Linear, usize)>,
    second_time: Option<Linear>,
    layer0: Linear,
    layer1: Linear,
    channels: usize,
}

enum Frequencies {
    Geometric { scale: f32 },
    Random(ParameterId),
}

/// Ratio of the highest to the lowest frequency of the positional embedding (Vaswani et al. 2017).
const MAX_PERIOD: f64 = 10_000.0;

impl Embedding {
    /// `channels` (even) waves in, `4 channels` values out.
    pub(crate) fn new(
        b: &mut Builder,
        config: EmbeddingConfig,
        channels: usize,
        conditions: Conditions,
    ) -> Self {
        let frequencies = match config {
            EmbeddingConfig::Positional(config) => Frequencies::Geometric { scale: config.scale },
            EmbeddingConfig::Fourier(config) => {
                Frequencies::Random(b.normal("embedding.frequencies", &[channels / 2], config.scale))
            }
        };
        // Karras et al. 2022, SongUNet: the one-hot label is scaled by sqrt(classes), i.e. unit variance.
        let label = conditions.classes.map(|classes| {
            (Linear::unbiased(b, "embedding.label", classes, channels, (classes as f32).sqrt()), classes)
        });
        // Begins at no influence, so that a network may gain a second time after training without one.
        let second_time = conditions
            .second_time
            .then(|| Linear::unbiased(b, "embedding.second_time", channels, channels, 0.0));
        let layer0 = Linear::new(b, "embedding.layer0", channels, 4 * channels, 1.0);
        let layer1 = Linear::new(b, "embedding.layer1", 4 * channels, 4 * channels, 1.0);
        Self { frequencies, label, second_time, layer0, layer1, channels }
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
        let mut sum = self.waves(w, c_noise);
        if let (Some((layer, classes)), Some(labels)) = (&self.label, extra.labels) {
            assert_eq!(labels.len(), count, "one label for each image");
            let mut one_hot = vec![0.0; count * classes];
            labels
                .iter()
                .zip(one_hot.chunks_exact_mut(*classes))
                .for_each(|(&label, row)| row[label as usize] = 1.0);
            let embedded = layer.forward(g, w, &Matrix::constant(one_hot, [count, *classes]));
            sum = ops::add(g, &sum, &embedded, 1.0);
        }
        if let (Some(layer), Some(second)) = (&self.second_time, extra.second_time) {
            assert_eq!(second.len(), count, "one second time for each image");
            let embedded = layer.forward(g, w, &self.waves(w, second));
            sum = ops::add(g, &sum, &embedded, 1.0);
        }
        let hidden = self.layer0.forward(g, w, &sum);
        let hidden = ops::silu(g, &hidden);
        let out = self.layer1.forward(g, w, &hidden);
        ops::silu(g, &out)
    }

    /// Sines, then cosines, of each number times each frequency.
    fn waves(&self, w: &Weights, numbers: &[f32]) -> Matrix {
        let half = self.channels / 2;
        let frequencies: Vec<f64> = match self.frequencies {
            Frequencies::Geometric { scale } => (0..half)
                .map(|i| f64::from(scale) * MAX_PERIOD.powf(-(i as f64) / (half.max(2) - 1) as f64))
                .collect(),
            Frequencies::Random(id) => {
                w.get(id).values().iter().map(|&f| std::f64::consts::TAU * f64::from(f)).collect()
            }
        };
        let mut values = Vec::with_capacity(numbers.len() * self.channels);
        for &number in numbers {
            let angle = |f: &f64| f * f64::from(number);
            values.extend(frequencies.iter().map(|f| angle(f).sin() as f32));
            values.extend(frequencies.iter().map(|f| angle(f).cos() as f32));
        }
        Matrix::constant(values, [numbers.len(), self.channels])
    }
}
