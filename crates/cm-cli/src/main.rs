//! The binary `cm`.

fn main() {}
