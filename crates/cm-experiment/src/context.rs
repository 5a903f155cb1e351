//! What a run works with, whether its student is about to be trained or is read from a file.

use crate::assemble::{Data, Judge};
use crate::config::{ExperimentConfig, TeacherSource};
use crate::error::RunError;
use crate::plan::PlannedRun;
use crate::seed::NamedSeeds;
use cm_diffusion::{Boundary, Denoiser, Discretisation, Edm, Labels, SigmaRange};
use cm_evaluator::{MetricKind, Reference};
use cm_network::{Network, Weights};
use cm_teacher::Teacher;

/// Data, judge, noise levels and network of a run.
pub(crate) struct Context {
    pub(crate) data: Data,
    pub(crate) judge: Judge,
    pub(crate) range: SigmaRange,
    pub(crate) discretisation: Box<dyn Discretisation>,
    pub(crate) network: Box<dyn Network>,
    /// Fresh weights of this run's seed.
    pub(crate) fresh: Weights,
    /// The trained teacher's averaged weights, once there are any.
    pub(crate) teacher: Option<Weights>,
}

impl Context {
    /// All of it but a trained teacher.
    pub(crate) fn new(run: &PlannedRun) -> Result<Self, RunError> {
        let experiment = &run.experiment;
        let what = |part: &str| format!("{part} of {}", run.name());
        let data = Data::new(&experiment.dataset)?;
        let discretisation = experiment
            .consistency
            .discretisation
            .build()
            .map_err(|error| RunError::failed(what("the noise levels"), error))?;
        let range = discretisation.range();
        let judge = Judge::new(&experiment.dataset, &data, range);
        let (network, fresh) = experiment
            .network
            .build(data.shape(), experiment.conditions(data.train.as_ref()), NamedSeeds::of(run.seed).init)
            .map_err(|error| RunError::failed(what("the network"), error))?;
        Ok(Self { data, judge, range, discretisation, network, fresh, teacher: None })
    }

    /// The teacher as a denoiser, whatever it is.
    pub(crate) fn denoiser(&self, source: &TeacherSource) -> Option<Box<dyn Denoiser + '_>> {
        match source {
            TeacherSource::Trained(_) | TeacherSource::File(_) => {
                self.teacher.as_ref().map(|weights| -> Box<dyn Denoiser> {
                    let edm = Edm { sigma_data: self.data.sigma_data };
                    Box::new(Teacher::new(self.network.as_ref(), weights.clone(), edm))
                })
            }
            TeacherSource::Exact => {
                self.data.mixture.clone().map(|mixture| -> Box<dyn Denoiser> { Box::new(mixture) })
            }
            TeacherSource::None => None,
        }
    }

    /// The training images, prepared to be compared with samples by `metrics`.
    pub(crate) fn reference(
        &self,
        experiment: &ExperimentConfig,
        metrics: &[MetricKind],
    ) -> Result<Reference<'_>, RunError> {
        let images = self.data.train_images.clone();
        Reference::new(
            metrics,
            &experiment.evaluation.metric,
            images,
            self.judge.judges(&self.data, metrics)?,
        )
        .map_err(|error| RunError::failed("preparing the evaluation", error))
    }

    /// The classes asked of samples.
    pub(crate) fn labels(&self) -> Labels {
        match self.network.classes() {
            Some(classes) => Labels::Uniform { classes: classes as u32 },
            None => Labels::None,
        }
    }

    /// The preconditioning of the student.
    pub(crate) fn boundary(&self) -> Boundary {
        Boundary { sigma_data: self.data.sigma_data, sigma_min: self.range.min().get() }
    }
}
