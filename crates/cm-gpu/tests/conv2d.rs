use crate::check::{
    PRECISIONS, assert_close, drawn, in_three_orders, multiplied, put, stored, tolerance, values, written,
};
use cm_gpu::conv2d::{Conv2dShape, Epilogue, Precision};
use cm_gpu::{Buffer, Element, Gpu, GpuError};
use cm_kernels::conv2d as exact;
use std::fmt::Debug;

fn shape(
    batch: usize,
    size: (usize, usize),
    channels: (usize, usize),
    kernel: (usize, usize, usize),
) -> Conv2dShape {
    let ((height, width), (in_channels, out_channels), (kernel, stride, padding)) = (size, channels, kernel);
    let (kernel, padding) = ([kernel; 2], [padding; 2]);
    Conv2dShape { batch, height, width, in_channels, out_channels, kernel, stride, padding }
}

fn on_the_cpu(shape: &Conv2dShape) -> exact::Conv2dShape {
    let &Conv2dShape { batch, height, width, in_channels, out_channels, stride, .. } = shape;
    let (kernel, padding) = (shape.kernel[0], shape.padding[0]);
    assert_eq!((shape.kernel, shape.padding), ([kernel; 2], [padding; 2]), "the CPU's are squares");
    exact::Conv2dShape { batch, height, width, in_channels, out_channels, kernel, stride, padding }
}

/// Sampled combinations of the CPU's edge sizes, always the same.
fn grid(count: usize) -> Vec<Conv2dShape> {
    let mut state = 1_u64;
    let mut pick = |choices: &[usize]| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        choices[(state >> 33) as usize % choices.len()]
    };
    let (sizes, channels) = ([1, 2, 3, 4, 5, 7, 8, 9], [1, 3, 15, 16, 17, 32, 33]);
    (0..count)
        .map(|i| {
            let kernel = match i % 3 {
                0 => (pick(&[1, 3, 5]), pick(&[1, 2]), pick(&[0, 1, 2])),
                _ => (3, 1, pick(&[0, 1, 1, 2])),
            };
            let batch = pick(&[0, 1, 3, 3]);
            shape(batch, (pick(&sizes), pick(&sizes)), (pick(&channels), pick(&channels)), kernel)
        })
        .collect()
}

/// Several blocks of rows and columns, several parts, whole and broken pieces.
fn several_blocks() -> Vec<Conv2dShape> {
    vec![
        shape(2, (17, 9), (70, 136), (3, 1, 1)),
        shape(3, (16, 16), (32, 64), (3, 2, 1)),
        shape(2, (15, 13), (136, 40), (1, 1, 0)),
        Conv2dShape::linear(140, 72, 130),
        Conv2dShape::linear(3, 33, 17),
    ]
}

/// A convolution, and its gradients in the input and in the weight, of an input, a weight and a gradient of the output.
fn products(
    gpu: &Gpu,
    precision: Precision,
    shape: &Conv2dShape,
    [x, weight, g]: &[Buffer; 3],
) -> Result<Vec<Buffer>, GpuError> {
    Ok(vec![
        gpu.conv2d(precision, shape, x, weight, Epilogue::default())?,
        gpu.conv2d_backward_data(precision, shape, weight, g, 1.0)?,
        gpu.conv2d_backward_weight(precision, shape, x, g, 1.0)?,
    ])
}

/// That these are near the CPU's; the first two are as narrow as they are stored.
fn assert_products(got: &[Vec<f32>], exact: &[Vec<f32>], element: Element, what: &impl Debug) {
    for (i, (got, exact)) in got.iter().zip(exact).enumerate() {
        let stored = if i < 2 { element } else { Element::F32 };
        // The CPU's own distance from the loop nests, by minimal filtering, is up to 2e-5.
        assert_close(got, exact, tolerance(stored, 2e-5), &(i, what));
    }
}

/// Compares all three products; the CPU is given what the tensor cores multiply, so only sums differ.
fn compare(precision: Precision, shape: &Conv2dShape) {
    let (element, same) = (precision.element(), on_the_cpu(shape));
    let x = drawn(element, shape.input_len(), 1);
    let weight = drawn(element, shape.weight_len(), 2);
    let g = drawn(element, shape.output_len(), 3);
    let what = (precision, shape);
    let Some(got) = in_three_orders(&what, &|gpu| {
        let factors = [&x, &weight, &g].map(|values| put(gpu, element, values));
        let mut results = products(gpu, precision, shape, &factors)?;
        results.push(gpu.conv2d_backward_bias(shape, &factors[2], 0.5)?);
        results.push(gpu.conv2d_backward_image_bias(shape, &factors[2], 0.5)?);
        Ok(results)
    }) else {
        return;
    };
    let half = |values: Vec<f32>| values.iter().map(|v| 0.5 * v).collect::<Vec<f32>>();
    let bias = half(written(shape.out_channels, |out| exact::backward_bias(&same, &g, out)));
    let image_bias = half(written(shape.batch * shape.out_channels, |out| {
        exact::backward_image_bias(&same, &g, out);
    }));
    let [x, weight, g] = [x, weight, g].map(|values| multiplied(precision, values));
    let all = [
        written(shape.output_len(), |out| {
            exact::forward(&same, &x, &weight, exact::Epilogue::default(), out);
        }),
        written(shape.input_len(), |out| exact::backward_data(&same, &weight, &g, out)),
        written(shape.weight_len(), |out| exact::backward_weight(&same, &x, &g, out)),
        bias,
        image_bias,
    ];
    assert_products(&got, &all, element, &what);
}

#[test]
fn every_product_is_the_cpu_s_over_the_edge_grid() {
    for (number, shape) in grid(60).iter().enumerate() {
        compare(PRECISIONS[number % 3], shape);
        compare(PRECISIONS[(number + 1) % 3], shape);
    }
}

#[test]
fn every_product_of_several_blocks_is_the_cpu_s() {
    for shape in several_blocks() {
        for precision in PRECISIONS {
            compare(precision, &shape);
        }
    }
}

/// A window of one line is a square with zeros around the line, whose weight's gradient is that of the line's place.
#[test]
fn windows_that_are_no_squares_are_parts_of_squares() {
    for (kernel, precision) in
        [([1, 7], Precision::F32), ([7, 1], Precision::Tf32), ([3, 1], Precision::Bf16)]
    {
        let side = kernel[0].max(kernel[1]);
        let padding = [kernel[0] / 2, kernel[1] / 2];
        let square = shape(2, (9, 6), (5, 18), (side, 1, side / 2));
        let line = Conv2dShape { kernel, padding, ..square };
        let (element, same) = (precision.element(), on_the_cpu(&square));
        let x = drawn(element, line.input_len(), 1);
        let weight = drawn(element, line.weight_len(), 2);
        let g = drawn(element, line.output_len(), 3);
        let what = (precision, kernel);
        let Some(got) = in_three_orders(&what, &|gpu| {
            products(gpu, precision, &line, &[&x, &weight, &g].map(|values| put(gpu, element, values)))
        }) else {
            return;
        };
        let [x, weight, g] = [x, weight, g].map(|values| multiplied(precision, values));
        // The pixels of the square's window where the line's are.
        let at = |i: usize| if kernel[0] == 1 { side / 2 * side + i } else { i * side + side / 2 };
        let taps = 5 * 18;
        let mut whole = vec![0.0; side * side * taps];
        for (i, tap) in weight.chunks_exact(taps).enumerate() {
            whole[at(i) * taps..][..taps].copy_from_slice(tap);
        }
        let by_whole = written(whole.len(), |out| exact::backward_weight(&same, &x, &g, out));
        let all = [
            written(line.output_len(), |out| {
                exact::forward(&same, &x, &whole, exact::Epilogue::default(), out);
            }),
            written(line.input_len(), |out| exact::backward_data(&same, &whole, &g, out)),
            (0..side).flat_map(|i| &by_whole[at(i) * taps..][..taps]).copied().collect(),
        ];
        assert_products(&got, &all, element, &what);
    }
}

#[test]
fn the_epilogue_is_applied_in_every_precision() {
    for shape in [shape(3, (5, 6), (7, 18), (3, 1, 1)), shape(2, (4, 4), (16, 3), (1, 1, 0))] {
        let (same, channels) = (on_the_cpu(&shape), shape.out_channels);
        for precision in PRECISIONS {
            let element = precision.element();
            let x = drawn(element, shape.input_len(), 1);
            let weight = drawn(element, shape.weight_len(), 2);
            let bias = values(channels, 3);
            let image_bias = drawn(element, shape.batch * channels, 4);
            let residual = drawn(element, shape.output_len(), 5);
            let (one, two) = (multiplied(precision, x.clone()), multiplied(precision, weight.clone()));
            for parts in 0..16 {
                let (relu, scale, what) = (parts & 8 != 0, 0.75, (precision, parts));
                let Some(got) = in_three_orders(&what, &|gpu| {
                    let (x, weight) = (put(gpu, element, &x), put(gpu, element, &weight));
                    let (image, whole) = (put(gpu, element, &image_bias), put(gpu, element, &residual));
                    let bias = gpu.upload(&bias)?;
                    let epilogue = Epilogue {
                        bias: (parts & 1 != 0).then_some(&bias),
                        image_bias: (parts & 2 != 0).then_some(&image),
                        residual: (parts & 4 != 0).then_some(&whole),
                        scale,
                        relu,
                    };
                    Ok(vec![gpu.conv2d(precision, &shape, &x, &weight, epilogue)?])
                }) else {
                    return;
                };
                let epilogue = exact::Epilogue {
                    bias: (parts & 1 != 0).then_some(&bias[..]),
                    image_bias: (parts & 2 != 0).then_some(&image_bias[..]),
                    residual: (parts & 4 != 0).then_some(&residual[..]),
                    scale,
                    relu,
                };
                let exact =
                    written(shape.output_len(), |out| exact::forward(&same, &one, &two, epilogue, out));
                assert_close(&got[0], &stored(element, exact), tolerance(element, 5e-6), &what);
            }
        }
    }
}
