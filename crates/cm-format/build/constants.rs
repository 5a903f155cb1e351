//! The bounds that doc comments name, as numbers.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Whole numbers by the name of the constant, behind that of its type if it has one; and which files were asked for.
pub(crate) struct Constants {
    known: BTreeMap<String, Vec<(String, PathBuf)>>,
    asked: RefCell<BTreeSet<PathBuf>>,
}

impl Constants {
    pub(crate) fn read(texts: &[(PathBuf, String)]) -> Self {
        let mut known: BTreeMap<String, Vec<(String, PathBuf)>> = BTreeMap::new();
        for (path, text) in texts {
            let mut of = String::new();
            for line in text.lines() {
                if let Some(name) = line.strip_prefix("impl ") {
                    of = format!("{}::", name.trim_end_matches([' ', '{']));
                } else if line == "}" {
                    of.clear();
                }
                let Some((_, rest)) = line.split_once("const ") else { continue };
                let Some((name, rest)) = rest.split_once(": ") else { continue };
                let Some((_, value)) = rest.split_once(" = ") else { continue };
                if let Some(number) = number(value.split(';').next().unwrap_or_default()) {
                    known.entry(format!("{of}{name}")).or_default().push((number, path.clone()));
                }
            }
        }
        Self { known, asked: RefCell::default() }
    }

    /// The number by a name such as `Self::MOST` in the docs of the type `of` in `file`, in digits with commas. Of several
    /// of one name, that of the same crate.
    pub(crate) fn get(&self, name: &str, (of, file): (&str, &Path)) -> Option<&str> {
        let own = name.strip_prefix("Self::").map(|name| format!("{of}::{name}"));
        let last = name.rsplit("::").next().unwrap_or(name);
        let known = [own.unwrap_or_else(|| name.to_owned()), last.to_owned()]
            .iter()
            .find_map(|name| self.known.get(name))?;
        let source =
            |file: &Path| file.ancestors().find(|folder| folder.ends_with("src")).map(Path::to_owned);
        let near = known.iter().find(|(_, other)| source(other) == source(file));
        let (number, file) = near.or(known.first())?;
        self.asked.borrow_mut().insert(file.clone());
        Some(number)
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let asked = self.asked.borrow().clone();
        let of_asked = move |file: &&PathBuf| asked.contains(*file);
        let mut files: Vec<&PathBuf> =
            self.known.values().flatten().map(|(_, file)| file).filter(of_asked).collect();
        files.dedup();
        files.into_iter()
    }
}

/// What such an expression says, if it is a whole number or a power of two.
fn number(expression: &str) -> Option<String> {
    let digits = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
    let value = match expression.split_once("<<") {
        Some((one, by)) => digits(one)?.checked_shl(u32::try_from(digits(by)?).ok()?)?,
        None => digits(expression)?,
    };
    let mut text = String::new();
    for (index, digit) in value.to_string().chars().rev().enumerate() {
        if index > 0 && index % 3 == 0 {
            text.insert(0, ',');
        }
        text.insert(0, digit);
    }
    Some(text)
}
