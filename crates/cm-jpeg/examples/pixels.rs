//! Writes the raw pixels of a JPEG file to standard output, to be compared with another decoder's.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    let Some(path) = std::env::args_os().nth(1) else {
        return Err(io::Error::other("usage: pixels FILE"));
    };
    let picture = cm_jpeg::decode(&std::fs::read(path)?, 1 << 26).map_err(io::Error::other)?;
    io::stdout().write_all(&picture.values)
}
