//! How far apart the processors are that the threads run on.
//!
//! Two threads pass a cache line to and fro. Cores that share a cache do that in some 30 to 100 ns, cores of different
//! chiplets or sockets in 200 ns and more, and whatever one thread wrote and the other reads pays for it. A virtual
//! machine's host moves its processors about without telling; then the same program on the same machine has two
//! speeds, and only this tells which one was measured.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Times that the line changes hands: a fraction of a millisecond.
const PASSES: usize = 2000;

/// Turns of waiting for the other thread, after which it is taken for not running.
const PATIENCE: usize = 1_000_000;

/// Nanoseconds in which a cache line goes from one of the first two worker threads to the other; `None` if there is
/// one thread only, or if the two did not run at the same time.
pub(super) fn nanoseconds() -> Option<f64> {
    if rayon::current_num_threads() < 2 {
        return None;
    }
    let (line, arrived) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let wait = |until: &dyn Fn() -> bool| (0..PATIENCE).any(|_| until() || (std::hint::spin_loop(), false).1);
    let times = rayon::broadcast(|worker| {
        let own = worker.index();
        if own > 1 {
            return None;
        }
        arrived.fetch_add(1, Ordering::AcqRel);
        if !wait(&|| arrived.load(Ordering::Acquire) == 2) {
            return None;
        }
        let start = Instant::now();
        for pass in (own..PASSES).step_by(2) {
            if !wait(&|| line.load(Ordering::Acquire) == pass) {
                return None;
            }
            line.store(pass + 1, Ordering::Release);
        }
        Some(start.elapsed().as_nanos() as f64 / PASSES as f64)
    });
    times[0].filter(|_| times[1].is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_threads(threads: usize) -> Option<f64> {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(nanoseconds)
    }

    #[test]
    fn it_takes_two() {
        assert_eq!(with_threads(1), None);
    }

    #[test]
    fn a_line_changes_hands_in_some_time() {
        // On a busy machine the two may fail to meet, which is told, and nobody knows how long they take if they do.
        for threads in [2, 3] {
            assert!(with_threads(threads).is_none_or(|time| time > 1.0 && time.is_finite()));
        }
    }
}
