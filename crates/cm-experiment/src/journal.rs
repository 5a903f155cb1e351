//! What a run writes down while it works, so that it reads the same whether it was stopped or not.
//!
//! | file | what | same after stop and resume |
//! |---|---|---|
//! | `metrics.jsonl` | one line per recorded step: every number under its name | to the byte |
//! | `curves.csv` | the same numbers, one a line: `step,images,name,value` | to the byte |
//! | `timing.jsonl` | how long things took | no: clocks |
//! | `events.out.tfevents.*` | the same numbers and the pictures, for TensorBoard | as TensorBoard shows them |
//!
//! On resumption, rows behind the checkpoint's step are cut off; the resumed run writes them again. So
//! [`Journal::sync`] must come *before* a checkpoint is written, and everything of a step must be recorded before the
//! checkpoint of that step.
//!
//! Deliberately absent: clocks in the first two files, and any knowledge of what the numbers mean.

use crate::event_file::EventFile;
use cm_host::durable;
use cm_image::{GridError, ImageBatch};
use cm_network::Weights;
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
    /// A line that is not the last one is not a record.
    #[error("{path}: line {line} is not a record of this program")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
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

/// The first line of `curves.csv`.
const CURVES_HEADER: &str = "step,images,name,value\n";

impl Journal {
    /// The records of the run in `folder`: empty ones if the run begins (`checkpoint` is `None`), else those up to and
    /// including the checkpoint's step.
    ///
    /// # Errors
    /// [`JournalError`] if a file cannot be read or written, or holds something else.
    pub fn open(folder: &Path, checkpoint: Option<u64>) -> Result<Self, JournalError> {
        let metrics = folder.join("metrics.jsonl");
        let curves = folder.join("curves.csv");
        let kept = match checkpoint {
            Some(step) => {
                (keep(&metrics, step, step_of_json, "")?, keep(&curves, step, step_of_csv, CURVES_HEADER)?)
            }
            None => (String::new(), CURVES_HEADER.to_owned()),
        };
        durable::write(&metrics, kept.0.as_bytes()).map_err(at(&metrics))?;
        durable::write(&curves, kept.1.as_bytes()).map_err(at(&curves))?;
        let first_step = checkpoint.map_or(0, |step| step + 1);
        Ok(Self {
            folder: folder.to_owned(),
            metrics: Appender::open(metrics)?,
            curves: Appender::open(curves)?,
            timing: Appender::open(folder.join("timing.jsonl"))?,
            events: EventFile::create(folder, first_step).map_err(at(folder))?,
        })
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

    /// A picture of a step: `samples/NAME-STEP.png`, and the same in the event file. Its steps are never cut off: a
    /// resumed run draws the same picture over it.
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
        let samples = self.folder.join("samples");
        durable::create_folders(&samples).map_err(at(&samples))?;
        let path = samples.join(format!("{}-{step:08}.png", name.replace('/', "-")));
        durable::write(&path, &png).map_err(at(&path))?;
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

/// The lines of steps up to `last`, `header` first. A last line that was torn off is dropped.
fn keep(
    path: &Path,
    last: u64,
    step_of: impl Fn(&str) -> Option<u64>,
    header: &str,
) -> Result<String, JournalError> {
    let text = std::fs::read_to_string(path).map_err(at(path))?;
    let Some(rows) = text.strip_prefix(header) else {
        return Err(JournalError::Damaged { path: path.to_owned(), line: 1 });
    };
    let mut kept = header.to_owned();
    for (index, line) in rows.split_inclusive('\n').enumerate().filter(|(_, line)| line.ends_with('\n')) {
        let line_number = index + 1 + header.lines().count();
        let step = step_of(line.trim_end())
            .ok_or_else(|| JournalError::Damaged { path: path.to_owned(), line: line_number })?;
        if step <= last {
            kept += line;
        }
    }
    Ok(kept)
}

fn step_of_json(line: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(line).ok()?.get("step")?.as_u64()
}

fn step_of_csv(line: &str) -> Option<u64> {
    let mut fields = line.split(',');
    let step = fields.next()?.parse().ok()?;
    (fields.count() == 3).then_some(step)
}

/// A file that only grows.
struct Appender {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl Appender {
    fn open(path: PathBuf) -> Result<Self, JournalError> {
        let file = OpenOptions::new().append(true).create(true).open(&path).map_err(at(&path))?;
        Ok(Self { path, writer: BufWriter::new(file) })
    }

    fn write(&mut self, text: &str) -> Result<(), JournalError> {
        self.writer.write_all(text.as_bytes()).map_err(at(&self.path))
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.writer.flush().and_then(|()| self.writer.get_ref().sync_data()).map_err(at(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_file::reader;
    use cm_image::ImageShape;
    use std::fs;

    fn steps(journal: &mut Journal, steps: std::ops::Range<u64>) {
        for step in steps {
            let loss = 1.0 / (step as f64 + 3.0);
            journal.record(step, step * 8, &[("student/loss", loss), ("levels", 2.0)]).unwrap();
            if step % 4 == 0 {
                journal.picture(step, "samples", &ImageBatch::zeros(ImageShape::new(2, 3, 1), 1)).unwrap();
            }
        }
    }

    fn contents(folder: &Path) -> (String, String) {
        let read = |name| fs::read_to_string(folder.join(name)).unwrap();
        (read("metrics.jsonl"), read("curves.csv"))
    }

    #[test]
    fn rows_say_what_was_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), None).unwrap();
        journal.record(1, 128, &[("student/loss", 0.1), ("norm", f64::INFINITY)]).unwrap();
        journal.sync().unwrap();
        let (metrics, curves) = contents(folder.path());
        assert_eq!(metrics, "{\"step\":1,\"images\":128,\"student/loss\":0.1,\"norm\":\"inf\"}\n");
        assert_eq!(curves, "step,images,name,value\n1,128,student/loss,0.1\n1,128,norm,inf\n");
    }

    #[test]
    fn a_stopped_and_resumed_run_leaves_the_files_of_an_uninterrupted_one() {
        let (whole, resumed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut journal = Journal::open(whole.path(), None).unwrap();
        steps(&mut journal, 0..12);
        journal.sync().unwrap();

        let mut journal = Journal::open(resumed.path(), None).unwrap();
        steps(&mut journal, 0..9);
        journal.sync().unwrap();
        drop(journal);
        // Killed in the middle of a line, with a checkpoint at step 5.
        let metrics = resumed.path().join("metrics.jsonl");
        let torn = fs::read_to_string(&metrics).unwrap() + "{\"step\":9,\"ima";
        fs::write(&metrics, torn).unwrap();
        let mut journal = Journal::open(resumed.path(), Some(5)).unwrap();
        steps(&mut journal, 6..12);
        journal.sync().unwrap();

        assert_eq!(contents(whole.path()), contents(resumed.path()));
        assert_eq!(reader::scalars(whole.path()), reader::scalars(resumed.path()));
        assert_eq!(fs::read_dir(resumed.path().join("samples")).unwrap().count(), 3);
    }

    #[test]
    fn a_run_that_begins_again_begins_empty() {
        let folder = tempfile::tempdir().unwrap();
        steps(&mut Journal::open(folder.path(), None).unwrap(), 0..5);
        Journal::open(folder.path(), None).unwrap();
        assert_eq!(contents(folder.path()), (String::new(), CURVES_HEADER.to_owned()));
        assert!(reader::scalars(folder.path()).is_empty());
    }

    #[test]
    fn damage_is_told_and_not_hidden() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Journal::open(folder.path(), Some(3)), Err(JournalError::File { .. })));
        fs::write(folder.path().join("metrics.jsonl"), "{\"step\":1}\nrubbish\n{\"step\":2}\n").unwrap();
        let error = Journal::open(folder.path(), Some(3)).err().unwrap();
        assert!(matches!(error, JournalError::Damaged { line: 2, .. }), "{error}");
        fs::write(folder.path().join("metrics.jsonl"), "").unwrap();
        fs::write(folder.path().join("curves.csv"), "other,header\n").unwrap();
        assert!(matches!(Journal::open(folder.path(), Some(3)), Err(JournalError::Damaged { line: 1, .. })));
    }
}
