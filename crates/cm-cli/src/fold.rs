//! Tables that are too wide for a terminal: some columns below the others, or a line for each cell.

use cm_experiment::table::align;
use console::Term;
use std::borrow::Cow;

/// What a terminal has that does not tell.
const USUAL: usize = 80;

/// A text for standard output: whole for a file or a pipe, and with its tables folded for a terminal they do not fit.
pub(crate) fn for_stdout(text: &str) -> Cow<'_, str> {
    let term = Term::stdout();
    if !term.is_term() {
        return Cow::Borrowed(text);
    }
    let width = term.size_checked().map_or(USUAL, |(_, columns)| usize::from(columns));
    Cow::Owned(folded(text, width))
}

/// The text with each of its tables in lines of at most `width` letters, as far as a single cell fits.
fn folded(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut table: Vec<&str> = Vec::new();
    for line in text.split_inclusive('\n') {
        if line.starts_with('|') {
            table.push(line);
        } else {
            out += &fitted(&std::mem::take(&mut table), width);
            out += line;
        }
    }
    out + &fitted(&table, width)
}

fn fitted(lines: &[&str], width: usize) -> String {
    let length = |line: &&str| line.trim_end().chars().count();
    let [head, rule, rows @ ..] = lines else { return lines.concat() };
    if lines.iter().all(|line| length(line) <= width) || !rule.starts_with("|:") {
        return lines.concat();
    }
    let cells = |line: &&str| -> Vec<String> {
        let inner = line.trim_end().trim_start_matches('|').trim_end_matches('|');
        inner.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let names = rule.split('|').filter(|cell| cell.starts_with(':')).count();
    let head = cells(head);
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    if rows.iter().any(|row| row.len() != head.len()) {
        return lines.concat();
    }
    let of_column = |column: usize| {
        let cells = std::iter::once(&head).chain(&rows).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(3) + 3
    };
    let of_names = 1 + (0..names).map(of_column).sum::<usize>();
    if (names..head.len()).any(|column| of_names + of_column(column) > width) {
        return listed(&head, &rows);
    }
    // As many of the other columns side by side as there is room for.
    let mut blocks: Vec<Vec<usize>> = Vec::new();
    let mut taken = width;
    for column in names..head.len() {
        if blocks.is_empty() || taken + of_column(column) > width {
            blocks.push(Vec::new());
            taken = of_names;
        }
        taken += of_column(column);
        blocks.last_mut().expect("one was made").push(column);
    }
    let block = |columns: &Vec<usize>| {
        let chosen: Vec<usize> = (0..names).chain(columns.iter().copied()).collect();
        let of = |row: &Vec<String>| chosen.iter().map(|&column| row[column].clone()).collect();
        align(&std::iter::once(&head).chain(&rows).map(of).collect::<Vec<_>>(), names)
    };
    blocks.iter().map(block).collect::<Vec<_>>().join("\n")
}

/// A line for each cell, rows apart.
fn listed(head: &[String], rows: &[Vec<String>]) -> String {
    let widest = head.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let row = |row: &Vec<String>| -> String {
        head.iter().zip(row).map(|(name, cell)| format!("{name:<widest$}  {cell}\n")).collect()
    };
    rows.iter().map(row).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
before
| arm | model   | frechet | recognised |
|:----|:--------|--------:|-----------:|
| cd  | student |  0.4481 |     0.9280 |
| ct  | student |   2.658 |     0.9935 |
after
";

    #[test]
    fn a_table_that_fits_stays_as_it_is() {
        assert_eq!(folded(TABLE, 40), TABLE);
        assert_eq!(folded("no table | at all\n", 5), "no table | at all\n");
    }

    #[test]
    fn one_that_does_not_is_folded_with_its_names_in_front() {
        let expected = "\
before
| arm | model   | frechet |
|:----|:--------|--------:|
| cd  | student |  0.4481 |
| ct  | student |   2.658 |

| arm | model   | recognised |
|:----|:--------|-----------:|
| cd  | student |     0.9280 |
| ct  | student |     0.9935 |
after
";
        assert_eq!(folded(TABLE, 39), expected);
    }

    #[test]
    fn names_that_leave_no_room_make_a_list() {
        let expected = "\
before
arm         cd
model       student
frechet     0.4481
recognised  0.9280

arm         ct
model       student
frechet     2.658
recognised  0.9935
after
";
        assert_eq!(folded(TABLE, 24), expected);
    }
}
