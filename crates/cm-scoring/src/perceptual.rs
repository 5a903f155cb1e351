//! LPIPS of pairs of images: `cm lpips`.

use crate::error::ScoringError;
use crate::image_source::{ImageSource, ImageStream};
use cm_host::{FileError, Progress, StopFlag, durable};
use cm_network::feature_net::{LpipsOptions, load_lpips};
use cm_network::{Graph, Images};
use cm_study::Problems;
use std::path::PathBuf;

/// Which pairs, and what is meant by LPIPS.
#[derive(Clone, Debug, PartialEq)]
pub struct PerceptualRequest {
    /// The first image of each pair, as typed.
    pub a: String,
    /// The second of each.
    pub b: String,
    /// Trunk, version, pooling, resizing.
    pub options: LpipsOptions,
    /// The trunk's weights, a file of another program.
    pub trunk: PathBuf,
    /// The learned weights. None: they are in the trunk's file.
    pub heads: Option<PathBuf>,
    /// Pairs at a time, at least 1.
    pub batch: usize,
    /// A CSV file for the distance of each pair.
    pub out: Option<PathBuf>,
}

/// LPIPS of pairs of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Perceptual {
    /// Of each pair.
    pub distances: Vec<f32>,
    /// Their mean.
    pub mean: f64,
    /// What was meant by LPIPS.
    pub options: LpipsOptions,
    /// SHA-256 of the trunk's file and of the learned weights'.
    pub sha256: [String; 2],
}

/// LPIPS of each pair; nothing if it was asked to stop.
///
/// # Errors
/// [`ScoringError`] if what was typed cannot be, files are not what they should be, or the sets do not pair.
pub fn perceptual(
    request: &PerceptualRequest,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<Option<Perceptual>, ScoringError> {
    let mut problems = Problems::default();
    let (Some(mut a), Some(mut b)) =
        (open("A", &request.a, &mut problems)?, open("B", &request.b, &mut problems)?)
    else {
        problems.check()?;
        return Ok(None);
    };
    if (a.shape(), a.count()) != (b.shape(), b.count()) {
        let told = |stream: &ImageStream| format!("{} images of {}", stream.count(), stream.shape());
        problems.add("B", format!("{}, but A has {}", told(&b), told(&a)), "as many images of one size");
    }
    let (shape, least) = (a.shape(), request.options.trunk.min_side());
    if !request.options.sees(shape.height, shape.width) {
        let message = format!("images of {shape} are not resized");
        problems.add(
            "A",
            message,
            format!("sides of at least {least} for this trunk, or less wide than 256 and --resize below-256"),
        );
    }
    problems.check()?;
    let (lpips, sha256) = load_lpips(request.options, &request.trunk, request.heads.as_deref())?;
    let mut distances = Vec::new();
    progress.phase("lpips", a.count() as u64);
    while let (Some(first), Some(second)) = (a.next_batch(request.batch)?, b.next_batch(request.batch)?) {
        let (x, y) = (Images::from_batch(&first), Images::from_batch(&second));
        distances.extend_from_slice(lpips.distance(&mut Graph::inference(), &x, &y).values());
        progress.advance(first.count() as u64, None);
        if stop.is_requested() {
            progress.finish_phase();
            return Ok(None);
        }
    }
    progress.finish_phase();
    if let Some(path) = &request.out {
        let lines: String =
            distances.iter().enumerate().map(|(pair, distance)| format!("{pair},{distance}\n")).collect();
        durable::write(path, format!("pair,lpips\n{lines}").as_bytes()).map_err(FileError::io(path))?;
    }
    let mean = distances.iter().map(|&d| f64::from(d)).sum::<f64>() / distances.len() as f64;
    Ok(Some(Perceptual { distances, mean, options: request.options, sha256 }))
}

fn open(option: &str, text: &str, problems: &mut Problems) -> Result<Option<ImageStream>, ScoringError> {
    match ImageSource::parse(text) {
        Ok(source) => source.open(None).map(Some),
        Err(message) => {
            problems.add(
                option,
                message,
                "a .npz file, a folder of PNG, JPEG or WebP files, such a file, dataset:RON[@train|@test]",
            );
            Ok(None)
        }
    }
}
