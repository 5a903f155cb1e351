//! The reference of the study format for people: `cm explain`.
//!
//! Words, ranges and origins of defaults are those that stand beside the types (`cm-format`); defaults themselves are
//! asked of the types. Deliberately absent: the format for programs (`schema.rs`).

mod defaults;
mod layout;
mod markdown;
mod place;
mod tree;
mod ways;

pub(crate) use defaults::{default_of, on_one_line, written};
pub(crate) use layout::indented_comment;
pub use markdown::reference;
pub use place::UnknownPlace;
pub(crate) use place::{Place, Step};
pub use tree::tree;

use cm_format::{Field, Holds, Shape, Type, Variant};
use layout::{indented, wrapped};

/// What may stand at a place of the format, such as `consistency.curriculum` or `arms.changes.LearningRate`: meaning,
/// unit, range, default and its origin, choices with their fields, an example.
///
/// # Errors
/// [`UnknownPlace`] with the nearest names.
pub fn explain(path: &str) -> Result<String, UnknownPlace> {
    let place = Place::find(path)?;
    let words = place.holds().map_or("no value of its own".into(), |holds| holds.words());
    let mut text = format!("{place}\n{}\n{}", indented(&words, 4), indented(place.doc(), 2));
    let own = place.holds().and_then(|holds| holds.named());
    if let Some(of) = own.filter(|of| !of.doc.is_empty() && of.doc != place.doc()) {
        text += &indented(of.doc, 2);
    }
    text += &default_line(&place);
    match own.map(|of| of.shape) {
        Some(Shape::Struct(fields)) => text += &fields_of(&place, fields, 2),
        Some(Shape::Enum(choice)) => {
            text += "\nOne of:\n";
            for variant in choice.variants {
                text += &choice_of(&place.then_variant(variant), variant, choice.default == variant.name);
            }
        }
        None => {}
    }
    text += &format!("\nExample, in a study:\n{}", indented(&example(&place), 2));
    if let Some(set) = ways::settable(&place) {
        text += &format!("On the command line:\n{}", indented(&format!("--set {set}"), 2));
    }
    if let Some(change) = ways::change(&place) {
        text += &format!("As a change of an arm:\n{}", indented(&change, 2));
    }
    Ok(text)
}

/// The default and where it comes from, if there is one.
fn default_line(place: &Place) -> String {
    let Some(field) = place.field() else { return String::new() };
    if field.required {
        return "\n  It has no default: it must be given.\n".to_owned();
    }
    let Some(default) = default_of(place) else { return String::new() };
    // Of settings in brackets each field tells its own.
    let short = wrapped(&default, 60).lines().count() <= 2;
    let default = if short { default } else { "its own fields', below".to_owned() };
    let origin = origin(field);
    let origin = if origin.is_empty() { String::new() } else { format!(" ({origin})") };
    format!("\n{}", indented(&format!("Default: {default}{origin}"), 2))
}

/// Where a field's default comes from: what stands beside it, or beside the type that it holds.
pub(crate) fn origin(field: &Field) -> String {
    let elsewhere = ["beside", "default beside", "this and what follows", "each"];
    let own = elsewhere.iter().all(|other| !field.source.starts_with(other)).then_some(field.source);
    let of_type = || match field.holds.named().map(|of| of.shape) {
        Some(Shape::Enum(choice)) => choice.source,
        Some(Shape::Struct(_)) | None => "",
    };
    own.filter(|own| !own.is_empty()).unwrap_or_else(of_type).to_owned()
}

/// The fields of a struct at a place, each with its form, default, origin and words.
fn fields_of(place: &Place, fields: &'static [Field], indent: usize) -> String {
    let mut text = String::new();
    for field in fields {
        let inner = place.then_field(field);
        let default = match field.required {
            true => "must be given".to_owned(),
            false => default_of(&inner).map_or(String::new(), |default| {
                let origin = origin(field);
                let origin = if origin.is_empty() { String::new() } else { format!(" ({origin})") };
                format!("default {default}{origin}")
            }),
        };
        let form = match field.holds.named() {
            Some(of) if of.variants().is_empty() => "settings in brackets".to_owned(),
            _ => field.holds.words(),
        };
        let default =
            if default.chars().count() > 160 { "default: see its own fields".into() } else { default };
        let comma = if default.is_empty() { "" } else { "; " };
        text += &format!("\n{}", indented(&format!("{}: {form}{comma}{default}", field.name), indent));
        text += &indented(field.doc, indent + 4);
    }
    text
}

/// A variant with its words and its fields.
fn choice_of(place: &Place, variant: &'static Variant, is_default: bool) -> String {
    let mark = if is_default { " (the default)" } else { "" };
    let form = match variant.holds {
        None => variant.name.to_owned(),
        Some(holds) => match holds.named().map(Type::variants) {
            Some([]) => format!("{}(..)", variant.name),
            _ => format!("{}({})", variant.name, holds.words()),
        },
    };
    let mut text = format!("\n{}", indented(&format!("{form}{mark}"), 2)) + &indented(variant.doc, 6);
    if let Some(Shape::Struct(fields)) = variant.holds.and_then(|holds| holds.named()).map(|of| of.shape) {
        text += &fields_of(place, fields, 6);
    }
    text
}

/// A study that is read, with this place written in it.
fn example(place: &Place) -> String {
    if let Some(text) = with_required(place) {
        return text;
    }
    let value = match place.holds() {
        None => None,
        Some(_) if place.field().is_none() => Some(written(place)),
        Some(holds) => Some(match holds.named().map(|of| of.shape) {
            // Of a choice that which is not taken anyway shows more.
            Some(Shape::Enum(choice)) => {
                let others = || choice.variants.iter().filter(|variant| variant.name != choice.default);
                let variant = others().find(|variant| variant.holds.is_some()).or(others().next());
                let variant = variant.or(choice.variants.first());
                let value = variant.map_or(String::new(), |variant| written(&place.then_variant(variant)));
                if matches!(holds, Holds::List(_)) { format!("[{value}]") } else { value }
            }
            _ => written(place),
        }),
    };
    // An arm has a name.
    place.study(value.as_deref()).replace("(changes: ", "(name: \"an-arm\", changes: ")
}

/// The same of a field beside which others must be given: all of them.
fn with_required(place: &Place) -> Option<String> {
    let field = place.field()?;
    let (_, before) = place.steps().split_last()?;
    let owner = Place::of(before);
    let fields = owner.of_type()?.fields();
    if !fields.iter().any(|other| other.required) {
        return None;
    }
    let given = fields.iter().filter(|other| other.required || other.name == field.name);
    let given: Vec<String> =
        given.map(|other| format!("{}: {}", other.name, written(&owner.then_field(other)))).collect();
    let settings = format!("({})", given.join(", "));
    let value = match (owner.steps().last(), owner.holds()) {
        (Some(Step::Variant(variant)), Some(Holds::List(_))) => format!("{}([{settings}])", variant.name),
        (Some(Step::Variant(variant)), _) => format!("{}{settings}", variant.name),
        (_, Some(Holds::List(_))) => format!("[{settings}]"),
        _ => settings,
    };
    Some(owner.study(Some(&value)).replace("(published: ", "(name: \"an-arm\", published: "))
}

#[cfg(test)]
mod tests;
