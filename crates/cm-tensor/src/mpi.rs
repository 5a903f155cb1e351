//! Processes joined by MPI: started by `mpirun`, on one machine or several.

use crate::collective::{Collective, CollectiveError, check, join_group};
use mpi::Threading;
use mpi::environment::Universe;
use mpi::point_to_point::send_receive_into;
use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::traits::{CommunicatorCollectives, Root};

/// Membership of the processes that `mpirun` started together; it ends when this is dropped, on all of them.
pub struct MpiSession {
    universe: Universe,
}

impl MpiSession {
    /// Joins them: from now on they are the [group](crate::collective::group).
    ///
    /// # Errors
    /// [`CollectiveError`] if their number is no power of two, or MPI refuses.
    pub fn join() -> Result<Self, CollectiveError> {
        let refused = |what: &str| CollectiveError::Transport(what.to_owned());
        let (universe, threading) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| refused("MPI was initialised before"))?;
        if threading < Threading::Serialized {
            return Err(refused("this MPI takes calls of one thread only"));
        }
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        if !size.is_power_of_two() {
            return Err(CollectiveError::Size { size });
        }
        join_group(Box::new(Mpi { rank, size }))?;
        Ok(Self { universe })
    }

    /// Ends all processes of the group with an exit code.
    pub fn abort(&self, code: u8) -> ! {
        self.universe.world().abort(i32::from(code))
    }
}

/// The processes of MPI's world.
struct Mpi {
    rank: usize,
    size: usize,
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    /// Neighbours exchange their sums, then neighbours of pairs, and so on. A sum of two does not depend on their order,
    /// so both have the same bits.
    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<(), CollectiveError> {
        let world = SimpleCommunicator::world();
        let mut theirs = vec![0.0_f32; values.len()];
        let mut apart = 1;
        while apart < self.size {
            let partner = world.process_at_rank((self.rank ^ apart) as i32);
            send_receive_into(&values[..], &partner, &mut theirs[..], &partner);
            values.iter_mut().zip(&theirs).for_each(|(sum, more)| *sum += more);
            apart *= 2;
        }
        Ok(())
    }

    fn broadcast(&self, values: &mut [f32], root: usize) -> Result<(), CollectiveError> {
        check(root, self.size)?;
        SimpleCommunicator::world().process_at_rank(root as i32).broadcast_into(values);
        Ok(())
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        SimpleCommunicator::world().barrier();
        Ok(())
    }
}
