//! The truth: the definition on a padded image, generic over the float.

use super::PoolShape;
use crate::elementwise::testing::Real;

/// The input indices of each window, `None` where it covers padding, in the order of the output.
fn windows(shape: &PoolShape) -> Vec<Vec<Option<usize>>> {
    let mut all = Vec::new();
    for n in 0..shape.batch {
        for oy in 0..shape.out_height() {
            for ox in 0..shape.out_width() {
                for c in 0..shape.channels {
                    let mut window = Vec::new();
                    for ky in 0..shape.kernel {
                        for kx in 0..shape.kernel {
                            let y = (oy * shape.stride + ky)
                                .checked_sub(shape.padding)
                                .filter(|&y| y < shape.height);
                            let x = (ox * shape.stride + kx)
                                .checked_sub(shape.padding)
                                .filter(|&x| x < shape.width);
                            window.push(y.zip(x).map(|(y, x)| {
                                ((n * shape.height + y) * shape.width + x) * shape.channels + c
                            }));
                        }
                    }
                    all.push(window);
                }
            }
        }
    }
    all
}

/// Index of the largest input of each window, the first of equals.
fn winners<F: Real>(shape: &PoolShape, x: &[F]) -> Vec<usize> {
    let best = |window: Vec<Option<usize>>| {
        window.into_iter().flatten().reduce(|best, i| if x[i] > x[best] { i } else { best }).unwrap()
    };
    windows(shape).into_iter().map(best).collect()
}

pub(super) fn max_pool<F: Real>(shape: &PoolShape, x: &[F]) -> Vec<F> {
    winners(shape, x).into_iter().map(|i| x[i]).collect()
}

pub(super) fn max_pool_backward<F: Real>(shape: &PoolShape, x: &[F], grad_out: &[F]) -> Vec<F> {
    let mut grad = vec![F::of(0.0); x.len()];
    for (i, &g) in winners(shape, x).into_iter().zip(grad_out) {
        grad[i] += g;
    }
    grad
}

pub(super) fn avg_pool<F: Real>(shape: &PoolShape, x: &[F]) -> Vec<F> {
    let mean = |window: Vec<Option<usize>>| {
        let count = F::of(window.len() as f64);
        window.into_iter().flatten().fold(F::of(0.0), |s, i| s + x[i]) / count
    };
    windows(shape).into_iter().map(mean).collect()
}

pub(super) fn avg_pool_backward<F: Real>(shape: &PoolShape, grad_out: &[F]) -> Vec<F> {
    let mut grad = vec![F::of(0.0); shape.input_len()];
    for (window, &g) in windows(shape).into_iter().zip(grad_out) {
        let share = g / F::of(window.len() as f64);
        window.into_iter().flatten().for_each(|i| grad[i] += share);
    }
    grad
}

pub(super) fn avg_pool_inside<F: Real>(shape: &PoolShape, x: &[F]) -> Vec<F> {
    let mean = |window: Vec<Option<usize>>| {
        let inside: Vec<usize> = window.into_iter().flatten().collect();
        inside.iter().fold(F::of(0.0), |s, &i| s + x[i]) / F::of(inside.len() as f64)
    };
    windows(shape).into_iter().map(mean).collect()
}
