//! How samples are drawn, as data: from a student and from a teacher.

use cm_diffusion::{Churn, FlowEnd, SolverConfig, SpacingConfig};
use serde::{Deserialize, Serialize};

/// How images are drawn from a consistency model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum StudentSamplerConfig {
    /// f(x, sigma_max).
    OneStep,
    /// Noise and denoise alternately (Song et al. 2023, Algorithm 1).
    Multistep(MultistepConfig),
    /// Only a part of the noise is fresh, the rest is left over (Kim et al. 2024).
    Gamma(GammaConfig),
    /// From level to level, for models that jump: those of progressive distillation, shortcut models, and consistency
    /// models of several segments.
    Jumps(JumpsConfig),
}

impl StudentSamplerConfig {
    /// A short name for tables and files.
    pub fn name(&self) -> String {
        let of_times = |times: &[f32], clip: bool| {
            let times: Vec<String> = times.iter().map(f32::to_string).collect();
            format!("{}{}", times.join("-"), if clip { "-clipped" } else { "" })
        };
        match self {
            Self::OneStep => "one-step".to_owned(),
            Self::Multistep(MultistepConfig { times, clip }) => {
                format!("multistep-{}", of_times(times, *clip))
            }
            Self::Gamma(GammaConfig { gamma, times, clip }) => {
                format!("gamma-{gamma}-at-{}", of_times(times, *clip))
            }
            Self::Jumps(JumpsConfig { steps }) => format!("jumps-{steps}"),
        }
    }

    /// NFE: network evaluations for each image.
    pub fn evaluations(&self) -> usize {
        match self {
            Self::OneStep => 1,
            Self::Multistep(MultistepConfig { times, .. }) | Self::Gamma(GammaConfig { times, .. }) => {
                times.len() + 1
            }
            Self::Jumps(JumpsConfig { steps }) => *steps,
        }
    }
}

/// Settings of [`StudentSamplerConfig::Multistep`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MultistepConfig {
    /// The noise levels after the first evaluation, in data units, strictly falling, each above 0 and between sigma_min and
    /// sigma_max. One more evaluation for each.
    pub times: Vec<f32>,
    /// Whether intermediate images are clipped to [-1, 1].
    pub clip: bool,
}

impl Default for MultistepConfig {
    fn default() -> Self {
        Self {
            times: vec![0.821], // Song et al. 2023, Appendix C: two steps on CIFAR-10
            clip: false,        // Song et al. 2023, Algorithm 1
        }
    }
}

/// Settings of [`StudentSamplerConfig::Gamma`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GammaConfig {
    /// The share of each time's noise (of its standard deviation) that is fresh, in [0, 1]. 1 is
    /// [`StudentSamplerConfig::Multistep`].
    pub gamma: f32,
    /// As [`MultistepConfig::times`].
    pub times: Vec<f32>,
    /// Whether intermediate images are clipped to [-1, 1].
    pub clip: bool,
}

impl Default for GammaConfig {
    fn default() -> Self {
        Self {
            gamma: 0.0,                              // ours: the end of its range that is not Multistep
            times: MultistepConfig::default().times, // beside that type
            clip: false,                             // as Multistep's
        }
    }
}

/// Settings of [`StudentSamplerConfig::Jumps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JumpsConfig {
    /// Evaluations: the levels are those of the discretisation, one more than this. After progressive distillation one of
    /// its stages, whose student is then sampled; of a shortcut model a power of two below its number of levels; of a
    /// model of segments their number.
    pub steps: usize,
}

impl Default for JumpsConfig {
    fn default() -> Self {
        Self {
            steps: 1, // Salimans and Ho 2022, Table 2: down to one step
        }
    }
}

/// How images are drawn from a teacher: down a grid of noise levels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TeacherSamplerConfig {
    /// The way from level to level.
    pub method: TeacherMethodConfig,
    /// Noise levels, at least 2. Heun's solver evaluates the network 2 x levels - 1 times.
    pub levels: usize,
    /// How the levels are spaced. None: as the student's.
    pub spacing: Option<SpacingConfig>,
}

/// The way from one noise level of a teacher's sampler to the next.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum TeacherMethodConfig {
    /// The probability-flow ODE by a one-step solver (Karras et al. 2022, Algorithm 1). With Euler's steps to sigma_min it
    /// is how progressively distilled models are sampled.
    Flow(FlowConfig),
    /// The same with noise added before each step (Karras et al. 2022, Algorithm 2).
    Churned(ChurnedConfig),
    /// DPM-Solver++(2M) (Lu et al. 2022b, Algorithm 2): second order, one evaluation a level.
    DpmSolverPlusPlus(DpmSolverPlusPlusConfig),
    /// Euler's steps, noised back up (DDPM; Song et al. 2021, Appendix F).
    Ancestral(AncestralConfig),
}

impl Default for TeacherMethodConfig {
    fn default() -> Self {
        Self::Flow(FlowConfig::default()) // Karras et al. 2022, Table 2: best on CIFAR-10
    }
}

/// Settings of [`TeacherMethodConfig::Flow`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowConfig {
    /// The solver.
    pub solver: SolverConfig, // default beside that type: Heun, as Karras et al. 2022, Algorithm 1
    /// Whether a step to 0 follows the last level.
    pub end: FlowEnd, // default beside that type
}

/// Settings of [`TeacherMethodConfig::Churned`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChurnedConfig {
    /// The solver.
    pub solver: SolverConfig, // default beside that type: Heun, as Karras et al. 2022, Algorithm 2
    /// How much noise is added where.
    pub churn: Churn, // default beside that type
}

/// Settings of [`TeacherMethodConfig::DpmSolverPlusPlus`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpmSolverPlusPlusConfig {
    /// Whether a step to 0 follows the last level.
    pub end: FlowEnd, // default beside that type
}

/// Settings of [`TeacherMethodConfig::Ancestral`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AncestralConfig {
    /// The share of the posterior's standard deviation that is fresh noise, in [0, 1].
    pub eta: f32,
}

impl Default for AncestralConfig {
    fn default() -> Self {
        Self {
            eta: 1.0, // Ho et al. 2020, Equation 7: the posterior's variance
        }
    }
}

impl Default for TeacherSamplerConfig {
    fn default() -> Self {
        Self {
            method: TeacherMethodConfig::default(), // beside that type
            levels: 18,                             // Karras et al. 2022, Table 2: 35 evaluations on CIFAR-10
            spacing: None, // Song et al. 2023: teacher and student share Karras's levels
        }
    }
}

impl TeacherSamplerConfig {
    /// A short name for tables and files.
    pub fn name(&self) -> String {
        let to = |end: FlowEnd| match end {
            FlowEnd::Zero => "",
            FlowEnd::SigmaMin => "-to-sigma-min",
        };
        let levels = self.levels;
        let name = match self.method {
            TeacherMethodConfig::Flow(FlowConfig { solver, end }) => {
                format!("{}-{levels}{}", solver.name(), to(end))
            }
            TeacherMethodConfig::Churned(ChurnedConfig { solver, churn }) => {
                format!("{}-{levels}-churn-{}", solver.name(), churn.amount)
            }
            TeacherMethodConfig::DpmSolverPlusPlus(DpmSolverPlusPlusConfig { end }) => {
                format!("dpm-solver++-{levels}{}", to(end))
            }
            TeacherMethodConfig::Ancestral(AncestralConfig { eta }) => {
                format!("ancestral-{levels}-eta-{eta}")
            }
        };
        self.spacing.map_or(name.clone(), |spacing| format!("{name}-{}", spacing.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_samplers_apart() {
        let teacher = |text: &str| {
            let config: TeacherSamplerConfig = crate::notation::from_ron(text).unwrap();
            config.name()
        };
        let names = [
            teacher("()"),
            teacher("(method: Flow(solver: Euler, end: SigmaMin), levels: 5)"),
            teacher("(method: Churned(churn: (amount: 10)), levels: 40)"),
            teacher("(method: DpmSolverPlusPlus(), levels: 10, spacing: Exponential)"),
            teacher("(method: Ancestral(), spacing: Cosine())"),
        ];
        let expected = [
            "heun-18",
            "euler-5-to-sigma-min",
            "heun-40-churn-10",
            "dpm-solver++-10-exponential",
            "ancestral-18-eta-1-cosine-1",
        ];
        assert_eq!(names, expected);
        let student = |text: &str| {
            let config: StudentSamplerConfig = crate::notation::from_ron(text).unwrap();
            config.name()
        };
        assert_eq!(student("Multistep(times: [3, 0.5], clip: true)"), "multistep-3-0.5-clipped");
        assert_eq!(student("Gamma(gamma: 0.3, times: [3])"), "gamma-0.3-at-3");
        assert_eq!(student("Jumps(steps: 4)"), "jumps-4");
    }
}
