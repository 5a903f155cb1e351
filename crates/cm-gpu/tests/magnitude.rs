use crate::check::{STORED, assert_close, drawn, in_three_orders, put, tolerance, values};

/// By the formulas, in double precision: the outputs, the gradients by x, and by the factors.
struct Exact {
    normed: Vec<f32>,
    of_norm: Vec<f32>,
    modulated: Vec<f32>,
    of_factors: Vec<f32>,
}

fn exact(images: usize, pixels: usize, channels: usize, x: &[f32], g: &[f32], factors: &[f32]) -> Exact {
    let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|&v| f64::from(v)).collect() };
    let (x, g, factors) = (wide(x), wide(g), wide(factors));
    let (mut normed, mut of_norm) = (Vec::new(), Vec::new());
    for (x, g) in x.chunks(channels).zip(g.chunks(channels)) {
        let root = (x.iter().map(|v| v * v).sum::<f64>() / channels as f64).sqrt();
        let by = 1e-4 + root;
        let along: f64 = x.iter().zip(g).map(|(x, g)| x * g).sum();
        let pull = if root > 0.0 { along / (by * by * root * channels as f64) } else { 0.0 };
        normed.extend(x.iter().map(|v| (v / by) as f32));
        of_norm.extend(x.iter().zip(g).map(|(x, g)| (g / by - pull * x) as f32));
    }
    let factor = |place: usize| place / (pixels * channels) * channels + place % channels;
    let modulated = (0..x.len()).map(|place| (x[place] * (1.0 + factors[factor(place)])) as f32).collect();
    let mut of_factors = vec![0.0; images * channels];
    (0..x.len()).for_each(|place| of_factors[factor(place)] += x[place] * g[place]);
    Exact { normed, of_norm, modulated, of_factors: of_factors.into_iter().map(|v| v as f32).collect() }
}

#[test]
fn magnitudes_are_the_formulas() {
    for element in STORED {
        for (images, pixels, channels) in [(1, 1, 1), (2, 3, 5), (3, 16, 32), (1, 49, 40), (0, 4, 8)] {
            let n = images * pixels * channels;
            let (mut x, g) = (drawn(element, n, 1), drawn(element, n, 2));
            // A pixel of nothing has no direction.
            x.iter_mut().take(channels).for_each(|v| *v = 0.0);
            let factors = values(images * channels, 3);
            let at = (element, images, pixels, channels);
            let Some(got) = in_three_orders(&at, &|gpu| {
                let (x, g) = (put(gpu, element, &x), put(gpu, element, &g));
                let by = gpu.upload(&factors)?;
                let (normed, divisors) = gpu.pixel_norm(channels, &x)?;
                let of_norm = gpu.pixel_norm_backward(&x, &divisors, &g)?;
                let of_factors = gpu.modulate_backward(channels, by.len(), &x, &g)?;
                Ok(vec![normed, of_norm, gpu.modulate(channels, &x, &by)?, of_factors])
            }) else {
                return;
            };
            let Exact { normed, of_norm, modulated, of_factors } =
                exact(images, pixels, channels, &x, &g, &factors);
            assert_close(&got[0], &normed, tolerance(element, 1e-6), &(at, "normed"));
            assert_close(&got[1], &of_norm, tolerance(element, 1e-5), &(at, "by x"));
            assert_close(&got[2], &modulated, tolerance(element, 1e-6), &(at, "modulated"));
            assert_close(&got[3], &of_factors, 1e-5, &(at, "by factors"));
        }
    }
}

#[test]
fn what_lies_beyond_a_limit_has_its_value_and_no_gradient() {
    for element in STORED {
        let (x, g) = (drawn(element, 1027, 1), drawn(element, 1027, 2));
        let Some(got) = in_three_orders(&element, &|gpu| {
            let (x, g) = (put(gpu, element, &x), put(gpu, element, &g));
            Ok(vec![gpu.clamp(&x, 0.5)?, gpu.clamp_backward(&x, &g, 0.5)?])
        }) else {
            return;
        };
        let clamped: Vec<f32> = x.iter().map(|v| v.clamp(-0.5, 0.5)).collect();
        let passed: Vec<f32> = x.iter().zip(&g).map(|(x, &g)| if x.abs() > 0.5 { 0.0 } else { g }).collect();
        assert!(passed.contains(&0.0) && passed.iter().any(|&g| g != 0.0));
        assert_close(&got[0], &clamped, 0.0, &(element, "clamped"));
        assert_close(&got[1], &passed, 0.0, &(element, "gradient"));
    }
}
