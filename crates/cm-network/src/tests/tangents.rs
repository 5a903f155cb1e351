//! Derivatives along directions of images and noise levels. Those along images alone are compared with the gradient
//! where that is.

use super::{ALL, build, extra, networks, tiny_mlp};
use crate::{AdmConfig, Edm2Config, Extra, MlpConfig, NetworkConfig, UNetConfig};
use cm_image::ImageShape;
use cm_tensor::gradient_check::normal_values;
use cm_tensor::{Graph, Images};

const LEVELS: [f32; 2] = [-0.7, 0.4];
const CHANGE: [f32; 2] = [0.3, -0.2];

fn dropping(config: NetworkConfig) -> NetworkConfig {
    match config {
        NetworkConfig::UNet(c) => NetworkConfig::UNet(UNetConfig { dropout: 0.3, ..c }),
        NetworkConfig::Adm(c) => NetworkConfig::Adm(AdmConfig { dropout: 0.3, ..c }),
        NetworkConfig::Edm2(c) => NetworkConfig::Edm2(Edm2Config { dropout: 0.3, ..c }),
        NetworkConfig::Mlp(c) => NetworkConfig::Mlp(MlpConfig { dropout: 0.3, ..c }),
    }
}

/// Values and tangent of a network whose images change along `along`, if they do, and whose levels change.
fn both(config: &NetworkConfig, shape: ImageShape, along: Option<&Images>) -> (Vec<f32>, Vec<f32>) {
    let (network, weights) = build(config, shape);
    let x: Images = normal_values([2, shape.height, shape.width, shape.channels], 1);
    let x = along.map_or(x.clone(), |along| x.moving(along.values().to_vec()));
    let extra = Extra { c_noise_tangent: Some(&CHANGE), ..extra(Some(3)) };
    let mut graph = Graph::inference().with_tangents();
    let output = network.forward(&mut graph, &weights, &x, &LEVELS, extra);
    (output.values().to_vec(), output.tangent().expect("the level changes").to_vec())
}

/// Against central differences, along images and levels together and along levels alone: a thousandth is what single
/// precision leaves of these. What is of second order in the step cancels between two of them; rounding falls with the step
/// and the rest rises, at other places for other networks, so that the better of two counts.
#[test]
fn tangents_along_images_and_levels() {
    for (config, shape) in networks() {
        let config = dropping(config);
        let (network, weights) = build(&config, shape);
        let extents = [2, shape.height, shape.width, shape.channels];
        let (x, along): (Images, Images) = (normal_values(extents, 1), normal_values(extents, 2));
        // The output depends on levels less than on images.
        for (moves, steps) in [(true, [0.004, 0.008]), (false, [0.05, 0.2])] {
            let at = |step: f32| {
                let by = if moves { step } else { 0.0 };
                let moved = x.values().iter().zip(along.values()).map(|(x, v)| x + by * v).collect();
                let levels = [0, 1].map(|image| LEVELS[image] + step * CHANGE[image]);
                let moved = Images::constant(moved, extents);
                network.forward(&mut Graph::inference(), &weights, &moved, &levels, extra(Some(3)))
            };
            let (values, tangent) = both(&config, shape, moves.then_some(&along));
            assert_eq!(values, at(0.0).values(), "{config:?}: values");
            let difference = |step: f32| -> Vec<f64> {
                let (above, below) = (at(step), at(-step));
                let pairs = above.values().iter().zip(below.values());
                pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)) / f64::from(2.0 * step)).collect()
            };
            let share = |step: f32| {
                let (near, far) = (difference(step), difference(2.0 * step));
                let measured = near.iter().zip(&far).map(|(near, far)| (4.0 * near - far) / 3.0);
                let (mut error, mut size) = (0.0f64, 0.0f64);
                for (measured, tangent) in measured.zip(&tangent) {
                    error += (measured - f64::from(*tangent)).powi(2);
                    size += measured * measured;
                }
                (error / size).sqrt()
            };
            let shares = steps.map(share);
            assert!(shares[0].min(shares[1]) < 1e-3, "{config:?}, images move: {moves}: {shares:?}");
        }
    }
}

/// Blocks that are computed again on the way back have the same tangents, and a recording pass those of one that does
/// not record.
#[test]
fn recording_and_recomputation_change_no_tangent() {
    for (config, shape) in networks() {
        let along: Images = normal_values([2, shape.height, shape.width, shape.channels], 2);
        let (_, tangent) = both(&config, shape, Some(&along));
        for recompute in [true, false] {
            let (network, weights) = build(&config.clone().recomputed(recompute), shape);
            let x: Images = normal_values([2, shape.height, shape.width, shape.channels], 1);
            let mut graph = Graph::recording().with_tangents();
            let extra = Extra { c_noise_tangent: Some(&CHANGE), ..extra(Some(3)) };
            let x = x.moving(along.values().to_vec());
            let output = network.forward(&mut graph, &weights, &x, &LEVELS, extra);
            assert_eq!(output.tangent(), Some(&tangent[..]), "{config:?}, recompute: {recompute}");
        }
    }
}

/// The second time stays, and so does everything if nothing changes.
#[test]
fn what_stays_has_no_tangent() {
    let shape = ImageShape::vector(3);
    let (network, weights) = tiny_mlp().build(shape, ALL, 1).unwrap();
    let x: Images = normal_values([2, 1, 1, 3], 1);
    let mut graph = Graph::inference().with_tangents();
    assert!(network.forward(&mut graph, &weights, &x, &LEVELS, extra(None)).tangent().is_none());
}
