//! Multistep consistency models: consistent within each of several segments of the noise levels (Heek, Hoogeboom and
//! Salimans 2024).

use cm_diffusion::{AlongLine, Discretisation, LevelPair, NoiseLevels, NumLevels, QuantityError, Sigma};
use cm_image::ImageBatch;

/// The ends of n segments of equal length in the time of a discretisation.
///
/// Within a segment the model f(x, t) is the point at which the straight line from (x, t) aims that meets the
/// trajectory at the segment's lower end r ([`AlongLine`]). One segment is a plain consistency model, many are close to
/// a diffusion model.
#[derive(Clone, Debug, PartialEq)]
pub struct Segments {
    ends: NoiseLevels,
}

impl Segments {
    /// `segments` segments, at least 1.
    ///
    /// # Errors
    /// [`QuantityError`] if there are none, or more than noise levels that differ.
    pub fn new(discretisation: &dyn Discretisation, segments: usize) -> Result<Self, QuantityError> {
        let ends = discretisation.noise_levels(NumLevels::new(segments.saturating_add(1))?)?;
        Ok(Self { ends })
    }

    /// The lower end of the segment in which something at `upper` moves down: the highest end below it.
    fn lower_end(&self, upper: Sigma) -> Sigma {
        let ends = self.ends.as_slice();
        let below = ends.partition_point(|&end| end >= upper);
        ends[below.min(ends.len() - 1)]
    }

    /// The pair, its lower level raised to the segment's end if it was beyond.
    pub fn within(&self, pair: LevelPair) -> LevelPair {
        let end = self.lower_end(pair.upper);
        LevelPair { lower: if pair.lower < end { end } else { pair.lower }, ..pair }
    }

    /// What the student must answer at the upper levels of `pairs`: at (x_t, t) the point at which a line aims that goes
    /// through x_t and through z_r, where z_r is reached from `lower_point`, (x_s, s), by the target's answer
    /// `endpoint` there (Heek et al. 2024, Algorithm 1: DDIM and its inverse).
    ///
    /// # Panics
    /// If counts or shapes disagree.
    pub fn target(
        &self,
        noisy: &ImageBatch,
        lower_point: &ImageBatch,
        mut endpoint: ImageBatch,
        pairs: &[LevelPair],
    ) -> ImageBatch {
        let sigma_min = *self.ends.as_slice().last().expect("at least two levels");
        assert_eq!([noisy.count(), lower_point.count(), endpoint.count()], [pairs.len(); 3], "a pair each");
        let images = endpoint.images_mut().zip(noisy.images()).zip(lower_point.images()).zip(pairs);
        for (((end, x), lower), &LevelPair { upper: t, lower: s }) in images {
            let r = self.lower_end(t);
            // At the segment's end itself there is nowhere to go.
            let kept = if s == r { 1.0 } else { AlongLine::kept(sigma_min, s, r) };
            let all = AlongLine::kept(sigma_min, t, r);
            for ((end, &x), &lower) in end.iter_mut().zip(x).zip(lower) {
                let [there, x, lower] = [*end, x, lower].map(f64::from);
                let z_r = there + kept * (lower - there);
                *end = ((z_r - all * x) / (1.0 - all)) as f32;
            }
        }
        endpoint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_diffusion::analytic::GaussianMixture;
    use cm_diffusion::{ConsistencyFunction, DiscretisationConfig, FlowMap, ModelError};
    use cm_image::ImageShape;
    use cm_image::random::Random;

    fn sigma(value: f32) -> Sigma {
        Sigma::new(value).unwrap()
    }

    fn segments(n: usize) -> Segments {
        Segments::new(DiscretisationConfig::default().build().unwrap().as_ref(), n).unwrap()
    }

    fn normal(scale: f32, seed: u64) -> ImageBatch {
        let mut random = Random::new(seed);
        ImageBatch::from_fn(ImageShape::vector(2), 3, |_, v| random.fill_normal(v)).map(|v| scale * v)
    }

    #[test]
    fn with_one_segment_the_target_is_the_endpoint_to_the_bit() {
        let pairs = [(80.0, 20.0), (3.0, 2.9), (0.5, 0.002)]
            .map(|(upper, lower)| LevelPair { upper: sigma(upper), lower: sigma(lower) });
        assert_eq!(pairs.map(|pair| segments(1).within(pair)), pairs);
        let (noisy, lower, mut endpoint) = (normal(9.0, 1), normal(3.0, 2), normal(1.0, 3));
        // At sigma_min a consistency function returns its input.
        endpoint.images_mut().nth(2).unwrap().copy_from_slice(lower.image(2));
        assert_eq!(segments(1).target(&noisy, &lower, endpoint.clone(), &pairs), endpoint);
    }

    #[test]
    fn pairs_end_at_their_segment_s_end_at_the_latest() {
        let found = segments(4);
        let ends: Vec<Sigma> = found.ends.as_slice().to_vec();
        for (index, pair) in ends.windows(2).enumerate() {
            let just_above = sigma(pair[1].get().next_up());
            for upper in [pair[0], just_above] {
                let down = LevelPair { upper, lower: sigma(0.002) };
                assert_eq!(found.within(down).lower, pair[1], "segment {index}");
            }
            let near = LevelPair { upper: pair[0], lower: just_above };
            assert_eq!(found.within(near), near);
        }
        // Levels of a grid whose intervals are a multiple of the segments are ends to the bit.
        let grid = DiscretisationConfig::default().build().unwrap();
        let fine = grid.noise_levels(NumLevels::new(13).unwrap()).unwrap();
        assert_eq!(ends, fine.as_slice().iter().step_by(3).copied().collect::<Vec<_>>());
    }

    /// The model of several segments of a mixture: aims so that the line meets the exact trajectory at the end.
    struct Exact(GaussianMixture, Segments);

    impl ConsistencyFunction for Exact {
        fn endpoint(&self, noisy: &ImageBatch, from: &[Sigma], _: &[u32]) -> Result<ImageBatch, ModelError> {
            let ends: Vec<Sigma> = from.iter().map(|&t| self.1.lower_end(t)).collect();
            let reached = self.0.flow(noisy, from, &ends).map_err(ModelError::other)?;
            let pairs: Vec<LevelPair> =
                from.iter().zip(&ends).map(|(&upper, &lower)| LevelPair { upper, lower }).collect();
            Ok(self.1.target(noisy, &reached, reached.clone(), &pairs))
        }
    }

    /// Of the exact model, targets are its own answers: its loss along exact trajectories is 0. And its jumps from end
    /// to end follow the flow.
    #[test]
    fn the_exact_model_is_its_own_target_and_follows_the_flow() {
        let mixture =
            GaussianMixture::new(vec![1.0; 2], vec![vec![1.0, 0.5], vec![-1.0, 0.0]], vec![0.3, 0.4])
                .unwrap();
        let model = Exact(mixture.clone(), segments(3));
        for (upper, lower) in [(80.0, 70.0), (60.0, 3.0), (1.0, 0.9), (0.5, 0.01), (0.004, 0.003)] {
            let pair = model.1.within(LevelPair { upper: sigma(upper), lower: sigma(lower) });
            let noisy = normal(upper, 5);
            let lower_point = mixture.flow(&noisy, &[pair.upper; 3], &[pair.lower; 3]).unwrap();
            let there = model.endpoint(&lower_point, &[pair.lower; 3], &[]).unwrap();
            let target = model.1.target(&noisy, &lower_point, there, &[pair; 3]);
            let here = model.endpoint(&noisy, &[pair.upper; 3], &[]).unwrap();
            for (a, b) in here.values().iter().zip(target.values()) {
                assert!((a - b).abs() < 2e-3 * b.abs().max(1.0), "{upper} {lower}: {a} {b}");
            }
        }
        let line = AlongLine { model: &model, sigma_min: sigma(0.002) };
        let ends = model.1.ends.as_slice();
        let (mut x, exact) =
            (normal(80.0, 6), mixture.flow(&normal(80.0, 6), &[ends[0]; 3], &[ends[3]; 3]).unwrap());
        for pair in ends.windows(2) {
            x = line.jump(&x, &[pair[0]; 3], &[pair[1]; 3], &[]).unwrap();
        }
        assert!(x.values().iter().zip(exact.values()).all(|(a, b)| (a - b).abs() < 1e-4), "{x:?} {exact:?}");
    }
}
