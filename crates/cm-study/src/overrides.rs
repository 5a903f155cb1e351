//! Changing a study file from the command line: `path=value`, the value in RON's own syntax.
//!
//! The value is spliced into the text by byte range, so everything else stays as it was written (names of enum
//! variants, comments), and what is wrong with the value is reported at its place. A field that the file leaves out is
//! written with what it stands for: setting `base.consistency.train.batch` in a file without `train` writes out the
//! whole default `train`, batch replaced.
//!
//! Deliberately absent: types. Whether the value fits is found when the text is read.

use crate::diagnostics::{InputErrors, closest};
use crate::notation::options;
use crate::parse::read;
use crate::source_map::{Node, Part, parts};
use crate::study_config::StudyConfig;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

/// A field and what it is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// From the study down: `base.consistency.train.batch`, `arms[0].name`, `seeds[1]`.
    pub path: String,
    /// One value in RON's syntax.
    pub value: String,
}

/// Why a text is no override.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideSyntaxError {
    /// There is no `=`.
    #[error("`{0}` has no `=`: expected PATH=VALUE, as in base.consistency.train.batch=64")]
    NoEquals(String),
    /// The path is not one.
    #[error(
        "`{0}` is not the path of a field: expected names, dots and [indices], as in base.network.channels"
    )]
    Path(String),
    /// The value is not one.
    #[error("`{0}` is not one value in RON's syntax, such as 64, Ema(0.95) or [1, 2]")]
    Value(String),
}

impl FromStr for Override {
    type Err = OverrideSyntaxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (path, value) =
            text.split_once('=').ok_or_else(|| OverrideSyntaxError::NoEquals(text.to_owned()))?;
        let path = path.trim();
        let fits = |c: char| c.is_ascii_alphanumeric() || "_.[]".contains(c);
        let begins = path.starts_with(|c: char| c.is_ascii_alphabetic());
        if !begins || !path.chars().all(fits) || parts(path).is_empty() {
            return Err(OverrideSyntaxError::Path(path.to_owned()));
        }
        // Comments around the value stay outside: one would swallow what follows in the file.
        let node = Node::scan(value).ok_or_else(|| OverrideSyntaxError::Value(value.to_owned()))?;
        Ok(Self { path: path.to_owned(), value: value[node.span].to_owned() })
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.path, self.value)
    }
}

impl Override {
    /// The values of a list, each in RON's syntax; `None` if the value is no list or an empty one.
    pub fn values(&self) -> Option<Vec<String>> {
        let list = Node::scan(&self.value).filter(|node| node.is_list() && !node.items.is_empty())?;
        Some(list.items.iter().map(|item| self.value[item.value.span.clone()].to_owned()).collect())
    }
}

/// The text of a study with fields set, one after the other.
///
/// # Errors
/// [`InputErrors`] if the text is no study to begin with, or has no such field.
pub fn apply(path: &Path, text: &str, overrides: &[Override]) -> Result<String, InputErrors> {
    let mut text = text.to_owned();
    for change in overrides {
        text = splice(path, &text, change)?;
    }
    Ok(text)
}

fn splice(path: &Path, text: &str, change: &Override) -> Result<String, InputErrors> {
    let steps = parts(&change.path);
    if let Some(tree) = Node::scan(text) {
        let (node, taken) = tree.follow(&steps);
        if taken == steps.len() {
            return Ok(replaced(text, &node.span, &change.value));
        }
    }
    // Not written, or not a text at all: what it stands for is needed.
    let reading = read(text);
    let (Some(study), true) = (reading.value, reading.problems.is_empty()) else {
        return Err(InputErrors::new(path, text, reading.problems));
    };
    let whole = one_line(&study);
    let (Some(tree), Some(defaults)) = (Node::scan(text), Node::scan(&whole)) else {
        let message = "its brackets do not close".to_owned();
        return Err(InputErrors::whole_file(path, message, "a text that can be read"));
    };
    let (node, taken) = tree.follow(&steps);
    let (default, known) = defaults.follow(&steps);
    if known < steps.len() {
        return Err(no_such_field(change, &whole, default, &steps, known));
    }
    let holder = node.inside();
    let Part::Field(name) = &steps[taken] else {
        // An element of a list that is written is written.
        let message = format!("{} is not written as a list", shown(&steps[..taken]));
        return Err(InputErrors::whole_file(Path::new(&origin(change)), message, "the whole value"));
    };
    let (outer, _) = defaults.follow(&steps[..=taken]);
    let outer = outer.span.clone();
    let value = replaced(
        &whole[outer.clone()],
        &(default.span.start - outer.start..default.span.end - outer.start),
        &change.value,
    );
    if !holder.is_bracketed() {
        // A bare name, such as a unit variant, has no room for a field.
        let (outer, _) = defaults.follow(&steps[..taken]);
        let inner = default.span.start - outer.span.start..default.span.end - outer.span.start;
        let value = replaced(&whole[outer.span.clone()], &inner, &change.value);
        return Ok(replaced(text, &node.span, &value));
    }
    let (at, comma) = match holder.items.last() {
        Some(item) => (item.value.span.end, ", "),
        None => (holder.span.end - 1, ""),
    };
    Ok(replaced(text, &(at..at), &format!("{comma}{name}: {value}")))
}

fn replaced(text: &str, place: &Range<usize>, value: &str) -> String {
    format!("{}{value}{}", &text[..place.start], &text[place.end..])
}

/// Every value of a study, written out.
fn one_line(study: &StudyConfig) -> String {
    let pretty = ron::ser::PrettyConfig::new().compact_arrays(true).compact_structs(true).compact_maps(true);
    options().to_string_pretty(study, pretty).expect("configurations are plain structs and enums")
}

/// How the override is named in messages.
pub(crate) fn origin(change: &Override) -> String {
    format!("--set {change}")
}

/// Steps as a path.
fn shown(steps: &[Part]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Part::Field(name) if path.is_empty() => path += name,
            Part::Field(name) => path += &format!(".{name}"),
            Part::Index(index) => path += &format!("[{index}]"),
        }
    }
    if path.is_empty() { "the study".to_owned() } else { path }
}

fn no_such_field(change: &Override, whole: &str, found: &Node, steps: &[Part], known: usize) -> InputErrors {
    let holder = shown(&steps[..known]);
    let inside = found.inside();
    let fields: Vec<&str> =
        inside.items.iter().filter_map(|item| Some(item.key.as_ref()?.0.as_str())).collect();
    let (message, allowed) = match &steps[known] {
        Part::Field(name) if !fields.is_empty() => {
            let meant = closest(name, &fields).map(|name| format!(": did you mean `{name}`?"));
            (format!("{holder} has no field `{name}`{}", meant.unwrap_or_default()), fields.join(", "))
        }
        Part::Index(index) if inside.is_list() => {
            let count = inside.items.len();
            let allowed =
                if count == 0 { "the whole list".to_owned() } else { format!("0 to {}", count - 1) };
            (format!("{holder} has no element {index}"), allowed)
        }
        Part::Field(_) | Part::Index(_) => {
            let value = &whole[found.span.clone()];
            (format!("{holder} is `{value}`, which has no parts"), format!("{holder}=VALUE"))
        }
    };
    InputErrors::whole_file(Path::new(&origin(change)), message, &allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flatten::{Leaf, flatten};
    use crate::load::check;
    use proptest::prelude::*;

    const STUDY: &str = "// A comment, (unclosed.
(
    base: (
        network: UNet(channels: 8, multipliers: [1], attention: []), // kept
        method: Distillation(),
        consistency: (target: Ema(0.95)),
    ),
    arms: Star([(name: \"a\", changes: [BatchSize(16)])]),
)";

    fn set(text: &str, changes: &[&str]) -> String {
        let changes: Vec<Override> = changes.iter().map(|text| text.parse().unwrap()).collect();
        apply(Path::new("f.ron"), text, &changes).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn refused(change: &str) -> String {
        let change: Override = change.parse().unwrap();
        apply(Path::new("f.ron"), STUDY, &[change]).expect_err("no such field").to_string()
    }

    #[test]
    fn what_is_written_is_replaced_and_nothing_else() {
        let changed = set(STUDY, &["base.network.channels=16", "arms[0].changes[0]=Distance(L1)"]);
        let expected = STUDY.replace("channels: 8", "channels: 16").replace("BatchSize(16)", "Distance(L1)");
        assert_eq!(changed, expected);
    }

    #[test]
    fn what_is_not_written_is_added_with_the_defaults_it_had() {
        let changed = set(STUDY, &["seeds=[3, 4]", "base.method.solver=Euler"]);
        let expected = STUDY
            .replace("Distillation()", "Distillation(solver: Euler)")
            .replace(")])]),\n)", ")])]), seeds: [3, 4],\n)");
        assert_eq!(changed, expected.replace("]),, seeds", "]), seeds"));
        let before = read(STUDY).value.unwrap();
        let changed = set(STUDY, &["base.consistency.train.batch=64"]);
        let after = read(&changed).value.unwrap();
        let mut expected = before;
        expected.base.consistency.train.batch = 64;
        assert_eq!(after, expected, "{changed}");
        assert!(changed.contains("(target: Ema(0.95), train: (total_images: "), "{changed}");
    }

    #[test]
    fn later_overrides_see_earlier_ones() {
        let changed = set(STUDY, &["base.method=Training", "base.method=Distillation(solver: Heun)"]);
        assert!(changed.contains("method: Distillation(solver: Heun),"), "{changed}");
    }

    #[test]
    fn what_is_wrong_with_a_value_is_found_at_its_place() {
        let changed = set(STUDY, &["base.network=UNet(chanels: 8)"]);
        let errors = check(Path::new("f.ron"), &changed).unwrap_err();
        let places: Vec<_> = errors.problems().iter().map(|problem| errors.position(problem)).collect();
        assert_eq!(places, [Some((4, 23))], "{errors}");
    }

    #[test]
    fn a_path_that_leads_nowhere_is_told_with_what_is_there() {
        let told = refused("base.network.chanels=3");
        assert!(told.contains("base.network has no field `chanels`: did you mean `channels`?"), "{told}");
        assert!(told.contains("--set base.network.chanels=3") && told.contains("multipliers, "), "{told}");
        assert!(refused("bas.network=3").contains("the study has no field `bas`: did you mean `base`?"));
        assert!(refused("seeds[1]=3").contains("seeds has no element 1"));
        assert!(refused("base.consistency.train.batch.size=3").contains("which has no parts"));
        assert!(refused("base.consistency.train.snapshots.count=3").contains("is `None`"));
    }

    #[test]
    fn texts_that_are_no_overrides_are_refused() {
        use OverrideSyntaxError::{NoEquals, Path, Value};
        let parsed = |text: &str| text.parse::<Override>();
        assert_eq!(parsed("base"), Err(NoEquals("base".into())));
        assert_eq!(parsed("=3"), Err(Path(String::new())));
        assert_eq!(parsed("a b=3"), Err(Path("a b".into())));
        for value in ["", "1, b: 2", "(1", "1)", "1 2", "a: 1", "// x"] {
            assert_eq!(parsed(&format!("a={value}")), Err(Value(value.into())), "{value}");
        }
        // A comment would swallow what stands behind it in the file.
        assert_eq!(parsed("a = 1 // x").unwrap(), Override { path: "a".into(), value: "1".into() });
    }

    /// Every value of every part can be set, to what it is already: the study stays the same.
    #[test]
    fn every_field_can_be_reached() {
        for text in [STUDY, "(base: (network: UNet(channels: 8, multipliers: [1], attention: [])))"] {
            let study = read(text).value.unwrap();
            let whole = one_line(&study);
            let leaves: Vec<Leaf> = flatten(&whole);
            assert!(leaves.len() > 40, "{leaves:?}");
            for leaf in leaves.iter().filter(|leaf| leaf.whole) {
                let change = Override { path: leaf.path.clone(), value: leaf.text.clone() };
                let changed = apply(Path::new("f"), text, std::slice::from_ref(&change));
                let changed = changed.unwrap_or_else(|errors| panic!("{errors}"));
                let reading = read(&changed);
                assert!(reading.problems.is_empty(), "{change}: {changed}");
                assert_eq!(reading.value.as_ref(), Some(&study), "{change}: {changed}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_override_makes_it_panic(
            path in "(base|seeds|arms|x)([.](network|consistency|train|y)|\\[[0-3]\\]){0,4}",
            value in "[a-zA-Z0-9(){}\\[\\]:,\"'/* é]{0,12}",
        ) {
            if let Ok(change) = format!("{path}={value}").parse::<Override>()
                && let Ok(text) = apply(Path::new("f"), STUDY, &[change])
            {
                drop(check(Path::new("f"), &text));
            }
        }
    }
}
