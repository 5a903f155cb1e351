//! What a folder that was trained in says: its curves, its pictures, its provenance, its times.

use crate::error::ReportError;
use cm_experiment::{COPIES, Curve, SealedFolder};
use cm_host::{FileError, Provenance};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Pictures shown of one sampler; of more, the first, the last and some evenly between them.
pub(crate) const MOST_PICTURES: usize = 9;

/// One run, or one teacher.
#[derive(Debug)]
pub(crate) struct Record {
    /// The arm, or `teacher`.
    pub(crate) group: String,
    /// Seed of its training.
    pub(crate) seed: u64,
    /// Curves in the order in which they were begun.
    pub(crate) curves: Vec<Curve>,
    pub(crate) pictures: Vec<Pictures>,
    pub(crate) provenance: Option<Provenance>,
    /// Seconds of training, as far as recorded.
    pub(crate) seconds: Option<f64>,
}

/// The pictures of one sampler, by step.
#[derive(Debug)]
pub(crate) struct Pictures {
    pub(crate) sampler: String,
    pub(crate) shown: Vec<Picture>,
    /// How many there are in the folder.
    pub(crate) found: usize,
}

#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) step: u64,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) png: Vec<u8>,
}

impl Record {
    /// What lies in `folder`; `None` if it is not there.
    pub(crate) fn read(folder: &Path, group: &str, seed: u64) -> Result<Option<Self>, ReportError> {
        if !folder.is_dir() {
            return Ok(None);
        }
        let sealed = SealedFolder::open(folder)?;
        let provenance = "provenance.ron";
        let damaged = |file: &str, reason: String| FileError::damaged(folder.join(file), reason);
        let provenance = match sealed.text(provenance)? {
            Some(text) => {
                Some(cm_study::from_ron(&text).map_err(|error| damaged(provenance, error.to_string()))?)
            }
            None => None,
        };
        let (curves, batch) = sealed.curves()?;
        let timing = sealed.text("timing.jsonl")?;
        Ok(Some(Self {
            group: group.to_owned(),
            seed,
            seconds: timing.zip(batch).and_then(|(text, batch)| seconds(&text, batch)),
            curves,
            pictures: pictures(&sealed, &folder.join("samples"))?,
            provenance,
        }))
    }
}

#[derive(Deserialize)]
struct TimingRow {
    step: u64,
    what: String,
    seconds: Option<f64>,
}

/// Seconds of training from the rates in a `timing.jsonl`; lines that cannot be read are passed over, as nothing
/// depends on them.
fn seconds(text: &str, batch: f64) -> Option<f64> {
    let (mut total, mut previous) = (0.0, 0);
    for row in text.lines().filter_map(|line| serde_json::from_str::<TimingRow>(line).ok()) {
        let rate = row.seconds.filter(|rate| *rate > 0.0 && row.what == "images_per_second");
        if let Some(rate) = rate.filter(|_| row.step > previous) {
            total += (row.step - previous) as f64 * batch / rate;
        }
        previous = row.step;
    }
    (total > 0.0).then_some(total)
}

/// The PNG files `SAMPLER-STEP.png` of a folder, by sampler and step; sheets of copies last.
fn pictures(sealed: &SealedFolder, folder: &Path) -> Result<Vec<Pictures>, ReportError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::Io { path: folder.to_owned(), source: error }.into()),
    };
    let mut found: Vec<(String, u64, PathBuf)> = Vec::new();
    for entry in entries {
        let path = entry.map_err(FileError::io(folder))?.path();
        let named = path.file_name().and_then(|name| name.to_str()).and_then(|name| {
            let (sampler, step) = name.strip_suffix(".png")?.rsplit_once('-')?;
            Some((sampler.to_owned(), step.parse().ok()?))
        });
        found.extend(named.map(|(sampler, step)| (sampler, step, path)));
    }
    found.sort();
    let mut all: Vec<Pictures> = Vec::new();
    for of_sampler in found.chunk_by(|a, b| a.0 == b.0) {
        let last = of_sampler.len() - 1;
        let shown = of_sampler.len().min(MOST_PICTURES);
        let places = (0..shown).map(|place| if shown == 1 { 0 } else { place * last / (shown - 1) });
        let shown = places.map(|place| picture(sealed, &of_sampler[place].2, of_sampler[place].1));
        all.push(Pictures {
            sampler: of_sampler[0].0.clone(),
            shown: shown.collect::<Result<_, _>>()?,
            found: of_sampler.len(),
        });
    }
    all.sort_by_key(|pictures| pictures.sampler.starts_with(COPIES));
    Ok(all)
}

/// A PNG file with its size, which stands at a fixed place.
fn picture(sealed: &SealedFolder, path: &Path, step: u64) -> Result<Picture, ReportError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let png = sealed.bytes(&format!("samples/{name}"))?.unwrap_or_default();
    let number = |at: usize| {
        let bytes = png.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    match (png.starts_with(b"\x89PNG\r\n\x1a\n"), number(16), number(20)) {
        (true, Some(width), Some(height)) => Ok(Picture { step, width, height, png }),
        (..) => Err(FileError::damaged(path, "not a PNG file").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_those_of_the_steps_and_rates() {
        let row = |step: u64, rate: f64| {
            format!("{{\"step\":{step},\"what\":\"images_per_second\",\"seconds\":{rate}}}\n")
        };
        // 10 steps of 4 images at 8 a second, 10 at 20; then a resumption that goes back, and 5 steps at 10.
        let text = row(10, 8.0) + &row(20, 20.0) + "torn" + "\n" + &row(15, 1.0) + &row(20, 10.0);
        assert_eq!(seconds(&text, 4.0), Some(5.0 + 2.0 + 2.0));
        assert_eq!(seconds("", 4.0), None);
    }

    #[test]
    fn of_many_pictures_the_first_the_last_and_some_between_are_shown() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join("samples");
        fs::create_dir(&folder).unwrap();
        let sealed = SealedFolder::open(run.path()).unwrap();
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x05\0\0\0\x07";
        for step in 1..=25 {
            fs::write(folder.join(format!("one-step-{step:08}.png")), png).unwrap();
        }
        fs::write(folder.join("multistep-0.8-00000025.png"), png).unwrap();
        fs::write(folder.join("notes.txt"), "no picture").unwrap();
        let all = pictures(&sealed, &folder).unwrap();
        let steps = |of: usize| all[of].shown.iter().map(|picture| picture.step).collect::<Vec<_>>();
        assert_eq!((all[0].sampler.as_str(), steps(0)), ("multistep-0.8", vec![25]));
        assert_eq!((all[1].sampler.as_str(), all[1].found), ("one-step", 25));
        assert_eq!(steps(1), [1, 4, 7, 10, 13, 16, 19, 22, 25]);
        assert_eq!((all[1].shown[0].width, all[1].shown[0].height), (5, 7));
        fs::write(folder.join("one-step-00000001.png"), "rubbish").unwrap();
        assert!(matches!(pictures(&sealed, &folder), Err(ReportError::File(FileError::Damaged { .. }))));
    }
}
