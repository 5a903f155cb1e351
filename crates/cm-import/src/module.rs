//! What a pickled network says of its parts besides their tensors.

use std::collections::BTreeMap;

/// An object inside a pickle: a module of PyTorch, with the numbers and texts it was made with. Its class is a name and
/// nothing else: no code of it is run.
#[derive(Clone, Debug, PartialEq)]
pub struct ModuleInfo {
    /// What the names of its tensors begin with, without the dot behind; empty for the whole.
    pub path: String,
    /// The name of its class, without its package.
    pub class: String,
    /// Its plain attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
}

/// A plain value of Python.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// None.
    None,
    /// A number, or 0 and 1 for False and True.
    Number(f64),
    /// A text.
    Text(String),
    /// Numbers in a row.
    List(Vec<f64>),
}

impl ModuleInfo {
    /// The number of this name.
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.attributes.get(name)? {
            Attribute::Number(value) => Some(*value),
            Attribute::None | Attribute::Text(_) | Attribute::List(_) => None,
        }
    }
}
