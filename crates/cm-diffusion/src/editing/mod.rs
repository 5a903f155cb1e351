//! Editing images with a consistency function that was never trained for it: Song et al. 2023, Section 6.3,
//! Algorithm 4 and Appendix D.
//!
//! Part of an image is known: some pixels, its luminance, the means of its blocks. With A an orthogonal change of
//! coordinates in which the known part is a set of coordinates, the paper makes the rest up by noising and
//! evaluating f, and after each evaluation puts the known coordinates back: A^-1 [(1 - Omega) A y + Omega A x], Omega
//! being 1 where nothing is known. That is x + P (y - x), P the projection on the known part, so a [`Task`] is a way
//! to put its part back into an image and needs no matrix. The [`Editor`] is the loop, the same for all:
//!
//! | task | known | source |
//! |---|---|---|
//! | [`Inpainting`] | some values of the image | Appendix D, "Inpainting" |
//! | [`Colourisation`] | one weighted sum of the channels of each pixel | Appendix D, "Colorization" |
//! | [`SuperResolution`] | the mean of each block of pixels | Appendix D, "Super-resolution" |
//! | [`Stroke`] | nothing, but the start is the image itself | Appendix D, "Stroke-guided image generation" (SDEdit) |
//! | [`Interpolation`] | nothing; the noise lies between that of two seeds | Appendix D, "Interpolation" |
//!
//! Denoising (Appendix D, "Denoising") is a single evaluation: [`denoise`].
//!
//! Deliberately absent: training for a task, and guidance by gradients.

mod colourisation;
mod denoising;
mod editor;
mod inpainting;
mod interpolation;
mod stroke;
mod super_resolution;

pub use colourisation::{Colourisation, LUMINANCE};
pub use denoising::denoise;
pub use editor::Editor;
pub use inpainting::Inpainting;
pub use interpolation::{Interpolation, slerp};
pub use stroke::Stroke;
pub use super_resolution::SuperResolution;

use cm_image::ImageShape;

/// What is known of an image that is to be edited.
pub trait Task {
    /// The shape of the images.
    fn shape(&self) -> ImageShape;

    /// Gives `image` the known part of `reference` and leaves the rest of it alone. Both have `shape().len()` values.
    fn put_back(&self, reference: &[f32], image: &mut [f32]);

    /// Where the first noise is added.
    fn start(&self) -> Start {
        Start::KnownPart
    }
}

/// What the first noise is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The known part of the reference, 0 elsewhere: x_1 ~ N(P y, t_1^2).
    KnownPart,
    /// The whole reference, which counts as an image of level sigma_min as all endpoints do: x_1 ~ N(y, t_1^2 -
    /// sigma_min^2), so that t_1 = sigma_min gives it back.
    Reference,
}

/// Why an edit cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EditError {
    /// There must be a level to begin at.
    #[error("no noise levels: an edit needs at least one")]
    NoLevels,
    /// A level must lie in the model's range.
    #[error("noise level {index} ({level}) is outside {min} to {max}, both included")]
    Outside {
        /// Position of the offending level.
        index: usize,
        /// The offending level.
        level: f32,
        /// sigma_min.
        min: f32,
        /// sigma_max.
        max: f32,
    },
    /// Levels must fall strictly.
    #[error("noise level {index} ({level}) is not below the one before it ({before})")]
    NotFalling {
        /// Position of the offending level.
        index: usize,
        /// The offending level.
        level: f32,
        /// The level before it.
        before: f32,
    },
    /// A mask has an entry for each value of an image.
    #[error("a mask of {given} values for images of {shape}: need {}", shape.len())]
    Mask {
        /// Entries given.
        given: usize,
        /// The shape of the images.
        shape: ImageShape,
    },
    /// Colour needs the three channels red, green and blue.
    #[error("images of {0} have no colour: colourisation needs 3 channels")]
    Channels(ImageShape),
    /// Blocks must tile the image.
    #[error(
        "blocks of {factor}x{factor} do not tile images of {shape}: the factor must divide height and width"
    )]
    Factor {
        /// Height and width of a block given.
        factor: usize,
        /// The shape of the images.
        shape: ImageShape,
    },
}

#[cfg(test)]
mod tests;
