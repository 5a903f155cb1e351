//! Rayon's workers, kept awake between one parallel loop and the next.
//!
//! A training step is hundreds of parallel loops of some tens of microseconds. A rayon worker goes to sleep soon
//! after a loop ends and has to be woken by the system for the next one, which on an 8x8 network cost a fifth of a
//! step. So a worker that comes to help here stays and waits for the next loop, for at most [`PATIENCE`] turns; then
//! it goes back to rayon. Loops are handed over through one slot: the caller publishes its [`Job`] there, works on
//! it like everyone else, closes the slot when no piece is left, waits for those who are still inside, and only then
//! leaves the slot to the next. So a loop inside a piece always finds the slot taken and is done where it is: if it
//! could be published while its own thread counts as inside, it would wait for itself.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{dangling_mut, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Turns of waiting, of a processor's pause each (some 40 ns): about a tenth of a millisecond.
const PATIENCE: usize = 2500;

/// Most shares that the pieces of a loop are cut into.
const MAX_SHARES: usize = 16;

/// The next piece of a share, on a cache line of its own.
#[repr(align(64))]
struct Share(AtomicUsize);

/// One parallel loop.
///
/// Its pieces are cut into a share for each thread, runs of neighbours. A thread begins with its own share, the same
/// part of every loop: what it wrote in one layer it mostly reads in the next, from its own cache. Then it helps with
/// the others' shares.
struct Job<'a> {
    work: &'a (dyn Fn(usize) + Sync),
    pieces: usize,
    shares: usize,
    next: [Share; MAX_SHARES],
    /// The first panic of a helper.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl<'a> Job<'a> {
    fn new(pieces: usize, work: &'a (dyn Fn(usize) + Sync)) -> Self {
        let shares = rayon::current_num_threads().min(MAX_SHARES);
        let first = |share: usize| if share < shares { share * pieces / shares } else { pieces };
        let next = std::array::from_fn(|share| Share(AtomicUsize::new(first(share))));
        Self { work, pieces, shares, next, panic: Mutex::new(None) }
    }

    /// Where a share ends.
    fn end(&self, share: usize) -> usize {
        (share + 1) * self.pieces / self.shares
    }

    /// Does pieces until none is left.
    fn do_pieces(&self) {
        let own = rayon::current_thread_index().unwrap_or(0);
        for share in (0..self.shares).map(|other| (own + other) % self.shares) {
            let end = self.end(share);
            loop {
                let piece = self.next[share].0.fetch_add(1, Ordering::Relaxed);
                if piece >= end {
                    break;
                }
                (self.work)(piece);
            }
        }
    }

    /// Whether there is a piece that nobody has begun.
    fn has_more(&self) -> bool {
        (0..self.shares).any(|share| self.next[share].0.load(Ordering::Relaxed) < self.end(share))
    }

    /// Lets nobody begin another piece.
    fn exhaust(&self) {
        self.next.iter().for_each(|next| next.0.store(self.pieces, Ordering::Relaxed));
    }
}

/// The loop that helpers may join, nothing, or [`closed`].
static SLOT: AtomicPtr<Job<'static>> = AtomicPtr::new(null_mut());
/// Helpers that may hold what they read from [`SLOT`].
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// Helpers that are awake or have been sent for.
static HELPERS: AtomicUsize = AtomicUsize::new(0);

/// What is in the slot while a loop waits for its helpers to leave. No job has this address: jobs lie on stacks.
fn closed() -> *mut Job<'static> {
    dangling_mut()
}

/// Does `work(i)` for every `i < pieces` with whoever comes to help. A loop that finds another one in the slot (it is
/// inside that one's work, or another thread was first) is done by its caller alone.
pub(super) fn share(pieces: usize, work: &(dyn Fn(usize) + Sync)) {
    let job = Job::new(pieces, work);
    let address = (&raw const job).cast_mut().cast::<Job<'static>>();
    if SLOT.compare_exchange(null_mut(), address, Ordering::SeqCst, Ordering::Relaxed).is_err() {
        return job.do_pieces();
    }
    call_helpers(rayon::current_num_threads() - 1);
    let own = catch_unwind(AssertUnwindSafe(|| job.do_pieces()));
    job.exhaust();
    SLOT.store(closed(), Ordering::SeqCst);
    // Whoever read the address did so after counting itself inside; whoever counts itself from now on finds no job.
    // A helper that the system has put aside needs a core to finish, perhaps this one.
    let mut patience = PATIENCE;
    while INSIDE.load(Ordering::SeqCst) != 0 {
        if patience > 0 {
            patience -= 1;
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
    SLOT.store(null_mut(), Ordering::SeqCst);
    if let Err(panic) = own {
        resume_unwind(panic);
    }
    let panic = job.panic.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

fn call_helpers(wanted: usize) {
    while HELPERS.load(Ordering::Relaxed) < wanted {
        HELPERS.fetch_add(1, Ordering::Relaxed);
        rayon::spawn(|| {
            help();
            HELPERS.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Works on one loop after the other until none has come for a while.
fn help() {
    let mut patience = PATIENCE;
    while patience > 0 {
        let address = SLOT.load(Ordering::Relaxed);
        if address.is_null() || address == closed() || !join() {
            patience -= 1;
            std::hint::spin_loop();
        } else {
            patience = PATIENCE;
        }
    }
}

/// Works on the loop in the slot; whether there was one with anything left to do.
fn join() -> bool {
    INSIDE.fetch_add(1, Ordering::SeqCst);
    let address = SLOT.load(Ordering::SeqCst);
    let job = if address == closed() {
        None
    } else {
        // SAFETY: a job stays where it is until its caller has closed the slot and then seen nobody inside. This
        // helper counted itself inside before it read the slot, so a job that it sees there outlives its stay.
        unsafe { address.as_ref() }
    };
    let mut worked = false;
    if let Some(job) = job {
        worked = job.has_more();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job.do_pieces())) {
            job.exhaust();
            job.panic.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(panic);
        }
    }
    INSIDE.fetch_sub(1, Ordering::SeqCst);
    worked
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    /// Sums of many loops, from several pools at once and with loops inside loops.
    #[test]
    fn no_piece_is_lost_or_done_twice_when_loops_meet() {
        let sum_of_loops = || {
            for round in 0..500u64 {
                let sum = AtomicU64::new(0);
                super::super::for_each_piece(37, |i| {
                    super::super::for_each_piece(3, |j| {
                        sum.fetch_add(100 * i as u64 + j as u64 + round, Ordering::Relaxed);
                    });
                });
                assert_eq!(sum.into_inner(), 3 * 100 * 666 + 37 * 3 + 111 * round);
            }
        };
        std::thread::scope(|scope| {
            for threads in [2, 3, 4] {
                scope.spawn(move || {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    pool.install(sum_of_loops);
                });
            }
            scope.spawn(sum_of_loops);
        });
    }

    /// A helper whose caller had already finished published the inner loop and then waited for itself.
    #[test]
    fn a_loop_in_a_helpers_last_piece_ends() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let done = AtomicU64::new(0);
        pool.install(|| {
            for late in [0, 1].repeat(20) {
                super::super::for_each_piece(2, |i| {
                    let pause = if i == late { 4 } else { 1 };
                    std::thread::sleep(std::time::Duration::from_millis(pause));
                    super::super::for_each_piece(5, |_| _ = done.fetch_add(1, Ordering::Relaxed));
                });
            }
        });
        assert_eq!(done.into_inner(), 40 * 2 * 5);
    }

    #[test]
    fn a_panic_in_any_piece_reaches_the_caller_and_the_next_loop_works() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for guilty in 0..20 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.install(|| {
                    super::super::for_each_piece(20, |i| {
                        std::thread::yield_now();
                        assert!(i != guilty, "piece {i} fails");
                    });
                });
            }));
            let message = caught.unwrap_err();
            let message = message.downcast_ref::<String>().unwrap();
            assert!(message.contains(&format!("piece {guilty} fails")), "{message}");
            let done = AtomicU64::new(0);
            pool.install(|| super::super::for_each_piece(20, |_| _ = done.fetch_add(1, Ordering::Relaxed)));
            assert_eq!(done.into_inner(), 20);
        }
    }
}
