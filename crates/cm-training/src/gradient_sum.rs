//! The gradient of a batch, computed in parts that several processes may share.
//!
//! A batch is cut into [`TrainConfig::shards`](crate::TrainConfig::shards) equal parts, a power of two. The gradients of
//! the parts are summed as a balanced binary tree, and so are those of processes, each of which computes as many
//! neighbouring parts: its sum is a branch of the tree. So one process and any number that divides the shards give the
//! same bits. Deliberately absent: sending while the backward pass still runs.

use crate::StepSeed;
use cm_image::random::derive_seed;
use cm_tensor::collective::{Collective, CollectiveError, group};
use cm_tensor::device::Device;
use cm_tensor::together::sum_on_gpus;
use cm_tensor::{Buffer, Graph, Vector, Weights};
use std::ops::Range;

/// A part of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its images, by their places in the whole batch.
    pub images: Range<usize>,
    number: usize,
    of: usize,
}

impl Shard {
    /// The key of the dropout masks of its images; another for each part.
    pub fn dropout_key(&self, seed: StepSeed) -> u64 {
        if self.of == 1 { seed.dropout() } else { derive_seed(seed.dropout(), self.number as u64) }
    }

    /// All of a batch.
    pub(crate) fn whole(count: usize) -> Self {
        Self { images: 0..count, number: 0, of: 1 }
    }

    /// The parts of a batch of `count` images that this process works on.
    ///
    /// # Panics
    /// If the batch cannot be cut so, or there are more processes than parts; a checked run has neither.
    pub(crate) fn of_this_process(shards: usize, count: usize) -> Vec<Self> {
        let (rank, size) = (group().rank(), group().size());
        assert!(
            count.is_multiple_of(shards) && shards.is_multiple_of(size),
            "{count} images in {shards} parts"
        );
        let (each, own) = (count / shards, shards / size);
        let part = |number| Self { images: number * each..(number + 1) * each, number, of: shards };
        (rank * own..(rank + 1) * own).map(part).collect()
    }
}

/// The sum of the gradients of a batch's parts.
pub struct GradientSum {
    /// The losses of all images of the batch; of other processes' images 0 until they are shared.
    pub(crate) losses: Vec<f32>,
    gradient: Partial,
}

/// What there is of a gradient, and where it lies.
pub(crate) enum Partial {
    Host(Branches<Vec<f32>>),
    Device(Device, Branches<Buffer>),
}

/// Branches of the tree that have no neighbour yet, with the number of their parts, which falls. A branch has one
/// array for each of the weights.
pub(crate) struct Branches<A>(Vec<(usize, Vec<A>)>);

impl<A> Branches<A> {
    /// Adds the gradient of one part.
    fn push(&mut self, part: Vec<A>, add: impl Fn(A, A) -> A) {
        let mut branch = (1, part);
        while let Some((_, before)) = self.0.pop_if(|(parts, _)| *parts == branch.0) {
            let sums = before.into_iter().zip(branch.1).map(|(a, b)| add(a, b));
            branch = (2 * branch.0, sums.collect());
        }
        self.0.push(branch);
    }

    /// The gradient of a batch all of whose parts were added.
    pub(crate) fn whole(self) -> Vec<A> {
        let mut branches = self.0.into_iter();
        let (_, gradient) = branches.next().expect("at least one part was added");
        assert!(branches.next().is_none(), "parts are missing");
        gradient
    }
}

impl GradientSum {
    /// The sum for a batch of `count` images, of nothing yet.
    pub fn new(count: usize) -> Self {
        Self { losses: vec![0.0; count], gradient: Partial::Host(Branches(Vec::new())) }
    }

    /// Adds the gradient of sum(`weights` x `losses`) over the images of `shard`, which `graph` recorded.
    ///
    /// # Panics
    /// If `graph` did not record, there is not one loss and weight for each image, or other parts lie elsewhere.
    pub fn add(&mut self, shard: &Shard, graph: Graph, losses: &Vector, weights: Vec<f32>, arrays: &Weights) {
        self.losses[shard.images.clone()].copy_from_slice(losses.values());
        let device = graph.device().cloned();
        let mut gradients = graph.backward(losses, weights);
        if let (Some(device), Partial::Host(Branches(branches))) = (&device, &self.gradient)
            && branches.is_empty()
        {
            self.gradient = Partial::Device(device.clone(), Branches(Vec::new()));
        }
        match &mut self.gradient {
            Partial::Device(place, branches) => {
                assert_eq!(device.as_ref(), Some(&*place), "parts of one batch lie in one place");
                branches.push(arrays.gradients_on_device(place, &mut gradients), |a, b| place.sum(&a, &b));
            }
            Partial::Host(branches) => {
                assert_eq!(device, None, "parts of one batch lie in one place");
                branches.push(arrays.gradients(&mut gradients), |mut a, b| {
                    a.iter_mut().zip(&b).for_each(|(a, b)| *a += b);
                    a
                });
            }
        }
    }

    /// What all processes have computed, together. Gradients on devices go through their hosts where NCCL cannot bring them
    /// together.
    pub(crate) fn shared(mut self, group: &dyn Collective) -> Result<(Vec<f32>, Partial), CollectiveError> {
        if group.size() > 1 {
            group.all_reduce_sum(&mut self.losses)?;
            match &mut self.gradient {
                Partial::Host(branches) => {
                    for (_, gradient) in &mut branches.0 {
                        sum_in_buckets(gradient, group)?;
                    }
                }
                Partial::Device(device, branches) => {
                    for (_, gradient) in &mut branches.0 {
                        if sum_on_gpus(device, group, gradient)? {
                            continue;
                        }
                        let mut arrays: Vec<Vec<f32>> =
                            gradient.iter().map(|array| device.downloaded(array)).collect();
                        sum_in_buckets(&mut arrays, group)?;
                        *gradient = arrays.iter().map(|array| device.uploaded(array)).collect();
                    }
                }
            }
        }
        Ok((self.losses, self.gradient))
    }
}

/// Values that are sent at once: small arrays together, large ones in pieces that stay in the cache.
const BUCKET: usize = 1 << 16;

/// Replaces each value by its sum over all processes.
fn sum_in_buckets(arrays: &mut [Vec<f32>], group: &dyn Collective) -> Result<(), CollectiveError> {
    let mut pieces: Vec<&mut [f32]> = arrays.iter_mut().flat_map(|array| array.chunks_mut(BUCKET)).collect();
    let mut bucket = Vec::with_capacity(BUCKET);
    let mut begin = 0;
    while begin < pieces.len() {
        let mut end = begin;
        bucket.clear();
        while end < pieces.len() && bucket.len() + pieces[end].len() <= BUCKET {
            bucket.extend_from_slice(pieces[end]);
            end += 1;
        }
        group.all_reduce_sum(&mut bucket)?;
        let mut rest = &bucket[..];
        for piece in &mut pieces[begin..end] {
            let (own, others) = rest.split_at(piece.len());
            piece.copy_from_slice(own);
            rest = others;
        }
        begin = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_gpu::conv2d::Precision;
    use cm_gpu::standin::gpu;
    use cm_tensor::Images;
    use cm_tensor::ops::{self, PairDistance};

    /// Two processes with the same values.
    struct Twins;

    impl Collective for Twins {
        fn rank(&self) -> usize {
            0
        }
        fn size(&self) -> usize {
            2
        }
        fn all_reduce_sum(&self, values: &mut [f32]) -> Result<(), CollectiveError> {
            assert!(!values.is_empty() && values.len() <= BUCKET);
            values.iter_mut().for_each(|value| *value *= 2.0);
            Ok(())
        }
        fn broadcast(&self, _: &mut [f32], _: usize) -> Result<(), CollectiveError> {
            Ok(())
        }
        fn barrier(&self) -> Result<(), CollectiveError> {
            Ok(())
        }
    }

    #[test]
    fn every_value_is_in_one_bucket() {
        let sizes = [3, BUCKET - 3, BUCKET, 0, 1, 2 * BUCKET + 5, 7];
        let mut arrays: Vec<Vec<f32>> =
            sizes.iter().map(|&size| (0..size).map(|i| (i % 1000) as f32).collect()).collect();
        let expected: Vec<Vec<f32>> =
            arrays.iter().map(|array| array.iter().map(|value| 2.0 * value).collect()).collect();
        sum_in_buckets(&mut arrays, &Twins).unwrap();
        assert!(arrays == expected);
    }

    #[test]
    fn shards_are_neighbours_and_have_masks_of_their_own() {
        let shards = Shard::of_this_process(4, 12);
        let images: Vec<Range<usize>> = shards.iter().map(|shard| shard.images.clone()).collect();
        assert_eq!(images, [0..3, 3..6, 6..9, 9..12]);
        let seed = StepSeed::new(1, 2, 3);
        let mut keys: Vec<u64> = shards.iter().map(|shard| shard.dropout_key(seed)).collect();
        keys.push(seed.dropout());
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 5);
        assert_eq!(Shard::of_this_process(1, 12)[0].dropout_key(seed), seed.dropout());
    }

    /// Four parts of eight images, shared by twins: on the host and on a device the same sum, twice that of the
    /// whole batch.
    #[test]
    fn parts_are_summed_where_they_lie() {
        const IMAGES: usize = 8;
        let mut weights = Weights::new();
        let weight = weights.add("weight", &[2, 3], vec![0.3, -0.2, 0.5, 1.0, -0.7, 0.1]);
        weights.add_untrained("unused", &[2], vec![1.0, 2.0]);
        let sum = |graph: &dyn Fn() -> Graph, shards: usize| {
            let mut sum = GradientSum::new(IMAGES);
            let each = IMAGES / shards;
            for number in 0..shards {
                let images = number * each..(number + 1) * each;
                let mut graph = graph();
                let of = |values: usize, shift: f32| {
                    let range = images.start * values..images.end * values;
                    let values_of = range.map(|i| (i as f32 + shift).sin()).collect();
                    Images::constant(values_of, [each, 1, 1, values])
                };
                let rows = ops::as_matrix(&mut graph, &of(2, 0.0));
                let output = ops::linear(&mut graph, &rows, weights.get(weight), None);
                let output = ops::as_images(&mut graph, &output, [1, 1, 3]);
                let losses = ops::pair_distance(&mut graph, PairDistance::SquaredL2, &output, &of(3, 0.5));
                let shard = Shard { images: images.clone(), number, of: shards };
                sum.add(&shard, graph, &losses, vec![1.0; each], &weights);
            }
            let (losses, gradient) = sum.shared(&Twins).unwrap();
            let gradient: Vec<Vec<f32>> = match gradient {
                Partial::Host(branches) => branches.whole(),
                Partial::Device(device, branches) => {
                    branches.whole().iter().map(|array| device.downloaded(array)).collect()
                }
            };
            [losses, gradient.concat()].concat()
        };
        let Some(gpu) = gpu() else { return };
        let device = Device::new(gpu, Precision::F32);
        let (host, there) = (|| Graph::recording().on_host(), || Graph::recording().on(&device));
        let whole = sum(&host, 1);
        assert!(whole[IMAGES..].iter().any(|v| v.abs() > 0.1));
        for others in [sum(&host, 4), sum(&there, 4), sum(&there, 1)] {
            assert_eq!(others.len(), whole.len());
            assert!(others.iter().zip(&whole).all(|(a, b)| (a - b).abs() <= 1e-5), "{others:?} {whole:?}");
        }
    }
}
