//! What a command asks of a trained model, checked: every problem is reported, with what is allowed.

use crate::error::{FolderError, RunError};
use crate::model::Model;
use crate::plan::Problem;
use cm_diffusion::{Labels, Sigma, SigmaRange};
use cm_image::{ImageBatch, PngImage};
use std::fmt;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// A trained consistency model as a command names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRequest {
    /// The folder of a finished run, its model file, or a file of imported weights.
    pub path: PathBuf,
    /// The name of one of its averages of the weights, as tables have it. None: the first.
    pub ema: Option<String>,
    /// The class of the images. None: drawn from each image's seed where the model knows classes.
    pub class: Option<u32>,
}

/// Everything that is wrong with a request. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestErrors(Vec<Problem>);

impl RequestErrors {
    /// The problems; their paths are options of the command line.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for RequestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { path, message, allowed, absent: _ }) in self.0.iter().enumerate() {
            // The first line continues what the caller has begun.
            let begin = if index == 0 { "" } else { "\nerror: " };
            write!(f, "{begin}{path}: {message}\n  allowed: {allowed}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RequestErrors {}

/// Problems as they are found.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn add(&mut self, option: &str, message: impl Into<String>, allowed: impl Into<String>) {
        self.0.push(Problem::new(option, message, allowed));
    }

    /// An error if there were any.
    pub(crate) fn check(self) -> Result<(), RunError> {
        if self.0.is_empty() { Ok(()) } else { Err(RequestErrors(self.0).into()) }
    }

    /// The noise levels of an option: each within the range (`with_max`: its upper end included), strictly falling.
    pub(crate) fn levels(
        &mut self,
        option: &str,
        values: &[f32],
        range: SigmaRange,
        with_max: bool,
    ) -> Vec<Sigma> {
        let (min, max) = (range.min(), range.max());
        let below = if with_max { "" } else { "below " };
        let allowed = format!("noise levels from {min} to {below}{max}, each less than the one before it");
        let mut levels: Vec<Sigma> = Vec::new();
        for &value in values {
            match Sigma::new(value) {
                Ok(level) if level >= min && (level < max || with_max && level == max) => {
                    if let Some(last) = levels.last().filter(|last| level >= **last) {
                        self.add(option, format!("{level} is not less than {last}"), &allowed);
                    }
                    levels.push(level);
                }
                Ok(_) | Err(_) => self.add(option, format!("{value} is outside"), &allowed),
            }
        }
        levels
    }

    /// A PNG of so many channels and of one of the sizes (height, width) allowed.
    pub(crate) fn image(
        &mut self,
        option: &str,
        path: &Path,
        channels: usize,
        sizes: &[(usize, usize)],
    ) -> Option<ImageBatch> {
        let allowed: Vec<String> = sizes.iter().map(|(h, w)| format!("{h}x{w}")).collect();
        let allowed = format!("a PNG of {} (height x width)", allowed.join(" or "));
        let named = |message: String| format!("{}: {message}", path.display());
        let opened = File::open(path)
            .map_err(|error| error.to_string())
            .and_then(|file| PngImage::open(BufReader::new(file)).map_err(|error| error.to_string()));
        let image = match opened {
            Ok(image) => image,
            Err(error) => {
                self.add(option, named(error), allowed);
                return None;
            }
        };
        let (height, width) = image.size();
        if !sizes.contains(&(height, width)) {
            self.add(option, named(format!("the image is {height}x{width}")), allowed);
            return None;
        }
        match image.decode(channels) {
            Ok(image) => Some(image),
            Err(error) => {
                self.add(option, named(error.to_string()), allowed);
                None
            }
        }
    }
}

/// What a model offers to a request.
pub(crate) struct Chosen {
    pub(crate) model: Model,
    /// The number of the average.
    pub(crate) average: usize,
    pub(crate) labels: Labels,
}

impl Chosen {
    /// Opens the model and finds out whether it has what is asked of it.
    pub(crate) fn open(request: &ModelRequest, problems: &mut Problems) -> Result<Self, RunError> {
        Ok(Self::of(Model::open(&request.path)?, request, problems))
    }

    /// What `model` has of what is asked.
    pub(crate) fn of(model: Model, request: &ModelRequest, problems: &mut Problems) -> Self {
        let (average, labels) = pick(request, &model.averages(), model.labels(), problems);
        Self { model, average, labels }
    }
}

/// The number of the average that is asked for among those of a model, and the classes of the images.
pub(crate) fn pick(
    request: &ModelRequest,
    averages: &[String],
    labels: Labels,
    problems: &mut Problems,
) -> (usize, Labels) {
    let average = match &request.ema {
        None => 0,
        Some(wanted) => averages.iter().position(|name| name == wanted).unwrap_or_else(|| {
            problems.add("--ema", format!("the model has no average `{wanted}`"), averages.join(", "));
            0
        }),
    };
    let labels = match (labels, request.class) {
        (Labels::None, Some(_)) => {
            let message = "the model was trained without classes";
            problems.add("--class", message, "nothing: leave it out");
            Labels::None
        }
        (Labels::Uniform { classes }, Some(class)) => {
            if class >= classes {
                let allowed = format!("0 to {}", classes - 1);
                problems.add("--class", format!("the model has no class {class}"), allowed);
            }
            Labels::Class(class)
        }
        (labels, _) => labels,
    };
    (average, labels)
}

/// Makes the folder for results.
pub(crate) fn make_folder(path: &Path) -> Result<(), RunError> {
    fs::create_dir_all(path)
        .map_err(|source| FolderError::NotWritable { path: path.to_owned(), source }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_that_cannot_be_is_told() {
        let range = SigmaRange::new(0.01, 20.0).unwrap();
        let told = |values: &[f32], with_max: bool| {
            let mut problems = Problems::default();
            problems.levels("--times", values, range, with_max);
            problems.0.into_iter().map(|problem| problem.message).collect::<Vec<_>>()
        };
        assert!(told(&[20.0, 3.0, 0.01], true).is_empty());
        assert_eq!(told(&[20.0, 3.0], false), ["20 is outside"]);
        assert_eq!(
            told(&[3.0, f32::NAN, 3.0, 0.001], true),
            ["NaN is outside", "3 is not less than 3", "0.001 is outside"]
        );
    }

    #[test]
    fn problems_are_listed_one_after_the_other() {
        let mut problems = Problems::default();
        problems.add("--class", "the model has no class 12", "0 to 9");
        problems.add("--ema", "the model has no average `x`", "raw");
        let text = problems.check().unwrap_err().to_string();
        let expected = "--class: the model has no class 12\n  allowed: 0 to 9\nerror: --ema: the model has no \
                        average `x`\n  allowed: raw";
        assert_eq!(text, expected);
        assert!(Problems::default().check().is_ok());
    }
}
