//! The whole reference as one page of Markdown, for the guide.

use super::{Place, default_of, origin};
use cm_format::{Field, Shape, Variant};

/// Every type of the format once, at the place where a study meets it first.
pub fn reference() -> String {
    let mut text =
        "# Reference of the study format\n\nMade by `cm explain --markdown` from the sources of the types; \
                    not written by hand.\n"
            .to_owned();
    let mut told: Vec<&str> = Vec::new();
    for place in std::iter::once(Place::root()).chain(Place::everywhere()) {
        let Some(of) = place.of_type().filter(|of| !told.contains(&of.name)) else { continue };
        told.push(of.name);
        text += &format!("\n## `{place}`\n\n{}\n", of.doc);
        match of.shape {
            Shape::Struct(fields) => text += &table(&place, fields),
            Shape::Enum(choice) => {
                text += "\n| choice | meaning |\n|:--|:--|\n";
                choice.variants.iter().for_each(|variant| text += &row(variant, choice.default));
            }
        }
    }
    text
}

fn table(place: &Place, fields: &'static [Field]) -> String {
    let mut text = "\n| field | what may stand there | default | meaning |\n|:--|:--|:--|:--|\n".to_owned();
    for field in fields {
        let default = match field.required {
            true => "must be given".to_owned(),
            false => default_of(&place.then_field(field)).map_or(String::new(), |default| {
                let default =
                    if default.chars().count() > 60 { "beside its fields".into() } else { code(&default) };
                let origin = origin(field);
                if origin.is_empty() { default } else { format!("{default} ({})", cell(&origin)) }
            }),
        };
        let form = field.holds.words().replace(" | ", ", ");
        text += &format!("| `{}` | {} | {default} | {} |\n", field.name, cell(&form), cell(field.doc));
    }
    text
}

fn row(variant: &Variant, default: &str) -> String {
    let mark = if variant.name == default { " (default)" } else { "" };
    format!("| `{}`{mark} | {} |\n", variant.form(), cell(variant.doc))
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// What does not end a cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ").replace('<', "&lt;")
}
