//! Pieces that several sections of the page share: an arm's colour, a line's name, a plain table.

use crate::figure::style_of;
use cm_experiment::table::TableLine;
use maud::{Markup, html};

/// The colour of an arm, as a decoration of its name.
pub(super) fn swatch(groups: &[&str], name: &str) -> Markup {
    let place = groups.iter().position(|group| *group == name);
    html! { @if let Some(place) = place { (sample_of_line(place)) } }
}

/// A piece of a group's line, as its figures draw it.
pub(super) fn sample_of_line(group: usize) -> Markup {
    html! {
        svg.swatch viewBox="0 0 24 8" aria-hidden="true" { path class={ "line " (style_of(group)) } d="M1 4H23" {} }
    }
}

/// What a line of the table is called where it has no columns.
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

/// A table of texts, head first; names to the left in the first `names` columns, numbers to the right.
pub(super) fn plain_table(caption: &str, cells: &[Vec<String>], names: usize) -> Markup {
    let class = |column: usize| (column >= names).then_some("number");
    html! {
        table.sortable {
            caption { (caption) }
            thead { tr {
                @for (column, cell) in cells[0].iter().enumerate() { th scope="col" class=[class(column)] { (cell) } }
            } }
            tbody { @for row in &cells[1..] { tr {
                @for (column, cell) in row.iter().enumerate() {
                    @if column == 0 {
                        th scope="row" data-label=(cells[0][0]) { (cell) }
                    } @else {
                        td class=[class(column)] data-label=(cells[0][column]) { (cell) }
                    }
                }
            } } }
        }
    }
}
