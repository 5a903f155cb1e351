//! What the format expects at a place of a text.

use crate::source_map::Node;
use cm_format::{Holds, Type};

/// What may stand where the byte `at` is: in the value of the field there, or in the innermost brackets around it. `format`
/// is what the whole text is to be. `None` where the way leads through what the format does not have.
pub(crate) fn expected(tree: &Node, text: &str, at: usize, format: Holds) -> Option<Holds> {
    let mut node = tree;
    let mut holds = format;
    loop {
        let within = inside(node, text, holds)?;
        let item = node.items.iter().rev().find(|item| item.span().start <= at && at < item.span().end);
        let Some(item) = item else {
            // The name in front of brackets belongs to the value, and the brackets to what is in them.
            let name = node.span.start + node.name(text).len();
            return Some(if at < name || !node.is_bracketed() { holds } else { within });
        };
        holds = match &item.key {
            Some((_, span)) if span.contains(&at) => return Some(within),
            Some((name, _)) => field(within, name)?,
            None => within,
        };
        node = &item.value;
    }
}

/// What may stand in a value's brackets.
fn inside(node: &Node, text: &str, holds: Holds) -> Option<Holds> {
    let name = node.name(text);
    match holds {
        Holds::Optional(inner) if name == "Some" => Some(*inner),
        Holds::Optional(inner) => inside(node, text, *inner),
        Holds::List(inner) if node.is_list() => Some(*inner),
        Holds::Named(_) if !name.is_empty() => variant(holds, name),
        other => Some(other),
    }
}

fn variant(holds: Holds, name: &str) -> Option<Holds> {
    let Holds::Named(of) = holds else { return None };
    let variant = Type::named(of).variants().iter().find(|variant| variant.name == name)?;
    // Without settings of its own, what stands in its brackets is still meant for the choice.
    Some(variant.holds.unwrap_or(holds))
}

fn field(holds: Holds, name: &str) -> Option<Holds> {
    match holds {
        Holds::Optional(inner) => field(*inner, name),
        Holds::Named(of) => {
            Type::named(of).fields().iter().find(|field| field.name == name).map(|field| field.holds)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_a_place_is_found_through_choices_and_lists() {
        let at = |text: &str, mark: &str| {
            let tree = Node::scan(text).unwrap();
            expected(&tree, text, text.find(mark).unwrap(), Holds::Named(cm_format::root().name))
        };
        let text = "(base: (consistency: (train: (learning_rate: (warmup: 1000), ema: [0.9]), target: Ema(x))), seeds: [y])";
        assert_eq!(at(text, "1000"), Some(Holds::Named("Duration")));
        assert_eq!(at(text, "0.9"), Some(Holds::Named("EmaConfig")));
        assert_eq!(at(text, "x)"), Some(Holds::Real));
        assert_eq!(at(text, "y]"), Some(Holds::Whole(u64::MAX)));
        assert_eq!(at(text, "learning"), Some(Holds::Named("TrainConfig")));
        assert_eq!(at("(bose: (x: 1))", "1"), None);
    }
}
