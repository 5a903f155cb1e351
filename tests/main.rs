//! The tests of the whole workspace, run against the built binary. A table of contents:

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

/// Which crate may know which, and what must stand in none of them.
mod architecture;
/// Numbers too large for any machine.
mod bounds;
/// Exit codes, help, run folders, stopping and going on.
mod cli;
/// Images prepared, inspected, verified and trained on; the studies of `experiments/` that need downloads.
mod datasets;
/// Drawing from a trained model, and editing with it.
mod editing;
/// Exact messages for wrong study files.
mod errors;
/// Sets of images compared, with the card of every number.
mod evaluation;
/// The examples of the crates that are of use alone.
mod examples;
/// Every study of `experiments/` loads, and its resolved arms are what a reviewer saw.
mod experiments;
/// Full disks, signals, two processes at once.
mod faults;
/// The format of studies explained, as a schema, and as a study to start from.
mod format;
/// The whole program on a stand-in for a GPU's driver.
mod gpu;
/// The guide and README, followed as they stand.
mod guide;
/// Samples scored by a further network, as the literature does.
mod networks;
/// The page that `cm export --format web` writes, before a browser sees it.
mod page;
/// One training by several processes of one machine.
mod processes;
/// Bugs of published trainers that must not come back, seen from outside.
mod regression;
/// The page that `cm report` writes: everything in it, nothing outside it.
mod report;
/// The same plan, the same bits: twice, with 1 to 3 threads, stopped and resumed.
mod reproducibility;
/// Results that were cut, changed, exchanged or put elsewhere are told and not believed.
mod seals;
/// Fields set from the command line, and studies whose runs several processes share.
mod sweep;
/// An exact teacher distilled, judged by the exact flow.
mod toy_flow;
/// What the tests share.
mod util;
/// Weights of other programs: in, out, used, and a study that starts from them.
mod weights;
