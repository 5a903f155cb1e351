//! TensorBoard event files: scalars and images of a run, for people to look at.
//!
//! Records are framed by `tensorboard-rs`' `RecordWriter` and encoded by `tensorboard-proto`. Its `SummaryWriter` is
//! not used: it names files by the second and truncates one that exists, its flush does not flush, a write error
//! panics on another thread, and its images are wrong unless they are square.
//!
//! Every start and every resumption of a run writes a new file, numbered in the order in which TensorBoard reads them.
//! Each begins with a session start at its first step: TensorBoard drops what earlier files hold from that step on.
//! It ignores the first such mark it meets, which is why the first file has one too.
//!
//! Deliberately absent: reading (but for a reader in the tests), text, histograms.

use protobuf::Message;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use tensorboard_proto::event::{Event, SessionLog, SessionLog_SessionStatus};
use tensorboard_proto::summary::{Summary, Summary_Image, Summary_Value};
use tensorboard_rs::record_writer::RecordWriter;

/// An event file being written.
pub struct EventFile {
    writer: RecordWriter<BufWriter<File>>,
    file: File,
}

/// What a folder's event files are called, before their number.
const PREFIX: &str = "events.out.tfevents.";

impl EventFile {
    /// A new file in `folder`, behind those that are there, for steps from `first_step` on: 0 for a run that starts,
    /// one more than the checkpoint's step for one that goes on.
    ///
    /// # Errors
    /// Whatever the file system answers.
    pub fn create(folder: &Path, first_step: u64) -> io::Result<Self> {
        let mut last = None;
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u64>().ok());
            last = last.max(number);
        }
        let path = folder.join(format!("{PREFIX}{:010}", last.map_or(0, |number| number + 1)));
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let mut events = Self { writer: RecordWriter::new(BufWriter::new(file.try_clone()?)), file };
        let mut version = Event::new();
        version.set_file_version("brain.Event:2".to_owned());
        events.write(version, 0)?;
        let mut session = SessionLog::new();
        session.set_status(SessionLog_SessionStatus::START);
        let mut start = Event::new();
        start.set_session_log(session);
        events.write(start, first_step)?;
        events.sync()?;
        Ok(events)
    }

    /// One number; TensorBoard holds it in single precision.
    ///
    /// # Errors
    /// Whatever the file system answers.
    pub fn scalar(&mut self, step: u64, tag: &str, value: f64) -> io::Result<()> {
        let mut entry = Summary_Value::new();
        entry.set_simple_value(value as f32);
        self.summary(step, tag, entry)
    }

    /// One picture, as the bytes of a PNG of `height` x `width` pixels with `channels` values each.
    ///
    /// # Errors
    /// Whatever the file system answers.
    pub fn image(
        &mut self,
        step: u64,
        tag: &str,
        [height, width, channels]: [usize; 3],
        png: &[u8],
    ) -> io::Result<()> {
        let side = |pixels: usize| i32::try_from(pixels).map_err(|_| io::Error::other("picture too large"));
        let mut image = Summary_Image::new();
        image.set_height(side(height)?);
        image.set_width(side(width)?);
        image.set_colorspace(side(channels)?);
        image.set_encoded_image_string(png.to_vec());
        let mut entry = Summary_Value::new();
        entry.set_image(image);
        self.summary(step, tag, entry)
    }

    /// Brings everything written so far to the disk.
    ///
    /// # Errors
    /// Whatever the file system answers.
    pub fn sync(&mut self) -> io::Result<()> {
        self.writer.flush()?;
        self.file.sync_data()
    }

    fn summary(&mut self, step: u64, tag: &str, mut entry: Summary_Value) -> io::Result<()> {
        entry.set_tag(tag.to_owned());
        let mut summary = Summary::new();
        summary.mut_value().push(entry);
        let mut event = Event::new();
        event.set_summary(summary);
        self.write(event, step)
    }

    fn write(&mut self, mut event: Event, step: u64) -> io::Result<()> {
        event.set_step(i64::try_from(step).map_err(io::Error::other)?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        event.set_wall_time(now.as_secs_f64());
        self.writer.write(&event.write_to_bytes().map_err(io::Error::other)?)
    }
}

/// Reads event files back, with its own checksum: the twin of what is written above.
#[cfg(test)]
pub(crate) mod reader {
    use super::*;

    /// CRC-32C bit by bit, masked as TFRecord does.
    fn masked_crc(bytes: &[u8]) -> u32 {
        let mut crc = !0_u32;
        for &byte in bytes {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg());
            }
        }
        (!crc).rotate_right(15).wrapping_add(0xA282_EAD8)
    }

    /// The events of one file; panics at the first record that is not whole.
    pub(crate) fn events(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_at(8);
            let (crc, rest) = rest.split_at(4);
            assert_eq!(crc, masked_crc(length).to_le_bytes(), "checksum of a length");
            let (data, rest) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
            let (crc, rest) = rest.split_at(4);
            assert_eq!(crc, masked_crc(data).to_le_bytes(), "checksum of a record");
            events.push(Event::parse_from_bytes(data).unwrap());
            bytes = rest;
        }
        events
    }

    /// (step, tag, value) of every scalar of a folder's files as TensorBoard shows them, that is without what a later
    /// session replaces.
    pub(crate) fn scalars(folder: &Path) -> Vec<(u64, String, f32)> {
        let mut paths: Vec<std::path::PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(PREFIX));
        paths.sort();
        let mut scalars: Vec<(u64, String, f32)> = Vec::new();
        for event in paths.iter().flat_map(|path| events(&std::fs::read(path).unwrap())) {
            if event.has_session_log() {
                scalars.retain(|&(step, ..)| step < event.get_step() as u64);
            }
            for value in event.get_summary().get_value().iter().filter(|value| value.has_simple_value()) {
                scalars.push((event.get_step() as u64, value.get_tag().to_owned(), value.get_simple_value()));
            }
        }
        scalars
    }

    #[test]
    fn the_checksum_is_castagnoli_s() {
        // RFC 3720, B.4: the CRC-32C of 32 zero bytes is 0x8A9136AA.
        let unmasked = masked_crc(&[0; 32]).wrapping_sub(0xA282_EAD8).rotate_left(15);
        assert_eq!(unmasked, 0x8A91_36AA);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_and_pictures_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(folder.path(), 0).unwrap();
        file.scalar(3, "student/loss", 0.25).unwrap();
        file.scalar(4, "student/loss", f64::NAN).unwrap();
        file.image(4, "samples", [5, 7, 3], b"png").unwrap();
        file.sync().unwrap();
        let bytes = std::fs::read(folder.path().join("events.out.tfevents.0000000000")).unwrap();
        let events = reader::events(&bytes);
        assert_eq!(events[0].get_file_version(), "brain.Event:2");
        assert_eq!(events[1].get_session_log().get_status(), SessionLog_SessionStatus::START);
        assert_eq!(events[2].get_summary().get_value()[0].get_simple_value(), 0.25);
        assert!(events[3].get_summary().get_value()[0].get_simple_value().is_nan());
        let image = events[4].get_summary().get_value()[0].get_image();
        assert_eq!((image.get_height(), image.get_width(), image.get_colorspace()), (5, 7, 3));
        assert_eq!(image.get_encoded_image_string(), b"png");
    }

    #[test]
    fn a_resumed_run_replaces_the_steps_behind_its_checkpoint_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = EventFile::create(folder.path(), 0).unwrap();
        (0..10).for_each(|step| first.scalar(step, "a", step as f64).unwrap());
        drop(first);
        let mut second = EventFile::create(folder.path(), 6).unwrap();
        (6..8).for_each(|step| second.scalar(step, "a", 100.0).unwrap());
        second.sync().unwrap();
        let values: Vec<f32> =
            reader::scalars(folder.path()).into_iter().map(|(_, _, value)| value).collect();
        assert_eq!(values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 100.0, 100.0]);
    }

    #[test]
    fn errors_are_returned() {
        let folder = tempfile::tempdir().unwrap();
        assert!(EventFile::create(&folder.path().join("missing"), 0).is_err());
    }
}
