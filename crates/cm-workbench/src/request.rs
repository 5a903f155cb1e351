//! What a command asks of a trained model, checked: every problem is reported, with what is allowed.

use crate::error::WorkbenchError;
use crate::model::Model;
use cm_diffusion::{Labels, Sigma, SigmaRange};
use cm_image::{ImageBatch, PngImage};
use cm_study::Problems;
use std::convert::Infallible;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A trained consistency model as a command names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRequest {
    /// The folder of a finished run, its model file, or a file of imported weights.
    pub path: PathBuf,
    /// The name of one of its averages of the weights, as tables have it. None: the first.
    pub ema: Option<String>,
    /// The class of the images. None: drawn from each image's seed where the model knows classes.
    pub class: Option<ClassRequest>,
}

/// A class as a command names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClassRequest {
    /// By its number, from 0.
    Number(u32),
    /// By its name in the data set.
    Name(String),
}

impl FromStr for ClassRequest {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Number))
    }
}

/// The noise levels of an option: each within the range (`with_max`: its upper end included), strictly falling.
pub(crate) fn checked_levels(
    problems: &mut Problems,
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
                    problems.add(option, format!("{level} is not less than {last}"), &allowed);
                }
                levels.push(level);
            }
            Ok(_) | Err(_) => problems.add(option, format!("{value} is outside"), &allowed),
        }
    }
    levels
}

/// A PNG of so many channels and of one of the sizes (height, width) allowed.
pub(crate) fn checked_image(
    problems: &mut Problems,
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
            problems.add(option, named(error), allowed);
            return None;
        }
    };
    let (height, width) = image.size();
    if !sizes.contains(&(height, width)) {
        problems.add(option, named(format!("the image is {height}x{width}")), allowed);
        return None;
    }
    match image.decode(channels) {
        Ok(image) => Some(image),
        Err(error) => {
            problems.add(option, named(error.to_string()), allowed);
            None
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
    /// What `model` has of what is asked.
    pub(crate) fn of(
        model: Model,
        request: &ModelRequest,
        problems: &mut Problems,
    ) -> Result<Self, WorkbenchError> {
        let (average, labels) =
            pick(request, &model.averages(), (model.labels(), &|| model.class_names()), problems)?;
        Ok(Self { model, average, labels })
    }
}

/// The names of a model's classes, looked up where one is asked for by its name.
pub(crate) type ClassNames<'a> = &'a dyn Fn() -> Result<Vec<String>, WorkbenchError>;

/// Names of classes in a message, at most.
const MOST_NAMES: usize = 20;

/// The number of the average that is asked for among those of a model, and the classes of the images.
pub(crate) fn pick(
    request: &ModelRequest,
    averages: &[String],
    (labels, names): (Labels, ClassNames<'_>),
    problems: &mut Problems,
) -> Result<(usize, Labels), WorkbenchError> {
    let average = match &request.ema {
        None => 0,
        Some(wanted) => averages.iter().position(|name| name == wanted).unwrap_or_else(|| {
            problems.add("--ema", format!("the model has no average `{wanted}`"), averages.join(", "));
            0
        }),
    };
    let labels = match (labels, &request.class) {
        (Labels::None, Some(_)) => {
            let message = "the model was trained without classes";
            problems.add("--class", message, "nothing: leave it out");
            Labels::None
        }
        (Labels::Uniform { classes }, Some(ClassRequest::Number(class))) => {
            if *class >= classes {
                let allowed = format!("0 to {}", classes - 1);
                problems.add("--class", format!("the model has no class {class}"), allowed);
            }
            Labels::Class(*class)
        }
        (labels @ Labels::Uniform { classes }, Some(ClassRequest::Name(wanted))) => {
            let names = names()?;
            match names.iter().position(|name| name == wanted) {
                Some(class) => Labels::Class(class as u32),
                None => {
                    let mut allowed = format!("0 to {}", classes - 1);
                    // Digits are named by their numbers.
                    if names.iter().any(|name| name.parse::<u32>().is_err()) {
                        allowed += &format!(", or {}", names[..names.len().min(MOST_NAMES)].join(", "));
                    }
                    if names.len() > MOST_NAMES {
                        allowed += &format!(" and {} more", names.len() - MOST_NAMES);
                    }
                    problems.add("--class", format!("the model has no class `{wanted}`"), allowed);
                    labels
                }
            }
        }
        (labels, _) => labels,
    };
    Ok((average, labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_that_cannot_be_is_told() {
        let range = SigmaRange::new(0.01, 20.0).unwrap();
        let told = |values: &[f32], with_max: bool| {
            let mut problems = Problems::default();
            checked_levels(&mut problems, "--times", values, range, with_max);
            problems
                .check()
                .err()
                .into_iter()
                .flat_map(|errors| errors.problems().to_vec())
                .map(|problem| problem.message)
                .collect::<Vec<_>>()
        };
        assert!(told(&[20.0, 3.0, 0.01], true).is_empty());
        assert_eq!(told(&[20.0, 3.0], false), ["20 is outside"]);
        assert_eq!(
            told(&[3.0, f32::NAN, 3.0, 0.001], true),
            ["NaN is outside", "3 is not less than 3", "0.001 is outside"]
        );
    }
}
