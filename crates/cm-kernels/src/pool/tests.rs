use super::*;
use crate::buffer::written_by;
use crate::elementwise::testing::*;

fn shapes() -> Vec<PoolShape> {
    let mut all = Vec::new();
    for (kernel, stride, padding) in [(2, 2, 0), (3, 2, 1), (3, 1, 1), (3, 2, 0), (1, 1, 0), (5, 3, 2)] {
        for (height, width) in [(5, 5), (6, 9), (8, 7)] {
            for channels in [1, 15, 16, 17] {
                for (batch, round_up) in [(0, false), (1, true), (3, false), (2, true)] {
                    let shape =
                        PoolShape { batch, height, width, channels, kernel, stride, padding, round_up };
                    all.push(shape);
                }
            }
        }
    }
    all
}

/// Output, gradient and tangent.
fn max_all(shape: &PoolShape, x: &[f32], g: &[f32]) -> [Vec<f32>; 3] {
    let mut argmax = vec![u32::MAX; shape.output_len()];
    let out = written_by(shape.output_len(), |out| max_pool(shape, x, out, &mut argmax));
    let grad = written_by(shape.input_len(), |grad| max_pool_backward(shape, &argmax, g, grad));
    let along = values(shape.input_len(), 3);
    [out, grad, written_by(shape.output_len(), |out| max_pool_tangent(shape, &argmax, &along, out))]
}

#[test]
fn agrees_with_the_naive_twin() {
    for shape in shapes() {
        let (x, g) = (values(shape.input_len(), 1), values(shape.output_len(), 2));
        let [out, grad, tangent] = max_all(&shape, &x, &g);
        let along = values(shape.input_len(), 3);
        let exact = slopes(&naive::max_pool(&shape, &dual(&x, Some(&along))));
        assert_eq!(wide(&tangent), exact, "{shape:?}");
        assert_eq!(out, naive::max_pool(&shape, &x), "{shape:?}");
        assert_eq!(out, written_by(shape.output_len(), |out| max_pool_values(&shape, &x, out)), "{shape:?}");
        assert_close(&grad, &naive::max_pool_backward(&shape, &wide(&x), &wide(&g)), 1e-6, &shape);
        let out = written_by(shape.output_len(), |out| avg_pool_inside(&shape, &x, out));
        assert_close(&out, &naive::avg_pool_inside(&shape, &wide(&x)), 1e-6, &shape);
        if shape.round_up {
            continue;
        }
        let out = written_by(shape.output_len(), |out| avg_pool(&shape, &x, out));
        assert_close(&out, &naive::avg_pool(&shape, &wide(&x)), 1e-6, &shape);
        let grad = written_by(shape.input_len(), |grad| avg_pool_backward(&shape, &g, grad));
        assert_close(&grad, &naive::avg_pool_backward(&shape, &wide(&g)), 1e-6, &shape);
    }
}

#[test]
fn naive_gradients_are_right() {
    let shape = PoolShape {
        batch: 2,
        height: 5,
        width: 4,
        channels: 2,
        kernel: 3,
        stride: 2,
        padding: 1,
        round_up: false,
    };
    let (x, w) = (wide(&values(shape.input_len(), 1)), wide(&values(shape.output_len(), 2)));
    let formula = naive::max_pool_backward(&shape, &x, &w);
    assert_gradient(|x| weighted_sum(&naive::max_pool(&shape, x), &w), &x, &formula, &"max");
    let formula = naive::avg_pool_backward(&shape, &w);
    assert_gradient(|x| weighted_sum(&naive::avg_pool(&shape, x), &w), &x, &formula, &"average");
}

#[test]
fn negative_images_are_not_beaten_by_padding() {
    let shape = PoolShape {
        batch: 1,
        height: 2,
        width: 2,
        channels: 1,
        kernel: 2,
        stride: 2,
        padding: 1,
        round_up: false,
    };
    let [out, grad, _] = max_all(&shape, &[-1.0, -2.0, -3.0, -4.0], &[1.0, 2.0, 3.0, 4.0]);
    assert_eq!(out, [-1.0, -2.0, -3.0, -4.0]);
    assert_eq!(grad, [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn nan_wins_and_equals_go_to_the_first() {
    let shape = PoolShape {
        batch: 1,
        height: 1,
        width: 4,
        channels: 1,
        kernel: 1,
        stride: 1,
        padding: 0,
        round_up: false,
    };
    let shape = PoolShape { height: 2, width: 2, kernel: 2, ..shape };
    assert!(max_all(&shape, &[1.0, f32::NAN, 9.0, 2.0], &[1.0])[0][0].is_nan());
    assert_eq!(max_all(&shape, &[1.0, 5.0, 5.0, 2.0], &[1.0])[1], [0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn global_average_and_its_gradient() {
    for (batch, pixels, channels) in [(0, 4, 3), (1, 1, 1), (3, 49, 17), (40, 64, 32)] {
        let (x, g) = (values(batch * pixels * channels, 1), values(batch * channels, 2));
        let mut exact = vec![0.0; batch * channels];
        for (i, &v) in x.iter().enumerate() {
            exact[i / (pixels * channels) * channels + i % channels] += f64::from(v) / pixels as f64;
        }
        let out = written_by(batch * channels, |out| global_avg_pool(batch, pixels, channels, &x, out));
        assert_close(&out, &exact, 1e-6, &(batch, pixels, channels));
        let grad = written_by(x.len(), |grad| global_avg_pool_backward(batch, pixels, channels, &g, grad));
        let at = |i: usize| f64::from(g[i / (pixels * channels) * channels + i % channels]) / pixels as f64;
        let exact: Vec<f64> = (0..x.len()).map(at).collect();
        assert_close(&grad, &exact, 1e-6, &(batch, pixels, channels));
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let shape = PoolShape {
        batch: 20,
        height: 16,
        width: 16,
        channels: 9,
        kernel: 3,
        stride: 2,
        padding: 1,
        round_up: false,
    };
    let (x, g) = (values(shape.input_len(), 1), values(shape.output_len(), 2));
    assert_same_for_any_threads(|| {
        let mut all = max_all(&shape, &x, &g).concat();
        all.extend(written_by(shape.input_len(), |grad| avg_pool_backward(&shape, &g, grad)));
        all
    });
}

/// Sizes that PyTorch gives with `ceil_mode`.
#[test]
fn a_window_that_hangs_over_is_taken_unless_it_begins_outside() {
    let rows = |height, kernel, stride, padding| {
        PoolShape { batch: 1, height, width: 1, channels: 1, kernel, stride, padding, round_up: true }
            .out_height()
    };
    assert_eq!([111, 112, 113, 55, 2].map(|size| rows(size, 3, 2, 0)), [55, 56, 56, 27, 0]);
    assert_eq!(rows(2, 1, 3, 0), 1, "a window would begin beyond the image");
    assert_eq!(rows(3, 2, 2, 1), 2, "a window would begin in the padding");
}
