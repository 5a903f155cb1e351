//! Images edited by a trained model that was never trained for it: from PNG files to PNG files.

use crate::any_model::AnyModel;
use crate::error::WorkbenchError;
use crate::picture_file::{side_by_side, write_picture};
use crate::request::{Chosen, ModelRequest, checked_image, checked_levels};
use cm_diffusion::editing::{
    Colourisation, Editor, Inpainting, Interpolation, Stroke, SuperResolution, Task, denoise,
};
use cm_diffusion::noise::{batch_noise, perturb};
use cm_diffusion::{Labels, NumLevels, Sigma};
use cm_host::ResultFolder;
use cm_image::random::derive_seed;
use cm_image::{ImageBatch, ImageShape, picture};
use cm_study::Problems;
use std::path::{Path, PathBuf};

/// Levels of the default grid: Song et al. 2023, Appendix D.
pub(crate) const LEVELS: usize = 40;
/// Images between two at most: all are evaluated at once.
const MOST_STEPS: usize = 1000;

/// What is to be edited.
#[derive(Clone, Debug, PartialEq)]
pub struct EditRequest {
    /// By which model. One that knows classes must be told one: a class drawn by chance would contradict the image.
    pub model: ModelRequest,
    /// The folder for `edited.png` and `before-after.png`.
    pub out: PathBuf,
    /// The noise is that of the first image that [`sample`](crate::sample()) draws with this seed.
    pub seed: u64,
    /// The noise levels, strictly falling, within the model's range. None: for strokes and paths between images those of
    /// [`Stroke::levels`], for a path between samples sigma_max, else 40 levels of the model's own spacing.
    pub times: Option<Vec<f32>>,
    /// Whether the model's images are clamped to [-1, 1] before what is known is put back.
    pub clip: bool,
    /// What is known of the image, and where it is.
    pub task: EditTask,
}

/// What is known of an image, and where it is. PNG files have the size of the model's images where nothing else is said.
#[derive(Clone, Debug, PartialEq)]
pub enum EditTask {
    /// Parts of the image are missing.
    Inpaint {
        /// The image.
        image: PathBuf,
        /// White where it is known.
        mask: PathBuf,
    },
    /// Its colours are missing.
    Colourise {
        /// The image.
        image: PathBuf,
    },
    /// It is known at a lower resolution.
    SuperResolve {
        /// The small image; or one of full size, which is reduced first.
        image: PathBuf,
        /// By how much it is to grow in height and width, at least 2.
        factor: usize,
    },
    /// It is a rough painting.
    Stroke {
        /// The painting.
        image: PathBuf,
        /// The first of two noise levels that are as far apart as the paper's. None: as [`EditRequest::times`] says.
        start_sigma: Option<f32>,
    },
    /// It has noise.
    Denoise {
        /// The image.
        image: PathBuf,
        /// The noise's standard deviation, where black is -1 and white is 1.
        sigma: f32,
        /// Whether the image has no noise yet, and is to be given some first.
        add_noise: bool,
    },
    /// What lies between two images is wanted.
    Interpolate {
        /// The seeds of the ends, as [`EditRequest::seed`].
        seeds: (u64, u64),
        /// The ends; without them, the samples of the seeds.
        images: Option<(PathBuf, PathBuf)>,
        /// The number of images with both ends, at least 2.
        steps: usize,
    },
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The result at its own size; of a path, its images from left to right.
    pub edited: PathBuf,
    /// Input, what is known of it (where that is something else), and result, enlarged; or the path.
    pub before_after: PathBuf,
}

/// Edits an image, or draws what lies between two.
///
/// # Errors
/// [`WorkbenchError`] if the model cannot be opened, does not fit what is asked of it, or fails, or a file cannot be read or
/// written.
pub fn edit(request: &EditRequest) -> Result<Edited, WorkbenchError> {
    let mut problems = Problems::default();
    let model = AnyModel::consistency(&request.model.path)?;
    let chosen = Chosen::of(model, &request.model, &mut problems)?;
    if let Labels::Uniform { classes } = chosen.labels {
        problems.add(
            "--class",
            "the model must be told the class of the image",
            format!("0 to {}", classes - 1),
        );
    }
    let shape = chosen.model.shape();
    if shape.channels != 1 && shape.channels != 3 {
        let message = format!("its data are {shape} (height x width x channels), and no images");
        problems.add("--model", message, "models of images with 1 or 3 channels");
        problems.check()?;
        return Err(WorkbenchError::failed("editing", "the model has no images"));
    }
    let workshop = Workshop { request, chosen: &chosen, shape };
    let pictures = match &request.task {
        EditTask::Inpaint { image, mask } => workshop.inpaint(image, mask, problems)?,
        EditTask::Colourise { image } => workshop.colourise(image, problems)?,
        EditTask::SuperResolve { image, factor } => workshop.super_resolve(image, *factor, problems)?,
        EditTask::Stroke { image, start_sigma } => workshop.stroke(image, *start_sigma, problems)?,
        EditTask::Denoise { image, sigma, add_noise } => {
            workshop.denoise(image, *sigma, *add_noise, problems)?
        }
        EditTask::Interpolate { seeds, images, steps } => {
            workshop.interpolate(*seeds, images.as_ref(), *steps, problems)?
        }
    };
    let results = ResultFolder::new(&request.out, &["edited.png", "before-after.png"])?;
    let sheet = picture::row_by_row(&pictures.row, pictures.row.count())
        .map_err(|error| WorkbenchError::failed("the picture", error))?;
    let edited = write_picture(&request.out.join("edited.png"), &pictures.edited)?;
    let before_after = write_picture(&request.out.join("before-after.png"), &sheet)?;
    results.keep();
    Ok(Edited { edited, before_after })
}

/// What is to be written.
struct Pictures {
    edited: ImageBatch,
    /// The images of `before-after.png`, from left to right.
    row: ImageBatch,
}

impl Pictures {
    fn of(mut row: ImageBatch, edited: ImageBatch) -> Self {
        row.append(&edited);
        Self { edited, row }
    }
}

/// A request and the model that does it.
struct Workshop<'a> {
    request: &'a EditRequest,
    chosen: &'a Chosen,
    shape: ImageShape,
}

impl Workshop<'_> {
    fn inpaint(&self, image: &Path, mask: &Path, mut problems: Problems) -> Result<Pictures, WorkbenchError> {
        let image = self.image("--image", image, &mut problems);
        let mask = checked_image(&mut problems, "--mask", mask, 1, &[self.size()]);
        let levels = self.levels(&[], &mut problems);
        problems.check()?;
        let (image, mask) = (given(image)?, given(mask)?);
        let channels = self.shape.channels;
        let known = mask.values().iter().flat_map(|&value| vec![value > 0.0; channels]).collect();
        let task = Inpainting::new(self.shape, known).map_err(failed)?;
        let mut masked = ImageBatch::zeros(self.shape, 1);
        task.put_back(image.image(0), masked.values_mut());
        let edited = self.apply(&task, &image, levels)?;
        Ok(Pictures::of(joined(&[image, masked]), edited))
    }

    fn colourise(&self, image: &Path, mut problems: Problems) -> Result<Pictures, WorkbenchError> {
        let task = Colourisation::new(self.shape);
        if let Err(error) = &task {
            problems.add("--model", error.to_string(), "models of images with 3 channels");
        }
        let image = self.image("--image", image, &mut problems);
        let levels = self.levels(&[], &mut problems);
        problems.check()?;
        let (task, image) = (task.map_err(failed)?, given(image)?);
        let mut known = ImageBatch::zeros(self.shape, 1);
        task.put_back(image.image(0), known.values_mut());
        let edited = self.apply(&task, &image, levels)?;
        Ok(Pictures::of(joined(&[image, known]), edited))
    }

    fn super_resolve(
        &self,
        image: &Path,
        factor: usize,
        mut problems: Problems,
    ) -> Result<Pictures, WorkbenchError> {
        let (height, width) = self.size();
        let levels = self.levels(&[], &mut problems);
        let task = match SuperResolution::new(self.shape, factor) {
            Ok(task) if factor > 1 => task,
            _ => {
                let divides = |n: &usize| height.is_multiple_of(*n) && width.is_multiple_of(*n);
                let allowed: Vec<String> =
                    (2..=height.min(width)).filter(divides).map(|n| n.to_string()).collect();
                let message = format!("images of {height}x{width} have no blocks of {factor}x{factor}");
                problems.add("--factor", message, allowed.join(", "));
                problems.check()?;
                return Err(WorkbenchError::failed("editing", "no blocks"));
            }
        };
        let small = task.small_shape();
        let sizes = [(small.height, small.width), (height, width)];
        let image = checked_image(&mut problems, "--image", image, self.shape.channels, &sizes);
        problems.check()?;
        let image = given(image)?;
        let (reference, mut row) = if image.shape() == self.shape {
            (task.enlarge(&task.reduce(&image)), image)
        } else {
            (task.enlarge(&image), ImageBatch::zeros(self.shape, 0))
        };
        row.append(&reference);
        let edited = self.apply(&task, &reference, levels)?;
        Ok(Pictures::of(row, edited))
    }

    fn stroke(
        &self,
        image: &Path,
        start_sigma: Option<f32>,
        mut problems: Problems,
    ) -> Result<Pictures, WorkbenchError> {
        let image = self.image("--image", image, &mut problems);
        let levels = match start_sigma {
            Some(start) => {
                let [first, second] = Stroke::levels();
                let range = self.chosen.model.range();
                let mut levels = checked_levels(&mut problems, "--start-sigma", &[start], range, true);
                // Where the second would be less than the model knows, one is enough.
                let second = Sigma::new(start * (second.get() / first.get()));
                levels.extend(second.ok().filter(|second| *second >= range.min()));
                levels
            }
            None => self.levels(&Stroke::levels(), &mut problems),
        };
        problems.check()?;
        let image = given(image)?;
        let edited = self.apply(&Stroke { shape: self.shape }, &image, levels)?;
        Ok(Pictures::of(image, edited))
    }

    fn denoise(
        &self,
        image: &Path,
        sigma: f32,
        add_noise: bool,
        mut problems: Problems,
    ) -> Result<Pictures, WorkbenchError> {
        let image = self.image("--image", image, &mut problems);
        let level = checked_levels(&mut problems, "--sigma", &[sigma], self.chosen.model.range(), true);
        problems.check()?;
        let mut row = given(image)?;
        let mut noisy = row.clone();
        if add_noise {
            noisy = perturb(&row, &level, &batch_noise(self.shape, &[self.seed(self.request.seed)], 0));
            row.append(&noisy);
        }
        let model = self.chosen.model.function(self.chosen.average);
        let labels = self.chosen.labels.of(&[self.request.seed]);
        let edited = denoise(&model, &noisy, level[0], &labels).map_err(failed)?;
        Ok(Pictures::of(row, edited))
    }

    fn interpolate(
        &self,
        seeds: (u64, u64),
        images: Option<&(PathBuf, PathBuf)>,
        steps: usize,
        mut problems: Problems,
    ) -> Result<Pictures, WorkbenchError> {
        if !(2..=MOST_STEPS).contains(&steps) {
            problems.add("--steps", format!("a path of {steps} images"), format!("2 to {MOST_STEPS}"));
        }
        let seeds = (self.seed(seeds.0), self.seed(seeds.1));
        let (path, levels) = match images {
            None => {
                let levels = self.levels(&[self.chosen.model.range().max()], &mut problems);
                problems.check()?;
                (Interpolation::between_samples(self.shape, seeds, steps), levels)
            }
            Some((from, to)) => {
                let from = self.image("--from-image", from, &mut problems);
                let to = self.image("--to-image", to, &mut problems);
                let levels = self.levels(&Stroke::levels(), &mut problems);
                problems.check()?;
                (Interpolation::between_images(&given(from)?, &given(to)?, seeds, steps), levels)
            }
        };
        let model = self.chosen.model.function(self.chosen.average);
        let images = self.editor(&model, levels)?.interpolate(&path).map_err(failed)?;
        let row = match path.ends() {
            Some((from, to)) => {
                let end = |image: &[f32]| ImageBatch::new(self.shape, image.to_vec()).map_err(failed);
                joined(&[end(from)?, images.clone(), end(to)?])
            }
            None => images.clone(),
        };
        Ok(Pictures { edited: side_by_side(&images), row })
    }

    /// The noise levels asked for, or else `default`, or else a grid of the model's own spacing.
    fn levels(&self, default: &[Sigma], problems: &mut Problems) -> Vec<Sigma> {
        let range = self.chosen.model.range();
        match &self.request.times {
            Some(times) => {
                if times.is_empty() {
                    problems.add("--times", "no noise levels", "at least one");
                }
                checked_levels(problems, "--times", times, range, true)
            }
            // A model may know less noise than the paper's.
            None if default.iter().any(|level| *level > range.max()) => {
                let message = format!("the default begins at {}", default[0]);
                problems.add(
                    "--times",
                    message,
                    format!("noise levels from {} to {}", range.min(), range.max()),
                );
                Vec::new()
            }
            None if default.is_empty() => {
                let grid = NumLevels::new(LEVELS).expect("40 are enough");
                match self.chosen.model.levels(grid) {
                    Ok(levels) => levels.as_slice().to_vec(),
                    Err(error) => {
                        let allowed = format!("noise levels from {} to {}", range.min(), range.max());
                        problems.add("--times", error.to_string(), allowed);
                        Vec::new()
                    }
                }
            }
            None => default.to_vec(),
        }
    }

    fn apply(
        &self,
        task: &dyn Task,
        reference: &ImageBatch,
        levels: Vec<Sigma>,
    ) -> Result<ImageBatch, WorkbenchError> {
        let model = self.chosen.model.function(self.chosen.average);
        self.editor(&model, levels)?.edit(task, reference, &[self.seed(self.request.seed)]).map_err(failed)
    }

    fn editor<'m>(
        &self,
        model: &'m dyn cm_diffusion::ConsistencyFunction,
        levels: Vec<Sigma>,
    ) -> Result<Editor<'m>, WorkbenchError> {
        let Chosen { model: source, labels, .. } = self.chosen;
        Editor::new(model, source.range(), levels, self.request.clip, *labels).map_err(failed)
    }

    /// The seed of the first image that is sampled with `seed`.
    fn seed(&self, seed: u64) -> u64 {
        derive_seed(seed, 0)
    }

    fn image(&self, option: &str, path: &Path, problems: &mut Problems) -> Option<ImageBatch> {
        checked_image(problems, option, path, self.shape.channels, &[self.size()])
    }

    fn size(&self) -> (usize, usize) {
        (self.shape.height, self.shape.width)
    }
}

/// An image that was read: had it not been, there would have been a problem.
fn given(image: Option<ImageBatch>) -> Result<ImageBatch, WorkbenchError> {
    image.ok_or_else(|| WorkbenchError::failed("editing", "an image is missing"))
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> WorkbenchError {
    WorkbenchError::failed("editing", error)
}

/// Batches of one shape, one after the other; there is at least one.
fn joined(batches: &[ImageBatch]) -> ImageBatch {
    let mut all = batches[0].clone();
    batches[1..].iter().for_each(|batch| all.append(batch));
    all
}
