//! The kernels of a step, at the sizes of real networks.

use crate::{Case, Suite};
use cm_kernels::attention::{self, AttentionShape};
use cm_kernels::conv2d::{self, Conv2dShape, Epilogue};
use cm_kernels::gemm::{Matrix, gemm};
use cm_kernels::group_norm::{self, Affine, Grads, GroupNormShape};

/// Batch, side of the image, input and output channels, side of the kernel.
const CONVOLUTIONS: [(usize, usize, usize, usize, usize); 11] = [
    (32, 32, 64, 64, 3),
    (32, 16, 128, 128, 3),
    (32, 8, 128, 128, 3),
    (64, 8, 32, 32, 3),
    (4, 32, 256, 256, 3),
    (32, 32, 128, 64, 3),
    (32, 32, 3, 64, 3),
    (1, 32, 128, 128, 3),
    (32, 32, 128, 64, 1),
    (32, 16, 256, 128, 1),
    (4, 16, 512, 256, 1),
];

/// Batch, pixels, channels.
const NORMALISATIONS: [(usize, usize, usize); 3] = [(64, 64, 32), (32, 1024, 64), (4, 1024, 256)];

/// Batch, tokens, channels of one head.
const ATTENTIONS: [(usize, usize, usize); 3] = [(64, 16, 64), (32, 256, 128), (4, 256, 256)];

/// A matrix product, 3x3 and 1x1 convolutions, group normalisations with SiLU and attentions, forward and backward.
pub fn kernels() -> Suite {
    let mut cases = vec![product(1024)];
    cases.extend(CONVOLUTIONS.into_iter().flat_map(convolution));
    cases.extend(NORMALISATIONS.into_iter().flat_map(normalisation));
    cases.extend(ATTENTIONS.into_iter().flat_map(self_attention));
    Suite { bench: "kernels", cases }
}

/// Numbers in [-1, 1], no two alike for long.
fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 2003) as f32 / 1001.5 - 1.0).collect()
}

fn product(size: usize) -> Case {
    let flops = 2 * (size as u64).pow(3);
    Case::new(format!("gemm/{size}x{size}x{size}"), 1, flops, move || {
        let (a, b) = (numbers(size * size), numbers(size * size));
        let mut out = vec![0.0; size * size];
        move || gemm(Matrix::row_major(&a, size, size), Matrix::row_major(&b, size, size), 1.0, 0.0, &mut out)
    })
}

fn convolution(
    (batch, size, in_channels, out_channels, kernel): (usize, usize, usize, usize, usize),
) -> [Case; 3] {
    let shape = Conv2dShape::same(batch, size, in_channels, out_channels, kernel);
    let kind = if kernel == 3 { "conv2d".to_owned() } else { format!("conv2d_{kernel}x{kernel}") };
    let name = |what: &str| format!("{kind}.{what}/{batch}x{size}x{size}_{in_channels}to{out_channels}");
    let flops = (2 * kernel * kernel * batch * size * size * in_channels * out_channels) as u64;
    [
        Case::new(name("forward"), batch, flops, move || {
            let (x, weight, bias) =
                (numbers(shape.input_len()), numbers(shape.weight_len()), numbers(out_channels));
            let mut out = vec![0.0; shape.output_len()];
            move || {
                let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
                conv2d::forward(&shape, &x, &weight, epilogue, &mut out);
            }
        }),
        Case::new(name("backward_data"), batch, flops, move || {
            let (weight, grad_out) = (numbers(shape.weight_len()), numbers(shape.output_len()));
            let mut grad_x = vec![0.0; shape.input_len()];
            move || conv2d::backward_data(&shape, &weight, &grad_out, &mut grad_x)
        }),
        Case::new(name("backward_weight"), batch, flops, move || {
            let (x, grad_out) = (numbers(shape.input_len()), numbers(shape.output_len()));
            let mut grad_weight = vec![0.0; shape.weight_len()];
            move || conv2d::backward_weight(&shape, &x, &grad_out, &mut grad_weight)
        }),
    ]
}

fn normalisation((batch, pixels, channels): (usize, usize, usize)) -> [Case; 2] {
    let shape = GroupNormShape { batch, pixels, channels, groups: (channels / 4).min(32), eps: 1e-6 };
    let name = |what: &str| format!("group_norm_silu.{what}/{batch}x{pixels}_{channels}");
    // Bound by memory: no arithmetic is claimed.
    [
        Case::new(name("forward"), batch, 0, move || {
            let (x, gamma, beta) = (numbers(shape.len()), numbers(channels), numbers(channels));
            let (mut out, mut stats) = (vec![0.0; shape.len()], vec![0.0; shape.stats_len()]);
            move || {
                let affine = Affine { gamma: &gamma, beta: &beta, film: None };
                group_norm::forward(&shape, &x, affine, true, &mut out, &mut stats);
            }
        }),
        Case::new(name("backward"), batch, 0, move || {
            let (x, gamma, beta) = (numbers(shape.len()), numbers(channels), numbers(channels));
            let (mut out, mut stats) = (vec![0.0; shape.len()], vec![0.0; shape.stats_len()]);
            let affine = Affine { gamma: &gamma, beta: &beta, film: None };
            group_norm::forward(&shape, &x, affine, true, &mut out, &mut stats);
            let (grad_out, mut grad_x) = (out, vec![0.0; shape.len()]);
            let (mut grad_gamma, mut grad_beta) = (vec![0.0; channels], vec![0.0; channels]);
            move || {
                let affine = Affine { gamma: &gamma, beta: &beta, film: None };
                let grads = Grads {
                    grad_x: &mut grad_x,
                    grad_gamma: &mut grad_gamma,
                    grad_beta: &mut grad_beta,
                    film: None,
                };
                group_norm::backward(&shape, &x, affine, true, &stats, &grad_out, grads);
            }
        }),
    ]
}

fn self_attention((batch, tokens, dim): (usize, usize, usize)) -> [Case; 2] {
    let shape = AttentionShape { batch, tokens, heads: 1, dim };
    let name = |what: &str| format!("attention.{what}/{batch}x{tokens}_{dim}");
    let product = (2 * batch * tokens * tokens * dim) as u64;
    [
        Case::new(name("forward"), batch, 2 * product, move || {
            let qkv = numbers(shape.qkv_len());
            let (mut out, mut lse) = (vec![0.0; shape.output_len()], vec![0.0; shape.lse_len()]);
            move || attention::forward(&shape, &qkv, &mut out, &mut lse)
        }),
        Case::new(name("backward"), batch, 4 * product, move || {
            let qkv = numbers(shape.qkv_len());
            let (mut out, mut lse) = (vec![0.0; shape.output_len()], vec![0.0; shape.lse_len()]);
            attention::forward(&shape, &qkv, &mut out, &mut lse);
            let (grad_out, mut grad_qkv) = (numbers(shape.output_len()), vec![0.0; shape.qkv_len()]);
            move || attention::backward(&shape, &qkv, &out, &lse, &grad_out, &mut grad_qkv)
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_kind_runs_and_no_two_cases_share_a_name() {
        let suite = kernels();
        let names: HashSet<_> = suite.cases.iter().map(Case::name).collect();
        assert_eq!(names.len(), suite.cases.len());
        let mut small = Vec::new();
        kernels().only("64x64_32").unwrap().run(1, &mut small).unwrap();
        kernels().only("64x16_64").unwrap().run(1, &mut small).unwrap();
        kernels().only("64x8x8_32to32").unwrap().run(1, &mut small).unwrap();
        assert_eq!(small.iter().filter(|&&byte| byte == b'\n').count(), 2 + 2 + 3);
    }
}
