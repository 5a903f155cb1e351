//! The two layouts of `torch.save`, and TorchScript archives, whose pickle is the same.

use crate::error::ImportError;
use crate::input::{Input, Source, Span};
use crate::limits;
use crate::module::ModuleInfo;
use crate::pickle::{self, Blob, NoStorages, Node, Pickle, Storage, Storages};
use crate::place::{Data, Found};
use crate::zipped::ZipEntry;
use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;

/// What a stream of `torch.save` begins with.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// The one version of the stream.
const PROTOCOL: i128 = 1001;

/// Storages of a zip archive: entries beside the pickle.
struct Entries<'a> {
    by_name: HashMap<&'a str, &'a ZipEntry>,
    prefix: &'a str,
}

impl Storages for Entries<'_> {
    fn data(&self, storage: &Storage) -> Result<Data, ImportError> {
        let Storage { key, dtype, len, .. } = storage;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if key.is_empty() || key.starts_with('.') || !key.chars().all(plain) {
            return Err(ImportError::malformed(0, format!("`{key}` is no name of a storage")));
        }
        let name = format!("{}data/{key}", self.prefix);
        let entry = self.by_name.get(name.as_str());
        let entry = entry.ok_or_else(|| {
            ImportError::malformed(0, format!("the storage `{name}` is not in the archive"))
        })?;
        let span = stored(entry)?;
        let claimed = len.checked_mul(dtype.bytes());
        if claimed.is_none_or(|claimed| claimed > span.len) {
            return Err(ImportError::malformed(
                span.start,
                format!("the storage `{name}` of {} bytes cannot hold {len} values", span.len),
            ));
        }
        Ok(Data::Spans(vec![span]))
    }
}

fn stored(entry: &ZipEntry) -> Result<Span, ImportError> {
    entry.stored.ok_or_else(|| {
        ImportError::Unsupported(format!("`{}` is compressed, which torch.save never does", entry.name))
    })
}

/// Tensors, and objects that have a class.
pub(crate) type Content = (Found, Vec<ModuleInfo>);

/// The tensors of a zip archive.
pub(crate) fn zip(source: &mut dyn Source, entries: &[ZipEntry]) -> Result<Content, ImportError> {
    let pickles: Vec<&ZipEntry> = entries
        .iter()
        .filter(|entry| entry.name == "data.pkl" || entry.name.ends_with("/data.pkl"))
        .collect();
    let &[main] = pickles.as_slice() else {
        return Err(ImportError::malformed(
            0,
            format!("there are {} pickles `data.pkl`, not one", pickles.len()),
        ));
    };
    let prefix = main.name.strip_suffix("data.pkl").unwrap_or_default();
    let by_name: HashMap<&str, &ZipEntry> =
        entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
    if let Some(order) = by_name.get(format!("{prefix}byteorder").as_str()) {
        let mut input = Input::new(source, stored(order)?)?;
        if input.left() != 6 || input.bytes(6)? != b"little" {
            return Err(ImportError::Unsupported("values in big-endian order".to_owned()));
        }
    }
    let pickle = pickle::read(&mut Input::new(source, stored(main)?)?)?;
    flattened(&pickle, &Entries { by_name, prefix })
}

/// Where an archive keeps files that are no part of its content, as TorchScript's `_extra_files`.
pub const EXTRA_FILES: &str = "extra/";

/// The short texts among the extra files, by their names.
pub(crate) fn extra_files(
    source: &mut dyn Source,
    entries: &[ZipEntry],
) -> Result<BTreeMap<String, String>, ImportError> {
    let mut texts = BTreeMap::new();
    for entry in entries {
        let inside = entry.name.split_once('/').map(|(_, inside)| inside);
        let Some(name) = inside.and_then(|inside| inside.strip_prefix(EXTRA_FILES)) else { continue };
        if let Some(span) = entry.stored.filter(|span| span.len <= limits::EXTRA_TEXT) {
            let bytes = Input::new(source, span)?.bytes(span.len)?;
            if let Ok(text) = String::from_utf8(bytes) {
                texts.insert(name.to_owned(), text);
            }
        }
    }
    Ok(texts)
}

/// Storages behind the pickles of a stream, or saved on their own.
#[derive(Default)]
struct Behind(HashMap<String, Data>);

impl Storages for Behind {
    fn data(&self, storage: &Storage) -> Result<Data, ImportError> {
        self.0.get(&storage.key).cloned().ok_or_else(|| {
            ImportError::malformed(0, format!("the storage `{}` is not in the file", storage.key))
        })
    }
}

/// The tensors of a stream that begins with a pickle; whether it is PyTorch's.
pub(crate) fn stream(source: &mut dyn Source, whole: Span) -> Result<(bool, Content), ImportError> {
    let mut input = Input::new(source, whole)?;
    let first = pickle::read(&mut input)?;
    if is_magic(&first) {
        let (content, storages) = behind_magic(&mut input)?;
        return Ok((true, flattened(&content, &storages)?));
    }
    Ok((false, saved_apart(source, first)?))
}

fn is_magic(pickle: &Pickle) -> bool {
    matches!(pickle.root(), Node::Int(MAGIC))
}

/// The content of a stream whose first pickle was the magic number, and its storages.
fn behind_magic(input: &mut Input<'_>) -> Result<(Pickle, Behind), ImportError> {
    let protocol = pickle::read(input)?;
    if !matches!(protocol.root(), Node::Int(PROTOCOL)) {
        return Err(ImportError::Unsupported("a version of PyTorch's stream other than 1001".to_owned()));
    }
    let system = pickle::read(input)?;
    match little_endian(&system) {
        Some(true) => {}
        Some(false) => return Err(ImportError::Unsupported("values in big-endian order".to_owned())),
        None => {
            return Err(ImportError::malformed(input.at(), "it does not say the order of its values' bytes"));
        }
    }
    let content = pickle::read(input)?;
    let keys = pickle::read(input)?;
    let Node::List(keys_in_order) = keys.root() else {
        return Err(ImportError::malformed(input.at(), "there is no list of storages"));
    };
    let named: HashMap<&str, &Storage> =
        content.storages().map(|storage| (storage.key.as_str(), storage)).collect();
    let mut behind = Behind::default();
    for &key in keys_in_order {
        let at = input.at();
        let Some(key) = keys.text(key) else {
            return Err(ImportError::malformed(at, "the name of a storage is no text"));
        };
        let storage = named.get(key.as_str());
        let storage = storage.ok_or_else(|| {
            ImportError::malformed(
                at,
                format!("the storage `{key}` belongs to no tensor, so its type is unknown"),
            )
        })?;
        let len = u64::from_le_bytes(input.array()?);
        if len < storage.len {
            return Err(ImportError::malformed(
                at,
                format!("the storage `{key}` has {len} values, but {} are claimed", storage.len),
            ));
        }
        let bytes = len.checked_mul(storage.dtype.bytes());
        let bytes = bytes.ok_or_else(|| ImportError::malformed(at, "a storage beyond 2^64 bytes"))?;
        behind.0.insert(key, Data::Spans(vec![input.skip(bytes)?]));
    }
    Ok((content, behind))
}

/// The tensors of a plain pickle. Python's own pickling saves each storage as a stream of its own inside.
fn saved_apart(source: &mut dyn Source, mut pickle: Pickle) -> Result<Content, ImportError> {
    let mut behind = Behind::default();
    pickle.open_storages(|blob| {
        let (mut storage, data) = match blob {
            Blob::InFile(span) => saved_storage(&mut Input::new(source, *span)?)?,
            Blob::Here(bytes) => {
                let whole = Span { start: 0, len: bytes.len() as u64 };
                let (storage, data) =
                    saved_storage(&mut Input::new(&mut Cursor::new(bytes.clone()), whole)?)?;
                let Data::Spans(spans) = data else { return Err(not_alone()) };
                let values: Vec<u8> = spans
                    .iter()
                    .flat_map(|span| &bytes[span.start as usize..(span.start + span.len) as usize])
                    .copied()
                    .collect();
                (storage, Data::Here(values.into()))
            }
        };
        storage.key = behind.0.len().to_string();
        behind.0.insert(storage.key.clone(), data);
        Ok(storage)
    })?;
    match behind.0.is_empty() {
        true => flattened(&pickle, &NoStorages),
        false => flattened(&pickle, &behind),
    }
}

/// A storage that is the whole content of a stream.
fn saved_storage(input: &mut Input<'_>) -> Result<(Storage, Data), ImportError> {
    let first = pickle::read(input)?;
    if !is_magic(&first) {
        return Err(not_alone());
    }
    let (content, storages) = behind_magic(input)?;
    let Node::Storage(storage) = content.root() else { return Err(not_alone()) };
    Ok((storage.clone(), storages.data(storage)?))
}

fn not_alone() -> ImportError {
    ImportError::malformed(0, "a storage inside the pickle is not PyTorch's stream of one storage")
}

/// What the machine says of itself that wrote the file.
fn little_endian(system: &Pickle) -> Option<bool> {
    let Node::Dict(entries) = system.root() else { return None };
    let is_wanted = |&&(key, _): &&(_, _)| system.text(key).as_deref() == Some("little_endian");
    match entries.iter().find(is_wanted).map(|&(_, value)| system.node(value)) {
        Some(&Node::Bool(little)) => Some(little),
        Some(_) | None => None,
    }
}

/// The tensors of a pickle's value by the path to them, and its objects.
fn flattened(pickle: &Pickle, storages: &dyn Storages) -> Result<Content, ImportError> {
    let (mut found, mut objects, mut attributes) = (Vec::new(), Vec::new(), 0);
    pickle.visit(&mut |path, node| {
        if let Some(place) = pickle.place(node, storages)? {
            let name = if path.is_empty() { "tensor".to_owned() } else { path.join(".") };
            found.push((name, place));
        }
        if let Node::Object { class: Some(class), state: Some(state) } = node {
            let object = ModuleInfo {
                path: path.join("."),
                class: class.to_string(),
                attributes: pickle.attributes(*state),
            };
            attributes += object.attributes.len() as u64;
            ImportError::limit("a number of attributes", attributes, limits::ATTRIBUTES)?;
            objects.push(object);
        }
        Ok(())
    })?;
    Ok((found, objects))
}
