//! What the module around a network says: how its output is used, and at which noise levels.

use super::super::guess::Told;
use cm_import::{Archive, ModuleInfo};
use cm_study::{IddpmConfig, PreconditionConfig, VpConfig};

/// The lowest and the highest noise level that these programs sample at, where their network allows them
/// (Karras et al. 2022, Table 1).
const SAMPLED: (f64, f64) = (0.002, 80.0);

/// Notes what the wrapper of the network behind `prefix` says: a pickle names its class, a state dict does not.
///
/// # Errors
/// If its class uses the network in a way that is not known here.
pub(super) fn read(archive: &Archive, prefix: &str, told: &mut Told) -> Result<(), String> {
    let path = prefix.trim_end_matches('.');
    let around = path.rsplit_once('.').map_or("", |(around, _)| around);
    let of = |path: &str| archive.modules().iter().find(|module| module.path == path);
    let Some(wrapper) = of(around).filter(|_| of(path).is_some() && !path.is_empty()) else {
        return Ok(());
    };
    let number = |name: &str| wrapper.number(name);
    let needed = |name: &str| {
        let missing = || format!("the {} in it does not say its {name}", wrapper.class);
        number(name).map(|value| value as f32).ok_or_else(missing)
    };
    let precondition = match wrapper.class.as_str() {
        "EDMPrecond" | "Precond" => {
            told.sigma_data = Some(needed("sigma_data")?);
            PreconditionConfig::Edm
        }
        "VPPrecond" => PreconditionConfig::Vp(VpConfig {
            beta_d: needed("beta_d")?,
            beta_min: needed("beta_min")?,
            steps: needed("M")?,
        }),
        "VEPrecond" => PreconditionConfig::Ve,
        "iDDPMPrecond" => PreconditionConfig::Iddpm(IddpmConfig {
            c1: needed("C_1")?,
            c2: needed("C_2")?,
            steps: needed("M")? as usize,
        }),
        other => {
            told.notes.push(format!("the class {other} around the network is not known here"));
            return Ok(());
        }
    };
    told.precondition = Some(precondition);
    range(wrapper, told);
    told.notes.push(format!("{} around it: {precondition}", wrapper.class));
    Ok(())
}

/// The levels that the program samples at, as far as the network supports them.
fn range(wrapper: &ModuleInfo, told: &mut Told) {
    let supported = |name: &str, unbounded: f64| wrapper.number(name).unwrap_or(unbounded);
    told.sigma_min = Some(SAMPLED.0.max(supported("sigma_min", 0.0)) as f32);
    told.sigma_max = Some(SAMPLED.1.min(supported("sigma_max", f64::INFINITY)) as f32);
}
