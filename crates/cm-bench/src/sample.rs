//! One-step sampling: one evaluation of the consistency function.

use crate::{BenchNetwork, Case, Suite};
use cm_consistency::ConsistencyModel;
use cm_diffusion::{Boundary, ConsistencyFunction, Sigma};

/// Evaluations of f at sigma_max for batches of 1 and of the network's size.
pub fn sample(network: BenchNetwork) -> Suite {
    let case = |batch: usize| {
        let name = format!("{}/batch-{batch}", network.name());
        Case::new(name, batch, batch as u64 * network.flops_per_image(), move || {
            let (net, weights) = network.build();
            let noisy = network.images(batch).map(|value| 80.0 * value);
            let labels = network.labels(batch);
            let sigma = vec![Sigma::new(80.0).expect("80 is a noise level"); batch];
            // A model borrows its network, so it is made anew each time; that copies pointers, not weights.
            move || {
                let boundary = Boundary { sigma_data: 0.5, sigma_min: 0.002 };
                let model = ConsistencyModel::new(net.as_ref(), weights.clone(), boundary);
                let endpoint = model.endpoint(&noisy, &sigma, &labels).expect("the noise fits the network");
                assert!(endpoint.values()[0].is_finite());
            }
        })
    };
    let batches = if network.batch() == 1 { vec![1] } else { vec![network.batch(), 1] };
    Suite { bench: "sample", cases: batches.into_iter().map(case).collect() }
}
