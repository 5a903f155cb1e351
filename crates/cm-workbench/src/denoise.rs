//! A network on arrays of another program: what it makes of them, before and behind its preconditioning.

use crate::any_model::AnyModel;
use crate::error::WorkbenchError;
use crate::foreign::{self, Container, Dialect, names};
use cm_diffusion::{Coefficients, Precondition, Sigma};
use cm_evaluator::MetricConfig;
use cm_host::npz::{Element, NpzWriter};
use cm_host::{FileError, durable};
use cm_image::ImageShape;
use cm_import::Archive;
use cm_network::{Extra, Graph, Images};
use cm_study::{PreconditionConfig, Problems};
use cm_tensor::{ops, scaled_rows};
use std::path::{Path, PathBuf};

/// What is to be denoised.
#[derive(Clone, Debug, PartialEq)]
pub struct DenoiseRequest {
    /// A file of weights, a finished run, or the folder of a trained teacher, of which the first average is taken.
    pub weights: PathBuf,
    /// Arrays `x` (N, C, H, W), `sigma` (N), and `labels` (N) if the network knows classes.
    pub input: PathBuf,
    /// The `.npz` file to write.
    pub out: PathBuf,
    /// How the network's output is used, if not as the model says.
    pub precondition: Option<PreconditionConfig>,
    /// Images at a time, at least 1.
    pub batch: usize,
    /// Where the gradients of sum(`seed` x raw) by all parameters go, under the original names; the array `seed` (N, C,
    /// H, W) of the input is then needed. That by the network's input is the array `input_gradient` of the output.
    pub gradients: Option<PathBuf>,
}

/// What was denoised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denoised {
    /// `denoised` and `raw`, the network's output before preconditioning: f32, N, C, H, W.
    pub out: PathBuf,
    /// N.
    pub count: usize,
}

/// The arrays, checked.
struct Input {
    x: Vec<f32>,
    sigma: Vec<Sigma>,
    labels: Option<Vec<u32>>,
    seed: Option<Vec<f32>>,
}

/// Evaluates the network on every image at its noise level.
///
/// # Errors
/// [`WorkbenchError`] if a file cannot be read or written, or the arrays do not fit the network; every problem is told.
pub fn denoise(request: &DenoiseRequest) -> Result<Denoised, WorkbenchError> {
    let model = AnyModel::open(&request.weights)?;
    let mut problems = Problems::default();
    if let Err(message) = model.is_whole() {
        problems.add("--weights", message, "the model of another run");
    }
    problems.check()?;
    let card = model.card();
    let input = read(request, card.shape(), card.classes)?;
    let (network, weights) = (model.network(), model.weights(0));
    let precondition = card.precondition(request.precondition);
    let gradients = match (&request.gradients, &input.seed) {
        (Some(path), Some(seed)) => Some(differentiated(&model, precondition.as_ref(), &input, seed, path)?),
        (Some(_), None) | (None, _) => None,
    };
    let ImageShape { height, width, channels } = card.shape();
    let (count, len) = (input.sigma.len(), card.shape().len());
    let mut raw_images = Vec::with_capacity(input.x.len());
    let mut denoised = Vec::with_capacity(input.x.len());
    for first in (0..count).step_by(request.batch) {
        let end = count.min(first + request.batch);
        let x = to_nhwc(&input.x[first * len..end * len], card.shape());
        let x = Images::constant(x, [end - first, height, width, channels]);
        let c: Vec<Coefficients> =
            input.sigma[first..end].iter().map(|&sigma| precondition.coefficients(sigma)).collect();
        let of = |part: fn(&Coefficients) -> f32| c.iter().map(part).collect::<Vec<f32>>();
        let extra =
            Extra { labels: input.labels.as_ref().map(|labels| &labels[first..end]), ..Extra::default() };
        let mut graph = Graph::inference();
        let scaled = scaled_rows(&x, &of(|c| c.c_in));
        let raw = network.forward(&mut graph, weights, &scaled, &of(|c| c.c_noise), extra);
        let out = ops::blend(&mut graph, of(|c| c.c_skip), &x, of(|c| c.c_out), &raw);
        raw_images.extend(to_nchw(raw.values(), card.shape()));
        denoised.extend(to_nchw(out.values(), card.shape()));
    }
    let sides = [count, channels, height, width];
    durable::write_with(&request.out, |out| {
        let mut archive = NpzWriter::new(out);
        let arrays = [
            ("denoised", Some(&denoised)),
            ("raw", Some(&raw_images)),
            ("input_gradient", gradients.as_ref()),
        ];
        for (name, values) in arrays.into_iter().filter_map(|(name, values)| Some((name, values?))) {
            let mut array = archive.array(name, Element::F32, &sides)?;
            for part in values.chunks(1 << 16) {
                array.write(&part.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
            }
            array.finish()?;
        }
        archive.finish().map(drop)
    })
    .map_err(FileError::io(&request.out))?;
    Ok(Denoised { out: request.out.clone(), count })
}

/// Writes the gradients by the parameters, and returns that by the network's input: all images at once.
fn differentiated(
    model: &AnyModel,
    precondition: &dyn Precondition,
    input: &Input,
    seed: &[f32],
    path: &Path,
) -> Result<Vec<f32>, WorkbenchError> {
    let (card, network, weights) = (model.card(), model.network(), model.weights(0));
    let shape = card.shape();
    let c: Vec<Coefficients> = input.sigma.iter().map(|&sigma| precondition.coefficients(sigma)).collect();
    let of = |part: fn(&Coefficients) -> f32| c.iter().map(part).collect::<Vec<f32>>();
    let extents = [c.len(), shape.height, shape.width, shape.channels];
    let x = Images::constant(to_nhwc(&input.x, shape), extents);
    let x = scaled_rows(&x, &of(|c| c.c_in)).detached(true);
    let mut graph = Graph::recording();
    let extra = Extra { labels: input.labels.as_deref(), ..Extra::default() };
    let raw = network.forward(&mut graph, weights, &x, &of(|c| c.c_noise), extra);
    let mut gradients = graph.backward(&raw, to_nhwc(seed, shape));
    let of_weights = weights.gradients(&mut gradients);
    let of_weights: Vec<&[f32]> = of_weights.iter().map(Vec::as_slice).collect();
    let table = names(&card.network, shape.height, weights, Dialect::Torch)
        .map_err(|message| WorkbenchError::failed("the gradients' names", message))?;
    durable::write_with(path, |out| foreign::write(out, Container::Safetensors, &table, &of_weights, None))
        .map_err(FileError::io(path))?;
    let of_x = gradients.take(&x).unwrap_or_else(|| vec![0.0; input.x.len()]);
    Ok(to_nchw(&of_x, shape))
}

fn read(
    request: &DenoiseRequest,
    shape: ImageShape,
    classes: Option<usize>,
) -> Result<Input, WorkbenchError> {
    let path = &request.input;
    let mut archive = Archive::open(path).map_err(|error| FileError::damaged(path, error))?;
    let mut problems = Problems::default();
    let ImageShape { height, width, channels } = shape;
    let allowed = format!("x of shape [N, {channels}, {height}, {width}], N at least 1; sigma of shape [N]");
    let x_shape = archive.find("x").map(|info| info.shape.clone());
    let count = match x_shape.as_deref() {
        Some(&[n, c, h, w]) if n > 0 && [c, h, w] == [channels, height, width] => n,
        Some(other) => {
            problems.add("--input", format!("x has shape {other:?}"), &allowed);
            0
        }
        None => {
            problems.add("--input", "there is no array `x`", &allowed);
            0
        }
    };
    let most = MetricConfig::MOST_BATCH;
    if !(1..=most).contains(&request.batch) {
        problems.add("--batch", format!("{} images", request.batch), format!("1 to {most}"));
    }
    let mut vector =
        |name: &str, allowed: &str, problems: &mut Problems| -> Result<Vec<f32>, WorkbenchError> {
            match archive.find(name).map(|info| info.shape.clone()) {
                Some(shape) if shape == [count] => {
                    Ok(archive.read(name).map_err(|error| FileError::damaged(path, error))?)
                }
                Some(shape) => {
                    problems.add("--input", format!("{name} has shape {shape:?}"), allowed);
                    Ok(vec![])
                }
                None => {
                    problems.add("--input", format!("there is no array `{name}`"), allowed);
                    Ok(vec![])
                }
            }
        };
    let values = vector("sigma", &allowed, &mut problems)?;
    let sigma: Vec<Sigma> =
        values.iter().filter_map(|&value| Sigma::new(value).ok().filter(|_| value > 0.0)).collect();
    if sigma.len() < values.len() {
        problems.add("--input", "sigma holds numbers that are no noise levels", "finite numbers above 0");
    }
    let labels = match classes {
        None => None,
        Some(classes) => {
            let allowed = format!("labels of shape [N], each from 0 to {}", classes - 1);
            let values = vector("labels", &allowed, &mut problems)?;
            let fits = |&value: &f32| value >= 0.0 && value < classes as f32 && value.fract() == 0.0;
            if !values.iter().all(fits) {
                problems.add("--input", "labels holds numbers that are no classes", &allowed);
            }
            Some(values.into_iter().map(|value| value as u32).collect())
        }
    };
    let seeded = archive.find("seed").is_some_and(|info| Some(&info.shape) == x_shape.as_ref());
    if request.gradients.is_some() && !seeded {
        problems.add(
            "--gradients",
            "there is no array `seed` of the shape of x",
            "an input with such an array",
        );
    }
    problems.check()?;
    let x = archive.read("x").map_err(|error| FileError::damaged(path, error))?;
    let seed = request.gradients.as_ref().map(|_| archive.read("seed")).transpose();
    let seed = seed.map_err(|error| FileError::damaged(path, error))?;
    Ok(Input { x, sigma, labels, seed })
}

/// From N, C, H, W to N, H, W, C.
fn to_nhwc(x: &[f32], shape: ImageShape) -> Vec<f32> {
    let (pixels, channels) = (shape.height * shape.width, shape.channels);
    let mut out = vec![0.0; x.len()];
    for (x, out) in x.chunks_exact(shape.len()).zip(out.chunks_exact_mut(shape.len())) {
        for (i, value) in out.iter_mut().enumerate() {
            *value = x[i % channels * pixels + i / channels];
        }
    }
    out
}

/// From N, H, W, C to N, C, H, W.
fn to_nchw(x: &[f32], shape: ImageShape) -> Vec<f32> {
    let (pixels, channels) = (shape.height * shape.width, shape.channels);
    let mut out = vec![0.0; x.len()];
    for (x, out) in x.chunks_exact(shape.len()).zip(out.chunks_exact_mut(shape.len())) {
        for (i, value) in out.iter_mut().enumerate() {
            *value = x[i % pixels * channels + i / pixels];
        }
    }
    out
}
