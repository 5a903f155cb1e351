//! What is in a folder of diffusers, and where.

use super::super::guess::{Dialect, Guess, Told};
use super::config::{SchedulerConfig, UnetConfig};
use cm_host::FileError;
use cm_network::{Conditions, NetworkConfig};
use cm_study::PreconditionConfig;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

/// The configuration of the network, in a pipeline's folder.
pub(crate) const UNET_CONFIG: &str = "unet/config.json";
/// Its weights.
pub(crate) const UNET_WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";
/// The configuration of the noise levels.
pub(crate) const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// Files of weights, the preferred first.
const WEIGHTS: [&str; 2] = ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"];
/// Larger configurations are none.
const MOST_BYTES: u64 = 1 << 20;

/// The network in the folder of a pipeline or of a `UNet2DModel`, and the file of its weights.
///
/// # Errors
/// [`FileError::Damaged`] with the file and the field if it is of another class or another network, or a file is missing.
pub(crate) fn read(folder: &Path) -> Result<(PathBuf, Guess), FileError> {
    let pipeline = folder.join("model_index.json");
    let unet = match pipeline.is_file() {
        true => {
            class(&pipeline, &mut object(&pipeline)?, "ConsistencyModelPipeline")?;
            folder.join("unet")
        }
        false => folder.to_owned(),
    };
    let path = unet.join("config.json");
    let config: UnetConfig = configuration(&path, "UNet2DModel")?;
    let (network, shape, classes) = config.adm().map_err(|reason| FileError::damaged(&path, reason))?;
    let mut told = Told::default();
    // Beside the network in a pipeline.
    let path = folder.join(SCHEDULER);
    if pipeline.is_file() {
        let SchedulerConfig { sigma_min, sigma_max, sigma_data, rho, .. } =
            configuration(&path, "CMStochasticIterativeScheduler")?;
        told.precondition = Some(PreconditionConfig::Consistency);
        (told.sigma_data, told.sigma_min, told.sigma_max) =
            (Some(sigma_data), Some(sigma_min), Some(sigma_max));
        told.rho = Some(rho);
        told.notes.push("a consistency model, as its scheduler says".to_owned());
    }
    let weights = WEIGHTS.map(|name| unet.join(name)).into_iter().find(|path| path.is_file());
    let weights = weights.ok_or_else(|| {
        let reason = format!("there is neither {} nor {} in it", WEIGHTS[0], WEIGHTS[1]);
        FileError::damaged(&unet, reason)
    })?;
    let guess = Guess {
        network: NetworkConfig::Adm(network),
        shape,
        conditions: Conditions { classes, ..Conditions::default() },
        dialect: Dialect::Diffusers,
        prefix: String::new(),
        told,
    };
    Ok((weights, guess))
}

/// A file of JSON that is an object.
fn object(path: &Path) -> Result<Map<String, Value>, FileError> {
    let damaged = |reason: String| FileError::damaged(path, reason);
    let len = fs::metadata(path).map_err(|error| damaged(error.to_string()))?.len();
    if len > MOST_BYTES {
        return Err(damaged(format!("it has {len} bytes, and a configuration has at most {MOST_BYTES}")));
    }
    let text = fs::read_to_string(path).map_err(|error| damaged(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))
}

/// That an object is of a class; what it says of itself is taken out.
fn class(path: &Path, object: &mut Map<String, Value>, wanted: &str) -> Result<(), FileError> {
    let found = object.get("_class_name").and_then(Value::as_str);
    if found != Some(wanted) {
        let found = found.map_or("none".to_owned(), |name| format!("`{name}`"));
        return Err(FileError::damaged(
            path,
            format!("its `_class_name` is {found}, and `{wanted}` is known here"),
        ));
    }
    object.retain(|name, _| !name.starts_with('_'));
    Ok(())
}

fn configuration<T: DeserializeOwned>(path: &Path, wanted: &str) -> Result<T, FileError> {
    let mut object = object(path)?;
    class(path, &mut object, wanted)?;
    serde_json::from_value(Value::Object(object)).map_err(|error| FileError::damaged(path, error))
}
