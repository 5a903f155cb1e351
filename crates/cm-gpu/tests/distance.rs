use crate::check::{STORED, assert_close, drawn, in_three_orders, put, tolerance, values, written};
use cm_gpu::Element;
use cm_gpu::distance::Distance;
use cm_kernels::distance as exact;
use cm_kernels::feature_distance;

const KINDS: [(Distance, exact::Distance); 5] = [
    (Distance::L1, exact::Distance::L1),
    (Distance::L2, exact::Distance::L2),
    (Distance::SquaredL2, exact::Distance::SquaredL2),
    (Distance::LInfinity, exact::Distance::LInfinity),
    (Distance::PseudoHuber { c: 0.3 }, exact::Distance::PseudoHuber { c: 0.3 }),
];

/// Value and gradient of one kind on the GPU.
fn run(
    kind: Distance,
    element: Element,
    rows: usize,
    x: &[f32],
    y: &[f32],
    g: &[f32],
) -> Option<Vec<Vec<f32>>> {
    in_three_orders(&(kind, element, rows), &|gpu| {
        let (x, y) = (put(gpu, element, x), put(gpu, element, y));
        Ok(vec![gpu.distance(kind, rows, &x, &y)?, gpu.distance_backward(kind, &x, &y, &gpu.upload(g)?)?])
    })
}

#[test]
fn distances_and_gradients_are_the_cpu_s() {
    for element in STORED {
        for (rows, dim) in [(0, 3), (1, 1), (2, 31), (3, 700)] {
            let (x, y) = (drawn(element, rows * dim, 1), drawn(element, rows * dim, 2));
            let g = values(rows, 3);
            for (kind, same) in KINDS {
                let Some(got) = run(kind, element, rows, &x, &y, &g) else { return };
                let value = written(rows, |out| exact::distance(same, rows, &x, &y, out));
                let grad = written(rows * dim, |out| exact::distance_backward(same, rows, &x, &y, &g, out));
                assert_close(&got[0], &value, 2e-7, &(kind, element, rows, dim));
                assert_close(&got[1], &grad, tolerance(element, 3e-7), &(kind, element, rows, dim));
            }
        }
    }
}

#[test]
fn equal_images_are_at_distance_zero_with_no_gradient_and_what_is_no_number_stays_so() {
    let x = values(600, 5);
    for (kind, _) in KINDS {
        let Some(got) = run(kind, Element::F32, 2, &x, &x, &[1.0, 1.0]) else { return };
        assert!(got.iter().flatten().all(|&v| v == 0.0), "{kind:?}");
        let mut broken = x.clone();
        broken[411] = f32::NAN;
        let got = run(kind, Element::F32, 2, &broken, &x, &[1.0, 1.0]).unwrap();
        assert!(got[0][0] == 0.0 && got[0][1].is_nan(), "{kind:?}");
    }
}

#[test]
fn distances_of_features_are_the_cpu_s() {
    for element in STORED {
        for (rows, pixels, channels) in [(1, 1, 1), (2, 9, 3), (3, 5, 33), (2, 20, 64)] {
            let len = rows * pixels * channels;
            let (mut x, y, g) = (drawn(element, len, 1), drawn(element, len, 2), values(rows, 3));
            // A black pixel has no direction, but no NaN either.
            x[..channels].fill(0.0);
            let weights: Vec<f32> = values(channels, 4).iter().map(|w| w.abs()).collect();
            let Some(got) = in_three_orders(&(element, rows, pixels, channels), &|gpu| {
                let (x, y, w) = (put(gpu, element, &x), put(gpu, element, &y), gpu.upload(&weights)?);
                let value = gpu.feature_distance(rows, &w, &x, &y)?;
                Ok(vec![value, gpu.feature_distance_backward(&w, &x, &y, &gpu.upload(&g)?)?])
            }) else {
                return;
            };
            let value =
                written(rows, |out| feature_distance::unit_feature_distance(rows, &weights, &x, &y, out));
            let grad = written(len, |out| {
                feature_distance::unit_feature_distance_backward(rows, &weights, &x, &y, &g, out);
            });
            assert_close(&got[0], &value, 3e-7, &(element, rows, pixels, channels));
            // The black pixel's gradient is beyond all others' and would hide them.
            let single = tolerance(element, 3e-7);
            assert_close(&got[1][..channels], &grad[..channels], single, &(element, channels, "black"));
            assert_close(&got[1][channels..], &grad[channels..], single, &(element, channels));
        }
    }
}
