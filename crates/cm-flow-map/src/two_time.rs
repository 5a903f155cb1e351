//! Training of a model of two times by what must hold between them: MeanFlow and its relatives.

use crate::jump_model::{Told, denoised, second_times};
use crate::two_time_config::{Over, Power, TwoTimeConfig, Velocity};
use crate::two_time_target::{Aims, Jumps, Line, Rule};
use cm_consistency::{
    CentralConfig, ConsistencyConfig, Curriculum, Distance, LocalPath, Raw, TangentConfig, TargetConfig,
    endpoint_slopes, scaling,
};
use cm_diffusion::{Boundary, Denoiser, Edm, ModelError, Sigma, SigmaRange, ToGuide, Weighting, noise};
use cm_image::ImageBatch;
use cm_image::random::Random;
use cm_network::{Extra, Network, check_labels};
use cm_tensor::{Graph, Images, Weights, ops};
use cm_training::{
    Batch, GradientSum, Progress, Schedule, StepReport, StepSeed, TrainError, TrainState, TrainStep,
};

/// The stream of a step's seed from which times are drawn; images' noise uses seeds derived per image.
const TIMES_STREAM: u64 = 1;

/// What a [`TwoTimeStep`] is made of, built from a [`ConsistencyConfig`].
pub struct TwoTimeParts<'a> {
    /// The levels between which times lie.
    pub range: SigmaRange,
    /// How the student's output is compared with its target.
    pub distance: Box<dyn Distance>,
    /// A weight of each pair of levels beside that of the loss.
    pub weighting: Box<dyn Weighting>,
    /// Whose velocity is followed, if it is not that of the known noise.
    pub teacher: Option<&'a dyn Denoiser>,
}

/// Training of a [`JumpModel::shortcut`](crate::JumpModel::shortcut) of all pairs of times.
///
/// The first images of a batch learn jumps of two times, the others, whose times are equal, where the velocity aims. The
/// squared error E of velocities is the distance's of the points aimed at over t^2 (or over (sigma_data sin t)^2), so with
/// another distance than squared L2 the loss is a relative of the paper's.
pub struct TwoTimeStep<'a> {
    network: &'a dyn Network,
    precondition: Edm,
    parts: TwoTimeParts<'a>,
    config: TwoTimeConfig,
    curriculum: Curriculum,
    state: TrainState,
}

/// D(x; sigma, sigma) of images of these classes, without gradient.
type Answers<'a> = dyn Fn(&ImageBatch, &[Sigma], &[u32]) -> Result<ImageBatch, ModelError> + 'a;

/// The times of a batch.
struct Times {
    from: Vec<Sigma>,
    to: Vec<Sigma>,
    /// Where a jump is split, as a share of its time.
    split: Vec<f64>,
}

impl<'a> TwoTimeStep<'a> {
    /// Training from `weights`, which are the network's; the network takes a second time.
    ///
    /// # Panics
    /// If the teacher's velocity is to be followed and there is no teacher.
    pub fn new(
        config: &ConsistencyConfig,
        two_time: TwoTimeConfig,
        network: &'a dyn Network,
        weights: Weights,
        precondition: Edm,
        parts: TwoTimeParts<'a>,
    ) -> Self {
        let taught = two_time.velocity == Velocity::Teacher;
        assert!(parts.teacher.is_some() || !taught, "a teacher's velocity without a teacher");
        let with_target = config.target != TargetConfig::StopGradient;
        Self {
            network,
            precondition,
            parts,
            config: two_time,
            curriculum: Curriculum { levels: config.curriculum, target: config.target },
            state: TrainState::new(&config.train, weights, with_target),
        }
    }

    fn draw(&self, count: usize, pairs: usize, seed: StepSeed) -> Result<Times, TrainError> {
        let mut random = Random::with_stream(seed.noise(), TIMES_STREAM);
        let mut times = Times { from: Vec::new(), to: Vec::new(), split: Vec::new() };
        for image in 0..count {
            let drawn = self.config.times.draw(self.parts.range, image >= pairs, &mut random);
            let (from, to) = drawn.map_err(TrainError::model)?;
            times.from.push(from);
            times.to.push(to);
            times.split.push(random.uniform_f64());
        }
        Ok(times)
    }

    /// Where the velocity at `sigma` aims.
    fn velocity(
        &self,
        clean: &ImageBatch,
        noisy: &ImageBatch,
        sigma: &[Sigma],
        labels: &[u32],
    ) -> Result<ImageBatch, ModelError> {
        match (self.config.velocity, self.parts.teacher) {
            (Velocity::Teacher, Some(teacher)) => teacher.denoise(noisy, sigma, labels),
            (Velocity::Teacher | Velocity::KnownNoise, _) => Ok(clean.clone()),
        }
    }

    /// Drives where velocities aim towards the class, for those images that are told one, by the network's own answers at
    /// equal times.
    fn guide(
        &self,
        aims: &mut ImageBatch,
        x: &ImageBatch,
        sigma: &[Sigma],
        labels: &[u32],
        answer: &Answers<'_>,
    ) -> Result<(), ModelError> {
        let Some(guidance) = self.config.guidance else { return Ok(()) };
        let covers = |sigma| guidance.covers(sigma);
        let Some(guided) = ToGuide::of(covers, x, sigma, labels) else { return Ok(()) };
        let none = answer(&guided.x, &guided.sigma, &guided.untold())?;
        let class = match guidance.kappa > 0.0 {
            true => answer(&guided.x, &guided.sigma, &guided.labels)?,
            false => none.clone(),
        };
        let (omega, kappa) = (f64::from(guidance.omega), f64::from(guidance.kappa));
        guided.mix(aims, [&none, &class], |v, [none, class]| {
            omega * v + (1.0 - omega - kappa) * none + kappa * class
        });
        Ok(())
    }

    /// The network's D of some images with these weights, recorded in `graph`.
    fn aims(
        &self,
        graph: &mut Graph,
        weights: &Weights,
        x: &ImageBatch,
        (from, to): (&[Sigma], &[Sigma]),
        told: Told<'_>,
    ) -> Result<Images, ModelError> {
        let network = (self.network, weights, &self.precondition);
        denoised(graph, network, x, (from, Some(to)), told)
    }
}

/// The part of a batch that one shard computes.
struct Part<'a> {
    noisy: &'a ImageBatch,
    from: &'a [Sigma],
    to: &'a [Sigma],
    told: Told<'a>,
    velocity: &'a ImageBatch,
}

impl TwoTimeStep<'_> {
    /// The student's D of a part, recorded, and where the first `count` of its images, which jump, are to aim.
    fn jumps(
        &self,
        rule: &Rule,
        part: &Part<'_>,
        count: usize,
        split: &[f64],
    ) -> Result<(Graph, Images, Option<ImageBatch>), ModelError> {
        let Part { noisy, from, to, told, velocity } = *part;
        let plain = || {
            let mut graph = Graph::recording();
            let student = self.aims(&mut graph, &self.state.weights, noisy, (from, to), told)?;
            Ok((graph, student))
        };
        if count == 0 {
            let (graph, student) = plain()?;
            return Ok((graph, student, None));
        }
        let weights = self.state.target.as_ref().unwrap_or(&self.state.weights);
        let known = told.first(count);
        let aims: &Aims<'_> =
            &|x, from, to| Ok(self.aims(&mut Graph::inference(), weights, x, (from, to), known)?.to_batch());
        let (x, starts, ends) = (noisy.slice(0..count), &from[..count], &to[..count]);
        let aimed_at = velocity.slice(0..count);
        let own_of = |student: &Images| match self.state.target {
            Some(_) => aims(&x, starts, ends),
            None => Ok(student.to_batch().slice(0..count)),
        };
        let line = rule.line((&x, starts), &aimed_at, aims)?;
        // In forward mode the student's derivative comes with the recorded pass.
        let (graph, student, slope) = match &line {
            Some((TangentConfig::Forward, aim)) if self.state.target.is_none() => {
                let mut aim = aim.clone();
                aim.append(&velocity.slice(count..noisy.count())); // of no use: these do not jump
                let path = LocalPath { noisy, sigma: from, aim: &aim };
                let mut graph = Graph::recording().with_tangents();
                let (student, slope) = self.aims_along(&mut graph, weights, &path, to, told)?;
                (graph, student, Some(slope.slice(0..count)))
            }
            _ => {
                let (graph, student) = plain()?;
                (graph, student, None)
            }
        };
        let path = |aim| LocalPath { noisy: &x, sigma: starts, aim };
        let (own, slope) = match (&line, &self.state.target) {
            (Some((TangentConfig::Forward, aim)), Some(weights)) => {
                let mut graph = Graph::inference().with_tangents();
                let (own, slope) = self.aims_along(&mut graph, weights, &path(aim), ends, known)?;
                (own.to_batch(), Some(slope))
            }
            (Some((TangentConfig::Central(CentralConfig { step }), aim)), _) => {
                let at = |x: &ImageBatch, sigma: &[Sigma]| aims(x, sigma, ends);
                (own_of(&student)?, Some(path(aim).central(f64::from(*step), at)?))
            }
            _ => (own_of(&student)?, slope),
        };
        let line = line.as_ref().zip(slope.as_ref()).map(|((_, aim), slope)| Line { aim, slope });
        let (split, own, velocity) = (&split[..count], &own, &aimed_at);
        let jumps = Jumps { x: &x, from: starts, to: ends, own, velocity, split, line };
        Ok((graph, student, Some(rule.targets(&jumps, aims)?)))
    }

    /// The network's D along `path`, whose jumps' ends stay at `to`, and dD / d ln sigma; in a pass with tangents.
    fn aims_along(
        &self,
        graph: &mut Graph,
        weights: &Weights,
        path: &LocalPath<'_>,
        to: &[Sigma],
        Told { labels, augmentation, dropout_key }: Told<'_>,
    ) -> Result<(Images, ImageBatch), ModelError> {
        let second = second_times(to);
        let labels = check_labels(self.network, labels, to.len()).map_err(ModelError::other)?;
        let extra =
            Extra { labels, second_time: Some(&second), augmentation, dropout_key, ..Extra::default() };
        let precondition = Boundary { sigma_data: self.precondition.sigma_data, sigma_min: 0.0 };
        let raw = Raw { network: self.network, weights, precondition, extra }.forward_along(graph, path);
        let slope = endpoint_slopes(path, precondition, &raw);
        let scaling = scaling(&self.precondition, path.sigma);
        let x = Images::from_batch(path.noisy);
        Ok((ops::blend(graph, scaling.skip, &x, scaling.out, &raw), slope))
    }
}

impl Power {
    /// The weight of an image whose distance is `distance`, the mean over `values` values, where one of D is worth `unit`
    /// of the squared error.
    fn weight(&self, distance: f64, values: usize, (unit, gain, scale): (f64, f64, f64)) -> f64 {
        let values = match self.over {
            Over::Sum => values as f64,
            Over::Mean => 1.0,
        };
        let error = distance * values * unit;
        gain * values * unit / libm::pow(scale * error + f64::from(self.constant), f64::from(self.power))
    }
}

impl TrainStep for TwoTimeStep<'_> {
    fn state(&self) -> &TrainState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut TrainState {
        &mut self.state
    }

    fn step(&mut self, batch: &Batch, progress: Progress, seed: StepSeed) -> Result<StepReport, TrainError> {
        batch.check_shape(self.network.shape())?;
        let count = batch.images.count();
        check_labels(self.network, &batch.labels, count).map_err(TrainError::model)?;
        let untold = self.config.guidance.map_or(0.0, |guidance| guidance.label_dropout);
        let batch = batch.untold(untold, seed);
        let pairs = self.config.pairs(count);
        let (_, target_decay) = self.curriculum.at(progress);
        let Times { from, to, split } = self.draw(count, pairs, seed)?;
        let sigma_data = f64::from(self.precondition.sigma_data);
        let rule = Rule {
            target: self.config.target,
            path: self.config.path,
            sigma_data,
            progress: progress.images as f64 / progress.total_images as f64,
        };
        let values = self.network.shape().len();
        let (power, path, weighting) = (self.config.loss, self.config.path, &self.parts.weighting);
        // Of all images of the batch, whichever process computes them.
        let worth = from.iter().zip(&to).map(|(&from, &to)| {
            let (gain, scale) = rule.worth(from, to);
            let share = f64::from(weighting.weight(from, to)) / count as f64;
            (path.unit(f64::from(from.get()), sigma_data), gain * share, scale)
        });
        let worth: Vec<(f64, f64, f64)> = worth.collect();
        let weight = |image: usize, distance: f32| power.weight(distance.into(), values, worth[image]) as f32;

        let mut sum = GradientSum::new(count);
        for shard in self.state.shards(count) {
            let range = shard.images.clone();
            let Batch { images: clean, labels } = batch.slice(range.clone());
            let (from, to) = (&from[range.clone()], &to[range.clone()]);
            let key = shard.dropout_key(seed);
            let noise = noise::batch_noise(clean.shape(), &seed.image_noise(range.clone()), 0);
            let noisy = noise::perturb(&clean, from, &noise);
            let own = &self.state.weights;
            let mut target = self.velocity(&clean, &noisy, from, &labels).map_err(TrainError::model)?;
            let weights = self.state.target.as_ref().unwrap_or(own);
            // Guidance knows its images by their classes alone: changes and guidance do not go together.
            let answer = |x: &ImageBatch, at: &[Sigma], labels: &[u32]| {
                let told = Told { labels, dropout_key: Some(key), ..Told::default() };
                Ok(self.aims(&mut Graph::inference(), weights, x, (at, at), told)?.to_batch())
            };
            self.guide(&mut target, &noisy, from, &labels, &answer).map_err(TrainError::model)?;
            let jumps = pairs.clamp(range.start, range.end) - range.start;
            let changes = seed.augmentation(range.clone());
            let told = Told { labels: &labels, augmentation: changes.as_deref(), dropout_key: Some(key) };
            let whole = Part { noisy: &noisy, from, to, told, velocity: &target };
            let (mut graph, student, aimed) =
                self.jumps(&rule, &whole, jumps, &split[range.clone()]).map_err(TrainError::model)?;
            if let Some(mut aimed) = aimed {
                aimed.append(&target.slice(jumps..clean.count()));
                target = aimed;
            }
            let distances = self.parts.distance.distance(&mut graph, &student, &Images::from_batch(&target));
            let weights =
                range.zip(distances.values()).map(|(image, &distance)| weight(image, distance)).collect();
            sum.add(&shard, graph, &distances, weights, &self.state.weights);
        }
        let ends = |image: usize| (from[image].get(), to[image].get());
        let mut report = self.state.descend_weighted(sum, weight, (progress, seed), target_decay, ends)?;
        report.scalars = vec![("ratio", rule.ratio()), ("target_decay", f64::from(target_decay))];
        Ok(report)
    }
}

#[cfg(test)]
mod tests;
