//! Handwritten digits, shipped inside the program. Source and licence: `data/README.md`.

use crate::dataset::check_image;
use crate::{Dataset, DatasetError, Outline, Split};
use cm_image::random::Random;
use cm_image::{ImageBatch, ImageShape};
use serde::{Deserialize, Serialize};

/// UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998, CC BY 4.0), 1,797 records.
const FILE: &[u8] = include_bytes!("../data/digits.csv.gz");
const RECORDS: usize = 1797;
const SHAPE: ImageShape = ImageShape::new(8, 8, 1);
const CLASSES: u32 = 10;
/// The first so many records of the shuffled file are for training, the other 297 for testing.
const TRAIN_LEN: usize = 1500;
/// The file is ordered by writer, so it is shuffled before it is cut: by this seed, in every run.
const SPLIT_SEED: u64 = 1998;

/// Nothing can be chosen: file and split are fixed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DigitsConfig {}

/// 8x8 grey digits with labels 0 to 9; ink counts 0 to 16 become v / 8 - 1 in [-1, 1]. 1,500 for training, 297 for
/// testing, a fixed random split.
#[derive(Clone, Debug, PartialEq)]
pub struct Digits {
    images: ImageBatch,
    labels: Vec<u32>,
}

impl Digits {
    /// One part of the digits.
    ///
    /// # Errors
    /// [`DatasetError::Digits`] if the shipped file is damaged.
    pub fn new(split: Split) -> Result<Self, DatasetError> {
        let all = Self::read(FILE)?;
        let order = Random::new(SPLIT_SEED).permutation(all.labels.len());
        let (train, test) = order.split_at(TRAIN_LEN);
        let chosen = match split {
            Split::Train => train,
            Split::Test => test,
        };
        Ok(Self { images: all.images(chosen)?, labels: all.labels(chosen) })
    }

    /// What a part is, without reading it.
    pub(crate) fn outline(split: Split) -> Outline {
        let len = match split {
            Split::Train => TRAIN_LEN,
            Split::Test => RECORDS - TRAIN_LEN,
        };
        Outline { shape: SHAPE, len, classes: Some(CLASSES as usize) }
    }

    /// All records of a gzip-compressed CSV file, in file order.
    fn read(file: &[u8]) -> Result<Self, DatasetError> {
        let damaged = |record: usize, what: String| DatasetError::Digits { record, what };
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(flate2::read::GzDecoder::new(file));
        let mut images = ImageBatch::zeros(SHAPE, RECORDS);
        let mut labels = Vec::with_capacity(RECORDS);
        for (record, fields) in reader.deserialize::<Vec<u8>>().enumerate() {
            let fields = fields.map_err(|error| damaged(record, error.to_string()))?;
            let Some((&label, pixels)) =
                fields.split_last().filter(|(_, pixels)| pixels.len() == SHAPE.len())
            else {
                return Err(damaged(record, format!("{} fields, need {}", fields.len(), SHAPE.len() + 1)));
            };
            if pixels.iter().any(|&pixel| pixel > 16) || u32::from(label) >= CLASSES {
                return Err(damaged(record, "a pixel above 16 or a label above 9".to_owned()));
            }
            let Some(image) = images.values_mut().chunks_exact_mut(SHAPE.len()).nth(record) else {
                return Err(damaged(record, format!("only {RECORDS} records expected")));
            };
            for (value, &pixel) in image.iter_mut().zip(pixels) {
                *value = f32::from(pixel) / 8.0 - 1.0;
            }
            labels.push(u32::from(label));
        }
        if labels.len() < RECORDS {
            return Err(damaged(labels.len(), format!("missing, {RECORDS} records expected")));
        }
        Ok(Self { images, labels })
    }
}

impl Dataset for Digits {
    fn shape(&self) -> ImageShape {
        SHAPE
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn write_image(&self, index: usize, out: &mut [f32]) -> Result<(), DatasetError> {
        check_image(self, index, out)?;
        out.copy_from_slice(self.images.image(index));
        Ok(())
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied()
    }

    fn num_classes(&self) -> Option<usize> {
        Some(CLASSES as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigma_data;
    use std::collections::HashMap;
    use std::io::Write;

    fn class_counts(digits: &Digits) -> [usize; 10] {
        let mut counts = [0; 10];
        digits.labels.iter().for_each(|&label| counts[label as usize] += 1);
        counts
    }

    /// The class counts of the file are those scikit-learn documents for `load_digits`.
    #[test]
    fn class_counts_of_the_file_and_of_both_parts() {
        let all = Digits::read(FILE).unwrap();
        assert_eq!(class_counts(&all), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        let (train, test) = (Digits::new(Split::Train).unwrap(), Digits::new(Split::Test).unwrap());
        assert_eq!((train.len(), test.len()), (1500, 297));
        assert_eq!(class_counts(&train), [143, 160, 153, 151, 144, 152, 144, 157, 142, 154]);
        assert_eq!(class_counts(&test), [35, 22, 24, 32, 37, 30, 37, 22, 32, 26]);
    }

    /// Length and CRC-32 of the published file, whose SHA-256 is in `data/README.md`.
    #[test]
    fn the_shipped_file_is_the_published_one() {
        let mut crc = flate2::Crc::new();
        crc.update(FILE);
        assert_eq!((FILE.len(), crc.sum()), (57_523, 0xc1ae_8ff8));
    }

    /// The first record of the published file is a zero.
    #[test]
    fn the_first_record_reads_as_published() {
        let all = Digits::read(FILE).unwrap();
        assert_eq!(all.label(0), Some(0));
        let ink: Vec<f32> = all.images.image(0)[..16].iter().map(|v| (v + 1.0) * 8.0).collect();
        assert_eq!(
            ink,
            [0., 0., 5., 13., 9., 1., 0., 0., 0., 0., 13., 15., 10., 15., 5., 0.],
            "rows from the top, left to right"
        );
    }

    #[test]
    fn the_parts_are_the_whole_and_values_fill_the_range() {
        let mut times: HashMap<Vec<u32>, i32> = HashMap::new();
        let key = |image: &[f32]| image.iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
        let all = Digits::read(FILE).unwrap();
        all.images.images().for_each(|image| *times.entry(key(image)).or_default() += 1);
        for split in [Split::Train, Split::Test] {
            let part = Digits::new(split).unwrap();
            part.images.images().for_each(|image| *times.entry(key(image)).or_default() -= 1);
        }
        assert!(times.values().all(|&n| n == 0), "each record lies in exactly one part");
        let values = all.images.values();
        assert!(values.iter().all(|v| (-1.0..=1.0).contains(v) && (v * 8.0).fract() == 0.0));
        assert!(values.contains(&-1.0) && values.contains(&1.0));
    }

    #[test]
    fn the_spread_is_three_quarters() {
        let sigma = sigma_data(&Digits::new(Split::Train).unwrap()).unwrap();
        assert!((sigma - 0.752).abs() < 2e-3, "{sigma}");
    }

    #[test]
    fn damage_is_reported_with_its_record() {
        let pack = |text: &str| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let good = format!("{}7\n", "0,".repeat(64));
        let record = |text: &str| match Digits::read(&pack(text)) {
            Err(DatasetError::Digits { record, .. }) => record,
            other => panic!("{other:?}"),
        };
        assert_eq!(record(&good), 1, "too few records");
        assert_eq!(record(&good.repeat(RECORDS + 1)), RECORDS, "too many");
        assert_eq!(record(&format!("{good}1,2,3\n")), 1, "too short");
        assert_eq!(record(&format!("{good}{good}{}", good.replacen('0', "17", 1))), 2, "too dark");
        assert_eq!(record(&good.replace('7', "10")), 0, "no digit");
        assert_eq!(record(&good.replacen('0', "x", 1)), 0, "no number");
        assert!(Digits::read(&FILE[..30_000]).is_err(), "cut short");
        // The last eight bytes of a gzip file are the checksum and length of what it holds.
        let mut changed = FILE.to_vec();
        changed[FILE.len() - 8] ^= 1;
        assert!(Digits::read(&changed).is_err(), "wrong checksum");
    }
}
