//! The networks that are timed.

use cm_image::random::Random;
use cm_image::{ImageBatch, ImageShape};
use cm_network::{
    Conditions, EmbeddingConfig, Extra, Network, NetworkConfig, NetworkConfigError, NetworkProblem, Preset,
    ScaleConfig, UNetConfig,
};
use cm_tensor::{CheckpointError, Graph, Images, TensorFile, Weights};
use std::path::Path;

/// Networks from an exercise to the paper's largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkSize {
    /// 8x8x1 images, 1.03 million parameters; steps of 64 images.
    Small,
    /// 32x32x3 images, 6.99 million parameters; steps of 32 images.
    Medium,
    /// 32x32x3 images, 55.7 million parameters, DDPM++ for CIFAR-10 (Song et al. 2021); steps of 4 images.
    DdpmPp,
    /// One of the paper's networks, as it is; steps of one image.
    Preset(Preset),
}

/// What may differ from a [`NetworkSize`]'s own numbers, to see how time grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variation {
    /// Images at a time.
    pub batch: Option<usize>,
    /// Channels at the highest resolution.
    pub channels: Option<usize>,
    /// Height and width of the images.
    pub resolution: Option<usize>,
    /// Whether blocks are computed a second time on the way back instead of being kept.
    pub recompute: bool,
}

/// Images at a time at most, as where samples are drawn.
const MOST_BATCH: usize = 1 << 16;
/// Height and width of images at most.
const MOST_PIXELS: usize = 4096;

/// A network that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchNetwork {
    size: NetworkSize,
    variation: Variation,
    flops_per_image: u64,
}

impl BenchNetwork {
    /// A network of the given size, but for what `variation` names.
    ///
    /// # Errors
    /// [`NetworkConfigError`] if the numbers make no network.
    pub fn new(size: NetworkSize, variation: Variation) -> Result<Self, NetworkConfigError> {
        let network = Self { size, variation, flops_per_image: 0 };
        let numbers =
            [("batch", variation.batch, MOST_BATCH), ("resolution", variation.resolution, MOST_PIXELS)];
        for (field, given, most) in numbers {
            if let Some(given) = given.filter(|given| !(1..=most).contains(given)) {
                let problem =
                    NetworkProblem { field, given: given.to_string(), allowed: format!("1 to {most}") };
                return Err(NetworkConfigError(vec![problem]));
            }
        }
        if let (NetworkSize::Preset(preset), Some(channels)) = (size, variation.channels) {
            let allowed = format!("{} has its own", preset.name());
            let problem = NetworkProblem { field: "channels", given: channels.to_string(), allowed };
            return Err(NetworkConfigError(vec![problem]));
        }
        let flops_per_image = network.config().count(network.shape(), network.conditions())?.flops_per_image;
        Ok(Self { flops_per_image, ..network })
    }

    /// What cases call it.
    pub(super) fn name(self) -> String {
        let Variation { channels, resolution, recompute, .. } = self.variation;
        let size = match self.size {
            NetworkSize::Small => "small",
            NetworkSize::Medium => "medium",
            NetworkSize::DdpmPp => "ddpm++",
            NetworkSize::Preset(preset) => preset.name(),
        };
        let part = |what, number: Option<usize>| number.map(|n| format!("-{what}{n}")).unwrap_or_default();
        let how = if recompute { "-recompute" } else { "" };
        format!("{size}{}{}{how}", part("c", channels), part("r", resolution))
    }

    /// Images at a time.
    pub(super) fn batch(self) -> usize {
        self.variation.batch.unwrap_or(match self.size {
            NetworkSize::Small => 64,
            NetworkSize::Medium => 32,
            NetworkSize::DdpmPp => 4,
            NetworkSize::Preset(_) => 1,
        })
    }

    /// The shape of its images.
    pub(super) fn shape(self) -> ImageShape {
        let (own, channels) = match self.size {
            NetworkSize::Small => (8, 1),
            NetworkSize::Medium | NetworkSize::DdpmPp => (32, 3),
            NetworkSize::Preset(preset) => (preset.shape().height, preset.shape().channels),
        };
        let resolution = self.variation.resolution.unwrap_or(own);
        ImageShape::new(resolution, resolution, channels)
    }

    fn config(self) -> NetworkConfig {
        self.usual_config().recomputed(self.variation.recompute)
    }

    fn usual_config(self) -> NetworkConfig {
        let unet = |own_channels, multipliers: &[usize], blocks, attention| {
            NetworkConfig::UNet(UNetConfig {
                channels: self.variation.channels.unwrap_or(own_channels),
                multipliers: multipliers.to_vec(),
                blocks,
                attention: vec![attention],
                dropout: 0.0,
                embedding: EmbeddingConfig::Positional(ScaleConfig { scale: 4.0, ..ScaleConfig::default() }),
                ..UNetConfig::default()
            })
        };
        match self.size {
            NetworkSize::Small => unet(32, &[1, 2], 2, 4),
            NetworkSize::Medium => unet(64, &[1, 2, 2], 2, 16),
            NetworkSize::DdpmPp => unet(128, &[2, 2, 2], 4, 16),
            NetworkSize::Preset(preset) => preset.config(),
        }
    }

    fn conditions(self) -> Conditions {
        match self.size {
            NetworkSize::Small | NetworkSize::Medium | NetworkSize::DdpmPp => Conditions::default(),
            NetworkSize::Preset(preset) => preset.conditions(),
        }
    }

    /// A class for each of `count` images, or nothing for a network that is told none.
    pub(super) fn labels(self, count: usize) -> Vec<u32> {
        self.conditions()
            .classes
            .map_or_else(Vec::new, |classes| (0..count).map(|i| (i % classes) as u32).collect())
    }

    /// The network, with weights none of which is zero: at their usual beginning some layers would contribute nothing.
    pub(super) fn build(self) -> (Box<dyn Network>, Weights) {
        let (network, mut weights) =
            self.config().build(self.shape(), self.conditions(), 0).expect("this network was built before");
        let mut random = Random::new(1);
        weights.values_mut().for_each(|values| values.iter_mut().for_each(|v| *v += 0.02 * random.normal()));
        (network, weights)
    }

    /// Multiplications and additions of one evaluation on one image.
    pub(super) fn flops_per_image(self) -> u64 {
        self.flops_per_image
    }

    /// Standard normal images.
    pub(super) fn images(self, count: usize) -> ImageBatch {
        let mut random = Random::new(2);
        ImageBatch::from_fn(self.shape(), count, |_, values| random.fill_normal(values))
    }
}

/// Why [`export`] failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The arrays cannot be written in the format.
    #[error("{0}")]
    Encode(#[from] CheckpointError),
    /// The file cannot be written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Writes what another program needs to check that it computes the same function: `weights/...`, a batch `x`
/// `[N, H, W, C]`, noise inputs `c_noise` `[N]`, the network's output `y`, and for the gradient `grad_y` of `y` those
/// of the weights, `gradients/...`.
///
/// # Errors
/// [`ExportError`] if the file cannot be written; a file that was there is then still whole.
pub fn export(network: BenchNetwork, path: &Path) -> Result<(), ExportError> {
    let (net, weights) = network.build();
    let batch = network.batch();
    // From noise levels near 0.01 to near 30: c_noise is ln(sigma) / 4.
    let c_noise: Vec<f32> = (0..batch).map(|i| -1.2 + 2.1 * i as f32 / batch as f32).collect();
    let x = network.images(batch);
    let mut graph = Graph::recording();
    let labels = network.labels(batch);
    let extra = Extra { labels: (!labels.is_empty()).then_some(&labels), ..Extra::default() };
    let y = net.forward(&mut graph, &weights, &Images::from_batch(&x), &c_noise, extra);
    let mut random = Random::new(3);
    let grad_y: Vec<f32> = y.values().iter().map(|_| random.normal()).collect();
    let y_values = y.values().to_vec();
    let gradients = weights.gradients(&mut graph.backward(&y, grad_y.clone()));

    let mut file = TensorFile::default();
    file.add_weights("weights/", &weights);
    for ((name, shape, _), gradient) in weights.iter().zip(gradients) {
        file.arrays.push((format!("gradients/{name}"), shape.to_vec(), gradient));
    }
    let ImageShape { height, width, channels } = network.shape();
    let images = vec![batch, height, width, channels];
    file.arrays.push(("x".into(), images.clone(), x.into_values()));
    file.arrays.push(("y".into(), images.clone(), y_values));
    file.arrays.push(("grad_y".into(), images, grad_y));
    file.arrays.push(("c_noise".into(), vec![batch], c_noise));
    Ok(cm_host::durable::write(path, &file.encode()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(size: NetworkSize) -> BenchNetwork {
        BenchNetwork::new(size, Variation::default()).unwrap()
    }

    #[test]
    fn the_networks_have_the_sizes_they_are_said_to_have() {
        let sizes = [NetworkSize::Small, NetworkSize::Medium, NetworkSize::DdpmPp];
        let parameters = sizes.map(|size| network(size).build().1.count());
        assert_eq!(parameters, [1_032_353, 6_989_891, 55_732_739]);
    }

    #[test]
    fn a_variation_that_makes_no_network_is_refused() {
        let refused = |variation| BenchNetwork::new(NetworkSize::Medium, variation).unwrap_err().to_string();
        assert!(refused(Variation { batch: Some(0), ..Variation::default() }).contains("batch"));
        assert!(refused(Variation { channels: Some(6), ..Variation::default() }).contains("channels"));
        assert!(refused(Variation { resolution: Some(30), ..Variation::default() }).contains("30x30"));
        let preset = NetworkSize::Preset(Preset::AdmImagenet64);
        let variation = Variation { channels: Some(64), ..Variation::default() };
        assert!(BenchNetwork::new(preset, variation).unwrap_err().to_string().contains("has its own"));
    }

    #[test]
    fn an_export_holds_a_gradient_for_each_weight() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("small.safetensors");
        export(network(NetworkSize::Small), &path).unwrap();
        let file = TensorFile::decode(&std::fs::read(path).unwrap()).unwrap();
        let (_, weights) = network(NetworkSize::Small).build();
        let mut gradients = weights.clone();
        file.load_weights("gradients/", &mut gradients).unwrap();
        assert!(gradients.iter().all(|(_, _, values)| values.iter().any(|&v| v != 0.0)));
        for name in ["x", "y", "grad_y", "c_noise"] {
            assert!(file.arrays.iter().any(|(n, _, _)| n == name), "{name}");
        }
    }
}
