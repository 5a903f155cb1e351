//! Drawing from a diffusion model: one in a file of weights along its probability flow, by Heun's method, and the trained
//! teacher of a study as the study does.

use crate::drawing::{Drawing, Evaluations, SampleRequest, Use, check_counts};
use crate::error::WorkbenchError;
use crate::request::{checked_levels, pick};
use cm_diffusion::{
    Denoiser, FlowEnd, Guidance, Guided, Labels, NoiseLevels, NumLevels, ProbabilityFlow, QuantityError,
    Sampler, SigmaRange, SolverConfig,
};
use cm_experiment::{TrainedTeacher, WeightsFile};
use cm_image::Quantisation;
use cm_network::{Network, Weights};
use cm_study::{GuideConfig, Problems, WeightsCard};

/// Levels of a file where nobody says how many (Karras et al. 2022, Section 5: CIFAR-10, 35 evaluations).
const USUAL_LEVELS: usize = 18;
/// Levels by their number at most.
const MOST_LEVELS: usize = 1000;

/// A diffusion model, wherever it comes from.
pub(crate) enum DiffusionModel {
    /// A file that was imported.
    File(Box<WeightsFile>),
    /// The trained teacher of a study.
    Teacher(Box<TrainedTeacher>),
}

impl DiffusionModel {
    /// All that another program needs to know of it.
    pub(crate) fn card(&self) -> WeightsCard {
        match self {
            Self::File(file) => file.card.clone(),
            Self::Teacher(teacher) => teacher.card(),
        }
    }

    pub(crate) fn network(&self) -> &dyn Network {
        match self {
            Self::File(file) => file.network.as_ref(),
            Self::Teacher(teacher) => teacher.network(),
        }
    }

    /// The weights of one average.
    pub(crate) fn weights(&self, average: usize) -> &Weights {
        match self {
            Self::File(file) => &file.weights,
            Self::Teacher(teacher) => teacher.weights(average),
        }
    }

    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "its weights are a diffusion model's",
            Self::Teacher(_) => "it is a teacher's model",
        }
    }

    pub(crate) fn averages(&self) -> Vec<String> {
        match self {
            Self::File(_) => vec!["file".to_owned()],
            Self::Teacher(teacher) => teacher.averages(),
        }
    }

    pub(crate) fn labels(&self) -> Labels {
        match self {
            Self::File(file) => file.labels(),
            Self::Teacher(teacher) => teacher.labels(),
        }
    }

    pub(crate) fn class_names(&self) -> Result<Vec<String>, WorkbenchError> {
        match self {
            Self::File(_) => Ok(Vec::new()),
            Self::Teacher(teacher) => Ok(teacher.class_names()?),
        }
    }

    fn range(&self) -> SigmaRange {
        match self {
            Self::File(file) => file.range,
            Self::Teacher(teacher) => teacher.range(),
        }
    }

    /// So many levels of its own spacing; the usual number where nobody says how many.
    pub(crate) fn levels(&self, number: Option<usize>) -> Result<NoiseLevels, QuantityError> {
        match self {
            Self::File(file) => {
                file.discretisation().noise_levels(NumLevels::new(number.unwrap_or(USUAL_LEVELS))?)
            }
            Self::Teacher(teacher) => teacher.levels(number),
        }
    }

    /// How it is guided where a request asks for `asked`.
    fn guidance(&self, asked: Option<Guidance>, problems: &mut Problems) -> Guidance {
        let teacher = match self {
            Self::File(_) => None,
            Self::Teacher(teacher) => Some(teacher),
        };
        let Some(guidance) = asked else {
            return match teacher.map(|teacher| teacher.guidance()) {
                Some((guidance, GuideConfig::NoClass)) => guidance,
                Some((guidance, GuideConfig::Weaker(_))) if !guidance.is_none() => {
                    let message = "its study guides it by a weaker teacher, which is not drawn from";
                    problems.add("--guidance", message, "1: the teacher alone");
                    Guidance::default()
                }
                Some((_, GuideConfig::Weaker(_))) | None => Guidance::default(),
            };
        };
        if let Err(error) = guidance.check() {
            problems.add(
                "--guidance",
                error.to_string(),
                "a weight of 0 or more, 1 for none; levels ABOVE,UP_TO that rise",
            );
        }
        let why_not = match teacher {
            _ if guidance.is_none() => None,
            _ if self.labels() == Labels::None => Some("the model was trained without classes"),
            Some(teacher) if teacher.label_dropout() == 0.0 => {
                Some("the teacher was always told the class: its label_dropout is 0")
            }
            Some(_) | None => None,
        };
        if let Some(why) = why_not {
            problems.add("--guidance", why, "1, or nothing: it cannot guide itself");
        }
        guidance
    }

    fn denoiser(&self, average: usize, guidance: Guidance) -> Box<dyn Denoiser + '_> {
        match self {
            Self::File(file) if guidance.is_none() => file.denoiser(),
            Self::File(file) => Box::new(Guided { denoiser: file.denoiser(), guidance }),
            Self::Teacher(teacher) => teacher.denoiser(average, guidance),
        }
    }

    fn sampler<'a>(
        &self,
        denoiser: &'a dyn Denoiser,
        levels: &'a NoiseLevels,
        labels: Labels,
    ) -> Result<Box<dyn Sampler + 'a>, QuantityError> {
        match self {
            // EDM's deterministic sampler (Karras et al. 2022, Algorithm 1).
            Self::File(file) => Ok(Box::new(ProbabilityFlow {
                denoiser,
                solver: SolverConfig::Heun.solver(),
                shape: file.card.shape(),
                levels,
                end: FlowEnd::Zero,
                labels,
            })),
            Self::Teacher(teacher) => teacher.sampler(denoiser, levels, labels),
        }
    }

    fn sampler_name(&self, levels: usize) -> String {
        match self {
            Self::File(_) => format!("heun-{levels}"),
            Self::Teacher(teacher) => teacher.sampler_name(levels),
        }
    }

    /// The rule for pixels and the seed where a request says nothing.
    fn delivery(&self) -> (Option<Quantisation>, u64) {
        match self {
            Self::File(_) => (Some(Quantisation::default()), 0),
            Self::Teacher(teacher) => teacher.delivery(),
        }
    }

    /// What its images say that they are of, beside its path.
    fn describe(&self, average: &str, guidance: Guidance) -> String {
        let what = match self {
            Self::File(_) => "weights file".to_owned(),
            Self::Teacher(_) => format!("a teacher, weights {average}"),
        };
        let Guidance { weight, above, up_to } = guidance;
        match (guidance.is_none(), above == 0.0 && up_to == f32::INFINITY) {
            (true, _) => what,
            (false, true) => format!("{what}, guided by {weight}"),
            (false, false) => format!("{what}, guided by {weight} at levels above {above} up to {up_to}"),
        }
    }
}

/// Finds out how to draw what is asked for.
pub(crate) fn sample_flow(
    request: &SampleRequest,
    model: &DiffusionModel,
    mut problems: Problems,
    then: Use<'_>,
) -> Result<(), WorkbenchError> {
    let averages = model.averages();
    let (average, labels) =
        pick(&request.model, &averages, (model.labels(), &|| model.class_names()), &mut problems)?;
    let guidance = model.guidance(request.guidance, &mut problems);
    let levels = levels(&request.evaluations, model, &mut problems);
    check_counts(request, &mut problems);
    problems.check()?;
    let Some(levels) = levels else {
        return Err(WorkbenchError::failed("the noise levels", "there are none"));
    };
    let denoiser = model.denoiser(average, guidance);
    let sampler = model.sampler(denoiser.as_ref(), &levels, labels);
    let sampler = sampler.map_err(|error| WorkbenchError::failed("the sampler", error))?;
    let (quantisation, seed) = model.delivery();
    let drawing = Drawing {
        sampler: sampler.as_ref(),
        name: model.sampler_name(levels.as_slice().len()),
        model: format!("{}, {}", request.model.path.display(), model.describe(&averages[average], guidance)),
        of: None,
        labels,
        quantisation: request.quantisation.or(quantisation),
        seed: request.seed.unwrap_or(seed),
    };
    then(&drawing)
}

/// That nobody asks for guidance of a model that is none of diffusion.
pub(crate) fn check_unguided(request: &SampleRequest, problems: &mut Problems) {
    if request.guidance.is_some() {
        let message = "the model is no diffusion model, and was guided when it was trained, or never";
        problems.add("--guidance", message, "nothing: leave it out");
    }
}

/// The levels that are visited: of the model's own spacing, or its highest and those given.
fn levels(evaluations: &Evaluations, model: &DiffusionModel, problems: &mut Problems) -> Option<NoiseLevels> {
    let (option, levels) = match evaluations {
        Evaluations::Times(times) => {
            let range = model.range();
            let mut levels = vec![range.max()];
            levels.extend(checked_levels(problems, "--times", times, range, false));
            (
                "--times",
                NoiseLevels::new(levels.iter().map(|level| level.get())).map_err(|error| error.to_string()),
            )
        }
        Evaluations::Steps(steps) if *steps > MOST_LEVELS => ("--steps", Err(format!("{steps} levels"))),
        Evaluations::Steps(steps) => {
            ("--steps", model.levels(Some(*steps)).map_err(|error| error.to_string()))
        }
        Evaluations::Usual => ("--steps", model.levels(None).map_err(|error| error.to_string())),
    };
    match levels {
        Ok(levels) => Some(levels),
        Err(message) => {
            problems.add(option, message, format!("2 to {MOST_LEVELS} levels of a diffusion model"));
            None
        }
    }
}
