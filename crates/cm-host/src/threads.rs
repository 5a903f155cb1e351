//! Where work is done: one pool of threads, with the calling code inside it.

/// Why there are no threads to work with.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the worker threads: {0}")]
pub struct ThreadsError(#[from] rayon::ThreadPoolBuildError);

/// Does `work` on one of `threads` worker threads (`None`: as many as the machine has). Results do not depend on
/// their number.
///
/// The work itself runs inside the pool: each of the thousands of parallel loops of a training step would otherwise
/// have to be handed over to it from outside and waited for. Also sets up the process's allocator, so it is meant to
/// be called once, around everything.
///
/// # Errors
/// [`ThreadsError`] if the system refuses to start the threads.
pub fn on_threads<T: Send>(
    threads: Option<usize>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, ThreadsError> {
    cm_kernels::memory::keep_freed_memory();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build()?;
    Ok(pool.install(work))
}
