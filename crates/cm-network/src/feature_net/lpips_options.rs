//! What is meant by LPIPS: trunk, version, pooling, resizing.

use serde::{Deserialize, Serialize};

/// Which classifier gives the feature maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LpipsTrunk {
    /// VGG with 16 layers, five maps.
    Vgg16,
    /// AlexNet, five maps.
    AlexNet,
    /// SqueezeNet 1.1, seven maps.
    SqueezeNet,
}

/// Which release the learned weights are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LpipsVersion {
    /// 0.0: images go into the trunk as they are, -1 to 1.
    V00,
    /// 0.1: each colour is first brought to the mean and spread the trunk was trained with.
    V01,
}

/// How the trunk reduces its maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LpipsPooling {
    /// Largest values, as it was trained and as the LPIPS package has it.
    Max,
    /// Means, as the original consistency models were trained (`replace_pooling` in piq). VGG16 only.
    Average,
}

/// The size at which images are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LpipsResize {
    /// Their own.
    Never,
    /// 224 x 224 if they are less than 256 wide, by bilinear interpolation.
    Below256,
}

/// What is meant by LPIPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LpipsOptions {
    /// Which classifier.
    pub trunk: LpipsTrunk,
    /// Which learned weights.
    pub version: LpipsVersion,
    /// How the trunk reduces its maps.
    pub pooling: LpipsPooling,
    /// At which size.
    pub resize: LpipsResize,
}

/// Images less wide than this are those that [`LpipsResize::Below256`] resizes.
const RESIZED_BELOW: usize = 256;

impl LpipsOptions {
    /// Whether images so wide are brought to another size before they are compared.
    pub fn resizes(self, width: usize) -> bool {
        match self.resize {
            LpipsResize::Never => false,
            LpipsResize::Below256 => width < RESIZED_BELOW,
        }
    }

    /// Whether the trunk can look at images of such sides: resized, or not less than its [`LpipsTrunk::min_side`].
    pub fn sees(self, height: usize, width: usize) -> bool {
        self.resizes(width) || height.min(width) >= self.trunk.min_side()
    }
}

impl Default for LpipsOptions {
    fn default() -> Self {
        Self {
            trunk: LpipsTrunk::Vgg16,       // openai/consistency_models, karras_diffusion.py
            version: LpipsVersion::V01,     // the same
            pooling: LpipsPooling::Average, // the same
            resize: LpipsResize::Below256,  // the same
        }
    }
}
