//! FID's Inception network as a judge, with the ways in which published programs bring images to its size.

use super::{ActivationExtractor, Activations, FeatureMatrix};
use cm_diffusion::ModelError;
use cm_image::{ImageBatch, ImageShape, to_u8};
use cm_network::feature_net::{INCEPTION_SIDE, Inception};
use cm_network::fixed::{self, Interpolation};
use cm_network::{Images, Matrix};
use serde::{Deserialize, Serialize};

/// How images come to 299 x 299 pixels and to the network's scale. FIDs of different resizing do not compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InceptionResize {
    /// TensorFlow 1's bilinear, upper left corners aligned, then (p - 128) / 128: the original evaluator, EDM's.
    Tf1Bilinear,
    /// Bilinear with pixel centres aligned, then p / 127.5 - 1: pytorch-fid.
    CentredBilinear,
    /// Bicubic with smoothing before reduction, then (p - 128) / 128: clean-fid.
    SmoothBicubic,
}

impl InceptionResize {
    fn interpolation(self) -> Interpolation {
        match self {
            Self::Tf1Bilinear => Interpolation::BilinearCorners,
            Self::CentredBilinear => Interpolation::BilinearCentres,
            Self::SmoothBicubic => Interpolation::BicubicSmooth,
        }
    }

    /// The network's values of 8-bit levels (which may lie between levels after resizing).
    fn scaled(self, levels: Images) -> Images {
        match self {
            Self::Tf1Bilinear | Self::SmoothBicubic => fixed::affine(levels, 128.0, 128.0, 0.0),
            Self::CentredBilinear => fixed::affine(levels, 0.0, 127.5, 1.0),
        }
    }
}

/// The network with its resizing. Images are rounded to 8 bits first, which those from files are already; grey ones
/// count as coloured.
pub struct InceptionJudge {
    network: Inception,
    resize: InceptionResize,
    spatial: usize,
}

impl InceptionJudge {
    /// A judge from the network.
    pub fn new(network: Inception, resize: InceptionResize) -> Self {
        // A pass without images tells the number of spatial features, which depends on the weights.
        let side = INCEPTION_SIDE;
        let nothing = network.forward(&Images::constant(Vec::new(), [0, side, side, 3]));
        let [_, spatial] = nothing.spatial.shape();
        Self { network, resize, spatial }
    }

    /// How images are resized.
    pub fn resize(&self) -> InceptionResize {
        self.resize
    }

    /// Whether the network has the published size: 2048 features, 2023 of them with a place, 1008 classes.
    pub fn has_published_size(&self) -> bool {
        (self.network.features(), self.spatial, self.network.classes()) == (2048, 2023, 1008)
    }

    /// The images as the network sees them: `[N, 299, 299, 3]`.
    fn prepared(&self, images: &ImageBatch) -> Result<Images, ModelError> {
        let ImageShape { height, width, channels } = images.shape();
        if channels != 1 && channels != 3 {
            let expected = ImageShape::new(height, width, 3);
            return Err(ModelError::Shape { given: images.shape(), expected });
        }
        let levels = images.values().iter().map(|&value| f32::from(to_u8(value))).collect();
        let levels = Images::constant(levels, [images.count(), height, width, channels]);
        let side = (INCEPTION_SIDE, INCEPTION_SIDE);
        let resized = fixed::resize(&fixed::placed(levels), self.resize.interpolation(), side);
        let resized = self.resize.scaled(resized);
        Ok(if channels == 1 { fixed::concat(&[resized.clone(), resized.clone(), resized]) } else { resized })
    }
}

impl ActivationExtractor for InceptionJudge {
    fn dim(&self) -> usize {
        self.network.features()
    }

    fn spatial_dim(&self) -> Option<usize> {
        Some(self.spatial)
    }

    fn classes(&self) -> Option<usize> {
        Some(self.network.classes())
    }

    fn activations(&self, images: &ImageBatch) -> Result<Activations, ModelError> {
        let output = self.network.forward(&self.prepared(images)?);
        let probabilities = self.network.probabilities(&output.features);
        let rows = |matrix: &Matrix| {
            FeatureMatrix::new(matrix.shape()[1], matrix.values().to_vec())
                .map_err(|error| ModelError::Other(error.into()))
        };
        Ok(Activations {
            features: rows(&output.features)?,
            spatial: Some(rows(&output.spatial)?),
            probabilities: Some(rows(&probabilities)?),
        })
    }
}
