use super::*;
use crate::StudyConfig;
use crate::notation::from_ron;

/// The fields of each type once, wherever they are met first.
fn distinct() -> Vec<Place> {
    let mut known = std::collections::BTreeSet::new();
    let mut places = Place::everywhere();
    places.retain(|place| {
        let (_, before) = place.steps().split_last().expect("a place has a step");
        let owner = if before.is_empty() { None } else { Place::of(before).of_type() };
        known.insert((owner.map(|of| of.name), place.to_string().rsplit('.').next().map(str::to_owned)))
    });
    places
}

#[test]
fn every_example_is_read() {
    for place in distinct() {
        let text = example(&place);
        from_ron::<StudyConfig>(&text).unwrap_or_else(|error| panic!("{place}: {error}\n{text}"));
    }
}

/// What is told as a default is what is filled in: to write it changes nothing.
#[test]
fn to_write_a_default_changes_nothing() {
    for place in Place::everywhere() {
        let Some(default) = default_of(&place) else { continue };
        if place.field().is_some_and(|field| field.required) {
            continue;
        }
        let (_, before) = place.steps().split_last().expect("a field is a step");
        let Ok(without) = from_ron::<StudyConfig>(&Place::of(before).study(None)) else { continue };
        let text = place.study(Some(&default));
        let with = from_ron::<StudyConfig>(&text).unwrap_or_else(|error| panic!("{place}: {error}\n{text}"));
        assert_eq!(with, without, "{place}: {default}");
    }
}

#[test]
fn every_field_that_need_not_be_given_has_a_default_to_tell() {
    let untold = Place::everywhere()
        .into_iter()
        .filter(|place| place.field().is_some_and(|field| !field.required) && default_of(place).is_none());
    let untold: Vec<String> = untold.map(|place| place.to_string()).collect();
    assert!(untold.is_empty(), "{untold:?}");
}

#[test]
fn places_are_found_as_people_write_them() {
    let found = |path: &str| Place::find(path).map(|place| place.to_string());
    for path in ["consistency.curriculum", "base.consistency.curriculum", "consistency.curriculum[0]"] {
        assert_eq!(found(path).as_deref(), Ok("base.consistency.curriculum"), "{path}");
    }
    assert_eq!(found("segments").as_deref(), Ok("base.consistency.segments"));
    assert!(found("curriculum").unwrap_err().to_string().contains("base.consistency.curriculum"));
    assert_eq!(
        found("consistency.curriculum.num_levels").as_deref(),
        Ok("base.consistency.curriculum.Fixed.num_levels")
    );
    assert_eq!(found("arms.changes.LearningRate").as_deref(), Ok("arms.Star.changes.LearningRate"));
    let told = |path: &str| found(path).unwrap_err().to_string();
    assert!(told("lr").contains("did you mean `learning_rate`?"), "{}", told("lr"));
    assert!(told("curiculum").contains("did you mean `curriculum`?"), "{}", told("curiculum"));
    assert!(told("batch").contains("base.consistency.train.batch"), "{}", told("batch"));
}

#[test]
fn lines_fit_a_terminal() {
    let mut known = std::collections::BTreeSet::new();
    let types = Place::everywhere().into_iter();
    for place in types.filter(|place| place.of_type().is_some_and(|of| known.insert(of.name))) {
        let text = explain(&place.to_string()).unwrap();
        for line in text.lines() {
            // Only what cannot be broken, such as an example, may stick out.
            let words = line.split_whitespace().count();
            assert!(line.chars().count() <= 80 || words == 1 || line.contains('('), "{place}: {line}");
        }
    }
    assert!(tree().lines().all(|line| line.chars().count() <= 90), "{}", tree());
}
