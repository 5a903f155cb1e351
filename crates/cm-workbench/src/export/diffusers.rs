//! A folder for diffusers: a `ConsistencyModelPipeline`.

use super::{Subject, card};
use crate::error::WorkbenchError;
use crate::foreign::{
    self, Container, Dialect, SCHEDULER, SchedulerConfig, UNET_CONFIG, UNET_WEIGHTS, UnetConfig, names,
};
use cm_host::{FileError, NewFolder, durable};
use cm_network::{AdmConfig, NetworkConfig};
use cm_study::{PreconditionConfig, RequestErrors, WeightsCard};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;

/// The version of diffusers whose files these are.
const VERSION: &str = "0.42.1";

/// Writes the folder; returns the names of its files.
pub(super) fn write(out: &Path, subject: &Subject<'_>) -> Result<Vec<String>, WorkbenchError> {
    let Subject { card, weights, .. } = subject;
    let cannot = |reason: String| {
        RequestErrors::one(
            "--format",
            format!("diffusers cannot express it: {reason}"),
            "onnx or torch, which can",
        )
    };
    let adm = pipelined(card).map_err(cannot)?;
    let config = UnetConfig::of(adm, card).map_err(cannot)?;
    let table = names(&card.network, card.height, weights, Dialect::Diffusers).map_err(cannot)?;
    let ours: Vec<&[f32]> = weights.iter().map(|(_, _, values)| values).collect();
    let folder = NewFolder::begin(out)?;
    for part in ["unet", "scheduler"] {
        let path = folder.partial().join(part);
        durable::create_folders(&path).map_err(FileError::io(&path))?;
    }
    let index = json!({
        "_class_name": "ConsistencyModelPipeline",
        "_diffusers_version": VERSION,
        "scheduler": ["diffusers", "CMStochasticIterativeScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    });
    let files = [
        ("model_index.json", index),
        (SCHEDULER, of_class("CMStochasticIterativeScheduler", &SchedulerConfig::of(card))?),
        (UNET_CONFIG, of_class("UNet2DModel", &config)?),
    ];
    for (name, content) in &files {
        let path = folder.partial().join(name);
        let text = serde_json::to_string_pretty(content).map_err(unwritten)? + "\n";
        durable::write(&path, text.as_bytes()).map_err(FileError::io(&path))?;
    }
    let path = folder.partial().join(UNET_WEIGHTS);
    durable::write_with(&path, |file| foreign::write(file, Container::Safetensors, &table, &ours, None))
        .map_err(FileError::io(&path))?;
    let more = card::write(subject, folder.partial(), usage(card))?;
    folder.finish()?;
    let written = files.iter().map(|(name, _)| *name).chain([UNET_WEIGHTS]).map(str::to_owned);
    Ok(written.chain(more).collect())
}

/// The network, if the pipeline draws with one of its kind; else why not.
fn pipelined(card: &WeightsCard) -> Result<&AdmConfig, String> {
    match card.precondition {
        PreconditionConfig::Consistency => {}
        PreconditionConfig::Edm
        | PreconditionConfig::Vp(_)
        | PreconditionConfig::Ve
        | PreconditionConfig::Iddpm(_) => {
            return Err(format!(
                "it is a {}, and the pipeline draws with consistency models",
                card.precondition
            ));
        }
    }
    match &card.network {
        NetworkConfig::Adm(adm) => Ok(adm),
        NetworkConfig::UNet(_) => {
            Err("UNet2DModel sums without the factors of DDPM++ and NCSN++, and adds labels \
                                       behind the layers of the noise level"
                .to_owned())
        }
        NetworkConfig::Edm2(_) => Err("UNet2DModel has no layers that preserve magnitudes".to_owned()),
        NetworkConfig::Mlp(_) => Err("UNet2DModel is no perceptron".to_owned()),
    }
}

/// A configuration with the name of its class.
fn of_class(name: &str, config: &impl Serialize) -> Result<Value, WorkbenchError> {
    let mut value = json!({ "_class_name": name, "_diffusers_version": VERSION });
    let config = serde_json::to_value(config).map_err(unwritten)?;
    if let (Value::Object(value), Value::Object(mut config)) = (&mut value, config) {
        value.append(&mut config);
    }
    Ok(value)
}

fn unwritten(error: serde_json::Error) -> WorkbenchError {
    WorkbenchError::failed("writing the configuration", error)
}

/// How images are drawn, in Python.
fn usage(card: &WeightsCard) -> Vec<(String, &'static str, String)> {
    let class = card.classes.map_or_else(String::new, |_| ", class_labels=[3] * 16".to_owned());
    let code = format!(
        "from diffusers import ConsistencyModelPipeline\n\n\
         pipe = ConsistencyModelPipeline.from_pretrained(\".\")\n\
         images = pipe(batch_size=16, num_inference_steps=1{class}).images\n"
    );
    vec![("Sixteen images in one evaluation:".to_owned(), "python", code)]
}
