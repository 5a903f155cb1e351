//! A configuration as a list of paths and values.

use crate::source_map::Node;

/// A value and its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// From the root down, as in `consistency.train.ema[0]`.
    pub path: String,
    /// The value as RON, or the name of a variant whose fields follow as leaves of their own.
    pub text: String,
    /// Whether the text is the whole value.
    pub whole: bool,
}

/// The values of a RON text in their order; nothing of a text that cannot be scanned.
pub fn flatten(text: &str) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    if let Some(node) = Node::scan(text) {
        collect(&node, text, "", &mut leaves);
    }
    leaves
}

fn collect(node: &Node, text: &str, path: &str, leaves: &mut Vec<Leaf>) {
    let name = node.name(text);
    let inside = node.inside();
    // A struct, perhaps in a variant: fields of their own.
    let named = !inside.items.is_empty() && inside.items.iter().all(|item| item.key.is_some());
    let deep = node.is_list() && has_fields(node);
    if !named && !deep {
        leaves.push(Leaf { path: path.to_owned(), text: text[node.span.clone()].to_owned(), whole: true });
        return;
    }
    if !name.is_empty() && !path.is_empty() {
        leaves.push(Leaf { path: path.to_owned(), text: name.to_owned(), whole: false });
    }
    if named {
        for item in &inside.items {
            let Some((key, _)) = &item.key else { continue };
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            collect(&item.value, text, &path, leaves);
        }
    } else {
        for (index, item) in node.items.iter().enumerate() {
            collect(&item.value, text, &format!("{path}[{index}]"), leaves);
        }
    }
}

/// Whether anything inside has a name.
fn has_fields(node: &Node) -> bool {
    node.items.iter().any(|item| item.key.is_some() || has_fields(&item.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_lists_and_structs_come_apart_into_values() {
        let text = "(a: 1, b: UNet(c: [1, 2], d: None), e: [Ema(0.9), Deep(x: 1)], f: Ema(0.5), g: [One(1)])";
        let leaves: Vec<String> =
            flatten(text).into_iter().map(|leaf| format!("{} = {}", leaf.path, leaf.text)).collect();
        let expected = [
            "a = 1",
            "b = UNet",
            "b.c = [1, 2]",
            "b.d = None",
            "e[0] = Ema(0.9)",
            "e[1] = Deep",
            "e[1].x = 1",
            "f = Ema(0.5)",
            "g = [One(1)]",
        ];
        assert_eq!(leaves, expected);
        assert!(flatten("(").is_empty());
    }
}
