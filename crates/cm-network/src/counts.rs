//! What a network takes, counted from extents.

use cm_tensor::Graph;

/// What a network takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Numbers of its weights.
    pub parameters: usize,
    /// Multiplications and additions of evaluating it on one image.
    pub flops_per_image: u64,
    /// Numbers that training keeps of one image, about, from its way forth for its way back.
    pub kept_per_image: u64,
}

impl Counts {
    /// What a counting pass over one image has found, of a network of so many weights.
    pub(crate) fn of(graph: &Graph, parameters: usize) -> Self {
        Self { parameters, flops_per_image: graph.flops(), kept_per_image: graph.values() }
    }
}
