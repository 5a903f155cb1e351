//! The tests of the whole workspace, run against the built binary.
