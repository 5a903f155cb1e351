//! What is wrong with a number of a configuration.

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} is {given}: {allowed}")]
pub struct RangeError {
    /// Path of the field inside the configuration, e.g. `learning_rate.peak`.
    pub field: String,
    /// The value given.
    pub given: String,
    /// What is allowed.
    pub allowed: &'static str,
}

impl RangeError {
    /// A complaint about `field` unless `holds`.
    pub fn unless(holds: bool, field: &str, given: impl ToString, allowed: &'static str) -> Option<Self> {
        (!holds).then(|| Self { field: field.into(), given: given.to_string(), allowed })
    }
}
