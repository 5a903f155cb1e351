//! What stands where nothing is written, asked of the types themselves: a study with nothing but the way to a place is
//! read, and what has been filled in is looked up.

use super::place::{Place, Step};
use crate::notation::{from_ron, to_ron};
use crate::source_map::{Node, Part};
use crate::study_config::StudyConfig;
use cm_format::{Holds, Shape, Type};

/// The default of a field as RON on one line; `None` of what has none.
pub(crate) fn default_of(place: &Place) -> Option<String> {
    let field = place.field()?;
    let (_, before) = place.steps().split_last()?;
    let written = from_ron::<StudyConfig>(&Place::of(before).study(None)).ok();
    let found = written.and_then(|study| value_at(&to_ron(&study), place.steps()));
    found.or_else(|| skipped(field.holds, field.plain))
}

/// What is not written where it is the default: plain numbers as the sources have them, else nothing of a kind.
fn skipped(holds: Holds, plain: &str) -> Option<String> {
    match holds {
        _ if !plain.is_empty() => Some(plain.to_owned()),
        Holds::Optional(_) => Some("None".to_owned()),
        Holds::List(_) => Some("[]".to_owned()),
        Holds::Truth => Some("false".to_owned()),
        Holds::Named(name) => match Type::named(name).shape {
            Shape::Enum(choice) if !choice.default.is_empty() => Some(choice.default.to_owned()),
            Shape::Enum(_) => None,
            Shape::Struct(_) => Some("()".to_owned()),
        },
        Holds::Whole(_) | Holds::Real | Holds::Text | Holds::File | Holds::Other(_) => None,
    }
}

/// The text at the end of these steps in a study that is written out, on one line.
fn value_at(text: &str, steps: &[Step]) -> Option<String> {
    let mut path = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let (name, holds) = match step {
            Step::Field(field) => (Some(field.name), Some(field.holds)),
            Step::Variant(variant) => (None, variant.holds),
        };
        path.extend(name.map(|name| Part::Field(name.to_owned())));
        let mut list = holds.filter(|_| at + 1 < steps.len());
        while let Some(Holds::List(each)) = list {
            path.push(Part::Index(0));
            list = Some(*each);
        }
    }
    let tree = Node::scan(text)?;
    let (node, found) = tree.follow(&path);
    (found == path.len()).then(|| on_one_line(&text[node.span.clone()]))
}

/// Pretty RON without its line breaks, and without the commas before them.
pub(crate) fn on_one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let joined = lines.join(" ");
    joined.replace("r#", "").replace("( ", "(").replace(", )", ")").replace("[ ", "[").replace(", ]", "]")
}

/// A value that may stand at a place: its default, or the smallest that is read.
pub(crate) fn written(place: &Place) -> String {
    if let Some(default) = default_of(place)
        && !place.field().is_some_and(|field| field.required)
    {
        return default;
    }
    match place.steps().last() {
        Some(Step::Variant(variant)) => match variant.holds {
            None => variant.name.to_owned(),
            Some(holds) => {
                let inner = within_variant(place, holds);
                match inner.strip_prefix('(') {
                    Some(settings) => format!("{}({settings}", variant.name),
                    None => format!("{}({inner})", variant.name),
                }
            }
        },
        _ => place.holds().map_or(String::new(), simplest),
    }
}

/// What a variant's brackets hold: the settings that would be filled in, or something simple.
fn within_variant(place: &Place, holds: Holds) -> String {
    let Holds::Named(name) = holds else { return simplest(holds) };
    let of = Type::named(name);
    let fields: Vec<String> = of
        .fields()
        .iter()
        .map(|field| (field, place.then_field(field)))
        .filter_map(|(field, place)| {
            let value = if field.required { simplest(field.holds) } else { default_of(&place)? };
            Some(format!("{}: {value}", field.name))
        })
        .collect();
    match of.shape {
        Shape::Struct(_) => format!("({})", fields.join(", ")),
        Shape::Enum(_) => simplest(holds),
    }
}

/// Something that may stand there.
fn simplest(holds: Holds) -> String {
    match holds {
        Holds::Truth => "true".into(),
        Holds::Whole(_) => "1".into(),
        Holds::Real => "0.5".into(),
        Holds::Text => "\"text\"".into(),
        Holds::File => "\"path/to/file\"".into(),
        Holds::Optional(inner) => simplest(*inner),
        Holds::List(inner) => match inner {
            Holds::Named(_) => "[]".into(),
            _ => format!("[{}]", simplest(*inner)),
        },
        Holds::Named(name) => match Type::named(name).shape {
            Shape::Struct(_) => "()".into(),
            Shape::Enum(choice) => {
                let variant = choice.variants.iter().find(|variant| variant.name == choice.default);
                let variant = variant.or(choice.variants.first());
                variant.map_or(String::new(), |variant| match variant.holds {
                    None => variant.name.to_owned(),
                    Some(holds) => match simplest(holds).strip_prefix('(') {
                        Some(settings) => format!("{}({settings}", variant.name),
                        None => format!("{}({})", variant.name, simplest(holds)),
                    },
                })
            }
        },
        Holds::Other(_) => String::new(),
    }
}
