//! A flag that asks work to stop.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Asks work to stop. Clones share one flag, so somebody who listens to signals may hold one.
///
/// Work looks at it between two training steps, two batches of samples or of features, and ends; a training leaves a
/// checkpoint. Work that takes longer to notice may be broken off, but for what is [being
/// finished](Self::while_finishing).
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<State>);

#[derive(Debug, Default)]
struct State {
    requested: AtomicBool,
    finishing: AtomicBool,
    resumable: Mutex<Option<PathBuf>>,
}

impl StopFlag {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the stop.
    pub fn request(&self) {
        self.0.requested.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::SeqCst)
    }

    /// Does something that looks at the flag itself, soon enough, and is worth finishing: training, up to its checkpoint.
    pub fn while_finishing<T>(&self, work: impl FnOnce() -> T) -> T {
        self.with(true, work)
    }

    /// Does a part of such work that may be broken off all the same, since it may take long and is done again.
    pub fn while_stoppable<T>(&self, work: impl FnOnce() -> T) -> T {
        self.with(false, work)
    }

    /// Whether what is done now should be waited for.
    pub fn is_finishing(&self) -> bool {
        self.0.finishing.load(Ordering::SeqCst)
    }

    fn with<T>(&self, finishing: bool, work: impl FnOnce() -> T) -> T {
        struct Restore<'a>(&'a AtomicBool, bool);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.store(self.1, Ordering::SeqCst);
            }
        }
        let before = self.0.finishing.swap(finishing, Ordering::SeqCst);
        let _restore = Restore(&self.0.finishing, before);
        work()
    }

    /// Notes where work can be gone on with once it is broken off.
    pub fn resumable_in(&self, folder: &Path) {
        *self.0.resumable.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.to_owned());
    }

    /// Where work can be gone on with.
    pub fn resumable(&self) -> Option<PathBuf> {
        self.0.resumable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_request() {
        let flag = StopFlag::new();
        let clone = flag.clone();
        assert!(!clone.is_requested());
        flag.request();
        assert!(clone.is_requested());
    }

    #[test]
    fn what_is_being_finished_is_known_while_it_is() {
        let flag = StopFlag::new();
        assert!(!flag.is_finishing());
        flag.while_finishing(|| {
            assert!(flag.is_finishing());
            flag.while_stoppable(|| assert!(!flag.is_finishing()));
            assert!(flag.is_finishing());
        });
        assert!(!flag.is_finishing());
        flag.resumable_in("runs/a".as_ref());
        assert_eq!(flag.clone().resumable(), Some(PathBuf::from("runs/a")));
    }
}
