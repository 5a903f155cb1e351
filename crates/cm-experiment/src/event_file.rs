//! TensorBoard event files: scalars, images, histograms and hyper-parameters of a run, for people to look at.
//!
//! Records are framed by `tensorboard-rs`' `RecordWriter` and encoded by `tensorboard-proto`. Its `SummaryWriter` is
//! not used: it names files by the second and truncates one that exists, its flush does not flush, a write error
//! panics on another thread, and its images are wrong unless they are square.
//!
//! Every start and every resumption of a run writes a new file, numbered in the order in which TensorBoard reads them.
//! Each begins with a session start at its first step: TensorBoard drops what earlier files hold from that step on.
//! It ignores the first such mark it meets, which is why the first file has one too.
//!
//! Deliberately absent: reading (but for a reader in the tests), text.

use protobuf::Message;
use protobuf::well_known_types::Value;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use tensorboard_proto::api::Status;
use tensorboard_proto::event::{Event, SessionLog, SessionLog_SessionStatus};
use tensorboard_proto::plugin_hparams::{HParamsPluginData, SessionEndInfo, SessionStartInfo};
use tensorboard_proto::summary::{
    HistogramProto, Summary, Summary_Image, Summary_Value, SummaryMetadata, SummaryMetadata_PluginData,
};
use tensorboard_proto::tensor::TensorProto;
use tensorboard_proto::tensor_shape::{TensorShapeProto, TensorShapeProto_Dim};
use tensorboard_proto::types::DataType;
use tensorboard_rs::record_writer::RecordWriter;

/// One value that decided a run.
#[derive(Clone, Debug, PartialEq)]
pub enum HyperParameter {
    /// A number.
    Number(f64),
    /// Yes or no.
    Truth(bool),
    /// Anything else.
    Text(String),
}

impl HyperParameter {
    /// A value of a plan.
    pub(crate) fn of(text: &str) -> Self {
        match (text, text.replace('_', "").parse::<f64>()) {
            ("true", _) => Self::Truth(true),
            ("false", _) => Self::Truth(false),
            (_, Ok(number)) => Self::Number(number),
            (text, Err(_)) => Self::Text(text.to_owned()),
        }
    }
}

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

    /// How some values are spread over equal intervals; what is not finite is left out, and nothing at all is written
    /// of no values.
    ///
    /// # Errors
    /// Whatever the file system answers.
    pub fn histogram(&mut self, step: u64, tag: &str, values: &[f32]) -> io::Result<()> {
        const BUCKETS: usize = 30; // as many as TensorBoard draws
        let finite = || values.iter().copied().filter(|value| value.is_finite()).map(f64::from);
        let (low, high) = finite()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return Ok(());
        }
        let width = (high - low) / BUCKETS as f64;
        let mut histogram = HistogramProto::new();
        let mut counts = vec![0.0; BUCKETS];
        for value in finite() {
            let bucket = if width > 0.0 { ((value - low) / width) as usize } else { 0 };
            counts[bucket.min(BUCKETS - 1)] += 1.0;
            histogram.num += 1.0;
            histogram.sum += value;
            histogram.sum_squares += value * value;
        }
        (histogram.min, histogram.max) = (low, high);
        histogram.bucket_limit = (1..=BUCKETS).map(|end| low + width * end as f64).collect();
        histogram.bucket = counts;
        let mut entry = Summary_Value::new();
        entry.set_histo(histogram);
        self.summary(step, tag, entry)
    }

    /// What decided a finished run, for TensorBoard's HPARAMS tab.
    ///
    /// # Errors
    /// Whatever the file system answers.
    pub fn hyper_parameters(&mut self, step: u64, values: &[(String, HyperParameter)]) -> io::Result<()> {
        let mut start = SessionStartInfo::new();
        for (name, value) in values {
            let mut entry = Value::new();
            match value {
                HyperParameter::Number(number) => entry.set_number_value(*number),
                HyperParameter::Truth(truth) => entry.set_bool_value(*truth),
                HyperParameter::Text(text) => entry.set_string_value(text.clone()),
            }
            start.mut_hparams().insert(name.clone(), entry);
        }
        let mut data = HParamsPluginData::new();
        data.set_session_start_info(start);
        self.hparams(step, "_hparams_/session_start_info", &data)?;
        let mut end = SessionEndInfo::new();
        end.set_status(Status::STATUS_SUCCESS);
        let mut data = HParamsPluginData::new();
        data.set_session_end_info(end);
        self.hparams(step, "_hparams_/session_end_info", &data)
    }

    fn hparams(&mut self, step: u64, tag: &str, data: &HParamsPluginData) -> io::Result<()> {
        let mut plugin = SummaryMetadata_PluginData::new();
        plugin.set_plugin_name("hparams".to_owned());
        plugin.set_content(data.write_to_bytes().map_err(io::Error::other)?);
        let mut metadata = SummaryMetadata::new();
        metadata.set_plugin_data(plugin);
        let mut entry = Summary_Value::new();
        entry.set_metadata(metadata);
        // TensorBoard passes over entries without a value.
        let mut nothing = TensorProto::new();
        nothing.set_dtype(DataType::DT_FLOAT);
        nothing.set_float_val(vec![0.0]);
        let mut shape = TensorShapeProto::new();
        let mut dim = TensorShapeProto_Dim::new();
        dim.set_size(1);
        shape.mut_dim().push(dim);
        nothing.set_tensor_shape(shape);
        entry.set_tensor(nothing);
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

    #[test]
    fn histograms_count_every_finite_value_and_hyper_parameters_keep_their_kinds() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(folder.path(), 0).unwrap();
        file.histogram(3, "w", &[0.0, 0.0, 1.0, f32::NAN, 3.0]).unwrap();
        file.histogram(3, "same", &[2.0, 2.0]).unwrap();
        file.histogram(3, "nothing", &[f32::INFINITY]).unwrap();
        let values = [
            ("lr".to_owned(), HyperParameter::Number(0.5)),
            ("flips".to_owned(), HyperParameter::Truth(true)),
            ("law".to_owned(), HyperParameter::Text("Uniform".to_owned())),
        ];
        file.hyper_parameters(4, &values).unwrap();
        file.sync().unwrap();
        let path = folder.path().join(format!("{PREFIX}{:010}", 0));
        let events = reader::events(&std::fs::read(path).unwrap());
        let entries: Vec<&Summary_Value> =
            events.iter().flat_map(|event| event.get_summary().get_value()).collect();
        let histogram = entries[0].get_histo();
        assert_eq!((histogram.min, histogram.max, histogram.num, histogram.sum), (0.0, 3.0, 4.0, 4.0));
        assert_eq!((histogram.bucket[0], histogram.bucket[10], histogram.bucket[29]), (2.0, 1.0, 1.0));
        assert_eq!((histogram.sum_squares, *histogram.bucket_limit.last().unwrap()), (10.0, 3.0));
        assert_eq!((entries[1].get_histo().num, entries[1].get_histo().bucket[0]), (2.0, 2.0));
        assert_eq!(entries[2].get_tag(), "_hparams_/session_start_info");
        let plugin = entries[2].get_metadata().get_plugin_data();
        assert_eq!(plugin.get_plugin_name(), "hparams");
        let data = HParamsPluginData::parse_from_bytes(plugin.get_content()).unwrap();
        let found = data.get_session_start_info().get_hparams();
        assert_eq!(found["lr"].get_number_value(), 0.5);
        assert!(found["flips"].get_bool_value() && found["law"].get_string_value() == "Uniform");
        assert_eq!(entries.len(), 4);
    }
}
