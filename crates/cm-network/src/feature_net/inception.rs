//! The Inception network of FID: the graph published in 2015, in the layout in which pytorch-fid ported it.
//!
//! It differs from the Inception of later papers and of torchvision: 1008 classes, averages that leave padding out,
//! and a last block that takes the largest of its window where others take the mean. Batch normalisation is
//! folded into the convolutions when the arrays are read. Widths are those of the arrays, so that small networks of
//! the same structure can be tested. Deliberately absent: gradients, and the resizing of images before it.

use super::arrays::{ArraysError, NamedArrays, Reader, to_hwio};
use cm_tensor::fixed::{self, ConvRelu, Window};
use cm_tensor::{Images, Matrix, Vector};

/// Added to variances by the batch normalisation.
const EPSILON: f64 = 1e-3;
/// Of the branch that sFID looks at, so many channels (Nash et al. 2021; the original evaluator).
const SPATIAL_CHANNELS: usize = 7;
/// Height and width of its images.
pub const INCEPTION_SIDE: usize = 299;

/// The network and its weights.
pub struct Inception {
    stem: [ConvRelu; 5],
    a: [BlockA; 3],
    reduce: BlockB,
    c: [BlockC; 4],
    reduce_again: BlockD,
    e: [BlockE; 2],
    /// `[features, classes]`.
    output: Vector,
    features: usize,
    classes: usize,
}

/// What the network says of a batch.
pub struct InceptionOutput {
    /// The mean over the last pixels, "pool3": `[N, features]`, 2048 in the published network.
    pub features: Matrix,
    /// Seven channels in the middle with their places: `[N, rows x columns x 7]`, 2023 in the published network.
    pub spatial: Matrix,
}

struct BlockA {
    one: ConvRelu,
    five: [ConvRelu; 2],
    three: [ConvRelu; 3],
    pool: ConvRelu,
}

struct BlockB {
    three: ConvRelu,
    double: [ConvRelu; 3],
}

struct BlockC {
    one: ConvRelu,
    seven: [ConvRelu; 3],
    double: [ConvRelu; 5],
    pool: ConvRelu,
}

struct BlockD {
    three: [ConvRelu; 2],
    seven: [ConvRelu; 4],
}

struct BlockE {
    one: ConvRelu,
    three: ConvRelu,
    three_split: [ConvRelu; 2],
    double: [ConvRelu; 2],
    double_split: [ConvRelu; 2],
    pool: ConvRelu,
    /// Whether the pooling takes the largest value instead of the mean.
    largest: bool,
}

const POINT: Window = Window::Square { side: 1, stride: 1, padding: 0 };
const THREE: Window = Window::Square { side: 3, stride: 1, padding: 1 };
const BARE: Window = Window::Square { side: 3, stride: 1, padding: 0 };
const HALVE: Window = Window::Square { side: 3, stride: 2, padding: 0 };
const FIVE: Window = Window::Square { side: 5, stride: 1, padding: 2 };
const ROW7: Window = Window::Row { length: 7 };
const COLUMN7: Window = Window::Column { length: 7 };
const ROW3: Window = Window::Row { length: 3 };
const COLUMN3: Window = Window::Column { length: 3 };

/// Reads convolutions one behind the other; each knows the channels of its input.
struct Builder<'a> {
    reader: Reader<'a>,
}

impl Builder<'_> {
    /// The convolution `name` of `inputs` channels, with its normalisation folded in, and the number of its outputs.
    /// What is not there is remembered, and stands as nothing.
    fn conv(&mut self, name: &str, window: Window, inputs: usize) -> (ConvRelu, usize) {
        let (rows, columns) = window.extents();
        let weight = self.reader.array(&[format!("{name}.conv.weight")], &[0, inputs, rows, columns]);
        let outputs = weight.as_ref().map_or(0, |(shape, _)| shape[0]);
        let mut vector = |part: &str| {
            let read = self.reader.array(&[format!("{name}.bn.{part}")], &[outputs]);
            read.map_or_else(Vec::new, |(_, values)| values.iter().map(|&v| f64::from(v)).collect())
        };
        let [gain, offset, mean, variance] =
            ["weight", "bias", "running_mean", "running_var"].map(&mut vector);
        let complete = [&gain, &offset, &mean, &variance].iter().all(|v| v.len() == outputs);
        let Some((shape, values)) = weight.filter(|_| complete) else {
            return (ConvRelu::new(POINT, 0, Vec::new(), Vec::new()), outputs);
        };
        let factor = |o: usize| gain[o] / (variance[o] + EPSILON).sqrt();
        let weight = to_hwio(&shape, values, |o| factor(o) as f32);
        let bias: Vec<f32> = (0..outputs).map(|o| (offset[o] - mean[o] * factor(o)) as f32).collect();
        // Its own inputs: those wanted are 0 where the convolution before is missing.
        (ConvRelu::new(window, shape[1], weight, bias), outputs)
    }

    /// Convolutions each of which works on the output of the one before; the last one's channels.
    fn chain<const N: usize>(
        &mut self,
        names: [(String, Window); N],
        inputs: usize,
    ) -> ([ConvRelu; N], usize) {
        let mut channels = inputs;
        let convolutions = names.map(|(name, window)| {
            let (conv, outputs) = self.conv(&name, window, channels);
            channels = outputs;
            conv
        });
        (convolutions, channels)
    }

    fn block_a(&mut self, block: &str, inputs: usize) -> (BlockA, usize) {
        let name = |branch: &str| format!("{block}.{branch}");
        let (one, a) = self.conv(&name("branch1x1"), POINT, inputs);
        let (five, b) = self.chain([(name("branch5x5_1"), POINT), (name("branch5x5_2"), FIVE)], inputs);
        let (three, c) = self.chain(
            [
                (name("branch3x3dbl_1"), POINT),
                (name("branch3x3dbl_2"), THREE),
                (name("branch3x3dbl_3"), THREE),
            ],
            inputs,
        );
        let (pool, d) = self.conv(&name("branch_pool"), POINT, inputs);
        (BlockA { one, five, three, pool }, a + b + c + d)
    }

    fn block_b(&mut self, block: &str, inputs: usize) -> (BlockB, usize) {
        let name = |branch: &str| format!("{block}.{branch}");
        let (three, a) = self.conv(&name("branch3x3"), HALVE, inputs);
        let (double, b) = self.chain(
            [
                (name("branch3x3dbl_1"), POINT),
                (name("branch3x3dbl_2"), THREE),
                (name("branch3x3dbl_3"), HALVE),
            ],
            inputs,
        );
        (BlockB { three, double }, a + b + inputs)
    }

    fn block_c(&mut self, block: &str, inputs: usize) -> (BlockC, usize) {
        let name = |branch: &str| format!("{block}.{branch}");
        let (one, a) = self.conv(&name("branch1x1"), POINT, inputs);
        let (seven, b) = self.chain(
            [(name("branch7x7_1"), POINT), (name("branch7x7_2"), ROW7), (name("branch7x7_3"), COLUMN7)],
            inputs,
        );
        let (double, c) = self.chain(
            [
                (name("branch7x7dbl_1"), POINT),
                (name("branch7x7dbl_2"), COLUMN7),
                (name("branch7x7dbl_3"), ROW7),
                (name("branch7x7dbl_4"), COLUMN7),
                (name("branch7x7dbl_5"), ROW7),
            ],
            inputs,
        );
        let (pool, d) = self.conv(&name("branch_pool"), POINT, inputs);
        (BlockC { one, seven, double, pool }, a + b + c + d)
    }

    fn block_d(&mut self, block: &str, inputs: usize) -> (BlockD, usize) {
        let name = |branch: &str| format!("{block}.{branch}");
        let (three, a) = self.chain([(name("branch3x3_1"), POINT), (name("branch3x3_2"), HALVE)], inputs);
        let (seven, b) = self.chain(
            [
                (name("branch7x7x3_1"), POINT),
                (name("branch7x7x3_2"), ROW7),
                (name("branch7x7x3_3"), COLUMN7),
                (name("branch7x7x3_4"), HALVE),
            ],
            inputs,
        );
        (BlockD { three, seven }, a + b + inputs)
    }

    fn block_e(&mut self, block: &str, inputs: usize, largest: bool) -> (BlockE, usize) {
        let name = |branch: &str| format!("{block}.{branch}");
        let (one, a) = self.conv(&name("branch1x1"), POINT, inputs);
        let (three, wide) = self.conv(&name("branch3x3_1"), POINT, inputs);
        let (row, b) = self.conv(&name("branch3x3_2a"), ROW3, wide);
        let (column, c) = self.conv(&name("branch3x3_2b"), COLUMN3, wide);
        let (double, wide) =
            self.chain([(name("branch3x3dbl_1"), POINT), (name("branch3x3dbl_2"), THREE)], inputs);
        let (double_row, d) = self.conv(&name("branch3x3dbl_3a"), ROW3, wide);
        let (double_column, e) = self.conv(&name("branch3x3dbl_3b"), COLUMN3, wide);
        let (pool, f) = self.conv(&name("branch_pool"), POINT, inputs);
        let block = BlockE {
            one,
            three,
            three_split: [row, column],
            double,
            double_split: [double_row, double_column],
            pool,
            largest,
        };
        (block, a + b + c + d + e + f)
    }
}

impl Inception {
    /// The network from its arrays, named as pytorch-fid and torchvision name them.
    ///
    /// # Errors
    /// [`ArraysError`] with every array that is missing or does not fit the others. Arrays the network has no use
    /// for are passed over.
    pub fn new(arrays: &NamedArrays) -> Result<Self, ArraysError> {
        let mut b = Builder { reader: Reader::new("FID's Inception network", arrays) };
        let stem = [
            ("Conv2d_1a_3x3", HALVE),
            ("Conv2d_2a_3x3", BARE),
            ("Conv2d_2b_3x3", THREE),
            ("Conv2d_3b_1x1", POINT),
            ("Conv2d_4a_3x3", BARE),
        ];
        let (stem, channels) = b.chain(stem.map(|(name, window)| (name.to_owned(), window)), 3);
        let (first, channels) = b.block_a("Mixed_5b", channels);
        let (second, channels) = b.block_a("Mixed_5c", channels);
        let (third, channels) = b.block_a("Mixed_5d", channels);
        let (reduce, channels) = b.block_b("Mixed_6a", channels);
        let (c6b, channels) = b.block_c("Mixed_6b", channels);
        let (c6c, channels) = b.block_c("Mixed_6c", channels);
        let (c6d, channels) = b.block_c("Mixed_6d", channels);
        let (c6e, channels) = b.block_c("Mixed_6e", channels);
        let (reduce_again, channels) = b.block_d("Mixed_7a", channels);
        let (e7b, channels) = b.block_e("Mixed_7b", channels, false);
        let (e7c, features) = b.block_e("Mixed_7c", channels, true);
        let output = b.reader.array(&["fc.weight".to_owned()], &[0, features]);
        b.reader.finish()?;
        let (shape, values) = output.expect("a missing array is an error above");
        let weight = to_hwio(&[shape[0], shape[1], 1, 1], values, |_| 1.0);
        Ok(Self {
            stem,
            a: [first, second, third],
            reduce,
            c: [c6b, c6c, c6d, c6e],
            reduce_again,
            e: [e7b, e7c],
            output: Vector::constant(weight, [values.len()]),
            features,
            classes: shape[0],
        })
    }

    /// The number of features, 2048 in the published network.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The number of classes, 1008 in the published network.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Evaluates the network where the images are ([`fixed::placed`]), in single precision, on images of
    /// [`INCEPTION_SIDE`] pixels on a side; others work, as long as they are not too small for its five halvings, but then
    /// the features are not those of any published metric.
    ///
    /// # Shapes
    /// `x`: `[N, H, W, 3]`, colours about -1 to 1.
    ///
    /// # Panics
    /// If the images are smaller than 75 pixels, or have no three channels.
    pub fn forward(&self, x: &Images) -> InceptionOutput {
        let [batch, height, width, channels] = x.shape();
        assert!(channels == 3 && height.min(width) >= 75, "images of {height}x{width}x{channels}");
        let [conv1a, conv2a, conv2b, conv3b, conv4a] = &self.stem;
        let x = conv2b.on(&conv2a.on(&conv1a.on(x)));
        let x = conv4a.on(&conv3b.on(&fixed::max_pool(&x, 3, 2, 0)));
        let mut x = fixed::max_pool(&x, 3, 2, 0);
        for block in &self.a {
            x = block.on(&x);
        }
        x = self.reduce.on(&x);
        x = self.c[0].on(&x);
        x = self.c[1].on(&x);
        let (middle, spatial) = self.c[2].on_with_first_branch(&x);
        x = self.c[3].on(&middle);
        x = self.reduce_again.on(&x);
        for block in &self.e {
            x = block.on(&x);
        }
        let spatial = fixed::first_channels(&spatial, SPATIAL_CHANNELS.min(spatial.shape()[3]));
        let places: usize = spatial.shape()[1..].iter().product();
        InceptionOutput {
            features: fixed::global_average(&x),
            spatial: Matrix::constant(spatial.values().to_vec(), [batch, places]),
        }
    }

    /// Class probabilities from features, without the last layer's bias, as the original evaluator has them:
    /// `[N, features]` to `[N, classes]`.
    pub fn probabilities(&self, features: &Matrix) -> Matrix {
        fixed::softmax_of_product(features, &self.output)
    }
}

/// One convolution after the other.
fn through(convolutions: &[ConvRelu], x: &Images) -> Images {
    let (first, rest) = convolutions.split_first().expect("no chain is empty");
    rest.iter().fold(first.on(x), |x, conv| conv.on(&x))
}

impl BlockA {
    fn on(&self, x: &Images) -> Images {
        let pooled = self.pool.on_averages(x);
        fixed::concat(&[self.one.on(x), through(&self.five, x), through(&self.three, x), pooled])
    }
}

impl BlockB {
    fn on(&self, x: &Images) -> Images {
        fixed::concat(&[self.three.on(x), through(&self.double, x), fixed::max_pool(x, 3, 2, 0)])
    }
}

impl BlockC {
    fn on(&self, x: &Images) -> Images {
        self.on_with_first_branch(x).0
    }

    fn on_with_first_branch(&self, x: &Images) -> (Images, Images) {
        let one = self.one.on(x);
        let pooled = self.pool.on_averages(x);
        let all = [one.clone(), through(&self.seven, x), through(&self.double, x), pooled];
        (fixed::concat(&all), one)
    }
}

impl BlockD {
    fn on(&self, x: &Images) -> Images {
        fixed::concat(&[through(&self.three, x), through(&self.seven, x), fixed::max_pool(x, 3, 2, 0)])
    }
}

impl BlockE {
    fn on(&self, x: &Images) -> Images {
        let (three, double) = (self.three.on(x), through(&self.double, x));
        let [row, column] = self.three_split.each_ref().map(|conv| conv.on(&three));
        let [double_row, double_column] = self.double_split.each_ref().map(|conv| conv.on(&double));
        let pooled = match self.largest {
            true => self.pool.on(&fixed::max_pool(x, 3, 1, 1)),
            false => self.pool.on_averages(x),
        };
        fixed::concat(&[self.one.on(x), row, column, double_row, double_column, pooled])
    }
}
