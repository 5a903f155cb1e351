//! Weights of other programs into a file of ours.

use crate::error::WorkbenchError;
use crate::foreign::{self, CARD, Guess, Hints, Mismatches, check_filters, infer, names, read_folder};
use cm_experiment::WeightsFile;
use cm_host::FileError;
use cm_import::Archive;
use cm_network::{HeadsConfig, NetworkConfig, ResamplingConfig};
use cm_study::{PreconditionConfig, Problems, WeightsCard, from_ron, to_ron};
use std::path::PathBuf;

/// What is to be imported. What is not given is told by the names and shapes in the file, or is the paper's.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportRequest {
    /// The foreign file, or the folder of a diffusers pipeline or of its network.
    pub input: PathBuf,
    /// The file to write.
    pub out: PathBuf,
    /// The network as a study would say it.
    pub network: Option<String>,
    /// Height and width of its images.
    pub size: Option<usize>,
    /// What the names of the wanted weights begin with.
    pub prefix: Option<String>,
    /// How the network's output is used; needed where the file does not say it.
    pub precondition: Option<PreconditionConfig>,
    /// Heads of attention, where the file does not say them.
    pub heads: Option<HeadsConfig>,
    /// How blocks change the resolution, where the file does not say it.
    pub resampling: Option<ResamplingConfig>,
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
    /// What was chosen, assumed and left out, for people.
    pub notes: Vec<String>,
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
    let ImportRequest { out, size, prefix, .. } = request;
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
    let folder = match request.input.is_dir() {
        true => {
            said_by_the_folder(request, &mut problems);
            Some(read_folder(&request.input)?)
        }
        false => None,
    };
    problems.check()?;
    let input = folder.as_ref().map_or(&request.input, |(weights, _)| weights);
    let damaged = |reason: String| FileError::Damaged { path: input.clone(), reason };
    let mut archive = Archive::open(input).map_err(|error| FileError::damaged(input, error))?;
    // What a folder says of itself, other programs may have changed.
    let carried = match &folder {
        Some(_) => None,
        None => carried(&archive).map_err(damaged)?,
    };
    // Whoever says something of the network says that the card's is not meant.
    let of_card = carried.as_ref().filter(|_| request.heads.is_none() && request.resampling.is_none());
    let hints = Hints {
        network: given.or(of_card.map(|card| card.network.clone())),
        size: size.or(of_card.map(|card| card.height)),
        prefix: prefix.clone(),
        heads: request.heads,
        resampling: request.resampling,
    };
    let guess = match &folder {
        Some((_, guess)) => guess.clone(),
        None => infer(&archive, &hints).map_err(damaged)?,
    };
    let Guess { network, shape, conditions, dialect, prefix, told } = guess;
    let (mut told, mut notes) = (told.clone(), told.notes);
    if let Some(card) = &carried {
        notes
            .push("what `cm export` wrote beside the weights is taken where no option says otherwise".into());
        told.precondition = Some(card.precondition);
        told.sigma_data = Some(card.sigma_data);
        (told.sigma_min, told.sigma_max) = (Some(card.sigma_min), Some(card.sigma_max));
    }
    let defaults = WeightsCard::default();
    let Some(precondition) = request.precondition.or(told.precondition) else {
        let mut problems = Problems::default();
        let message = "the file does not say how its network's output is used";
        let allowed = "edm or consistency; vp, ve or iddpm for other diffusion models of Karras et al. 2022";
        problems.add("--precondition", message, allowed);
        return Err(unsaid(problems));
    };
    let used = |name: &str, given: Option<f32>, told: Option<f32>, default: f32, notes: &mut Vec<String>| {
        if given.or(told).is_none() {
            notes.push(format!("{name} {default}, as published; the file does not say it"));
        }
        given.or(told).unwrap_or(default)
    };
    let sigma_data = match precondition {
        PreconditionConfig::Edm | PreconditionConfig::Consistency => {
            used("sigma_data", request.sigma_data, told.sigma_data, defaults.sigma_data, &mut notes)
        }
        // These know no such value.
        PreconditionConfig::Vp(_) | PreconditionConfig::Ve | PreconditionConfig::Iddpm(_) => {
            request.sigma_data.unwrap_or(defaults.sigma_data)
        }
    };
    let card = WeightsCard {
        network,
        height: shape.height,
        width: shape.width,
        channels: shape.channels,
        classes: conditions.classes,
        precondition,
        sigma_data,
        sigma_min: used("sigma_min", request.sigma_min, told.sigma_min, defaults.sigma_min, &mut notes),
        sigma_max: used("sigma_max", request.sigma_max, told.sigma_max, defaults.sigma_max, &mut notes),
        rho: request.rho.or(told.rho).or(carried.map(|card| card.rho)).unwrap_or(defaults.rho),
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
    let mismatches = Mismatches::between(&table, &archive, &prefix, &told.ignored);
    if !mismatches.is_empty() {
        return Err(damaged(listed(&mismatches)).into());
    }
    check_filters(&mut archive, &prefix, &told.ignored).map_err(damaged)?;
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
        notes,
    })
}

/// Options that a folder leaves no room for.
fn said_by_the_folder(request: &ImportRequest, problems: &mut Problems) {
    let ImportRequest { network, size, prefix, heads, resampling, .. } = request;
    let given = [
        ("--network", network.is_some()),
        ("--size", size.is_some()),
        ("--prefix", prefix.is_some()),
        ("--heads", heads.is_some()),
        ("--resampling", resampling.is_some()),
    ];
    for (option, _) in given.into_iter().filter(|(_, given)| *given) {
        problems.add(option, "the folder's config.json says it", "nothing: leave it out");
    }
}

/// The card that `cm export` wrote into a foreign file.
fn carried(archive: &Archive) -> Result<Option<WeightsCard>, String> {
    let read =
        |text: &String| from_ron(text).map_err(|error| format!("its `{CARD}` cannot be read: {error}"));
    archive.metadata().get(CARD).map(read).transpose()
}

/// The error of problems that there are.
fn unsaid(problems: Problems) -> WorkbenchError {
    match problems.check() {
        Err(errors) => errors.into(),
        Ok(()) => WorkbenchError::failed("importing", "something is unsaid"),
    }
}

/// All mismatches, one on a line.
fn listed(mismatches: &Mismatches) -> String {
    let Mismatches { missing, unexpected, misshapen, whole } = mismatches;
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
    list("no weights but whole numbers (quantised or another kind of array)", whole.clone());
    text
}
