//! Blocks whose insides are computed again on the way back instead of being kept.

use crate::Extra;
use cm_tensor::{Graph, Images, Weights};
use std::sync::Arc;

/// How the blocks of one forward pass are run.
pub(crate) struct Passes {
    /// The same weights, to outlive the forward pass; none if everything is kept.
    weights: Option<Arc<Weights>>,
}

impl Passes {
    pub(crate) fn new(recompute: bool, weights: &Weights) -> Self {
        Self { weights: recompute.then(|| Arc::new(weights.handle())) }
    }

    /// Runs `block`, which must give the same whenever it is run.
    pub(crate) fn run(
        &self,
        g: &mut Graph,
        w: &Weights,
        extra: Extra<'_>,
        block: impl Fn(&mut Graph, &Weights, Extra<'_>) -> Images + 'static,
    ) -> Images {
        match &self.weights {
            Some(weights) if g.is_recording() || g.is_counting() => {
                let weights = weights.clone();
                // A block needs the key of its dropout; labels and times have become the embedding.
                let dropout_key = extra.dropout_key;
                g.recomputed(move |g| block(g, &weights, Extra { dropout_key, ..Extra::default() }))
            }
            Some(_) | None => block(g, w, extra),
        }
    }
}
