//! Parquet files as the Hugging Face Hub holds data sets: a column of PNG, JPEG or WebP files, perhaps one of labels.

use super::folder::AT_A_TIME;
use super::image_file::{ImageFiles, MAX_FILE};
use super::walk::walk;
use super::{About, Intake, LabelRule, MAX_CLASSES, Parts, Record, SourceConfig, label};
use crate::{DatasetError, Split};
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{FileMetaData, RowGroupMetaData};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Columns of images and of labels by the names that data sets on the Hub have for them, in the order of preference.
const IMAGES: [&str; 2] = ["image", "img"];
const LABELS: [&str; 4] = ["label", "labels", "fine_label", "cls"];
/// Bytes that a column of a row group may unpack to: a row group has some hundreds of images.
const MAX_COLUMN: i64 = 1 << 31;

/// Reads one file, or all files of a folder in the order of their names: `train-00000-of-00005.parquet` or
/// `train/0000.parquet`, and likewise `test` or `validation`.
pub(super) fn read(config: &SourceConfig, intake: &mut Intake<'_>) -> Result<About, DatasetError> {
    let parts = parts(&config.path)?;
    let alone = !parts.iter().any(|(part, _)| *part == Split::Test);
    let mut tables = Vec::new();
    for (part, path) in parts {
        tables.push((part, Table::open(path, config.labels)?));
    }
    let names = tables.iter().find_map(|(_, table)| table.names.clone()).unwrap_or_default();
    let count = tables.iter().map(|(_, table)| table.rows).sum();
    intake.begin(if alone { Parts::One(count) } else { Parts::TrainAndTest }, config.path.display())?;
    let mut images = ImageFiles::new(config);
    for (part, table) in &tables {
        table.read(*part, &mut images, names.len(), intake)?;
    }
    Ok(About { classes: names, notes: images.notes() })
}

/// The files of each part, training first.
fn parts(root: &Path) -> Result<Vec<(Split, PathBuf)>, DatasetError> {
    if !root.is_dir() {
        return Ok(vec![(Split::Train, root.to_owned())]);
    }
    let paths = walk(root, &|name| name.ends_with(".parquet"))?;
    if paths.is_empty() {
        return Err(DatasetError::file(root.display(), "it holds no .parquet files"));
    }
    let of = |part: &str| -> Vec<PathBuf> {
        let is_of = |path: &&PathBuf| {
            let inner = path.strip_prefix(root).unwrap_or(path).to_string_lossy().to_lowercase();
            inner.split(['/', '\\']).any(|name| {
                name.strip_prefix(part)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', '_']))
            })
        };
        paths.iter().filter(is_of).cloned().collect()
    };
    let train = of("train");
    let test = ["test", "validation", "valid", "val"].into_iter().map(of).find(|paths| !paths.is_empty());
    let part = |paths: Vec<PathBuf>, split| paths.into_iter().map(move |path| (split, path));
    Ok(match (train.is_empty(), test) {
        (false, Some(test)) => part(train, Split::Train).chain(part(test, Split::Test)).collect(),
        (false, None) => part(train, Split::Train).collect(),
        (true, _) => part(paths, Split::Train).collect(),
    })
}

/// One file, with its columns found.
struct Table {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    /// The size of the file.
    bytes: u64,
    rows: usize,
    images: usize,
    labels: Option<usize>,
    /// What the Hub calls the classes.
    names: Option<Vec<String>>,
}

impl Table {
    fn open(path: PathBuf, rule: LabelRule) -> Result<Self, DatasetError> {
        let fail = |what: String| DatasetError::file(path.display(), what);
        let file = File::open(&path).map_err(|error| fail(error.to_string()))?;
        let bytes = file.metadata().map_err(|error| fail(error.to_string()))?.len();
        let reader = SerializedFileReader::new(file)
            .map_err(|error| fail(format!("no Parquet file that can be read: {error}")))?;
        let about = reader.metadata().file_metadata();
        let columns = about.schema_descr().columns();
        let find = |name: &str, types: &[Type]| {
            columns.iter().position(|column| {
                column.path().string() == name
                    && types.contains(&column.physical_type())
                    && column.max_rep_level() == 0
            })
        };
        let images = IMAGES.iter().find_map(|name| {
            let bytes = [Type::BYTE_ARRAY];
            find(&format!("{name}.bytes"), &bytes).or_else(|| find(name, &bytes))
        });
        let there = || columns.iter().map(|column| column.path().string()).collect::<Vec<_>>().join(", ");
        let images = images.ok_or_else(|| {
            fail(format!("no column of image files is called image or img; there are {}", there()))
        })?;
        let labels = match rule {
            LabelRule::Nowhere => None,
            LabelRule::Folders | LabelRule::Prefixes => {
                LABELS.iter().find_map(|name| find(name, &[Type::INT32, Type::INT64]))
            }
        };
        let rows = usize::try_from(about.num_rows()).map_err(|_| fail("a negative number of rows".into()))?;
        let names = labels.and_then(|at| names(about, &columns[at].path().string()));
        Ok(Self { path, reader, bytes, rows, images, labels, names })
    }

    /// Hands all images over; `classes`: their number if they have names, or 0.
    fn read(
        &self,
        part: Split,
        decoder: &mut ImageFiles,
        classes: usize,
        intake: &mut Intake<'_>,
    ) -> Result<(), DatasetError> {
        let classes = if classes == 0 { MAX_CLASSES } else { classes as u32 };
        let mut row = 0;
        for group in 0..self.reader.num_row_groups() {
            let fail =
                |what: String| DatasetError::file(self.path.display(), format!("row group {group}: {what}"));
            let open = self.reader.get_row_group(group).map_err(|error| fail(error.to_string()))?;
            check_sizes(open.metadata(), self.bytes).map_err(fail)?;
            let mut images = Column::<ByteArrayType>::open(&*open, self.images).map_err(fail)?;
            let mut labels = Labels::open(&*open, self.labels).map_err(fail)?;
            let rows =
                usize::try_from(open.metadata().num_rows()).map_err(|error| fail(error.to_string()))?;
            for first in (0..rows).step_by(AT_A_TIME) {
                let count = AT_A_TIME.min(rows - first);
                let place = |index: usize| format!("{}: row {}", self.path.display(), row + index);
                let at = |(index, what): (usize, String)| DatasetError::file(place(index), what);
                let files = images.next(count).map_err(at)?;
                let numbers = labels.next(count).map_err(at)?;
                if let Some(index) = files.iter().position(|file| file.len() as u64 > MAX_FILE) {
                    return Err(at((index, format!("a file of more than {MAX_FILE} bytes"))));
                }
                let files: Vec<&[u8]> = files.iter().map(ByteArray::data).collect();
                for (index, image) in decoder.decode_all(&files).into_iter().enumerate() {
                    let image = image.map_err(|what| at((index, what)))?;
                    let number = numbers.as_ref().map(|numbers| numbers[index]);
                    let label =
                        number.map(|number| label(number, 0, classes, || place(index))).transpose()?;
                    let record = Record { shape: image.shape, pixels: &image.values, label };
                    intake.image(part, &record, || place(index))?;
                }
                row += count;
            }
        }
        if row == self.rows {
            Ok(())
        } else {
            let what = format!("its row groups have {row} rows, and it announces {}", self.rows);
            Err(DatasetError::file(self.path.display(), what))
        }
    }
}

/// What a row group announces must lie in the file and fit into memory; the library takes the first for granted.
fn check_sizes(group: &RowGroupMetaData, file: u64) -> Result<(), String> {
    for column in group.columns() {
        let (path, unpacked) = (column.column_path().string(), column.uncompressed_size());
        if !(0..=MAX_COLUMN).contains(&unpacked) {
            return Err(format!("column {path} unpacks to {unpacked} bytes; at most {MAX_COLUMN} are read"));
        }
        let begin = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let (begin, length) = (u64::try_from(begin), u64::try_from(column.compressed_size()));
        let end = begin.ok().zip(length.ok()).and_then(|(begin, length)| begin.checked_add(length));
        if end.is_none_or(|end| end > file) {
            return Err(format!("column {path} does not lie in the file"));
        }
    }
    Ok(())
}

/// A column of a row group, read some rows at a time.
struct Column<T: DataType> {
    reader: ColumnReaderImpl<T>,
    /// The definition level of a value that is there.
    there: i16,
}

impl<T: DataType> Column<T> {
    fn open(group: &dyn RowGroupReader, at: usize) -> Result<Self, String> {
        let column = group.metadata().column(at).column_descr_ptr();
        let there = column.max_def_level();
        let pages = group.get_column_page_reader(at).map_err(|error| error.to_string())?;
        let pages = Box::new(CheckedPages { pages, dictionary: false });
        Ok(Self { reader: ColumnReaderImpl::new(column, pages), there })
    }

    /// The values of the next `count` rows, or which of these has none, and why.
    fn next(&mut self, count: usize) -> Result<Vec<T::T>, (usize, String)> {
        let (mut values, mut levels) = (Vec::with_capacity(count), Vec::with_capacity(count));
        while values.len() < count {
            let before = values.len();
            let wanted = count - before;
            let read = self.reader.read_records(wanted, Some(&mut levels), None, &mut values);
            read.map_err(|error| (before, error.to_string()))?;
            if let Some(missing) = levels.iter().position(|&level| level != self.there) {
                return Err((missing, "it has no value".into()));
            }
            if values.len() == before {
                return Err((before, "it is cut off".into()));
            }
        }
        Ok(values)
    }
}

/// The pages of a column, of which none needs a dictionary that did not come before it: the library takes that for
/// granted.
struct CheckedPages {
    pages: Box<dyn PageReader>,
    /// Whether there was one.
    dictionary: bool,
}

impl Iterator for CheckedPages {
    type Item = parquet::errors::Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> parquet::errors::Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        match &page {
            Some(Page::DictionaryPage { .. }) => self.dictionary = true,
            Some(page) => {
                let encoded =
                    matches!(page.encoding(), Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY);
                if encoded && !self.dictionary {
                    return Err(ParquetError::General("a page without its dictionary".into()));
                }
            }
            None => {}
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> parquet::errors::Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> parquet::errors::Result<()> {
        self.pages.skip_next_page()
    }
}

/// The labels of a row group.
enum Labels {
    None,
    Int32(Column<Int32Type>),
    Int64(Column<Int64Type>),
}

impl Labels {
    fn open(group: &dyn RowGroupReader, at: Option<usize>) -> Result<Self, String> {
        let Some(at) = at else { return Ok(Self::None) };
        match group.metadata().column(at).column_descr().physical_type() {
            Type::INT32 => Column::open(group, at).map(Self::Int32),
            _ => Column::open(group, at).map(Self::Int64),
        }
    }

    fn next(&mut self, count: usize) -> Result<Option<Vec<i64>>, (usize, String)> {
        match self {
            Self::None => Ok(None),
            Self::Int32(column) => {
                column.next(count).map(|values| Some(values.into_iter().map(i64::from).collect()))
            }
            Self::Int64(column) => column.next(count).map(Some),
        }
    }
}

/// What the Hub's own entry says of the columns.
#[derive(Deserialize)]
struct HubEntry {
    info: HubInfo,
}

#[derive(Deserialize)]
struct HubInfo {
    features: HashMap<String, serde_json::Value>,
}

/// The names of a column's classes, if the file says them; whatever is odd there is no names.
fn names(about: &FileMetaData, column: &str) -> Option<Vec<String>> {
    let entries = about.key_value_metadata()?;
    let text = entries.iter().find(|entry| entry.key == "huggingface")?.value.as_deref()?;
    let entry: HubEntry = serde_json::from_str(text).ok()?;
    let names = entry.info.features.get(column)?.get("names")?.clone();
    serde_json::from_value(names).ok().filter(|names: &Vec<String>| names.len() <= MAX_CLASSES as usize)
}
