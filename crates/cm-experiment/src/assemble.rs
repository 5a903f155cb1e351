//! From configuration to parts: the only place where a variant becomes a `Box<dyn Trait>`. Each match names every
//! variant, so a new one does not compile until it is assembled here.

use crate::classifier::train_classifier;
use crate::error::RunError;
use crate::judge;
use cm_consistency::{
    ClassifierFeatures, ContinuousPairs, CurriculumConfig, Distance, DistanceConfig, KnownNoise, LpipsConfig,
    Perceptual, Pixels, Resized, ResizedConfig, Segments, TeacherStep, Trajectory,
};
use cm_datasets::{Dataset, DatasetConfig, Split, sigma_data};
use cm_diffusion::analytic::{ExactConsistency, GaussianMixture};
use cm_diffusion::{
    AlongLine, Ancestral, ConsistencyFunction, Denoiser, Discretisation, DpmSolverPlusPlus, FlowMap, Gamma,
    Jumps, Labels, Multistep, NoiseLevels, NumLevels, OneStep, ProbabilityFlow, QuantityError, Sampler,
    Sigma, SigmaRange, SolverConfig, Stochastic,
};
use cm_evaluator::{ExactEndpoint, ExactModes, Judges, MetricKind, Needs, NetworkJudge};
use cm_image::{ImageBatch, ImageShape};
use cm_network::feature_net::load_lpips;
use cm_study::{
    AncestralConfig, ChurnedConfig, DpmSolverPlusPlusConfig, FlowConfig, GammaConfig, JumpsConfig, MOST_HELD,
    MethodConfig, MultistepConfig, StudentSamplerConfig, TeacherMethodConfig,
};
use cm_tensor::ops::PairDistance;
use std::cell::OnceCell;
use std::path::PathBuf;

/// A data set with what a run needs to know of it.
pub(crate) struct Data {
    pub(crate) train: Box<dyn Dataset>,
    pub(crate) train_images: ImageBatch,
    pub(crate) test_images: ImageBatch,
    /// The classes of the test images; empty if they have none.
    pub(crate) test_labels: Vec<u32>,
    pub(crate) sigma_data: f32,
    /// The law of the data, where it is known.
    pub(crate) mixture: Option<GaussianMixture>,
}

impl Data {
    pub(crate) fn new(config: &DatasetConfig) -> Result<Self, RunError> {
        let failed = |error| RunError::failed("reading the data set", error);
        let build = |split| config.build(split).map_err(failed);
        let (train, test) = (build(Split::Train)?, build(Split::Test)?);
        let mixture = match config {
            DatasetConfig::GaussianMixture(config) => {
                Some(config.build(Split::Train).map_err(failed)?.mixture().clone())
            }
            DatasetConfig::Digits(_)
            | DatasetConfig::SwissRoll(_)
            | DatasetConfig::Prepared(_)
            | DatasetConfig::Source(_) => None,
        };
        let some = |data: &dyn Dataset| -> Vec<usize> {
            let count = data.len().min(MOST_HELD);
            (0..count).map(|i| (i as u64 * data.len() as u64 / count as u64) as usize).collect()
        };
        let tested = some(test.as_ref());
        Ok(Self {
            train_images: train.images(&some(train.as_ref())).map_err(failed)?,
            test_images: test.images(&tested).map_err(failed)?,
            test_labels: test.labels(&tested),
            sigma_data: sigma_data(train.as_ref()).map_err(failed)?,
            train,
            mixture,
        })
    }

    pub(crate) fn shape(&self) -> ImageShape {
        self.train.shape()
    }
}

/// What judges the samples of a data set.
pub(crate) struct Judge {
    config: DatasetConfig,
    /// Made when samples are judged for the first time: it may take training.
    network: OnceCell<Option<NetworkJudge>>,
    /// Where a trained network is kept.
    pub(crate) folder: Option<PathBuf>,
    pixels: cm_evaluator::Pixels,
    exact: Option<ExactConsistency>,
    range: SigmaRange,
}

impl Judge {
    pub(crate) fn new(config: &DatasetConfig, data: &Data, range: SigmaRange) -> Self {
        let exact = data.mixture.clone().map(|mixture| ExactConsistency { mixture, sigma_min: range.min() });
        let pixels = cm_evaluator::Pixels { shape: data.shape() };
        Self { config: config.clone(), network: OnceCell::new(), folder: None, pixels, exact, range }
    }

    /// The judges that `metrics` need.
    pub(crate) fn judges(&self, data: &Data, metrics: &[MetricKind]) -> Result<Judges<'_>, RunError> {
        let wanted =
            metrics.iter().any(|metric| matches!(metric.needs(), Needs::Features | Needs::Classifier));
        let network = match self.network.get() {
            Some(network) => network,
            None if !wanted => &None,
            None => {
                let test = (&data.test_images, &data.test_labels[..]);
                let made = judge::network(&self.config, data.train.as_ref(), test, self.folder.as_deref())?;
                self.network.get_or_init(|| made)
            }
        };
        Ok(match network {
            Some(network) => Judges { extractor: Some(network), endpoint: None, modes: None },
            None => Judges {
                extractor: Some(&self.pixels),
                endpoint: self
                    .exact
                    .as_ref()
                    .map(|function| ExactEndpoint { function, sigma_max: self.range.max() }),
                modes: self
                    .exact
                    .as_ref()
                    .map(|exact| ExactModes { mixture: &exact.mixture, sigma_min: Sigma::ZERO }),
            },
        })
    }
}

/// The distance of the loss. A learned one is trained here; `seed` is for that alone.
pub(crate) fn distance(
    config: &DistanceConfig,
    train: &dyn Dataset,
    seed: u64,
) -> Result<Box<dyn Distance>, RunError> {
    let pixels = |kind| -> Box<dyn Distance> { Box::new(Pixels(kind)) };
    Ok(match config {
        DistanceConfig::L1 => pixels(PairDistance::L1),
        DistanceConfig::L2 => pixels(PairDistance::L2),
        DistanceConfig::SquaredL2 => pixels(PairDistance::SquaredL2),
        DistanceConfig::LInfinity => pixels(PairDistance::LInfinity),
        &DistanceConfig::ResizedSquaredL2(ResizedConfig { side }) => {
            Box::new(Resized { side, distance: PairDistance::SquaredL2 })
        }
        DistanceConfig::PseudoHuber(config) => {
            pixels(PairDistance::PseudoHuber { c: config.constant(train.shape().len()) })
        }
        DistanceConfig::Features(features) => {
            let (network, weights) = train_classifier(train, features.channels, features.train_images, seed)
                .map_err(|error| {
                    RunError::failed("training the classifier of the feature distance", error)
                })?;
            Box::new(ClassifierFeatures::new(network, &weights, features.pixels))
        }
        DistanceConfig::Lpips(LpipsConfig { network, trunk_weights, heads }) => {
            let (lpips, _) = load_lpips(*network, trunk_weights, heads.as_deref())?;
            Box::new(Perceptual(lpips))
        }
    })
}

/// Where the lower point of a pair comes from. Plans with distillation and no teacher are refused before this.
pub(crate) fn trajectory<'a>(
    method: &MethodConfig,
    teacher: Option<&'a dyn Denoiser>,
) -> Result<Box<dyn Trajectory + 'a>, RunError> {
    match (method, teacher) {
        (MethodConfig::Distillation(config), Some(denoiser)) => {
            Ok(Box::new(TeacherStep { denoiser, solver: config.solver.build() }))
        }
        // A solver's step is taken only to measure how far the student is from consistency.
        (MethodConfig::ContinuousDistillation(_), Some(denoiser)) => {
            Ok(Box::new(TeacherStep { denoiser, solver: SolverConfig::default().build() }))
        }
        (MethodConfig::Distillation(_) | MethodConfig::ContinuousDistillation(_), None) => {
            Err(RunError::failed("assembling the student", "distillation without a teacher"))
        }
        (MethodConfig::Training | MethodConfig::ContinuousTraining(_), _) => Ok(Box::new(KnownNoise)),
        (
            MethodConfig::ProgressiveDistillation
            | MethodConfig::Shortcut(_)
            | MethodConfig::TwoTime(_)
            | MethodConfig::InductiveMomentMatching(_),
            _,
        ) => Err(RunError::failed("assembling the student", "the method has no pairs of noise levels")),
    }
}

/// The law of pairs without levels, where the curriculum asks for it.
pub(crate) fn continuous_pairs(
    curriculum: CurriculumConfig,
    range: SigmaRange,
) -> Result<Option<ContinuousPairs>, QuantityError> {
    match curriculum {
        CurriculumConfig::Continuous(config) => ContinuousPairs::new(config, range).map(Some),
        CurriculumConfig::Fixed(_)
        | CurriculumConfig::Progressive(_)
        | CurriculumConfig::Doubling(_)
        | CurriculumConfig::Halving(_) => Ok(None),
    }
}

/// A sampler of a consistency function.
pub fn student_sampler<'a>(
    config: &StudentSamplerConfig,
    model: &'a dyn ConsistencyFunction,
    shape: ImageShape,
    discretisation: &dyn Discretisation,
    labels: Labels,
) -> Result<Box<dyn Sampler + 'a>, QuantityError> {
    let range = discretisation.range();
    let levels = |times: &[f32]| times.iter().map(|&time| Sigma::new(time)).collect::<Result<_, _>>();
    Ok(match config {
        StudentSamplerConfig::OneStep => Box::new(OneStep { model, shape, sigma_max: range.max(), labels }),
        StudentSamplerConfig::Multistep(MultistepConfig { times, clip }) => {
            Box::new(Multistep::new(model, shape, range, levels(times)?, *clip, labels)?)
        }
        StudentSamplerConfig::Gamma(GammaConfig { gamma, times, clip }) => {
            Box::new(Gamma::new(model, shape, range, levels(times)?, *gamma, *clip, labels)?)
        }
        StudentSamplerConfig::Jumps(config) => {
            let line = AlongLine { model, sigma_min: range.min() };
            Box::new(jumps(*config, Box::new(line), shape, discretisation, labels)?)
        }
    })
}

/// A sampler of a flow map.
pub(crate) fn jumps<'a>(
    config: JumpsConfig,
    map: Box<dyn FlowMap + 'a>,
    shape: ImageShape,
    discretisation: &dyn Discretisation,
    labels: Labels,
) -> Result<Jumps<'a>, QuantityError> {
    let levels = discretisation.noise_levels(NumLevels::new(config.steps.saturating_add(1))?)?;
    Ok(Jumps { map, shape, levels, labels })
}

/// The segments of a multistep consistency model; `None` for a plain one.
pub(crate) fn segments(
    count: usize,
    discretisation: &dyn Discretisation,
) -> Result<Option<Segments>, QuantityError> {
    match count {
        0 | 1 => Ok(None),
        more => Segments::new(discretisation, more).map(Some),
    }
}

/// A sampler of a denoiser, down `levels`.
pub(crate) fn teacher_sampler<'a>(
    config: TeacherMethodConfig,
    denoiser: &'a dyn Denoiser,
    shape: ImageShape,
    levels: &'a NoiseLevels,
    labels: Labels,
) -> Result<Box<dyn Sampler + 'a>, QuantityError> {
    Ok(match config {
        TeacherMethodConfig::Flow(FlowConfig { solver, end }) => {
            let solver = solver.solver();
            Box::new(ProbabilityFlow { denoiser, solver, shape, levels, end, labels })
        }
        TeacherMethodConfig::Churned(ChurnedConfig { solver, churn }) => {
            Box::new(Stochastic::new(denoiser, solver.solver(), shape, levels, churn, labels)?)
        }
        TeacherMethodConfig::DpmSolverPlusPlus(DpmSolverPlusPlusConfig { end }) => {
            Box::new(DpmSolverPlusPlus { denoiser, shape, levels, end, labels })
        }
        TeacherMethodConfig::Ancestral(AncestralConfig { eta }) => {
            Box::new(Ancestral::new(denoiser, shape, levels, eta, labels)?)
        }
    })
}
