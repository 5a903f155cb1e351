use crate::check::{STORED, assert_close, drawn, in_three_orders, put, tolerance, written};
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
                let Some(got) = in_three_orders(&what, &|gpu| {
                    let (x, g) = (put(gpu, element, &x), put(gpu, element, &g));
                    Ok(vec![
                        gpu.resample(map, batch, from, channels, &x)?,
                        gpu.resample_backward(map, batch, from, channels, &g)?,
                    ])
                }) else {
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
