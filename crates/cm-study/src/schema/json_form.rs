//! RON as JSON, without reading it as a study: what is wrong with it stays wrong.

use crate::notation::from_ron;
use crate::source_map::Node;
use cm_format::{Holds, Type, root};
use serde_json::{Map, Value, json};

/// A study's text in the JSON form; `None` if its brackets do not close.
pub fn json_form(text: &str) -> Option<Value> {
    Node::scan(text).map(|node| value(&node, text, Some(Holds::Named(root().name))))
}

/// The value of a node in whose place `holds` is expected, as far as that is known.
fn value(node: &Node, text: &str, holds: Option<Holds>) -> Value {
    let name = node.name(text).trim_start_matches("r#");
    if let Some(Holds::Optional(inner)) = holds {
        let written = text[node.span.clone()].trim();
        return match (written, name) {
            ("None", _) => Value::Null,
            (_, "Some") => content(node, text, Some(*inner)),
            _ => value(node, text, Some(*inner)),
        };
    }
    if node.is_list() {
        let each = match holds {
            Some(Holds::List(inner)) => Some(*inner),
            _ => None,
        };
        return node.items.iter().map(|item| value(&item.value, text, each)).collect();
    }
    if !node.is_bracketed() {
        return plain(text[node.span.clone()].trim());
    }
    let of = match holds {
        Some(Holds::Named(named)) => Some(Type::named(named)),
        _ => None,
    };
    if name.is_empty() {
        return content(node, text, holds);
    }
    let held = of.and_then(|of| of.variants().iter().find(|variant| variant.name == name)?.holds);
    json!({ name: content(node, text, held) })
}

/// What stands in a node's round brackets: fields, one value, several, or settings that are all left out.
fn content(node: &Node, text: &str, holds: Option<Holds>) -> Value {
    let fields = holds.and_then(|holds| holds.named()).map_or(&[][..], Type::fields);
    let named = |name: &str| fields.iter().find(|field| field.name == name).map(|field| field.holds);
    match &node.items[..] {
        [] => json!({}),
        items if items.iter().all(|item| item.key.is_some()) => {
            let pairs = items.iter().filter_map(|item| {
                let (name, _) = item.key.as_ref()?;
                Some((name.clone(), value(&item.value, text, named(name))))
            });
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        [only] => value(&only.value, text, holds),
        items => items.iter().map(|item| value(&item.value, text, None)).collect(),
    }
}

/// A word, a number or a text.
fn plain(text: &str) -> Value {
    match text {
        "true" => return json!(true),
        "false" => return json!(false),
        "inf" | "-inf" | "NaN" => return json!(text),
        _ => {}
    }
    // A name that would be read as something else has a mark.
    if let Some(name) = text.strip_prefix("r#").filter(|name| !name.starts_with(['"', '#'])) {
        return json!(name);
    }
    if text.starts_with(['"', 'r']) && text.ends_with(['"', '#']) {
        return from_ron::<String>(text).map_or(json!(text), Value::String);
    }
    let digits = text.replace('_', "");
    if let Ok(whole) = digits.parse::<u64>() {
        return json!(whole);
    }
    if let Ok(whole) = digits.parse::<i64>() {
        return json!(whole);
    }
    match digits.parse::<f64>() {
        Ok(number) if digits.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => json!(number),
        _ => json!(text),
    }
}
