//! A folder for PyTorch: a state dict, and the module that it is of.

use super::Subject;
use super::card::{self, Example};
use crate::error::WorkbenchError;
use crate::foreign::{self, Container, own_names};
use cm_host::{FileError, NewFolder, durable};
use cm_network::{AdmConfig, NetworkConfig, UNetConfig};
use cm_study::{PreconditionConfig, RequestErrors, WeightsCard, to_ron};
use cm_tensor::Operation;
use serde_json::{Value, json};
use std::path::Path;

/// A file of Python: a family's own part, which ends within its class `Model`, and what all have in common, the class's last
/// method and `load`.
macro_rules! module {
    ($own:literal) => {
        concat!(include_str!(concat!("torch/", $own)), include_str!("torch/ending.py"))
    };
}

/// The module of a family of networks, in Python.
fn module(network: &NetworkConfig) -> &'static str {
    match network {
        NetworkConfig::UNet(_) => module!("unet.py"),
        NetworkConfig::Adm(_) => module!("adm.py"),
        NetworkConfig::Edm2(_) => module!("edm2.py"),
        NetworkConfig::Mlp(_) => module!("mlp.py"),
    }
}

/// Writes the folder; returns the names of its files.
pub(super) fn write(out: &Path, subject: &Subject<'_>) -> Result<Vec<String>, WorkbenchError> {
    let Subject { card, weights, .. } = subject;
    let config = config(subject)?;
    // Waves are in the configuration, and nothing tells a drawn image how it was changed.
    let wanted = |name: &str| {
        let left_out = ["embedding.frequencies", "embedding.phases"].contains(&name);
        !left_out && !name.starts_with("embedding.augmentation.")
    };
    let (table, ours) = own_names(weights, wanted);
    let folder = NewFolder::begin(out)?;
    let path = folder.partial().join("weights.pt");
    let text = to_ron(card);
    durable::write_with(&path, |file| foreign::write(file, Container::Pytorch, &table, &ours, Some(&text)))
        .map_err(FileError::io(&path))?;
    for (name, content) in [("config.json", config.as_str()), ("model.py", module(&card.network))] {
        let path = folder.partial().join(name);
        durable::write(&path, content.as_bytes()).map_err(FileError::io(&path))?;
    }
    let more = card::write(subject, folder.partial(), usage(card))?;
    folder.finish()?;
    Ok(["weights.pt", "config.json", "model.py"].map(str::to_owned).into_iter().chain(more).collect())
}

/// How the module is used.
fn usage(card: &WeightsCard) -> Vec<(String, &'static str, String)> {
    let Example { classes, draws, .. } = Example::of(card);
    let class = classes.map_or_else(String::new, |classes| format!(", torch.arange(16) % {classes}"));
    let code = format!(
        "import torch\nfrom model import load\n\nf = load(\".\")\n\
         x = f.sigma_max * torch.randn(16, *f.shape)\n\
         with torch.no_grad():\n    images = f(x, torch.full((16,), f.sigma_max){class}).clamp(-1, 1)\n"
    );
    let heading = match draws {
        true => "Sixteen images in one evaluation:",
        false => "An evaluation at the highest noise level, for samplers of several steps:",
    };
    vec![(heading.to_owned(), "python", code)]
}

/// What the module needs to know, as JSON.
fn config(subject: &Subject<'_>) -> Result<String, WorkbenchError> {
    let Subject { card, network, weights, .. } = subject;
    let WeightsCard { height, width, channels, classes, sigma_data, sigma_min, sigma_max, rho, .. } = card;
    let lowest = match card.precondition {
        PreconditionConfig::Consistency => *sigma_min,
        PreconditionConfig::Edm => 0.0,
        PreconditionConfig::Vp(_) | PreconditionConfig::Ve | PreconditionConfig::Iddpm(_) => {
            let message = format!("the weights are of a {}, and the module knows others", card.precondition);
            let allowed = "onnx, or original for the program that they are of";
            return Err(RequestErrors::one("--format", message, allowed).into());
        }
    };
    let steps = network.traced(weights);
    let waves = steps.steps().iter().find_map(|step| match &step.operation {
        Operation::Waves { frequencies, phases, .. } => {
            Some(json!({ "frequencies": frequencies, "phases": phases }))
        }
        _ => None,
    });
    let config = json!({
        "network": of_network(&card.network)?,
        "height": height,
        "width": width,
        "channels": channels,
        "classes": classes,
        "sigma_data": sigma_data,
        "lowest": lowest,
        "sigma_min": sigma_min,
        "sigma_max": sigma_max,
        "rho": rho,
        "waves": waves,
    });
    let failed = |error: serde_json::Error| WorkbenchError::failed("writing the configuration", error);
    Ok(serde_json::to_string_pretty(&config).map_err(failed)? + "\n")
}

/// A network's numbers, with those that are left out of our files where they are the defaults.
fn of_network(network: &NetworkConfig) -> Result<Value, WorkbenchError> {
    let (value, more) = match network {
        NetworkConfig::UNet(config) => {
            let UNetConfig { input_skip, output_skip, embedding_multiplier, .. } = config;
            let more = json!({
                "input_skip": input_skip,
                "output_skip": output_skip,
                "embedding_multiplier": embedding_multiplier,
            });
            (serde_json::to_value(config), more)
        }
        NetworkConfig::Adm(config) => {
            let AdmConfig { small_groups, embedding_multiplier, .. } = config;
            let more = json!({ "small_groups": small_groups, "embedding_multiplier": embedding_multiplier });
            (serde_json::to_value(config), more)
        }
        NetworkConfig::Edm2(config) => (serde_json::to_value(config), json!({})),
        NetworkConfig::Mlp(config) => (serde_json::to_value(config), json!({})),
    };
    let mut value = value.map_err(|error| WorkbenchError::failed("writing the configuration", error))?;
    if let (Value::Object(value), Value::Object(mut more)) = (&mut value, more) {
        value.append(&mut more);
    }
    Ok(value)
}
