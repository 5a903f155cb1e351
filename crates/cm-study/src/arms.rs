//! From a base and arms that say what they change to a [`Plan`]: every arm resolved, every rule checked.
//!
//! The rules here are those of arms among each other; what is wrong with one experiment is `check.rs`'s.

use crate::change::Change;
use crate::check;
use crate::experiment_config::ExperimentConfig;
use crate::plan::{Checked, Plan, PlannedArm, is_file_name};
use crate::problem::Problem;
use crate::published::PublishedValue;
use crate::samplers::StudentSamplerConfig;
use crate::study_config::{ArmConfig, ArmsConfig, StudyConfig};

impl StudyConfig {
    /// The plan of this study. Files and folders that are not there are told with it.
    ///
    /// # Errors
    /// Every problem of the study, if there is one that files would not solve.
    pub fn build(&self) -> Result<Checked, Vec<Problem>> {
        let mut problems = self.seed_problems();
        let arms = self.combine(&mut problems);
        let base_problems = check::problems(&self.base.shortened(self.shortened_by));
        let mut planned: Vec<PlannedArm> = Vec::new();
        for arm in &arms {
            let experiment = resolve(&self.base, arm, &mut problems).shortened(self.shortened_by);
            problems.extend(arm.published_problems(&experiment));
            for problem in check::problems(&experiment) {
                let path = if base_problems.contains(&problem) {
                    format!("base.{}", problem.path)
                } else {
                    arm.blame(&problem.path)
                };
                problems.push(Problem { path, ..problem });
            }
            if let Some(twin) = planned.iter().find(|other| other.experiment == experiment) {
                let message = format!("arm `{}` is the same experiment as arm `{}`", arm.name, twin.name);
                problems.push(Problem::new(arm.path(), message, "arms that differ"));
            }
            planned.push(PlannedArm { name: arm.name.clone(), experiment });
        }
        let mut unique: Vec<Problem> = Vec::new();
        for problem in problems {
            if !unique.contains(&problem) {
                unique.push(problem);
            }
        }
        if unique.iter().any(|problem| !problem.absent) {
            return Err(unique);
        }
        let (question, seeds, shortened_by) = (self.question.clone(), self.seeds.clone(), self.shortened_by);
        let plan = Plan { question, seeds, shortened_by, arms: planned };
        Ok(Checked { plan, notes: idle_knobs(&self.base, &arms), absent: unique })
    }

    /// The arms with their changes and where those stand in the file.
    fn combine<'a>(&'a self, problems: &mut Vec<Problem>) -> Vec<Arm<'a>> {
        let written = |arm: &'a ArmConfig, path: String| Arm {
            name: arm.name.clone(),
            changes: arm
                .changes
                .iter()
                .enumerate()
                .map(|(i, c)| (format!("{path}.changes[{i}]"), c))
                .collect(),
            published: &arm.published,
            paths: vec![path],
        };
        let axes: Vec<Vec<Arm<'a>>> = match &self.arms {
            ArmsConfig::Star(arms) => {
                vec![arms.iter().enumerate().map(|(i, arm)| written(arm, format!("arms[{i}]"))).collect()]
            }
            ArmsConfig::Grid(axes) => (axes.iter().enumerate())
                .map(|(a, axis)| {
                    axis.iter().enumerate().map(|(i, arm)| written(arm, format!("arms[{a}][{i}]"))).collect()
                })
                .collect(),
        };
        if let Some(problem) = self.too_many_runs(axes.iter().map(Vec::len)) {
            problems.push(problem);
            return Vec::new();
        }
        for axis in &axes {
            check_names(axis, problems);
        }
        if axes.iter().all(Vec::is_empty) {
            return vec![Arm { name: "base".to_owned(), changes: vec![], published: &[], paths: vec![] }];
        }
        axes.into_iter()
            .filter(|axis| !axis.is_empty())
            .reduce(|rows, axis| {
                rows.iter().flat_map(|row| axis.iter().map(|column| row.join(column))).collect()
            })
            .unwrap_or_default()
    }
}

/// An arm, perhaps of several axes, with the places of its parts.
#[derive(Clone)]
struct Arm<'a> {
    name: String,
    changes: Vec<(String, &'a Change)>,
    published: &'a [PublishedValue],
    paths: Vec<String>,
}

impl Arm<'_> {
    fn join(&self, other: &Self) -> Self {
        Self {
            name: format!("{}_{}", self.name, other.name),
            changes: [&self.changes[..], &other.changes[..]].concat(),
            published: if self.published.is_empty() { other.published } else { self.published },
            paths: [&self.paths[..], &other.paths[..]].concat(),
        }
    }

    /// Where to point if nothing of the arm is to blame in particular.
    fn path(&self) -> String {
        self.paths.last().cloned().unwrap_or_else(|| "base".to_owned())
    }

    /// Published values that cannot be compared with anything.
    fn published_problems(&self, experiment: &ExperimentConfig) -> Vec<Problem> {
        let path = format!("{}.published", self.path());
        if self.paths.len() > 1 && !self.published.is_empty() {
            let message = "an arm of a grid is a part of several experiments";
            return vec![Problem::new(path, message, "published values on the arms of a star")];
        }
        let samplers: Vec<String> =
            experiment.evaluation.student.iter().map(StudentSamplerConfig::name).collect();
        let mut problems = Vec::new();
        for (index, value) in self.published.iter().enumerate() {
            let mut say = |field: &str, message: String, allowed: &str| {
                problems.push(Problem::new(format!("{path}[{index}].{field}"), message, allowed));
            };
            if !samplers.contains(&value.sampler) {
                let message = format!("the arm has no sampler `{}`", value.sampler);
                say("sampler", message, &samplers.join(", "));
            }
            if !value.value.is_finite() {
                say("value", format!("value is {}", value.value), "a finite number");
            }
            if !(value.tolerance >= 0.0 && value.tolerance.is_finite()) {
                say("tolerance", format!("tolerance is {}", value.tolerance), "at least 0");
            }
        }
        problems
    }

    /// The change that decided what stands at `path` of the experiment; the arm if none did.
    fn blame(&self, path: &str) -> String {
        let decides = |change: &Change| {
            let own = change.path();
            path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let last = self.changes.iter().rev().find(|(_, change)| decides(change));
        last.map_or_else(
            || self.path(),
            |(place, change)| {
                // The change's own inside: in `Distance(PseudoHuber(c: -1))`, `c`.
                format!("{place}{}", &path[change.path().len()..])
            },
        )
    }
}

fn check_names(axis: &[Arm<'_>], problems: &mut Vec<Problem>) {
    const ALLOWED: &str = "letters, digits, `-`, `_` and `.`, not starting with `.`";
    for (index, arm) in axis.iter().enumerate() {
        let path = format!("{}.name", arm.path());
        if !is_file_name(&arm.name) {
            let message = if arm.name.is_empty() {
                "an arm has no name".to_owned()
            } else {
                format!("the name `{}` does not make a folder", arm.name)
            };
            problems.push(Problem::new(&path, message, ALLOWED));
        }
        if axis[..index].iter().any(|other| other.name == arm.name) {
            problems.push(Problem::new(
                path,
                format!("two arms are called `{}`", arm.name),
                "each name once",
            ));
        }
    }
}

fn resolve(base: &ExperimentConfig, arm: &Arm<'_>, problems: &mut Vec<Problem>) -> ExperimentConfig {
    let mut experiment = base.clone();
    for (index, (place, change)) in arm.changes.iter().enumerate() {
        if let Err(error) = change.apply(&mut experiment) {
            problems.push(Problem::new(place, error.to_string(), "changes that fit the arm's method"));
        }
        let later = arm.changes[index + 1..].iter().find(|(_, later)| later.path() == change.path());
        if later.is_some() {
            let message = format!("a later change of `{}` undoes this one", change.path());
            problems.push(Problem::new(place, message, "each knob once in an arm"));
        }
    }
    experiment
}

/// A note for each knob that arms turn but that stands where the base has it in all of them. One arm that repeats the
/// base beside others that do not is a comparison, and no mistake.
fn idle_knobs(base: &ExperimentConfig, arms: &[Arm<'_>]) -> Vec<String> {
    let mut knobs: Vec<(&str, bool)> = Vec::new();
    for arm in arms {
        let mut experiment = base.clone();
        for (_, change) in &arm.changes {
            let before = experiment.clone();
            let moved = change.apply(&mut experiment).is_ok() && experiment != before;
            match knobs.iter_mut().find(|(path, _)| *path == change.path()) {
                Some((_, some)) => *some |= moved,
                None => knobs.push((change.path(), moved)),
            }
        }
    }
    let idle = knobs.into_iter().filter(|(_, moved)| !moved);
    idle.map(|(path, _)| format!("the arms change `{path}` to what the base already has")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment_config::{MethodConfig, TeacherSource};
    use cm_consistency::{DistanceConfig, InitConfig};
    use cm_datasets::{DatasetConfig, SwissRollConfig};
    use cm_diffusion::SolverConfig;
    use cm_network::{MlpConfig, NetworkConfig, UNetConfig};

    /// The paper's defaults but for a network that fits the digits.
    fn study(arms: ArmsConfig) -> StudyConfig {
        let unet = UNetConfig {
            channels: 8,
            multipliers: vec![1],
            blocks: 1,
            attention: vec![],
            ..Default::default()
        };
        let base = ExperimentConfig { network: NetworkConfig::UNet(unet), ..Default::default() };
        StudyConfig { base, arms, ..Default::default() }
    }

    fn arm(name: &str, changes: &[Change]) -> ArmConfig {
        ArmConfig { name: name.into(), changes: changes.to_vec(), published: Vec::new() }
    }

    fn problems(study: &StudyConfig) -> Vec<(String, String)> {
        let problems = study.build().err().unwrap_or_default();
        problems.into_iter().map(|problem| (problem.path, problem.message)).collect()
    }

    fn names(study: &StudyConfig) -> Vec<String> {
        study.build().unwrap().plan.arms.into_iter().map(|arm| arm.name).collect()
    }

    #[test]
    fn a_study_without_arms_is_its_base() {
        let study = study(ArmsConfig::default());
        let plan = study.build().unwrap().plan;
        assert_eq!(plan.arms, [PlannedArm { name: "base".into(), experiment: study.base.clone() }]);
        assert_eq!(plan.runs().map(|run| run.name()).collect::<Vec<_>>(), ["base/seed-0"]);
    }

    #[test]
    fn a_grid_has_every_combination() {
        let distance = [DistanceConfig::L1, DistanceConfig::L2].map(Change::Distance);
        let solver = [SolverConfig::Euler, SolverConfig::Heun].map(Change::Solver);
        let study = study(ArmsConfig::Grid(vec![
            vec![arm("l1", &distance[..1]), arm("l2", &distance[1..])],
            vec![arm("euler", &solver[..1]), arm("heun", &solver[1..])],
        ]));
        assert_eq!(names(&study), ["l1_euler", "l1_heun", "l2_euler", "l2_heun"]);
        let arm = &study.build().unwrap().plan.arms[1].experiment;
        assert_eq!(arm.consistency.distance, DistanceConfig::L1);
        assert!(matches!(&arm.method, MethodConfig::Distillation(d) if d.solver == SolverConfig::Heun));
    }

    #[test]
    fn plans_are_read_back_as_they_were_written() {
        let study = study(ArmsConfig::Star(vec![
            arm("a", &[Change::GradientClip(Some(1.0)), Change::Dropout(0.1)]),
            arm("b", &[Change::TotalImages(1 << 40)]),
        ]));
        let plan = study.build().unwrap().plan;
        assert_eq!(Plan::from_ron(&plan.to_ron()).unwrap(), plan);
    }

    #[test]
    fn problems_point_at_the_change_that_made_them_or_at_the_base() {
        let mut study = study(ArmsConfig::Star(vec![
            arm("a", &[Change::Dropout(0.1), Change::BatchSize(0)]),
            arm("b", &[Change::Method(MethodConfig::Training), Change::Solver(SolverConfig::Euler)]),
        ]));
        study.base.logging.grid = 0;
        let found = problems(&study);
        let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["arms[0].changes[1]", "base.logging.grid", "arms[1].changes[1]"], "{found:?}");
    }

    #[test]
    fn a_problem_of_the_base_that_every_arm_mends_is_none() {
        let mut study = study(ArmsConfig::Star(vec![arm("a", &[Change::BatchSize(64)])]));
        study.base.consistency.train.batch = 0;
        assert_eq!(problems(&study), []);
    }

    #[test]
    fn arms_must_differ_and_have_names_of_folders() {
        let l1 = Change::Distance(DistanceConfig::L1);
        let twins = study(ArmsConfig::Star(vec![
            arm("a", std::slice::from_ref(&l1)),
            arm("a", &[Change::Distance(DistanceConfig::L2)]),
            arm("b/c", &[Change::Distance(DistanceConfig::L2), l1.clone()]),
        ]));
        let found: Vec<String> = problems(&twins).into_iter().map(|(_, message)| message).collect();
        let expected = [
            "two arms are called `a`",
            "the name `b/c` does not make a folder",
            "a later change of `consistency.distance` undoes this one",
            "arm `b/c` is the same experiment as arm `a`",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_knob_that_no_arm_turns_is_a_note() {
        let l2 = Change::Distance(DistanceConfig::default());
        let batch = |batch| Change::BatchSize(batch);
        let idle = study(ArmsConfig::Star(vec![
            arm("a", &[l2.clone(), batch(8)]),
            arm("b", &[l2.clone(), batch(ExperimentConfig::default().consistency.train.batch)]),
        ]));
        let expected = ["the arms change `consistency.distance` to what the base already has"];
        assert_eq!(idle.build().unwrap().notes, expected);
        let compared = study(ArmsConfig::Star(vec![
            arm("l2", &[l2]),
            arm("l1", &[Change::Distance(DistanceConfig::L1)]),
        ]));
        assert!(compared.build().unwrap().notes.is_empty());
    }

    #[test]
    fn methods_teachers_and_data_must_fit() {
        let mut exact = study(ArmsConfig::default());
        exact.base.teacher = TeacherSource::Exact;
        let messages: Vec<String> = problems(&exact).into_iter().map(|(_, message)| message).collect();
        assert_eq!(
            messages,
            [
                "only a Gaussian mixture has an exact teacher",
                "the student is to start from a teacher's weights, but there are none",
            ]
        );
        let mut none = study(ArmsConfig::default());
        none.base.teacher = TeacherSource::None;
        none.base.consistency.init = InitConfig::Random;
        assert_eq!(problems(&none), [("base.teacher".to_owned(), "distillation needs a teacher".to_owned())]);
        none.base.method = MethodConfig::Training;
        assert_eq!(problems(&none), []);
        none.base.class_conditional = true;
        assert_eq!(problems(&none), []);
        none.base.dataset = DatasetConfig::SwissRoll(SwissRollConfig::default());
        none.base.network = NetworkConfig::Mlp(MlpConfig::default());
        let refused = problems(&none);
        assert!(
            refused.contains(&(
                "base.class_conditional".to_owned(),
                "these data have no classes to tell the networks".to_owned()
            )),
            "{refused:?}"
        );
        exact.base.class_conditional = true;
        let refused = problems(&exact);
        assert!(
            refused.contains(&(
                "base.class_conditional".to_owned(),
                "the exact teacher knows no classes".to_owned()
            )),
            "{refused:?}"
        );
    }

    #[test]
    fn seeds_are_given_and_each_once() {
        let mut study = study(ArmsConfig::default());
        study.seeds = vec![3, 4, 3];
        assert_eq!(problems(&study), [("seeds[2]".to_owned(), "seed 3 is given twice".to_owned())]);
        study.seeds.clear();
        assert_eq!(problems(&study), [("seeds".to_owned(), "no seed is given".to_owned())]);
    }
}
