//! The loop that all tasks share.

use super::{EditError, Interpolation, Start, Task};
use crate::noise::batch_noise;
use crate::{ConsistencyFunction, Labels, ModelError, Sigma, SigmaRange};
use cm_image::ImageBatch;

/// Song et al. 2023, Algorithm 4: at each noise level t_1 > t_2 > ... an image is noised to that level, f is
/// evaluated, and what is known is put back.
///
/// One seed for each image: its noise at level n is draw n - 1 of its seed, so an image does not depend on its batch,
/// and a task of which nothing is known gives the images of [`Multistep`](crate::Multistep) from the same seeds.
#[derive(Clone)]
pub struct Editor<'a> {
    model: &'a dyn ConsistencyFunction,
    range: SigmaRange,
    levels: Vec<Sigma>,
    clip: bool,
    labels: Labels,
}

impl<'a> Editor<'a> {
    /// An editor that evaluates `model` once at each of `levels`. With `clip`, endpoints are clamped to [-1, 1] before
    /// what is known is put back, as the original code does.
    ///
    /// # Errors
    /// [`EditError`] unless there are levels, all within `range`, strictly falling.
    pub fn new(
        model: &'a dyn ConsistencyFunction,
        range: SigmaRange,
        levels: Vec<Sigma>,
        clip: bool,
        labels: Labels,
    ) -> Result<Self, EditError> {
        if levels.is_empty() {
            return Err(EditError::NoLevels);
        }
        for (index, &level) in levels.iter().enumerate() {
            let (min, max) = (range.min(), range.max());
            if level < min || level > max {
                let [level, min, max] = [level, min, max].map(Sigma::get);
                return Err(EditError::Outside { index, level, min, max });
            }
            if index > 0 && level >= levels[index - 1] {
                let before = levels[index - 1].get();
                return Err(EditError::NotFalling { index, level: level.get(), before });
            }
        }
        Ok(Self { model, range, levels, clip, labels })
    }

    /// Each image of `reference` edited, with the noise and class of its seed.
    ///
    /// # Errors
    /// [`ModelError`] if the reference is not of the task's shape, there is not one seed for each of its images, or the
    /// model fails.
    pub fn edit(
        &self,
        task: &dyn Task,
        reference: &ImageBatch,
        seeds: &[u64],
    ) -> Result<ImageBatch, ModelError> {
        let shape = task.shape();
        // One level for each image: the check of a model's arguments is the one that is wanted here.
        ModelError::check(reference, &vec![self.levels[0]; seeds.len()], shape)?;
        let put_back = |images: &mut ImageBatch| {
            for (image, reference) in images.images_mut().zip(reference.images()) {
                task.put_back(reference, image);
            }
        };
        let (start, start_level) = match task.start() {
            Start::KnownPart => {
                let mut start = ImageBatch::zeros(shape, reference.count());
                put_back(&mut start);
                (start, Sigma::ZERO)
            }
            Start::Reference => (reference.clone(), self.range.min()),
        };
        let noise = |draw| batch_noise(shape, seeds, draw);
        self.descend(start, start_level, &self.labels.of(seeds), noise, put_back)
    }

    /// The images of a path, from one end to the other.
    ///
    /// # Errors
    /// [`ModelError`] if the model fails.
    pub fn interpolate(&self, path: &Interpolation) -> Result<ImageBatch, ModelError> {
        let start_level = match path.ends() {
            Some(_) => self.range.min(),
            None => Sigma::ZERO,
        };
        let labels = self.labels.of(&vec![path.seeds().0; path.count()]);
        self.descend(path.start(), start_level, &labels, |draw| path.noise(draw), |_| ())
    }

    fn descend(
        &self,
        start: ImageBatch,
        start_level: Sigma,
        labels: &[u32],
        noise: impl Fn(u64) -> ImageBatch,
        put_back: impl Fn(&mut ImageBatch),
    ) -> Result<ImageBatch, ModelError> {
        let (mut x, mut at) = (start, start_level);
        for (draw, &level) in (0..).zip(&self.levels) {
            // From a level to a higher one; the difference of squares is taken as a product to keep its digits.
            let (low, high) = (f64::from(at.get()), f64::from(level.get()));
            let added = ((high - low) * (high + low)).sqrt() as f32;
            for (value, z) in x.values_mut().iter_mut().zip(noise(draw).values()) {
                *value += added * z;
            }
            x = self.model.endpoint(&x, &vec![level; x.count()], labels)?;
            if self.clip {
                x = x.map(|value| value.clamp(-1.0, 1.0));
            }
            put_back(&mut x);
            at = self.range.min();
        }
        Ok(x)
    }
}
