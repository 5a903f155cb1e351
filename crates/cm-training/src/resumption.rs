//! For the tests of every training step, of every crate: that one goes on to the bit where it was stopped.

use crate::{Batch, Progress, StepSeed, TrainStep};
use cm_tensor::TensorFile;
use std::fmt::Debug;

/// Steps of a whole run, of eight images each, and those before it is stopped.
const STEPS: u64 = 6;
const BEFORE: u64 = 2;
/// Images of a step.
pub const IMAGES: usize = 8;
/// Images of the run.
pub const TOTAL: u64 = STEPS * IMAGES as u64;

/// Asserts that a training stopped after two steps and loaded into a new one ends as one that was not stopped; `batch`
/// gives the images of a step, `what` says what is trained.
///
/// # Panics
/// If it does not, or a step or loading fails.
#[track_caller]
pub fn assert_goes_on<S: TrainStep>(what: impl Debug, new: impl Fn() -> S, batch: impl Fn(u64) -> Batch) {
    let take = |step: &mut S, number: u64| {
        let progress = Progress { step: number, images: number * IMAGES as u64, total_images: TOTAL };
        step.step(&batch(number), progress, StepSeed::new(1, 2, number)).expect("a step that can be taken");
    };
    let saved = |step: &S| {
        let mut file = TensorFile::default();
        step.save(&mut file);
        file
    };
    let (mut straight, mut first, mut second) = (new(), new(), new());
    (0..STEPS).for_each(|number| take(&mut straight, number));
    (0..BEFORE).for_each(|number| take(&mut first, number));
    second.load(&saved(&first)).expect("its own checkpoint");
    (BEFORE..STEPS).for_each(|number| take(&mut second, number));
    assert!(saved(&second) == saved(&straight), "{what:?} went on otherwise");
}
