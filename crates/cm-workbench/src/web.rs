//! A consistency model as one page of HTML that draws in a browser (`cm-web`).

use crate::any_model::AnyModel;
use crate::edit;
use crate::error::WorkbenchError;
use crate::model::Model;
use crate::request::{Chosen, ModelRequest};
use cm_diffusion::NumLevels;
use cm_host::{FileError, durable};
use cm_image::Quantisation;
use cm_study::{Problems, RequestErrors};
use cm_web::Card;
use std::path::{Path, PathBuf};

/// Where cargo puts the module, below the folder it was called in.
pub const MODULE: &str = "target/wasm32-unknown-unknown/release/cm_web.wasm";

/// The commands that make it.
const MAKE: [&str; 2] = [
    "rustup target add wasm32-unknown-unknown",
    "cargo build --release --target wasm32-unknown-unknown -p cm-web",
];

/// Evaluations that the page offers, at most.
const MOST_EVALUATIONS: usize = 8;

/// Weights of a page at most: 200 MiB of text, which browsers still open.
const MOST_WEIGHTS: usize = 75_000_000;

/// What page is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct PageRequest {
    /// A finished run, its model file, or a file of weights.
    pub model: ModelRequest,
    /// The file to write.
    pub out: PathBuf,
    /// `cm-web` compiled for a browser. None: where cargo puts it below the current folder, [`MODULE`].
    pub module: Option<PathBuf>,
}

/// What page was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageWritten {
    /// The file.
    pub out: PathBuf,
    /// Its length.
    pub bytes: usize,
}

/// Writes a model as a page that draws.
///
/// # Errors
/// [`WorkbenchError`] if the model cannot be opened or shown, there is no module, or the file cannot be written.
pub fn export_page(request: &PageRequest) -> Result<PageWritten, WorkbenchError> {
    let PageRequest { model, out, module } = request;
    let mut problems = Problems::default();
    let module = module_bytes(module.as_deref(), &mut problems)?;
    let chosen = Chosen::of(AnyModel::consistency(&model.path)?, model, &mut problems)?;
    let told = card(&chosen, &model.path, &mut problems)?;
    problems.check()?;
    let (Some(module), Some(card)) = (module, told) else { unreachable!("checked above") };
    let weights = chosen.model.weights(chosen.average);
    let page = cm_web::page(&card, weights, &module).map_err(|error| {
        let (option, allowed) = match &error {
            cm_web::PageError::Module => ("--module", format!("what `{}` makes", MAKE[1])),
            cm_web::PageError::Card(_) | cm_web::PageError::Weights(_) => {
                ("MODEL", "a model of grey or coloured images whose weights half precision holds".to_owned())
            }
        };
        RequestErrors::one(option, error.to_string(), allowed)
    })?;
    durable::write(out, page.as_bytes()).map_err(FileError::io(out))?;
    Ok(PageWritten { out: out.clone(), bytes: page.len() })
}

/// The module's bytes; a problem if there are none.
fn module_bytes(module: Option<&Path>, problems: &mut Problems) -> Result<Option<Vec<u8>>, WorkbenchError> {
    let path = module.unwrap_or(Path::new(MODULE));
    let bytes = durable::read(path)?;
    if bytes.is_none() {
        let message = format!("{} is not there: the page's module of WebAssembly", path.display());
        problems.add("--module", message, format!("the file that these make: {}; {}", MAKE[0], MAKE[1]));
    }
    Ok(bytes)
}

/// A run's name, behind its study's if the run lies in its study's folder.
fn title(path: &Path, run: &str) -> String {
    let Ok(path) = std::fs::canonicalize(path) else { return run.to_owned() };
    let folder = if path.is_file() { path.parent().unwrap_or(&path) } else { &path };
    let parts = Path::new(run).components().count();
    let study = folder.ends_with(run).then(|| folder.ancestors().nth(parts)?.file_name()).flatten();
    study.map_or_else(|| run.to_owned(), |study| format!("{}: {run}", study.to_string_lossy()))
}

/// What the page must know; a problem if it cannot show such a model.
fn card(chosen: &Chosen, path: &Path, problems: &mut Problems) -> Result<Option<Card>, WorkbenchError> {
    let (shape, range) = (chosen.model.shape(), chosen.model.range());
    let (told, weights) = (chosen.model.card(), chosen.model.weights(chosen.average).count());
    let (name, quantisation) = match &chosen.model {
        Model::Run(trained) => (title(path, &trained.run().name()), trained.delivery().0),
        Model::File(_) => (
            path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            Some(Quantisation::default()),
        ),
    };
    if let Err(message) = chosen.model.is_whole() {
        problems.add("MODEL", message, "the model of another run");
    }
    if weights > MOST_WEIGHTS {
        let message = format!("its network has {weights} weights");
        problems.add("MODEL", message, format!("at most {MOST_WEIGHTS}, which a browser opens"));
    }
    let Some(quantisation) = quantisation else {
        problems.add("MODEL", "it draws points", "a model of images");
        return Ok(None);
    };
    let levels = |count: usize| {
        NumLevels::new(count)
            .and_then(|count| chosen.model.levels(count))
            .map(|levels| levels.as_slice().iter().map(|level| level.get()).collect::<Vec<f32>>())
    };
    // Where a range has no room for so many levels, fewer are offered.
    let offered =
        (1..=MOST_EVALUATIONS).map_while(|steps| levels(steps + 1).ok().map(|all| all[1..steps].to_vec()));
    Ok(Some(Card {
        name,
        network: told.network.without_training(),
        height: shape.height,
        width: shape.width,
        channels: shape.channels,
        classes: told.classes,
        // A data set may have names for what the network is not told.
        class_names: if told.classes.is_some() { chosen.model.class_names()? } else { Vec::new() },
        sigma_data: told.sigma_data,
        sigma_min: range.min().get(),
        sigma_max: range.max().get(),
        levels: offered.collect(),
        edit_levels: levels(edit::LEVELS).unwrap_or_else(|_| vec![range.max().get()]),
        quantisation,
    }))
}
