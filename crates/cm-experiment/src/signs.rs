//! Signs in the curves of a run that something went wrong, with what helped where that was measured.
//!
//! Only what was seen here is told: `experiments/README.md`, "Signs and remedies", has the runs. What can be told before
//! a run is among a plan's warnings, and a loss that is not finite ends training with its own message.

use crate::curves::Curve;
use cm_consistency::CurriculumConfig;
use cm_study::ExperimentConfig;

/// How much larger than its least the residual at a noise level ends, from where on it is told. Of 18
/// short runs with a fixed number of levels the four best stayed below (and three whose target was slow), as did nine of
/// this repository's longer studies; where the number of levels grows, it rises in good runs too.
const RISE: f64 = 1.4;

/// What the curves of a run say.
pub fn signs(experiment: &ExperimentConfig, curves: &[Curve]) -> Vec<String> {
    match experiment.consistency.curriculum {
        CurriculumConfig::Fixed(_) => rising(curves).into_iter().collect(),
        CurriculumConfig::Progressive(_)
        | CurriculumConfig::Doubling(_)
        | CurriculumConfig::Continuous(_)
        | CurriculumConfig::Halving(_) => Vec::new(),
    }
}

/// The noise level at which the residual has risen most, if it has.
fn rising(curves: &[Curve]) -> Option<String> {
    let rise = |Curve { name, points }: &Curve| {
        let (_, level) = name.split_once("/residual/")?;
        let (_, sigma) = level.split_once("from_")?;
        let &(least_at, least) = points.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
        let &(_, last) = points.last()?;
        (least > 0.0 && last.is_finite()).then_some((last / least, sigma.to_owned(), least_at))
    };
    let (rise, sigma, images) = curves.iter().filter_map(rise).max_by(|a, b| a.0.total_cmp(&b.0))?;
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
            let curves = [
                ("student/loss", rising.as_slice()),
                ("student/residual/00_from_0.020", &falling),
                ("student/residual/01_from_0.112", second),
            ];
            let curve =
                |(name, points): (&str, &[(f64, f64)])| Curve { name: name.into(), points: points.into() };
            signs(&experiment, &curves.map(curve))
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
