//! How large a network may be.

/// Channels of a resolution, and values of a hidden layer, at most: 64 times as many as the widest published network has
/// (ADM, 1024). A single 3x3 convolution between two such would take 144 GiB.
pub const MOST_CHANNELS: usize = 1 << 16;
/// Blocks on the way down in all, and of a perceptron, at most: ten times as many as the deepest published network has.
pub const MOST_BLOCKS: usize = 256;
/// Sines and cosines, and values of the embedding, for each channel of a network at most: published ones have 4.
pub const MOST_WIDTH: usize = 64;
/// Weights of a network at most, 256 GiB of them: training holds five times as much. With addresses of 32 bits, as many as
/// these reach.
pub const MOST_PARAMETERS: usize = 1 << if cfg!(target_pointer_width = "64") { 36 } else { 30 };
