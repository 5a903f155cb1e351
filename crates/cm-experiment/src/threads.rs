//! The number of worker threads of the process.

/// The number of threads was chosen already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the number of threads cannot be changed once work has begun")]
pub struct ThreadsError;

/// Uses this many worker threads from now on; without a call, as many as the machine has. To be called at most once,
/// before any work. Results do not depend on it.
///
/// # Errors
/// [`ThreadsError`] if threads are running already.
pub fn use_threads(threads: usize) -> Result<(), ThreadsError> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(|_| ThreadsError)
}
