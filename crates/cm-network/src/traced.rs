//! One pass of a network, written down.

use crate::{Extra, Network};
use cm_image::ImageShape;
use cm_tensor::{Graph, Trace, Weights};

impl dyn Network + '_ {
    /// The steps of F with these weights, whatever the images, their classes and c_noise.
    ///
    /// # Panics
    /// If the network takes a second time.
    pub fn traced(&self, weights: &Weights) -> Trace {
        let ImageShape { height, width, channels } = self.shape();
        let (mut graph, images) = Graph::tracing([height, width, channels]);
        let extra = Extra { labels: self.classes().map(|_| &[0][..]), ..Extra::default() };
        self.forward(&mut graph, weights, &images, &[0.0], extra);
        graph.into_trace()
    }
}
