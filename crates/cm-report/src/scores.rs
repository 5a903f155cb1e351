//! Every score as a dot, so that spreads are seen and not only read.

use crate::axis::{Axis, label};
use crate::best::is_apart;
use crate::figure::{put, style_of};
use crate::pieces::name_of;
use crate::wrapped::wrapped;
use cm_experiment::table::{Table, TableLine, number};
use maud::{Markup, PreEscaped, html};

const WIDTH: f64 = 480.0;
const LEFT: f64 = 196.0;
const RIGHT: f64 = 16.0;
/// A row of one line of text, and each further line of a long name.
const ROW: f64 = 22.0;
const TEXT_LINE: f64 = 14.0;
/// Letters of a name in a line.
const LETTERS: usize = 28;
/// A range that spans more than this factor is shown by its logarithms.
const WIDE: f64 = 30.0;

/// The figure of one metric of the table: a row for each line that has it. `None` if there are fewer than two.
pub(super) fn dots(table: &Table, metric: usize, groups: &[&str], goal: &str) -> Option<Markup> {
    let scored = || table.lines.iter().filter(|line| !line.values[metric].is_empty());
    // What is on another scale is told below, and has no place on this one.
    let (apart, lines): (Vec<&TableLine>, Vec<&TableLine>) =
        scored().partition(|line| is_apart(table, metric, line));
    let values =
        || lines.iter().flat_map(|line| line.values[metric].iter().copied()).filter(|v| v.is_finite());
    let low = values().fold(f64::INFINITY, f64::min);
    let axis = Axis::of(values(), low > 0.0 && values().fold(0.0, f64::max) > WIDE * low)?;
    if lines.len() + apart.len() < 2 {
        return None;
    }
    let across = |value: f64| Some(LEFT + axis.place(value)? * (WIDTH - LEFT - RIGHT));
    let mut rows = String::new();
    let mut top = 2.0;
    for line in &lines {
        let (middle, height) = name_beside(&mut rows, &name_of(line), top);
        put(&mut rows, format_args!("<path class=\"grid\" d=\"M{LEFT} {middle}H{}\"/>", WIDTH - RIGHT));
        scores(&mut rows, line, metric, groups, middle, &across);
        top += height;
    }
    let bottom = top + 4.0;
    let mut text = String::new();
    for (tick, x) in axis.ticks().into_iter().filter_map(|tick| Some((tick, across(tick)?))) {
        put(&mut text, format_args!("<path class=\"grid\" d=\"M{x:.1} 2V{bottom}\"/>"));
        let tick =
            html! { text class="tick middle" x={ (format!("{x:.1}")) } y=(bottom + 15.0) { (label(tick)) } };
        text += &tick.0;
    }
    text += &rows;
    top = bottom + 24.0;
    for line in &apart {
        let (middle, height) = name_beside(&mut text, &name_of(line), top);
        let told = html! { text class="tick" x=(LEFT) y=(middle + 4.0) { (line.cells()[metric]) " of " (line.samples) " samples" } };
        text += &told.0;
        top += height;
    }
    let floor = lines.iter().any(|line| line.model == "floor");
    let several = lines.iter().any(|line| line.values[metric].len() > 1);
    let (metric, id) = (&table.metrics[metric], format!("score-{metric}"));
    Some(html! {
        figure id=(id) {
            h3 id={ (id) "-title" } { (metric) @if !goal.is_empty() { ": " (goal) } }
            svg viewBox={ "0 0 " (WIDTH) " " (top) } role="img" aria-labelledby={ (id) "-title" }
                aria-describedby={ (id) "-caption" } { (PreEscaped(text)) }
            figcaption id={ (id) "-caption" } {
                @if several { "One dot for each seed, a bar at their mean." } @else { "One dot for each, of one seed." }
                @if floor { " The diamond is the floor: held-out real images, scored as if they had been drawn." }
                @if !apart.is_empty() { " Below the axis: what is of another number of samples, and so not on its scale." }
                @if axis.logarithmic { " Logarithmic axis." }
            }
        }
    })
}

/// Writes a name at the left of a row that begins at `top`; where the row's middle is, and how high it is.
fn name_beside(text: &mut String, name: &str, top: f64) -> (f64, f64) {
    let lines = wrapped(name, LETTERS);
    let height = ROW + TEXT_LINE * (lines.len() - 1) as f64;
    let middle = top + height / 2.0;
    let first = middle + 4.0 - TEXT_LINE * (lines.len() - 1) as f64 / 2.0;
    for (place, line) in lines.iter().enumerate() {
        let y = first + TEXT_LINE * place as f64;
        let written = html! { text class="row end" x=(LEFT - 10.0) y=(y) { (line) } };
        *text += &written.0;
    }
    (middle, height)
}

/// Writes a mark for each seed of a line, and a bar at the mean of several.
fn scores(
    text: &mut String,
    line: &TableLine,
    metric: usize,
    groups: &[&str],
    y: f64,
    across: &impl Fn(f64) -> Option<f64>,
) {
    // A floor or teacher belongs to no arm.
    let group = groups.iter().position(|group| *group == line.arm && line.is_of_an_arm());
    let style = group.map_or_else(|| "none".to_owned(), style_of);
    let of_line = &line.values[metric];
    let mean = of_line.iter().sum::<f64>() / of_line.len() as f64;
    for &value in of_line {
        let Some(x) = across(value) else { continue };
        let told = html! { title { (name_of(line)) ": " (number(value, value)) } }.0;
        if line.model == "floor" {
            put(
                text,
                format_args!(
                    "<path class=\"dot {style}\" d=\"M{x:.1} {}l6 6l-6 6l-6-6z\">{told}</path>",
                    y - 6.0
                ),
            );
        } else {
            put(
                text,
                format_args!(
                    "<circle class=\"dot {style}\" cx=\"{x:.1}\" cy=\"{y}\" r=\"4\">{told}</circle>"
                ),
            );
        }
    }
    if let Some(x) = across(mean).filter(|_| of_line.len() > 1) {
        put(text, format_args!("<path class=\"mean {style}\" d=\"M{x:.1} {}v16\"/>", y - 8.0));
    }
}
