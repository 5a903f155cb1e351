//! Our own names in PyTorch's layouts, for modules of ours in PyTorch.

use super::naming::torch;
use super::table::{Entry, Fold};
use cm_network::Weights;

/// The table for the arrays of `weights` whose names are `wanted`, and the values of these.
pub(crate) fn own_names(weights: &Weights, wanted: impl Fn(&str) -> bool) -> (Vec<Entry>, Vec<&[f32]>) {
    let arrays = weights.iter().filter(|(name, _, _)| wanted(name));
    arrays
        .map(|(name, shape, values)| {
            let pieces = vec![torch(name.to_owned(), shape)];
            (Entry { ours: name.to_owned(), pieces, fold: Fold::None }, values)
        })
        .unzip()
}
