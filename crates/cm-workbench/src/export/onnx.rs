//! A folder of ONNX models.

use super::Subject;
use super::card::{self, Example};
use crate::error::WorkbenchError;
use cm_diffusion::Sigma;
use cm_host::{FileError, NewFolder, durable};
use cm_onnx::{Form, OnnxError, OnnxFile, encode};
use cm_study::{RequestErrors, WeightsCard, to_ron};
use std::collections::BTreeMap;
use std::path::Path;

/// Noise levels that a file lists: as many as the paper's distillation has (Song et al. 2023, Table 3, CIFAR-10: 18).
const LEVELS: usize = 18;

/// Writes the folder; returns the names of its files.
pub(super) fn write(out: &Path, subject: &Subject<'_>) -> Result<Vec<String>, WorkbenchError> {
    let Subject { card, network, weights, .. } = subject;
    let about = about(subject);
    let forms: &[Form] = match card.precondition.is_consistency() {
        true => &[Form::Generator, Form::Denoiser],
        false => &[Form::Denoiser],
    };
    let folder = NewFolder::begin(out)?;
    let mut names = Vec::new();
    for &form in forms {
        let file = encode(form, card, *network, weights, &about).map_err(unfit)?;
        names.extend(write_files(folder.partial(), &file)?);
    }
    names.extend(card::write(subject, folder.partial(), usage(card))?);
    folder.finish()?;
    Ok(names)
}

/// Writes a model's files; returns their names.
pub(super) fn write_files(folder: &Path, file: &OnnxFile) -> Result<Vec<String>, FileError> {
    let names = file.names();
    for name in &names {
        let path = folder.join(name);
        durable::write_with(&path, |out| file.write(name, out)).map_err(FileError::io(&path))?;
    }
    Ok(names)
}

/// That a model has no such form.
pub(super) fn unfit(error: OnnxError) -> RequestErrors {
    match error {
        OnnxError::NoGenerator | OnnxError::SecondTime => {
            RequestErrors::one("--format", error.to_string(), "another format, or another model")
        }
    }
}

/// How images are drawn with the models, in Python.
fn usage(card: &WeightsCard) -> Vec<(String, &'static str, String)> {
    let Example { shape, classes, sigma_max, draws } = Example::of(card);
    let class = classes.map_or_else(String::new, |classes| format!(", \"class\": np.arange(16) % {classes}"));
    let begin = "import numpy as np\nimport onnxruntime\n\n";
    let noise = format!("noise = np.random.standard_normal({shape}).astype(np.float32)\n");
    let draw = format!(
        "{begin}{noise}session = onnxruntime.InferenceSession(\"generator.onnx\")\n\
         (images,) = session.run(None, {{\"noise\": noise{class}}})\n\
         pixels = np.rint((images.clip(-1, 1) + 1) * 127.5).astype(np.uint8)\n"
    );
    let denoise = format!(
        "{begin}{noise}session = onnxruntime.InferenceSession(\"denoiser.onnx\")\n\
         sigma = np.full(16, {sigma_max}, np.float32)\n\
         (images,) = session.run(None, {{\"x\": {sigma_max} * noise, \"sigma\": sigma{class}}})\n"
    );
    let drawing = ("Sixteen images in one evaluation:".to_owned(), "python", draw);
    let denoising =
        ("An evaluation at any noise level, for samplers of several steps:".to_owned(), "python", denoise);
    if draws { vec![drawing, denoising] } else { vec![denoising] }
}

/// What the files say of themselves.
fn about(subject: &Subject<'_>) -> BTreeMap<String, String> {
    let Subject { card, model, .. } = subject;
    let WeightsCard { sigma_data, sigma_min, sigma_max, rho, .. } = card;
    let (plan_hash, run, data, licence) = match model.origin() {
        Some((identity, dataset)) => (identity.plan, identity.name, to_ron(dataset), dataset.licence()),
        None => {
            let unknown = "not known: the weights are of another program";
            (unknown.to_owned(), unknown.to_owned(), unknown.to_owned(), unknown)
        }
    };
    let levels: Vec<String> = model.levels(LEVELS).iter().rev().map(Sigma::to_string).collect();
    [
        ("card", to_ron(card)),
        ("plan_hash", plan_hash),
        ("run", run),
        ("sigma_data", sigma_data.to_string()),
        ("sigma_min", sigma_min.to_string()),
        ("sigma_max", sigma_max.to_string()),
        ("rho", rho.to_string()),
        ("levels", levels.join(" ")),
        ("classes", card.classes.map_or_else(|| "none".to_owned(), |classes| classes.to_string())),
        ("data", data),
        ("licence", licence.to_owned()),
        ("pixels", "from -1 to 1, channels first".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}
