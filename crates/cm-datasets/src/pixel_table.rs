//! Images as bytes in memory: a source that is small enough to be read whole.

use crate::dataset::check_image;
use crate::source::{About, Store, take};
use crate::transform::ClassSubset;
use crate::{Dataset, DatasetError, SourceConfig, Split};
use cm_image::{ImageShape, from_u8};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Bytes of pixels that are held, both parts together.
const MOST: usize = 1 << 30;

/// The value in [-1, 1] of each byte.
static VALUES: LazyLock<[f32; 256]> = LazyLock::new(|| std::array::from_fn(|pixel| from_u8(pixel as u8)));

/// Writes the values of some bytes.
pub(crate) fn write_values(pixels: &[u8], out: &mut [f32]) {
    let values = &*VALUES;
    for (value, &pixel) in out.iter_mut().zip(pixels) {
        *value = values[usize::from(pixel)];
    }
}

/// One part of a source.
#[derive(Clone, Debug, Default)]
struct Part {
    pixels: Vec<u8>,
    /// Empty without classes.
    labels: Vec<u32>,
}

/// Both parts of a source.
#[derive(Debug)]
struct Whole {
    shape: ImageShape,
    labelled: bool,
    about: About,
    parts: [Part; 2],
}

#[derive(Default)]
struct Memory([Part; 2]);

impl Store for Memory {
    fn put(&mut self, part: Split, pixels: &[u8], label: Option<u32>) -> Result<(), DatasetError> {
        let held: usize = self.0.iter().map(|part| part.pixels.len()).sum();
        if held + pixels.len() > MOST {
            let what = format!("its images take more than {MOST} bytes");
            return Err(DatasetError::setting(
                "path",
                what,
                "the folder that `cm dataset prepare` makes of it",
            ));
        }
        let part = &mut self.0[part as usize];
        part.pixels.extend_from_slice(pixels);
        part.labels.extend(label);
        Ok(())
    }
}

/// The last source that was read: a plan asks for its data several times, and an archive takes seconds to unpack. What
/// becomes of the files afterwards is not seen.
static LAST: Mutex<Option<(SourceConfig, Arc<Whole>)>> = Mutex::new(None);

fn whole(config: &SourceConfig) -> Result<Arc<Whole>, DatasetError> {
    // What decides how images are read, without what is chosen among them afterwards.
    let key = SourceConfig { only_classes: Vec::new(), ..config.clone() };
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((known, whole)) = &*last
        && *known == key
    {
        return Ok(Arc::clone(whole));
    }
    *last = None;
    let mut memory = Memory::default();
    let (taken, about) = take(config, &mut memory)?;
    let whole = Arc::new(Whole { shape: taken.shape, labelled: taken.labelled, about, parts: memory.0 });
    *last = Some((key, Arc::clone(&whole)));
    Ok(whole)
}

/// One part of a source, read into memory.
pub(crate) fn build(config: &SourceConfig, split: Split) -> Result<Box<dyn Dataset>, DatasetError> {
    let whole = whole(config)?;
    if whole.parts[split as usize].pixels.is_empty() {
        return Err(DatasetError::NoTestPart(config.path.clone()));
    }
    let table = PixelTable { whole, split };
    if config.only_classes.is_empty() {
        Ok(Box::new(table))
    } else {
        Ok(Box::new(ClassSubset::new(table, &config.only_classes)?))
    }
}

/// What is known of a source beside its images.
pub(crate) fn about(config: &SourceConfig) -> Result<About, DatasetError> {
    let mut about = whole(config)?.about.clone();
    choose(&mut about.classes, &config.only_classes);
    Ok(about)
}

/// Of the classes' names those of the classes that are kept.
pub(crate) fn choose(names: &mut Vec<String>, only: &[u32]) {
    if !only.is_empty() {
        *names = only.iter().filter_map(|&class| names.get(class as usize).cloned()).collect();
    }
}

/// One part of a source in memory.
#[derive(Clone, Debug)]
struct PixelTable {
    whole: Arc<Whole>,
    split: Split,
}

impl PixelTable {
    fn part(&self) -> &Part {
        &self.whole.parts[self.split as usize]
    }
}

impl Dataset for PixelTable {
    fn shape(&self) -> ImageShape {
        self.whole.shape
    }

    fn len(&self) -> usize {
        self.part().pixels.len() / self.shape().len()
    }

    fn write_image(&self, index: usize, out: &mut [f32]) -> Result<(), DatasetError> {
        check_image(self, index, out)?;
        write_values(&self.part().pixels[index * out.len()..][..out.len()], out);
        Ok(())
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.part().labels.get(index).copied()
    }

    fn num_classes(&self) -> Option<usize> {
        self.whole.labelled.then_some(self.whole.about.classes.len())
    }
}
