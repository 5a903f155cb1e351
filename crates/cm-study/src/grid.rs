//! Grids over fields of a study: every combination of some values of some fields, as overrides with a name; and the lines
//! at the head of a study's text that say of which grid it is, written and read.

use crate::overrides::{Override, OverrideSyntaxError};
use std::str::FromStr;

/// A field and the values it takes in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GridAxis {
    /// The field, from the study down.
    pub path: String,
    /// Its values in RON's syntax, at least one.
    pub values: Vec<String>,
}

/// Why a text is no axis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GridSyntaxError {
    /// It is no override either.
    #[error(transparent)]
    Override(#[from] OverrideSyntaxError),
    /// Its value is not a list.
    #[error("`{0}` is not a list of values, as in base.consistency.train.batch=[32, 64]")]
    NotAList(String),
    /// It is about a field that all arms share.
    #[error("`{0}` is not a field of an experiment: a grid goes over fields of `base` or `arms`")]
    NoExperiment(String),
}

impl FromStr for GridAxis {
    type Err = GridSyntaxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let list: Override = text.parse()?;
        if !list.path.starts_with("base.") && !list.path.starts_with("arms[") {
            return Err(GridSyntaxError::NoExperiment(list.path));
        }
        match list.values() {
            Some(values) => Ok(Self { path: list.path, values }),
            None => Err(GridSyntaxError::NotAList(list.value)),
        }
    }
}

/// One combination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GridPoint {
    /// Fit for a folder: `batch-32_distance-L1`; empty for a grid without axes.
    pub name: String,
    /// What is set, an axis after the other.
    pub overrides: Vec<Override>,
}

/// What stands before an axis at the head of a study's text.
const MARK: &str = "// grid: ";

/// The lines that say of which grid a study is, to stand before its text.
pub fn grid_head(axes: &[GridAxis]) -> String {
    // An axis has one line: behind a second one nothing says that it is a comment.
    let line = |axis: &GridAxis| {
        let values = axis.values.join(", ").replace(['\n', '\r'], " ");
        format!("{MARK}{}=[{values}]\n", axis.path)
    };
    axes.iter().map(line).collect()
}

/// The axes at the head of a study's text; none if it is of no grid.
pub fn grid_of(text: &str) -> Vec<GridAxis> {
    let lines = text.lines().map_while(|line| line.strip_prefix(MARK));
    let axes: Result<Vec<GridAxis>, GridSyntaxError> = lines.map(str::parse).collect();
    axes.unwrap_or_default()
}

/// All combinations; the last axis turns fastest.
pub fn grid_points(axes: &[GridAxis]) -> Vec<GridPoint> {
    let labels = grid_labels(axes);
    let mut points = vec![GridPoint { name: String::new(), overrides: Vec::new() }];
    for (axis, label) in axes.iter().zip(&labels) {
        let names = names(label, &axis.values);
        points = points
            .into_iter()
            .flat_map(|point| {
                axis.values.iter().zip(&names).map(move |(value, name)| {
                    let mut point = point.clone();
                    point.name = grid_name(&point.name, name);
                    point.overrides.push(Override { path: axis.path.clone(), value: value.clone() });
                    point
                })
            })
            .collect();
    }
    if points.iter().any(|point| point.name.len() > LONGEST) {
        for (index, point) in points.iter_mut().enumerate() {
            point.name = format!("point-{index}");
        }
    }
    points
}

/// An arm's name has room for the study's own.
const LONGEST: usize = 60;

/// The name of an arm at a point, or of a point with one more value: both parts, where there are both.
pub fn grid_name(left: &str, right: &str) -> String {
    if left.is_empty() || right.is_empty() { format!("{left}{right}") } else { format!("{left}_{right}") }
}

/// What each axis is called: the last part of its path, with the part before it where two are alike.
pub fn grid_labels(axes: &[GridAxis]) -> Vec<String> {
    let parts = |axis: &GridAxis| -> Vec<String> {
        let parts = axis.path.split(['.', '[', ']']).filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    let last = |axis: &GridAxis| parts(axis).pop().unwrap_or_default();
    let label = |axis: &GridAxis| {
        let alike = axes.iter().filter(|other| last(other) == last(axis)).count() > 1;
        let number = last(axis).parse::<usize>().is_ok();
        let parts = parts(axis);
        let from = parts.len().saturating_sub(if alike || number { 2 } else { 1 });
        parts[from..].join("-")
    };
    axes.iter().map(label).collect()
}

/// The names of an axis's values, numbered where two are alike.
fn names(label: &str, values: &[String]) -> Vec<String> {
    let plain: Vec<String> = values.iter().map(|value| format!("{label}-{}", plain(value))).collect();
    plain
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let alike = plain.iter().filter(|other| *other == name).count() > 1;
            if alike { format!("{name}-{index}") } else { name.clone() }
        })
        .collect()
}

/// A value as letters, digits, dots and single dashes.
fn plain(value: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
    let words = value.split(|c| !fits(c)).filter(|word| !word.is_empty());
    let sign = if value.starts_with('-') { "minus-" } else { "" };
    format!("{sign}{}", words.collect::<Vec<_>>().join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(texts: &[&str]) -> Vec<GridAxis> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_grid_is_read_back_from_the_head_of_its_study() {
        let axes = axes(&["base.consistency.train.batch=[16, 32]", "base.a=[Huber(\n c: 1), L1]"]);
        let text = grid_head(&axes) + "// a study\n()";
        assert_eq!(text.lines().count(), 4, "{text}");
        let read = grid_of(&text);
        assert_eq!(read[0], axes[0]);
        assert_eq!(read[1].values, ["Huber(  c: 1)", "L1"]);
        assert_eq!(grid_labels(&read), ["batch", "a"]);
        assert_eq!(grid_of("// grid: no grid at all\n()"), []);
        assert_eq!(grid_of("// a study\n// grid: base.a=[1, 2]\n()"), []);
    }

    #[test]
    fn every_combination_has_its_overrides_and_a_name() {
        let axes = axes(&[
            "base.consistency.train.batch=[16, 32]",
            "base.consistency.distance=[L1, PseudoHuber(c: 0.03)]",
        ]);
        let points = grid_points(&axes);
        let names: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
        let expected = [
            "batch-16_distance-L1",
            "batch-16_distance-PseudoHuber-c-0.03",
            "batch-32_distance-L1",
            "batch-32_distance-PseudoHuber-c-0.03",
        ];
        assert_eq!(names, expected);
        let texts: Vec<String> = points[1].overrides.iter().map(ToString::to_string).collect();
        let expected = ["base.consistency.train.batch=16", "base.consistency.distance=PseudoHuber(c: 0.03)"];
        assert_eq!(texts, expected);
    }

    #[test]
    fn names_are_told_apart_and_fit_for_folders() {
        let axes = axes(&["base.a.peak=[1e-4, -1e-4]", "base.b.peak=[(1), [1]]", "base.c[0]=[é]"]);
        let names: Vec<String> = grid_points(&axes).into_iter().map(|point| point.name).collect();
        assert_eq!(names[0], "a-peak-1e-4_b-peak-1-0_c-0-");
        assert_eq!(names[3], "a-peak-minus-1e-4_b-peak-1-1_c-0-");
        assert!(names.iter().all(|name| crate::plan::is_file_name(name)));
    }

    #[test]
    fn long_names_become_numbers() {
        let value = format!("base.ema=[[{}], [1]]", ["PerStep(0.9)"; 9].join(", "));
        let names: Vec<String> = grid_points(&axes(&[&value])).into_iter().map(|point| point.name).collect();
        assert_eq!(names, ["point-0", "point-1"]);
    }

    #[test]
    fn texts_that_are_no_axes_are_refused() {
        let parsed = |text: &str| text.parse::<GridAxis>().unwrap_err();
        assert!(matches!(parsed("base.a=3"), GridSyntaxError::NotAList(_)));
        assert!(matches!(parsed("base.a=[]"), GridSyntaxError::NotAList(_)));
        assert!(matches!(parsed("base.a=(1, 2)"), GridSyntaxError::NotAList(_)));
        assert!(matches!(parsed("seeds=[[1], [2]]"), GridSyntaxError::NoExperiment(_)));
        assert!(matches!(parsed("base.a"), GridSyntaxError::Override(_)));
    }
}
