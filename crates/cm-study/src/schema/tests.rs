use super::*;
use crate::parse::read;
use crate::source_map::Node;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What the schema says of a value. Of JSON Schema's words those that the schema has, and no others.
fn complaint(schema: &Value, value: &Value, whole: &Value) -> Option<String> {
    let fits = |holds: bool, what: &str| (!holds).then(|| format!("{value}: {what}"));
    let fields = schema.as_object().expect("a schema is an object");
    fields.iter().find_map(|(word, rule)| match word.as_str() {
        "$ref" => {
            let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
            complaint(&whole["$defs"][name], value, whole)
        }
        "type" => fits(
            match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "null" => value.is_null(),
                "number" => value.is_number(),
                "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
                other => panic!("type {other}"),
            },
            &format!("no {rule}"),
        ),
        "const" => fits(value == rule, &format!("not {rule}")),
        "properties" => value.as_object()?.iter().find_map(|(name, value)| {
            complaint(rule.get(name).filter(|rule| rule.is_object())?, value, whole)
        }),
        "additionalProperties" => {
            let known = &schema["properties"];
            fits(value.as_object()?.keys().all(|name| known.get(name).is_some()), "unknown names")
        }
        "required" => {
            let names = rule.as_array().unwrap();
            fits(
                names.iter().all(|name| value.get(name.as_str().unwrap()).is_some() || !value.is_object()),
                "missing names",
            )
        }
        "items" => value.as_array()?.iter().find_map(|item| complaint(rule, item, whole)),
        "oneOf" | "anyOf" => {
            let fitting = rule
                .as_array()
                .unwrap()
                .iter()
                .filter(|rule| complaint(rule, value, whole).is_none())
                .count();
            fits(fitting == 1 || (word == "anyOf" && fitting > 0), "none of the choices")
        }
        "minimum" => fits(value.as_f64()? >= rule.as_f64().unwrap(), "too small"),
        "exclusiveMinimum" => fits(value.as_f64()? > rule.as_f64().unwrap(), "too small"),
        "maximum" => fits(value.as_f64()? <= rule.as_f64().unwrap(), "too large"),
        "exclusiveMaximum" => fits(value.as_f64()? < rule.as_f64().unwrap(), "too large"),
        "description" | "title" | "$schema" | "$defs" => None,
        other => panic!("the schema has a word that is not known here: {other}"),
    })
}

fn experiments() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let folders = ["", "methods", "paper"].map(|folder| root.join(folder));
    let files =
        folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let mut studies: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "ron")).collect();
    studies.sort();
    assert!(studies.len() > 30, "{studies:?}");
    studies.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_experiment_is_valid() {
    let schema = schema();
    for (path, text) in experiments() {
        let json = json_form(&text).unwrap();
        assert_eq!(complaint(&schema, &json, &schema), None, "{}", path.display());
    }
}

/// The JSON form is that of serde, where all is written out.
#[test]
fn the_json_form_is_what_serde_makes_of_a_study() {
    for (path, text) in experiments() {
        let study = read(&text).value.unwrap();
        let expected = serde_json::to_value(&study).unwrap();
        let written = crate::notation::to_ron(&study);
        let found = difference(&json_form(&written).unwrap(), &rounded(&expected), "");
        assert_eq!(found, None, "{}", path.display());
    }
}

/// The first place where two values differ.
fn difference(one: &Value, other: &Value, path: &str) -> Option<String> {
    match (one, other) {
        (Value::Object(some), Value::Object(others)) if some.len() == others.len() => {
            some.iter().find_map(|(name, value)| {
                difference(value, others.get(name).unwrap_or(&Value::Null), &format!("{path}/{name}"))
            })
        }
        (Value::Array(some), Value::Array(others)) if some.len() == others.len() => some
            .iter()
            .zip(others)
            .enumerate()
            .find_map(|(index, (value, other))| difference(value, other, &format!("{path}/{index}"))),
        // JSON has no infinity: serde's form makes nothing of it.
        (Value::String(number), Value::Null) if number == "inf" => None,
        _ => (one != other).then(|| format!("{path}: {one} and {other}")),
    }
}

/// Single precision as RON writes it, and not as the double that serde_json makes of it; infinity in words.
fn rounded(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let (double, single) = (number.as_f64().unwrap(), number.as_f64().unwrap() as f32);
            let short: f64 =
                if f64::from(single) == double { single.to_string().parse().unwrap() } else { double };
            json!(short)
        }
        Value::Array(items) => items.iter().map(rounded).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), rounded(value))).collect(),
        other => other.clone(),
    }
}

/// A change of a text that may take its shape away, and whether it keeps a number a number, out of whose range it may be.
struct Mutation {
    name: &'static str,
    of: fn(&str) -> Option<String>,
}

const MUTATIONS: [Mutation; 8] = [
    Mutation { name: "text for it", of: |_| Some("\"other\"".into()) },
    Mutation { name: "number for it", of: |_| Some("17".into()) },
    Mutation { name: "list of it", of: |text| Some(format!("[{text}]")) },
    Mutation { name: "truth for it", of: |_| Some("true".into()) },
    Mutation {
        name: "other name",
        of: |text| text.starts_with(char::is_alphabetic).then(|| format!("X{text}")),
    },
    Mutation {
        name: "without brackets",
        of: |text| text.find('(').filter(|at| *at > 0).map(|at| text[..at].trim().to_owned()),
    },
    Mutation {
        name: "with brackets",
        of: |text| text.chars().all(char::is_alphabetic).then(|| format!("{text}()")),
    },
    Mutation {
        name: "broken number",
        of: |text| text.replace('_', "").parse::<u64>().is_ok().then(|| "1.5".to_owned()),
    },
];

/// Each place of a text: the path of names to it, and its bytes; of the names of fields, too.
fn places(node: &Node, path: &str, text: &str, found: &mut Vec<(String, std::ops::Range<usize>, bool)>) {
    let here = format!("{path}/{}", node.name(text));
    for item in &node.items {
        let name = item.key.as_ref().map_or("", |(name, _)| name);
        let inner = format!("{here}.{name}");
        if let Some((_, span)) = &item.key {
            found.push((inner.clone(), span.clone(), true));
        }
        found.push((inner.clone(), item.value.span.clone(), false));
        places(&item.value, &inner, text, found);
    }
}

/// Every field of the experiments, each once, with every mutation: what reading refuses for its shape the
/// schema refuses, and what reading takes, with nothing left out that must be given, the schema takes too.
#[test]
fn what_reading_refuses_the_schema_refuses_and_nothing_else() {
    let schema = schema();
    let mut tried = BTreeSet::new();
    let (mut refused, mut taken) = (0, 0);
    for (path, text) in experiments() {
        let mut found = Vec::new();
        places(&Node::scan(&text).unwrap(), "", &text, &mut found);
        for (place, span, is_name) in found {
            let misspelt = [Mutation { name: "misspelt", of: |text| Some(format!("{text}x")) }];
            for Mutation { name, of } in if is_name { &misspelt[..] } else { &MUTATIONS[..] } {
                let Some(changed) = of(&text[span.clone()]) else { continue };
                // The parser takes it for what would be filled in.
                if changed == "Some" {
                    continue;
                }
                // The same field of the same settings once, wherever they stand.
                let names: Vec<&str> = place.rsplit('/').take(2).collect();
                if changed == text[span.clone()] || !tried.insert((names.concat(), *name)) {
                    continue;
                }
                let mutant = format!("{}{changed}{}", &text[..span.start], &text[span.end..]);
                let reading = read(&mutant);
                let complaint = match json_form(&mutant) {
                    Some(json) => complaint(&schema, &json, &schema),
                    None => Some("its brackets do not close".to_owned()),
                };
                let what = format!("{}: {place}: {name}: {changed}", path.display());
                match (reading.problems.first(), complaint) {
                    (Some(problem), None) => panic!("{what}\nonly reading refuses it: {}", problem.message),
                    (Some(_), Some(_)) => refused += 1,
                    // A number in the wrong range, or a value that must be given: a plan refuses those.
                    (None, Some(told)) => {
                        let of_plan = ["too small", "too large", "missing names"];
                        let ranged = of_plan.iter().any(|what| told.contains(what))
                            || told.contains("none of the choices");
                        let number = changed == "17" || changed == "1.5" || *name == "with brackets";
                        assert!(ranged && number, "{what}\nonly the schema refuses it: {told}");
                    }
                    (None, None) => taken += 1,
                }
            }
        }
    }
    assert!(refused > 500 && taken > 10, "{refused} refused, {taken} taken");
}

#[test]
fn bounds_come_from_the_words() {
    let schema = schema();
    let batch = &schema["$defs"]["TrainConfig"]["properties"]["batch"];
    assert_eq!((&batch["minimum"], &batch["maximum"]), (&json!(1), &json!(1 << 20)));
    let dropout = &schema["$defs"]["UNetConfig"]["properties"]["dropout"];
    assert_eq!((&dropout["minimum"], &dropout["exclusiveMaximum"]), (&json!(0), &json!(1)));
}
