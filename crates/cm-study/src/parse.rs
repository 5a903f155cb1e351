//! From text to a typed value, with every problem of the text instead of the first.
//!
//! `ron` stops at its first error. So each erroneous field or element is noted, overwritten with spaces (every other
//! position stays what it was) and the rest is read again, until nothing is wrong any more. What is left is a value in
//! which defaults stand for what could not be read, good enough to look for problems of range and of combination in
//! the same pass; the returned [`Reading`] knows which places must not be complained about twice.

use crate::complaint::describe;
use crate::diagnostics::Diagnostic;
use crate::expected::expected;
use crate::notation::options;
use crate::source_map::{Node, Part};
use crate::study_config::StudyConfig;
use cm_format::Holds;
use ron::error::{Error, Position};
use serde::de::DeserializeOwned;
use std::ops::Range;

/// A text that was read as far as possible.
pub(crate) struct Reading<T> {
    /// What could be read; `None` if the text as a whole makes no sense.
    pub(crate) value: Option<T>,
    /// What could not.
    pub(crate) problems: Vec<Diagnostic>,
    tree: Option<Node>,
    text: String,
}

/// Reads `text` as a study, collecting all problems.
pub(crate) fn read(text: &str) -> Reading<StudyConfig> {
    read_as(text, Some(Holds::Named(cm_format::root().name)))
}

/// Reads `text` as a value of which the format is known, if it is.
fn read_as<T: DeserializeOwned>(text: &str, format: Option<Holds>) -> Reading<T> {
    let mut reading =
        Reading { value: None, problems: Vec::new(), tree: Node::scan(text), text: text.to_owned() };
    let mut blanked: Vec<Range<usize>> = Vec::new();
    loop {
        let error = match options().from_str::<T>(&reading.text) {
            Ok(value) => {
                reading.value = Some(value);
                break;
            }
            Err(error) => error,
        };
        let start = byte_of(&reading.text, error.span.start);
        let end = byte_of(&reading.text, error.span.end).max(start);
        // The parser's cursor may stand before white space: the culprit is what follows.
        let rest = &reading.text[start..];
        let token = start + rest.len() - rest.trim_start().len();
        let closes = reading.text[token..].starts_with([')', ']', '}', ',']);
        let item = reading.tree.as_ref().and_then(|tree| {
            tree.around(if closes { start } else { token })
                .last()
                .map(|item| (item.span(), item.value.span.clone()))
        });
        let consequence = closes
            && blanked.iter().any(|gap| gap.end <= token && reading.text[gap.end..token].trim().is_empty());
        // What follows something wrong without a comma belongs to it, as the words of a text without quotes do.
        let follows = |gap: &Range<usize>| {
            gap.end <= token && !text[gap.end..token].contains([',', '(', ')', '[', ']', '{', '}', '\n'])
        };
        let consequence = consequence || blanked.iter().any(follows);
        if !consequence {
            let place =
                place(&error.code, start..end, token, item.as_ref().map(|(_, value)| value), &reading.text);
            let tree = reading.tree.as_ref();
            let holds = tree.zip(format).and_then(|(tree, format)| expected(tree, text, place.start, format));
            reading.problems.push(describe(&error.code, place, text, holds));
        }
        let Some((span, _)) = item else { break };
        reading.blank(&span);
        blanked.push(span);
    }
    reading
}

impl<T> Reading<T> {
    /// Overwrites an item and the comma behind it with spaces, and forgets it in the tree.
    fn blank(&mut self, span: &Range<usize>) {
        let after = self.text[span.end..].trim_start();
        let comma = self.text.len() - after.len();
        let end = if after.starts_with(',') { comma + 1 } else { span.end };
        let spaces: String = self.text[span.start..end]
            .chars()
            .map(|c| if c == '\n' { "\n".to_owned() } else { " ".repeat(c.len_utf8()) })
            .collect();
        self.text.replace_range(span.start..end, &spaces);
        if let Some(tree) = &mut self.tree {
            tree.prune(span);
        }
    }

    /// Whether what stands at a configuration path could not be read, so that a default took its place.
    pub(crate) fn is_stand_in(&self, path: &[Part]) -> bool {
        self.tree.as_ref().is_some_and(|tree| {
            let (node, steps) = tree.follow(path);
            steps < path.len() && node.pruned
        })
    }

    /// The place of a configuration path in the text: of the first line of the value, or of its nearest ancestor that
    /// is written.
    pub(crate) fn place(&self, path: &[Part]) -> Option<Range<usize>> {
        let Range { start, end } = self.tree.as_ref()?.follow(path).0.span.clone();
        let line_end = self.text[start..end].find('\n').map_or(end, |newline| start + newline);
        Some(start..line_end)
    }
}

/// What to underline.
fn place(
    error: &Error,
    span: Range<usize>,
    token: usize,
    value: Option<&Range<usize>>,
    text: &str,
) -> Range<usize> {
    let names_a_word = match error {
        Error::NoSuchStructField { .. }
        | Error::NoSuchEnumVariant { .. }
        | Error::DuplicateStructField { .. } => true,
        _ => span.len() > 1,
    };
    if names_a_word && !text[span.clone()].trim().is_empty() && !text[span.clone()].contains('\n') {
        let trimmed = text[span.clone()].trim();
        let start = span.start + text[span.clone()].find(trimmed).unwrap_or(0);
        return start..start + trimmed.len();
    }
    match value {
        Some(value) if value.start <= token && !text[value.clone()].contains('\n') => value.clone(),
        _ => token.min(text.len())..text[token..].chars().next().map_or(text.len(), |c| token + c.len_utf8()),
    }
}

/// The byte of a position that counts lines and characters from 1.
fn byte_of(text: &str, position: Position) -> usize {
    let line_start: usize = text.split_inclusive('\n').take(position.line - 1).map(str::len).sum();
    let line = &text[line_start..];
    line.char_indices().nth(position.col - 1).map_or(text.len(), |(byte, _)| line_start + byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::InputErrors;
    use crate::source_map::parts;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};
    use std::path::Path;

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Study {
        question: String,
        seeds: Vec<u64>,
        base: Base,
        arms: Vec<Arm>,
    }

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Base {
        network: Network,
        rate: f32,
        images: u64,
        clip: Option<f32>,
        flag: bool,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    enum Network {
        UNet(UNet),
        None,
    }

    impl Default for Network {
        fn default() -> Self {
            Self::UNet(UNet::default())
        }
    }

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct UNet {
        channels: usize,
        multipliers: Vec<usize>,
    }

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Arm {
        name: String,
        changes: Vec<Change>,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Change {
        Network(Network),
        Rate(f32),
    }

    /// `line:column [what is underlined] message` of each problem.
    fn problems(text: &str) -> Vec<String> {
        let problems = read_as::<Study>(text, None).problems;
        if problems.is_empty() {
            return vec![];
        }
        let errors = InputErrors::new(Path::new("f.ron"), text, problems);
        let show = |problem: &Diagnostic| {
            let (line, column) = errors.position(problem).unwrap();
            let written = &text[problem.place.clone().unwrap()];
            format!("{line}:{column} [{written}] {}", problem.message)
        };
        errors.problems().iter().map(show).collect()
    }

    #[test]
    fn defaults_fill_what_is_not_written() {
        let reading = read_as::<Study>(
            "(base: (network: UNet(), clip: 3), arms: [(changes: [Network(None), Rate(1)])])",
            None,
        );
        assert!(reading.problems.is_empty());
        let study = reading.value.unwrap();
        assert_eq!(study.base.clip, Some(3.0));
        assert_eq!(study.arms[0].changes, [Change::Network(Network::None), Change::Rate(1.0)]);
    }

    #[test]
    fn each_kind_of_mistake_names_its_place() {
        let one = |text: &str, expected: &str| assert_eq!(problems(text), [expected], "{text}");
        one("(qestion: \"x\")", "1:2 [qestion] no field is called `qestion` here: did you mean `question`?");
        one("(base: (network: UNet(hue: 3)))", "1:23 [hue] no field is called `hue` here");
        one("(base: (network: unet()))", "1:18 [unet] no choice is called `unet` here: did you mean `UNet`?");
        one("(base: (network: UNet((hue: 3))))", "1:23 [(hue: 3)] one pair of brackets too many");
        one("(base: (network: UNet))", "1:18 [UNet] `UNet` lacks its settings");
        one("(base: (images: 1e6, rate: 1))", "1:17 [1e6] `1e6` is not a whole number");
        one("(base: (images: -3))", "1:17 [-3] `-3` does not fit here");
        one("(base: (rate: \"a\"))", "1:15 [\"a\"] `\"a\"` is not a number");
        one("(base: (rate: [1]))", "1:15 [[1]] `[1]` is not a number");
        one("(base: (flag: yes))", "1:15 [yes] `yes` is neither true nor false");
        one("(question: 3)", "1:12 [3] `3` is not a text");
        one("(base:  3)", "1:9 [3] `3` is a number, and settings in round brackets are wanted");
        one("(seeds: 3)", "1:9 [3] `3` is not a list");
        one("(seeds: [1, \"a\", 3])", "1:13 [\"a\"] `\"a\"` is not a whole number");
        one("(base: (images: 1, images: 2))", "1:20 [images] field `images` is given twice");
        one(
            "(arms: [(changes: [Network(Nun)])])",
            "1:28 [Nun] no choice is called `Nun` here: did you mean `None`?",
        );
    }

    #[test]
    fn what_does_not_close_is_one_problem() {
        for text in
            ["(base: (rate: 1, images: 3)", "(seeds: [1,2)", "", "  // only this\n", "(question: \"a)", "(]"]
        {
            assert_eq!(problems(text).len(), 1, "{text}: {:?}", problems(text));
        }
        let deep = format!("(seeds: {}", "[".repeat(100_000));
        assert_eq!(problems(&deep).len(), 1);
        let deep = format!("(base: {}{})", "(network: UNet(".repeat(80), "))".repeat(80));
        assert!(!problems(&deep).is_empty());
    }

    #[test]
    fn all_problems_of_a_text_are_found_at_once() {
        let text = "(
    question: 3,  // é
    sedes: [0],
    base: (
        network: UNet(chanels: 24, multipliers: [1, 2.5, x]),
        images: 1e6,
        flag: maybe,
    ),
    arms: [
        (name: \"a\", changes: [Network(UNet(chanels: 3)), Rate(a)]),
        (nme: \"b\", changes: [Raet(3)]),
    ],
)";
        let expected = [
            "2:15 [3] `3` is not a text",
            "3:5 [sedes] no field is called `sedes` here: did you mean `seeds`?",
            "5:23 [chanels] no field is called `chanels` here: did you mean `channels`?",
            "5:53 [2.5] `2.5` is not a whole number",
            "5:58 [x] `x` is not a whole number",
            "6:17 [1e6] `1e6` is not a whole number",
            "7:15 [maybe] `maybe` is neither true nor false",
            "10:44 [chanels] no field is called `chanels` here: did you mean `channels`?",
            "10:63 [a] `a` is not a number",
            "11:10 [nme] no field is called `nme` here: did you mean `name`?",
            "11:30 [Raet] no choice is called `Raet` here: did you mean `Rate`?",
        ];
        assert_eq!(problems(text), expected);
    }

    #[test]
    fn a_stand_in_is_not_complained_about() {
        let reading = read_as::<Study>("(base: (network: UNet(chanels: 24), rate: 1), seeds: [4])", None);
        assert!(reading.is_stand_in(&parts("base.network.channels")), "its misspelt name was reported");
        assert!(!reading.is_stand_in(&parts("base.images")), "not written, so a default on purpose");
        assert_eq!(reading.place(&parts("base.rate")), Some(42..43));
        assert_eq!(reading.place(&parts("base.images")), Some(7..44), "not written: its nearest ancestor");
    }

    fn any_network() -> impl Strategy<Value = Network> {
        let unet = (any::<usize>(), prop::collection::vec(any::<usize>(), 0..4))
            .prop_map(|(channels, multipliers)| Network::UNet(UNet { channels, multipliers }));
        prop_oneof![Just(Network::None), unet]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            question in ".{0,30}", seeds in prop::collection::vec(any::<u64>(), 0..3), network in any_network(),
            rate in any::<f32>().prop_filter("NaN is not equal to itself", |x| !x.is_nan()),
            clip in prop::option::of(-1e30f32..1e30),
        ) {
            let base = Base { network, rate, clip, ..Base::default() };
            let study = Study { question, seeds, base, arms: vec![] };
            let text = options().to_string_pretty(&study, ron::ser::PrettyConfig::new()).unwrap();
            let reading = read_as::<Study>(&text, None);
            prop_assert!(reading.problems.is_empty(), "{text}");
            prop_assert_eq!(reading.value, Some(study));
        }

        #[test]
        fn no_damage_makes_reading_panic_or_run_for_ever(at in 0usize..120, byte in "[ -~é\n]") {
            let text = "(question: \"é\", seeds: [1, 2], base: (network: UNet(channels: 24), clip: None), arms: [(name: \"a\")]) // x";
            let at = (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap();
            let skip = text[at..].chars().next().map_or(0, char::len_utf8);
            let damaged = format!("{}{byte}{}", &text[..at], &text[at + skip..]);
            for text in [damaged, text[..at].to_owned()] {
                let reading = read_as::<Study>(&text, None);
                if !reading.problems.is_empty() {
                    InputErrors::new(Path::new("f"), &text, reading.problems).render(true);
                }
            }
        }
    }
}
