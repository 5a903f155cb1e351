//! Where things stand in a RON text: a tree of byte ranges, so that a complaint about `base.consistency.distance.c`
//! can point at the number the user wrote, and one bad field can be blanked out to look for further problems.
//!
//! The scanner knows RON's brackets, strings and comments and nothing of types. It is deliberately lenient: whether a
//! text is valid is for `ron` to say. This module knows nothing of configurations.

use std::ops::Range;

/// Deeper nesting than `ron` itself accepts (128) is not mapped.
const DEEPEST: usize = 160;

/// A value and what is inside its brackets.
#[derive(Debug, PartialEq)]
pub(crate) struct Node {
    /// From the first to behind the last byte, name and brackets included.
    pub(crate) span: Range<usize>,
    /// What stands between the brackets; empty for numbers, strings and bare names.
    pub(crate) items: Vec<Item>,
    /// Whether it has brackets of its own.
    bracketed: bool,
    /// Whether the brackets are `[ ]`.
    list: bool,
    /// Whether an item was taken out by [`Node::prune`].
    pub(crate) pruned: bool,
}

/// A field, a map entry or an element.
#[derive(Debug, PartialEq)]
pub(crate) struct Item {
    /// Name and place of the field, without the colon.
    pub(crate) key: Option<(String, Range<usize>)>,
    /// What is assigned.
    pub(crate) value: Node,
}

impl Item {
    /// From the key, if there is one, to the end of the value.
    pub(crate) fn span(&self) -> Range<usize> {
        self.key.as_ref().map_or(self.value.span.start, |(_, span)| span.start)..self.value.span.end
    }
}

/// One step from a configuration to a part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// A named field.
    Field(String),
    /// An element, counted from 0.
    Index(usize),
}

/// The steps of a dotted path such as `train.ema[1].peak`.
pub(crate) fn parts(path: &str) -> Vec<Part> {
    path.split(['.', '[', ']'])
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().map_or_else(|_| Part::Field(part.to_owned()), Part::Index))
        .collect()
}

impl Node {
    /// The tree of a whole text; `None` if brackets, strings or comments do not close.
    pub(crate) fn scan(text: &str) -> Option<Self> {
        let mut scanner = Scanner { text, at: 0 };
        scanner.blank()?;
        while scanner.rest().starts_with("#!") {
            scanner.at += scanner.rest().find(']')? + 1;
            scanner.blank()?;
        }
        let node = scanner.value(0)?;
        scanner.blank()?;
        scanner.rest().is_empty().then_some(node)
    }

    /// How far `path` can be followed: the last value on it that is written in the text, the place to point at (the
    /// key's value), and the number of steps taken.
    pub(crate) fn follow(&self, path: &[Part]) -> (&Self, usize) {
        let mut node = self;
        for (steps, part) in path.iter().enumerate() {
            match node.child(part) {
                Some(child) => node = child,
                None => return (node, steps),
            }
        }
        (node, path.len())
    }

    /// The part of this value named by one step, looking through enum variants: in `network: UNet(channels: 8)` the
    /// field `channels` belongs to `network`.
    fn child(&self, part: &Part) -> Option<&Self> {
        let direct = match part {
            Part::Field(name) => self
                .items
                .iter()
                .find(|item| item.key.as_ref().is_some_and(|(key, _)| key == name))
                .map(|item| &item.value),
            Part::Index(index) if self.list || self.items.len() != 1 || !self.items[0].value.bracketed => {
                self.items.get(*index).map(|item| &item.value)
            }
            Part::Index(_) => None,
        };
        direct.or_else(|| match &self.items[..] {
            [Item { key: None, value }] if !self.list => value.child(part),
            _ => None,
        })
    }

    /// The brackets that hold this value's parts: its own, or those of the one value inside a variant.
    pub(crate) fn inside(&self) -> &Self {
        match &self.items[..] {
            [Item { key: None, value }] if !self.list && value.bracketed => value.inside(),
            _ => self,
        }
    }

    /// The name before the brackets; empty for lists, tuples and structs without a name.
    pub(crate) fn name<'a>(&self, text: &'a str) -> &'a str {
        let whole = &text[self.span.clone()];
        let end = if self.bracketed { whole.find(['(', '[', '{']).unwrap_or(0) } else { 0 };
        whole[..end].trim()
    }

    /// Whether it has brackets of its own.
    pub(crate) fn is_bracketed(&self) -> bool {
        self.bracketed
    }

    /// Whether the brackets are `[ ]`.
    pub(crate) fn is_list(&self) -> bool {
        self.list
    }

    /// Takes out the item that covers exactly `span`.
    pub(crate) fn prune(&mut self, span: &Range<usize>) {
        let before = self.items.len();
        self.items.retain(|item| item.span() != *span);
        self.pruned |= self.items.len() < before;
        for item in &mut self.items {
            if item.value.span.start <= span.start && span.end <= item.value.span.end {
                item.value.prune(span);
            }
        }
    }

    /// The chain of items around byte `at`, outermost first; an item reaches to the start of the next one, so that a
    /// position behind a value (where a parser noticed) still belongs to it.
    pub(crate) fn around(&self, at: usize) -> Vec<&Item> {
        let mut chain = Vec::new();
        let mut node = self;
        while let Some(item) = node.items.iter().rev().find(|item| item.span().start <= at) {
            if at >= node.span.end {
                break;
            }
            chain.push(item);
            node = &item.value;
        }
        chain
    }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Skips white space and comments.
    fn blank(&mut self) -> Option<()> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if self.rest().starts_with("//") {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            } else if self.rest().starts_with("/*") {
                self.block_comment()?;
            } else {
                return Some(());
            }
        }
    }

    fn block_comment(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            if self.rest().starts_with("/*") {
                depth += 1;
                self.at += 2;
            } else if self.rest().starts_with("*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return Some(());
                }
            } else {
                self.at += self.peek()?.len_utf8();
            }
        }
    }

    fn value(&mut self, depth: usize) -> Option<Node> {
        if depth > DEEPEST {
            return None;
        }
        let start = self.at;
        if self.literal()? {
            return Some(Node {
                span: start..self.at,
                items: vec![],
                bracketed: false,
                list: false,
                pruned: false,
            });
        }
        let word = self
            .rest()
            .find(|c: char| c.is_whitespace() || ",:()[]{}\"'/".contains(c))
            .unwrap_or(self.rest().len());
        self.at += word;
        let end = self.at;
        if word > 0 {
            self.blank()?;
        }
        let open = self.peek();
        let close = match open {
            Some('(') => ')',
            Some('[') if word == 0 => ']',
            Some('{') if word == 0 => '}',
            _ => {
                self.at = end;
                let node =
                    Node { span: start..end, items: vec![], bracketed: false, list: false, pruned: false };
                return (word > 0).then_some(node);
            }
        };
        self.at += 1;
        let items = self.items(close, depth)?;
        Some(Node { span: start..self.at, items, bracketed: true, list: open == Some('['), pruned: false })
    }

    /// Items up to and including the closing bracket.
    fn items(&mut self, close: char, depth: usize) -> Option<Vec<Item>> {
        let mut items = Vec::new();
        loop {
            self.blank()?;
            match self.peek()? {
                c if c == close => {
                    self.at += 1;
                    return Some(items);
                }
                ',' => self.at += 1,
                ')' | ']' | '}' | ':' => return None,
                _ => {
                    let value = self.value(depth + 1)?;
                    let end = self.at;
                    self.blank()?;
                    if self.peek() == Some(':') {
                        self.at += 1;
                        self.blank()?;
                        let name = self.text[value.span.clone()].trim_matches('"').to_owned();
                        items.push(Item {
                            key: Some((name.trim_start_matches("r#").to_owned(), value.span)),
                            value: self.value(depth + 1)?,
                        });
                    } else {
                        self.at = end;
                        items.push(Item { key: None, value });
                    }
                }
            }
        }
    }

    /// Skips a string, raw string, byte string or character; false if there is none here.
    fn literal(&mut self) -> Option<bool> {
        let rest = self.rest();
        let prefix = ["br", "b", "r"].into_iter().find(|p| {
            rest.strip_prefix(p).is_some_and(|after| after.trim_start_matches('#').starts_with(['"', '\'']))
        });
        let body = prefix.map_or(rest, |p| &rest[p.len()..]);
        let raw = prefix.is_some_and(|p| p.ends_with('r'));
        let hashes = if raw { body.len() - body.trim_start_matches('#').len() } else { 0 };
        let inner = &body[hashes..];
        let quote = match inner.chars().next() {
            Some(c @ ('"' | '\'')) => c,
            _ => return Some(false),
        };
        let skipped = rest.len() - inner.len() + 1;
        let inside = &inner[1..];
        let length = if raw {
            let end = format!("\"{}", "#".repeat(hashes));
            inside.find(&end)? + end.len()
        } else {
            let mut escaped = false;
            let end = inside.find(|c| {
                let ends = c == quote && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end? + 1
        };
        self.at += skipped + length;
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at<'a>(text: &'a str, path: &str) -> &'a str {
        let node = Node::scan(text).expect("scans");
        let parts = parts(path);
        let (found, steps) = node.follow(&parts);
        assert_eq!(steps, parts.len(), "{path} is in the text");
        &text[found.span.clone()]
    }

    #[test]
    fn fields_are_found_through_variants_lists_comments_and_strings() {
        let text = r###"
            #![enable(implicit_some)]
            // a comment with ( and "
            ( a: 1, /* [ /* nested */ */ b: Named(c: [1, (2), Deep(x: -1.5e3)], s: "a ) \" ,"),
              r#type: r##"raw "# string"##, d : One([ (n: "p"), (n: 'q') ]), e: Some((f: Two(3, 4))), )
        "###;
        assert_eq!(at(text, "a"), "1");
        assert_eq!(at(text, "b.c[2]"), "Deep(x: -1.5e3)");
        assert_eq!(at(text, "b.c[2].x"), "-1.5e3");
        assert_eq!(at(text, "b.s"), r#""a ) \" ,""#);
        assert_eq!(at(text, "type"), r###"r##"raw "# string"##"###);
        assert_eq!(at(text, "d[1].n"), "'q'");
        assert_eq!(at(text, "e.f[1]"), "4");
    }

    #[test]
    fn a_path_that_is_not_written_ends_at_its_last_written_part() {
        let text = "(a: B(c: 1))";
        let node = Node::scan(text).unwrap();
        let (found, steps) = node.follow(&parts("a.d.e"));
        assert_eq!((&text[found.span.clone()], steps), ("B(c: 1)", 1));
    }

    #[test]
    fn positions_belong_to_the_innermost_item_before_them() {
        let text = "(a: (b: 1, c: [2, 3]), d: 4)";
        let node = Node::scan(text).unwrap();
        let inner = |needle: &str| {
            let chain = node.around(text.find(needle).unwrap());
            &text[chain.last().unwrap().span()]
        };
        assert_eq!(inner("1,"), "b: 1");
        assert_eq!(inner("3]"), "3");
        assert_eq!(inner("4)"), "d: 4");
    }

    #[test]
    fn what_does_not_close_has_no_tree() {
        for text in ["", "(", "(a: [1)", "(a: \"x)", "(a: 1 /* )", "()))", "(a: )", &"(".repeat(100_000)] {
            assert_eq!(Node::scan(text), None, "{text:.20}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_scanner_panic(text in "[a-z0-9(){}\\[\\]:,\"'/*\\\\#rbé \n]{0,60}") {
            if let Some(node) = Node::scan(&text) {
                for byte in 0..text.len() {
                    prop_assert!(node.around(byte).iter().all(|item| text.get(item.span()).is_some()));
                }
            }
        }
    }
}
