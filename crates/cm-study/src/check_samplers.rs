//! What is wrong with the samplers of one experiment.

use crate::experiment_config::{EvaluationConfig, ExperimentConfig, MethodConfig};
use crate::problem::Problem;
use crate::samplers::{
    AncestralConfig, ChurnedConfig, GammaConfig, JumpsConfig, MultistepConfig, StudentSamplerConfig,
    TeacherMethodConfig, TeacherSamplerConfig,
};
use cm_consistency::CurriculumConfig;
use cm_diffusion::{DiscretisationConfig, NumLevels};

/// Everything wrong with the samplers of student and teacher, with paths inside the experiment.
pub(crate) fn problems(experiment: &ExperimentConfig) -> Vec<Problem> {
    let EvaluationConfig { student, teacher, .. } = &experiment.evaluation;
    let levels = &experiment.consistency.discretisation;
    let mut problems = of_teacher(teacher, levels, "teacher");
    problems.extend(of_student(student, levels));
    problems.extend(of_jumps(student, experiment));
    problems
        .into_iter()
        .map(|problem| Problem { path: format!("evaluation.{}", problem.path), ..problem })
        .collect()
}

/// Everything wrong with a teacher's sampler that stands at `place`.
pub(crate) fn of_teacher(
    teacher: &TeacherSamplerConfig,
    student: &DiscretisationConfig,
    place: &str,
) -> Vec<Problem> {
    let TeacherSamplerConfig { method, levels, spacing } = *teacher;
    let mut problems = Vec::new();
    let mut say = |path: &str, message: String, allowed: &str| {
        problems.push(Problem::new(format!("{place}.{path}"), message, allowed));
    };
    match method {
        TeacherMethodConfig::Flow(_) | TeacherMethodConfig::DpmSolverPlusPlus(_) => {}
        TeacherMethodConfig::Churned(ChurnedConfig { churn, .. }) => {
            if let Err(error) = churn.check() {
                say("method.churn", error.to_string(), "");
            }
        }
        TeacherMethodConfig::Ancestral(AncestralConfig { eta }) => {
            if !(0.0..=1.0).contains(&eta) {
                say("method.eta", format!("eta is {eta}"), "from 0 to 1");
            }
        }
    }
    // A range that is wrong is reported where it stands.
    let range = student.range().ok();
    if let (Some(range), Some(spacing)) = (range, spacing)
        && let Err(error) = spacing.build(range)
    {
        say("spacing", error.to_string(), "");
    }
    match NumLevels::new(levels) {
        Err(_) => {
            let allowed = format!("2 to {} noise levels", NumLevels::MOST);
            say("levels", format!("levels is {levels}"), &allowed);
        }
        Ok(levels) => {
            if let Some(Err(error)) = range.map(|range| range.check_room(levels)) {
                say("levels", error.to_string(), "fewer noise levels");
            }
        }
    }
    problems
}

fn of_student(student: &[StudentSamplerConfig], levels: &DiscretisationConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    if student.is_empty() {
        problems.push(Problem::new("student", "no sampler is given", "at least one, as in [OneStep]"));
    }
    for (index, sampler) in student.iter().enumerate() {
        let path = format!("student[{index}]");
        if student[..index].contains(sampler) {
            let message = format!("sampler {} is given twice", sampler.name());
            problems.push(Problem::new(&path, message, "each sampler once"));
        }
        match sampler {
            StudentSamplerConfig::OneStep | StudentSamplerConfig::Jumps(_) => {}
            StudentSamplerConfig::Multistep(MultistepConfig { times, .. }) => {
                problems.extend(of_times(times, levels, &path));
            }
            StudentSamplerConfig::Gamma(GammaConfig { gamma, times, .. }) => {
                if !(0.0..=1.0).contains(gamma) {
                    let message = format!("gamma is {gamma}");
                    problems.push(Problem::new(format!("{path}.gamma"), message, "from 0 to 1"));
                }
                problems.extend(of_times(times, levels, &path));
            }
        }
    }
    problems
}

/// Models that jump are sampled by jumps of lengths they know, and only they are.
fn of_jumps(student: &[StudentSamplerConfig], experiment: &ExperimentConfig) -> Vec<Problem> {
    let Some((model, steps)) = experiment.jumps().zip(jump_steps(experiment)) else {
        let jumps = |sampler: &StudentSamplerConfig| matches!(sampler, StudentSamplerConfig::Jumps(_));
        let places = (0..student.len()).filter(|&index| jumps(&student[index]));
        let message = "a consistency model knows where trajectories end, not where they pass";
        let allowed = "OneStep, Multistep(..), Gamma(..)";
        return places.map(|index| Problem::new(format!("student[{index}]"), message, allowed)).collect();
    };
    let allowed = steps.told("Jumps(steps: ", ")");
    let mut problems = Vec::new();
    for (index, sampler) in student.iter().enumerate() {
        let path = format!("student[{index}]");
        match sampler {
            StudentSamplerConfig::Jumps(JumpsConfig { steps: given }) if steps.allow(*given) => {}
            StudentSamplerConfig::Jumps(JumpsConfig { steps: given }) => {
                let message = format!("{model} is not trained for {given} steps");
                problems.push(Problem::new(format!("{path}.steps"), message, &allowed));
            }
            StudentSamplerConfig::OneStep
            | StudentSamplerConfig::Multistep(_)
            | StudentSamplerConfig::Gamma(_) => {
                let message = format!("sampler {} needs a consistency model, not {model}", sampler.name());
                problems.push(Problem::new(path, message, &allowed));
            }
        }
    }
    problems
}

/// In how many steps a model that jumps can be sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JumpSteps {
    /// In these.
    These(Vec<usize>),
    /// In any number.
    Any,
}

impl JumpSteps {
    /// Whether it can be sampled in so many.
    pub fn allow(&self, steps: usize) -> bool {
        match self {
            Self::These(allowed) => allowed.contains(&steps),
            Self::Any => (1..NumLevels::MOST).contains(&steps),
        }
    }

    /// The numbers for people, each between `before` and `after`.
    pub fn told(&self, before: &str, after: &str) -> String {
        match self {
            Self::These(allowed) => {
                let each = allowed.iter().map(|steps| format!("{before}{steps}{after}"));
                each.collect::<Vec<_>>().join(", ")
            }
            Self::Any => format!("{before}N{after} with N from 1 to {}", NumLevels::MOST - 1),
        }
    }
}

/// In how many steps a model that jumps can be sampled; `None` if what decides it is wrong and reported elsewhere.
pub fn jump_steps(experiment: &ExperimentConfig) -> Option<JumpSteps> {
    let these = JumpSteps::These;
    match (&experiment.method, experiment.consistency.curriculum) {
        (
            MethodConfig::Distillation(_)
            | MethodConfig::Training
            | MethodConfig::ContinuousDistillation(_)
            | MethodConfig::ContinuousTraining(_),
            _,
        ) => Some(these(vec![experiment.consistency.segments])),
        (MethodConfig::ProgressiveDistillation, CurriculumConfig::Halving(halving)) => {
            Some(these(halving.ladder().take(64).collect()))
        }
        (MethodConfig::Shortcut(_), CurriculumConfig::Fixed(fixed)) => {
            let intervals = fixed.num_levels.saturating_sub(1);
            let doubled = std::iter::successors(Some(1usize), |steps| steps.checked_mul(2));
            Some(these(doubled.take_while(|steps| *steps <= intervals).collect()))
        }
        (MethodConfig::TwoTime(_) | MethodConfig::InductiveMomentMatching(_), _) => Some(JumpSteps::Any),
        (MethodConfig::ProgressiveDistillation | MethodConfig::Shortcut(_), _) => None,
    }
}

/// Times must be there, lie inside the model's noise levels, and fall.
fn of_times(times: &[f32], levels: &DiscretisationConfig, path: &str) -> Vec<Problem> {
    let DiscretisationConfig { sigma_min, sigma_max, .. } = *levels;
    let mut problems = Vec::new();
    if times.is_empty() {
        let allowed = "at least one noise level, or OneStep";
        problems.push(Problem::new(format!("{path}.times"), "times is empty", allowed));
    }
    for (place, &time) in times.iter().enumerate() {
        let path = format!("{path}.times[{place}]");
        if !(sigma_min < time && time < sigma_max) {
            let message = format!("time {time} is outside the model's noise levels");
            let allowed = format!("between sigma_min {sigma_min} and sigma_max {sigma_max}");
            problems.push(Problem::new(&path, message, allowed));
        }
        if place > 0 && time >= times[place - 1] {
            let message = format!("time {time} is not below the one before it ({})", times[place - 1]);
            problems.push(Problem::new(path, message, "strictly falling noise levels"));
        }
    }
    problems
}
