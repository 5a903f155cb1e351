//! The whole format as a tree: every field of a study with the first sentence of its words.

use super::layout::columns;
use super::place::Place;
use cm_format::{Shape, first_sentence};

/// The column where words begin.
const WORDS: usize = 30;

/// The tree of the study format; choices are named, and what they hold is asked for by `cm explain PATH`.
pub fn tree() -> String {
    let mut text = "A study in RON: `field: value` with commas between; what is left out has its default.\n\
         `cm explain PATH` tells more, as in: cm explain consistency.curriculum\n\n"
        .to_owned();
    branch(&Place::root(), 0, &mut text);
    text
}

fn branch(place: &Place, depth: usize, text: &mut String) {
    let Some(of) = place.of_type() else { return };
    for field in of.fields() {
        let inner = place.then_field(field);
        let name = format!("{}{}", "  ".repeat(depth), field.name);
        let mut words = first_sentence(field.doc).to_owned();
        let shape = inner.of_type().map(|of| of.shape);
        if let Some(Shape::Enum(choice)) = shape {
            let names: Vec<&str> = choice.variants.iter().map(|variant| variant.name).collect();
            words += &format!("\n{}", names.join(" | "));
        }
        *text += &columns(&name, WORDS, &words);
        // What is only there when it is asked for is looked at on its own.
        if matches!((field.holds, shape), (cm_format::Holds::Named(_), Some(Shape::Struct(_)))) {
            branch(&inner, depth + 1, text);
        }
    }
    if let Shape::Enum(choice) = of.shape {
        let names: Vec<&str> = choice.variants.iter().map(|variant| variant.name).collect();
        *text += &format!("{}{}\n", "  ".repeat(depth), names.join(" | "));
    }
}
