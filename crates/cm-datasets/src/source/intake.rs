//! What happens to every image of a source, whatever its format.

use crate::order::permuted;
use crate::{DatasetError, Split};
use cm_image::ImageShape;
use std::fmt::Display;

/// The images held out are the same in every run.
const HELD_OUT_SEED: u64 = 2_009;

/// Where images go.
pub(crate) trait Store {
    /// The next image of a part: bytes in NHWC order, and its label if the source has labels.
    fn put(&mut self, part: Split, pixels: &[u8], label: Option<u32>) -> Result<(), DatasetError>;
}

/// One image as a source gives it.
pub(crate) struct Record<'a> {
    pub(crate) shape: ImageShape,
    pub(crate) pixels: &'a [u8],
    pub(crate) label: Option<u32>,
}

/// Which parts a source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parts {
    /// So many images in one.
    One(usize),
    /// Training images first, then test images.
    TrainAndTest,
}

/// Images on their way to a store.
pub(crate) struct Intake<'a> {
    store: &'a mut dyn Store,
    held_out: Option<usize>,
    parts: Parts,
    shape: Option<ImageShape>,
    labelled: Option<bool>,
    /// Images so far, of training and test.
    counts: [usize; 2],
    seen: usize,
    /// One more than the highest label.
    classes: u32,
}

/// What was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) shape: ImageShape,
    pub(crate) labelled: bool,
    pub(crate) classes: u32,
}

/// Held out unless said otherwise, at most.
const MOST_HELD_OUT: usize = 10_000; // as many as CIFAR-10 has

impl<'a> Intake<'a> {
    /// `held_out`: images for testing where the source has no test part; `None`: a tenth, at most 10,000.
    pub(crate) fn new(store: &'a mut dyn Store, held_out: Option<usize>) -> Self {
        let parts = Parts::TrainAndTest;
        Self { store, held_out, parts, shape: None, labelled: None, counts: [0; 2], seen: 0, classes: 0 }
    }

    /// The source was opened and has these parts.
    pub(crate) fn begin(&mut self, parts: Parts, place: impl Display) -> Result<(), DatasetError> {
        self.parts = parts;
        match (parts, self.held_out) {
            (Parts::TrainAndTest, Some(_)) => {
                let what = "it has a test part of its own, so none of its images are held out";
                Err(DatasetError::setting("held_out", format!("{place}: {what}"), "nothing"))
            }
            (Parts::TrainAndTest, None) => Ok(()),
            (Parts::One(images), held_out) => {
                let held_out = held_out.unwrap_or((images / 10).min(MOST_HELD_OUT));
                if images == 0 {
                    return Err(DatasetError::file(place, "there are no images"));
                }
                if held_out >= images {
                    let what = format!("{held_out} of {images} images leave none to train on");
                    return Err(DatasetError::setting("held_out", what, format!("at most {}", images - 1)));
                }
                self.held_out = Some(held_out);
                Ok(())
            }
        }
    }

    /// The next image of `part` (that of a source in one part is `Train`). `place` says which it is.
    pub(crate) fn image(
        &mut self,
        part: Split,
        record: &Record<'_>,
        place: impl Fn() -> String,
    ) -> Result<(), DatasetError> {
        let Record { shape, pixels, label } = *record;
        let fail = |what: String| Err(DatasetError::file(place(), what));
        let first = *self.shape.get_or_insert(shape);
        if first != shape {
            return fail(format!("it is of {shape}, and those before it are of {first}"));
        }
        if shape.is_empty() || pixels.len() != shape.len() {
            return fail(format!("{} bytes for an image of {shape}", pixels.len()));
        }
        let labelled = *self.labelled.get_or_insert(label.is_some());
        if labelled != label.is_some() {
            let (has, had) = if labelled { ("no label", "have one") } else { ("a label", "have none") };
            return fail(format!("it has {has}, and those before it {had}"));
        }
        self.classes = self.classes.max(label.map_or(0, |label| label + 1));
        let part = match (self.parts, part) {
            (Parts::One(images), Split::Train) => {
                let place = permuted(self.seen as u64, images as u64, HELD_OUT_SEED);
                if (place as usize) < self.held_out.unwrap_or(0) { Split::Test } else { Split::Train }
            }
            (Parts::One(_) | Parts::TrainAndTest, part) => part,
        };
        self.seen += 1;
        self.counts[part as usize] += 1;
        self.store.put(part, pixels, label)
    }

    /// What was taken in, if there is anything to train on.
    pub(crate) fn end(self, place: impl Display) -> Result<Taken, DatasetError> {
        match self.shape {
            Some(shape) if self.counts[Split::Train as usize] > 0 => {
                Ok(Taken { shape, labelled: self.labelled == Some(true), classes: self.classes })
            }
            Some(_) | None => Err(DatasetError::file(place, "there are no images to train on")),
        }
    }
}
