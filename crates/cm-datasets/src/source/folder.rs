//! Folders of PNG and JPEG files.

use super::image_file::{MAX_FILE, Wanted, decode_all, is_image};
use super::{Classes, Intake, LabelRule, MAX_CLASSES, Parts, Record, SourceConfig};
use crate::{DatasetError, Split};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// How deep folders may lie in each other; deeper ones are links in a circle.
const MAX_DEPTH: usize = 32;
/// Files decoded at a time.
pub(super) const AT_A_TIME: usize = 32;

/// An image file and what its class is called.
struct Item {
    path: PathBuf,
    class: Option<String>,
}

/// Reads all images of a folder in the order of their names.
pub(super) fn read(config: &SourceConfig, intake: &mut Intake<'_>) -> Result<Classes, DatasetError> {
    let root = &config.path;
    let parts = parts(root)?;
    let alone = parts.len() == 1;
    let mut items = Vec::new();
    for (folder, part) in &parts {
        items.push((*part, list(folder, config.labels)?));
    }
    let names: BTreeSet<String> =
        items.iter().flat_map(|(_, items)| items).filter_map(|i| i.class.clone()).collect();
    let names: Vec<String> = names.into_iter().collect();
    if names.len() > MAX_CLASSES as usize {
        let what = format!("{} classes, and at most {MAX_CLASSES} are counted", names.len());
        return Err(DatasetError::file(root.display(), what));
    }
    let count = items.first().map_or(0, |(_, items)| items.len());
    if count == 0 {
        return Err(DatasetError::file(root.display(), "it holds no PNG or JPEG files to train on"));
    }
    intake.begin(if alone { Parts::One(count) } else { Parts::TrainAndTest }, root.display())?;
    let mut wanted = Wanted::of(config);
    for (part, items) in &items {
        for some in items.chunks(AT_A_TIME) {
            let files: Vec<Vec<u8>> =
                some.par_iter().map(|item| load(&item.path)).collect::<Result<_, DatasetError>>()?;
            let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
            for (item, image) in some.iter().zip(decode_all(&files, &mut wanted)) {
                let place = || item.path.display().to_string();
                let image = image.map_err(|what| DatasetError::file(place(), what))?;
                let label = item.class.as_ref().and_then(|class| names.binary_search(class).ok());
                let label = label.map(|label| label as u32);
                let record = Record { shape: image.shape, pixels: &image.values, label };
                intake.image(*part, &record, place)?;
            }
        }
    }
    Ok(Classes { names })
}

/// `train` and `test` (or `val`), if these are what the folder holds; else the folder itself.
fn parts(root: &Path) -> Result<Vec<(PathBuf, Split)>, DatasetError> {
    let there = |name: &str| Some(root.join(name)).filter(|path| path.is_dir());
    let test = ["test", "val", "validation"].into_iter().find_map(there);
    Ok(match (there("train"), test) {
        (Some(train), Some(test)) => vec![(train, Split::Train), (test, Split::Test)],
        (_, _) => vec![(root.to_owned(), Split::Train)],
    })
}

/// The image files of a part in the order of their paths.
fn list(folder: &Path, rule: LabelRule) -> Result<Vec<Item>, DatasetError> {
    let mut paths = Vec::new();
    walk(folder, 0, &is_image, &mut paths)?;
    let items = paths.into_iter().map(|path| {
        let inner = path.strip_prefix(folder).unwrap_or(&path);
        let class = match rule {
            LabelRule::Nowhere => None,
            LabelRule::Folders => {
                let mut components = inner.components();
                let first = components.next().filter(|_| components.next().is_some());
                first.map(|first| first.as_os_str().to_string_lossy().into_owned())
            }
            LabelRule::Prefixes => {
                let name = inner.file_name().unwrap_or_default().to_string_lossy();
                Some(name.split('_').next().unwrap_or_default().to_owned())
            }
        };
        Item { path, class }
    });
    Ok(items.collect())
}

/// All files at any depth whose names are wanted, each folder in the order of names. What begins with a dot is left out.
pub(super) fn walk(
    folder: &Path,
    depth: usize,
    wanted: &dyn Fn(&str) -> bool,
    found: &mut Vec<PathBuf>,
) -> Result<(), DatasetError> {
    let fail = |error| DatasetError::file(folder.display(), error);
    if depth > MAX_DEPTH {
        return Err(DatasetError::file(folder.display(), format!("folders lie more than {MAX_DEPTH} deep")));
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        entries.push(entry.map_err(fail)?.path());
    }
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
        } else if path.is_dir() {
            walk(&path, depth + 1, wanted, found)?;
        } else if wanted(&name) {
            found.push(path);
        }
    }
    Ok(())
}

fn load(path: &Path) -> Result<Vec<u8>, DatasetError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
    read.map_err(|error| DatasetError::file(path.display(), error))?;
    if bytes.len() as u64 == MAX_FILE {
        return Err(DatasetError::file(path.display(), format!("a file of {MAX_FILE} bytes or more")));
    }
    Ok(bytes)
}
