//! Foreign arrays as files that the original programs read: PyTorch's zip archive, safetensors, Flax's msgpack.
//!
//! Written one array after the other; the largest array is what memory is needed for.

use super::table::{Entry, Target, targets};
use cm_import::EXTRA_FILES;
use std::io::{self, Seek, Write};
use zip::write::SimpleFileOptions;

/// Under which name a file keeps the card of its weights.
pub(crate) const CARD: &str = "cm_card";

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    /// What `torch.save` of a state dict writes.
    Pytorch,
    Safetensors,
    /// What `flax.serialization.to_bytes` writes.
    Flax,
}

/// Writes the foreign arrays of a table, from ours: one slice for each entry. PyTorch's archives and safetensors have room
/// for a `card` besides, which the original programs do not read; Flax's files have none.
pub(crate) fn write(
    out: impl Write + Seek,
    container: Container,
    table: &[Entry],
    ours: &[&[f32]],
    card: Option<&str>,
) -> io::Result<()> {
    let targets = targets(table);
    let values = |target: &Target<'_>| target.values(table, ours);
    match container {
        Container::Pytorch => pytorch(out, &targets, values, card),
        Container::Safetensors => safetensors(out, &targets, values, card),
        Container::Flax => flax(out, &targets, values),
    }
}

fn put(out: &mut impl Write, values: &[f32]) -> io::Result<()> {
    for part in values.chunks(1 << 16) {
        let bytes: Vec<u8> = part.iter().flat_map(|value| value.to_le_bytes()).collect();
        out.write_all(&bytes)?;
    }
    Ok(())
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.as_bytes());
}

fn number(pickle: &mut Vec<u8>, number: usize) {
    // LONG1 of nine bytes: any size, never negative.
    pickle.extend([0x8a, 9]);
    pickle.extend((number as u64).to_le_bytes());
    pickle.push(0);
}

fn numbers(pickle: &mut Vec<u8>, all: impl Iterator<Item = usize>) {
    pickle.push(b'(');
    all.for_each(|n| number(pickle, n));
    pickle.push(b't');
}

/// A pickle of protocol 2 of an ordered dictionary of tensors, each with a storage of its own.
fn state_dict(targets: &[Target<'_>]) -> Vec<u8> {
    let mut pickle = b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec();
    for (key, target) in targets.iter().enumerate() {
        text(&mut pickle, target.name);
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut pickle, "storage");
        pickle.extend(b"ctorch\nFloatStorage\n");
        text(&mut pickle, &key.to_string());
        text(&mut pickle, "cpu");
        number(&mut pickle, target.shape.iter().product());
        pickle.extend(b"tQ");
        number(&mut pickle, 0);
        numbers(&mut pickle, target.shape.iter().copied());
        numbers(&mut pickle, (1..=target.shape.len()).map(|axis| target.shape[axis..].iter().product()));
        // No gradient wanted, no hooks.
        pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    pickle.extend(b"u.");
    pickle
}

fn pytorch(
    out: impl Write + Seek,
    targets: &[Target<'_>],
    values: impl Fn(&Target<'_>) -> Vec<f32>,
    card: Option<&str>,
) -> io::Result<()> {
    let mut zip = zip::ZipWriter::new(out);
    // The same content gives the same bytes: no clock is read.
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .large_file(true);
    let mut file = |name: &str, write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>| {
        zip.start_file(name, options)?;
        write(&mut zip)
    };
    file("archive/data.pkl", &mut |out| out.write_all(&state_dict(targets)))?;
    file("archive/byteorder", &mut |out| out.write_all(b"little"))?;
    for (key, target) in targets.iter().enumerate() {
        file(&format!("archive/data/{key}"), &mut |mut out| put(&mut out, &values(target)))?;
    }
    if let Some(card) = card {
        let name = format!("archive/{EXTRA_FILES}{CARD}");
        file(&name, &mut |out| out.write_all(card.as_bytes()))?;
    }
    file("archive/version", &mut |out| out.write_all(b"3\n"))?;
    zip.finish()?.flush()
}

fn safetensors(
    mut out: impl Write,
    targets: &[Target<'_>],
    values: impl Fn(&Target<'_>) -> Vec<f32>,
    card: Option<&str>,
) -> io::Result<()> {
    let mut header = serde_json::Map::new();
    // Programs that read several frameworks' files ask whose layout the arrays have.
    let mut metadata = serde_json::json!({ "format": "pt" });
    if let Some(card) = card {
        metadata[CARD] = card.into();
    }
    header.insert("__metadata__".to_owned(), metadata);
    let mut at = 0;
    for target in targets {
        let end = at + 4 * target.shape.iter().product::<usize>();
        let entry = serde_json::json!({ "dtype": "F32", "shape": target.shape, "data_offsets": [at, end] });
        header.insert(target.name.to_owned(), entry);
        at = end;
    }
    let mut header = serde_json::to_string(&header)?;
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    targets.iter().try_for_each(|target| put(&mut out, &values(target)))?;
    out.flush()
}

/// Arrays in a tree of maps. Names are joined with slashes.
enum Tree<'t> {
    Map(Vec<(&'t str, Tree<'t>)>),
    Leaf(&'t Target<'t>),
}

impl<'t> Tree<'t> {
    fn insert(&mut self, path: &'t str, leaf: &'t Target<'t>) {
        let Self::Map(entries) = self else { return };
        match path.split_once('/') {
            None => entries.push((path, Self::Leaf(leaf))),
            Some((key, rest)) => {
                let at = entries.iter().position(|(name, _)| *name == key).unwrap_or_else(|| {
                    entries.push((key, Self::Map(Vec::new())));
                    entries.len() - 1
                });
                entries[at].1.insert(rest, leaf);
            }
        }
    }

    fn write(&self, out: &mut impl Write, values: &impl Fn(&Target<'_>) -> Vec<f32>) -> io::Result<()> {
        match self {
            Self::Map(entries) => {
                out.write_all(&[0xdf])?;
                out.write_all(&(entries.len() as u32).to_be_bytes())?;
                for (key, value) in entries {
                    out.write_all(&[0xd9, key.len() as u8])?;
                    out.write_all(key.as_bytes())?;
                    value.write(out, values)?;
                }
                Ok(())
            }
            Self::Leaf(target) => {
                let mut head = vec![0x93, 0xdc];
                head.extend((target.shape.len() as u16).to_be_bytes());
                for &extent in target.shape {
                    head.push(0xce);
                    head.extend((extent as u32).to_be_bytes());
                }
                head.extend(b"\xa7float32\xc6");
                let values = values(target);
                let len = 4 * values.len() as u32;
                head.extend(len.to_be_bytes());
                out.write_all(&[0xc9])?;
                out.write_all(&(head.len() as u32 + len).to_be_bytes())?;
                // Extension 1: an array.
                out.write_all(&[1])?;
                out.write_all(&head)?;
                put(out, &values)
            }
        }
    }
}

fn flax(
    mut out: impl Write,
    targets: &[Target<'_>],
    values: impl Fn(&Target<'_>) -> Vec<f32>,
) -> io::Result<()> {
    let mut tree = Tree::Map(Vec::new());
    targets.iter().for_each(|target| tree.insert(target.name, target));
    tree.write(&mut out, &values)?;
    out.flush()
}
