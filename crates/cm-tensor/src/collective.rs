//! What processes that train one model together say to each other.
//!
//! [`Alone`] is one process. `sockets` joins processes of one machine, and under the feature `mpi`, `MpiSession` those that
//! `mpirun` started on one or several.

use std::sync::OnceLock;

/// A group of processes; each has a rank from 0. All calls are made by all of them, in the same order.
pub trait Collective {
    /// This process's number.
    fn rank(&self) -> usize;

    /// The number of processes.
    fn size(&self) -> usize;

    /// Replaces each value by its sum over all processes, the same bits on each. The sum is a balanced binary tree over
    /// the ranks, so their number is a power of two, unless the implementation says otherwise.
    ///
    /// # Errors
    /// [`CollectiveError`] if the others cannot be reached; then `values` are unspecified.
    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<(), CollectiveError>;

    /// Replaces all values by those of `root`.
    ///
    /// # Errors
    /// [`CollectiveError`] if there is no such rank, or the others cannot be reached.
    fn broadcast(&self, values: &mut [f32], root: usize) -> Result<(), CollectiveError>;

    /// Returns when all processes have called it.
    ///
    /// # Errors
    /// [`CollectiveError`] if the others cannot be reached.
    fn barrier(&self) -> Result<(), CollectiveError>;
}

/// Why processes could not work together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectiveError {
    /// Ranks are counted from 0.
    #[error("there is no process {rank} among {size}")]
    Rank {
        /// The rank given.
        rank: usize,
        /// The number of processes.
        size: usize,
    },
    /// Sums over processes are balanced trees.
    #[error("{size} processes; allowed are powers of two")]
    Size {
        /// The number of processes.
        size: usize,
    },
    /// What connects the processes failed.
    #[error("{0}")]
    Transport(String),
}

/// A group of one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn all_reduce_sum(&self, _: &mut [f32]) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn broadcast(&self, _: &mut [f32], root: usize) -> Result<(), CollectiveError> {
        check(root, 1)
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        Ok(())
    }
}

static GROUP: OnceLock<Box<dyn Collective + Send + Sync>> = OnceLock::new();

/// The processes that train together with this one; [`Alone`] unless it has [joined](join_group) others.
pub fn group() -> &'static dyn Collective {
    GROUP.get().map_or(&Alone, |group| group.as_ref())
}

/// Makes this process one of a group, for as long as it lives. What it belongs to is a matter of how it was started,
/// as its arguments are.
///
/// # Errors
/// [`CollectiveError::Transport`] if it is one of a group already.
pub fn join_group(group: Box<dyn Collective + Send + Sync>) -> Result<(), CollectiveError> {
    GROUP.set(group).map_err(|_| CollectiveError::Transport("this process is one of a group already".into()))
}

pub(crate) fn check(rank: usize, size: usize) -> Result<(), CollectiveError> {
    if rank < size { Ok(()) } else { Err(CollectiveError::Rank { rank, size }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_keeps_its_values_and_knows_no_other() {
        let group: &dyn Collective = &Alone;
        assert_eq!((group.rank(), group.size()), (0, 1));
        let mut values = [1.0, -2.5];
        group.all_reduce_sum(&mut values).unwrap();
        group.broadcast(&mut values, 0).unwrap();
        group.barrier().unwrap();
        assert_eq!(values, [1.0, -2.5]);
        let error = group.broadcast(&mut values, 1).unwrap_err();
        assert_eq!(error.to_string(), "there is no process 1 among 1");
    }
}
