//! The study format for programs: its JSON Schema, and studies in the JSON form that it describes.
//!
//! RON's JSON form is the one that serde gives: `UNet(channels: 8)` is `{"UNet": {"channels": 8}}`, `Training` is
//! `"Training"`, an optional value is itself or null. The schema comes from the same words and types as `cm explain`
//! (`cm-format`), and so do its bounds. Deliberately absent: rules between fields, which only a plan knows.

mod json_form;

pub use json_form::json_form;

use crate::explain::origin;
use cm_format::{Field, Holds, Range, Shape, Type, Variant, root, types};
use serde_json::{Map, Value, json};

/// The JSON Schema (draft 2020-12) of a study.
pub fn schema() -> Value {
    let definitions: Map<String, Value> =
        types().iter().map(|of| (of.name.to_owned(), definition(of))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study",
        "$ref": reference(root().name),
        "$defs": definitions,
    })
}

fn reference(name: &str) -> String {
    format!("#/$defs/{name}")
}

fn definition(of: &Type) -> Value {
    match of.shape {
        Shape::Struct(fields) => {
            let properties: Map<String, Value> =
                fields.iter().map(|field| (field.name.to_owned(), of_field(field))).collect();
            let required: Vec<&str> =
                fields.iter().filter(|field| field.required).map(|field| field.name).collect();
            json!({
                "description": of.doc,
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            })
        }
        Shape::Enum(choice) => {
            let variants: Vec<Value> = choice.variants.iter().map(of_variant).collect();
            json!({ "description": of.doc, "oneOf": variants })
        }
    }
}

fn of_field(field: &Field) -> Value {
    let origin = origin(field);
    let doc = match origin.is_empty() {
        true => field.doc.to_owned(),
        false => format!("{} Default: {origin}.", field.doc),
    };
    described(of_value(field.holds, field.doc), &doc)
}

fn of_variant(variant: &Variant) -> Value {
    let value = match variant.holds {
        None => json!({ "const": variant.name }),
        Some(holds) => json!({
            "type": "object",
            "properties": { variant.name: of_value(holds, variant.doc) },
            "required": [variant.name],
            "additionalProperties": false,
        }),
    };
    described(value, variant.doc)
}

fn described(mut value: Value, doc: &str) -> Value {
    value["description"] = json!(doc);
    value
}

/// What may stand in a place whose words are `doc`.
fn of_value(holds: Holds, doc: &str) -> Value {
    match holds {
        Holds::Truth => json!({ "type": "boolean" }),
        Holds::Whole(most) => {
            let mut value = bounded(json!({ "type": "integer" }), doc);
            if value.get("minimum").is_none() && value.get("exclusiveMinimum").is_none() {
                value["minimum"] = json!(0);
            }
            if value.get("maximum").is_none() && value.get("exclusiveMaximum").is_none() {
                value["maximum"] = json!(most);
            }
            value
        }
        Holds::Real => {
            let number = bounded(json!({ "type": "number" }), doc);
            // Beyond all numbers, which JSON cannot say.
            let endless = doc.split(|c: char| !c.is_alphanumeric()).any(|word| word == "inf");
            if endless { json!({ "anyOf": [number, { "const": "inf" }] }) } else { number }
        }
        Holds::Text | Holds::File => json!({ "type": "string" }),
        Holds::Optional(inner) => json!({ "anyOf": [of_value(*inner, doc), { "type": "null" }] }),
        Holds::List(inner) => json!({ "type": "array", "items": of_value(*inner, doc) }),
        Holds::Named(name) => json!({ "$ref": reference(name) }),
        Holds::Other(_) => json!({}),
    }
}

/// The same within the range that the words tell.
fn bounded(mut value: Value, doc: &str) -> Value {
    let Range { least, most } = Range::of(doc).unwrap_or_default();
    let number = |bound: f64| if bound.fract() == 0.0 { json!(bound as i64) } else { json!(bound) };
    if let Some((bound, allowed)) = least {
        value[if allowed { "minimum" } else { "exclusiveMinimum" }] = number(bound);
    }
    if let Some((bound, allowed)) = most {
        value[if allowed { "maximum" } else { "exclusiveMaximum" }] = number(bound);
    }
    value
}

#[cfg(test)]
mod tests;
