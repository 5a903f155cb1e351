//! Of which class each image is.

use cm_image::random::Random;

/// The stream of an image's seed from which its class is drawn; far from the draws of [`crate::noise::image_noise`].
const LABELS_STREAM: u64 = u64::MAX;

/// The classes asked of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// The model knows no classes.
    None,
    /// Each image's class is drawn from its seed, all classes equally likely.
    Uniform {
        /// The number of classes, at least 1.
        classes: u32,
    },
    /// All images are of this class.
    Class(u32),
}

impl Labels {
    /// The class of each image; empty for [`Labels::None`].
    ///
    /// # Panics
    /// If `classes` is 0.
    pub fn of(self, seeds: &[u64]) -> Vec<u32> {
        match self {
            Self::None => Vec::new(),
            Self::Uniform { classes } => seeds
                .iter()
                .map(|&seed| Random::with_stream(seed, LABELS_STREAM).below(u64::from(classes)) as u32)
                .collect(),
            Self::Class(class) => vec![class; seeds.len()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_the_class_of_its_seed_whatever_its_batch_and_all_classes_come_up() {
        let seeds: Vec<u64> = (0..6_000).collect();
        let law = Labels::Uniform { classes: 3 };
        let together = law.of(&seeds);
        assert_eq!(law.of(&seeds[17..18]), together[17..18]);
        for class in 0..3 {
            let count = together.iter().filter(|&&label| label == class).count();
            // Binomial(6000, 1/3): standard deviation 37.
            assert!((1_800..2_200).contains(&count), "{count} of class {class}");
        }
        assert_eq!(Labels::Class(7).of(&seeds[..2]), [7, 7]);
        assert!(Labels::None.of(&seeds).is_empty());
    }
}
