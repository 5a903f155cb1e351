//! ZIP files of images with their labels in `dataset.json` (Karras et al. 2022, and StyleGAN before).

use super::folder::AT_A_TIME;
use super::image_file::{ImageFiles, MAX_FILE};
use super::raster::{is_coloured, is_image};
use super::walk::is_hidden;
use super::{About, Intake, MAX_CLASSES, Parts, Record, SourceConfig, label, open};
use crate::{DatasetError, Split};
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use zip::ZipArchive;

/// Bytes of `dataset.json`; that of ImageNet has 45 million.
const MAX_JSON: u64 = 1 << 28;

#[derive(Deserialize)]
struct DatasetJson {
    labels: Option<Vec<(String, i64)>>,
}

/// Reads all images of the archive in the order of their names.
pub(super) fn read(config: &SourceConfig, intake: &mut Intake<'_>) -> Result<About, DatasetError> {
    let path = &config.path;
    let fail = |what: String| DatasetError::file(path.display(), what);
    let mut archive = ZipArchive::new(open(path)?)
        .map_err(|error| fail(format!("no ZIP file that can be read: {error}")))?;
    let mut names = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| fail(format!("entry {index}: {error}")))?;
        let name = entry.name().map_err(|error| fail(format!("entry {index}: {error}")))?.into_owned();
        if entry.enclosed_name().is_none() || name.contains('\\') {
            return Err(fail(format!("entry {name:?} leads out of the archive")));
        }
        if entry.is_file() && is_image(&name) && !name.split('/').any(is_hidden) {
            names.push(name);
        }
    }
    names.sort();
    let labels = labels(&mut archive, config)?;
    if let Some(labels) = &labels {
        if let Some(missing) = names.iter().find(|name| !labels.contains_key(*name)) {
            return Err(fail(format!("dataset.json has no label for {missing:?}")));
        }
        if let Some(missing) = labels.keys().filter(|name| names.binary_search(name).is_err()).min() {
            return Err(fail(format!(
                "dataset.json has a label for {missing:?}, and there is no such image"
            )));
        }
    }
    intake.begin(Parts::One(names.len()), path.display())?;
    let mut images = ImageFiles::new(config);
    if images.asks_for_colour() {
        let mut coloured = |name: &String| {
            entry(&mut archive, name, MAX_FILE).is_ok_and(|file| is_coloured(&file) == Some(true))
        };
        images.any_is_coloured(names.iter().any(&mut coloured));
    }
    for some in names.chunks(AT_A_TIME) {
        let mut files = Vec::new();
        for name in some {
            files.push(entry(&mut archive, name, MAX_FILE).map_err(|what| fail(format!("{name}: {what}")))?);
        }
        let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
        for (name, image) in some.iter().zip(images.decode_all(&files)) {
            let place = || format!("{}: {name}", path.display());
            let image = image.map_err(|what| DatasetError::file(place(), what))?;
            let label = labels.as_ref().map(|labels| labels[name]);
            intake.image(
                Split::Train,
                &Record { shape: image.shape, pixels: &image.values, label },
                place,
            )?;
        }
    }
    Ok(About { classes: Vec::new(), notes: images.notes() })
}

type Archive = ZipArchive<BufReader<File>>;

/// The bytes of an entry, which are no more than `most`, whatever it announces.
fn entry(archive: &mut Archive, name: &str, most: u64) -> Result<Vec<u8>, String> {
    let entry = archive.by_name(name).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    entry.take(most).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 == most { Err(format!("it unpacks to {most} bytes or more")) } else { Ok(bytes) }
}

/// The label of each file; `None` if the archive has none.
fn labels(
    archive: &mut Archive,
    config: &SourceConfig,
) -> Result<Option<HashMap<String, u32>>, DatasetError> {
    if archive.index_for_name("dataset.json").is_none() {
        return Ok(None);
    }
    let place = format!("{}: dataset.json", config.path.display());
    let text = entry(archive, "dataset.json", MAX_JSON).map_err(|what| DatasetError::file(&place, what))?;
    let json: DatasetJson =
        serde_json::from_slice(&text).map_err(|error| DatasetError::file(&place, error))?;
    let Some(labels) = json.labels else { return Ok(None) };
    let mut found = HashMap::new();
    for (name, number) in labels {
        let label = label(number, 0, MAX_CLASSES, || format!("{place}: {name:?}"))?;
        // Archives made on a Mac list what the system put there, too.
        if name.split('/').any(is_hidden) {
            continue;
        }
        if found.contains_key(&name) {
            return Err(DatasetError::file(&place, format!("it has {name:?} twice")));
        }
        found.insert(name, label);
    }
    Ok(Some(found))
}
