//! What is known of a data set without looking at an image, so that a study can be planned where its data are not.

use crate::{DatasetError, Split};
use cm_image::ImageShape;
use serde::{Deserialize, Serialize};

/// One part of a data set, but for its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The shape of one image.
    pub shape: ImageShape,
    /// The number of images.
    pub len: usize,
    /// The number of classes, if images have any.
    pub classes: Option<usize>,
}

/// What a study expects of a prepared folder. It stands for the data in a plan while they are not there, and data that
/// are otherwise are an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expectation {
    /// Height and width in pixels, at least 1. Must be given.
    pub side: usize,
    /// 1 for grey, 3 for RGB; at least 1. Must be given.
    pub channels: usize,
    /// So many images to train on or more, at least 1. Must be given.
    pub train: usize,
    /// So many images held out for testing or more, at least 1. Must be given.
    pub test: usize,
    /// The number of classes, at least 1. None: images have none.
    pub classes: Option<usize>, // ours: photographs without labels
}

/// Values of an image, above any that is read.
const MOST_VALUES: usize = 1 << 31;
/// Images and classes, above any set there is.
const MOST_IMAGES: usize = 1 << 40;

impl Expectation {
    /// That it can be met at all.
    pub(crate) fn validate(&self) -> Result<(), DatasetError> {
        let Self { side, channels, train, test, classes } = *self;
        let values = side.checked_mul(side).and_then(|pixels| pixels.checked_mul(channels));
        if values.is_none_or(|values| values == 0 || values >= MOST_VALUES) {
            let what = format!("images of {side}x{side}x{channels}");
            return Err(DatasetError::setting("expect", what, "at least one value, and fewer than 2^31"));
        }
        let some = |count: usize| (1..=MOST_IMAGES).contains(&count);
        if !(some(train) && some(test) && classes.is_none_or(some)) {
            let what = format!("{train} and {test} images in {classes:?} classes");
            let allowed = format!("1 to {MOST_IMAGES} of each, or no classes: None");
            return Err(DatasetError::setting("expect", what, allowed));
        }
        Ok(())
    }

    /// The part that is expected.
    pub(crate) fn outline(&self, split: Split) -> Outline {
        let shape = ImageShape { height: self.side, width: self.side, channels: self.channels };
        let len = match split {
            Split::Train => self.train,
            Split::Test => self.test,
        };
        Outline { shape, len, classes: self.classes }
    }

    /// That a part is as it is expected.
    ///
    /// # Errors
    /// [`DatasetError::Setting`] with what it is instead.
    pub(crate) fn check(&self, split: Split, found: Outline) -> Result<(), DatasetError> {
        let expected = self.outline(split);
        if (Outline { len: expected.len, ..found }) == expected && found.len >= expected.len {
            return Ok(());
        }
        let what = format!("the {} part has {}", split.name(), found.told());
        Err(DatasetError::setting("expect", what, format!("at least {}", expected.told())))
    }
}

impl Outline {
    /// For people: `50000 images of 32x32x3 in 10 classes`.
    fn told(&self) -> String {
        let classes =
            self.classes.map_or("without classes".to_owned(), |classes| format!("in {classes} classes"));
        format!("{} images of {} {classes}", self.len, self.shape)
    }
}
