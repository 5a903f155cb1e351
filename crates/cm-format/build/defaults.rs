//! Where defaults come from: the comments behind them, which no parser of Rust keeps.
//!
//! The sources are formatted, so a default is a line `field: value, // origin` of `impl Default`, one level deeper for
//! a field of a field; a variant's stands behind `#[default]` or behind `Self::Variant` there; and a field of a struct
//! that derives its default may have its own behind it.

use std::collections::BTreeMap;

/// The origins of a type's defaults by the path of the field, and of the whole by an empty one; and the default variant.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    pub(crate) by_path: BTreeMap<String, String>,
    /// Defaults that are plain numbers or truths, as a study writes them.
    pub(crate) plain: BTreeMap<String, String>,
    pub(crate) variant: Option<String>,
}

/// Those of the type `name` in a file's text.
pub(crate) fn origins(text: &str, name: &str) -> Origins {
    let mut origins = Origins::default();
    if let Some(body) = block(text, &format!("impl Default for {name} {{")) {
        of_fields(body, &mut origins);
    }
    let declared = ["pub struct", "pub enum", "enum", "struct"];
    if let Some(body) = declared.iter().find_map(|kind| block(text, &format!("{kind} {name} {{"))) {
        of_declaration(body, &mut origins);
    }
    origins
}

/// What stands between a line at the left edge and the bracket that closes it there.
fn block<'a>(text: &'a str, head: &str) -> Option<&'a str> {
    let start = text.match_indices(head).find(|(at, _)| *at == 0 || text[..*at].ends_with('\n'))?.0;
    let body = &text[start + head.len()..];
    body.find("\n}").map(|end| &body[..end])
}

fn of_fields(body: &str, origins: &mut Origins) {
    // The fields that the line is inside of, each with its indentation.
    let mut inside: Vec<(usize, &str)> = Vec::new();
    let mut before = String::new();
    for line in body.lines() {
        let indentation = line.len() - line.trim_start().len();
        let (code, comment) = line
            .trim()
            .split_once("//")
            .map_or((line.trim(), None), |(code, comment)| (code.trim(), Some(comment.trim())));
        let again = comment.and_then(|comment| comment.strip_prefix("the same"));
        let origin =
            comment.map(|comment| again.map_or(comment.to_owned(), |more| format!("{before}{more}")));
        if let Some(variant) = code.strip_prefix("Self::") {
            let end = variant.find(|c: char| !c.is_alphanumeric()).unwrap_or(variant.len());
            origins.variant = Some(variant[..end].to_owned());
            origins.by_path.extend(origin.map(|origin| (String::new(), origin)));
            continue;
        }
        inside.retain(|(outer, _)| *outer < indentation);
        // Of a list that is too long for a line, the comment stands on top of it.
        if let (true, Some(origin), Some((_, field))) = (code.is_empty(), &origin, inside.last()) {
            origins.by_path.entry((*field).to_owned()).or_insert_with(|| origin.clone());
        }
        let Some((field, value)) = code.split_once(": ").filter(|(field, _)| is_name(field)) else {
            continue;
        };
        inside.push((indentation, field));
        if inside.len() == 1
            && let Some(plain) = plain(value.trim_end_matches(','))
        {
            origins.plain.insert(field.to_owned(), plain);
        }
        if let Some(origin) = origin {
            // Of `Table 3: the fixed N`, what others come from as well.
            if again.is_none() {
                origin.split(": ").next().unwrap_or_default().clone_into(&mut before);
            }
            let path: Vec<&str> = inside.iter().map(|(_, field)| *field).collect();
            origins.by_path.insert(path.join("."), origin);
        } else if !value.ends_with('{') {
            before.clear();
        }
    }
}

fn of_declaration(body: &str, origins: &mut Origins) {
    let mut marked = None;
    for line in body.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[default]") {
            marked = Some(rest.trim().trim_start_matches("//").trim().to_owned());
        } else if let Some(origin) = marked.take_if(|_| !line.starts_with('#') && !line.starts_with("//")) {
            let end = line.find(|c: char| !c.is_alphanumeric()).unwrap_or(line.len());
            origins.variant = Some(line[..end].to_owned());
            if !origin.is_empty() {
                origins.by_path.insert(String::new(), origin);
            }
        }
        let Some((code, comment)) = line.split_once(", // ") else { continue };
        if let Some((name, _)) = code.trim_start_matches("pub ").split_once(": ")
            && is_name(name)
        {
            origins.by_path.insert(name.to_owned(), comment.trim_start_matches("default ").to_owned());
        }
    }
}

/// A literal as a study writes it.
fn plain(value: &str) -> Option<String> {
    match value {
        "true" | "false" | "None" => Some(value.to_owned()),
        "f32::INFINITY" => Some("inf".to_owned()),
        _ => value.replace('_', "").parse::<f64>().is_ok().then(|| value.to_owned()),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
