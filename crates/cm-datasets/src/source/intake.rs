//! What happens to every image of a source, whatever its format.

use super::some_of;
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
    /// Images of each class, of training and test.
    classes: Vec<[usize; 2]>,
    /// The largest value of all.
    largest: u8,
}

/// What was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) shape: ImageShape,
    pub(crate) labelled: bool,
    /// Images of each class up to the highest label, of training and test.
    pub(crate) counts: Vec<[usize; 2]>,
    largest: u8,
    held_out: bool,
}

/// Images with no value above this are nearly black: a 64th of the range, as of 10 bits that are stored as 16.
const DARK: u8 = 3;

impl Taken {
    /// What is odd about it; `names`: of all classes.
    pub(super) fn notes(&self, names: &[String]) -> Vec<String> {
        let mut notes = Vec::new();
        if self.largest <= DARK {
            notes.push(format!(
                "no value of any image is above {} of 255: they are nearly black",
                self.largest
            ));
        }
        // Which images are held out is chance.
        let without = |part: Split| -> Vec<String> {
            let lacks = |counts: &[usize; 2]| counts[part as usize] == 0 && counts.iter().sum::<usize>() > 0;
            self.counts
                .iter()
                .zip(names)
                .filter(|(counts, _)| lacks(counts))
                .map(|(_, name)| name.clone())
                .collect()
        };
        for (part, what) in [(Split::Train, "train on"), (Split::Test, "test on")] {
            let classes = without(part);
            if !classes.is_empty() && !self.held_out && self.has_tests() {
                let count = if classes.len() == 1 { "class has" } else { "classes have" };
                notes.push(format!("{} {count} no image to {what}: {}", classes.len(), some_of(&classes)));
            }
        }
        notes
    }

    fn has_tests(&self) -> bool {
        self.counts.iter().any(|counts| counts[Split::Test as usize] > 0)
    }
}

/// Held out unless said otherwise, at most.
const MOST_HELD_OUT: usize = 10_000; // as many as CIFAR-10 has

impl<'a> Intake<'a> {
    /// `held_out`: images for testing where the source has no test part; `None`: a tenth, at most 10,000.
    pub(crate) fn new(store: &'a mut dyn Store, held_out: Option<usize>) -> Self {
        let parts = Parts::TrainAndTest;
        Self {
            store,
            held_out,
            parts,
            shape: None,
            labelled: None,
            counts: [0; 2],
            seen: 0,
            classes: Vec::new(),
            largest: 0,
        }
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
        let part = match (self.parts, part) {
            (Parts::One(images), Split::Train) => {
                let place = permuted(self.seen as u64, images as u64, HELD_OUT_SEED);
                if (place as usize) < self.held_out.unwrap_or(0) { Split::Test } else { Split::Train }
            }
            (Parts::One(_) | Parts::TrainAndTest, part) => part,
        };
        self.seen += 1;
        self.counts[part as usize] += 1;
        if let Some(label) = label {
            if self.classes.len() <= label as usize {
                self.classes.resize(label as usize + 1, [0; 2]);
            }
            self.classes[label as usize][part as usize] += 1;
        }
        self.largest = pixels.iter().fold(self.largest, |largest, &value| largest.max(value));
        self.store.put(part, pixels, label)
    }

    /// What was taken in, if there is anything to train on.
    pub(crate) fn end(self, place: impl Display) -> Result<Taken, DatasetError> {
        match self.shape {
            Some(shape) if self.counts[Split::Train as usize] > 0 => {
                let held_out = matches!(self.parts, Parts::One(_));
                let labelled = self.labelled == Some(true);
                Ok(Taken { shape, labelled, counts: self.classes, largest: self.largest, held_out })
            }
            Some(_) | None => Err(DatasetError::file(place, "there are no images to train on")),
        }
    }
}
