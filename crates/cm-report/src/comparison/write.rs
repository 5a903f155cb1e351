//! How a comparison is written: for the terminal, for LaTeX, for spreadsheets.

use super::{Extra, Part, label, summary};
use cm_evaluator::SetMetric;
use cm_experiment::table::{TableLine, number};
use cm_study::PublishedValue;

impl Part {
    fn published_of(&self, line: &TableLine, metric: &str) -> Option<&PublishedValue> {
        let found = self.published.iter().find(|(arm, name, value)| {
            line.is_of_an_arm() && (arm, name.as_str(), &value.sampler) == (&line.arm, metric, &line.sampler)
        });
        found.map(|(.., value)| value)
    }

    /// The table, head first. Beside a metric of which something was published stand that and the difference.
    pub(super) fn cells(&self) -> Vec<Vec<String>> {
        let compared = |metric: &String| self.published.iter().any(|(_, name, _)| name == metric);
        let mut head: Vec<String> =
            ["arm", "model", "sampler", "NFE", "samples", "seeds"].map(str::to_owned).to_vec();
        for metric in &self.metrics {
            head.push(metric.clone());
            if compared(metric) {
                head.extend([format!("{metric} published"), "difference".to_owned()]);
            }
        }
        head.extend(["operations", "seconds"].map(str::to_owned));
        let mut table = vec![head];
        for (line, Extra { evaluated, cost, .. }) in &self.lines {
            let seeds = line.values.iter().map(Vec::len).max().unwrap_or(0);
            let mut cells = vec![line.arm.clone(), line.model.clone(), line.sampler.clone()];
            let samples = match (line.samples, evaluated) {
                (0, None) => "-".to_owned(),
                (0, Some(evaluated)) => evaluated.to_string(),
                (samples, Some(evaluated)) if samples != *evaluated => {
                    format!("{samples}; {evaluated} (Inception)")
                }
                (samples, _) => samples.to_string(),
            };
            cells.extend([line.nfe.to_string(), samples, seeds.to_string()]);
            for (metric, values) in self.metrics.iter().zip(&line.values) {
                let summary = summary(values);
                cells.push(summary.map_or("-".to_owned(), |(mean, error)| with_error(mean, error)));
                if compared(metric) {
                    let published = self.published_of(line, metric);
                    cells.push(published.map_or("-".to_owned(), |published| published.value.to_string()));
                    let difference = summary.zip(published).map(|((mean, _), published)| {
                        let difference = mean - published.value;
                        let within = difference.abs() <= published.tolerance;
                        let place = if within { "within" } else { "outside" };
                        let sign = if difference < 0.0 { "" } else { "+" };
                        format!("{sign}{} ({place} {})", number(difference, mean), published.tolerance)
                    });
                    cells.push(difference.unwrap_or_else(|| "-".to_owned()));
                }
            }
            cells.push(cost.operations.map_or("-".to_owned(), |operations| format!("{operations:.2e}")));
            cells.push(cost.seconds.map_or("-".to_owned(), |seconds| number(seconds, seconds)));
            table.push(cells);
        }
        table
    }

    pub(super) fn latex(&self) -> String {
        let cells = self.cells();
        let columns: String = (0..cells[0].len()).map(|column| if column < 3 { 'l' } else { 'r' }).collect();
        let mut text = format!("% {}\n\\begin{{tabular}}{{{columns}}}\n\\hline\n", self.title);
        for (place, row) in cells.iter().enumerate() {
            let row: Vec<String> = row.iter().map(|cell| escaped(cell)).collect();
            text += &format!("{} \\\\\n", row.join(" & "));
            if place == 0 {
                text += "\\hline\n";
            }
        }
        text + "\\hline\n\\end{tabular}\n"
    }
}

fn with_error(mean: f64, error: Option<f64>) -> String {
    let own = number(mean, mean);
    error.map_or(own.clone(), |error| format!("{own} ± {}", number(error, mean)))
}

/// A text with what LaTeX has for its own purposes.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', letter]),
            '±' => out += "$\\pm$",
            '\\' => out += "\\textbackslash{}",
            '~' => out += "\\textasciitilde{}",
            '^' => out += "\\textasciicircum{}",
            letter => out.push(letter),
        }
    }
    out
}

/// A line for each number.
pub(super) fn csv(parts: &[Part]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let head = "study,arm,model,sampler,nfe,samples,metric,mean,standard_error,seeds,published,tolerance,difference,source,operations,seconds";
    let write = |writer: &mut csv::Writer<Vec<u8>>, row: &[String]| {
        writer.write_record(row).expect("memory does not fail");
    };
    write(&mut writer, &head.split(',').map(str::to_owned).collect::<Vec<_>>());
    for part in parts {
        for (line, Extra { evaluated, cost, .. }) in &part.lines {
            for (metric, values) in part.metrics.iter().zip(&line.values) {
                let published = part.published_of(line, metric);
                let summary = summary(values);
                if summary.is_none() && published.is_none() {
                    continue;
                }
                let text = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
                let mean = summary.map(|(mean, _)| mean);
                write(
                    &mut writer,
                    &[
                        part.name.clone(),
                        line.arm.clone(),
                        line.model.clone(),
                        line.sampler.clone(),
                        line.nfe.to_string(),
                        samples_of(part, line, *evaluated, metric),
                        metric.clone(),
                        text(mean),
                        text(summary.and_then(|(_, error)| error)),
                        values.len().to_string(),
                        text(published.map(|published| published.value)),
                        text(published.map(|published| published.tolerance)),
                        text(mean.zip(published).map(|(mean, published)| mean - published.value)),
                        published.map(|published| published.source.clone()).unwrap_or_default(),
                        text(cost.operations),
                        text(cost.seconds),
                    ],
                );
            }
        }
    }
    let bytes = writer.into_inner().expect("memory does not fail");
    String::from_utf8(bytes).expect("made of texts and numbers")
}

/// The number of images of which a metric of a line was computed; nothing if it is not known.
fn samples_of(part: &Part, line: &TableLine, evaluated: Option<usize>, metric: &str) -> String {
    let by_inception = SetMetric::ALL.into_iter().any(|known| label(known) == metric);
    let own = part.rows.iter().any(|row| row.stem() == metric);
    if by_inception && !own {
        evaluated.map(|evaluated| evaluated.to_string()).unwrap_or_default()
    } else {
        line.samples.to_string()
    }
}
