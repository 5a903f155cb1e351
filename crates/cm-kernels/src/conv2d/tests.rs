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

fn shape(
    batch: usize,
    size: (usize, usize),
    channels: (usize, usize),
    kernel: (usize, usize, usize),
) -> Conv2dShape {
    Conv2dShape {
        batch,
        height: size.0,
        width: size.1,
        in_channels: channels.0,
        out_channels: channels.1,
        kernel: kernel.0,
        stride: kernel.1,
        padding: kernel.2,
    }
}

/// Sampled combinations of the edge sizes, always the same, and some of several blocks and groups.
fn grid(count: usize) -> Vec<Conv2dShape> {
    let mut state = 1u64;
    let mut pick = |choices: &[usize]| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        choices[(state >> 33) as usize % choices.len()]
    };
    let (sizes, channels) = ([1, 2, 3, 4, 5, 7, 8, 9], [1, 3, 15, 16, 17, 32, 33]);
    let mut shapes: Vec<_> = (0..count)
        .map(|i| {
            // Two in three are 3x3 convolutions of stride 1, most with padding 1, which have the most variants.
            let kernel = match i % 3 {
                0 => (pick(&[1, 3, 5]), pick(&[1, 2]), pick(&[0, 1, 2])),
                _ => (3, 1, pick(&[0, 1, 1, 2])),
            };
            shape(
                pick(&[0, 1, 3, 3]),
                (pick(&sizes), pick(&sizes)),
                (pick(&channels), pick(&channels)),
                kernel,
            )
        })
        .collect();
    shapes.extend(several_blocks());
    shapes
}

/// Convolutions of several blocks and groups.
fn several_blocks() -> Vec<Conv2dShape> {
    vec![
        shape(60, (8, 9), (17, 33), (3, 1, 1)), // more tiles than are few
        shape(7, (30, 23), (3, 20), (3, 1, 1)),
        shape(2, (17, 9), (70, 50), (3, 1, 1)), // few tiles, several runs and slices
        shape(5, (35, 31), (40, 1), (3, 1, 1)),
        shape(9, (19, 24), (17, 20), (3, 1, 0)),
        shape(8, (21, 18), (20, 33), (3, 1, 2)),
        shape(33, (8, 8), (24, 24), (1, 1, 0)),
        shape(9, (17, 16), (24, 17), (3, 2, 1)),
    ]
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
        for (variant, isa) in
            Variant::ALL.into_iter().flat_map(|v| Isa::available().into_iter().map(move |i| (v, i)))
        {
            let can_turn =
                shape.turned().map_or(variant == Variant::Im2col, |turned| variant.supports(&turned));
            if can_turn {
                let mut grad_x = vec![f32::NAN; shape.input_len()];
                backward_data_by(variant, isa, &shape, &weight, &grad_out, &mut grad_x);
                let wrong = error(&grad_x, &exact_data);
                assert!(wrong <= 2e-5, "backward data {variant:?} {isa:?} {shape:?}: {wrong:e}");
            }
            if !variant.supports(&shape) {
                continue;
            }
            let mut out = vec![f32::NAN; shape.output_len()];
            forward_by(variant, isa, &shape, &x, &weight, &Epilogue::default(), &mut out);
            let wrong = error(&out, &exact);
            assert!(wrong <= 5e-6, "forward {variant:?} {isa:?} {shape:?}: {wrong:e}");

            let mut grad_weight = vec![f32::NAN; shape.weight_len()];
            backward_weight_by(variant, isa, &shape, &x, &grad_out, &mut grad_weight);
            let wrong = error(&grad_weight, &exact_weight);
            assert!(wrong <= 2e-5, "backward weight {variant:?} {isa:?} {shape:?}: {wrong:e}");
        }
    }
}

#[test]
fn the_epilogue_is_applied_by_every_variant() {
    for shape in [shape(3, (5, 6), (7, 18), (3, 1, 1)), shape(2, (4, 4), (20, 3), (3, 1, 1))] {
        let (x, weight) = (numbers(1, shape.input_len()), numbers(2, shape.weight_len()));
        let plain = naive::forward(&shape, &wide(&x), &wide(&weight));
        let (channels, image) = (shape.out_channels, shape.out_pixels() * shape.out_channels);
        let bias = numbers(3, channels);
        let image_bias = numbers(4, shape.batch * channels);
        let residual = numbers(5, shape.output_len());
        for parts in 0..16 {
            let epilogue = Epilogue {
                bias: (parts & 1 != 0).then_some(&bias[..]),
                image_bias: (parts & 2 != 0).then_some(&image_bias[..]),
                residual: (parts & 4 != 0).then_some(&residual[..]),
                scale: 0.75,
                relu: parts & 8 != 0,
            };
            let exact: Vec<f64> = (0..plain.len())
                .map(|i| {
                    let part = |p: Option<&[f32]>, at: usize| p.map_or(0.0, |p| f64::from(p[at]));
                    let biases = part(epilogue.bias, i % channels)
                        + part(epilogue.image_bias, i / image * channels + i % channels);
                    let value = 0.75 * (plain[i] + biases + part(epilogue.residual, i));
                    if epilogue.relu { value.max(0.0) } else { value }
                })
                .collect();
            for variant in Variant::ALL.into_iter().filter(|v| v.supports(&shape)) {
                for isa in Isa::available() {
                    let mut out = vec![f32::NAN; plain.len()];
                    forward_by(variant, isa, &shape, &x, &weight, &epilogue, &mut out);
                    let wrong = error(&out, &exact);
                    assert!(wrong <= 5e-6, "{variant:?} {isa:?} {epilogue:?}: {wrong:e}");
                }
            }
        }
    }
}

#[test]
fn bias_gradients_are_sums_of_the_output_gradient() {
    for shape in several_blocks() {
        let grad_out = numbers(1, shape.output_len());
        let (channels, image) = (shape.out_channels, shape.out_pixels() * shape.out_channels);
        let (mut exact, mut exact_image) = (vec![0.0f64; channels], vec![0.0f64; shape.batch * channels]);
        for (i, &value) in grad_out.iter().enumerate() {
            exact[i % channels] += f64::from(value);
            exact_image[i / image * channels + i % channels] += f64::from(value);
        }
        let (mut bias, mut image_bias) = (vec![f32::NAN; channels], vec![f32::NAN; exact_image.len()]);
        backward_bias(&shape, &grad_out, &mut bias);
        backward_image_bias(&shape, &grad_out, &mut image_bias);
        assert!(error(&bias, &exact) <= 1e-6 && error(&image_bias, &exact_image) <= 1e-6, "{shape:?}");
    }
}

/// The public functions, so the variants that are chosen.
#[test]
fn results_are_the_same_for_any_number_of_threads() {
    for shape in several_blocks() {
        let (x, weight) = (numbers(1, shape.input_len()), numbers(2, shape.weight_len()));
        let grad_out = numbers(3, shape.output_len());
        let results = [1, 2, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut out = vec![f32::NAN; shape.output_len()];
                let mut grad_x = vec![f32::NAN; shape.input_len()];
                let mut grad_weight = vec![f32::NAN; shape.weight_len()];
                let mut grad_bias = vec![f32::NAN; shape.out_channels];
                forward(&shape, &x, &weight, Epilogue::default(), &mut out);
                backward_data(&shape, &weight, &grad_out, &mut grad_x);
                backward_weight(&shape, &x, &grad_out, &mut grad_weight);
                backward_bias(&shape, &grad_out, &mut grad_bias);
                let all = [out, grad_x, grad_weight, grad_bias].concat();
                all.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            })
        });
        assert!(results[0] == results[1] && results[0] == results[2], "{shape:?}");
    }
}

/// The loss is a product of the output with fixed numbers, so its gradient with respect to the output is these, and
/// central differences are exact up to rounding: it is linear in each argument.
#[test]
fn the_loop_nests_gradients_are_central_differences() {
    for shape in [
        shape(2, (3, 4), (2, 3), (3, 1, 1)),
        shape(1, (5, 4), (2, 1), (3, 2, 0)),
        shape(1, (3, 3), (1, 2), (1, 2, 1)),
    ] {
        let (x, weight) = (wide(&numbers(1, shape.input_len())), wide(&numbers(2, shape.weight_len())));
        let grad_out = wide(&numbers(3, shape.output_len()));
        let loss = |x: &[f64], weight: &[f64]| -> f64 {
            naive::forward(&shape, x, weight).iter().zip(&grad_out).map(|(y, g)| y * g).sum()
        };
        let difference = |values: &[f64], at: usize, loss: &dyn Fn(&[f64]) -> f64| {
            let moved = |by: f64| {
                let mut values = values.to_vec();
                values[at] += by;
                loss(&values)
            };
            (moved(1e-3) - moved(-1e-3)) / 2e-3
        };
        let grad_x = naive::backward_data(&shape, &weight, &grad_out);
        for (i, gradient) in grad_x.iter().enumerate() {
            assert!((difference(&x, i, &|x| loss(x, &weight)) - gradient).abs() < 1e-10);
        }
        let grad_weight = naive::backward_weight(&shape, &x, &grad_out);
        for (i, gradient) in grad_weight.iter().enumerate() {
            assert!((difference(&weight, i, &|weight| loss(&x, weight)) - gradient).abs() < 1e-10);
        }
    }
}

#[test]
fn the_loop_nests_agree_in_both_precisions() {
    let shape = shape(2, (5, 4), (3, 4), (3, 2, 1));
    let (x, weight) = (numbers(1, shape.input_len()), numbers(2, shape.weight_len()));
    let single = naive::forward(&shape, &x, &weight);
    assert!(error(&single, &naive::forward(&shape, &wide(&x), &wide(&weight))) <= 1e-6);
}

#[test]
#[should_panic(expected = "values of the weight")]
fn a_weight_of_the_wrong_size_is_refused() {
    let shape = shape(1, (4, 4), (2, 3), (3, 1, 1));
    let (x, mut out) = (vec![0.0; shape.input_len()], vec![0.0; shape.output_len()]);
    forward(&shape, &x, &[0.0; 5], Epilogue::default(), &mut out);
}
