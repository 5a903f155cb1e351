//! Whether a plan fits into the memory there is. Deliberately absent: what it takes and what there is, which
//! `cm-study` and `cm-host` know.

use crate::error::RunError;
use cm_study::{MemoryNeed, Plan, Problems, bytes};

/// That every arm of a plan fits into the memory that this process may have.
///
/// # Errors
/// [`RunError::Request`] with what the first that does not would take.
pub fn check_memory(plan: &Plan) -> Result<(), RunError> {
    check(plan, cm_host::memory::allowed())
}

/// That every arm of a plan fits into `allowed` bytes, if these are known.
///
/// # Errors
/// [`RunError::Request`] with what the first that does not would take.
fn check(plan: &Plan, allowed: Option<u64>) -> Result<(), RunError> {
    let mut problems = Problems::default();
    let Some(allowed) = allowed else { return Ok(()) };
    let needs = plan.arms.iter().filter_map(|arm| Some((arm, MemoryNeed::of(&arm.experiment)?)));
    if let Some((arm, need)) = needs.into_iter().find(|(_, need)| need.total() > allowed) {
        problems.add(
            &format!("arm `{}`", arm.name),
            format!("it takes {need}, and there are {}", bytes(allowed)),
            "a smaller network, batch or number of samples; `shards` and `recompute` hold less of a batch at a time",
        );
    }
    Ok(problems.check()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_study::{ExperimentConfig, PlannedArm};

    #[test]
    fn what_does_not_fit_is_refused_with_what_it_takes() {
        let arm = PlannedArm { name: "wide".into(), experiment: ExperimentConfig::default() };
        let plan = Plan { question: String::new(), seeds: vec![0], shortened_by: 1, arms: vec![arm] };
        let need = MemoryNeed::of(&plan.arms[0].experiment).unwrap().total();
        assert!(check(&plan, Some(need)).is_ok() && check(&plan, None).is_ok());
        let refused = check(&plan, Some(need - 1)).unwrap_err();
        assert!(refused.is_input());
        let told = refused.to_string();
        assert!(told.starts_with("arm `wide`: it takes ") && told.contains(&bytes(need)), "{told}");
    }
}
