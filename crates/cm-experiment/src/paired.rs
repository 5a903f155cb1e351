//! Arms and samplers compared seed by seed: what changing one thing does, beyond what the seed does.
//!
//! Runs of one seed share the weights they begin with, the noise and the order of the images, so that much of what a
//! seed does cancels in their difference.

use crate::table::{ReportRow, align, number};
use std::collections::BTreeMap;

/// What a line of the table stands for: arm, model, sampler, evaluations.
type Line<'a> = (&'a str, &'a str, &'a str, usize);

/// Differences of some lines from others: mean and standard error of the mean over the seeds that both have.
pub struct Differences {
    /// What the table is, for people.
    pub what: String,
    /// Its cells, head first: arm, model, sampler, number of pairs, and a column for each metric.
    pub table: Vec<Vec<String>>,
}

/// The tables of [`differences`] as text, each with a line that says what it is; nothing if there are none.
pub fn differences_text(rows: &[ReportRow]) -> Option<String> {
    let texts: Vec<String> = (differences(rows).iter())
        .map(|Differences { what, table }| format!("{what}\n\n{}", align(table, 3)))
        .collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

/// What the seeds of a study tell about its differences: of every other arm from the first, each sampler compared with
/// its own kind or, where the first arm has none, with one of as many evaluations; and of every further sampler of a
/// model from its first. A table without a line that shares two seeds with another is left out.
pub fn differences(rows: &[ReportRow]) -> Vec<Differences> {
    let values = Values::of(rows);
    let Some(&(first, ..)) = values.lines.first() else { return Vec::new() };
    let of_first_arm = |&(arm, model, sampler, nfe): &Line| {
        let of_first = || values.lines.iter().filter(|line| (line.0, line.1) == (first, model));
        let same = of_first().find(|line| line.2 == sampler);
        same.or_else(|| of_first().find(|line| line.3 == nfe)).filter(|_| arm != first).copied()
    };
    let first_sampler = |line: &Line| {
        let base = values.lines.iter().find(|other| (other.0, other.1) == (line.0, line.1));
        base.filter(|base| *base != line).copied()
    };
    let tables = [
        (
            format!("Differences from {first}, seed by seed: mean and standard error."),
            values.table(of_first_arm),
        ),
        (
            "Differences of further samplers from a model's first, seed by seed: mean and standard error."
                .into(),
            values.table(first_sampler),
        ),
    ];
    (tables.into_iter())
        .filter(|(_, table)| table.len() > 1)
        .map(|(what, table)| Differences { what, table })
        .collect()
}

/// The numbers of the arms.
struct Values<'a> {
    metrics: Vec<&'a str>,
    lines: Vec<Line<'a>>,
    values: BTreeMap<(Line<'a>, &'a str, u64), f64>,
}

impl<'a> Values<'a> {
    fn of(rows: &'a [ReportRow]) -> Self {
        let mut all = Self { metrics: Vec::new(), lines: Vec::new(), values: BTreeMap::new() };
        for row in rows.iter().filter(|row| is_of_an_arm(row)) {
            let line = (row.arm.as_str(), row.model.as_str(), row.sampler.as_str(), row.nfe);
            if !all.lines.contains(&line) {
                all.lines.push(line);
            }
            if !all.metrics.contains(&row.stem()) {
                all.metrics.push(row.stem());
            }
            all.values.insert((line, row.stem(), row.seed), row.value);
        }
        all
    }

    /// The differences of each line from its base, if it has one.
    fn table(&self, base: impl Fn(&Line<'a>) -> Option<Line<'a>>) -> Vec<Vec<String>> {
        let mut table = vec![["arm", "model", "sampler", "pairs"].map(str::to_owned).to_vec()];
        table[0].extend(self.metrics.iter().map(|&metric| metric.to_owned()));
        for &line in &self.lines {
            let Some(base) = base(&line) else { continue };
            let differences: Vec<Vec<f64>> =
                self.metrics.iter().map(|metric| self.differences(line, base, metric)).collect();
            let pairs = differences.iter().map(Vec::len).max().unwrap_or(0);
            if pairs >= 2 {
                let mut cells = [line.0, line.1, line.2].map(str::to_owned).to_vec();
                cells.push(pairs.to_string());
                cells.extend(differences.iter().map(|differences| cell(differences)));
                table.push(cells);
            }
        }
        table
    }

    fn differences(&self, line: Line<'a>, base: Line<'a>, metric: &'a str) -> Vec<f64> {
        let own = self.values.iter().filter(|((of, name, _), _)| (*of, *name) == (line, metric));
        own.filter_map(|((.., seed), value)| Some(value - self.values.get(&(base, metric, *seed))?)).collect()
    }
}

/// Whether a row belongs to one arm and not to all.
fn is_of_an_arm(row: &ReportRow) -> bool {
    row.model != "floor" && row.model != "teacher"
}

/// Mean and standard error of at least two differences.
fn cell(differences: &[f64]) -> String {
    let n = differences.len() as f64;
    if differences.len() < 2 {
        return "-".to_owned();
    }
    let mean = differences.iter().sum::<f64>() / n;
    let squares: f64 = differences.iter().map(|difference| (difference - mean).powi(2)).sum();
    let error = (squares / (n * (n - 1.0))).sqrt();
    let scale = mean.abs().max(error);
    format!("{} ± {}", number(mean, scale), number(error, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(arm: &str, seed: u64, model: &str, metric: &str, value: f64) -> ReportRow {
        let (arm, model, metric) = (arm.to_owned(), model.to_owned(), metric.to_owned());
        ReportRow { arm, seed, model, sampler: "one-step".to_owned(), nfe: 1, metric, value, samples: 1000 }
    }

    #[test]
    fn a_common_shift_of_both_arms_does_not_count() {
        // Seeds differ by tens, the arms by 1, 2 and 3: mean 2, standard deviation 1, standard error 1 / sqrt(3).
        let mut rows = Vec::new();
        for (seed, base, difference) in [(4, 10.0, 1.0), (5, 30.0, 2.0), (6, 70.0, 3.0)] {
            rows.push(row("a", seed, "floor", "frechet-1000", 0.5));
            rows.push(row("a", seed, "student", "frechet-1000", base));
            rows.push(row("b", seed, "student", "frechet-1000", base + difference));
        }
        // Only one seed of the first arm has this metric: no pair of pairs.
        rows.push(row("a", 4, "student", "recognised-1000", 0.9));
        rows.push(row("b", 4, "student", "recognised-1000", 0.8));
        let expected = "\
Differences from a, seed by seed: mean and standard error.

| arm | model   | sampler  | pairs |       frechet | recognised |
|:----|:--------|:---------|------:|--------------:|-----------:|
| b   | student | one-step |     3 | 2.000 ± 0.577 |          - |
";
        let told = differences_text(&rows).unwrap();
        assert_eq!(told, expected);
    }

    #[test]
    fn another_sampler_of_as_many_evaluations_is_compared() {
        let of = |arm: &str, seed: u64, sampler: &str, nfe: usize, value: f64| ReportRow {
            sampler: sampler.to_owned(),
            nfe,
            ..row(arm, seed, "student", "kid", value)
        };
        let rows: Vec<ReportRow> = (0..2)
            .flat_map(|seed| {
                [
                    of("cd", seed, "multistep", 2, 5.0),
                    of("cd", seed, "one-step", 1, 7.0),
                    of("pd", seed, "jumps-1", 1, 10.0),
                    of("pd", seed, "jumps-4", 4, 9.0),
                ]
            })
            .collect();
        let told = differences_text(&rows).unwrap();
        assert!(told.contains("| pd  | student | jumps-1 |     2 | 3.000 ± 0.000 |"), "{told}");
        let (of_arms, of_samplers) = told.split_once("Differences of further samplers").unwrap();
        assert!(!of_arms.contains("jumps-4"), "{told}");
        // Each further sampler against its own model's first.
        assert!(of_samplers.contains("| cd  | student | one-step |     2 |  2.000 ± 0.000 |"), "{told}");
        assert!(of_samplers.contains("| pd  | student | jumps-4  |     2 | -1.000 ± 0.000 |"), "{told}");
    }

    #[test]
    fn one_seed_or_one_arm_has_no_differences() {
        let one_seed = [row("a", 0, "student", "kid", 1.0), row("b", 0, "student", "kid", 2.0)];
        assert_eq!(differences_text(&one_seed), None);
        let one_arm = [row("a", 0, "student", "kid", 1.0), row("a", 1, "student", "kid", 2.0)];
        assert_eq!(differences_text(&one_arm), None);
        let other_seeds = [row("a", 0, "student", "kid", 1.0), row("b", 1, "student", "kid", 2.0)];
        assert_eq!(differences_text(&other_seeds), None);
        assert_eq!(differences_text(&[]), None);
    }
}
