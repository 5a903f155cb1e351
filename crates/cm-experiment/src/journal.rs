//! What a run writes down while it works, so that it reads the same whether it was stopped or not.
//!
//! | file | what | same after stop and resume |
//! |---|---|---|
//! | `metrics.jsonl` | one line per recorded step: every number under its name | to the byte |
//! | `curves.csv` | the same numbers, one a line: `step,images,name,value` | to the byte |
//! | `timing.jsonl` | how long things took | no: clocks |
//! | `events.out.tfevents.*` | the same numbers and the pictures, for TensorBoard | as TensorBoard shows them |
//!
//! A checkpoint holds the seals of all that had been written down ([`Journal::seals`]). On resumption, what is there is
//! compared with them, and rows behind the checkpoint's are cut off; the resumed run writes them again. So
//! [`Journal::sync`] must come *before* a checkpoint is written, and everything of a step must be recorded before the
//! checkpoint of that step, but for what a look at the method records behind a checkpoint [that says so](Seen::looking).
//!
//! Deliberately absent: clocks in the first two files, and any knowledge of what the numbers mean.

use crate::event_file::EventFile;
use cm_host::{FileError, Seal, Sealer, durable};
use cm_image::{GridError, ImageBatch};
use cm_network::Weights;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The open records of one run.
pub struct Journal {
    folder: PathBuf,
    metrics: Appender,
    curves: Appender,
    timing: Appender,
    events: EventFile,
    /// Of files that are written once, by name.
    files: BTreeMap<String, Seal>,
}

/// What a checkpoint has seen of a journal.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Steps done.
    pub step: u64,
    /// Of all that had been written down.
    pub seals: &'a [Seal],
    /// More of that step is recorded when the run goes on: pictures and scores take long and come behind a checkpoint.
    pub looking: bool,
}

/// Why the journal cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The file system's answer.
        source: io::Error,
    },
    /// What was written down is not what the checkpoint stands on.
    #[error(
        "{0}; put it back, or remove the folder it lies in, and `cm resume` of the study does that part again"
    )]
    Changed(FileError),
    /// A picture could not be drawn.
    #[error("picture {name} of step {step}: {source}")]
    Picture {
        /// Its name.
        name: String,
        /// Its step.
        step: u64,
        /// Why.
        source: GridError,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::File { path, source }
}

/// The names of the files whose rows are the same after stop and resume.
const METRICS: &str = "metrics.jsonl";
const CURVES: &str = "curves.csv";
/// The first line of `curves.csv`.
const CURVES_HEADER: &str = "step,images,name,value\n";

impl Journal {
    /// The records of the run in `folder`: empty ones if the run begins (`checkpoint` is `None`), else those that its
    /// checkpoint has seen.
    ///
    /// # Errors
    /// [`JournalError`] if a file cannot be read or written, or is not what the checkpoint has seen.
    pub fn open(folder: &Path, checkpoint: Option<Seen<'_>>) -> Result<Self, JournalError> {
        let mut files = BTreeMap::new();
        let (mut metrics, mut curves) = (Vec::new(), CURVES_HEADER.as_bytes().to_vec());
        if let Some(Seen { step, seals, .. }) = checkpoint {
            (metrics, curves) = (kept(folder, METRICS, step, seals)?, kept(folder, CURVES, step, seals)?);
            for seal in seals.iter().filter(|seal| seal.file != METRICS && seal.file != CURVES) {
                seal.check(folder).map_err(JournalError::Changed)?;
                files.insert(seal.file.clone(), seal.clone());
            }
        }
        let first_step = checkpoint.map_or(0, |seen| seen.step + u64::from(!seen.looking));
        let mut events = EventFile::create(folder, first_step).map_err(at(folder))?;
        if let Some(Seen { step, looking: true, .. }) = checkpoint {
            // TensorBoard drops the whole step, of which the look may have left a part.
            show_again(&mut events, step, &curves).map_err(at(folder))?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            metrics: Appender::rewrite(folder.join(METRICS), &metrics)?,
            curves: Appender::rewrite(folder.join(CURVES), &curves)?,
            timing: Appender::open(folder.join("timing.jsonl"))?,
            events,
            files,
        })
    }

    /// That what a training has left is what its last checkpoint has seen.
    ///
    /// # Errors
    /// [`JournalError::Changed`] with the first file that is not.
    pub(crate) fn check(folder: &Path, seals: &[Seal]) -> Result<(), JournalError> {
        seals.iter().try_for_each(|seal| seal.check(folder)).map_err(JournalError::Changed)
    }

    /// That what was there at the checkpoint of a step is there still, whatever was written behind it.
    ///
    /// # Errors
    /// [`JournalError::Changed`] with the first file that is not.
    pub(crate) fn check_begun(folder: &Path, step: u64, seals: &[Seal]) -> Result<(), JournalError> {
        for seal in seals {
            match seal.file.as_str() {
                METRICS | CURVES => drop(kept(folder, &seal.file, step, seals)?),
                _ => seal.check(folder).map_err(JournalError::Changed)?,
            }
        }
        Ok(())
    }

    /// Seals of all that was written down so far and is the same after stop and resume.
    pub(crate) fn seals(&self) -> Vec<Seal> {
        let rows = [self.metrics.sealer.seal(METRICS), self.curves.sealer.seal(CURVES)];
        rows.into_iter().chain(self.files.values().cloned()).collect()
    }

    /// A file that is written once, by its name below the run's folder. It is never cut off: a resumed run writes the
    /// same bytes over it.
    ///
    /// # Errors
    /// [`JournalError::File`] if it cannot be written.
    pub(crate) fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), JournalError> {
        let path = self.folder.join(name);
        if let Some(parent) = path.parent() {
            durable::create_folders(parent).map_err(at(parent))?;
        }
        durable::write(&path, bytes).map_err(at(&path))?;
        self.files.insert(name.to_owned(), Seal::of(name, bytes));
        Ok(())
    }

    /// The numbers of a step, after `images` images. Names without commas or line breaks, such as `student/loss`.
    ///
    /// # Errors
    /// [`JournalError::File`] if they cannot be written.
    pub fn record(&mut self, step: u64, images: u64, values: &[(&str, f64)]) -> Result<(), JournalError> {
        let mut line = format!("{{\"step\":{step},\"images\":{images}");
        let mut rows = String::new();
        for &(name, value) in values {
            line += &format!(",{}:{}", serde_json::Value::from(name), json_number(value));
            rows += &format!("{step},{images},{name},{value}\n");
            self.events.scalar(step, name, value).map_err(at(&self.folder))?;
        }
        line += "}\n";
        self.metrics.write(&line)?;
        self.curves.write(&rows)
    }

    /// How the weights of a network are spread, for TensorBoard alone: one histogram for each array, `NAME/ARRAY`.
    ///
    /// # Errors
    /// [`JournalError::File`] if they cannot be written.
    pub fn weights(&mut self, step: u64, name: &str, weights: &Weights) -> Result<(), JournalError> {
        for (array, _, values) in weights.iter() {
            self.events.histogram(step, &format!("{name}/{array}"), values).map_err(at(&self.folder))?;
        }
        Ok(())
    }

    /// A picture of a step: `samples/NAME-STEP.png`, whose seal is kept, and the same in the event file.
    ///
    /// # Errors
    /// [`JournalError`] if it has neither one nor three channels, or cannot be written.
    pub fn picture(&mut self, step: u64, name: &str, picture: &ImageBatch) -> Result<(), JournalError> {
        let mut png = Vec::new();
        cm_image::write_png(picture, &mut png).map_err(|source| JournalError::Picture {
            name: name.to_owned(),
            step,
            source,
        })?;
        self.file(&format!("samples/{}-{step:08}.png", name.replace('/', "-")), &png)?;
        let shape = picture.shape();
        self.events
            .image(step, name, [shape.height, shape.width, shape.channels], &png)
            .map_err(at(&self.folder))
    }

    /// How long something took, in seconds. Kept apart, since it is never the same twice.
    ///
    /// # Errors
    /// [`JournalError::File`] if it cannot be written.
    pub fn timing(&mut self, step: u64, what: &str, seconds: f64) -> Result<(), JournalError> {
        let what = serde_json::Value::from(what);
        self.timing
            .write(&format!("{{\"step\":{step},\"what\":{what},\"seconds\":{}}}\n", json_number(seconds)))
    }

    /// Brings everything to the disk. To be called before a checkpoint is written, and at the end.
    ///
    /// # Errors
    /// [`JournalError::File`] if that fails.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.metrics.sync()?;
        self.curves.sync()?;
        self.timing.sync()?;
        self.events.sync().map_err(at(&self.folder))
    }
}

/// The shortest text that reads back as the same number; JSON has no infinities, so those become texts.
fn json_number(value: f64) -> serde_json::Value {
    if value.is_finite() { value.into() } else { value.to_string().into() }
}

/// The rows of a file that the checkpoint of `step` has seen.
fn kept(folder: &Path, file: &str, step: u64, seals: &[Seal]) -> Result<Vec<u8>, JournalError> {
    let path = folder.join(file);
    let changed = |reason: String| JournalError::Changed(FileError::damaged(&path, reason));
    let Some(seal) = seals.iter().find(|seal| seal.file == file) else {
        return Err(changed(format!("the checkpoint of step {step} does not know it")));
    };
    let mut bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(at(&path)(error)),
    };
    let length = usize::try_from(seal.bytes).unwrap_or(usize::MAX);
    bytes.truncate(length);
    let compared = seal.compare(&Seal::of(file, &bytes));
    compared.map_err(|reason| changed(format!("at the checkpoint of step {step}, {reason}")))?;
    Ok(bytes)
}

/// The numbers of a step that are in the rows of `curves.csv`, for TensorBoard.
fn show_again(events: &mut EventFile, step: u64, curves: &[u8]) -> io::Result<()> {
    let mut rows = csv::Reader::from_reader(curves);
    for row in rows.deserialize() {
        let (of, _, name, value): (u64, u64, String, f64) = row?;
        if of == step {
            events.scalar(step, &name, value)?;
        }
    }
    Ok(())
}

/// A file that only grows.
struct Appender {
    path: PathBuf,
    writer: BufWriter<File>,
    /// Of all that was written since it was opened, and of what it was opened with.
    sealer: Sealer,
}

impl Appender {
    fn open(path: PathBuf) -> Result<Self, JournalError> {
        let file = OpenOptions::new().append(true).create(true).open(&path).map_err(at(&path))?;
        Ok(Self { path, writer: BufWriter::new(file), sealer: Sealer::default() })
    }

    /// One that begins with these bytes, whatever was there.
    fn rewrite(path: PathBuf, bytes: &[u8]) -> Result<Self, JournalError> {
        durable::write(&path, bytes).map_err(at(&path))?;
        let mut appender = Self::open(path)?;
        appender.sealer.update(bytes);
        Ok(appender)
    }

    fn write(&mut self, text: &str) -> Result<(), JournalError> {
        self.sealer.update(text.as_bytes());
        self.writer.write_all(text.as_bytes()).map_err(at(&self.path))
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.writer.flush().and_then(|()| self.writer.get_ref().sync_data()).map_err(at(&self.path))
    }
}

#[cfg(test)]
mod tests;
