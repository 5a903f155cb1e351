use crate::check::{STORED, assert_close, drawn, in_three_orders, put, tolerance, written};
use cm_gpu::pool::PoolShape;
use cm_kernels::pool as exact;

fn shapes() -> Vec<PoolShape> {
    let mut shapes = Vec::new();
    for (kernel, stride, padding) in
        [(1, 1, 0), (2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1), (5, 3, 2), (2, 3, 0)]
    {
        for (batch, height, width, channels) in [(0, 5, 5, 2), (1, 5, 6, 1), (2, 7, 9, 3), (2, 8, 8, 17)] {
            for round_up in [false, true] {
                shapes.push(PoolShape { batch, height, width, channels, kernel, stride, padding, round_up });
            }
        }
    }
    shapes
}

#[test]
fn every_pooling_and_its_gradient_are_the_cpu_s() {
    for (number, shape) in shapes().into_iter().enumerate() {
        let PoolShape { batch, height, width, channels, kernel, stride, padding, round_up } = shape;
        let same = exact::PoolShape { batch, height, width, channels, kernel, stride, padding, round_up };
        let (len, to) = (same.input_len(), same.output_len());
        let element = STORED[number % 2];
        // Whole numbers, so that some are equal.
        let x: Vec<f32> = drawn(element, len, 1).iter().map(|x| (x * 3.0).round()).collect();
        let g = drawn(element, to, 2);
        let Some(got) = in_three_orders(&(element, shape), &|gpu| {
            let (x, g) = (put(gpu, element, &x), put(gpu, element, &g));
            let (out, winners) = gpu.max_pool(&shape, &x)?;
            let mut all = vec![out, gpu.max_pool_backward(&shape, &winners, &g)?];
            all.push(gpu.average_pool(&shape, true, &x)?);
            if !round_up {
                all.extend([gpu.average_pool(&shape, false, &x)?, gpu.average_pool_backward(&shape, &g)?]);
            }
            Ok(all)
        }) else {
            return;
        };
        let mut winners = vec![0; to];
        let mut all = vec![written(to, |out| exact::max_pool(&same, &x, out, &mut winners))];
        all.push(written(len, |out| exact::max_pool_backward(&same, &winners, &g, out)));
        all.push(written(to, |out| exact::avg_pool_inside(&same, &x, out)));
        if !round_up {
            all.push(written(to, |out| exact::avg_pool(&same, &x, out)));
            all.push(written(len, |out| exact::avg_pool_backward(&same, &g, out)));
        }
        assert_eq!(got.len(), all.len());
        for (i, (got, exact)) in got.iter().zip(&all).enumerate() {
            assert_close(got, exact, tolerance(element, 4e-7), &(i, element, shape));
        }
    }
}

#[test]
fn the_mean_over_an_image_is_the_cpu_s() {
    for element in STORED {
        for (batch, pixels, channels) in [(0, 4, 3), (1, 1, 1), (2, 49, 33), (3, 7, 64)] {
            let (len, to) = (batch * pixels * channels, batch * channels);
            let (x, g) = (drawn(element, len, 1), drawn(element, to, 2));
            let Some(got) = in_three_orders(&(element, batch, pixels, channels), &|gpu| {
                let (x, g) = (put(gpu, element, &x), put(gpu, element, &g));
                let mean = gpu.global_average(batch, pixels, channels, &x)?;
                Ok(vec![mean, gpu.global_average_backward(batch, pixels, channels, &g)?])
            }) else {
                return;
            };
            let mean = written(to, |out| exact::global_avg_pool(batch, pixels, channels, &x, out));
            let grad = written(len, |out| exact::global_avg_pool_backward(batch, pixels, channels, &g, out));
            assert_close(&got[0], &mean, tolerance(element, 5e-7), &(element, batch, pixels, channels));
            assert_close(&got[1], &grad, tolerance(element, 5e-7), &(element, batch, pixels, channels));
        }
    }
}
