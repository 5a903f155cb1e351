//! What was found: who is best and by how much, before anything it rests on.

use crate::best::{best_of_arms, is_apart, sentence};
use crate::findings::Findings;
use crate::grid::Grid;
use crate::metric::{definition, goal};
use crate::over_axes;
use crate::pieces::{plain_table, swatch};
use crate::scores;
use cm_experiment::cautions;
use cm_experiment::paired::{self, Differences};
use cm_experiment::table::{Table, TableLine};
use maud::{Markup, html};

/// Scores with their spreads, differences, and a figure for each metric.
pub(super) fn section(findings: &Findings) -> Markup {
    let table = Table::new(&findings.rows);
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
            (scored(findings, &table))
        }
    }
}

fn scored(findings: &Findings, table: &Table) -> Markup {
    let groups = findings.groups();
    let grid = findings.grid.as_ref();
    let over_axes = grid.map_or_else(Vec::new, |grid| over_axes::figures(grid, table));
    let cautions = cautions(&findings.plan, &findings.rows);
    let signs = findings.signs();
    html! {
        dl.metrics { @for (metric, name) in table.metrics.iter().enumerate() {
            div {
                dt { (name) @if !goal(name).is_empty() { br; small { (goal(name)) } } }
                dd {
                    @if let Some(definition) = definition(name) { small { (capitalised(definition)) "." } br; }
                    @if let Some(told) = sentence(table, metric) { (told) }
                }
            }
        } }
        (score_table(table, &groups, grid))
        @for Differences { what, table } in &paired::differences(&findings.rows) {
            div.scroll tabindex="0" role="region" aria-label="Differences" { (plain_table(what, table, 3)) }
        }
        @if !cautions.is_empty() {
            p { strong { "To bear in mind:" } }
            ul.short { @for caution in &cautions { li { (caution) } } }
        }
        @if !signs.is_empty() {
            p { strong { "Signs of trouble:" } }
            ul.short { @for sign in &signs { li { (sign) } } }
        }
        @if !over_axes.is_empty() { div.figures { @for figure in over_axes { (figure) } } }
        div.figures {
            @for (metric, name) in table.metrics.iter().enumerate() {
                @if let Some(figure) = scores::dots(table, metric, &groups, goal(name)) { (figure) }
            }
        }
    }
}

/// A phrase as the beginning of a sentence.
fn capitalised(phrase: &str) -> String {
    let mut letters = phrase.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn score_table(table: &Table, groups: &[&str], grid: Option<&Grid>) -> Markup {
    let several = table.lines.iter().any(|line| line.values.iter().any(|values| values.len() > 1));
    let spread = if several { "Mean and standard deviation over seeds" } else { "One seed" };
    let has_floor = table.lines.iter().any(|line| line.model == "floor");
    let mut metrics = 0..table.metrics.len();
    let some_apart = metrics.any(|metric| {
        table.lines.iter().any(|line| is_apart(table, metric, line) && !line.values[metric].is_empty())
    });
    let axes: Vec<&str> = grid.iter().flat_map(|grid| &grid.axes).map(|axis| axis.label.as_str()).collect();
    let heads: Vec<&str> = [&["arm"][..], &axes, &["model", "sampler", "NFE", "samples"]].concat();
    let names = heads.len() - 2;
    html! {
        div.scroll tabindex="0" role="region" aria-label="Scores" {
            table.sortable {
                caption {
                    (spread) ". NFE is the number of network evaluations for an image. "
                    @if has_floor { "The floor is of real images that were held out, scored as if they had been drawn. " }
                    "Bold: the best of the arms"
                    @if several { ", and those whose means are within the spread of seeds from it" } "."
                    @if some_apart { " †: of another number of samples, on which this metric depends, so not on the scale of the others." }
                }
                thead { tr {
                    @for (place, head) in heads.iter().enumerate() {
                        th.number[place >= names] scope="col" { (head) }
                    }
                    @for metric in &table.metrics {
                        th.number scope="col" { (metric) br; small { (goal(metric)) } }
                    }
                } }
                tbody { @for line in &table.lines { (row(table, line, groups, grid)) } }
            }
        }
    }
}

fn row(table: &Table, line: &TableLine, groups: &[&str], grid: Option<&Grid>) -> Markup {
    let best = |metric: usize| best_of_arms(table, metric).iter().any(|best| std::ptr::eq(*best, line));
    let on_axes = grid.map_or_else(Vec::new, |grid| {
        // A teacher is of no value of a student's field.
        let values = grid.values_of(&line.arm).filter(|_| line.is_of_an_arm());
        let values = values.unwrap_or_else(|| vec!["-"; grid.axes.len()]);
        grid.axes.iter().map(|axis| axis.label.as_str()).zip(values).collect()
    });
    // A grid's values stand in columns of their own; a study without arms has one that is called so.
    let own = match grid.and_then(|grid| grid.arm(&line.arm)) {
        Some(arm) if arm.own.is_empty() => "base",
        Some(arm) => &arm.own,
        None => &line.arm,
    };
    html! {
        tr {
            th scope="row" data-label="arm" title=[(own != line.arm).then_some(&line.arm)] { (swatch(groups, &line.arm)) (own) }
            @for (axis, value) in on_axes { td data-label=(axis) { (value) } }
            td data-label="model" { (line.model) }
            td data-label="sampler" { (line.sampler) }
            td.number data-label="NFE" { (line.nfe) }
            td.number data-label="samples" { (line.samples) }
            @for (metric, cell) in line.cells().iter().enumerate() {
                td.number.best[best(metric)] data-label=(table.metrics[metric]) {
                    (cell) @if cell != "-" && is_apart(table, metric, line) { "†" }
                }
            }
        }
    }
}
