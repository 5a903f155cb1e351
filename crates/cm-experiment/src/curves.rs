//! The curves of a run as they are read back from `curves.csv`, which `journal.rs` writes.

use crate::sealed::SealedFolder;
use cm_host::FileError;
use serde::Deserialize;
use std::collections::HashMap;

/// A named number over images.
#[derive(Debug, PartialEq)]
pub struct Curve {
    /// Its name, such as `student/loss`.
    pub name: String,
    /// Images seen and value; may hold infinities and NaN.
    pub points: Vec<(f64, f64)>,
}

#[derive(Deserialize)]
struct Row<'a> {
    step: u64,
    images: u64,
    name: &'a str,
    value: f64,
}

impl SealedFolder {
    /// The curves of a folder that was trained in, in the order in which they were begun, and the images of a step, as
    /// far as there are any. A last line without its end, of a run that goes on, is left out.
    ///
    /// # Errors
    /// As [`text`](Self::text), and [`FileError::Damaged`] if it is no such table.
    pub fn curves(&self) -> Result<(Vec<Curve>, Option<f64>), FileError> {
        let file = "curves.csv";
        let Some(text) = self.text(file)? else { return Ok((Vec::new(), None)) };
        from_csv(&text).map_err(|error| self.damaged(file, error.to_string()))
    }
}

fn from_csv(text: &str) -> Result<(Vec<Curve>, Option<f64>), csv::Error> {
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let mut reader = csv::Reader::from_reader(whole.as_bytes());
    let headers = reader.headers()?.clone();
    let mut curves: Vec<Curve> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut batch = None;
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record)? {
        let Row { step, images, name, value } = record.deserialize(Some(&headers))?;
        batch = (step > 0).then(|| images as f64 / step as f64).or(batch);
        let place = *places.entry(name.to_owned()).or_insert_with(|| {
            curves.push(Curve { name: name.to_owned(), points: Vec::new() });
            curves.len() - 1
        });
        curves[place].points.push((images as f64, value));
    }
    Ok((curves, batch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_told_apart_and_a_torn_line_is_left_out() {
        let text = "step,images,name,value\n1,32,a,0.5\n1,32,b,inf\n2,64,a,NaN\n2,64,b,1e-3\n3,96,a,0.";
        let (curves, batch) = from_csv(text).unwrap();
        assert_eq!(batch, Some(32.0));
        assert_eq!((curves[0].name.as_str(), curves[1].name.as_str()), ("a", "b"));
        assert_eq!(curves[1].points, [(32.0, f64::INFINITY), (64.0, 1e-3)]);
        assert_eq!((curves[0].points.len(), curves[0].points[0]), (2, (32.0, 0.5)));
        assert!(
            from_csv("step,images,name,value\n1,32,a,rubbish\n").unwrap_err().to_string().contains("line: 2")
        );
    }
}
