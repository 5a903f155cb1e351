//! The kernels on the CPU: the same source, built by the host's C++ compiler over a shim of CUDA's threads, launched by
//! the engine through a stand-in for the driver. Each is compared with `cm-kernels`, in three orders of the threads,
//! whose results must have the same bits. Where there is no C++ compiler the tests say so and pass.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

/// Values to compute with, and comparisons.
mod check;
/// The stand-in for the driver and the compiler.
mod standin;

/// SiLU and ReLU.
mod activation;
/// Self-attention both ways.
mod attention;
/// Accesses to shared memory that wait for each other.
mod conflicts;
/// Convolutions and linear layers, both ways, in three precisions.
mod conv2d;
/// Distances between images, and between features.
mod distance;
/// Masks by a key.
mod dropout;
/// Sums, scalings, channels, conversions.
mod elementwise;
/// Memory, launches, errors, what is found on a machine.
mod engine;
/// Mistakes put into the kernels are noticed.
mod faults;
/// Group normalisation both ways.
mod group_norm;
/// Magnitudes of pixels, factors, limits.
mod magnitude;
/// Pooling.
mod pool;
/// Products by other libraries: chosen, checked, fixed by a table.
mod products;
/// Nearest, mean, FIR and bilinear resampling.
mod resample;
/// A classifier's loss.
mod softmax;
/// Sums over several GPUs.
mod together;
/// Adam, AdamW, RAdam, clipping, averages and copies.
mod update;
