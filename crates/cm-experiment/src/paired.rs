//! Arms compared seed by seed: what changing one thing does, beyond what the seed does.

use crate::table::{ReportRow, align, number};
use std::collections::BTreeMap;

/// What a line of the table stands for: arm, model, sampler, evaluations.
type Line<'a> = (&'a str, &'a str, &'a str, usize);

/// Differences of every other arm from the first, in each metric of each sampler, over the seeds that both have: mean
/// and standard error of the mean, as a table with a line that says what it is. A sampler is compared with its own kind
/// or, where the first arm has none, with one of as many evaluations. Nothing unless some arm shares two seeds with the
/// first. Runs of one seed share the weights they begin with, the noise and the order of the images, so that much of
/// what a seed does cancels.
pub(crate) fn differences(rows: &[ReportRow]) -> Option<String> {
    let first = rows.iter().find(|row| is_of_an_arm(row))?.arm.as_str();
    let mut metrics: Vec<&str> = Vec::new();
    let mut lines: Vec<Line> = Vec::new();
    let mut values: BTreeMap<(Line, &str, u64), f64> = BTreeMap::new();
    for row in rows.iter().filter(|row| is_of_an_arm(row)) {
        let line = (row.arm.as_str(), row.model.as_str(), row.sampler.as_str(), row.nfe);
        if !lines.contains(&line) {
            lines.push(line);
        }
        if !metrics.contains(&row.stem()) {
            metrics.push(row.stem());
        }
        values.insert((line, row.stem(), row.seed), row.value);
    }
    let mut table = vec![["arm", "model", "sampler", "pairs"].map(str::to_owned).to_vec()];
    table[0].extend(metrics.iter().map(|&metric| metric.to_owned()));
    for &line in lines.iter().filter(|(arm, ..)| *arm != first) {
        let (_, model, sampler, nfe) = line;
        let of_first = || lines.iter().filter(|(arm, of, ..)| (*arm, *of) == (first, model));
        let same = of_first().find(|(_, _, name, _)| *name == sampler);
        let Some(&base) = same.or_else(|| of_first().find(|(.., evaluations)| *evaluations == nfe)) else {
            continue;
        };
        let of_metric = |metric: &str| -> Vec<f64> {
            let own = values.iter().filter(|((of, name, _), _)| (*of, *name) == (line, metric));
            own.filter_map(|((.., seed), value)| Some(value - values.get(&(base, metric, *seed))?)).collect()
        };
        let differences: Vec<Vec<f64>> = metrics.iter().map(|metric| of_metric(metric)).collect();
        let pairs = differences.iter().map(Vec::len).max().unwrap_or(0);
        if pairs >= 2 {
            let mut cells = [line.0, model, sampler].map(str::to_owned).to_vec();
            cells.push(pairs.to_string());
            cells.extend(differences.iter().map(|differences| cell(differences)));
            table.push(cells);
        }
    }
    let what = format!("Differences from {first}, seed by seed: mean and standard error.");
    (table.len() > 1).then(|| format!("{what}\n\n{}", align(&table)))
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
        let told = differences(&rows).unwrap();
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
        let told = differences(&rows).unwrap();
        assert!(told.contains("| pd  | student | jumps-1 |     2 | 3.000 ± 0.000 |"), "{told}");
        assert!(!told.contains("jumps-4"), "{told}");
    }

    #[test]
    fn one_seed_or_one_arm_has_no_differences() {
        let one_seed = [row("a", 0, "student", "kid", 1.0), row("b", 0, "student", "kid", 2.0)];
        assert_eq!(differences(&one_seed), None);
        let one_arm = [row("a", 0, "student", "kid", 1.0), row("a", 1, "student", "kid", 2.0)];
        assert_eq!(differences(&one_arm), None);
        let other_seeds = [row("a", 0, "student", "kid", 1.0), row("b", 1, "student", "kid", 2.0)];
        assert_eq!(differences(&other_seeds), None);
        assert_eq!(differences(&[]), None);
    }
}
