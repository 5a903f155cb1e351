//! Whether and how images are changed before they are trained on (Karras et al. 2022, Appendix F.2), as data.

use crate::RangeError;
use cm_image::augmentation::Augmentation;
use cm_image::random::Random;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How often images are changed, and by what. The network is told what became of each, so that it need not draw changed ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentationConfig {
    /// The probability of each change but mirroring, 0 to 1.
    pub probability: f32,
    /// Whether half of all images are mirrored left to right, whatever the probability.
    pub horizontal_flips: bool,
    /// Whether half of those so chosen are turned upside down.
    pub vertical_flips: bool,
    /// Larger or smaller by a factor whose logarithm to base 2 has a standard deviation of 0.2.
    pub scaling: bool,
    /// Turned by any angle.
    pub rotation: bool,
    /// Stretched along an axis, half of them along a slanting one, and shrunk across as much; as `scaling` in size.
    pub anisotropy: bool,
    /// Moved, by a standard deviation of an eighth of the image's width and height.
    pub translation: bool,
}

impl Default for AugmentationConfig {
    fn default() -> Self {
        Self {
            probability: 0.12,      // Karras et al. 2022, Table 7, CIFAR-10
            horizontal_flips: true, // NVlabs/edm, train.py
            vertical_flips: true,   // the same
            scaling: true,          // the same
            rotation: true,         // the same
            anisotropy: true,       // the same
            translation: true,      // the same
        }
    }
}

impl AugmentationConfig {
    /// The changes of one image. As many numbers are drawn whatever is chosen.
    pub fn draw(&self, random: &mut Random) -> Augmentation {
        let half = |random: &mut Random| random.below(2) == 1;
        let (mirrored, upended) = (half(random), half(random));
        let [scaling, stretch, right, down] = [(); 4].map(|()| f64::from(random.normal()));
        let [rotation, axis] = [(); 2].map(|()| (2.0 * random.uniform_f64() - 1.0) * PI);
        let slanting = half(random);
        let [upends, scales, rotates, stretches, moves] =
            [(); 5].map(|()| random.uniform_f64() < f64::from(self.probability));
        let chosen = |wanted: bool, drawn: f64| if wanted { drawn } else { 0.0 };
        Augmentation {
            mirrored: self.horizontal_flips && mirrored,
            upended: self.vertical_flips && upends && upended,
            scaling: chosen(self.scaling && scales, scaling),
            rotation: chosen(self.rotation && rotates, rotation),
            anisotropy: [chosen(self.anisotropy && stretches, stretch), chosen(slanting, axis)],
            translation: [right, down].map(|drawn| chosen(self.translation && moves, drawn)),
        }
    }

    /// What is out of range, with paths relative to this struct.
    pub(crate) fn problems(&self) -> Option<RangeError> {
        let probability = self.probability;
        RangeError::unless((0.0..=1.0).contains(&probability), "probability", probability, "0 to 1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(config: AugmentationConfig) -> Vec<Augmentation> {
        (0..20_000).map(|seed| config.draw(&mut Random::new(seed))).collect()
    }

    fn share(of: &[Augmentation], which: impl Fn(&Augmentation) -> bool) -> f64 {
        of.iter().filter(|augmentation| which(augmentation)).count() as f64 / of.len() as f64
    }

    #[test]
    fn each_change_is_as_frequent_and_as_large_as_it_should_be() {
        let all = drawn(AugmentationConfig { probability: 0.3, ..AugmentationConfig::default() });
        let near = |found: f64, expected: f64| (found - expected).abs() < 0.015;
        assert!(near(share(&all, |a| a.mirrored), 0.5));
        assert!(near(share(&all, |a| a.upended), 0.15));
        assert!(near(share(&all, |a| a.scaling != 0.0), 0.3));
        assert!(near(share(&all, |a| a.rotation != 0.0), 0.3));
        assert!(near(share(&all, |a| a.anisotropy[0] != 0.0), 0.3));
        assert!(near(share(&all, |a| a.anisotropy[1] != 0.0), 0.5));
        assert!(near(share(&all, |a| a.translation[0] != 0.0 && a.translation[1] != 0.0), 0.3));
        // Each on its own: as often as the product says.
        assert!(near(share(&all, |a| a.scaling != 0.0 && a.rotation != 0.0), 0.09));
        let squares: f64 = all.iter().map(|a| a.scaling * a.scaling).sum();
        assert!(near(squares / all.len() as f64, 0.3), "of unit variance where it is");
        assert!(all.iter().all(|a| a.rotation.abs() <= PI));
    }

    #[test]
    fn with_nothing_wanted_or_no_probability_nothing_is_changed() {
        let nothing = AugmentationConfig {
            probability: 1.0,
            horizontal_flips: false,
            vertical_flips: false,
            scaling: false,
            rotation: false,
            anisotropy: false,
            translation: false,
        };
        let never =
            AugmentationConfig { probability: 0.0, horizontal_flips: false, ..AugmentationConfig::default() };
        for config in [nothing, never] {
            assert!(drawn(config).iter().all(|a| a.labels() == Augmentation::default().labels()));
        }
        assert!(AugmentationConfig { probability: 1.5, ..nothing }.problems().is_some());
        assert!(AugmentationConfig { probability: f32::NAN, ..nothing }.problems().is_some());
    }
}
