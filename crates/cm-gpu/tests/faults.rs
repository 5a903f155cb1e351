use crate::check::{in_order, values};
use crate::standin::{Plant, standin};
use cm_gpu::attention::AttentionShape;
use cm_gpu::conv2d::{Conv2dShape, Epilogue, Precision};
use cm_gpu::group_norm::{Affine, GroupNormShape};
use cm_gpu::{Buffer, Gpu, GpuError};

/// All mistakes, built beside the true kernels.
pub(crate) const PLANTS: &[Plant] = &[
    Plant {
        name: "reads_past_the_end",
        kernels: "activation.cu",
        file: "device.h",
        text: "if (from + 4 <= n) {",
        becomes: "if (from < n + 4) {",
    },
    Plant {
        name: "writes_a_little_too_far",
        kernels: "elementwise.cu",
        file: "device.h",
        text: "for (int64_t i = from; i < n; i++) work(i, false);",
        becomes: "for (int64_t i = from; i < n + 1; i++) work(i, false);",
    },
    Plant {
        name: "no_barrier",
        kernels: "group_norm.cu",
        file: "device.h",
        text: "  if (lane == 0) scratch[warp] = v;\n  block_barrier();",
        becomes: "  if (lane == 0) scratch[warp] = v;",
    },
    Plant {
        name: "a_barrier_for_some",
        kernels: "group_norm.cu",
        file: "device.h",
        text: "  if (lane == 0) scratch[warp] = v;\n  block_barrier();",
        becomes: "  if (lane == 0) {\n    scratch[warp] = v;\n    block_barrier();\n  }",
    },
    Plant {
        name: "a_lax_wait",
        kernels: "conv2d.cu",
        file: "conv2d.cu",
        text: "copy_async_wait<STAGES - 2>();",
        becomes: "copy_async_wait<STAGES - 1>();",
    },
    Plant {
        name: "a_wrong_fragment",
        kernels: "conv2d.cu",
        file: "conv2d.cu",
        text: "if (A_ALONG) load_matrices(fa[i], a + (rows + 16 * i + lane % 16) * ALONG + k + lane / 16 * 8);",
        becomes: "if (A_ALONG) load_matrices(fa[i], a + (rows + 16 * i + lane / 2) * ALONG + k + lane % 2 * 8);",
    },
    Plant {
        name: "a_tile_overwritten",
        kernels: "conv2d.cu",
        file: "conv2d.cu",
        text: "    block_barrier();\n    bring(step + STAGES - 1);",
        becomes: "    bring(step + STAGES - 1);\n    block_barrier();",
    },
    Plant {
        name: "values_out_of_order",
        kernels: "attention.cu",
        file: "attention.cu",
        text: "theirs + (k + lane % 4 * 2) * row + n + lane / 4;",
        becomes: "theirs + (k + lane % 4) * row + n + lane / 4;",
    },
    Plant {
        name: "no_padding_of_rows",
        kernels: "conv2d.cu",
        file: "conv2d.cu",
        text: "#define ALONG (DEPTH + PIECE)",
        becomes: "#define ALONG DEPTH",
    },
];

/// What `work` gives with a mistake, in an order of threads.
fn with(
    plant: &str,
    order: u32,
    work: &dyn Fn(&Gpu) -> Result<Vec<Buffer>, GpuError>,
) -> Option<Result<Vec<Vec<f32>>, GpuError>> {
    let standin = standin()?;
    assert!(PLANTS.iter().any(|known| known.name == plant));
    standin.plant(plant);
    let result = in_order(standin, order, work);
    standin.order(0);
    standin.plant("");
    Some(result)
}

#[test]
fn an_access_past_the_end_of_a_buffer_is_an_error_that_says_where() {
    let work = |gpu: &Gpu| Ok(vec![gpu.silu(&gpu.upload(&values(1020, 1))?)?]);
    let Some(result) = with("reads_past_the_end", 0, &work) else { return };
    let text = result.unwrap_err().to_string();
    assert!(text.contains("CUDA_ERROR_ILLEGAL_ADDRESS") && text.contains("silu_f32"), "{text}");
    assert!(
        text.contains("0 bytes past the end of 4080 bytes") && text.contains("thread (255, 0, 0)"),
        "{text}"
    );
}

#[test]
fn a_write_into_the_rest_of_a_buffer_s_memory_is_noticed_when_it_is_given_back() {
    let work = |gpu: &Gpu| Ok(vec![gpu.scaled(&gpu.upload(&values(1021, 1))?, 2.0)?]);
    let Some(result) = with("writes_a_little_too_far", 0, &work) else { return };
    let text = result.unwrap_err().to_string();
    assert!(text.contains("a kernel wrote past the end of its memory"), "{text}");
}

/// Group normalisation of two images of 49 pixels.
fn normalised(gpu: &Gpu) -> Result<Vec<Buffer>, GpuError> {
    let shape = GroupNormShape { batch: 2, pixels: 49, channels: 16, groups: 2, eps: 1e-5 };
    let x = gpu.upload(&values(2 * 49 * 16, 1))?;
    let (gamma, beta) = (gpu.upload(&values(16, 2))?, gpu.upload(&values(16, 3))?);
    let (out, stats) = gpu.group_norm(&shape, &x, Affine { gamma: &gamma, beta: &beta, film: None }, true)?;
    Ok(vec![out, stats])
}

#[test]
fn a_missing_barrier_shows_in_the_values_and_in_the_orders() {
    let Some(standin) = standin() else { return };
    let right = in_order(standin, 0, &normalised).unwrap();
    let wrong = [0, 1, 7].map(|order| with("no_barrier", order, &normalised).unwrap().unwrap());
    assert!(wrong.iter().all(|wrong| crate::check::error(&wrong[0], &right[0]) > 1e-2));
    assert!(wrong[0] != wrong[1] || wrong[0] != wrong[2]);
}

#[test]
fn a_barrier_that_not_all_threads_reach_is_an_error() {
    let Some(result) = with("a_barrier_for_some", 0, &normalised) else { return };
    let text = result.unwrap_err().to_string();
    assert!(
        text.contains("CUDA_ERROR_LAUNCH_FAILED") && text.contains("a divergent barrier: 8 of 256"),
        "{text}"
    );
}

const CONV: Conv2dShape = Conv2dShape {
    batch: 1,
    height: 9,
    width: 9,
    in_channels: 64,
    out_channels: 24,
    kernel: [3; 2],
    stride: 1,
    padding: [1; 2],
};

/// A convolution in bf16.
fn convolved(gpu: &Gpu) -> Result<Vec<Buffer>, GpuError> {
    let element = Precision::Bf16.element();
    let x = crate::check::put(gpu, element, &values(CONV.input_len(), 1));
    let weight = crate::check::put(gpu, element, &values(CONV.weight_len(), 2));
    Ok(vec![gpu.conv2d(Precision::Bf16, &CONV, &x, &weight, Epilogue::default())?])
}

#[test]
fn a_wait_for_too_few_copies_gives_what_nobody_wrote() {
    let Some(result) = with("a_lax_wait", 0, &convolved) else { return };
    assert!(result.unwrap()[0].iter().any(|value| value.is_nan()));
}

#[test]
fn a_copy_into_what_others_still_read_shows_when_it_arrives_at_once() {
    let Some(standin) = standin() else { return };
    let right = in_order(standin, 1, &convolved).unwrap();
    let wrong = with("a_tile_overwritten", 1, &convolved).unwrap().unwrap();
    assert!(right != wrong);
}

#[test]
fn a_wrong_fragment_gives_wrong_numbers() {
    let Some(standin) = standin() else { return };
    let right = in_order(standin, 0, &convolved).unwrap();
    let wrong = with("a_wrong_fragment", 0, &convolved).unwrap().unwrap();
    assert!(crate::check::error(&wrong[0], &right[0]) > 0.1);
}

#[test]
fn weights_of_attention_that_meet_the_values_of_others_give_wrong_numbers() {
    let Some(standin) = standin() else { return };
    let shape = AttentionShape { batch: 1, tokens: 20, heads: 1, dim: 16 };
    let work = |gpu: &Gpu| {
        let qkv = gpu.upload(&values(3 * shape.output_len(), 1))?;
        Ok(vec![gpu.attention(Precision::Tf32, &shape, &qkv)?.0])
    };
    let right = in_order(standin, 0, &work).unwrap();
    let wrong = with("values_out_of_order", 0, &work).unwrap().unwrap();
    assert!(crate::check::error(&wrong[0], &right[0]) > 0.1);
}

#[test]
fn bank_conflicts_are_counted() {
    let Some(standin) = standin() else { return };
    standin.counts();
    with("no_padding_of_rows", 0, &convolved).unwrap().unwrap();
    let counts = standin.counts();
    // Rows of 64 bytes: two of eight start in the same bank, four times.
    assert!(counts.wavefronts > 2 * counts.matrices, "{counts:?}");
}
