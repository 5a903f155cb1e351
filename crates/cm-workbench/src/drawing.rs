//! What is to be drawn, and the images drawn by any sampler: a contact sheet to look at, and all of them as 8-bit
//! pixels.

use crate::error::WorkbenchError;
use crate::picture_file::write_picture;
use crate::request::ModelRequest;
use cm_diffusion::{Guidance, Labels, Sampler};
use cm_evaluator::MetricConfig;
use cm_host::npz::{Element, NpzWriter};
use cm_host::{
    FileError, Identity, NewFile, NewFolder, Progress, Provenance, ResultFolder, SamplesCard, StopFlag,
};
use cm_image::random::derive_seed;
use cm_image::{ImageBatch, ImageShape, Quantisation, from_u8, picture};
use cm_study::Problems;
use std::fs::File;
use std::io::{self, BufWriter};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Images on the contact sheet, at most.
const GRID: usize = 100;

/// Images of one file at most: 12 TiB of 32x32 pixels. They are streamed to the disk.
const MOST_IMAGES: usize = 1 << 32;

/// Single files at most: more of them in one folder are a burden to most file systems.
const MOST_FILES: usize = 1_000_000;

/// What is to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleRequest {
    /// From which model.
    pub model: ModelRequest,
    /// Whether from the teacher that the run had, in place of the run's own model.
    pub teacher: bool,
    /// The folder for `grid.png` and `samples.npz`.
    pub out: PathBuf,
    /// The number of images, at least 1.
    pub count: usize,
    /// Image i has the seed `derive_seed(seed, i)`, whatever the batch. None: that of the run's scores, so that the
    /// images are those that were scored; 0 for a file of weights.
    pub seed: Option<u64>,
    /// At which noise levels the model is evaluated.
    pub evaluations: Evaluations,
    /// How a diffusion model that knows classes is guided. None: as its study says; not at all for a file of weights.
    pub guidance: Option<Guidance>,
    /// Whether images are clamped to [-1, 1] before they are noised again.
    pub clip: bool,
    /// How values become 8-bit pixels. None: the rule of the run's study; the default for a file of weights.
    pub quantisation: Option<Quantisation>,
    /// Images at a time, at least 1; it decides the memory and not the images. None: 256, fewer of more than 4096 values.
    pub batch: Option<usize>,
    /// Whether each image becomes a PNG of its own too, in the folder `images`, which must not be there.
    pub single_files: bool,
}

/// At which noise levels a model is evaluated.
#[derive(Clone, Debug, PartialEq)]
pub enum Evaluations {
    /// As is usual: once; a teacher as in its study, and a diffusion model from a file at 18 levels (Karras et al. 2022, for
    /// CIFAR-10).
    Usual,
    /// So many times, at least 1: at sigma_max, and at the inner ones of this number of levels and one more. A diffusion
    /// model is led from level to level of so many, and then to 0.
    Steps(usize),
    /// At sigma_max, and at these levels, strictly falling; a diffusion model is led from one to the next.
    Times(Vec<f32>),
}

impl Evaluations {
    /// The same, and `steps` where nothing is said.
    pub(crate) fn or_steps(&self, steps: usize) -> Self {
        match self {
            Self::Usual => Self::Steps(steps),
            said @ (Self::Steps(_) | Self::Times(_)) => said.clone(),
        }
    }
}

/// What was drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The contact sheet; none of images that cannot be shown.
    pub grid: Option<PathBuf>,
    /// `arr_0`: the images, N x height x width x channels; u8 of pictures, f32 of points. `arr_1`: their classes, i64,
    /// if the model knows any. `card`: what they are, as JSON.
    pub samples: PathBuf,
    /// The folder of single images, if it was asked for.
    pub images: Option<PathBuf>,
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
    if request.single_files && request.count > MOST_FILES {
        problems.add("--images", format!("{} files", request.count), format!("at most {MOST_FILES}"));
    }
}

/// Images at a time where nobody says how many: few of large ones, so that activations stay small.
fn batch(request: &SampleRequest, shape: ImageShape) -> usize {
    const MOST_VALUES: usize = 1 << 20;
    request.batch.unwrap_or_else(|| (MOST_VALUES / shape.len()).clamp(1, 256))
}

/// What is drawn from, and what its model says where the request does not.
pub(crate) struct Drawing<'a> {
    pub(crate) sampler: &'a dyn Sampler,
    /// The sampler's name, as tables have it.
    pub(crate) name: String,
    /// The model's name and that of the average of its weights.
    pub(crate) model: String,
    /// The run that trained it.
    pub(crate) of: Option<Identity>,
    pub(crate) labels: Labels,
    /// None: points, which are written as they are.
    pub(crate) quantisation: Option<Quantisation>,
    pub(crate) seed: u64,
}

/// What is done with what is drawn from.
pub(crate) type Use<'a> = &'a mut dyn FnMut(&Drawing<'_>) -> Result<(), WorkbenchError>;

impl Drawing<'_> {
    /// The images of some seeds as they are delivered, and their bytes: pixels, or the values of points. `first` is the
    /// number of the first image.
    pub(crate) fn images(
        &self,
        seeds: &[u64],
        first: usize,
    ) -> Result<(ImageBatch, Vec<u8>), WorkbenchError> {
        let drawn = self.sampler.sample(seeds);
        let drawn = drawn.map_err(|error| WorkbenchError::failed("drawing images", error))?;
        if let Some(value) = drawn.values().iter().find(|value| !value.is_finite()) {
            let reason = format!("the model gave {value} for an image of those from number {first}");
            return Err(WorkbenchError::failed("drawing images", reason));
        }
        let Some(rule) = self.quantisation else {
            let bytes = drawn.values().iter().flat_map(|value| value.to_le_bytes()).collect();
            return Ok((drawn, bytes));
        };
        let pixels: Vec<u8> = drawn.values().iter().map(|&value| rule.pixel(value)).collect();
        let values = pixels.iter().copied().map(from_u8).collect();
        let images = ImageBatch::new(drawn.shape(), values).expect("as many pixels as values");
        Ok((images, pixels))
    }

    /// What its images say of themselves.
    pub(crate) fn card(&self) -> SamplesCard {
        let Provenance { version, instruction_set, .. } = Provenance::of_this_process(self.seed);
        SamplesCard {
            model: self.model.clone(),
            of: self.of.clone(),
            sampler: self.name.clone(),
            evaluations: self.sampler.evaluations(),
            seed: self.seed,
            quantisation: self.quantisation.map_or("none: points", Quantisation::describe).to_owned(),
            version,
            instruction_set,
        }
    }
}

/// Draws the images and writes them and the contact sheet.
pub(crate) fn draw(
    request: &SampleRequest,
    drawing: &Drawing<'_>,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<Option<Drawn>, WorkbenchError> {
    if request.single_files && drawing.quantisation.is_none() {
        let mut problems = Problems::default();
        problems.add("--images", "the model draws points", "a model of images");
        problems.check()?;
    }
    let results = ResultFolder::new(&request.out, &["samples.npz", "grid.png"])?;
    let images = request.out.join("images");
    let folder = request.single_files.then(|| NewFolder::begin(&images)).transpose()?;
    let singles = folder.as_ref().map(NewFolder::partial);
    let Some(shown) = write_samples(request, drawing, singles, stop, progress)? else { return Ok(None) };
    let grid = match shown.count() {
        0 => None,
        _ => {
            let sheet =
                picture::draw(&shown).map_err(|error| WorkbenchError::failed("the contact sheet", error))?;
            Some(write_picture(&request.out.join("grid.png"), &sheet)?)
        }
    };
    let images = folder.map(|folder| folder.finish().map(|()| images)).transpose()?;
    results.keep();
    let samples = request.out.join("samples.npz");
    Ok(Some(Drawn { grid, samples, images, evaluations: drawing.sampler.evaluations() }))
}

/// Writes `samples.npz` in one step, whatever its size, and single images into `singles`; returns the images for the
/// contact sheet, in the order of their classes, or nothing if it was asked to stop.
fn write_samples(
    request: &SampleRequest,
    drawing: &Drawing<'_>,
    singles: Option<&Path>,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<Option<ImageBatch>, WorkbenchError> {
    let path = request.out.join("samples.npz");
    let (new, file) = NewFile::begin(&path).map_err(FileError::io(&path))?;
    let written = stream(request, drawing, (&path, file), singles, stop, progress)?;
    if written.is_some() {
        new.finish().map_err(FileError::io(&path))?;
    }
    Ok(written)
}

fn stream(
    request: &SampleRequest,
    drawing: &Drawing<'_>,
    (path, out): (&Path, File),
    singles: Option<&Path>,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<Option<ImageBatch>, WorkbenchError> {
    let file = |error: io::Error| FileError::io(path)(error);
    let &Drawing { sampler, labels, quantisation, seed, .. } = drawing;
    let (shape, count) = (sampler.shape(), request.count);
    let batch = batch(request, shape);
    let mut archive = NpzWriter::new(BufWriter::new(out));
    let sides = [count, shape.height, shape.width, shape.channels];
    let element = if quantisation.is_some() { Element::U8 } else { Element::F32 };
    let mut images = archive.array("arr_0", element, &sides).map_err(file)?;
    let wanted = picture::wanted(shape, GRID.min(count)).unwrap_or(0);
    let mut shown: Vec<(Option<u32>, ImageBatch)> = Vec::new();
    progress.phase("samples", count as u64);
    for first in (0..count).step_by(batch) {
        if stop.is_requested() {
            return Ok(None);
        }
        let seeds = seeds(seed, first..count.min(first.saturating_add(batch)));
        let (drawn, bytes) = drawing.images(&seeds, first)?;
        images.write(&bytes).map_err(file)?;
        if let Some(folder) = singles {
            for index in 0..drawn.count() {
                write_picture(
                    &folder.join(format!("{:06}.png", first + index)),
                    &drawn.slice(index..index + 1),
                )?;
            }
        }
        for (index, &seed) in seeds.iter().enumerate().take(wanted.saturating_sub(shown.len())) {
            shown.push((labels.of(&[seed]).pop(), drawn.slice(index..index + 1)));
        }
        progress.advance(seeds.len() as u64, None);
    }
    images.finish().map_err(file)?;
    if labels != Labels::None {
        let mut classes = archive.array("arr_1", Element::I64, &[count]).map_err(file)?;
        for first in (0..count).step_by(batch) {
            let of_batch = labels.of(&seeds(seed, first..count.min(first.saturating_add(batch))));
            let bytes: Vec<u8> =
                of_batch.into_iter().flat_map(|class| i64::from(class).to_le_bytes()).collect();
            classes.write(&bytes).map_err(file)?;
        }
        classes.finish().map_err(file)?;
    }
    let card = drawing.card().to_json();
    let mut text = archive.array(SamplesCard::ARRAY, Element::U8, &[card.len()]).map_err(file)?;
    text.write(&card).map_err(file)?;
    text.finish().map_err(file)?;
    let file_of = |out: BufWriter<File>| out.into_inner().map_err(io::IntoInnerError::into_error);
    archive.finish().and_then(file_of).and_then(|out| out.sync_all()).map_err(file)?;
    progress.finish_phase();
    shown.sort_by_key(|(class, _)| *class);
    let mut sheet = ImageBatch::zeros(shape, 0);
    shown.iter().for_each(|(_, image)| sheet.append(image));
    Ok(Some(sheet))
}

/// The seeds of some images.
pub(crate) fn seeds(seed: u64, images: Range<usize>) -> Vec<u64> {
    images.map(|index| derive_seed(seed, index as u64)).collect()
}
