//! Images drawn from a trained model: one that knows where trajectories end in several steps, one that jumps as it
//! was trained to, and a diffusion model along its probability flow.

use crate::any_model::{AnyModel, Found, found};
use crate::drawing::{Drawing, Drawn, Evaluations, SampleRequest, Use, check_counts, draw};
use crate::error::WorkbenchError;
use crate::flow::{DiffusionModel, check_unguided, sample_flow};
use crate::jumping::sample_jumps;
use crate::model::Model;
use crate::request::{Chosen, checked_levels};
use cm_diffusion::{Multistep, NumLevels, Sigma};
use cm_experiment::TrainedTeacher;
use cm_host::{Progress, StopFlag};
use cm_image::Quantisation;
use cm_study::{MultistepConfig, Problems, StudentSamplerConfig};

/// Draws images. They go to the disk batch by batch; asked to stop, it leaves no file and returns nothing.
///
/// # Errors
/// [`WorkbenchError`] if the model cannot be opened, has not what is asked of it, or fails, or a file cannot be written.
pub fn sample(
    request: &SampleRequest,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<Option<Drawn>, WorkbenchError> {
    let mut drawn = None;
    with_drawing(request, &mut |drawing| {
        drawn = draw(request, drawing, stop, progress)?;
        Ok(())
    })?;
    Ok(drawn)
}

/// Finds out from what is drawn, with every problem of the request, and hands it on.
pub(crate) fn with_drawing(request: &SampleRequest, then: Use<'_>) -> Result<(), WorkbenchError> {
    let mut problems = Problems::default();
    let path = &request.model.path;
    if request.teacher {
        let teacher = DiffusionModel::Teacher(Box::new(TrainedTeacher::of_run(path)?));
        return sample_flow(request, &teacher, problems, then);
    }
    let model = match found(path)? {
        Found::Model(AnyModel::Consistency(model)) => model,
        Found::Model(AnyModel::Diffusion(model)) => return sample_flow(request, &model, problems, then),
        Found::Jumping(trained, model) => return sample_jumps(request, &trained, model, problems, then),
    };
    check_unguided(request, &mut problems);
    let chosen = Chosen::of(model, &request.model, &mut problems)?;
    let times = times(&request.evaluations.or_steps(1), &chosen, &mut problems);
    check_counts(request, &mut problems);
    problems.check()?;
    let function = chosen.model.function(chosen.average);
    let (shape, range, labels) = (chosen.model.shape(), chosen.model.range(), chosen.labels);
    let as_levels: Vec<f32> = times.iter().map(|level| level.get()).collect();
    let name = match as_levels.is_empty() {
        true => StudentSamplerConfig::OneStep,
        false => StudentSamplerConfig::Multistep(MultistepConfig { times: as_levels, clip: request.clip }),
    };
    let sampler = Multistep::new(&function, shape, range, times, request.clip, labels)
        .map_err(|error| WorkbenchError::failed("the sampler", error))?;
    let ((quantisation, seed), model, of) = match &chosen.model {
        Model::Run(trained) => (trained.delivery(), trained.run().name(), Some(trained.identity())),
        Model::File(_) => ((Some(Quantisation::default()), 0), path.display().to_string(), None),
    };
    let drawing = Drawing {
        sampler: &sampler,
        name: name.name(),
        model: format!("{model}, weights {}", chosen.model.averages()[chosen.average]),
        of,
        labels,
        quantisation: request.quantisation.or(quantisation),
        seed: request.seed.unwrap_or(seed),
    };
    then(&drawing)
}

/// Most evaluations by their number: the levels between them are worked out at once.
const MAX_STEPS: usize = 1000;

/// The levels after the first.
fn times(evaluations: &Evaluations, chosen: &Chosen, problems: &mut Problems) -> Vec<Sigma> {
    let steps = match evaluations {
        Evaluations::Times(times) => {
            return checked_levels(problems, "--times", times, chosen.model.range(), false);
        }
        Evaluations::Steps(steps) => *steps,
        Evaluations::Usual => 1,
    };
    let levels = match steps {
        1..=MAX_STEPS => NumLevels::new(steps + 1)
            .and_then(|levels| chosen.model.levels(levels))
            .map_err(|error| error.to_string()),
        _ => Err(format!("{steps} evaluations")),
    };
    match levels {
        Ok(levels) => levels.as_slice()[1..steps].to_vec(),
        Err(message) => {
            problems.add("--steps", message, format!("1 to {MAX_STEPS}"));
            Vec::new()
        }
    }
}
