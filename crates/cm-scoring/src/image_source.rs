//! Sets of images to be evaluated: `.npz` files, folders of pictures, data sets. They come a batch at a time.

use crate::error::ScoringError;
use crate::folder::{collect, read_picture};
use crate::npz_reader::{NpyElement, NpyStream, NpzError, NpzReader};
use cm_datasets::{Dataset, DatasetConfig, Split};
use cm_host::{FileError, SamplesCard};
use cm_image::{ImageBatch, ImageShape, Quantisation, from_u8};
use cm_study::from_ron;
use std::fs;
use std::path::{Path, PathBuf};

/// Where images are.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageSource {
    /// `arr_0` of an npz file: u8, N x height x width x channels; f32 of points.
    Npz(PathBuf),
    /// PNG, JPEG and WebP files, those of folders below included, in the order of their paths.
    Folder(PathBuf),
    /// A data set by its RON, and which part of it.
    Dataset(DatasetConfig, Split),
}

/// What is said of points.
const NO_PICTURES: &str = "none: points";

/// What stands before the RON of a data set.
const DATASET: &str = "dataset:";

impl ImageSource {
    /// A source from what was typed: `dataset:Digits()`, `dataset:Digits()@test`, a path to an npz file, or to a folder or
    /// a file of pictures.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(dataset) = text.strip_prefix(DATASET) {
            let (ron, split) = match dataset.rsplit_once('@') {
                Some((ron, "train")) => (ron, Split::Train),
                Some((ron, "test")) => (ron, Split::Test),
                Some((_, part)) => {
                    return Err(format!("a data set has no part `{part}`, but train and test"));
                }
                None => (dataset, Split::Train),
            };
            let config = from_ron(ron).map_err(|error| format!("the data set `{ron}`: {error}"))?;
            return Ok(Self::Dataset(config, split));
        }
        let path = PathBuf::from(text);
        if !path.exists() {
            return Err(format!("there is no file or folder {text}"));
        }
        Ok(if path.extension().is_some_and(|extension| extension == "npz") {
            Self::Npz(path)
        } else {
            Self::Folder(path)
        })
    }

    /// A text that is another one if the images are: names, sizes and times of files, the settings of a data set.
    ///
    /// # Errors
    /// [`ScoringError`] if files cannot be looked at.
    pub(crate) fn fingerprint(&self) -> Result<String, ScoringError> {
        let of_file = |path: &Path| {
            let told = fs::metadata(path).and_then(|metadata| {
                let path = path.canonicalize()?;
                Ok(format!("{} {} {:?}\n", path.display(), metadata.len(), metadata.modified()?))
            });
            told.map_err(|error| FileError::damaged(path, error))
        };
        match self {
            Self::Npz(path) => Ok(of_file(path)?),
            Self::Folder(path) => {
                let (mut files, mut others) = (vec![path.clone()], Vec::new());
                if path.is_dir() {
                    collect(path, &mut files, &mut others).map_err(FileError::io(path))?;
                }
                files.sort_unstable();
                Ok(files.iter().map(|file| of_file(file)).collect::<Result<_, _>>()?)
            }
            Self::Dataset(config, split) => Ok(format!("{config:?} {split:?} rounded")),
        }
    }

    /// Opens the images. `channels` is what they are needed in; without it, as they are.
    ///
    /// # Errors
    /// [`FileError::Damaged`] if there are no images or they cannot be read.
    pub fn open(&self, channels: Option<usize>) -> Result<ImageStream, ScoringError> {
        match self {
            Self::Npz(path) => {
                let damaged = |error: NpzError| FileError::damaged(path, error);
                let mut reader = NpzReader::open(path).map_err(damaged)?;
                let array = reader.array("arr_0").map_err(damaged)?;
                let drawn = match reader.has(SamplesCard::ARRAY) && !reader.has("mu") {
                    true => {
                        let (_, bytes) = reader.values(SamplesCard::ARRAY).map_err(damaged)?;
                        SamplesCard::from_json(&bytes.into_iter().map(|byte| byte as u8).collect::<Vec<_>>())
                    }
                    false => None,
                };
                ImageStream::of_array(path, array, drawn)
            }
            Self::Folder(path) => ImageStream::of_files(path, channels),
            Self::Dataset(config, split) => {
                let failed = |error| ScoringError::failed("reading the data set", error);
                let data = config.build(*split).map_err(failed)?;
                let (shape, count) = (data.shape(), data.len());
                let images = Images::Dataset { data, pictures: config.holds_pictures() };
                Ok(ImageStream { shape, count, at: 0, images, drawn: None })
            }
        }
    }
}

/// Images that come a batch at a time, all of one shape.
pub struct ImageStream {
    shape: ImageShape,
    count: usize,
    at: usize,
    images: Images,
    drawn: Option<SamplesCard>,
}

enum Images {
    Array { path: PathBuf, array: NpyStream },
    Files(Vec<PathBuf>),
    Dataset { data: Box<dyn Dataset>, pictures: bool },
}

impl ImageStream {
    /// The shape of one image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// How many images there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What drew them, if their file says so.
    pub(crate) fn drawn(&self) -> Option<&SamplesCard> {
        self.drawn.as_ref()
    }

    /// How values became the pixels that come, in words.
    pub(crate) fn quantisation(&self) -> String {
        if let Some(drawn) = &self.drawn {
            return drawn.quantisation.clone();
        }
        match &self.images {
            Images::Array { array, .. } => match array.element {
                NpyElement::U8 => "8 bits, as the file has them",
                NpyElement::F32 | NpyElement::F64 | NpyElement::I64 => NO_PICTURES,
            },
            Images::Files(_) => "8 bits, as the files have them",
            Images::Dataset { pictures: true, .. } => Quantisation::Round.describe(),
            Images::Dataset { pictures: false, .. } => NO_PICTURES,
        }
        .to_owned()
    }

    /// Passes over the next `count` images, or all that are left.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub(crate) fn skip(&mut self, count: usize) -> Result<(), ScoringError> {
        let to = (self.at + count).min(self.count);
        if let Images::Array { path, array, .. } = &mut self.images {
            let mut bytes = vec![0; self.shape.len() * array.element.bytes()];
            for _ in self.at..to {
                array.read(&mut bytes).map_err(|error| FileError::damaged(&*path, error))?;
            }
        }
        self.at = to;
        Ok(())
    }

    /// At most `count` of the images that are left; none at the end.
    ///
    /// # Errors
    /// [`FileError::Damaged`] if they cannot be read, or one has another shape than the first.
    pub fn next_batch(&mut self, count: usize) -> Result<Option<ImageBatch>, ScoringError> {
        let range = self.at..(self.at + count).min(self.count);
        if range.is_empty() {
            return Ok(None);
        }
        self.at = range.end;
        let shape = self.shape;
        Ok(Some(match &mut self.images {
            Images::Array { path, array, .. } => {
                let mut bytes = vec![0; range.len() * shape.len() * array.element.bytes()];
                array.read(&mut bytes).map_err(|error| FileError::damaged(&*path, error))?;
                let word = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("pieces of four"));
                let values: Vec<f32> = match array.element {
                    NpyElement::F32 => bytes.chunks_exact(4).map(word).collect(),
                    NpyElement::U8 | NpyElement::F64 | NpyElement::I64 => {
                        bytes.into_iter().map(from_u8).collect()
                    }
                };
                if values.iter().any(|value| !value.is_finite()) {
                    let reason = "array `arr_0` holds infinite or NaN values";
                    return Err(FileError::damaged(&*path, reason).into());
                }
                ImageBatch::new(shape, values).expect("whole images were read")
            }
            Images::Files(paths) => {
                let mut batch = ImageBatch::zeros(shape, 0);
                for path in &paths[range] {
                    let (found, bytes) = read_picture(path, Some(shape.channels))?;
                    if found != shape {
                        let reason = format!(
                            "the image is {found}, but the first one {shape}: all must have one size"
                        );
                        return Err(FileError::damaged(path, reason).into());
                    }
                    let values = bytes.into_iter().map(from_u8).collect();
                    batch.append(&ImageBatch::new(shape, values).expect("a whole image was read"));
                }
                batch
            }
            Images::Dataset { data, pictures } => {
                let indices: Vec<usize> = range.collect();
                let images = data
                    .images(&indices)
                    .map_err(|error| ScoringError::failed("reading the data set", error))?;
                // As files of pictures would hold them, and as studies score them.
                if *pictures { Quantisation::Round.delivered(images) } else { images }
            }
        }))
    }

    fn of_array(path: &Path, array: NpyStream, drawn: Option<SamplesCard>) -> Result<Self, ScoringError> {
        let wrong = |reason: String| Err(FileError::damaged(path, format!("array `arr_0`: {reason}")).into());
        let points = array.element == NpyElement::F32;
        if array.element != NpyElement::U8 && !points || array.fortran_order {
            return wrong("images are 8-bit numbers (uint8), points single precision, in C order".to_owned());
        }
        let (count, shape) = match *array.shape.as_slice() {
            [count, height, width, channels] if points => (count, ImageShape::new(height, width, channels)),
            [count, height, width] => (count, ImageShape::new(height, width, 1)),
            [count, height, width, channels @ (1 | 3)] => (count, ImageShape::new(height, width, channels)),
            _ => {
                let given = &array.shape;
                return wrong(format!(
                    "its extents are {given:?}, but images are N x height x width x 1 or 3"
                ));
            }
        };
        if count == 0 || shape.is_empty() {
            return wrong("it holds no images".to_owned());
        }
        let images = Images::Array { path: path.to_owned(), array };
        Ok(Self { shape, count, at: 0, images, drawn })
    }

    fn of_files(path: &Path, channels: Option<usize>) -> Result<Self, ScoringError> {
        let mut files = Vec::new();
        let mut others = Vec::new();
        if path.is_dir() {
            collect(path, &mut files, &mut others).map_err(FileError::io(path))?;
        } else {
            files.push(path.to_owned());
        }
        files.sort_unstable();
        if let Some(other) = others.first() {
            let count = others.len();
            let message =
                format!("{count} pictures are no PNG, JPEG or WebP files, such as {}", other.display());
            return Err(FileError::damaged(path, message).into());
        }
        let Some(first) = files.first() else {
            return Err(
                FileError::damaged(path, "the folder holds no PNG, JPEG or WebP files".to_owned()).into()
            );
        };
        let (shape, _) = read_picture(first, channels)?;
        Ok(Self { shape, count: files.len(), at: 0, images: Images::Files(files), drawn: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_datasets::read_image;
    use cm_host::npz::{Element, NpzWriter};
    use cm_image::write_png;
    use std::fs::File;

    fn npz(path: &Path, shape: &[usize], bytes: &[u8]) {
        let mut archive = NpzWriter::new(File::create(path).unwrap());
        let mut array = archive.array("arr_0", Element::U8, shape).unwrap();
        array.write(bytes).unwrap();
        array.finish().unwrap();
        archive.finish().unwrap();
    }

    fn png(path: &Path, height: usize, width: usize, level: u8) {
        let image = ImageBatch::from_fn(ImageShape::new(height, width, 1), 1, |_, v| v.fill(from_u8(level)));
        write_png(&image, File::create(path).unwrap()).unwrap();
    }

    fn all(stream: &mut ImageStream, batch: usize) -> Vec<f32> {
        let mut values = Vec::new();
        while let Some(images) = stream.next_batch(batch).unwrap() {
            values.extend(images.into_values());
        }
        values
    }

    #[test]
    fn an_npz_comes_in_batches() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let bytes: Vec<u8> = (0..5 * 12).collect();
        npz(&path, &[5, 2, 2, 3], &bytes);
        let source = ImageSource::parse(path.to_str().unwrap()).unwrap();
        assert_eq!(source, ImageSource::Npz(path.clone()));
        let mut stream = source.open(Some(3)).unwrap();
        assert_eq!((stream.count(), stream.shape()), (5, ImageShape::new(2, 2, 3)));
        let expected: Vec<f32> = bytes.iter().map(|&byte| from_u8(byte)).collect();
        assert_eq!(all(&mut stream, 2), expected);
        let mut later = source.open(None).unwrap();
        later.skip(3).unwrap();
        assert_eq!(all(&mut later, 2), expected[3 * 12..]);
        assert!(stream.next_batch(2).unwrap().is_none());
        npz(&path, &[3, 2, 2], &bytes[..12]);
        assert_eq!(source.open(None).unwrap().shape(), ImageShape::new(2, 2, 1));
        for (shape, part) in
            [(&[1, 3, 2, 2][..], "[1, 3, 2, 2]"), (&[0, 2, 2, 3], "no images"), (&[12], "[12]")]
        {
            npz(&path, shape, &bytes[..shape.iter().product()]);
            let error = source.open(None).err().unwrap();
            assert!(error.is_input() && error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_its_paths_and_one_size_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let source = ImageSource::parse(path.to_str().unwrap()).unwrap();
        let told = |source: &ImageSource| source.open(None).err().unwrap().to_string();
        assert!(told(&source).ends_with("the folder holds no PNG, JPEG or WebP files"));
        fs::create_dir(path.join("b")).unwrap();
        png(&path.join("b/1.png"), 2, 1, 20);
        png(&path.join("a.png"), 2, 1, 10);
        fs::write(path.join("notes.txt"), "no picture").unwrap();
        let mut stream = source.open(None).unwrap();
        assert_eq!((stream.count(), stream.shape()), (2, ImageShape::new(2, 1, 1)));
        assert_eq!(all(&mut stream, 9), [10, 10, 20, 20].map(from_u8));
        assert_eq!(source.open(Some(3)).unwrap().shape(), ImageShape::new(2, 1, 3));
        png(&path.join("c.png"), 3, 1, 0);
        let error = source.open(None).unwrap().next_batch(9).unwrap_err();
        assert!(error.to_string().contains("c.png: the image is 3x1x1, but the first one 2x1x1"), "{error}");
        fs::write(path.join("d.gif"), "a picture").unwrap();
        assert!(told(&source).contains("1 pictures are no PNG, JPEG or WebP files"), "{}", told(&source));
    }

    #[test]
    fn jpeg_files_are_what_they_are_in_a_data_set() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cm-datasets/tests/fixtures/jpeg");
        for name in ["colour.jpg", "grey.jpg"] {
            let file = folder.join(name);
            let mut stream = ImageSource::parse(file.to_str().unwrap()).unwrap().open(None).unwrap();
            let (shape, bytes) = read_image(&file, None).unwrap();
            assert_eq!((stream.count(), stream.shape()), (1, shape));
            assert_eq!(all(&mut stream, 1), bytes.into_iter().map(from_u8).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_data_set_has_its_parts() {
        let parse = |text: &str| ImageSource::parse(text);
        let train = parse("dataset:Digits()").unwrap().open(None).unwrap();
        let test = parse("dataset:Digits()@test").unwrap().open(None).unwrap();
        assert_eq!((train.count(), test.count(), test.shape()), (1500, 297, ImageShape::new(8, 8, 1)));
        assert!(parse("dataset:Digits()@all").unwrap_err().contains("no part `all`"));
        assert!(parse("dataset:Didgets()").unwrap_err().contains("Didgets"));
        assert!(parse("missing.npz").unwrap_err().contains("missing.npz"));
    }
}
