//! What was found: who is best and by how much, before anything it rests on.

use crate::figures::higher_is_better;
use crate::findings::Findings;
use crate::pieces::{plain_table, swatch};
use crate::scores;
use cm_experiment::cautions;
use cm_experiment::paired::{self, Differences};
use cm_experiment::table::{Table, TableLine, mean_and_spread};
use maud::{Markup, html};

/// Scores with their spreads, differences, and a figure for each metric.
pub(super) fn section(findings: &Findings) -> Markup {
    let table = Table::new(&findings.rows);
    let groups = findings.groups();
    let goals: Vec<&str> = table.metrics.iter().map(|metric| goal(metric)).collect();
    let differences = paired::differences(&findings.rows);
    let several = table.lines.iter().any(|line| line.values.iter().any(|values| values.len() > 1));
    let spread = if several { "Mean and standard deviation over seeds" } else { "One seed" };
    html! {
        @if let Some(doubt) = findings.doubt() { p.notice { (doubt) "." } }
        @if !findings.missing.is_empty() {
            p.notice {
                strong { "Not finished: " } (findings.missing.join(", "))
                ". What follows is of the others."
            }
        }
        @if table.lines.is_empty() {
            p { "No run has scores yet." }
        } @else {
            ul.short { @for metric in 0..table.metrics.len() { @if let Some(told) = best(&table, metric) { li { (told) } } } }
            div.scroll tabindex="0" role="region" aria-label="Scores" {
                table {
                    caption {
                        (spread) "; NFE is the number of network evaluations for an image. Bold: the best of the arms"
                        @if several { ", and those whose means are within the spread of seeds from it" } ". "
                        "Scores of different numbers of samples do not compare."
                    }
                    thead { tr {
                        @for head in ["arm", "model", "sampler"] { th scope="col" { (head) } }
                        @for head in ["NFE", "samples"] { th.number scope="col" { (head) } }
                        @for (metric, goal) in table.metrics.iter().zip(&goals) {
                            th.number scope="col" { (metric) br; small { (goal) } }
                        }
                    } }
                    tbody { @for line in &table.lines { (row(&table, line, &groups)) } }
                }
            }
            @for Differences { what, table } in &differences {
                div.scroll tabindex="0" role="region" aria-label="Differences" { (plain_table(what, table, 3)) }
            }
            @let cautions = cautions(&findings.plan, &findings.rows);
            @if !cautions.is_empty() {
                p { strong { "To bear in mind:" } }
                ul.short { @for caution in &cautions { li { (caution) } } }
            }
            @let signs = findings.signs();
            @if !signs.is_empty() {
                p { strong { "Signs of trouble:" } }
                ul.short { @for sign in &signs { li { (sign) } } }
            }
            div.figures {
                @for (metric, goal) in goals.iter().enumerate() {
                    @if let Some(figure) = scores::dots(&table, metric, &groups, goal) { (figure) }
                }
            }
        }
    }
}

fn goal(metric: &str) -> &'static str {
    match higher_is_better(metric) {
        Some(true) => "higher is better",
        Some(false) => "lower is better",
        None => "",
    }
}

/// Those of the arms' lines that are best in a metric: the one with the best mean, and those whose mean is not further
/// from it than the larger of both standard deviations. Empty if it is not known what is better, or samples differ in
/// number.
fn best_of_arms(table: &Table, metric: usize) -> Vec<&TableLine> {
    let Some(higher) = higher_is_better(&table.metrics[metric]) else { return Vec::new() };
    let scored: Vec<&TableLine> =
        (table.lines.iter()).filter(|line| line.is_of_an_arm() && !line.values[metric].is_empty()).collect();
    if scored.windows(2).any(|pair| pair[0].samples != pair[1].samples) {
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

/// One sentence on a metric: the best arm, what is not told apart from it, beside teacher and floor.
fn best(table: &Table, metric: usize) -> Option<Markup> {
    let all = best_of_arms(table, metric);
    let (line, level) = all.split_first()?;
    let scored = || table.lines.iter().filter(|line| !line.values[metric].is_empty());
    let others = scored().filter(|line| !line.is_of_an_arm());
    let alike = !level.is_empty() && all.len() == scored().filter(|line| line.is_of_an_arm()).count();
    let name = &table.metrics[metric];
    Some(html! {
        strong { (name) } " (" (goal(name)) "): best is " strong { (scores::name_of(line)) } ", "
        (line.cells()[metric]) " with " (evaluations(line.nfe))
        @if alike {
            ", and all others are within the spread of seeds from it"
        } @else {
            @for (place, other) in level.iter().enumerate() {
                (if place == 0 { "; within the spread of seeds also " } else { ", " }) (scores::name_of(other))
            }
        }
        @for other in others {
            "; " (scores::name_of(other)) ", " (other.cells()[metric])
            @if other.nfe > 0 { " with " (evaluations(other.nfe)) }
            @if other.samples != line.samples { " (of " (other.samples) " samples, not comparable)" }
        }
        "."
    })
}

fn evaluations(nfe: usize) -> String {
    if nfe == 1 { "1 evaluation".to_owned() } else { format!("{nfe} evaluations") }
}

fn row(table: &Table, line: &TableLine, groups: &[&str]) -> Markup {
    let best: Vec<bool> = (0..table.metrics.len())
        .map(|metric| best_of_arms(table, metric).iter().any(|best| std::ptr::eq(*best, line)))
        .collect();
    html! {
        tr {
            th scope="row" { (swatch(groups, &line.arm)) (line.arm) }
            td { (line.model) }
            td { (line.sampler) }
            td.number { (line.nfe) }
            td.number { (line.samples) }
            @for (cell, best) in line.cells().iter().zip(best) { td.number.best[best] { (cell) } }
        }
    }
}
