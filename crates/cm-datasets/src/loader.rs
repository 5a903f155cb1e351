//! The endless stream of training images, as a pure function of a seed and the position.

use crate::order::permuted;
use crate::{Dataset, DatasetError, flip_horizontally};
use cm_image::ImageBatch;
use cm_image::random::derive_seed;

/// Batches of a data set, reshuffled every epoch.
///
/// Image k of the stream belongs to epoch k / len and is the image to which that epoch's permutation sends position
/// k mod len. Permutations are computed, not stored, so any batch is had without those before it: a resumed run
/// needs its step and nothing else. Batches cross epoch boundaries; every epoch visits each image exactly once.
///
/// ```
/// use cm_datasets::{Digits, Loader, Split};
/// let digits = Digits::new(Split::Train)?;
/// let loader = Loader::new(&digits, 128, 0)?;
/// let (images, labels) = loader.batch_at(1_000_000)?;
/// assert_eq!((images.count(), labels.len()), (128, 128));
/// # Ok::<(), cm_datasets::DatasetError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Loader<'a> {
    dataset: &'a dyn Dataset,
    batch: usize,
    seed: u64,
    flip: bool,
    /// This rank and how many there are.
    rank: (usize, usize),
}

impl<'a> Loader<'a> {
    /// Batches of `batch` images in the order given by `seed`.
    ///
    /// # Errors
    /// [`DatasetError::Empty`] or [`DatasetError::EmptyBatch`] if there are no images to serve.
    pub fn new(dataset: &'a dyn Dataset, batch: usize, seed: u64) -> Result<Self, DatasetError> {
        if dataset.is_empty() {
            return Err(DatasetError::Empty);
        }
        if batch == 0 {
            return Err(DatasetError::EmptyBatch);
        }
        Ok(Self { dataset, batch, seed, flip: false, rank: (0, 1) })
    }

    /// The same batches with about half of the images mirrored, chosen by seed, epoch and index.
    pub fn with_horizontal_flips(self) -> Self {
        Self { flip: true, ..self }
    }

    /// The share of `rank` (counted from 0) among `ranks` processes that train on one stream: of every batch the
    /// `rank`-th of `ranks` equal pieces, so that the pieces of all are the batch.
    ///
    /// # Errors
    /// [`DatasetError::Setting`] if there is no such rank or the batch cannot be divided.
    pub fn of_rank(self, rank: usize, ranks: usize) -> Result<Self, DatasetError> {
        if rank >= ranks {
            let allowed = format!("0 to {}", ranks.saturating_sub(1));
            return Err(DatasetError::setting("rank", format!("{rank} of {ranks}"), allowed));
        }
        if !self.batch.is_multiple_of(ranks) {
            let what = format!("{} images among {ranks} processes", self.batch);
            return Err(DatasetError::setting("batch", what, format!("multiples of {ranks}")));
        }
        Ok(Self { rank: (rank, ranks), ..self })
    }

    /// Images in a batch of all ranks together.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Epoch and index of image `k` of the stream.
    pub fn position(&self, k: u64) -> (u64, usize) {
        let len = self.dataset.len() as u64;
        let epoch = k / len;
        (epoch, permuted(k % len, len, derive_seed(self.seed, epoch)) as usize)
    }

    /// Batch number `step`, counted from 0, and its labels; no labels if the data set has none.
    ///
    /// # Errors
    /// [`DatasetError`] if an image cannot be read.
    pub fn batch_at(&self, step: u64) -> Result<(ImageBatch, Vec<u32>), DatasetError> {
        let (rank, ranks) = self.rank;
        let share = (self.batch / ranks) as u64;
        let first = step * self.batch as u64 + rank as u64 * share;
        let positions: Vec<(u64, usize)> = (first..first + share).map(|k| self.position(k)).collect();
        let indices: Vec<usize> = positions.iter().map(|&(_, index)| index).collect();
        let mut images = self.dataset.images(&indices)?;
        if self.flip {
            let shape = images.shape();
            for (image, (epoch, index)) in images.images_mut().zip(positions) {
                // The order uses the same seed, but other counters.
                if derive_seed(derive_seed(self.seed, epoch), index as u64) & 1 == 1 {
                    flip_horizontally(shape, image);
                }
            }
        }
        Ok((images, self.dataset.labels(&indices)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digits, Split, SwissRollConfig};

    #[test]
    fn every_epoch_visits_every_image_once_and_in_its_own_order() {
        let digits = Digits::new(Split::Test).unwrap();
        let loader = Loader::new(&digits, 10, 3).unwrap();
        let epoch = |e: u64| -> Vec<usize> {
            let positions = (e * 297..(e + 1) * 297).map(|k| loader.position(k));
            positions.map(|(epoch, index)| if epoch == e { index } else { usize::MAX }).collect()
        };
        let (first, second) = (epoch(0), epoch(1));
        for order in [&first, &second] {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..297).collect::<Vec<usize>>());
        }
        // Two random orders agree in about one place.
        assert!(first.iter().zip(&second).filter(|(a, b)| a == b).count() < 8);
        let other = Loader::new(&digits, 10, 4).unwrap();
        assert_ne!((0..20).map(|k| other.position(k).1).collect::<Vec<usize>>(), first[..20]);
    }

    #[test]
    fn a_batch_is_a_function_of_its_step() {
        let digits = Digits::new(Split::Test).unwrap();
        let loader = Loader::new(&digits, 64, 3).unwrap();
        let (late, labels) = loader.batch_at(7).unwrap();
        for step in 0..3 {
            loader.batch_at(step).unwrap();
        }
        assert_eq!(loader.batch_at(7).unwrap(), (late.clone(), labels.clone()));
        // The stream is one, however it is cut; this batch crosses the end of the first epoch, 297.
        let cut = Loader::new(&digits, 32, 3).unwrap();
        let (mut images, mut halves) = cut.batch_at(8).unwrap();
        let (rest, more) = cut.batch_at(9).unwrap();
        images.append(&rest);
        halves.extend(more);
        assert_eq!((images, halves), loader.batch_at(4).unwrap());
        // Labels belong to their images.
        let (_, index) = loader.position(7 * 64 + 5);
        assert_eq!(late.image(5), digits.images(&[index]).unwrap().values());
        assert_eq!(Some(labels[5]), digits.label(index));
    }

    #[test]
    fn ranks_share_every_batch_and_so_every_epoch() {
        let digits = Digits::new(Split::Test).unwrap();
        let whole = Loader::new(&digits, 33, 3).unwrap().with_horizontal_flips();
        let thirds: Vec<Loader<'_>> = (0..3).map(|rank| whole.of_rank(rank, 3).unwrap()).collect();
        // Nine batches of 33 are the 297 images of an epoch.
        for step in 0..12 {
            let (mut images, mut labels) = thirds[0].batch_at(step).unwrap();
            for loader in &thirds[1..] {
                let (more, theirs) = loader.batch_at(step).unwrap();
                assert_eq!(more.count(), 11);
                images.append(&more);
                labels.extend(theirs);
            }
            assert_eq!((images, labels), whole.batch_at(step).unwrap());
        }
        assert!(whole.of_rank(3, 3).is_err() && whole.of_rank(0, 2).is_err() && whole.of_rank(0, 0).is_err());
    }

    #[test]
    fn about_half_are_flipped_and_not_always_the_same() {
        let digits = Digits::new(Split::Test).unwrap();
        let plain = Loader::new(&digits, 297, 3).unwrap();
        let flipped = plain.with_horizontal_flips();
        let mut mirrored = [vec![false; 297], vec![false; 297]];
        for epoch in 0..2 {
            let (a, b) = (plain.batch_at(epoch).unwrap().0, flipped.batch_at(epoch).unwrap().0);
            for (k, (a, b)) in a.images().zip(b.images()).enumerate() {
                let mut mirror = a.to_vec();
                flip_horizontally(digits.shape(), &mut mirror);
                assert!(b == a || b == mirror);
                mirrored[epoch as usize][plain.position(epoch * 297 + k as u64).1] = b != a;
            }
        }
        let count = mirrored[0].iter().filter(|&&m| m).count();
        assert!((100..197).contains(&count), "{count}");
        let changed = mirrored[0].iter().zip(&mirrored[1]).filter(|(a, b)| a != b).count();
        assert!((100..197).contains(&changed), "{changed}");
    }

    #[test]
    fn nothing_to_serve_is_an_error_and_missing_labels_are_not() {
        let roll = SwissRollConfig::default().build(Split::Test).unwrap();
        assert_eq!(Loader::new(&roll, 0, 0).err(), Some(DatasetError::EmptyBatch));
        let none = crate::Subset::first(roll.clone(), 0);
        assert_eq!(Loader::new(&none, 1, 0).err(), Some(DatasetError::Empty));
        assert!(Loader::new(&roll, 4, 0).unwrap().batch_at(0).unwrap().1.is_empty());
    }
}
