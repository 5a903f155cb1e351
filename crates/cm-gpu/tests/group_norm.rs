use crate::check::{STORED, assert_close, drawn, in_three_orders, put, tolerance, values};
use cm_gpu::Element;
use cm_gpu::group_norm::{Affine, GroupNormShape};
use cm_kernels::group_norm as exact;

/// Output, statistics and all gradients of the CPU.
fn expected(
    shape: &GroupNormShape,
    [x, grad_out, gamma, beta, scale, shift]: [&[f32]; 6],
    film: bool,
    silu: bool,
) -> Vec<Vec<f32>> {
    let &GroupNormShape { batch, pixels, channels, groups, eps } = shape;
    let shape = exact::GroupNormShape { batch, pixels, channels, groups, eps };
    let affine = exact::Affine { gamma, beta, film: film.then_some(exact::Film { scale, shift }) };
    let (mut out, mut stats) = (vec![0.0; x.len()], vec![0.0; shape.stats_len()]);
    exact::forward(&shape, x, affine, silu, &mut out, &mut stats);
    let (mut grad_x, mut grad_gamma, mut grad_beta) = (out.clone(), gamma.to_vec(), beta.to_vec());
    let (mut grad_scale, mut grad_shift) = (scale.to_vec(), shift.to_vec());
    let grads = exact::Grads {
        grad_x: &mut grad_x,
        grad_gamma: &mut grad_gamma,
        grad_beta: &mut grad_beta,
        film: film.then_some((&mut grad_scale, &mut grad_shift)),
    };
    exact::backward(&shape, x, affine, silu, &stats, grad_out, grads);
    let mut all = vec![out, stats, grad_x, grad_gamma, grad_beta];
    if film {
        all.extend([grad_scale, grad_shift]);
    }
    all
}

#[track_caller]
fn compare(element: Element, shape: &GroupNormShape, film: bool, silu: bool, offset: f32, single: f64) {
    let &GroupNormShape { batch, pixels, channels, .. } = shape;
    let len = batch * pixels * channels;
    let x: Vec<f32> = values(len, 1).iter().map(|x| x + offset).collect();
    let x = crate::check::stored(element, x);
    let grad_out = drawn(element, len, 2);
    let (gamma, beta) = (values(channels, 3), values(channels, 4));
    let (scale, shift) = (values(batch * channels, 5), values(batch * channels, 6));
    let what = (element, shape, film, silu);
    let Some(got) = in_three_orders(&what, &|gpu| {
        let (x, g) = (put(gpu, element, &x), put(gpu, element, &grad_out));
        let [gamma, beta, scale, shift] =
            [&gamma, &beta, &scale, &shift].map(|values| gpu.upload(values).unwrap());
        let affine = Affine { gamma: &gamma, beta: &beta, film: film.then_some((&scale, &shift)) };
        let (out, stats) = gpu.group_norm(shape, &x, affine, silu)?;
        let grads = gpu.group_norm_backward(shape, &x, affine, silu, &stats, &g, true)?;
        let mut all = vec![out, stats, grads.x.unwrap(), grads.gamma, grads.beta];
        all.extend(grads.film.into_iter().flat_map(|(scale, shift)| [scale, shift]));
        Ok(all)
    }) else {
        return;
    };
    let exact = expected(shape, [&x, &grad_out, &gamma, &beta, &scale, &shift], film, silu);
    assert_eq!(got.len(), exact.len());
    for (i, (got, exact)) in got.iter().zip(&exact).enumerate() {
        // Only the output and the gradient by x are stored in the type of x.
        let stored = if i == 0 || i == 2 { element } else { Element::F32 };
        assert_close(got, exact, tolerance(stored, single), &(i, what));
    }
}

#[test]
fn agrees_with_the_cpu_over_the_edge_grid() {
    for batch in [0, 1, 3] {
        for pixels in [1, 2, 9, 300] {
            for (channels, groups) in [(1, 1), (4, 2), (15, 3), (16, 4), (17, 17), (32, 8), (96, 1)] {
                // One value is always its mean, and two always one deviation from it.
                if pixels * channels / groups < 3 {
                    continue;
                }
                let shape = GroupNormShape { batch, pixels, channels, groups, eps: 1e-5 };
                let (film, silu) = ((pixels + channels) % 2 == 0, (pixels + batch) % 2 == 0);
                let element = STORED[(pixels + groups + batch) % 2];
                compare(element, &shape, film, silu, 0.0, 5e-6);
            }
        }
    }
}

#[test]
fn every_combination_of_modulation_and_activation() {
    let shape = GroupNormShape { batch: 2, pixels: 25, channels: 24, groups: 6, eps: 1e-5 };
    for element in STORED {
        for (film, silu) in [(false, false), (false, true), (true, false), (true, true)] {
            compare(element, &shape, film, silu, 0.0, 5e-6);
        }
    }
}

#[test]
fn a_large_mean_does_not_swallow_the_variance() {
    let shape = GroupNormShape { batch: 2, pixels: 64, channels: 16, groups: 4, eps: 1e-5 };
    compare(Element::F32, &shape, false, true, 300.0, 3e-4);
}
