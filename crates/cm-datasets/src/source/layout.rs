//! How the images of a folder lie: which of its folders are parts, where classes stand.

use super::raster::is_image;
use super::walk::{any, entries, walk};
use super::{LabelRule, MAX_CLASSES, some_of};
use crate::{DatasetError, Split};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What the folders of parts are called, whatever the letters' case. Of several for testing the first is preferred.
const TRAIN: [&str; 2] = ["train", "training"];
const TEST: [&str; 5] = ["test", "testing", "val", "valid", "validation"];
/// Classes of a part's files, as Tiny ImageNet has them: a file of lines `NAME<tab>CLASS<tab>...`.
const ANNOTATIONS: &str = "_annotations.txt";
/// Bytes of such a file.
const MAX_ANNOTATIONS: u64 = 1 << 26;
/// Endings of texts and tables beside images, which nobody takes for images that were forgotten.
const TEXTS: [&str; 12] =
    ["txt", "md", "json", "jsonl", "csv", "tsv", "xml", "html", "yml", "yaml", "pdf", "py"];

/// An image file and what its class is called.
pub(super) struct Item {
    pub(super) path: PathBuf,
    pub(super) class: Option<String>,
}

/// The images of a folder, by parts.
pub(super) struct Layout {
    /// Training images first.
    pub(super) parts: Vec<(Split, Vec<Item>)>,
    pub(super) notes: Vec<String>,
}

impl Layout {
    /// Lists all image files, each part in the order of its paths.
    pub(super) fn of(root: &Path, rule: LabelRule) -> Result<Self, DatasetError> {
        let mut notes = Vec::new();
        let root = step_into(root, &mut notes)?;
        let parts = parts(&root, rule, &mut notes)?;
        if rule == LabelRule::Folders {
            notes.extend(one_class(&parts));
        }
        notes.extend(left_out(&root)?);
        Ok(Self { parts, notes })
    }
}

fn images(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    walk(folder, &is_image)
}

fn is_called(name: &str, names: &[&str]) -> bool {
    names.contains(&name.to_lowercase().as_str())
}

/// The folder in which parts or classes lie: as long as all there is lies in one folder that holds folders alone (an
/// archive that was unpacked) or is called like a part, that one.
fn step_into(root: &Path, notes: &mut Vec<String>) -> Result<PathBuf, DatasetError> {
    let mut root = root.to_owned();
    loop {
        let inner = match <[_; 1]>::try_from(with_images(&root)?) {
            Ok([(Some(name), path)]) if is_called(&name, &TRAIN) || holds_folders_alone(&path)? => path,
            Ok(_) | Err(_) => return Ok(root),
        };
        notes.push(format!(
            "all images lie in {}: its folders are read as if there were no other",
            inner.display()
        ));
        root = inner;
    }
}

/// Whether all images of a folder lie in folders of it.
fn holds_folders_alone(folder: &Path) -> Result<bool, DatasetError> {
    Ok(with_images(folder)?.iter().all(|(name, _)| name.is_some()))
}

/// The folders of a folder in which images lie at any depth, and the folder itself, without a name, if any lie in it.
fn with_images(root: &Path) -> Result<Vec<(Option<String>, PathBuf)>, DatasetError> {
    let (mut found, mut directly) = (Vec::new(), false);
    for (name, path) in entries(root)? {
        if !path.is_dir() {
            directly |= is_image(&name);
        } else if any(&path, &is_image)? {
            found.push((Some(name), path));
        }
    }
    found.extend(directly.then(|| (None, root.to_owned())));
    Ok(found)
}

/// Training and test images, if folders are called so; else all in one part.
fn parts(
    root: &Path,
    rule: LabelRule,
    notes: &mut Vec<String>,
) -> Result<Vec<(Split, Vec<Item>)>, DatasetError> {
    let all = with_images(root)?;
    let called = |names: &[&str]| -> Vec<&(Option<String>, PathBuf)> {
        let is_so =
            |(name, _): &&(Option<String>, PathBuf)| name.as_ref().is_some_and(|name| is_called(name, names));
        all.iter().filter(is_so).collect()
    };
    let (train, test) = (called(&TRAIN), called(&TEST));
    let train = match (train.as_slice(), test.is_empty()) {
        (&[train], false) => train,
        (&[(Some(name), _)], true) => {
            notes.push(format!(
                "{name} is taken for a class like those beside it, for none of them is called test or val"
            ));
            return Ok(vec![(Split::Train, list(root, rule)?)]);
        }
        ([first, second, ..], _) => {
            let what = format!(
                "both {} and {} are called like training images",
                first.1.display(),
                second.1.display()
            );
            return Err(DatasetError::file(root.display(), what));
        }
        ([] | [(None, _)], _) => return Ok(vec![(Split::Train, list(root, rule)?)]),
    };
    let items = list(&train.1, rule)?;
    let known: BTreeSet<&String> = items.iter().filter_map(|item| item.class.as_ref()).collect();
    let mut tests = Vec::new();
    for part in test {
        tests.push((part, list(&part.1, rule)?));
    }
    // Test images without labels lie in no class's folder: then those for validation are taken.
    let fits = |items: &[Item]| {
        items.iter().all(|item| item.class.as_ref().is_none_or(|class| known.contains(class)))
    };
    let rank = |name: &Option<String>| {
        name.as_ref().and_then(|name| TEST.iter().position(|t| is_called(name, &[t])))
    };
    let chosen = (0..tests.len()).min_by_key(|&at| (!fits(&tests[at].1), rank(&tests[at].0.0))).unwrap_or(0);
    let (chosen, test) = tests.swap_remove(chosen);
    for (name, path) in all.iter().filter(|part| *part != train && part != &chosen) {
        let count = if name.is_some() { images(path)?.len() } else { 0 };
        let what = name
            .as_ref()
            .map_or("images beside these folders".to_owned(), |name| format!("{name} ({count} images)"));
        notes.push(format!(
            "{what} left out: {} holds what is trained on, {} what is tested on",
            train.1.display(),
            chosen.1.display()
        ));
    }
    Ok(vec![(Split::Train, items), (Split::Test, test)])
}

/// The image files of a part in the order of their paths.
fn list(folder: &Path, rule: LabelRule) -> Result<Vec<Item>, DatasetError> {
    let annotated = if rule == LabelRule::Folders { annotations(folder)? } else { None };
    let class = |path: &Path| -> Result<Option<String>, DatasetError> {
        let name = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(match (rule, &annotated) {
            (LabelRule::Nowhere, _) => None,
            (LabelRule::Folders, Some((from, classes))) => match classes.get(&name()) {
                Some(class) => Some(class.clone()),
                None => {
                    let what = format!("{} has no line of it", from.display());
                    return Err(DatasetError::file(path.display(), what));
                }
            },
            (LabelRule::Folders, None) => {
                let mut components = path.strip_prefix(folder).unwrap_or(path).components();
                let first = components.next().filter(|_| components.next().is_some());
                first.map(|first| first.as_os_str().to_string_lossy().into_owned())
            }
            (LabelRule::Prefixes, _) => Some(name().split('_').next().unwrap_or_default().to_owned()),
        })
    };
    images(folder)?.into_iter().map(|path| Ok(Item { class: class(&path)?, path })).collect()
}

/// The classes of a part's files by name, and the file that says so, if there is one.
#[expect(clippy::type_complexity, reason = "used at one place")]
fn annotations(folder: &Path) -> Result<Option<(PathBuf, HashMap<String, String>)>, DatasetError> {
    for (name, path) in entries(folder)? {
        if !name.ends_with(ANNOTATIONS) || !path.is_file() {
            continue;
        }
        let fail = |what: String| DatasetError::file(path.display(), what);
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_ANNOTATIONS).read_to_string(&mut text));
        read.map_err(|error| fail(error.to_string()))?;
        let mut classes = HashMap::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let mut columns = line.split('\t');
            let (Some(name), Some(class)) =
                (columns.next(), columns.next().filter(|class| !class.is_empty()))
            else {
                return Err(fail(format!("line {}: a file, a tab and its class are expected", number + 1)));
            };
            if classes.insert(name.to_owned(), class.to_owned()).is_some_and(|before| before != class) {
                return Err(fail(format!("line {}: {name} has another class above", number + 1)));
            }
        }
        return Ok(Some((path, classes)));
    }
    Ok(None)
}

/// A warning if all images are of one class, though folders lie in folders.
fn one_class(parts: &[(Split, Vec<Item>)]) -> Option<String> {
    let items = || parts.iter().flat_map(|(_, items)| items);
    let first = items().next()?;
    let class = first.class.as_ref()?;
    let parent = |item: &Item| item.path.parent().map(Path::to_owned);
    let alone = items().all(|item| item.class.as_ref() == Some(class));
    let spread = items().any(|item| parent(item) != parent(first));
    (alone && spread && parts.len() == 1).then(|| {
        format!("all images are of one class, {class}, and lie in several folders of it: to have these as classes, name \
                 that folder; to have none, labels `nowhere`")
    })
}

/// A warning of files that are neither images that are read nor texts.
fn left_out(root: &Path) -> Result<Option<String>, DatasetError> {
    let paths = walk(root, &|name| !is_image(name))?;
    let mut endings: BTreeMap<String, usize> = BTreeMap::new();
    for path in paths {
        let ending =
            path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
        if !TEXTS.contains(&ending.as_str()) {
            *endings.entry(ending).or_default() += 1;
        }
    }
    let told = |(ending, count): (&String, &usize)| match ending.as_str() {
        "" => format!("{count} without an ending"),
        ending => format!("{count} .{ending}"),
    };
    let told: Vec<String> = endings.iter().map(told).collect();
    Ok((!told.is_empty()).then(|| format!("files of other kinds are left out: {}", some_of(&told))))
}

/// The names of all classes in their order, if they are not too many.
pub(super) fn class_names(root: &Path, parts: &[(Split, Vec<Item>)]) -> Result<Vec<String>, DatasetError> {
    let names: BTreeSet<&String> =
        parts.iter().flat_map(|(_, items)| items).filter_map(|item| item.class.as_ref()).collect();
    if names.len() > MAX_CLASSES as usize {
        let what = format!("{} classes, and at most {MAX_CLASSES} are counted", names.len());
        return Err(DatasetError::file(root.display(), what));
    }
    Ok(names.into_iter().cloned().collect())
}
