//! Signs in the curves of a run that something went wrong, with what helped where that was measured.
//!
//! Only what was seen here is told: `experiments/README.md`, "Signs and remedies", has the runs. What can be told before
//! a run is among a plan's warnings, and a loss that is not finite ends training with its own message.

use crate::sealed::SealedFolder;
use cm_consistency::CurriculumConfig;
use cm_host::FileError;
use cm_study::{ExperimentConfig, PlannedRun};
use serde::Deserialize;
use std::path::Path;

/// How much larger than its least the residual at a noise level ends, from where on it is told. Of 18
/// short runs with a fixed number of levels the four best stayed below (and three whose target was slow), as did nine of
/// this repository's longer studies; where the number of levels grows, it rises in good runs too.
const RISE: f64 = 1.4;

#[derive(Deserialize)]
struct Row {
    images: f64,
    name: String,
    value: f64,
}

/// What the curves in a run's folder say.
///
/// # Errors
/// [`FileError`] if there are some that cannot be read, or are not those that were sealed.
pub(crate) fn of_folder(run: &PlannedRun, folder: &Path) -> Result<Vec<String>, FileError> {
    let file = "curves.csv";
    let Some(text) = SealedFolder::open(folder)?.text(file)? else { return Ok(Vec::new()) };
    let mut curves: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for row in csv::Reader::from_reader(text.as_bytes()).deserialize() {
        let Row { images, name, value } =
            row.map_err(|error| FileError::damaged(folder.join(file), error.to_string()))?;
        match curves.iter_mut().find(|(known, _)| *known == name) {
            Some((_, points)) => points.push((images, value)),
            None => curves.push((name, vec![(images, value)])),
        }
    }
    let told = signs(&run.experiment, curves.iter().map(|(name, points)| (name.as_str(), points.as_slice())));
    Ok(told.into_iter().map(|sign| format!("{}: {sign}", run.name())).collect())
}

/// What the curves of a run say: names, and images and values from the first to the last.
pub fn signs<'a>(
    experiment: &ExperimentConfig,
    curves: impl Iterator<Item = (&'a str, &'a [(f64, f64)])>,
) -> Vec<String> {
    match experiment.consistency.curriculum {
        CurriculumConfig::Fixed(_) => rising(curves).into_iter().collect(),
        CurriculumConfig::Progressive(_)
        | CurriculumConfig::Doubling(_)
        | CurriculumConfig::Continuous(_)
        | CurriculumConfig::Halving(_) => Vec::new(),
    }
}

/// The noise level at which the residual has risen most, if it has.
fn rising<'a>(curves: impl Iterator<Item = (&'a str, &'a [(f64, f64)])>) -> Option<String> {
    let rise = |(name, points): (&'a str, &'a [(f64, f64)])| {
        let (_, level) = name.split_once("/residual/")?;
        let (_, sigma) = level.split_once("from_")?;
        let &(least_at, least) = points.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
        let &(_, last) = points.last()?;
        (least > 0.0 && last.is_finite()).then_some((last / least, sigma, least_at))
    };
    let (rise, sigma, images) = curves.filter_map(rise).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (rise > RISE).then(|| {
        format!(
            "the residual from noise level {sigma} on ends {rise:.1} times as large as after {images} images: the student \
             does not keep up with its own target there; on digits a higher learning rate took such a rise away (0.001 to \
             0.01: from 1.7 to 1.1, with a Fréchet distance of 4.6 for 5.8), and so did fewer levels (80 to 8: from 2.5 \
             to 1.1, 4.6 for 14.7)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_consistency::{FixedConfig, ProgressiveConfig};

    #[test]
    fn a_residual_that_rises_is_told_where_the_number_of_levels_is_fixed() {
        let rising = [(320.0, 0.2), (640.0, 0.1), (960.0, 0.15)];
        let falling = [(320.0, 0.2), (640.0, 0.15), (960.0, 0.1)];
        let of = |curriculum, second: &[(f64, f64)]| {
            let mut experiment = ExperimentConfig::default();
            experiment.consistency.curriculum = curriculum;
            let curves: [(&str, &[(f64, f64)]); 3] = [
                ("student/loss", &rising),
                ("student/residual/00_from_0.020", &falling),
                ("student/residual/01_from_0.112", second),
            ];
            signs(&experiment, curves.into_iter())
        };
        let fixed = CurriculumConfig::Fixed(FixedConfig::default());
        let told = of(fixed, &rising);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with(
            "the residual from noise level 0.112 on ends 1.5 times as large as after 640 images"
        ));
        assert!(of(fixed, &falling).is_empty());
        assert!(of(fixed, &[(320.0, f64::NAN)]).is_empty());
        assert!(of(CurriculumConfig::Progressive(ProgressiveConfig::default()), &rising).is_empty());
    }
}
