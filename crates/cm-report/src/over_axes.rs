//! Scores over the axes of a grid: a curve over one axis, a map over two; of more axes a map for each value of the others.

use crate::axis::{Axis, label};
use crate::figure::{put, style_of};
use crate::grid::{Grid, GridAxis};
use crate::metric::{goal, higher_is_better};
use crate::pieces::sample_of_line;
use crate::wrapped::wrapped;
use cm_experiment::table::{Table, TableLine, mean_and_spread, number};
use maud::{Markup, PreEscaped, html};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
/// Of a letter, with some room.
const LETTER: f64 = 7.0;
const TEXT_LINE: f64 = 15.0;
/// A range that spans more than this factor is shown by its logarithms.
const WIDE: f64 = 30.0;

/// What is the same but for the first two axes: arm of the study, model, sampler, values of further axes.
struct Family<'a> {
    name: String,
    /// Places on the axes, and what was scored there.
    lines: Vec<(&'a [usize], &'a TableLine)>,
}

impl<'a> Family<'a> {
    fn all(grid: &'a Grid, table: &'a Table) -> Vec<Self> {
        let mut families: Vec<Self> = Vec::new();
        for line in table.lines.iter().filter(|line| line.is_of_an_arm()) {
            let Some(arm) = grid.arm(&line.arm) else { continue };
            let model = if line.model == "student" { "" } else { &line.model };
            let mut parts: Vec<String> = vec![arm.own.clone(), model.to_owned(), line.sampler.clone()];
            let further = grid.axes.iter().zip(&arm.at).skip(2);
            parts.extend(further.map(|(axis, &at)| format!("{} {}", axis.label, axis.values[at])));
            parts.retain(|part| !part.is_empty());
            let name = parts.join(", ");
            match families.iter_mut().find(|family| family.name == name) {
                Some(family) => family.lines.push((&arm.at, line)),
                None => families.push(Self { name, lines: vec![(&arm.at, line)] }),
            }
        }
        families
    }
}

/// A figure for each metric, or for each metric and family.
pub(super) fn figures(grid: &Grid, table: &Table) -> Vec<Markup> {
    let families = Family::all(grid, table);
    let metrics = 0..table.metrics.len();
    match &grid.axes[..] {
        [axis] => metrics.filter_map(|metric| curve(axis, table, metric, &families)).collect(),
        [rows, columns, ..] => metrics
            .flat_map(|metric| {
                families.iter().filter_map(move |family| map(rows, columns, table, metric, family))
            })
            .collect(),
        [] => Vec::new(),
    }
}

/// Where the values of an axis lie across a figure, and whether the distances mean something.
fn across(axis: &GridAxis) -> (Vec<f64>, bool) {
    let width = WIDTH - LEFT - RIGHT;
    if let Some(numbers) = axis.numbers() {
        let (low, high) =
            numbers.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), &v| (low.min(v), high.max(v)));
        let by_value = Axis::of(numbers.iter().copied(), low > 0.0 && high > WIDE * low);
        let places: Option<Vec<f64>> = by_value.and_then(|by_value| {
            numbers.iter().map(|&value| Some(LEFT + by_value.place(value)? * width)).collect()
        });
        let room = |places: &Vec<f64>| {
            let mut order: Vec<usize> = (0..places.len()).collect();
            order.sort_by(|&a, &b| places[a].total_cmp(&places[b]));
            let half = |at: usize| axis.values[at].chars().count() as f64 * LETTER / 2.0;
            order.windows(2).all(|pair| places[pair[1]] - places[pair[0]] >= half(pair[0]) + half(pair[1]))
        };
        if let Some(places) = places.filter(room) {
            return (places, true);
        }
    }
    let column = width / axis.values.len() as f64;
    ((0..axis.values.len()).map(|at| LEFT + (at as f64 + 0.5) * column).collect(), false)
}

fn curve(axis: &GridAxis, table: &Table, metric: usize, families: &[Family]) -> Option<Markup> {
    let of = |line: &TableLine| line.values[metric].clone();
    let values = || {
        families
            .iter()
            .flat_map(|family| &family.lines)
            .flat_map(|(_, line)| of(line))
            .filter(|v| v.is_finite())
    };
    let low = values().fold(f64::INFINITY, f64::min);
    let y = Axis::of(values(), low > 0.0 && values().fold(0.0, f64::max) > WIDE * low)?;
    let (places, to_scale) = across(axis);
    let letters = match to_scale {
        true => usize::MAX,
        false => ((WIDTH - LEFT - RIGHT) / axis.values.len() as f64 / LETTER).floor().max(3.0) as usize,
    };
    let labels: Vec<Vec<String>> = axis.values.iter().map(|value| wrapped(value, letters)).collect();
    let deepest = labels.iter().map(Vec::len).max().unwrap_or(1) as f64;
    let floor = HEIGHT - 8.0;
    let height = HEIGHT + TEXT_LINE * (deepest + 1.0);
    let down = |value: f64| Some(floor - y.place(value)? * (floor - TOP));
    let mut text = String::new();
    for (tick, at) in y.ticks().into_iter().filter_map(|tick| Some((tick, down(tick)?))) {
        put(&mut text, format_args!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{}\"/>", WIDTH - RIGHT));
        let tick = html! { text class="tick end" x=(LEFT - 7.0) y={ (format!("{:.1}", at + 4.0)) } { (label(tick)) } };
        text += &tick.0;
    }
    for (x, lines) in places.iter().zip(&labels) {
        put(&mut text, format_args!("<path class=\"grid\" d=\"M{x:.1} {TOP}V{floor}\"/>"));
        for (place, line) in lines.iter().enumerate() {
            let y = HEIGHT + TEXT_LINE * (place as f64 + 0.6);
            let tick = html! { text class="tick middle" x={ (format!("{x:.1}")) } y=(y) { (line) } };
            text += &tick.0;
        }
    }
    let below = html! {
        text class="label middle" x=((LEFT + WIDTH - RIGHT) / 2.0) y=(height - 4.0) { (axis.label) }
    };
    text += &below.0;
    let mut several = false;
    for (place, family) in families.iter().enumerate() {
        let mut means: Vec<(f64, f64)> = Vec::new();
        for (at, line) in &family.lines {
            let of_line = of(line);
            several |= of_line.len() > 1;
            for &value in &of_line {
                let Some(y) = down(value) else { continue };
                let told = html! { title { (family.name) ", " (axis.label) " " (axis.values[at[0]]) ": " (number(value, value)) } };
                put(
                    &mut text,
                    format_args!(
                        "<circle class=\"dot {}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"3.5\">{}</circle>",
                        style_of(place),
                        places[at[0]],
                        told.0
                    ),
                );
            }
            if !of_line.is_empty()
                && let Some(y) = down(mean_and_spread(&of_line).0)
            {
                means.push((places[at[0]], y));
            }
        }
        // Between names lies nothing, so that nothing joins them.
        if axis.numbers().is_some() {
            means.sort_by(|a, b| a.0.total_cmp(&b.0));
            let path: Vec<String> = means.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
            put(
                &mut text,
                format_args!("<path class=\"line {}\" d=\"M{}\"/>", style_of(place), path.join("L")),
            );
        }
    }
    let (metric, id) = (&table.metrics[metric], format!("axis-{}", table.metrics[metric]));
    Some(html! {
        figure id=(id) {
            h3 id={ (id) "-title" } { (metric) " over " (axis.label) (better(metric)) }
            svg viewBox={ "0 0 " (WIDTH) " " (height) } role="img" aria-labelledby={ (id) "-title" }
                aria-describedby={ (id) "-caption" } { (PreEscaped(text)) }
            ul.key { @for (place, family) in families.iter().enumerate() { li { (sample_of_line(place)) (family.name) } } }
            figcaption id={ (id) "-caption" } {
                (axis.path) ". One dot for each " @if several { "seed; the lines join their means." } @else { "arm, of one seed." }
                @if y.logarithmic { " Logarithmic axis of scores." }
                @if axis.numbers().is_some() && !to_scale { " Values are evenly spaced." }
            }
        }
    })
}

/// A cell for each pair of values of two axes.
fn map(rows: &GridAxis, columns: &GridAxis, table: &Table, metric: usize, family: &Family) -> Option<Markup> {
    let line = |row: usize, column: usize| {
        family.lines.iter().find(|(at, _)| (at[0], at[1]) == (row, column)).map(|(_, line)| *line)
    };
    let mean = |line: &TableLine| match &line.values[metric][..] {
        [] => None,
        values => Some(mean_and_spread(values).0).filter(|mean| mean.is_finite()),
    };
    let means = || family.lines.iter().filter_map(|(_, line)| mean(line));
    let (low, high) =
        means().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return None;
    }
    let logarithmic = low > 0.0 && high > WIDE * low;
    let on = |value: f64| if logarithmic { value.ln() } else { value };
    let name = &table.metrics[metric];
    let shade = |value: f64| {
        let share = if high > low { (on(value) - on(low)) / (on(high) - on(low)) } else { 1.0 };
        if higher_is_better(name) == Some(false) { 1.0 - share } else { share }
    };
    let darker = if higher_is_better(name).is_some() { "better" } else { "larger" };
    Some(html! {
        figure.heat {
            h3 { (name) ": " (family.name) }
            table {
                caption { "Down: " (rows.path) "; across: " (columns.path) (better(name)) "." }
                thead { tr {
                    th scope="col" { (rows.label) " ↓ " (columns.label) " →" }
                    @for value in &columns.values { th scope="col" { (value) } }
                } }
                tbody { @for (row, value) in rows.values.iter().enumerate() { tr {
                    th scope="row" { (value) }
                    @for column in 0..columns.values.len() {
                        @match line(row, column).and_then(|line| Some((line, mean(line)?))) {
                            Some((line, mean)) => {
                                td style={ "--share: " (format!("{:.0}%", 45.0 * shade(mean))) } { (line.cells()[metric]) }
                            }
                            None => td { "-" }
                        }
                    }
                } } }
            }
            figcaption {
                "The darker the " (darker) @if logarithmic { ", by logarithms" } ", from " (number(low, low)) " to " (number(high, high)) "."
            }
        }
    })
}

/// Which way is better, as it goes on in a sentence.
fn better(metric: &str) -> String {
    match goal(metric) {
        "" => String::new(),
        goal => format!(", {goal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(values: &[&str]) -> GridAxis {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        GridAxis { label: "batch".into(), path: "base.batch".into(), values }
    }

    #[test]
    fn numbers_lie_to_scale_unless_their_labels_would_meet() {
        let (places, to_scale) = across(&axis(&["16", "64", "32"]));
        assert!(to_scale && places[0] < places[2] && places[2] < places[1], "{places:?}");
        assert!((places[1] - places[2]) / (places[2] - places[0]) > 1.9, "{places:?}");
        let (places, to_scale) = across(&axis(&["0.001", "0.002", "1"]));
        // By logarithms, for they are far apart.
        assert!(to_scale && places[1] - places[0] > 30.0, "{places:?}");
        let (places, to_scale) = across(&axis(&["100000", "100001", "900000"]));
        assert!(!to_scale && (places[1] - places[0] - (places[2] - places[1])).abs() < 1e-9, "{places:?}");
        assert!(!across(&axis(&["L1", "L2"])).1);
    }
}
