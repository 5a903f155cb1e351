//! Weights under the names and in the layouts of the original programs.
//!
//! Every array of ours is made of pieces of theirs, side by side along the last axis: a kernel is one piece; queries, keys
//! and values may be three; a shift is half of one. So one table serves both directions. Deliberately absent: file
//! formats (`cm-import` reads them, `write.rs` writes them).

mod infer;
mod names;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use infer::{Guess, dialect_of, infer};
pub(crate) use names::{Dialect, names};
pub(crate) use write::{Container, write};

use cm_import::{Archive, ImportError};
use cm_network::Weights;
use std::collections::HashMap;
use std::ops::Range;

/// How a foreign array's axes are ordered. Ours end with inputs, outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As ours: vectors, Flax's kernels, embedding tables.
    Ours,
    /// PyTorch's convolutions: outputs, inputs, height, width.
    Kernel,
    /// PyTorch's affine maps: outputs, inputs.
    Matrix,
}

/// Some outputs of a foreign array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) layout: Layout,
    pub(crate) outputs: Range<usize>,
}

/// An array of ours and what it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) ours: String,
    pub(crate) pieces: Vec<Piece>,
}

/// What does not fit between a file and a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mismatches {
    pub(crate) missing: Vec<String>,
    pub(crate) unexpected: Vec<String>,
    /// Name, shape in the file, shape of the network.
    pub(crate) misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Mismatches {
    /// Compares a table with the tensors whose names begin with `prefix`.
    pub(crate) fn between(table: &[Entry], archive: &Archive, prefix: &str) -> Self {
        let mut found = Self::default();
        let mut expected: HashMap<&str, &[usize]> = HashMap::new();
        for piece in table.iter().flat_map(|entry| &entry.pieces) {
            if expected.insert(&piece.name, &piece.shape).is_some() {
                continue;
            }
            match archive.find(&format!("{prefix}{}", piece.name)) {
                None => found.missing.push(piece.name.clone()),
                Some(info) if info.shape != piece.shape => {
                    found.misshapen.push((piece.name.clone(), info.shape.clone(), piece.shape.clone()));
                }
                Some(_) => {}
            }
        }
        let names = archive.tensors().iter().filter_map(|tensor| tensor.name.strip_prefix(prefix));
        found.unexpected = names.filter(|name| !expected.contains_key(name)).map(str::to_owned).collect();
        found
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshapen.is_empty()
    }
}

impl Piece {
    /// (leading extents times inputs, outputs) of the foreign array.
    fn extents(&self) -> (usize, usize) {
        let outputs = match self.layout {
            Layout::Ours => self.shape.last().copied().unwrap_or(1),
            Layout::Kernel | Layout::Matrix => self.shape[0],
        };
        (self.shape.iter().product::<usize>() / outputs.max(1), outputs)
    }

    /// Where the value of a row and an output of ours is in the foreign array.
    fn place(&self, row: usize, output: usize) -> usize {
        let (rows, outputs) = self.extents();
        match self.layout {
            Layout::Ours => row * outputs + output,
            Layout::Matrix => output * rows + row,
            Layout::Kernel => {
                let (inputs, taps) = (self.shape[1], self.shape[2] * self.shape[3]);
                // Ours count taps, then inputs.
                let (tap, input) = (row / inputs, row % inputs);
                (output * inputs + input) * taps + tap
            }
        }
    }
}

impl Entry {
    /// Outputs of the whole array.
    fn outputs(&self) -> usize {
        self.pieces.iter().map(|piece| piece.outputs.len()).sum()
    }

    /// Calls `each` with the piece, the place in its foreign array and the place in ours, for every value.
    fn pair(&self, mut each: impl FnMut(usize, usize, usize)) {
        let width = self.outputs();
        let mut before = 0;
        for (index, piece) in self.pieces.iter().enumerate() {
            let (rows, _) = piece.extents();
            for row in 0..rows {
                for (column, output) in piece.outputs.clone().enumerate() {
                    each(index, piece.place(row, output), row * width + before + column);
                }
            }
            before += piece.outputs.len();
        }
    }
}

/// Fills weights from a file that has no mismatches with the table, one array at a time.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn load(
    table: &[Entry],
    archive: &mut Archive,
    prefix: &str,
    weights: &mut Weights,
) -> Result<(), ImportError> {
    for (entry, values) in table.iter().zip(weights.values_mut()) {
        let mut pieces = Vec::new();
        for piece in &entry.pieces {
            pieces.push(archive.read(&format!("{prefix}{}", piece.name))?);
        }
        entry.pair(|piece, theirs, ours| values[ours] = pieces[piece][theirs]);
    }
    Ok(())
}

/// A foreign array that is to be written: its name, shape, and which pieces of which arrays of ours fill it.
pub(crate) struct Target<'t> {
    pub(crate) name: &'t str,
    pub(crate) shape: &'t [usize],
    parts: Vec<(usize, usize)>,
}

/// The foreign arrays of a table, in the order in which they first appear.
pub(crate) fn targets(table: &[Entry]) -> Vec<Target<'_>> {
    let mut targets: Vec<Target<'_>> = Vec::new();
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    for (index, entry) in table.iter().enumerate() {
        for (number, piece) in entry.pieces.iter().enumerate() {
            let target = *by_name.entry(&piece.name).or_insert_with(|| {
                targets.push(Target { name: &piece.name, shape: &piece.shape, parts: vec![] });
                targets.len() - 1
            });
            targets[target].parts.push((index, number));
        }
    }
    targets
}

impl Target<'_> {
    /// Its values, from ours: one slice for each entry of the table.
    pub(crate) fn values(&self, table: &[Entry], ours: &[&[f32]]) -> Vec<f32> {
        let mut values = vec![0.0; self.shape.iter().product()];
        for &(index, number) in &self.parts {
            table[index].pair(|piece, theirs, own| {
                if piece == number {
                    values[theirs] = ours[index][own];
                }
            });
        }
        values
    }
}
