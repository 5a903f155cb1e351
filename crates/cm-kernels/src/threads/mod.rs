//! The one place that splits work over threads.
//!
//! Work is cut into pieces whose size is a constant of the caller's, never a function of the number of threads,
//! and no floating-point sum crosses pieces except through [`sum_in_order`]. So results are the same to the bit
//! for 1, 2 or 64 threads.

mod team;

/// Below this many elements, splitting costs more than it gives.
pub const MIN_PARALLEL: usize = 16 * 1024;

/// Elements of one piece of an element-wise pass: 64 KiB of `f32`, which stays in the L2 cache.
pub const PIECE: usize = 16 * 1024;

/// Calls `work(i)` for every `i < pieces`, in any order, in parallel if there is more than one.
///
/// # Panics
/// If `work` does.
pub fn for_each_piece(pieces: usize, work: impl Fn(usize) + Sync + Send) {
    if pieces <= 1 || rayon::current_num_threads() == 1 {
        (0..pieces).for_each(work);
    } else {
        team::share(pieces, &work);
    }
}

/// [`for_each_piece`] for pieces of `elements` elements in all: in parallel if they are enough for that.
pub fn for_each_piece_if(elements: usize, pieces: usize, work: impl Fn(usize) + Sync + Send) {
    if elements < MIN_PARALLEL { (0..pieces).for_each(work) } else { for_each_piece(pieces, work) }
}

/// Sums `part(i)` for `i < pieces`: parts in parallel, the sum in the order of `i`.
pub fn sum_in_order(pieces: usize, part: impl Fn(usize) -> f64 + Sync + Send) -> f64 {
    let mut parts = vec![0.0; pieces];
    let shared = SharedMut::new(&mut parts);
    for_each_piece(pieces, |i| {
        // SAFETY: piece i touches element i only.
        unsafe { shared.slice(i, 1)[0] = part(i) };
    });
    parts.iter().sum()
}

/// A mutable slice that several threads write in disjoint places.
#[derive(Clone, Copy)]
pub struct SharedMut<'a, T> {
    start: *mut T,
    len: usize,
    marker: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through `slice`, whose contract demands that concurrent ranges are disjoint.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    /// Takes over the borrow of `slice`.
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), marker: std::marker::PhantomData }
    }

    /// The first element's address, for pieces that interleave (columns of a matrix) and so are no slices.
    pub fn pointer(&self) -> *mut T {
        self.start
    }

    /// The elements `from..from + len`.
    ///
    /// # Safety
    /// No two live slices may overlap.
    ///
    /// # Panics
    /// If the range is out of bounds.
    pub unsafe fn slice(&self, from: usize, len: usize) -> &'a mut [T] {
        assert!(from.checked_add(len).is_some_and(|end| end <= self.len), "piece out of bounds");
        // SAFETY: in bounds by the assertion, unaliased by the caller's promise, alive for 'a by construction.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_the_same_for_any_number_of_threads() {
        let part = |i: usize| 1.0 / (i as f64 + 0.1);
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let three = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let a = alone.install(|| sum_in_order(1000, part));
        let b = three.install(|| sum_in_order(1000, part));
        assert_eq!(a.to_bits(), b.to_bits());
    }

    #[test]
    fn every_piece_is_visited_once() {
        let mut seen = vec![0u8; 777];
        let shared = SharedMut::new(&mut seen);
        for_each_piece(777, |i| {
            // SAFETY: piece i touches element i only.
            unsafe { shared.slice(i, 1)[0] += 1 };
        });
        assert!(seen.iter().all(|&n| n == 1));
    }
}
