//! Batches read while the one before is trained on.

use crate::{DatasetError, Loader};
use cm_image::ImageBatch;
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

/// Batches that wait at most.
const AHEAD: usize = 2;

/// A batch and its labels.
type Item = Result<(ImageBatch, Vec<u32>), DatasetError>;

/// The batches of a loader in their order, read by a thread of its own ahead of their use. They are those that
/// [`Loader::batch_at`] gives; only the waiting is gone.
pub struct Prefetch<'a> {
    loader: Loader<'a>,
    batches: Receiver<(u64, Item)>,
}

impl<'a> Prefetch<'a> {
    /// Begins to read the batches of `steps`. The thread ends with them, or soon after this value is dropped.
    pub fn start<'scope>(scope: &'scope Scope<'scope, '_>, loader: Loader<'a>, steps: Range<u64>) -> Self
    where
        'a: 'scope,
    {
        let (sender, batches) = sync_channel(AHEAD);
        scope.spawn(move || {
            for step in steps {
                let item = loader.batch_at(step);
                let failed = item.is_err();
                // Nobody waits any more, or nothing comes after an error.
                if sender.send((step, item)).is_err() || failed {
                    break;
                }
            }
        });
        Self { loader, batches }
    }

    /// The batch of `step`; fast if it is the next one.
    ///
    /// # Errors
    /// [`DatasetError`] if an image cannot be read.
    pub fn batch_at(&self, step: u64) -> Item {
        match self.batches.recv() {
            Ok((next, item)) if next == step => item,
            // Another order than the one that was announced: still the right images.
            Ok(_) | Err(_) => self.loader.batch_at(step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dataset, Digits, Split};
    use cm_image::ImageShape;
    use std::thread;

    #[test]
    fn batches_are_the_loaders_in_any_order() {
        let digits = Digits::new(Split::Test).unwrap();
        let loader = Loader::new(&digits, 10, 3).unwrap().with_horizontal_flips();
        for steps in [vec![5, 6, 7, 8, 9], vec![5, 7, 6, 100], vec![]] {
            thread::scope(|scope| {
                let prefetch = Prefetch::start(scope, loader, 5..10);
                for step in steps {
                    assert_eq!(prefetch.batch_at(step), loader.batch_at(step), "{step}");
                }
            });
        }
    }

    #[test]
    fn an_error_comes_where_it_belongs() {
        struct Broken;
        impl Dataset for Broken {
            fn shape(&self) -> ImageShape {
                ImageShape::vector(1)
            }
            fn len(&self) -> usize {
                100
            }
            fn write_image(&self, index: usize, _: &mut [f32]) -> Result<(), DatasetError> {
                if index == 3 { Err(DatasetError::file("image 3", "it is broken")) } else { Ok(()) }
            }
            fn label(&self, _: usize) -> Option<u32> {
                None
            }
            fn num_classes(&self) -> Option<usize> {
                None
            }
        }
        let loader = Loader::new(&Broken, 1, 0).unwrap();
        thread::scope(|scope| {
            let prefetch = Prefetch::start(scope, loader, 0..100);
            let wrong = (0..100).filter(|&step| prefetch.batch_at(step).is_err());
            let broken: Vec<u64> = (0..100).filter(|&k| loader.position(k).1 == 3).collect();
            assert_eq!(wrong.collect::<Vec<u64>>(), broken);
        });
    }
}
