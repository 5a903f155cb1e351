//! Where each arm of a grid lies on its axes, read back from the head of the study's text.

use cm_study::{Plan, grid_labels, grid_of, grid_points};

/// A grid: its axes, and the place of each arm.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grid {
    pub(crate) axes: Vec<GridAxis>,
    /// In the plan's order of arms.
    arms: Vec<GridArm>,
}

/// One axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GridAxis {
    /// What it is called in names: `batch`.
    pub(crate) label: String,
    /// The field: `base.consistency.train.batch`.
    pub(crate) path: String,
    /// As they were written.
    pub(crate) values: Vec<String>,
}

/// One arm.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GridArm {
    /// Its name in the plan.
    name: String,
    /// Its name in the study without the grid; empty where that has no arms.
    pub(crate) own: String,
    /// For each axis the place among its values.
    pub(crate) at: Vec<usize>,
}

impl Grid {
    /// The grid whose axes stand at the head of a study's text; `None` if none do, or its arms are not those of the plan.
    pub(crate) fn of(study: &str, plan: &Plan) -> Option<Self> {
        let axes = grid_of(study);
        let points = grid_points(&axes);
        if axes.is_empty() || !plan.arms.len().is_multiple_of(points.len()) {
            return None;
        }
        // All arms of the study at one point, then all at the next; the last axis turns fastest.
        let at_each = plan.arms.len() / points.len();
        let arm = |(place, name): (usize, &str)| {
            let mut rest = place / at_each;
            let own = name.strip_suffix(&points[rest].name)?;
            let mut at: Vec<usize> = (axes.iter().rev())
                .map(|axis| {
                    let on_axis = rest % axis.values.len();
                    rest /= axis.values.len();
                    on_axis
                })
                .collect();
            at.reverse();
            Some(GridArm { name: name.to_owned(), own: own.trim_end_matches('_').to_owned(), at })
        };
        let arms =
            plan.arms.iter().map(|arm| arm.name.as_str()).enumerate().map(arm).collect::<Option<_>>()?;
        let labels = grid_labels(&axes);
        let named = axes.into_iter().zip(labels);
        let axes =
            named.map(|(axis, label)| GridAxis { label, path: axis.path, values: axis.values }).collect();
        Some(Self { axes, arms })
    }

    /// Where an arm lies; `None` for what is none, such as `-`.
    pub(crate) fn arm(&self, name: &str) -> Option<&GridArm> {
        self.arms.iter().find(|arm| arm.name == name)
    }

    /// The value of each axis that an arm has.
    pub(crate) fn values_of(&self, name: &str) -> Option<Vec<&str>> {
        let arm = self.arm(name)?;
        Some(self.axes.iter().zip(&arm.at).map(|(axis, &at)| axis.values[at].as_str()).collect())
    }
}

impl GridAxis {
    /// Its values as numbers, if all are different ones.
    pub(crate) fn numbers(&self) -> Option<Vec<f64>> {
        let number = |value: &String| value.replace('_', "").parse::<f64>().ok().filter(|v| v.is_finite());
        let numbers: Vec<f64> = self.values.iter().map(number).collect::<Option<_>>()?;
        let alike = |at: usize| numbers[..at].contains(&numbers[at]);
        (!(0..numbers.len()).any(alike)).then_some(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_study::{ExperimentConfig, PlannedArm};

    fn plan(names: &[&str]) -> Plan {
        let arm =
            |name: &&str| PlannedArm { name: (*name).to_owned(), experiment: ExperimentConfig::default() };
        Plan {
            question: String::new(),
            seeds: vec![0],
            shortened_by: 1,
            arms: names.iter().map(arm).collect(),
        }
    }

    const HEAD: &str = "// grid: base.train.batch=[16, 3_2]\n// grid: base.distance=[L1, L2]\n()";

    #[test]
    fn arms_find_their_places_by_the_head_of_the_study() {
        let names = [
            "a_batch-16_distance-L1",
            "b_batch-16_distance-L1",
            "a_batch-16_distance-L2",
            "b_batch-16_distance-L2",
            "a_batch-3_2_distance-L1",
            "b_batch-3_2_distance-L1",
            "a_batch-3_2_distance-L2",
            "b_batch-3_2_distance-L2",
        ];
        let grid = Grid::of(HEAD, &plan(&names)).unwrap();
        let arm = grid.arm("b_batch-3_2_distance-L1").unwrap();
        assert_eq!((arm.own.as_str(), arm.at.as_slice()), ("b", &[1, 0][..]));
        assert_eq!(grid.values_of("a_batch-16_distance-L2").unwrap(), ["16", "L2"]);
        assert_eq!(
            (grid.arm("-"), grid.axes[0].numbers(), grid.axes[1].numbers()),
            (None, Some(vec![16.0, 32.0]), None)
        );
        // A study without arms of its own.
        let names = [
            "batch-16_distance-L1",
            "batch-16_distance-L2",
            "batch-3_2_distance-L1",
            "batch-3_2_distance-L2",
        ];
        assert_eq!(Grid::of(HEAD, &plan(&names)).unwrap().arm(names[3]).unwrap().own, "");
    }

    #[test]
    fn what_is_no_grid_is_none() {
        assert_eq!(Grid::of("(base: ())", &plan(&["a"])), None);
        assert_eq!(Grid::of(HEAD, &plan(&["a", "b", "c"])), None);
        assert_eq!(Grid::of(HEAD, &plan(&["a", "b", "c", "d"])), None);
    }
}
