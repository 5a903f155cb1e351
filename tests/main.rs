//! The tests of the whole workspace, run against the built binary. A table of contents:

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

/// Which crate may know which, and what must stand in none of them.
mod architecture;
/// Exit codes, help, run folders, stopping and going on.
mod cli;
/// Exact messages for wrong study files.
mod errors;
/// Every study of `experiments/` loads, and its resolved arms are what a reviewer saw.
mod experiments;
/// Bugs of published trainers that must not come back, seen from outside.
mod regression;
/// The same plan, the same bits: twice, with 1 to 3 threads, stopped and resumed.
mod reproducibility;
/// Fields set from the command line, and studies whose runs several processes share.
mod sweep;
/// An exact teacher distilled, judged by the exact flow.
mod toy_flow;
/// What the tests share.
mod util;
