use crate::check::{STORED, assert_close, drawn, in_three_orders, put, tolerance, written};
use cm_gpu::Element;
use cm_gpu::resample::Map;
use cm_kernels::resample as exact;

type Kernel = fn(usize, usize, usize, usize, &[f32], &mut [f32]);

const BY_TWO: [(Map, Kernel, Kernel); 5] = [
    (Map::NearestUp, exact::nearest_up2, exact::nearest_up2_backward),
    (Map::AverageDown, exact::avg_down2, exact::avg_down2_backward),
    (Map::FirUp, exact::fir_up2, exact::fir_up2_backward),
    (Map::FirDown, exact::fir_down2, exact::fir_down2_backward),
    (Map::FirSmooth, exact::fir_smooth, exact::fir_smooth_backward),
];

/// What is resampled: the type of the values, the map, images, their size, channels.
type Case = (Element, Map, usize, (usize, usize), usize);

/// `x` under a case's map, and the gradient of that by `g`, whatever the order of threads.
fn both_ways(case: Case, x: &[f32], g: &[f32]) -> Option<Vec<Vec<f32>>> {
    let (element, map, batch, from, channels) = case;
    in_three_orders(&case, &|gpu| {
        let (x, g) = (put(gpu, element, x), put(gpu, element, g));
        Ok(vec![
            gpu.resample(map, batch, from, channels, &x)?,
            gpu.resample_backward(map, batch, from, channels, &g)?,
        ])
    })
}

#[test]
fn every_map_and_its_gradient_are_the_cpu_s() {
    for element in STORED {
        for (batch, from, channels) in [(0, (2, 2), 3), (1, (2, 4), 1), (2, (6, 4), 3), (3, (8, 10), 17)] {
            let bilinear = [(1, 1), (3, 9), (8, 10), (13, 5)].map(|(h, w)| Map::Bilinear(h, w));
            for map in BY_TWO.map(|(map, ..)| map).into_iter().chain(bilinear) {
                let (to_height, to_width) = map.size(from);
                let (len, to) = (batch * from.0 * from.1 * channels, batch * to_height * to_width * channels);
                let (x, g) = (drawn(element, len, 1), drawn(element, to, 2));
                let what = (element, map, batch, from, channels);
                let Some(got) = both_ways(what, &x, &g) else {
                    return;
                };
                let (out, grad) = match BY_TWO.iter().find(|(known, ..)| *known == map) {
                    Some((_, forward, backward)) => (
                        written(to, |out| forward(batch, from.0, from.1, channels, &x, out)),
                        written(len, |out| backward(batch, from.0, from.1, channels, &g, out)),
                    ),
                    None => {
                        let size = (to_height, to_width);
                        let forward = |out: &mut [f32]| exact::bilinear(batch, from, size, channels, &x, out);
                        let backward =
                            |out: &mut [f32]| exact::bilinear_backward(batch, from, size, channels, &g, out);
                        (written(to, forward), written(len, backward))
                    }
                };
                assert_close(&got[0], &out, tolerance(element, 3e-7), &what);
                assert_close(&got[1], &grad, tolerance(element, 3e-7), &what);
            }
        }
    }
}

/// The ways in which images are brought to the size of Inception's, which is never differentiated; the gradient is held to
/// the map itself: sum(g x A x) = sum(A^T g x x).
#[test]
fn resizings_to_any_size_are_the_cpu_s_and_their_gradients_are_the_adjoint() {
    let maps = |(h, w): (usize, usize)| {
        [
            (Map::BilinearCorners(h, w), exact::Interpolation::BilinearCorners),
            (Map::BicubicSmooth(h, w), exact::Interpolation::BicubicSmooth),
        ]
    };
    for element in STORED {
        for (batch, from, to, channels) in [
            (1, (1, 1), (1, 1), 1),
            (2, (8, 5), (19, 23), 3),
            (1, (32, 32), (13, 7), 3),
            (2, (6, 7), (6, 7), 17),
        ] {
            for (map, how) in maps(to) {
                let (len, outputs) = (batch * from.0 * from.1 * channels, batch * to.0 * to.1 * channels);
                let (x, g) = (drawn(element, len, 1), drawn(element, outputs, 2));
                let what = (element, map, batch, from, channels);
                let Some(got) = both_ways(what, &x, &g) else {
                    return;
                };
                let out = written(outputs, |out| exact::resize(how, batch, from, to, channels, &x, out));
                assert_close(&got[0], &out, tolerance(element, 5e-7), &what);
                let dot = |a: &[f32], b: &[f32]| -> f64 {
                    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
                };
                let size = |a: &[f32]| dot(a, a).sqrt();
                let (forward, backward) = (dot(&g, &got[0]), dot(&got[1], &x));
                let allowed = tolerance(element, 1e-6) * (size(&g) * size(&got[0])).max(1e-30);
                assert!((forward - backward).abs() <= allowed, "{what:?}: {forward} and {backward}");
            }
        }
    }
}
