//! A plan's text with a mark at each value that is not the default, and what that would be.

use crate::explain::{Place, default_of, on_one_line};
use crate::source_map::Node;
use cm_format::Shape;
use std::collections::BTreeMap;

/// Characters of a default that are told; longer ones are asked for with `cm explain`.
const LONGEST: usize = 60;

/// The text of a plan with comments behind the lines of values that differ from their defaults.
pub(crate) fn marked(text: &str) -> String {
    let Some(plan) = Node::scan(text) else { return text.to_owned() };
    let Ok(base) = Place::find("base") else { return text.to_owned() };
    let mut marks = Marks { text, defaults: BTreeMap::new(), found: Vec::new() };
    let experiments = plan.items.iter().filter(|item| is(item, "arms")).flat_map(|arms| &arms.value.items);
    for experiment in experiments.flat_map(|arm| arm.value.items.iter().filter(|item| is(item, "experiment")))
    {
        marks.fields(&experiment.value, &base);
    }
    marks.found.sort();
    let mut out = String::new();
    let mut from = 0;
    for (at, mark) in &marks.found {
        out += &text[from..*at];
        out += mark;
        from = *at;
    }
    out + &text[from..]
}

fn is(item: &crate::source_map::Item, name: &str) -> bool {
    item.key.as_ref().is_some_and(|(key, _)| key == name)
}

struct Marks<'a> {
    text: &'a str,
    defaults: BTreeMap<String, Option<String>>,
    /// Where lines end, and what is to be said there.
    found: Vec<(usize, String)>,
}

impl Marks<'_> {
    /// Marks the fields of a struct in whose place this node stands.
    fn fields(&mut self, node: &Node, place: &Place) {
        for item in &node.inside().items {
            let Some(field) = item.key.as_ref().and_then(|(name, _)| place.child(name)) else { continue };
            let key = field.to_string();
            let default = self.defaults.entry(key).or_insert_with(|| default_of(&field)).clone();
            let written = on_one_line(&self.text[item.value.span.clone()]);
            let Some(default) = default.filter(|default| *default != written) else { continue };
            let name = item.value.name(self.text);
            let variant = if name.is_empty() || name == "Some" { None } else { field.child(name) };
            let same_choice = default.split('(').next() == written.split('(').next();
            let nested = match &variant {
                Some(variant) => variant.of_type(),
                None => field.of_type(),
            };
            let settings = nested.is_some_and(|of| matches!(of.shape, Shape::Struct(_)));
            let inside = !item.value.inside().items.is_empty() && !item.value.is_list();
            if settings && inside && (same_choice || variant.is_some()) {
                self.fields(&item.value, variant.as_ref().unwrap_or(&field));
            }
            if !(settings && inside && same_choice) {
                self.mark(item.value.span.start, &default);
            }
        }
    }

    /// At the end of the line of this byte.
    fn mark(&mut self, at: usize, default: &str) {
        let end = self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline);
        let default = match default.chars().count() > LONGEST {
            true => "another".to_owned(),
            false => default.to_owned(),
        };
        self.found.push((end, format!(" // default: {default}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::check;
    use crate::plan::Plan;

    #[test]
    fn what_differs_is_marked_and_nothing_else() {
        let text = "(base: (class_conditional: true, consistency: (train: (batch: 64), curriculum: Progressive(end: 30)),
            network: UNet(attention: [4], multipliers: [1, 2]), evaluation: (samples: 1000)))";
        let plan = check("f.ron".as_ref(), text).unwrap().plan;
        let marked = marked(&plan.to_ron());
        let lines: Vec<&str> = marked.lines().map(str::trim).filter(|line| line.contains("//")).collect();
        let expected = [
            "multipliers: [1, 2], // default: [2, 2, 2]",
            "attention: [4], // default: [16]",
            "class_conditional: true, // default: false",
            "batch: 64, // default: 512",
            "curriculum: Progressive( // default: Fixed(num_levels: 18)",
            "end: 30, // default: 150",
            "samples: 1000, // default: 50000",
        ];
        assert_eq!(lines, expected);
        assert_eq!(Plan::from_ron(&marked).unwrap(), plan);
    }
}
