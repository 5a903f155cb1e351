//! The classifier that judges images, as an ONNX model: what `recognised` is the share of, and the features by which a
//! study compares sets of images.

use super::{ExportFormat, Exported, onnx};
use crate::error::WorkbenchError;
use crate::request::ModelRequest;
use cm_evaluator::NetworkJudge;
use cm_experiment::{JUDGE_FILE, MODEL_CARD, ModelCard, SealedFolder};
use cm_host::{FileError, NewFolder};
use cm_image::ImageShape;
use cm_onnx::encode_classifier;
use cm_study::Problems;
use std::collections::BTreeMap;
use std::path::Path;

/// The name of the shipped judge of 8x8 digits, as `cm evaluate --features` has it.
const SHIPPED: &str = "classifier";

/// The judge that `path` names, if it names one: the shipped one, the file of a study's, or the folder that it lies in.
pub(super) fn open(path: &Path) -> Result<Option<NetworkJudge>, WorkbenchError> {
    if path == Path::new(SHIPPED) && !path.exists() {
        let failed = |error| WorkbenchError::failed("loading the digits' judge", error);
        return NetworkJudge::digits().map(Some).map_err(failed);
    }
    let file = if path.is_dir() { path.join(JUDGE_FILE) } else { path.to_owned() };
    if !file.ends_with(JUDGE_FILE) || !file.is_file() {
        return Ok(None);
    }
    let bytes = SealedFolder::open(file.parent().unwrap_or(Path::new("")))?.bytes(JUDGE_FILE)?;
    let Some(bytes) = bytes else { return Ok(None) };
    Ok(Some(NetworkJudge::from_bytes(&bytes).map_err(|error| FileError::damaged(&file, error))?))
}

/// Writes its folder.
pub(super) fn write(
    judge: &NetworkJudge,
    request: &ModelRequest,
    format: ExportFormat,
    out: &Path,
) -> Result<Exported, WorkbenchError> {
    let mut problems = Problems::default();
    match format {
        ExportFormat::Onnx => {}
        ExportFormat::Original | ExportFormat::Torch | ExportFormat::Diffusers => {
            problems.add("--format", "it is a classifier, of no other program", "onnx");
        }
    }
    if request.ema.is_some() {
        problems.add("--ema", "a classifier has one average of its weights", "nothing: leave it out");
    }
    problems.check()?;
    let (network, ImageShape { height, width, channels }) = (judge.network(), judge.shape());
    let facts = vec![
        ("kind", "a classifier of images, which judges what is drawn".to_owned()),
        ("images", format!("{channels} x {height} x {width} (channels, height, width), from -1 to 1")),
        ("classes", network.classes().to_string()),
        ("features", network.features().to_string()),
        ("made by", format!("cm {}", env!("CARGO_PKG_VERSION"))),
    ];
    let about = facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let about: BTreeMap<String, String> = about.collect();
    let file = encode_classifier(network, judge.weights(), &about).map_err(onnx::unfit)?;
    let usage = format!(
        "import numpy as np\nimport onnxruntime\n\n\
         images = np.load(\"samples.npz\")[\"arr_0\"]  # (N, {height}, {width}, {channels}), of bytes, as cm sample writes\n\
         images = (images.transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)\n\
         session = onnxruntime.InferenceSession(\"classifier.onnx\")\n\
         logits, features = session.run(None, {{\"image\": images}})\n\
         classes = logits.argmax(1)\n"
    );
    let card = ModelCard {
        title: "classifier".to_owned(),
        facts,
        usage: vec![(
            "The classes of images, and the features by which they are compared:".to_owned(),
            "python",
            usage,
        )],
        ..ModelCard::default()
    };
    let folder = NewFolder::begin(out)?;
    let mut names = onnx::write_files(folder.partial(), &file)?;
    card.write(folder.partial())?;
    names.push(MODEL_CARD.to_owned());
    folder.finish()?;
    Ok(Exported { out: out.to_owned(), contents: names.join(", "), notes: Vec::new() })
}
