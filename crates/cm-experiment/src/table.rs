//! The result of a study: one line per number as CSV, and arms x samplers against metrics as a table to read.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The first line of every `report.csv` and `scores.csv`.
pub const REPORT_HEADER: &str = "arm,seed,model,sampler,nfe,metric,value,samples";

/// One number of a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportRow {
    /// The arm's name.
    pub arm: String,
    /// The plan's seed.
    pub seed: u64,
    /// What was judged: `floor` (training against test images), `teacher`, `student`, `student-ema-0.99`, ...
    pub model: String,
    /// How it was sampled, such as `one-step`; `-` for the floor.
    pub sampler: String,
    /// Network evaluations for each image; 0 for the floor.
    pub nfe: usize,
    /// The metric with its number of samples, such as `frechet-1000`.
    pub metric: String,
    /// Its value.
    pub value: f64,
    /// Images it was computed from.
    pub samples: usize,
}

/// Why a report cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("not a report: {0}")]
pub struct ReportError(#[from] csv::Error);

/// The rows as CSV, with [`REPORT_HEADER`].
pub fn to_csv(rows: &[ReportRow]) -> String {
    let mut writer =
        csv::WriterBuilder::new().has_headers(false).from_writer(format!("{REPORT_HEADER}\n").into_bytes());
    for row in rows {
        writer.serialize(row).expect("a row has no nested fields and memory does not fail");
    }
    let bytes = writer.into_inner().expect("memory does not fail");
    String::from_utf8(bytes).expect("made of texts and numbers")
}

/// The rows of [`to_csv`].
///
/// # Errors
/// [`ReportError`] if the text is something else.
pub fn from_csv(text: &str) -> Result<Vec<ReportRow>, ReportError> {
    Ok(csv::Reader::from_reader(text.as_bytes()).deserialize().collect::<Result<_, _>>()?)
}

/// What a line of the table stands for: arm, model, sampler, evaluations, samples.
type Line = (String, String, String, usize, usize);

impl ReportRow {
    fn line(&self) -> Line {
        (self.arm.clone(), self.model.clone(), self.sampler.clone(), self.nfe, self.samples)
    }

    /// What TensorBoard calls it: `score/student/one-step/frechet-1000`.
    pub(crate) fn score_tag(&self) -> String {
        format!("score/{}/{}/{}", self.model, self.sampler, self.metric)
    }

    /// The metric's name without the number of samples, which has a column of its own in the table.
    pub fn stem(&self) -> &str {
        self.metric.strip_suffix(&format!("-{}", self.samples)).unwrap_or(&self.metric)
    }
}

/// One line of a study's table: a way of sampling a model, with the values over seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct TableLine {
    /// The arm, or `-` for a floor or teacher that several arms have in common.
    pub arm: String,
    /// What was judged.
    pub model: String,
    /// How it was sampled.
    pub sampler: String,
    /// Network evaluations for each image.
    pub nfe: usize,
    /// Images drawn.
    pub samples: usize,
    /// For each metric of the table one value a seed; empty if it was not measured.
    pub values: Vec<Vec<f64>>,
}

impl TableLine {
    /// One text for each metric: mean and spread, or `-`.
    pub fn cells(&self) -> Vec<String> {
        self.values.iter().map(|v| if v.is_empty() { "-".to_owned() } else { cell(v) }).collect()
    }

    /// Whether it belongs to one arm and not to all.
    pub fn is_of_an_arm(&self) -> bool {
        self.model != "floor" && self.model != "teacher"
    }
}

/// The table of a study.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The metrics without their numbers of samples, in the order of their appearance.
    pub metrics: Vec<String>,
    /// Floor and teacher first, then the arms in their order. Lines of the floor or a teacher that several arms have
    /// in common appear once.
    pub lines: Vec<TableLine>,
}

impl Table {
    /// The table of these rows.
    pub fn new(rows: &[ReportRow]) -> Self {
        let mut metrics: Vec<&str> = Vec::new();
        let mut keys: Vec<Line> = Vec::new();
        let mut values: BTreeMap<(Line, &str), Vec<f64>> = BTreeMap::new();
        for row in rows {
            if !metrics.contains(&row.stem()) {
                metrics.push(row.stem());
            }
            if !keys.contains(&row.line()) {
                keys.push(row.line());
            }
            values.entry((row.line(), row.stem())).or_default().push(row.value);
        }
        // Stable: within each rank the order of appearance stays.
        keys.sort_by_key(|(_, model, ..)| match model.as_str() {
            "floor" => 0,
            "teacher" => 1,
            _ => 2,
        });
        let mut lines: Vec<TableLine> = Vec::new();
        for key in keys {
            let of_metric = |&metric: &&str| values.get(&(key.clone(), metric)).cloned().unwrap_or_default();
            let values = metrics.iter().map(of_metric).collect();
            let (arm, model, sampler, nfe, samples) = key.clone();
            let line = TableLine { arm, model, sampler, nfe, samples, values };
            let looks = |line: &TableLine| {
                (line.model.clone(), line.sampler.clone(), line.nfe, line.samples, line.cells())
            };
            let common = |other: &&mut TableLine| !line.is_of_an_arm() && looks(other) == looks(&line);
            match lines.iter_mut().find(common) {
                Some(other) => "-".clone_into(&mut other.arm),
                None => lines.push(line),
            }
        }
        Self { metrics: metrics.into_iter().map(str::to_owned).collect(), lines }
    }
}

/// The table of a study: one column for each metric, holding the mean over seeds and, if there are several, the sample
/// standard deviation. Valid Markdown, and aligned for the terminal.
pub fn markdown(rows: &[ReportRow]) -> String {
    let Table { metrics, lines } = Table::new(rows);
    let mut table = vec![["arm", "model", "sampler", "NFE", "samples"].map(str::to_owned).to_vec()];
    table[0].extend(metrics);
    for line in lines {
        let mut cells = vec![line.arm.clone(), line.model.clone(), line.sampler.clone()];
        cells.extend([line.nfe.to_string(), line.samples.to_string()]);
        cells.extend(line.cells());
        table.push(cells);
    }
    align(&table, 3)
}

/// Mean, and spread if there are several values, to four significant digits.
fn cell(values: &[f64]) -> String {
    let (mean, spread) = mean_and_spread(values);
    match spread {
        None => number(mean, mean),
        Some(spread) => format!("{} ± {}", number(mean, mean), number(spread, mean)),
    }
}

/// The mean of at least one value, and of several the sample standard deviation.
pub fn mean_and_spread(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()))
}

/// `value` with as many decimals as give `scale` four significant digits.
pub fn number(value: f64, scale: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let magnitude = if scale == 0.0 || !scale.is_finite() { 0 } else { scale.abs().log10().floor() as i32 };
    if !(-5..7).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    format!("{value:.*}", (3 - magnitude).max(0) as usize)
}

/// Pads every column to its widest cell: the first `names` columns to the left, numbers to the right.
pub fn align(table: &[Vec<String>], names: usize) -> String {
    let widths: Vec<usize> = (0..table[0].len())
        .map(|column| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3))
        .collect();
    let mut text = String::new();
    for (index, row) in table.iter().enumerate() {
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            text += &if column < names { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") };
        }
        text += "|\n";
        if index == 0 {
            for (column, &width) in widths.iter().enumerate() {
                text += &if column < names {
                    format!("|:{:-<width$}-", "")
                } else {
                    format!("|-{:-<width$}:", "")
                };
            }
            text += "|\n";
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(arm: &str, seed: u64, model: &str, sampler: &str, metric: &str, value: f64) -> ReportRow {
        let nfe = if model == "floor" { 0 } else { 1 };
        ReportRow {
            arm: arm.into(),
            seed,
            model: model.into(),
            sampler: sampler.into(),
            nfe,
            metric: metric.into(),
            value,
            samples: 1000,
        }
    }

    #[test]
    fn csv_is_read_back_and_has_the_agreed_header() {
        let rows = [
            row("a, \"b\"", 3, "student", "one-step", "frechet-1000", 0.1),
            row("b", 4, "floor", "-", "kid", -1e-17),
        ];
        let text = to_csv(&rows);
        assert!(text.starts_with("arm,seed,model,sampler,nfe,metric,value,samples\n"));
        assert_eq!(from_csv(&text).unwrap(), rows);
        assert_eq!(to_csv(&[]), format!("{REPORT_HEADER}\n"));
        assert!(from_csv("x,y\n1,2\n").is_err());
    }

    #[test]
    fn the_table_has_floor_and_teacher_first_and_spreads_over_seeds() {
        let mut rows = Vec::new();
        for arm in ["l1", "l2"] {
            for (seed, value) in [(0, 1.0), (1, 3.0)] {
                rows.push(row(arm, seed, "student", "one-step", "frechet-1000", value));
                rows.push(row(arm, seed, "teacher", "heun-18", "frechet-1000", 0.171));
                rows.push(row(arm, seed, "floor", "-", "frechet-1000", 0.39));
            }
        }
        rows.push(row("l2", 0, "student", "one-step", "recognised-1000", 0.911));
        let expected = "\
| arm | model   | sampler  | NFE | samples |         frechet | recognised |
|:----|:--------|:---------|----:|--------:|----------------:|-----------:|
| -   | floor   | -        |   0 |    1000 | 0.3900 ± 0.0000 |          - |
| -   | teacher | heun-18  |   1 |    1000 | 0.1710 ± 0.0000 |          - |
| l1  | student | one-step |   1 |    1000 |   2.000 ± 1.414 |          - |
| l2  | student | one-step |   1 |    1000 |   2.000 ± 1.414 |     0.9110 |
";
        assert_eq!(markdown(&rows), expected);
    }

    #[test]
    fn numbers_have_four_significant_digits() {
        let shown =
            [0.0, 0.00123456, 12.3456, 123_456.7, 1e-9, 2e12, f64::NAN].map(|value| number(value, value));
        assert_eq!(shown, ["0.000", "0.001235", "12.35", "123457", "1.000e-9", "2.000e12", "NaN"]);
    }
}
