//! A trained classifier as a judge: its features and its verdicts.

use super::{ActivationExtractor, Activations, FeatureMatrix};
use cm_diffusion::ModelError;
use cm_image::{ImageBatch, ImageShape};
use cm_network::feature_net::{self, ClassifierOutput};
use cm_network::{CheckpointError, Graph, Images, TensorFile, Weights};

/// The weights of [`NetworkJudge::digits`], written by `cargo run --release -p cm-experiment --example digits_judge`.
const DIGITS: &[u8] = include_bytes!("../../data/digits_classifier.safetensors");

/// A classifier network with its weights.
pub struct NetworkJudge {
    network: feature_net::Classifier,
    weights: Weights,
}

impl NetworkJudge {
    /// A judge from a trained network.
    pub fn new(network: feature_net::Classifier, weights: Weights) -> Self {
        Self { network, weights }
    }

    /// The shipped judge of 8x8 handwritten digits: 64 features, 10 classes. It was trained on the training split
    /// apart from every other network of this program; its accuracy on the test split is in its file's metadata.
    ///
    /// # Errors
    /// [`CheckpointError`] if the shipped file does not fit the network, which a test rules out.
    pub fn digits() -> Result<Self, CheckpointError> {
        Self::from_bytes(DIGITS)
    }

    /// A judge from the bytes of a classifier's file.
    ///
    /// # Errors
    /// [`CheckpointError`] if the bytes are not such a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        Self::from_file(&TensorFile::decode(bytes)?)
    }

    /// A judge from a classifier's file, as [`to_file`](Self::to_file) makes it.
    ///
    /// # Errors
    /// [`CheckpointError`] if it is none.
    pub fn from_file(file: &TensorFile) -> Result<Self, CheckpointError> {
        let shape =
            ImageShape::new(file.parse("height")?, file.parse("width")?, file.parse("image_channels")?);
        let (classes, channels) = (file.parse("classes")?, file.parse("channels")?);
        let (network, mut weights) = feature_net::Classifier::new(shape, classes, channels, 0);
        file.load_weights("", &mut weights)?;
        Ok(Self { network, weights })
    }

    /// The images it works on.
    pub fn shape(&self) -> ImageShape {
        self.network.shape()
    }

    /// The network.
    pub fn network(&self) -> &feature_net::Classifier {
        &self.network
    }

    /// Its weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The classifier's file: weights and what is needed to build the network again.
    pub fn to_file(network: &feature_net::Classifier, weights: &Weights) -> TensorFile {
        let mut file = TensorFile::default();
        let ImageShape { height, width, channels } = network.shape();
        for (key, value) in [
            ("height", height),
            ("width", width),
            ("image_channels", channels),
            ("classes", network.classes()),
            ("channels", network.features() / 4),
        ] {
            file.metadata.insert(key.into(), value.to_string());
        }
        file.add_weights("", weights);
        file
    }

    fn output(&self, images: &ImageBatch) -> Result<ClassifierOutput, ModelError> {
        let expected = self.network.shape();
        if images.shape() != expected {
            return Err(ModelError::Shape { given: images.shape(), expected });
        }
        Ok(self.network.forward(&mut Graph::inference(), &self.weights, &Images::from_batch(images)))
    }
}

impl ActivationExtractor for NetworkJudge {
    fn dim(&self) -> usize {
        self.network.features()
    }

    fn spatial_dim(&self) -> Option<usize> {
        None
    }

    fn classes(&self) -> Option<usize> {
        Some(self.network.classes())
    }

    fn activations(&self, images: &ImageBatch) -> Result<Activations, ModelError> {
        let output = self.output(images)?;
        let mut probabilities = output.logits.values().to_vec();
        for row in probabilities.chunks_exact_mut(self.network.classes()) {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|value| *value = libm::expf(*value - largest));
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|value| *value /= sum);
        }
        let matrix = |cols: usize, values: Vec<f32>| {
            FeatureMatrix::new(cols, values).map_err(|error| ModelError::Other(error.into()))
        };
        Ok(Activations {
            features: matrix(self.network.features(), output.features.values().to_vec())?,
            spatial: None,
            probabilities: Some(matrix(self.network.classes(), probabilities)?),
        })
    }
}
