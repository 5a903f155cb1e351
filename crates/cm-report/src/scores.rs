//! Every score as a dot, so that spreads are seen and not only read.

use crate::axis::{Axis, label};
use crate::figure::{put, style_of};
use cm_experiment::table::{Table, TableLine, number};
use maud::{Markup, PreEscaped, html};

const WIDTH: f64 = 640.0;
const LEFT: f64 = 220.0;
const RIGHT: f64 = 16.0;
const ROW: f64 = 22.0;
/// A range that spans more than this factor is shown by its logarithms.
const WIDE: f64 = 30.0;

/// What a line of the table is called beside its dots.
pub(super) fn name_of(line: &TableLine) -> String {
    match line.model.as_str() {
        "floor" => "floor".to_owned(),
        "teacher" if line.arm == "-" => format!("teacher, {}", line.sampler),
        "student" => format!("{}, {}", line.arm, line.sampler),
        // Of a student's averages, which one it is.
        model => {
            format!("{}, {}, {}", line.arm, line.sampler, model.strip_prefix("student-").unwrap_or(model))
        }
    }
}

/// The figure of one metric of the table: a row for each line that has it. `None` if there are fewer than two.
pub(super) fn dots(table: &Table, metric: usize, groups: &[&str], goal: &str) -> Option<Markup> {
    let lines: Vec<&TableLine> = table.lines.iter().filter(|line| !line.values[metric].is_empty()).collect();
    let values =
        || lines.iter().flat_map(|line| line.values[metric].iter().copied()).filter(|v| v.is_finite());
    let low = values().fold(f64::INFINITY, f64::min);
    let axis = Axis::of(values(), low > 0.0 && values().fold(0.0, f64::max) > WIDE * low)?;
    if lines.len() < 2 {
        return None;
    }
    let bottom = ROW * lines.len() as f64 + 6.0;
    let across = |value: f64| Some(LEFT + axis.place(value)? * (WIDTH - LEFT - RIGHT));
    let mut text = String::new();
    for (tick, x) in axis.ticks().into_iter().filter_map(|tick| Some((tick, across(tick)?))) {
        put(&mut text, format_args!("<path class=\"grid\" d=\"M{x:.1} 2V{bottom}\"/>"));
        let tick = label(tick);
        put(
            &mut text,
            format_args!("<text class=\"tick middle\" x=\"{x:.1}\" y=\"{}\">{tick}</text>", bottom + 15.0),
        );
    }
    for (place, line) in lines.iter().enumerate() {
        let y = ROW * (place as f64 + 0.5) + 2.0;
        let name = name_of(line);
        // A floor or teacher belongs to no arm.
        let group = groups.iter().position(|group| *group == line.arm && line.is_of_an_arm());
        let style = group.map_or_else(|| "none".to_owned(), style_of);
        let written = html! { text class="row end" x=(LEFT - 10.0) y=(y + 4.0) { (shortened(&name)) } };
        text += &written.0;
        put(&mut text, format_args!("<path class=\"grid\" d=\"M{LEFT} {y}H{}\"/>", WIDTH - RIGHT));
        let of_line = &line.values[metric];
        let mean = of_line.iter().sum::<f64>() / of_line.len() as f64;
        for &value in of_line {
            let Some(x) = across(value) else { continue };
            let told = html! { title { (name) ": " (number(value, value)) } };
            put(
                &mut text,
                format_args!(
                    "<circle class=\"dot {style}\" cx=\"{x:.1}\" cy=\"{y}\" r=\"4\">{}</circle>",
                    told.0
                ),
            );
        }
        if let Some(x) = across(mean).filter(|_| of_line.len() > 1) {
            put(&mut text, format_args!("<path class=\"mean {style}\" d=\"M{x:.1} {}v16\"/>", y - 8.0));
        }
    }
    let (metric, id) = (&table.metrics[metric], format!("score-{metric}"));
    let scale = if axis.logarithmic { " Logarithmic axis." } else { "" };
    Some(html! {
        figure id=(id) {
            h3 id={ (id) "-title" } { (metric) ": " (goal) }
            svg viewBox={ "0 0 " (WIDTH) " " (bottom + 22.0) } role="img" aria-labelledby={ (id) "-title" }
                aria-describedby={ (id) "-caption" } { (PreEscaped(text)) }
            figcaption id={ (id) "-caption" } {
                "One dot for each seed; a bar at the mean where there are several." (scale)
            }
        }
    })
}

/// A name that fits beside the dots.
fn shortened(name: &str) -> String {
    const MOST: usize = 32;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    name.chars().take(MOST - 1).chain(['…']).collect()
}
