//! Several models on one sheet: a row for each, and in a column what they make of the same noise and class.

use crate::drawing::{SampleRequest, seeds};
use crate::error::WorkbenchError;
use crate::picture_file::write_picture;
use crate::sample::with_drawing;
use cm_diffusion::Labels;
use cm_host::{FileError, Progress, ResultFolder, SamplesCard, StopFlag, durable};
use cm_image::{ImageBatch, ImageShape, picture};
use cm_study::Problems;
use std::path::{Path, PathBuf};

/// Images of a row at most.
const MOST_COLUMNS: usize = 256;

/// A sheet that was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Sheet {
    /// The picture: `sheet.png`.
    pub picture: PathBuf,
    /// What it shows: `sheet.json`, with `seed`, `seeds` of the columns, and `rows` from the top.
    pub text: PathBuf,
    /// Its rows, from the top.
    pub rows: Vec<SheetRow>,
}

/// What a row of a sheet is of.
#[derive(Clone, Debug, PartialEq)]
pub struct SheetRow {
    /// The folder or file as it was named.
    pub path: PathBuf,
    /// What its images say of themselves.
    pub card: SamplesCard,
    /// The class of each image; empty of a model that knows none.
    pub classes: Vec<u32>,
}

/// Draws `count` images of each request in a row of its own, all from the seeds of the first, and writes the sheet into the
/// folder `out`. Asked to stop, it leaves no file and returns nothing.
///
/// # Errors
/// [`WorkbenchError`] if a model cannot be opened, has not what is asked of it, draws images of another size than the
/// first or none that can be shown, or fails, or a file cannot be written.
pub fn sample_side_by_side(
    requests: &[SampleRequest],
    out: &Path,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<Option<Sheet>, WorkbenchError> {
    check(requests)?;
    let results = ResultFolder::new(out, &["sheet.png", "sheet.json"])?;
    let mut rows: Vec<(SheetRow, ImageBatch)> = Vec::new();
    for request in requests {
        if stop.is_requested() {
            return Ok(None);
        }
        let seed = request.seed.or_else(|| rows.first().map(|(row, _)| row.card.seed));
        let request = SampleRequest { seed, ..request.clone() };
        with_drawing(&request, &mut |drawing| {
            let shape = drawing.sampler.shape();
            check_shape(&request.model.path, shape, rows.first())?;
            progress.phase(&request.model.path.display().to_string(), request.count as u64);
            let seeds = seeds(drawing.seed, 0..request.count);
            let mut images = ImageBatch::zeros(shape, 0);
            for (place, batch) in seeds.chunks(BATCH).enumerate() {
                images.append(&drawing.images(batch, place * BATCH)?.0);
                progress.advance(batch.len() as u64, None);
            }
            progress.finish_phase();
            let classes = if drawing.labels == Labels::None { Vec::new() } else { drawing.labels.of(&seeds) };
            let row = SheetRow { path: request.model.path.clone(), card: drawing.card(), classes };
            rows.push((row, images));
            Ok(())
        })?;
    }
    let (rows, images): (Vec<SheetRow>, Vec<ImageBatch>) = rows.into_iter().unzip();
    let mut all = ImageBatch::zeros(images[0].shape(), 0);
    images.iter().for_each(|row| all.append(row));
    let sheet = picture::row_by_row(&all, images[0].count())
        .map_err(|error| WorkbenchError::failed("the sheet", error))?;
    let picture = write_picture(&out.join("sheet.png"), &sheet)?;
    let text = out.join("sheet.json");
    durable::write(&text, &described(&rows, images[0].count())).map_err(FileError::io(&text))?;
    results.keep();
    Ok(Some(Sheet { picture, text, rows }))
}

/// Images at a time: a row is short.
const BATCH: usize = 16;

fn check(requests: &[SampleRequest]) -> Result<(), WorkbenchError> {
    let mut problems = Problems::default();
    if let Some(request) = requests.iter().find(|request| request.count > MOST_COLUMNS) {
        let allowed = format!("1 to {MOST_COLUMNS} where several models share a sheet");
        problems.add("--count", format!("{} images", request.count), allowed);
    }
    if requests.iter().any(|request| request.single_files) {
        problems.add("--images", "there are several models", "one model");
    }
    if requests.is_empty() {
        problems.add("the models", "there are none", "one or more");
    }
    Ok(problems.check()?)
}

/// That a model's images can be shown below those of the first.
fn check_shape(
    path: &Path,
    shape: ImageShape,
    first: Option<&(SheetRow, ImageBatch)>,
) -> Result<(), WorkbenchError> {
    let mut problems = Problems::default();
    let told = |shape: ImageShape| format!("{}x{}x{}", shape.height, shape.width, shape.channels);
    let path = path.display().to_string();
    match first {
        // Of points in the plane more is wanted than of images.
        None if picture::wanted(shape, 1) != Some(1) => {
            problems.add(
                &path,
                format!("draws points or images that cannot be shown: {}", told(shape)),
                "a model of images",
            );
        }
        Some((row, images)) if images.shape() != shape => {
            let allowed = format!("{}, as {} draws", told(images.shape()), row.path.display());
            problems.add(&path, format!("draws images of {}", told(shape)), allowed);
        }
        None | Some(_) => {}
    }
    Ok(problems.check()?)
}

/// What the sheet shows, as JSON to be read by people and programs.
fn described(rows: &[SheetRow], count: usize) -> Vec<u8> {
    let seed = rows[0].card.seed;
    let row = |SheetRow { path, card, classes }: &SheetRow| serde_json::json!({"path": path.display().to_string(), "card": card, "classes": classes});
    let text = serde_json::json!({
        "seed": seed,
        "seeds": seeds(seed, 0..count),
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    });
    let mut text = serde_json::to_vec_pretty(&text).expect("texts and numbers");
    text.push(b'\n');
    text
}
