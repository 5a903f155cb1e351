//! CPU numerics on slices: the arithmetic of a training step, and nothing else.
//!
//! Every function works on `f32` slices in NHWC order (channels contiguous) or on row-major matrices, checks its
//! sizes, and writes its whole output. There are no tensors here, no autograd, no random numbers, and no other
//! workspace crate; `cm-tensor` turns these functions into differentiable operations.
//!
//! Three rules hold for every kernel:
//! * it has a naive twin, a loop nest generic over the float, which tests compare with every variant;
//! * its result does not depend on the number of threads (see [`threads`]);
//! * it runs on any CPU: [`dispatch`] picks AVX-512, AVX2, NEON or portable code at run time.
//!
//! To add a kernel: a folder with `mod.rs` (API and checks), `naive.rs`, the fast variants and `tests.rs`.

pub mod activation;
pub mod attention;
pub mod buffer;
pub mod conv2d;
pub mod dispatch;
pub mod distance;
pub mod dropout;
pub mod elementwise;
pub mod feature_distance;
pub mod gemm;
pub mod group_norm;
pub mod memory;
pub mod peak;
pub mod pool;
mod product;
pub mod resample;
mod scratch;
pub mod softmax;
pub mod strip_conv;
pub mod threads;
pub mod update;
