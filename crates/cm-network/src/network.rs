//! What every network can do.

use cm_image::{ImageShape, NO_CLASS};
use cm_tensor::{Graph, Images, Weights};

/// What a network is told besides the image and its noise level; fixed when it is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The number of class labels it knows, if any.
    pub classes: Option<usize>,
    /// Whether it takes a second time (shortcut, MeanFlow and multistep methods).
    pub second_time: bool,
    /// Whether it may be told how its images were changed.
    pub augmentation: bool,
}

/// The optional inputs of one evaluation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extra<'a> {
    /// A class for each image, or [`NO_CLASS`]; required if and only if the network was built with classes.
    pub labels: Option<&'a [u32]>,
    /// A second c_noise for each image; required if and only if the network was built with a second time.
    pub second_time: Option<&'a [f32]>,
    /// How each image was changed, [`AUGMENTATION_LABELS`](cm_image::augmentation::AUGMENTATION_LABELS) numbers for each; only
    /// for a network that was built to be told. `None`: not at all.
    pub augmentation: Option<&'a [f32]>,
    /// How c_noise of each image changes, in a pass [with tangents](Graph::with_tangents); the second time stays. `None`: it
    /// stays, too.
    pub c_noise_tangent: Option<&'a [f32]>,
    /// Dropout drops if this is given, by masks that are a pure function of it: student and target share masks by
    /// sharing the key.
    pub dropout_key: Option<u64>,
}

/// F(x, c_noise): a function from images to images of the same shape.
pub trait Network: Send + Sync {
    /// The images it works on.
    fn shape(&self) -> ImageShape;

    /// The number of classes it must be told one of, if any.
    fn classes(&self) -> Option<usize>;

    /// F with the given weights, which must be those it was built with, or a copy.
    ///
    /// # Shapes
    /// `x`: `[N, H, W, C]`; `c_noise`: N numbers; result as `x`.
    ///
    /// # Panics
    /// If images are not of [`shape`](Self::shape), counts disagree, or `extra` does not fit the network.
    fn forward(
        &self,
        graph: &mut Graph,
        weights: &Weights,
        x: &Images,
        c_noise: &[f32],
        extra: Extra<'_>,
    ) -> Images;
}

/// Labels that do not fit a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// Each image wants a label.
    #[error("{labels} labels for {images} images, and the network wants a class for each")]
    Count {
        /// Images given.
        images: usize,
        /// Labels given.
        labels: usize,
    },
    /// Classes are counted from 0.
    #[error("label {label} for a network that knows the classes 0 to {}", .classes - 1)]
    Class {
        /// The label given.
        label: u32,
        /// The number of classes known.
        classes: usize,
    },
}

/// What [`Extra::labels`] must be for `network`: the labels, [`NO_CLASS`] among them, or nothing if it knows no classes.
///
/// # Errors
/// [`LabelsError`] if it knows classes and there is not one of them for each of `count` images.
pub fn check_labels<'a>(
    network: &dyn Network,
    labels: &'a [u32],
    count: usize,
) -> Result<Option<&'a [u32]>, LabelsError> {
    let Some(classes) = network.classes() else {
        return Ok(None);
    };
    if labels.len() != count {
        return Err(LabelsError::Count { images: count, labels: labels.len() });
    }
    match labels.iter().find(|&&label| label as usize >= classes && label != NO_CLASS) {
        Some(&label) => Err(LabelsError::Class { label, classes }),
        None => Ok(Some(labels)),
    }
}
