//! Weights of other programs into a file of ours.

use crate::error::WorkbenchError;
use crate::foreign::{self, Guess, Mismatches, dialect_of, infer, names};
use cm_experiment::WeightsFile;
use cm_host::FileError;
use cm_image::ImageShape;
use cm_import::Archive;
use cm_network::{Conditions, NetworkConfig};
use cm_study::{PreconditionConfig, Problems, WeightsCard, from_ron, to_ron};
use std::path::PathBuf;

/// What is to be imported. What is not given is told by the names and shapes in the file, or is the paper's.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportRequest {
    /// The foreign file.
    pub input: PathBuf,
    /// The file to write.
    pub out: PathBuf,
    /// The network as a study would say it.
    pub network: Option<String>,
    /// Height and width of its images.
    pub size: Option<usize>,
    /// What the names of the wanted weights begin with.
    pub prefix: Option<String>,
    /// How the network's output is used.
    pub precondition: PreconditionConfig,
    /// Standard deviation of the data it was trained with.
    pub sigma_data: Option<f32>,
    /// Its lowest noise level.
    pub sigma_min: Option<f32>,
    /// Its highest noise level.
    pub sigma_max: Option<f32>,
    /// Curvature of its noise levels.
    pub rho: Option<f32>,
}

/// What was imported.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The file.
    pub out: PathBuf,
    /// The format of the foreign file.
    pub format: String,
    /// What belongs to the weights, as RON.
    pub card: String,
    /// The number of values in all arrays.
    pub parameters: usize,
}

/// Names that are listed of each kind of mismatch, at most.
const LISTED: usize = 20;
/// Height and width of a network's images at most.
const MOST_PIXELS: usize = 4096;

/// Reads a foreign file and writes ours.
///
/// # Errors
/// [`WorkbenchError`] if the file cannot be read, is of no known network, or does not fit the one that is given; then every
/// missing, unexpected and misshapen name is listed.
pub fn import(request: &ImportRequest) -> Result<Imported, WorkbenchError> {
    let ImportRequest { input, out, size, prefix, .. } = request;
    let damaged = |reason: String| FileError::Damaged { path: input.clone(), reason };
    let mut problems = Problems::default();
    let given = request.network.as_deref().and_then(|text| {
        let read = from_ron::<NetworkConfig>(text);
        read.map_err(|error| {
            problems.add("--network", error.to_string(), "a network as in a study, such as AdmImagenet64");
        })
        .ok()
    });
    if let Some(size) = size.filter(|size| !(1..=MOST_PIXELS).contains(size)) {
        problems.add("--size", format!("{size} pixels"), format!("1 to {MOST_PIXELS}"));
    }
    problems.check()?;
    let mut archive = Archive::open(input).map_err(|error| FileError::damaged(input, error))?;
    let guess = match given {
        Some(network) => fitted(&archive, network, *size, prefix.as_deref()),
        None => infer(&archive, *size, prefix.as_deref()),
    };
    let Guess { network, shape, conditions, dialect, prefix } = guess.map_err(damaged)?;
    let defaults = WeightsCard::default();
    let card = WeightsCard {
        network,
        height: shape.height,
        width: shape.width,
        channels: shape.channels,
        classes: conditions.classes,
        precondition: request.precondition,
        sigma_data: request.sigma_data.unwrap_or(defaults.sigma_data),
        sigma_min: request.sigma_min.unwrap_or(defaults.sigma_min),
        sigma_max: request.sigma_max.unwrap_or(defaults.sigma_max),
        rho: request.rho.unwrap_or(defaults.rho),
    };
    let mut problems = Problems::default();
    if let Err(message) = card.discretisation() {
        let allowed = "sigma_min below sigma_max, both above 0; sigma_data and rho above 0";
        problems.add("--sigma-min, --sigma-max, --sigma-data, --rho", message, allowed);
    }
    problems.check()?;
    let (_, mut weights) =
        card.network.outline(shape, conditions).map_err(|error| damaged(format!("the network: {error}")))?;
    let table = names(&card.network, shape.height, &weights, dialect).map_err(damaged)?;
    let mismatches = Mismatches::between(&table, &archive, &prefix);
    if !mismatches.is_empty() {
        return Err(damaged(told(&mismatches)).into());
    }
    foreign::load(&table, &mut archive, &prefix, &mut weights)
        .map_err(|error| FileError::damaged(input, error))?;
    if let Some((name, _, _)) = weights.iter().find(|(_, _, values)| values.iter().any(|v| !v.is_finite())) {
        return Err(damaged(format!("the values of `{name}` (our name) are not all finite")).into());
    }
    WeightsFile::write(out, &card, &weights)?;
    Ok(Imported {
        out: out.clone(),
        format: archive.format().to_string(),
        card: to_ron(&card),
        parameters: weights.count(),
    })
}

/// A network that was given, with what it does not say itself: the images' channels, and classes.
fn fitted(
    archive: &Archive,
    network: NetworkConfig,
    size: Option<usize>,
    prefix: Option<&str>,
) -> Result<Guess, String> {
    let preset = cm_network::Preset::ALL.into_iter().find(|preset| preset.config() == network);
    let height = size.or(preset.map(|preset| preset.shape().height));
    let height = height.ok_or("the height of the images must be given")?;
    let dialect = dialect_of(archive.format());
    let prefix = prefix.unwrap_or_default().to_owned();
    let shape = |name: &str| archive.find(&format!("{prefix}{name}")).map(|info| info.shape.as_slice());
    // The last kernel makes images: outputs first in PyTorch, last in Flax.
    let channels = match (shape("out.2.weight"), shape("Conv_1.weight"), shape("Conv_1/kernel")) {
        (Some(&[outputs, ..]), _, _) | (_, Some(&[outputs, ..]), _) | (_, _, Some(&[.., outputs])) => outputs,
        _ => 3,
    };
    let classes = shape("label_emb.weight").and_then(|shape| shape.first().copied());
    Ok(Guess {
        network,
        shape: ImageShape::new(height, height, channels),
        conditions: Conditions { classes, ..Conditions::default() },
        dialect,
        prefix,
    })
}

/// All mismatches, one on a line.
fn told(mismatches: &Mismatches) -> String {
    let Mismatches { missing, unexpected, misshapen } = mismatches;
    let mut text = "its arrays are not those of the network".to_owned();
    let mut list = |what: &str, lines: Vec<String>| {
        lines.iter().take(LISTED).for_each(|line| text += &format!("\n  {what}: {line}"));
        if lines.len() > LISTED {
            text += &format!("\n  {what}: and {} more", lines.len() - LISTED);
        }
    };
    list("missing", missing.clone());
    list("unexpected", unexpected.clone());
    let shapes = misshapen
        .iter()
        .map(|(name, given, expected)| format!("{name} is {given:?}, but the network's is {expected:?}"));
    list("misshapen", shapes.collect());
    text
}
