//! A source to its prepared form.

use super::index::{FORMAT, INDEX, Index, Part, Provenance, Sealed};
use crate::source::{About, Store, take};
use crate::{DatasetError, SourceConfig, Split};
use cm_host::{FileError, NewFolder};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// How to prepare a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct PrepareOptions {
    /// The source, with how it is read; all of its classes are kept.
    pub source: SourceConfig,
    /// The folder to make.
    pub out: PathBuf,
    /// Bytes of a shard, at least 1; an image is never cut.
    pub shard_bytes: u64,
    /// Whether anything that would be noted is an error.
    pub strict: bool,
}

/// Bytes of a shard unless said otherwise.
const SHARD_BYTES: u64 = 1 << 28; // ours: few files, and each copied in a second

impl Default for PrepareOptions {
    fn default() -> Self {
        Self { source: SourceConfig::default(), out: PathBuf::new(), shard_bytes: SHARD_BYTES, strict: false }
    }
}

/// Reads a source and writes its prepared form. `told` hears how many images there are so far, now and then.
///
/// The folder appears when all is written and brought to the disk: an error leaves nothing behind. It is made by one
/// process at a time.
///
/// # Errors
/// [`DatasetError`] if the source is not what it should be, the folder is there already, another process makes it, or it
/// cannot be written.
pub fn prepare(options: &PrepareOptions, told: &mut dyn FnMut(u64)) -> Result<Index, DatasetError> {
    let PrepareOptions { source, out, shard_bytes, strict } = options;
    if !source.only_classes.is_empty() {
        let allowed = "all classes here; a study file chooses among them";
        return Err(DatasetError::setting("only_classes", "classes are chosen", allowed));
    }
    if out.exists() {
        return Err(there_already(out));
    }
    let folder = NewFolder::begin(out).map_err(told_of)?;
    let index = write(source, folder.partial(), *shard_bytes, *strict, told)?;
    folder.finish().map_err(told_of)?;
    Ok(index)
}

fn write(
    source: &SourceConfig,
    folder: &Path,
    shard_bytes: u64,
    strict: bool,
    told: &mut dyn FnMut(u64),
) -> Result<Index, DatasetError> {
    let mut shards = Shards {
        train: PartWriter::new(folder, "train", shard_bytes),
        test: PartWriter::new(folder, "test", shard_bytes),
        told,
        images: 0,
    };
    let (taken, About { classes, notes }) = take(source, &mut shards)?;
    if strict && !notes.is_empty() {
        let what = format!("{}: {}", source.path.display(), notes.join("; "));
        return Err(DatasetError::setting("strict", what, "data of which nothing need be noted"));
    }
    let Shards { train, test, .. } = shards;
    // Where it lay is of this machine and no other.
    let name = source.path.file_name().unwrap_or_default();
    let provenance = Provenance {
        source: SourceConfig { path: name.into(), ..source.clone() },
        blake3: if source.path.is_file() { Some(hash(&source.path)?) } else { None },
        program: concat!("cm ", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let index = Index {
        format: FORMAT,
        height: taken.shape.height,
        width: taken.shape.width,
        channels: taken.shape.channels,
        classes: taken.labelled.then_some(classes),
        train: train.finish()?,
        test: test.finish()?,
        provenance,
        notes,
        blake3: String::new(),
    };
    let text = index.to_text();
    let index = serde_json::from_str(&text).expect("what was just written");
    let path = folder.join(INDEX);
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| DatasetError::Write { path, what: error.to_string() })?;
    Ok(index)
}

fn there_already(out: &Path) -> DatasetError {
    DatasetError::setting("out", format!("{} is there already", out.display()), "a new folder")
}

/// What a folder's maker says, as one of data.
fn told_of(error: FileError) -> DatasetError {
    match error {
        FileError::Busy { path } => DatasetError::Busy(path),
        // Another process was faster.
        FileError::NotWritable { path, source } if source.kind() == io::ErrorKind::AlreadyExists => {
            there_already(&path)
        }
        FileError::Io { path, source } | FileError::NotWritable { path, source } => cannot(&path, &source),
        FileError::Damaged { path, reason } => DatasetError::Write { path, what: reason },
    }
}

/// The BLAKE3 hash of a file, in hexadecimal.
pub(super) fn hash(path: &Path) -> Result<String, DatasetError> {
    let mut hasher = blake3::Hasher::new();
    let read = File::open(path).and_then(|file| hasher.update_reader(file).map(drop));
    read.map_err(|error| DatasetError::file(path.display(), error))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Both parts, as they are written.
struct Shards<'a> {
    train: PartWriter<'a>,
    test: PartWriter<'a>,
    told: &'a mut dyn FnMut(u64),
    images: u64,
}

impl Store for Shards<'_> {
    fn put(&mut self, part: Split, pixels: &[u8], label: Option<u32>) -> Result<(), DatasetError> {
        self.images += 1;
        if self.images.is_multiple_of(1000) {
            (self.told)(self.images);
        }
        let part = match part {
            Split::Train => &mut self.train,
            Split::Test => &mut self.test,
        };
        part.put(pixels, label)
    }
}

struct PartWriter<'a> {
    folder: &'a Path,
    name: &'static str,
    shard_bytes: u64,
    part: Part,
    open: Option<SealedWriter>,
    labels: Option<SealedWriter>,
}

impl<'a> PartWriter<'a> {
    fn new(folder: &'a Path, name: &'static str, shard_bytes: u64) -> Self {
        Self { folder, name, shard_bytes, part: Part::default(), open: None, labels: None }
    }

    fn put(&mut self, pixels: &[u8], label: Option<u32>) -> Result<(), DatasetError> {
        if self.part.images_per_shard == 0 {
            self.part.images_per_shard = (self.shard_bytes / pixels.len() as u64).max(1);
        }
        if self.part.images.is_multiple_of(self.part.images_per_shard) {
            self.part.shards.extend(self.open.take().map(SealedWriter::finish).transpose()?);
        }
        let shard = match &mut self.open {
            Some(shard) => shard,
            none @ None => {
                let file = format!("{}-{:05}.u8", self.name, self.part.shards.len());
                none.insert(SealedWriter::new(self.folder, file)?)
            }
        };
        shard.write(pixels)?;
        if let Some(label) = label {
            let labels = match &mut self.labels {
                Some(labels) => labels,
                none @ None => none.insert(SealedWriter::new(self.folder, format!("{}.labels", self.name))?),
            };
            labels.write(&label.to_le_bytes())?;
        }
        self.part.images += 1;
        let sums = pixels.iter().fold((0, 0), |(sum, squares), &pixel| {
            let pixel = u64::from(pixel);
            (sum + pixel, squares + pixel * pixel)
        });
        self.part.sum += sums.0;
        self.part.sum_of_squares += sums.1;
        Ok(())
    }

    fn finish(mut self) -> Result<Part, DatasetError> {
        self.part.shards.extend(self.open.take().map(SealedWriter::finish).transpose()?);
        self.part.labels = self.labels.take().map(SealedWriter::finish).transpose()?;
        Ok(self.part)
    }
}

/// A file that is hashed while it is written.
struct SealedWriter {
    path: PathBuf,
    file: String,
    out: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl SealedWriter {
    fn new(folder: &Path, file: String) -> Result<Self, DatasetError> {
        let path = folder.join(&file);
        let out = File::create(&path).map_err(|error| cannot(&path, &error))?;
        let out = BufWriter::with_capacity(1 << 18, out);
        Ok(Self { path, file, out, hasher: blake3::Hasher::new(), bytes: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DatasetError> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|error| cannot(&self.path, &error))
    }

    fn finish(self) -> Result<Sealed, DatasetError> {
        let Self { path, file, out, hasher, bytes } = self;
        let synced =
            out.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        synced.map_err(|error| cannot(&path, &error))?;
        Ok(Sealed { file, bytes, blake3: hasher.finalize().to_hex().to_string() })
    }
}

fn cannot(path: &Path, error: &io::Error) -> DatasetError {
    DatasetError::Write { path: path.to_owned(), what: error.to_string() }
}
