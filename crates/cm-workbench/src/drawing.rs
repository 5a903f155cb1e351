//! What is to be drawn, and the images drawn by any sampler: a contact sheet to look at, and all of them as 8-bit
//! pixels.

use crate::error::WorkbenchError;
use crate::picture_file::write_picture;
use crate::request::ModelRequest;
use cm_diffusion::{Labels, Sampler};
use cm_evaluator::MetricConfig;
use cm_host::npz::{Element, NpzWriter};
use cm_host::{FileError, NewFile, Progress, ResultFolder, StopFlag};
use cm_image::random::derive_seed;
use cm_image::{ImageBatch, ImageShape, picture, to_u8_truncated};
use cm_study::Problems;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// Images on the contact sheet, at most.
const GRID: usize = 100;

/// Images of one file at most: 12 TiB of 32x32 pixels. They are streamed to the disk.
const MOST_IMAGES: usize = 1 << 32;

/// What is to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleRequest {
    /// From which model.
    pub model: ModelRequest,
    /// The folder for `grid.png` and `samples.npz`.
    pub out: PathBuf,
    /// The number of images, at least 1.
    pub count: usize,
    /// Image i has the seed `derive_seed(seed, i)`, whatever the batch.
    pub seed: u64,
    /// At which noise levels the model is evaluated.
    pub evaluations: Evaluations,
    /// Whether images are clamped to [-1, 1] before they are noised again.
    pub clip: bool,
    /// Images at a time, at least 1; it decides the memory and not the images. None: 256, fewer of more than 4096 values.
    pub batch: Option<usize>,
}

/// At which noise levels a model is evaluated.
#[derive(Clone, Debug, PartialEq)]
pub enum Evaluations {
    /// So many times, at least 1: at sigma_max, and at the inner ones of this number of levels and one more.
    Steps(usize),
    /// At sigma_max, and at these levels, strictly falling.
    Times(Vec<f32>),
}

/// What was drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The contact sheet; none of images that cannot be shown.
    pub grid: Option<PathBuf>,
    /// `arr_0`: the images, u8, N x height x width x channels. `arr_1`: their classes, i64, if the model knows any.
    pub samples: PathBuf,
    /// NFE: network evaluations for each image.
    pub evaluations: usize,
}

/// That there is something to draw.
pub(crate) fn check_counts(request: &SampleRequest, problems: &mut Problems) {
    let counts =
        [("--count", Some(request.count), MOST_IMAGES), ("--batch", request.batch, MetricConfig::MOST_BATCH)];
    for (option, value, most) in counts {
        if let Some(value) = value.filter(|value| !(1..=most).contains(value)) {
            problems.add(option, format!("{value} images"), format!("1 to {most}"));
        }
    }
}

/// Images at a time where nobody says how many: few of large ones, so that activations stay small.
fn batch(request: &SampleRequest, shape: ImageShape) -> usize {
    const MOST_VALUES: usize = 1 << 20;
    request.batch.unwrap_or_else(|| (MOST_VALUES / shape.len()).clamp(1, 256))
}

/// Draws the images and writes them and the contact sheet.
pub(crate) fn draw(
    request: &SampleRequest,
    sampler: &dyn Sampler,
    labels: Labels,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<Option<Drawn>, WorkbenchError> {
    let results = ResultFolder::new(&request.out, &["samples.npz", "grid.png"])?;
    let Some(shown) = write_samples(request, sampler, labels, stop, progress)? else { return Ok(None) };
    let grid = match shown.count() {
        0 => None,
        _ => {
            let sheet =
                picture::draw(&shown).map_err(|error| WorkbenchError::failed("the contact sheet", error))?;
            Some(write_picture(&request.out.join("grid.png"), &sheet)?)
        }
    };
    results.keep();
    let samples = request.out.join("samples.npz");
    Ok(Some(Drawn { grid, samples, evaluations: sampler.evaluations() }))
}

/// Writes `samples.npz` in one step, whatever its size, and returns the images for the contact sheet, in the order of
/// their classes; nothing if it was asked to stop.
fn write_samples(
    request: &SampleRequest,
    sampler: &dyn Sampler,
    labels: Labels,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<Option<ImageBatch>, WorkbenchError> {
    let path = request.out.join("samples.npz");
    let (new, file) = NewFile::begin(&path).map_err(FileError::io(&path))?;
    let written = stream(request, sampler, labels, (&path, file), stop, progress)?;
    if written.is_some() {
        new.finish().map_err(FileError::io(&path))?;
    }
    Ok(written)
}

fn stream(
    request: &SampleRequest,
    sampler: &dyn Sampler,
    labels: Labels,
    (path, out): (&Path, File),
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<Option<ImageBatch>, WorkbenchError> {
    let file = |error: io::Error| FileError::io(path)(error);
    let (shape, count) = (sampler.shape(), request.count);
    let batch = batch(request, shape);
    let mut archive = NpzWriter::new(BufWriter::new(out));
    let sides = [count, shape.height, shape.width, shape.channels];
    let mut images = archive.array("arr_0", Element::U8, &sides).map_err(file)?;
    let wanted = picture::wanted(shape, GRID.min(count)).unwrap_or(0);
    let mut shown: Vec<(Option<u32>, ImageBatch)> = Vec::new();
    progress.phase("samples", count as u64);
    for first in (0..count).step_by(batch) {
        if stop.is_requested() {
            return Ok(None);
        }
        let seeds = seeds(request, first, batch);
        let drawn =
            sampler.sample(&seeds).map_err(|error| WorkbenchError::failed("drawing images", error))?;
        let pixels: Vec<u8> = drawn.values().iter().map(|&value| to_u8_truncated(value)).collect();
        images.write(&pixels).map_err(file)?;
        for (index, &seed) in seeds.iter().enumerate().take(wanted.saturating_sub(shown.len())) {
            shown.push((labels.of(&[seed]).pop(), drawn.slice(index..index + 1)));
        }
        progress.advance(seeds.len() as u64, None);
    }
    images.finish().map_err(file)?;
    if labels != Labels::None {
        let mut classes = archive.array("arr_1", Element::I64, &[count]).map_err(file)?;
        for first in (0..count).step_by(batch) {
            let of_batch = labels.of(&seeds(request, first, batch));
            let bytes: Vec<u8> =
                of_batch.into_iter().flat_map(|class| i64::from(class).to_le_bytes()).collect();
            classes.write(&bytes).map_err(file)?;
        }
        classes.finish().map_err(file)?;
    }
    let file_of = |out: BufWriter<File>| out.into_inner().map_err(io::IntoInnerError::into_error);
    archive.finish().and_then(file_of).and_then(|out| out.sync_all()).map_err(file)?;
    progress.finish_phase();
    shown.sort_by_key(|(class, _)| *class);
    let mut sheet = ImageBatch::zeros(shape, 0);
    shown.iter().for_each(|(_, image)| sheet.append(image));
    Ok(Some(sheet))
}

/// The seeds of the batch that begins with image `first`.
fn seeds(request: &SampleRequest, first: usize, batch: usize) -> Vec<u64> {
    let end = request.count.min(first.saturating_add(batch));
    (first..end).map(|index| derive_seed(request.seed, index as u64)).collect()
}
