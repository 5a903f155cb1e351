//! Bank conflicts of the kernels that load fragments of matrices from shared memory, held against `conflicts.txt`.

use crate::check::{put, values};
use crate::standin::standin;
use cm_gpu::attention::AttentionShape;
use cm_gpu::conv2d::{Conv2dShape, Epilogue, Precision};
use cm_gpu::{Buffer, Gpu, GpuError};
use std::fmt::Write;

const CONV: Conv2dShape = Conv2dShape {
    batch: 2,
    height: 16,
    width: 16,
    in_channels: 64,
    out_channels: 64,
    kernel: [3; 2],
    stride: 1,
    padding: [1; 2],
};
const NARROW: AttentionShape = AttentionShape { batch: 1, tokens: 70, heads: 2, dim: 64 };
const WIDE: AttentionShape = AttentionShape { batch: 1, tokens: 70, heads: 1, dim: 256 };

type Work = Box<dyn Fn(&Gpu) -> Result<Buffer, GpuError>>;

/// Each product by its name, its factors made already.
fn products(gpu: &Gpu, precision: Precision) -> Vec<(String, Work)> {
    let of = |len: usize, seed| put(gpu, precision.element(), &values(len, seed));
    let (x, weight, g) = (of(CONV.input_len(), 1), of(CONV.weight_len(), 2), of(CONV.output_len(), 3));
    let [a, b, c] = [&x, &weight, &g].map(Buffer::clone);
    let mut all: Vec<(String, Work)> = vec![
        (
            "convolution".to_owned(),
            Box::new(move |gpu: &Gpu| gpu.conv2d(precision, &CONV, &a, &b, Epilogue::default())),
        ),
        (
            "convolution, by the input".to_owned(),
            Box::new(move |gpu: &Gpu| gpu.conv2d_backward_data(precision, &CONV, &weight, &c, 1.0)),
        ),
        (
            "convolution, by the weight".to_owned(),
            Box::new(move |gpu: &Gpu| gpu.conv2d_backward_weight(precision, &CONV, &x, &g, 1.0)),
        ),
    ];
    for shape in [NARROW, WIDE] {
        let (qkv, g) = (of(3 * shape.output_len(), 4), of(shape.output_len(), 5));
        let (out, lse) = gpu.attention(precision, &shape, &qkv).unwrap();
        let again = qkv.clone();
        all.push((
            format!("attention, heads of {}", shape.dim),
            Box::new(move |gpu: &Gpu| gpu.attention(precision, &shape, &again).map(|(out, _)| out)),
        ));
        all.push((
            format!("attention, heads of {}, backwards", shape.dim),
            Box::new(move |gpu: &Gpu| gpu.attention_backward(precision, &shape, &qkv, &out, &lse, &g)),
        ));
    }
    all
}

/// No two lanes want different words of one bank: as many wavefronts as matrices. The table is written anew where
/// `UPDATE_GOLDEN` is 1.
#[test]
fn fragments_are_loaded_without_bank_conflicts() {
    let Some(standin) = standin() else { return };
    let mut table = format!("{:40}{:>6}{:>10}{:>12}{:>10}\n", "product", "", "matrices", "wavefronts", "mma");
    for precision in [Precision::Tf32, Precision::Bf16] {
        let gpu = standin.gpu();
        for (name, work) in products(&gpu, precision) {
            standin.counts();
            work(&gpu).unwrap();
            let counts = standin.counts();
            assert!(counts.products > 0, "{name} in {precision:?}");
            assert_eq!(counts.wavefronts, counts.matrices, "{name} in {precision:?}");
            let (matrices, wavefronts, mma) = (counts.matrices, counts.wavefronts, counts.products);
            let kind = format!("{precision:?}");
            writeln!(table, "{name:40}{kind:>6}{matrices:>10}{wavefronts:>12}{mma:>10}").unwrap();
        }
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conflicts.txt");
    if std::env::var("UPDATE_GOLDEN").is_ok_and(|update| update == "1") {
        std::fs::write(file, &table).unwrap();
    }
    let told = std::fs::read_to_string(file).unwrap();
    assert_eq!(told, table, "tests/conflicts.txt says something else; UPDATE_GOLDEN=1 writes it anew");
}
