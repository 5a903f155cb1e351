//! Files that a study names: from where the program was started, or beside the study file.

use crate::notation::from_ron;
use crate::source_map::Node;
use cm_format::{Holds, Type, root};
use std::ops::Range;
use std::path::Path;

/// The text of the study file `study` with the paths of files that are not there as they are written, but are beside the
/// file, written so that they are found. Absolute paths, and files that are in neither place, stay as they are.
pub(crate) fn beside(study: &Path, text: &str) -> String {
    let folder = study.parent().filter(|folder| !folder.as_os_str().is_empty());
    let (Some(folder), Some(tree)) = (folder, Node::scan(text)) else { return text.to_owned() };
    let mut files = Vec::new();
    collect(&tree, text, Holds::Named(root().name), &mut files);
    files.sort_by_key(|place| std::cmp::Reverse(place.start));
    let mut out = text.to_owned();
    for place in files {
        let Ok(written) = from_ron::<String>(&text[place.clone()]) else { continue };
        let path = Path::new(&written);
        let found = folder.join(path);
        if !written.is_empty() && path.is_relative() && !path.exists() && found.exists() {
            out.replace_range(place, &format!("{:?}", found.display().to_string()));
        }
    }
    out
}

/// The places of all paths.
fn collect(node: &Node, text: &str, holds: Holds, files: &mut Vec<Range<usize>>) {
    let name = node.name(text);
    match holds {
        Holds::File if !node.is_bracketed() => files.push(node.span.clone()),
        Holds::Optional(inner) if name == "Some" && node.items.iter().all(|item| item.key.is_none()) => {
            node.items.iter().for_each(|item| collect(&item.value, text, *inner, files));
        }
        Holds::Optional(inner) => collect(node, text, *inner, files),
        Holds::List(inner) => node.items.iter().for_each(|item| collect(&item.value, text, *inner, files)),
        Holds::Named(of) => {
            let of = Type::named(of);
            let held = match of.variants().iter().find(|variant| variant.name == name) {
                Some(variant) => variant.holds,
                None => Some(holds),
            };
            let Some(held) = held else { return };
            let fields = held.named().map_or(&[][..], Type::fields);
            for item in &node.items {
                match &item.key {
                    Some((key, _)) => {
                        let field = fields.iter().find(|field| field.name == key);
                        field.iter().for_each(|field| collect(&item.value, text, field.holds, files));
                    }
                    None => collect(&item.value, text, held, files),
                }
            }
        }
        Holds::Truth | Holds::Whole(_) | Holds::Real | Holds::Text | Holds::File | Holds::Other(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_beside_the_study_are_found_and_others_stay() {
        let folder = std::env::temp_dir().join(format!("cm-beside-{}", std::process::id()));
        fs::create_dir_all(folder.join("data")).unwrap();
        let study = folder.join("study.ron");
        let text = "(base: (dataset: Prepared(path: \"data\"), teacher: File(path: \"nowhere\")), arms: Star([(name: \"data\",
            changes: [Dataset(Source(path: \"data\"))])]))";
        let found = format!("{:?}", folder.join("data").display().to_string());
        let expected = text.replace("path: \"data\"", &format!("path: {found}"));
        assert_eq!(beside(&study, text), expected);
        assert_eq!(beside(Path::new("study.ron"), text), text);
        fs::remove_dir_all(folder).unwrap();
    }
}
