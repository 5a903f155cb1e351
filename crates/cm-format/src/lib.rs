//! The format of studies, described: every type of it with its fields, its choices, what they mean and where their
//! defaults come from.
//!
//! One source: the types themselves, in whichever crate they stand. The build script reads their declarations, their
//! doc comments, and the comments behind their defaults; so there is no second list to keep, and a field without words
//! fails a test here. [`root()`] is the type of a whole file; [`Range::of`] is what a field's words say of its numbers.
//!
//! Deliberately absent: values. What a default is, is asked of the types (`cm-study`). This crate knows no other crate of
//! the workspace, only their sources.
//!
//! ```
//! let study = cm_format::root();
//! assert!(study.fields().iter().any(|field| field.name == "base" && !field.doc.is_empty()));
//! ```

mod range;

pub use range::{Range, first_sentence};

/// A type of the format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Type {
    /// Its name in the sources; unique, and not for people.
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// How it is written.
    pub shape: Shape,
}

/// How a type is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// `(field: value, ..)`.
    Struct(&'static [Field]),
    /// One of several names, perhaps with a value in brackets.
    Enum(Choice),
}

/// The variants of an enum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// In the order of the sources.
    pub variants: &'static [Variant],
    /// Name of the one taken where none is written; empty if there is none.
    pub default: &'static str,
    /// Where that default comes from.
    pub source: &'static str,
}

/// A field of a struct.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// Its name in a file.
    pub name: &'static str,
    /// What it means, with unit and range.
    pub doc: &'static str,
    /// What may stand there.
    pub holds: Holds,
    /// Where its default comes from.
    pub source: &'static str,
    /// The default as a study writes it, where the sources have a plain number or truth there; else empty. What it really
    /// is, is asked of the types.
    pub plain: &'static str,
    /// Whether it must be written.
    pub required: bool,
}

/// A variant of an enum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variant {
    /// Its name in a file.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// What stands in its brackets; without, it has none.
    pub holds: Option<Holds>,
}

/// What may stand in a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Holds {
    /// `true` or `false`.
    Truth,
    /// A whole number up to this one, not negative.
    Whole(u64),
    /// A number.
    Real,
    /// A text in quotes.
    Text,
    /// The path of a file or folder, in quotes.
    File,
    /// The same, or `None`.
    Optional(&'static Holds),
    /// Any number of them in square brackets.
    List(&'static Holds),
    /// A [`Type`] by its name.
    Named(&'static str),
    /// A form that no study has so far, as the sources write it.
    Other(&'static str),
}

include!(concat!(env!("OUT_DIR"), "/types.rs"));

/// The type of a whole file.
pub fn root() -> &'static Type {
    &TYPES[0]
}

/// Every type of the format, the file's first.
pub fn types() -> &'static [Type] {
    TYPES
}

impl Type {
    /// The type of this name.
    ///
    /// # Panics
    /// If there is none, which no [`Holds::Named`] names.
    pub fn named(name: &str) -> &'static Self {
        TYPES.iter().find(|of| of.name == name).expect("every named type is described")
    }

    /// Its fields, none of an enum.
    pub fn fields(&self) -> &'static [Field] {
        match self.shape {
            Shape::Struct(fields) => fields,
            Shape::Enum(_) => &[],
        }
    }

    /// Its variants, none of a struct.
    pub fn variants(&self) -> &'static [Variant] {
        match self.shape {
            Shape::Struct(_) => &[],
            Shape::Enum(choice) => choice.variants,
        }
    }
}

impl Holds {
    /// The type it names, whether it may be left out or is a list of it.
    pub fn named(&self) -> Option<&'static Type> {
        match self {
            Self::Optional(inner) | Self::List(inner) => inner.named(),
            Self::Named(name) => Some(Type::named(name)),
            Self::Truth | Self::Whole(_) | Self::Real | Self::Text | Self::File | Self::Other(_) => None,
        }
    }

    /// Whether it is a number, may be one, or is a list of them.
    pub fn is_number(&self) -> bool {
        match self {
            Self::Optional(inner) | Self::List(inner) => inner.is_number(),
            Self::Whole(_) | Self::Real => true,
            Self::Truth | Self::Text | Self::File | Self::Named(_) | Self::Other(_) => false,
        }
    }

    /// In words, as in `a whole number`; types by their choices.
    pub fn words(&self) -> String {
        match self {
            Self::Truth => "true or false".into(),
            Self::Whole(_) => "a whole number".into(),
            Self::Real => "a number".into(),
            Self::Text => "a text in quotes".into(),
            Self::File => "a path in quotes".into(),
            Self::Optional(inner) => format!("{}, or None", inner.words()),
            Self::List(inner) => format!("a list, each {}", inner.words()),
            Self::Named(name) => match Type::named(name).variants() {
                [] => "settings in brackets".into(),
                variants => variants.iter().map(Variant::form).collect::<Vec<_>>().join(" | "),
            },
            Self::Other(form) => (*form).into(),
        }
    }
}

impl Variant {
    /// As it is written, with dots for what stands in its brackets.
    pub fn form(&self) -> String {
        match self.holds {
            None => self.name.to_owned(),
            Some(_) => format!("{}(..)", self.name),
        }
    }
}

#[cfg(test)]
mod tests;
