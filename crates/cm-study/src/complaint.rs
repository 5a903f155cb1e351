//! What is wrong with a text, in this program's words: what stands there, what is allowed, and what was probably meant.
//!
//! What the parser says is of Rust; what is allowed at a place is asked of the format (`cm-format`). Deliberately absent:
//! ranges and combinations, of which a plan knows.

use crate::advice::{instead, number_words};
use crate::diagnostics::{Diagnostic, closest, lower_first};
use crate::synonym::synonym;
use cm_format::{Holds, Type};
use ron::error::Error;
use std::ops::Range;

/// The problem in this program's words.
pub(crate) fn describe(error: &Error, place: Range<usize>, text: &str, holds: Option<Holds>) -> Diagnostic {
    let written = &text[place.clone()];
    let plain = holds.map(|holds| instead(written, holds)).unwrap_or_default();
    let (message, allowed) = match error {
        Error::NoSuchStructField { expected, found, .. } => {
            let given =
                text[place.end..].trim_start().strip_prefix(':').map(str::trim_start).unwrap_or_default();
            unknown_field(found, expected, given, holds)
        }
        Error::NoSuchEnumVariant { expected, found, .. } => unknown_choice(found, expected),
        // A plain value where a choice, settings or a list of them are wanted.
        Error::ExpectedIdentifier
        | Error::SuggestRawIdentifier(_)
        | Error::InvalidIdentifier(_)
        | Error::ExpectedStructLike
        | Error::ExpectedNamedStructLike(_)
        | Error::ExpectedArray
            if !plain.is_empty() =>
        {
            (format!("`{written}` is {}, and {} wanted", kind(written), wanted(holds)), plain.join(", "))
        }
        Error::MissingStructField { field, .. } => {
            (format!("`{field}` is not given"), format!("{field}: .."))
        }
        Error::ExpectedDifferentStructName { found, .. } => (
            format!("settings have no name of their own, such as `{found}`"),
            "values in round brackets alone: ( .. )".into(),
        ),
        Error::DuplicateStructField { field, .. } => {
            (format!("field `{field}` is given twice"), "each field once".into())
        }
        Error::InvalidIntegerDigit { .. } | Error::ExpectedInteger | Error::UnderscoreAtBeginning => {
            (format!("`{written}` is not a whole number"), number_words(written))
        }
        // The parser reads the digits before the point and then misses a comma.
        Error::ExpectedComma if written.parse::<f64>().is_ok() => {
            (format!("`{written}` is not a whole number"), number_words(written))
        }
        Error::IntegerOutOfBounds => {
            (format!("`{written}` does not fit here"), "whole numbers that are not negative".into())
        }
        Error::ExpectedFloat | Error::FloatUnderscore => {
            (format!("`{written}` is not a number"), "numbers such as 0.5 or 1e-4".into())
        }
        Error::ExpectedBoolean => (format!("`{written}` is neither true nor false"), "true, false".into()),
        Error::ExpectedString => {
            (format!("`{written}` is not a text"), "text in quotes, as in \"l1\"".into())
        }
        Error::ExpectedArray => {
            (format!("`{written}` is not a list"), "a list in square brackets, as in [0, 1]".into())
        }
        Error::ExpectedStructLike | Error::ExpectedNamedStructLike(_) if written.trim().is_empty() => (
            "the file holds nothing but white space and comments".into(),
            "values in round brackets: ( .. )".into(),
        ),
        Error::ExpectedStructLike | Error::ExpectedNamedStructLike(_) if is_name(written) => (
            format!("`{written}` lacks its settings"),
            format!("{written}() for the defaults, or settings in the brackets"),
        ),
        Error::ExpectedStructLike | Error::ExpectedNamedStructLike(_) => (
            format!("`{written}` is {}, and settings in round brackets are wanted", kind(written)),
            "(field: value, ..), or () for the defaults".into(),
        ),
        Error::ExpectedMapColon => (
            format!("`{written}` stands where a colon is wanted"),
            "field: value, with commas between".into(),
        ),
        Error::ExpectedComma => match without_settings(written, holds) {
            Some(name) => (format!("`{name}` has no settings"), format!("`{name}` without brackets")),
            None => (format!("`{written}` is not expected here"), "a comma or the closing bracket".into()),
        },
        Error::ExpectedIdentifier if written.starts_with('(') => (
            "one pair of brackets too many".into(),
            "the settings of a choice in its own brackets, as in Fixed(num_levels: 18)".into(),
        ),
        Error::ExpectedIdentifier | Error::SuggestRawIdentifier(_) | Error::InvalidIdentifier(_) => {
            let words = holds.map(|holds| holds.words());
            let allowed = words.unwrap_or_else(|| "the name of a field or of a choice".into());
            (format!("`{written}` is not a name"), allowed)
        }
        Error::TrailingCharacters => {
            (format!("`{written}` stands behind the end"), "nothing behind the last bracket".into())
        }
        Error::ExceededRecursionLimit => {
            ("brackets are nested too deeply".into(), "fewer than 128 brackets inside one another".into())
        }
        Error::Eof => {
            ("the file ends in the middle".into(), "as many closing brackets as opening ones".into())
        }
        Error::InvalidValueForType { .. } | Error::ExpectedUnit | Error::ExpectedDifferentLength { .. } => {
            (format!("`{written}` does not fit here"), holds.map(|holds| holds.words()).unwrap_or_default())
        }
        other => (lower_first(&other.to_string()), holds.map(|holds| holds.words()).unwrap_or_default()),
    };
    Diagnostic { message, place: Some(place), allowed }
}

/// A field that is not there: the one that was probably meant, with the value that was given as it would have it.
fn unknown_field(found: &str, expected: &[&str], given: &str, holds: Option<Holds>) -> (String, String) {
    let meant = synonym(found).filter(|own| expected.contains(own)).or_else(|| closest(found, expected));
    let allowed = expected.join(", ");
    let Some(name) = meant else { return (format!("no field is called `{found}` here"), allowed) };
    let of = holds.and_then(|holds| holds.named());
    let field = of.and_then(|of| of.fields().iter().find(|field| field.name == name));
    let value = given[..given.find([',', ')', '\n']).unwrap_or(given.len())].trim();
    let way = field.map(|field| instead(value, field.holds)).unwrap_or_default();
    let meant = way.first().map_or_else(|| name.to_owned(), |way| format!("{name}: {way}"));
    (format!("no field is called `{found}` here: did you mean `{meant}`?"), allowed)
}

/// A choice that is not there. FID is none: it is a distance by one network's features, whose weights are asked for.
fn unknown_choice(found: &str, expected: &[&str]) -> (String, String) {
    let meant = synonym(found).filter(|own| expected.contains(own)).or_else(|| closest(found, expected));
    let message = match meant {
        Some(name) => format!("no choice is called `{found}` here: did you mean `{name}`?"),
        None => format!("no choice is called `{found}` here"),
    };
    let mut allowed = expected.join(", ");
    if found.eq_ignore_ascii_case("fid") {
        allowed += "; the FID itself takes the weights of its network: evaluation: (networks: [Inception(weights: \"FILE\")])";
    }
    (message, allowed)
}

/// What is wanted where a plain value stands.
fn wanted(holds: Option<Holds>) -> &'static str {
    match holds {
        Some(Holds::Optional(inner)) => wanted(Some(*inner)),
        Some(Holds::List(_)) => "a list in square brackets is",
        Some(Holds::Named(name)) if Type::named(name).variants().is_empty() => {
            "settings in round brackets are"
        }
        _ => "one of several choices is",
    }
}

/// What stands there, in a word.
fn kind(written: &str) -> &'static str {
    match written.chars().next() {
        Some('"') => "a text",
        Some(c) if c.is_ascii_digit() || "+-.".contains(c) => "a number",
        Some('[') => "a list",
        _ => "a word",
    }
}

fn is_name(written: &str) -> bool {
    written.starts_with(char::is_alphabetic) && written.chars().all(char::is_alphanumeric)
}

/// The choice in front of brackets that it does not have.
fn without_settings(written: &str, holds: Option<Holds>) -> Option<&str> {
    let (name, _) = written.split_once('(')?;
    let variants = holds?.named()?.variants();
    variants.iter().any(|variant| variant.name == name && variant.holds.is_none()).then_some(name)
}
