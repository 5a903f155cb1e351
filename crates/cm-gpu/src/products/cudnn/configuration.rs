//! Which engine computes, with which settings; written as text, made again from it, and turned into a plan.

use super::descriptor::{Descriptor, Kind, Name, Type};
use super::graph::Graph;
use super::{For, NAME};
use crate::conv2d::Precision;
use crate::error::GpuError;
use cudarc::cudnn::sys;
use sys::cudnnBackendBehaviorNote_t as Behaviour;
use sys::cudnnBackendNumericalNote_t as Numerical;

/// Bytes of memory that a plan may use besides its operands.
const WORKSPACE: usize = 256 << 20;
/// Knobs of a configuration, at most.
const MOST_KNOBS: usize = 64;

/// An engine and its knobs, as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Configuration {
    engine: i64,
    /// Their kinds, which a newer library may have more of, and their settings.
    knobs: Vec<(u32, i64)>,
}

impl Configuration {
    /// `engine 12 4=1 7=0`.
    pub(super) fn text(&self) -> String {
        let knobs: String = self.knobs.iter().map(|(kind, value)| format!(" {kind}={value}")).collect();
        format!("engine {}{knobs}", self.engine)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_prefix("engine ")?.split(' ');
        let engine = words.next()?.parse().ok()?;
        let knob = |word: &str| {
            let (kind, value) = word.split_once('=')?;
            Some((kind.parse().ok()?, value.parse().ok()?))
        };
        Some(Self { engine, knobs: words.map(knob).collect::<Option<_>>()? })
    }

    /// What a descriptor of the library says, if its engine may be used: whether a result depends on anything but the
    /// operands, how it is rounded on its way, and whether the engine would be compiled first.
    pub(super) fn of(described: &Descriptor, precision: Precision) -> Result<Option<Self>, GpuError> {
        let kind = Kind::CUDNN_BACKEND_ENGINE_DESCRIPTOR;
        let engines = described.parts(Name::CUDNN_ATTR_ENGINECFG_ENGINE, kind, 1)?;
        let Some(engine) = engines.first() else { return Ok(None) };
        let notes = engine.names(Name::CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, Type::CUDNN_TYPE_NUMERICAL_NOTE)?;
        let behaviour =
            engine.names(Name::CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, Type::CUDNN_TYPE_BEHAVIOR_NOTE)?;
        let known = |note: &u32| allowed(precision).iter().any(|known| *known as u32 == *note);
        let compiled = behaviour.contains(&(Behaviour::CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION as u32));
        if compiled || !notes.iter().all(known) {
            return Ok(None);
        }
        let kind = Kind::CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR;
        let choices = described.parts(Name::CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, kind, MOST_KNOBS)?;
        let knobs = choices.iter().map(|choice| {
            let kind = choice.name(Name::CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, Type::CUDNN_TYPE_KNOB_TYPE)?;
            Ok((kind, choice.integer(Name::CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE)?))
        });
        let knobs = knobs.collect::<Result<_, GpuError>>()?;
        Ok(Some(Self { engine: engine.integer(Name::CUDNN_ATTR_ENGINE_GLOBAL_INDEX)?, knobs }))
    }

    /// As a descriptor, the last, with all that it is made of.
    pub(super) fn described(
        &self,
        of: For<'_>,
        graph: &Graph,
        what: &dyn Fn() -> String,
    ) -> Result<Vec<Descriptor>, GpuError> {
        let engine = Descriptor::new(Kind::CUDNN_BACKEND_ENGINE_DESCRIPTOR)?;
        engine.descriptors(Name::CUDNN_ATTR_ENGINE_OPERATION_GRAPH, &[&graph.graph])?;
        engine.integers(Name::CUDNN_ATTR_ENGINE_GLOBAL_INDEX, &[self.engine])?;
        if let For::Properties(device) = of {
            engine.descriptors(Name::CUDNN_ATTR_ENGINE_DEVICEPROP, &[device])?;
        }
        let engine = engine.finished(what)?;
        let knobs = self.knobs.iter().map(|&(kind, value)| {
            let knob = Descriptor::new(Kind::CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR)?;
            knob.named(Name::CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, Type::CUDNN_TYPE_KNOB_TYPE, kind)?;
            knob.integers(Name::CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, &[value])?;
            knob.finished(what)
        });
        let mut made = knobs.collect::<Result<Vec<_>, GpuError>>()?;
        let configuration = Descriptor::new(Kind::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)?;
        configuration.descriptors(Name::CUDNN_ATTR_ENGINECFG_ENGINE, &[&engine])?;
        if !made.is_empty() {
            let knobs: Vec<&Descriptor> = made.iter().collect();
            configuration.descriptors(Name::CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, &knobs)?;
        }
        made.extend([engine, configuration.finished(what)?]);
        Ok(made)
    }
}

/// What an engine may say of its numbers: matrix instructions where products are not in single precision, factors rounded
/// where they are in tf32. Not sums in less than single precision, transforms, or what differs from call to call.
fn allowed(precision: Precision) -> &'static [Numerical] {
    match precision {
        Precision::F32 => &[Numerical::CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP],
        Precision::Tf32 => &[
            Numerical::CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP,
            Numerical::CUDNN_NUMERICAL_NOTE_TENSOR_CORE,
            Numerical::CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS,
        ],
        Precision::Bf16 => {
            &[Numerical::CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP, Numerical::CUDNN_NUMERICAL_NOTE_TENSOR_CORE]
        }
    }
}

/// An execution plan of a configuration, and its workspace's bytes.
pub(super) fn execution_plan(
    of: For<'_>,
    configuration: &Descriptor,
    what: &dyn Fn() -> String,
) -> Result<(Descriptor, usize), GpuError> {
    let plan = Descriptor::new(Kind::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?;
    match of {
        For::Handle(handle) => plan.handle(Name::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle)?,
        For::Properties(device) => {
            plan.descriptors(Name::CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, &[device])?;
        }
    }
    plan.descriptors(Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, &[configuration])?;
    let plan = plan.finished(what)?;
    let workspace = usize::try_from(plan.integer(Name::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)?);
    let workspace = workspace.ok().filter(|bytes| *bytes <= WORKSPACE).ok_or_else(|| {
        let answer = format!("it wants more than {} MiB of memory", WORKSPACE >> 20);
        GpuError::Library { library: NAME, doing: what(), answer }
    })?;
    Ok((plan, workspace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_known_again_from_its_text() {
        for (text, knobs) in [("engine 0", vec![]), ("engine 12 4=1 70=-3", vec![(4, 1), (70, -3)])] {
            let configuration = Configuration::parse(text).unwrap();
            assert_eq!((configuration.knobs.clone(), configuration.text()), (knobs, text.to_owned()));
        }
        for wrong in ["", "engine", "engine x", "engine 1 4", "engine 1  4=1", "engine 1 4=x", "knob 1"] {
            assert_eq!(Configuration::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_differs_from_call_to_call_is_never_allowed() {
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            assert!(!allowed(precision).contains(&Numerical::CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC));
            let rounds = allowed(precision).contains(&Numerical::CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
            assert_eq!(rounds, precision != Precision::F32);
        }
    }
}
