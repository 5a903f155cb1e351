//! The filters that a file carries along must be those that are known here.

use cm_import::Archive;
use std::collections::BTreeSet;

/// An error if one of the filters among the names is neither (1, 1) nor (1, 3, 3, 1) in both directions.
pub(crate) fn check_filters(
    archive: &mut Archive,
    prefix: &str,
    names: &BTreeSet<String>,
) -> Result<(), String> {
    for name in names.iter().filter(|name| name.ends_with(".resample_filter")) {
        let values =
            archive.read(&format!("{prefix}{name}")).map_err(|error| format!("`{name}`: {error}"))?;
        let taps: &[f32] = match values.len() {
            4 => &[1.0, 1.0],
            16 => &[1.0, 3.0, 3.0, 1.0],
            _ => &[],
        };
        let sum: f32 = taps.iter().sum();
        let known = taps.iter().flat_map(|a| taps.iter().map(move |b| a * b / (sum * sum)));
        if taps.is_empty() || known.zip(&values).any(|(known, value)| (known - value).abs() > 1e-3) {
            return Err(format!(
                "`{prefix}{name}` is {values:?}: only the filters [1, 1] and [1, 3, 3, 1] are known here"
            ));
        }
    }
    Ok(())
}
