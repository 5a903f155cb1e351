//! The ways to say something else at a place: on the command line, and in an arm.

use super::defaults::{default_of, written};
use super::place::{Place, Step};
use crate::notation::from_ron;
use crate::study_config::{ArmsConfig, StudyConfig};
use cm_format::Holds;

/// `path=value` for `--set`, of fields below the base that it can name.
pub(crate) fn settable(place: &Place) -> Option<String> {
    let (last, before) = place.steps().split_last()?;
    let mut path: Vec<&str> = Vec::new();
    for step in before {
        match step {
            Step::Field(field) if matches!(field.holds, Holds::List(_)) => return None,
            Step::Field(field) => path.push(field.name),
            Step::Variant(_) => {}
        }
    }
    let Step::Field(last) = last else { return None };
    path.push(last.name);
    let default = default_of(place)?;
    let plain = default.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
    let quoted = if plain { default } else { format!("'{default}'") };
    place.is_in_base().then(|| format!("{}={quoted}", path.join(".")))
}

/// How an arm changes this place, if one change is all of it.
pub(crate) fn change(place: &Place) -> Option<String> {
    let path = place.to_string();
    let path = path.strip_prefix("base.")?;
    let changes = Place::root().follow(&["arms", "changes"]).ok()?;
    changes.of_type()?.variants().iter().find_map(|variant| {
        let change = changes.then_variant(variant);
        let study: StudyConfig = from_ron(&change.study(Some(&written(&change)))).ok()?;
        let ArmsConfig::Star(arms) = study.arms else { return None };
        let here = arms.first()?.changes.first()?.path() == path;
        here.then(|| variant.form())
    })
}
