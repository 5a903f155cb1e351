//! Every variant and instruction set against the loop nests, over an edge grid.

use super::*;

/// A fixed sequence of numbers in [-1, 1): a linear congruential generator.
fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Largest difference relative to the largest exact value.
fn error(got: &[f32], exact: &[f64]) -> f64 {
    assert_eq!(got.len(), exact.len());
    let scale = exact.iter().fold(0.0f64, |max, v| max.max(v.abs()));
    let worst = got.iter().zip(exact).fold(0.0f64, |max, (&g, &e)| {
        assert!(g.is_finite(), "an output was not written");
        max.max((f64::from(g) - e).abs())
    });
    if worst == 0.0 { 0.0 } else { worst / scale }
}

/// Sampled combinations of the edge sizes, always the same.
fn grid(count: usize) -> Vec<Conv2dShape> {
    let mut state = 1u64;
    let mut pick = |choices: &[usize]| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        choices[(state >> 33) as usize % choices.len()]
    };
    let (sizes, channels) = ([1, 2, 3, 4, 5, 7, 8, 9], [1, 3, 15, 16, 17, 32, 33]);
    (0..count)
        .map(|i| {
            // Two in three are 3x3 convolutions of stride 1 and padding 1, which have the most variants.
            let common = i % 3 != 0;
            Conv2dShape {
                batch: pick(&[0, 1, 3, 3]),
                height: pick(&sizes),
                width: pick(&sizes),
                in_channels: pick(&channels),
                out_channels: pick(&channels),
                kernel: if common { 3 } else { pick(&[1, 3, 5]) },
                stride: if common { 1 } else { pick(&[1, 2]) },
                padding: if common { 1 } else { pick(&[0, 1, 2]) },
            }
        })
        .collect()
}

#[test]
fn every_variant_agrees_with_the_loop_nest_in_double_precision() {
    for shape in grid(150) {
        let x = numbers(1, shape.input_len());
        let weight = numbers(2, shape.weight_len());
        let grad_out = numbers(3, shape.output_len());
        let exact = naive::forward(&shape, &wide(&x), &wide(&weight));
        let exact_data = naive::backward_data(&shape, &wide(&weight), &wide(&grad_out));
        let exact_weight = naive::backward_weight(&shape, &wide(&x), &wide(&grad_out));
        for variant in Variant::ALL {
            for isa in Isa::available() {
              if variant.supports(&shape) {
                let mut out = vec![f32::NAN; shape.output_len()];
                forward_by(variant, isa, &shape, &x, &weight, &Epilogue::default(), &mut out);
                let wrong = error(&out, &exact);
                assert!(wrong <= 5e-6, "forward {variant:?} {isa:?} {shape:?}: {wrong:e}");
              }
              if shape.turned().map_or(variant == Variant::Im2col, |turned| variant.supports(&turned)) {
                let mut grad_x = vec![f32::NAN; shape.input_len()];
                backward_data_by(variant, isa, &shape, &weight, &grad_out, &mut grad_x);
                let wrong = error(&grad_x, &exact_data);
                assert!(wrong <= 2e-5, "backward data {variant:?} {isa:?} {shape:?}: {wrong:e}");
              }
              if variant.supports(&shape) {
                let mut grad_weight = vec![f32::NAN; shape.weight_len()];
                backward_weight_by(variant, isa, &shape, &x, &grad_out, &mut grad_weight);
                let wrong = error(&grad_weight, &exact_weight);
                assert!(wrong <= 2e-5, "backward weight {variant:?} {isa:?} {shape:?}: {wrong:e}");
              }
            }
        }
    }
}
