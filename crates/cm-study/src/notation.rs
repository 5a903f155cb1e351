//! RON as this project writes it. All other crates read and write it by these two functions, so that nothing else
//! knows the notation.

use ron::error::SpannedError;
use ron::extensions::Extensions;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How every RON text is read and written: `UNet(channels: 8)` needs no second pair of brackets around its struct, and
/// an optional value is written without `Some`.
pub(crate) fn options() -> ron::Options {
    ron::Options::default()
        .with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES | Extensions::IMPLICIT_SOME)
}

/// Pretty RON that [`from_ron`] reads. Folders of results are told apart by the text of their plans: a field that a later
/// version adds is skipped by its own struct where it says what every version before it did.
///
/// # Panics
/// If the value is something that RON cannot say; configurations are plain structs and enums.
pub fn to_ron(value: &impl Serialize) -> String {
    let pretty = ron::ser::PrettyConfig::new().compact_arrays(true);
    options().to_string_pretty(value, pretty).expect("configurations are plain structs and enums") + "\n"
}

/// The value of a text in RON.
///
/// # Errors
/// The parser's first complaint, with its line and column.
pub fn from_ron<T: DeserializeOwned>(text: &str) -> Result<T, SpannedError> {
    options().from_str(text)
}
