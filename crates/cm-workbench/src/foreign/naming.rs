//! What it takes to name arrays as a program does, and what PyTorch's programs have in common.

use super::table::{Fold, Layout, Outputs, Piece};

pub(super) trait Naming {
    /// The pieces of our array `owner`.`leaf`; `None` if the original has no such thing.
    fn pieces(&self, owner: &str, leaf: &str, shape: &[usize]) -> Option<Vec<Piece>>;

    /// What is done with them for the array of `owner`.
    fn fold(&self, _owner: &str, _shape: &[usize]) -> Fold {
        Fold::None
    }
}

/// The whole foreign array of our `shape`, in PyTorch's layouts.
pub(super) fn torch(name: String, shape: &[usize]) -> Piece {
    let (layout, theirs) = match *shape {
        [height, width, inputs, outputs] => (Layout::Kernel, vec![outputs, inputs, height, width]),
        [inputs, outputs] => (Layout::Matrix, vec![outputs, inputs]),
        _ => (Layout::Ours, shape.to_vec()),
    };
    Piece { name, shape: theirs, layout, outputs: Outputs::first(shape.last().copied().unwrap_or(1)) }
}

/// Of a block's name and a part of it: the name without the part.
pub(super) fn split<'n>(owner: &'n str, parts: &'n [(&str, &str)]) -> Option<(&'n str, &'n str)> {
    parts.iter().find_map(|(part, theirs)| {
        let block = owner.strip_suffix(part)?.strip_suffix('.')?;
        Some((block, *theirs))
    })
}
