//! The table of pieces: what each array of ours is made of, and how it is filled and taken apart.

use cm_import::{Archive, ImportError};
use cm_network::Weights;
use std::collections::{BTreeSet, HashMap};

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

/// Every `step`-th output from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outputs {
    pub(crate) first: usize,
    pub(crate) step: usize,
    pub(crate) count: usize,
}

impl Outputs {
    /// The first `count`, one after the other.
    pub(crate) fn first(count: usize) -> Self {
        Self { first: 0, step: 1, count }
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        (0..self.count).map(move |index| self.first + self.step * index)
    }
}

/// Some outputs of a foreign array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) layout: Layout,
    pub(crate) outputs: Outputs,
}

/// What is done with the pieces' values on their way to ours, once, when a file is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Fold {
    /// Nothing.
    #[default]
    None,
    /// Every value times a factor.
    Scale(f32),
    /// Plus what this matrix makes of this vector, which is added before it whatever the class.
    Through { matrix: Piece, vector: Piece },
    /// The weights of each output over their magnitude, as networks that preserve magnitudes use them (Karras et al. 2024,
    /// Equations 47 and 66), times a factor and, if there is one, times this gain.
    Magnitude { factor: f64, gain: Option<String> },
}

/// An array of ours and what it is made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) ours: String,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) fold: Fold,
}

/// What does not fit between a file and a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mismatches {
    pub(crate) missing: Vec<String>,
    pub(crate) unexpected: Vec<String>,
    /// Name, shape in the file, shape of the network.
    pub(crate) misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Names, and the types of values that are no weights.
    pub(crate) whole: Vec<String>,
}

impl Mismatches {
    /// Compares a table with the tensors whose names begin with `prefix` and, without it, are not to be `ignored`.
    pub(crate) fn between(
        table: &[Entry],
        archive: &Archive,
        prefix: &str,
        ignored: &BTreeSet<String>,
    ) -> Self {
        let mut found = Self::default();
        let mut expected: HashMap<&str, &[usize]> = HashMap::new();
        for (name, shape) in table.iter().flat_map(Entry::arrays) {
            if expected.insert(name, shape).is_some() {
                continue;
            }
            match archive.find(&format!("{prefix}{name}")) {
                None => found.missing.push(name.to_owned()),
                Some(info) if info.shape != shape => {
                    found.misshapen.push((name.to_owned(), info.shape.clone(), shape.to_vec()));
                }
                Some(info) if !info.dtype.is_float() => {
                    found.whole.push(format!("{name} ({:?})", info.dtype));
                }
                Some(_) => {}
            }
        }
        let names = archive.tensors().iter().filter_map(|tensor| tensor.name.strip_prefix(prefix));
        let unexpected = names.filter(|name| !expected.contains_key(name) && !ignored.contains(*name));
        found.unexpected = unexpected.map(str::to_owned).collect();
        found
    }

    pub(crate) fn is_empty(&self) -> bool {
        let Self { missing, unexpected, misshapen, whole } = self;
        missing.is_empty() && unexpected.is_empty() && misshapen.is_empty() && whole.is_empty()
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
    /// The foreign arrays it needs.
    fn arrays(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let beside = match &self.fold {
            Fold::Through { vector, .. } => Some((vector.name.as_str(), vector.shape.as_slice())),
            Fold::Magnitude { gain: Some(gain), .. } => Some((gain.as_str(), &[][..])),
            Fold::None | Fold::Scale(_) | Fold::Magnitude { gain: None, .. } => None,
        };
        self.pieces.iter().map(|piece| (piece.name.as_str(), piece.shape.as_slice())).chain(beside)
    }

    /// Outputs of the whole array.
    fn outputs(&self) -> usize {
        self.pieces.iter().map(|piece| piece.outputs.count).sum()
    }

    /// Calls `each` with the piece, the place in its foreign array and the place in ours, for every value.
    pub(super) fn pair(&self, mut each: impl FnMut(usize, usize, usize)) {
        let width = self.outputs();
        let mut before = 0;
        for (index, piece) in self.pieces.iter().enumerate() {
            let (rows, _) = piece.extents();
            for row in 0..rows {
                for (column, output) in piece.outputs.iter().enumerate() {
                    each(index, piece.place(row, output), row * width + before + column);
                }
            }
            before += piece.outputs.count;
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
        let columns = entry.outputs();
        match &entry.fold {
            Fold::None => {}
            Fold::Scale(factor) => values.iter_mut().for_each(|value| *value *= factor),
            Fold::Through { matrix, vector } => {
                let matrix = archive.read(&format!("{prefix}{}", matrix.name))?;
                let vector = archive.read(&format!("{prefix}{}", vector.name))?;
                for (value, row) in values.iter_mut().zip(matrix.chunks_exact(vector.len())) {
                    let through: f64 =
                        row.iter().zip(&vector).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    *value = (f64::from(*value) + through) as f32;
                }
            }
            Fold::Magnitude { factor, gain } => {
                let gain = match gain {
                    Some(gain) => archive.read(&format!("{prefix}{gain}"))?.first().copied().unwrap_or(0.0),
                    None => 1.0,
                };
                normalise(values, columns, factor * f64::from(gain));
            }
        }
    }
    Ok(())
}

/// Every output's weights, over their root mean square and 1e-4 more, over the root of their number, times `factor`.
fn normalise(values: &mut [f32], outputs: usize, factor: f64) {
    let inputs = (values.len() / outputs.max(1)) as f64;
    let mut squares = vec![0.0f64; outputs];
    for row in values.chunks_exact(outputs) {
        row.iter().zip(&mut squares).for_each(|(&value, sum)| *sum += f64::from(value).powi(2));
    }
    let factors: Vec<f64> =
        squares.iter().map(|sum| factor / ((1e-4 + (sum / inputs).sqrt()) * inputs.sqrt())).collect();
    for row in values.chunks_exact_mut(outputs) {
        row.iter_mut().zip(&factors).for_each(|(value, by)| *value = (f64::from(*value) * by) as f32);
    }
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
