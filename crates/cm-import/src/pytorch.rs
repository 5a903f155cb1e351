//! The two layouts of `torch.save`, and TorchScript archives, whose pickle is the same.

use crate::error::ImportError;
use crate::input::{Input, Source, Span};
use crate::pickle::{self, NoStorages, Node, Pickle, Storage, Storages};
use crate::place::Found;
use crate::zipped::ZipEntry;
use std::collections::HashMap;

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
    fn span(&self, storage: &Storage) -> Result<Span, ImportError> {
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
        Ok(span)
    }
}

fn stored(entry: &ZipEntry) -> Result<Span, ImportError> {
    entry.stored.ok_or_else(|| {
        ImportError::Unsupported(format!("`{}` is compressed, which torch.save never does", entry.name))
    })
}

/// The tensors of a zip archive.
pub(crate) fn zip(source: &mut dyn Source, entries: &[ZipEntry]) -> Result<Found, ImportError> {
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

/// Storages behind the pickles of a stream.
struct Behind(HashMap<String, Span>);

impl Storages for Behind {
    fn span(&self, storage: &Storage) -> Result<Span, ImportError> {
        self.0.get(&storage.key).copied().ok_or_else(|| {
            ImportError::malformed(0, format!("the storage `{}` is not in the file", storage.key))
        })
    }
}

/// The tensors of a stream that begins with a pickle; whether it is PyTorch's.
pub(crate) fn stream(input: &mut Input<'_>) -> Result<(bool, Found), ImportError> {
    let first = pickle::read(input)?;
    if !matches!(first.root(), Node::Int(MAGIC)) {
        return Ok((false, flattened(&first, &NoStorages)?));
    }
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
    let mut spans = HashMap::new();
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
        spans.insert(key, input.skip(bytes)?);
    }
    Ok((true, flattened(&content, &Behind(spans))?))
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

/// The tensors of a pickle's value by the path to them.
fn flattened(pickle: &Pickle, storages: &dyn Storages) -> Result<Found, ImportError> {
    let mut found = Vec::new();
    pickle.visit(&mut |path, node| {
        if let Some(place) = pickle.place(node, storages)? {
            let name = if path.is_empty() { "tensor".to_owned() } else { path.join(".") };
            found.push((name, place));
        }
        Ok(())
    })?;
    Ok(found)
}
