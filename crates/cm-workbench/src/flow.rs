//! Drawing from a diffusion model in a file of weights: along its probability flow, by Heun's method.

use crate::drawing::{Drawing, Drawn, Evaluations, SampleRequest, check_counts, draw};
use crate::error::WorkbenchError;
use crate::request::{checked_levels, pick};
use cm_diffusion::{FlowEnd, NoiseLevels, NumLevels, ProbabilityFlow, SolverConfig};
use cm_experiment::WeightsFile;
use cm_host::{Progress, StopFlag};
use cm_study::Problems;

/// Levels where nobody says how many (Karras et al. 2022, Section 5: CIFAR-10, 35 evaluations).
const USUAL_LEVELS: usize = 18;
/// Levels by their number at most.
const MOST_LEVELS: usize = 1000;

/// Draws what is asked for, as EDM's deterministic sampler does (Karras et al. 2022, Algorithm 1).
pub(crate) fn sample_flow(
    request: &SampleRequest,
    mut problems: Problems,
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<Option<Drawn>, WorkbenchError> {
    let path = &request.model.path;
    let file = WeightsFile::open(path)?;
    let (_, labels) = pick(&request.model, &["file".to_owned()], file.labels(), &mut problems);
    let levels = levels(&request.evaluations, &file, &mut problems);
    check_counts(request, &mut problems);
    problems.check()?;
    let Some(levels) = levels else {
        return Err(WorkbenchError::failed("the noise levels", "there are none"));
    };
    let denoiser = file.denoiser();
    let sampler = ProbabilityFlow {
        denoiser: denoiser.as_ref(),
        solver: SolverConfig::Heun.solver(),
        shape: file.card.shape(),
        levels: &levels,
        end: FlowEnd::Zero,
        labels,
    };
    let drawing = Drawing {
        sampler: &sampler,
        name: format!("heun-{}", levels.as_slice().len()),
        model: format!("{}, weights file", path.display()),
        of: None,
        labels,
        quantisation: Some(request.quantisation.unwrap_or_default()),
        seed: request.seed.unwrap_or(0),
    };
    draw(request, &drawing, stop, progress)
}

/// The levels that are visited: of the file's own spacing, or its highest and those given.
fn levels(evaluations: &Evaluations, file: &WeightsFile, problems: &mut Problems) -> Option<NoiseLevels> {
    let (option, levels) = match evaluations.or_steps(USUAL_LEVELS) {
        Evaluations::Times(times) => {
            let range = file.range;
            let mut levels = vec![range.max()];
            levels.extend(checked_levels(problems, "--times", &times, range, false));
            (
                "--times",
                NoiseLevels::new(levels.iter().map(|level| level.get())).map_err(|error| error.to_string()),
            )
        }
        Evaluations::Steps(steps) if steps <= MOST_LEVELS => {
            let levels = NumLevels::new(steps).and_then(|levels| file.discretisation().noise_levels(levels));
            ("--steps", levels.map_err(|error| error.to_string()))
        }
        Evaluations::Steps(steps) => ("--steps", Err(format!("{steps} levels"))),
        Evaluations::Usual => return None,
    };
    match levels {
        Ok(levels) => Some(levels),
        Err(message) => {
            problems.add(option, message, format!("2 to {MOST_LEVELS} levels of a diffusion model"));
            None
        }
    }
}
