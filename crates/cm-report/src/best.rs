//! Which arms are best in a metric, and what is not told apart from them.

use crate::metric::{depends_on_count, higher_is_better};
use crate::pieces::name_of;
use cm_experiment::table::{Table, TableLine, mean_and_spread};
use maud::{Markup, html};

/// Those of the arms' lines that are best in a metric: the one with the best mean, and those whose mean is not further
/// from it than the larger of both standard deviations. Empty if it is not known what is better, or scores do not compare
/// because samples differ in number.
pub(super) fn best_of_arms(table: &Table, metric: usize) -> Vec<&TableLine> {
    let name = &table.metrics[metric];
    let Some(higher) = higher_is_better(name) else { return Vec::new() };
    let scored: Vec<&TableLine> =
        (table.lines.iter()).filter(|line| line.is_of_an_arm() && !line.values[metric].is_empty()).collect();
    if depends_on_count(name) && scored.windows(2).any(|pair| pair[0].samples != pair[1].samples) {
        return Vec::new();
    }
    let summary = |line: &TableLine| mean_and_spread(&line.values[metric]);
    let rank = |line: &TableLine| {
        let mean = summary(line).0;
        if higher { -mean } else { mean }
    };
    let Some(&best) = scored.iter().min_by(|a, b| rank(a).total_cmp(&rank(b))) else { return Vec::new() };
    let (mean, spread) = summary(best);
    let level = |line: &TableLine| {
        let (other, own) = summary(line);
        (other - mean).abs() <= own.into_iter().chain(spread).fold(0.0, f64::max)
    };
    let mut all = vec![best];
    all.extend(scored.into_iter().filter(|line| !std::ptr::eq(*line, best) && level(line)));
    all
}

/// Whether a line's score is on another scale than those of the arms: of another number of samples, of which the metric
/// depends.
pub(super) fn is_apart(table: &Table, metric: usize, line: &TableLine) -> bool {
    let of_arms = || table.lines.iter().filter(|line| line.is_of_an_arm() && !line.values[metric].is_empty());
    depends_on_count(&table.metrics[metric])
        && !line.is_of_an_arm()
        && of_arms().next().is_some_and(|arm| arm.samples != line.samples)
}

/// Lines that are named beside the best one; the table has all.
const NAMED: usize = 4;

/// One sentence on a metric: the best arm, what is not told apart from it, beside teacher and floor.
pub(super) fn sentence(table: &Table, metric: usize) -> Option<Markup> {
    let all = best_of_arms(table, metric);
    let (line, level) = all.split_first()?;
    let scored = || table.lines.iter().filter(|line| !line.values[metric].is_empty());
    let others = scored().filter(|line| !line.is_of_an_arm());
    let alike = !level.is_empty() && all.len() == scored().filter(|line| line.is_of_an_arm()).count();
    // Of one seed there is no spread.
    let several = all.iter().any(|line| line.values[metric].len() > 1);
    let beside = if several { "within the spread of seeds from it" } else { "level with it" };
    Some(html! {
        "Best is " strong { (name_of(line)) } ", " (line.cells()[metric]) " with " (evaluations(line.nfe))
        @if alike {
            ", and all others are " (beside)
        } @else {
            @for (place, other) in level.iter().take(NAMED).enumerate() {
                @if place == 0 { "; " (beside) " also " } @else { ", " }
                (name_of(other))
            }
            @if level.len() > NAMED { " and " (level.len() - NAMED) " more" }
        }
        @for other in others {
            "; " (name_of(other)) ", " (other.cells()[metric])
            @if other.nfe > 0 { " with " (evaluations(other.nfe)) }
            @if is_apart(table, metric, other) { " (of " (other.samples) " samples, not on the same scale)" }
        }
        "."
    })
}

fn evaluations(nfe: usize) -> String {
    if nfe == 1 { "1 evaluation".to_owned() } else { format!("{nfe} evaluations") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(arm: &str, model: &str, samples: usize, values: &[f64]) -> TableLine {
        let (arm, model, sampler) = (arm.to_owned(), model.to_owned(), "one-step".to_owned());
        TableLine { arm, model, sampler, nfe: 1, samples, values: vec![values.to_vec()] }
    }

    fn told(metric: &str, lines: Vec<TableLine>) -> String {
        let table = Table { metrics: vec![metric.to_owned()], lines };
        sentence(&table, 0).map(|sentence| sentence.0).unwrap_or_default()
    }

    #[test]
    fn one_seed_has_no_spread() {
        let alike = || vec![line("a", "student", 64, &[0.5]), line("b", "student", 64, &[0.5])];
        assert!(
            told("frechet", alike()).contains("all others are level with it"),
            "{}",
            told("frechet", alike())
        );
        let several = vec![line("a", "student", 64, &[0.5, 0.7]), line("b", "student", 64, &[0.6, 0.8])];
        assert!(told("frechet", several).contains("all others are within the spread of seeds from it"));
    }

    #[test]
    fn a_floor_of_fewer_samples_is_apart_where_the_metric_depends_on_them() {
        let lines = || vec![line("-", "floor", 30, &[0.9]), line("a", "student", 64, &[0.5])];
        assert!(told("frechet", lines()).contains("(of 30 samples, not on the same scale)"));
        assert!(!told("recognised", lines()).contains("scale"));
        let arms = vec![line("a", "student", 64, &[0.9]), line("b", "student", 32, &[0.5])];
        assert_eq!(told("frechet", arms), "");
    }
}
