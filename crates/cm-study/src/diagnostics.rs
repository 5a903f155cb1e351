//! What is wrong with an input file, all at once, each with its place and what is allowed.
//!
//! Deliberately absent: printing. [`InputErrors`] renders itself to text; the binary decides where that goes.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One thing that is wrong with an input file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, a lower-case fragment.
    pub message: String,
    /// The bytes of the text that are wrong; `None` if it is the file as a whole.
    pub place: Option<Range<usize>>,
    /// What is allowed instead; may be empty where the message says it.
    pub allowed: String,
}

/// Everything that is wrong with one input file, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputErrors {
    path: PathBuf,
    text: String,
    problems: Vec<Diagnostic>,
}

impl InputErrors {
    /// Problems of the file at `path` with the contents `text`.
    pub(crate) fn new(path: &Path, text: &str, mut problems: Vec<Diagnostic>) -> Self {
        debug_assert!(!problems.is_empty(), "errors without a problem");
        problems.sort_by_key(|problem| problem.place.as_ref().map_or(0, |place| place.start));
        problems.dedup();
        Self { path: path.to_owned(), text: text.to_owned(), problems }
    }

    /// A file that cannot be read at all.
    pub fn whole_file(path: &Path, message: String, allowed: &str) -> Self {
        let problem = Diagnostic { message, place: None, allowed: allowed.to_owned() };
        Self { path: path.to_owned(), text: String::new(), problems: vec![problem] }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The problems, in the order of the file.
    pub fn problems(&self) -> &[Diagnostic] {
        &self.problems
    }

    /// Line and column of a problem, both counted from 1, the column in characters; `None` if it has no place.
    pub fn position(&self, problem: &Diagnostic) -> Option<(usize, usize)> {
        let before = self.text.get(..problem.place.as_ref()?.start)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }

    /// The report as text, one snippet for each problem; with terminal colours if `colour`.
    pub fn render(&self, colour: bool) -> String {
        let path = self.path.display().to_string();
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let reports: Vec<String> = self
            .problems
            .iter()
            .map(|problem| {
                let title = Level::ERROR.primary_title(problem.message.as_str());
                let mut group = match &problem.place {
                    Some(place) => Group::with_title(title).element(
                        Snippet::source(self.text.as_str())
                            .path(path.as_str())
                            .annotation(AnnotationKind::Primary.span(place.clone())),
                    ),
                    None => Group::with_title(title).element(annotate_snippets::Origin::path(path.as_str())),
                };
                if !problem.allowed.is_empty() {
                    group = group.element(Level::HELP.message(format!("allowed: {}", problem.allowed)));
                }
                renderer.render(&[group])
            })
            .collect();
        reports.join("\n\n")
    }
}

impl fmt::Display for InputErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for InputErrors {}

/// The name among `known` that `given` was probably meant to be: at most half of its letters are different.
pub(crate) fn closest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (edits(&given.to_lowercase(), &name.to_lowercase()), *name))
        .filter(|(edits, name)| *edits * 2 <= name.chars().count())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// The fewest characters to insert, remove, replace or swap with their neighbour that turn one word into the other.
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    // Row i, column j: from the first i characters of one to the first j of the other.
    let mut table = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = table[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut fewest = replaced.min(row[j - 1] + 1).min(table[i - 1][j] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                fewest = fewest.min(table[i - 2][j - 2] + 1);
            }
            row.push(fewest);
        }
        table.push(row);
    }
    table[from.len()][to.len()]
}

/// An error of another library as a fragment in the middle of ours.
pub(crate) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distances_are_those_of_the_textbook() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("flaw", "lawn"), 2);
        assert_eq!(edits("mpl", "mlp"), 1);
    }

    #[test]
    fn only_close_names_are_suggested() {
        assert_eq!(closest("chanels", &["blocks", "channels"]), Some("channels"));
        assert_eq!(closest("l1", &["L1", "L2"]), Some("L1"));
        assert_eq!(closest("width", &["blocks", "channels"]), None);
    }

    #[test]
    fn columns_count_characters_and_lines_start_at_one() {
        let text = "(\n  \"é\", x)";
        let at = text.find('x').unwrap();
        let problem = Diagnostic { message: "m".into(), place: Some(at..at + 1), allowed: String::new() };
        let errors = InputErrors::new(Path::new("f.ron"), text, vec![problem.clone()]);
        assert_eq!(errors.position(&problem), Some((2, 8)));
        assert!(errors.to_string().contains("f.ron:2:8"), "{errors}");
    }
}
