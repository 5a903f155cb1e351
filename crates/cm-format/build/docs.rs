//! Doc comments as text for people: links become what they lead to.

use crate::constants::Constants;
use std::path::Path;
use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// The doc comment of an item of the type `of`, which is named with its file. Lines are joined; what follows an empty line is a
/// paragraph of its own. Examples are for readers of Rust, and left out.
pub(crate) fn text(attributes: &[Attribute], constants: &Constants, of: (&str, &Path)) -> String {
    let (mut text, mut in_example) = (String::new(), false);
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        let Meta::NameValue(pair) = &attribute.meta else { continue };
        let Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) = &pair.value else { continue };
        let line = line.value();
        if line.trim().starts_with("```") {
            in_example = !in_example;
            continue;
        }
        if in_example {
            continue;
        }
        match (line.trim(), text.is_empty() || text.ends_with('\n')) {
            ("", _) => text += "\n",
            (line, true) => text += line,
            (line, false) => {
                text.push(' ');
                text += line;
            }
        }
    }
    match reference(text.trim()) {
        Some((path, rest)) => format!("{REFERENCE}{path}{REFERENCE}{}", without_links(rest, constants, of)),
        None => without_links(text.trim(), constants, of),
    }
}

/// Stands on either side of the path of a field whose words are meant.
pub(crate) const REFERENCE: char = '\u{1}';

/// The path `Type::field` of words that begin with "As" and a link to it, and what follows.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (link, rest) = text.strip_prefix("As [`")?.split_once("`]")?;
    let (path, rest) = match rest.strip_prefix('(') {
        Some(target) => target.split_once(')')?,
        None => (link, rest),
    };
    let path = path.trim_start_matches("crate::");
    (path.matches("::").count() == 1).then_some((path, rest))
}

/// Constants as their numbers, other items by their own names, texts of links without their targets.
fn without_links(text: &str, constants: &Constants, of: (&str, &Path)) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('[') {
        let Some(end) = rest[at..].find(']').map(|end| at + end) else { break };
        let (label, after) = (&rest[at + 1..end], &rest[end + 1..]);
        let target = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        let code = label.strip_prefix('`').and_then(|label| label.strip_suffix('`'));
        out += &rest[..at];
        rest = match (code, target) {
            (None, None) => {
                out += &rest[at..=end];
                after
            }
            (None, Some((_, after))) => {
                out += label;
                after
            }
            (Some(code), target) => {
                let path = target.map_or(code, |(path, _)| path);
                match constants.get(path, of) {
                    Some(number) => out += number,
                    None => {
                        let name = code.rsplit("::").next().unwrap_or(code);
                        out += &format!("`{name}`");
                    }
                }
                target.map_or(after, |(_, after)| after)
            }
        };
    }
    out + rest
}
