//! Drawing from a finished run's model that jumps from noise level to noise level: a progressively distilled one, a
//! shortcut model, or a consistency model of several segments.
//!
//! Deliberately absent: editing and the search for times, which need to know where trajectories end.

use crate::drawing::{Drawing, Evaluations, SampleRequest, Use, check_counts};
use crate::error::WorkbenchError;
use crate::flow::check_unguided;
use crate::request::pick;
use cm_experiment::Trained;
use cm_study::{JumpSteps, JumpsConfig, MethodConfig, Problems, StudentSamplerConfig, jump_steps};

/// Finds out what is asked for of `trained`, which is `model`, a kind that jumps; of progressive distillation from the
/// student of the stage with so many steps.
pub(crate) fn sample_jumps(
    request: &SampleRequest,
    trained: &Trained,
    model: &str,
    mut problems: Problems,
    then: Use<'_>,
) -> Result<(), WorkbenchError> {
    let experiment = &trained.run().experiment;
    let path = &request.model.path;
    let staged = experiment.method == MethodConfig::ProgressiveDistillation;
    let mut allowed = jump_steps(experiment).unwrap_or(JumpSteps::These(Vec::new()));
    if let JumpSteps::These(steps) = &mut allowed
        && staged
        && !path.is_dir()
    {
        // The file alone is the student of the last stage.
        *steps = steps.iter().min().copied().into_iter().collect();
    }
    let listed = allowed.told("--steps ", "");
    let steps = match request.evaluations.or_steps(1) {
        Evaluations::Steps(steps) if allowed.allow(steps) => steps,
        Evaluations::Steps(steps) => {
            problems.add("--steps", format!("{model} is not trained for {steps} steps"), listed);
            steps
        }
        Evaluations::Times(_) | Evaluations::Usual => {
            let message = format!("{model} jumps from noise level to noise level of its own");
            problems.add("--times", message, listed);
            1
        }
    };
    let names: Vec<String> = trained.averages().iter().map(|ema| ema.name()).collect();
    let (average, labels) =
        pick(&request.model, &names, (trained.labels(), &|| Ok(trained.class_names()?)), &mut problems)?;
    check_unguided(request, &mut problems);
    check_counts(request, &mut problems);
    problems.check()?;
    let stage = match staged && path.is_dir() {
        true => Some(Trained::open_stage(path, steps)?),
        false => None,
    };
    let trained = stage.as_ref().unwrap_or(trained);
    let student = trained.student(average);
    let config = StudentSamplerConfig::Jumps(JumpsConfig { steps });
    let sampler = trained.sampler(&student, &config, labels)?;
    let (quantisation, seed) = trained.delivery();
    let drawing = Drawing {
        sampler: sampler.as_ref(),
        name: config.name(),
        model: format!("{}, weights {}", trained.run().name(), names[average]),
        of: Some(trained.identity()),
        labels,
        quantisation: request.quantisation.or(quantisation),
        seed: request.seed.unwrap_or(seed),
    };
    then(&drawing)
}
