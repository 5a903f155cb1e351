//! LPIPS (Zhang et al. 2018): a trained classifier's feature maps, compared pixel by pixel with learned weights.
//!
//! What "LPIPS" means differs from program to program, so everything that differs is an option here: the trunk, the
//! version of the learned weights, how the trunk pools, and the size at which images are compared. Widths are those of
//! the arrays, so that small networks of the same structure can be tested. Deliberately absent: the arrays.

use super::arrays::{ArraysError, NamedArrays, Reader, to_hwio};
use super::lpips_options::{LpipsOptions, LpipsPooling, LpipsTrunk, LpipsVersion};
use super::lpips_trunk::Plan;
use crate::counts::Counts;
use cm_image::ImageShape;
use cm_tensor::{Graph, Images, Vector, ops};

/// Why there is no LPIPS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LpipsError {
    /// The arrays are not the network's.
    #[error(transparent)]
    Arrays(#[from] ArraysError),
    /// No such variant exists.
    #[error("pooling by means was only ever used with Vgg16, not with {0:?}")]
    Pooling(LpipsTrunk),
}

/// Side of compared images after resizing.
const RESIZED: usize = 224;
/// (x - shift) / scale for red, green, blue, of images in -1 to 1: the LPIPS package's `ScalingLayer`, which is ImageNet's
/// mean and standard deviation.
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];

enum Step {
    Conv(Box<Conv>),
    Pool { side: usize, round_up: bool },
    Fire(Box<Fire>),
    Tap { weights: Vec<f32> },
}

struct Fire {
    squeeze: Conv,
    one: Conv,
    three: Conv,
}

struct Conv {
    weight: Vector,
    bias: Vector,
    kernel: usize,
    stride: usize,
    padding: usize,
    out_channels: usize,
}

/// Where a convolution stands in a trunk, and what it is there.
struct Place {
    index: usize,
    /// Its name within a fire module.
    part: &'static str,
    inputs: usize,
    /// Its published output channels.
    width: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

/// The steps of a trunk, whose convolutions and learned weights, by number of map and channels, come from outside.
fn steps(
    trunk: LpipsTrunk,
    mut conv: impl FnMut(&Place) -> Conv,
    mut head: impl FnMut(usize, usize) -> Vec<f32>,
) -> Vec<Step> {
    let (mut channels, mut maps) = (3, 0);
    let step = |plan| match plan {
        Plan::Conv { index, width, kernel, stride, padding } => {
            let conv = conv(&Place { index, part: "", inputs: channels, width, kernel, stride, padding });
            channels = conv.out_channels;
            Step::Conv(Box::new(conv))
        }
        Plan::Pool { side, round_up } => Step::Pool { side, round_up },
        Plan::Fire { index, squeeze, expand } => {
            let mut of = |part, inputs, width, kernel: usize| {
                conv(&Place { index, part, inputs, width, kernel, stride: 1, padding: kernel / 2 })
            };
            let squeeze = of(".squeeze", channels, squeeze, 1);
            let one = of(".expand1x1", squeeze.out_channels, expand, 1);
            let three = of(".expand3x3", squeeze.out_channels, expand, 3);
            channels = one.out_channels + three.out_channels;
            Step::Fire(Box::new(Fire { squeeze, one, three }))
        }
        Plan::Tap => {
            maps += 1;
            Step::Tap { weights: head(maps - 1, channels) }
        }
    };
    trunk.plan().into_iter().map(step).collect()
}

/// The distance with its weights.
pub struct Lpips {
    options: LpipsOptions,
    steps: Vec<Step>,
}

impl Lpips {
    /// The distance from the arrays of its trunk, named as torchvision or the LPIPS package name them, and of its learned
    /// weights (`heads`), named as the LPIPS package, `lin0.weight` and so on, or, by their number alone, piq has them.
    ///
    /// # Errors
    /// [`LpipsError`]; arrays that the distance has no use for are passed over.
    pub fn new(options: LpipsOptions, trunk: &NamedArrays, heads: &NamedArrays) -> Result<Self, LpipsError> {
        if options.pooling == LpipsPooling::Average && options.trunk != LpipsTrunk::Vgg16 {
            return Err(LpipsError::Pooling(options.trunk));
        }
        let mut reader = Reader::new(options.trunk.name(), trunk);
        let mut head_reader = Reader::new("LPIPS's learned weights", heads);
        let conv = |place: &Place| Conv::read(&mut reader, options.trunk, place);
        let head = |map: usize, channels: usize| {
            let names = [
                format!("lin{map}.model.1.weight"),
                format!("lin{map}.model.0.weight"),
                format!("lin{map}.weight"),
                format!("{map}"),
            ];
            let head = head_reader.array(&names, &[1, channels, 1, 1]);
            head.map_or_else(Vec::new, |(_, values)| values.to_vec())
        };
        let steps = steps(options.trunk, conv, head);
        // A trunk that does not fit makes heads that do not fit: the first error is the one to tell.
        reader.finish()?;
        head_reader.finish()?;
        Ok(Self { options, steps })
    }

    /// What its trunk takes to look at one image, if it has the published widths. Training asks it three times: for the
    /// target, for the student, and back to the student's image. `None` if it cannot look at such images.
    pub fn count(options: LpipsOptions, shape: ImageShape) -> Option<Counts> {
        if !(options.sees(shape.height, shape.width) && matches!(shape.channels, 1 | 3)) {
            return None;
        }
        let mut parameters = 0;
        let conv = |place: &Place| {
            let conv = Conv::outline(place);
            parameters += conv.weight.shape()[0] + conv.bias.shape()[0];
            conv
        };
        let steps = steps(options.trunk, conv, |_, channels| vec![0.0; channels]);
        let mut graph = Graph::counting();
        let image = Images::outline([1, shape.height, shape.width, shape.channels]);
        Self { options, steps }.maps(&mut graph, &image);
        Some(Counts::of(&graph, parameters))
    }

    /// What it is.
    pub fn options(&self) -> LpipsOptions {
        self.options
    }

    /// The distance of each image of `student` to its `target`, differentiable in the student only. Grey images count as
    /// coloured ones.
    ///
    /// # Shapes
    /// `[N, H, W, 1 or 3]` twice to `[N]`.
    ///
    /// # Panics
    /// If shapes differ, or are not such as [`LpipsOptions::sees`].
    pub fn distance(&self, graph: &mut Graph, student: &Images, target: &Images) -> Vector {
        assert_eq!(student.shape(), target.shape(), "a distance between different shapes");
        let target = self.maps(&mut Graph::inference(), target);
        let student = self.maps(graph, student);
        let mut sum: Option<Vector> = None;
        for ((student, weights), (target, _)) in student.into_iter().zip(target) {
            let layer = ops::weighted_feature_distance(graph, weights.to_vec(), &student, &target);
            sum = Some(match sum {
                Some(sum) => ops::add(graph, &sum, &layer, 1.0),
                None => layer,
            });
        }
        sum.expect("every trunk has maps")
    }

    /// The maps that are compared, each with its weights.
    fn maps(&self, graph: &mut Graph, x: &Images) -> Vec<(Images, &[f32])> {
        let mut x = self.prepared(graph, x);
        let mut maps = Vec::new();
        for step in &self.steps {
            x = match step {
                Step::Conv(conv) => conv.on(graph, &x),
                Step::Pool { side, round_up } => match self.options.pooling {
                    LpipsPooling::Max => ops::max_pool(graph, &x, *side, 2, *round_up),
                    LpipsPooling::Average => ops::average_pool(graph, &x, *side, 2),
                },
                Step::Fire(fire) => {
                    let Fire { squeeze, one, three } = fire.as_ref();
                    let x = squeeze.on(graph, &x);
                    let (one, three) = (one.on(graph, &x), three.on(graph, &x));
                    ops::concat(graph, &one, &three)
                }
                Step::Tap { weights } => {
                    maps.push((x.clone(), weights.as_slice()));
                    x
                }
            };
        }
        maps
    }

    /// Images of three channels, of the right size and scale.
    fn prepared(&self, graph: &mut Graph, x: &Images) -> Images {
        let [_, height, width, _] = x.shape();
        let least = self.options.trunk.min_side();
        assert!(
            self.options.sees(height, width),
            "images of {height}x{width} for a trunk that needs {least}"
        );
        let resized = match self.options.resizes(width) {
            true => ops::bilinear(graph, x, (RESIZED, RESIZED)),
            false => x.clone(),
        };
        let (scale, shift) = match self.options.version {
            LpipsVersion::V00 => (vec![1.0; 3], vec![0.0; 3]),
            LpipsVersion::V01 => {
                (SCALE.map(|scale| 1.0 / scale).to_vec(), (0..3).map(|c| -SHIFT[c] / SCALE[c]).collect())
            }
        };
        ops::affine_channels(graph, &resized, scale, shift)
    }
}

impl Conv {
    /// Its arrays as they are in a file, whose widths are its own.
    fn read(reader: &mut Reader<'_>, trunk: LpipsTrunk, place: &Place) -> Self {
        let &Place { index, part, inputs, kernel, .. } = place;
        let slice = 1 + trunk.slices().iter().take_while(|&&end| end <= index).count();
        let names = |end: &str| {
            [format!("features.{index}{part}.{end}"), format!("net.slice{slice}.{index}{part}.{end}")]
        };
        let weight = reader.array(&names("weight"), &[0, inputs, kernel, kernel]);
        let out_channels = weight.as_ref().map_or(0, |(shape, _)| shape[0]);
        let bias = reader.array(&names("bias"), &[out_channels]);
        let vector = |values: Vec<f32>| {
            let len = values.len();
            Vector::constant(values, [len])
        };
        let weight = vector(weight.map_or_else(Vec::new, |(shape, values)| to_hwio(&shape, values, |_| 1.0)));
        let bias = vector(bias.map_or_else(Vec::new, |(_, values)| values.to_vec()));
        Self::at(place, weight, bias, out_channels)
    }

    /// Its extents without values.
    fn outline(place: &Place) -> Self {
        let &Place { inputs, width, kernel, .. } = place;
        Self::at(place, Vector::outline([kernel * kernel * inputs * width]), Vector::outline([width]), width)
    }

    fn at(place: &Place, weight: Vector, bias: Vector, out_channels: usize) -> Self {
        let &Place { kernel, stride, padding, .. } = place;
        Self { weight, bias, kernel, stride, padding, out_channels }
    }

    fn on(&self, graph: &mut Graph, x: &Images) -> Images {
        let conv = ops::Conv2d {
            weight: &self.weight,
            bias: &self.bias,
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            out_channels: self.out_channels,
            image_bias: None,
            residual: None,
            scale: 1.0,
        };
        let y = ops::conv2d(graph, x, conv);
        ops::relu(graph, &y)
    }
}
