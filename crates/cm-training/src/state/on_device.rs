//! The update where the gradients are: weights, moments and averages stay on the device between steps.

use super::TrainState;
use cm_tensor::device::Device;
use cm_tensor::device_update::{Resident, gradient_norm, step};
use cm_tensor::{Buffer, Weights};

impl TrainState {
    /// [`update`](Self::update) by gradients on a device, unless their norm is not finite; returns it.
    pub(super) fn update_on_device(
        &mut self,
        device: &Device,
        gradients: &[Buffer],
        learning_rate: f32,
        target_decay: f32,
    ) -> f64 {
        let (norm, factor) = gradient_norm(device, self.gradient_clip, gradients);
        if !norm.is_finite() {
            return norm;
        }
        let (rule, _, decays) = self.next_step(norm, learning_rate, target_decay);
        let averages = self.averages.iter_mut().chain(&mut self.tracked).chain(&mut self.target);
        let mut followers: Vec<_> = averages.map(Weights::vectors_mut).collect();
        let moments = self.first_moments.iter_mut().zip(&mut self.second_moments);
        let trained: Vec<bool> = self.weights.trained().collect();
        let mut residents = Vec::new();
        for (((parameter, gradient), (first_moment, second_moment)), trained) in
            self.weights.vectors_mut().zip(gradients).zip(moments).zip(trained)
        {
            let averages = followers
                .iter_mut()
                .map(|arrays| arrays.next().expect("averages have the weights' arrays"))
                .collect();
            if trained {
                residents.push(Resident { parameter, gradient, first_moment, second_moment, averages });
            }
        }
        step(device, &rule, &factor, &decays, residents);
        norm
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        EmaConfig, LearningRateConfig, MomentsConfig, OptimiserConfig, Progress, StepSeed, TrainConfig,
        TrainState,
    };
    use cm_gpu::conv2d::Precision;
    use cm_gpu::standin::gpu;
    use cm_image::random::Random;
    use cm_tensor::device::{Device, crossed};
    use cm_tensor::ops::{self, PairDistance};
    use cm_tensor::{Graph, Images, Matrix, ParameterId, TensorFile, Weights};

    const BATCH: usize = 4;

    /// One step of a map from 2 to 3 values.
    fn step(state: &mut TrainState, graph: Graph, number: u64, [weight, bias]: [ParameterId; 2]) {
        let mut graph = graph;
        let mut random = Random::with_stream(11, number);
        let mut draw = |values: usize| {
            let drawn = (0..BATCH * values).map(|_| random.normal()).collect();
            Images::constant(drawn, [BATCH, 1, 1, values])
        };
        let (x, target) = (draw(2), draw(3));
        let rows = ops::as_matrix(&mut graph, &x);
        let (weight, bias) = (state.weights.get(weight), state.weights.get(bias));
        let rows = ops::linear(&mut graph, &rows, weight, Some(bias));
        let output = ops::as_images(&mut graph, &rows, [1, 1, 3]);
        let losses = ops::pair_distance(&mut graph, PairDistance::SquaredL2, &output, &target);
        let progress = Progress { step: number, images: number * BATCH as u64, total_images: 0 };
        let shares = vec![1.0 / BATCH as f32; BATCH];
        let told =
            state.descend(graph, &losses, shares, (progress, StepSeed::new(1, 2, number)), 0.9, |_| {
                (1.0, 1.0)
            });
        told.unwrap();
    }

    #[test]
    fn steps_agree_and_only_the_batch_crosses() {
        let config = TrainConfig {
            optimiser: OptimiserConfig::RAdam(MomentsConfig::default()),
            ema: vec![EmaConfig::PerStep(0.5)],
            gradient_clip: Some(0.5),
            batch: BATCH,
            ..TrainConfig::default()
        };
        let mut weights = Weights::new();
        let weight = weights.add("weight", &[2, 3], vec![0.3, -0.2, 0.5, 1.0, -0.7, 0.1]);
        let bias = weights.add("bias", &[3], vec![0.1, 0.2, -0.3]);
        weights.add_untrained("frequencies", &[2], vec![3.0, -5.0]);
        let state = || TrainState::new(&config, weights.clone(), true);
        let Some(gpu) = gpu() else { return };
        let device = Device::new(gpu, Precision::F32);
        let (mut host, mut there) = (state(), state());
        for number in 0..8 {
            step(&mut host, Graph::recording().on_host(), number, [weight, bias]);
            let before = crossed();
            step(&mut there, Graph::recording().on(&device), number, [weight, bias]);
            let moved = crossed() - before;
            // Input, target, the loss of each image down and its share up. The first step takes everything along.
            let batch = BATCH * (2 + 3 + 1 + 1);
            assert!(
                if number == 0 { moved > batch } else { moved == batch },
                "step {number}: {moved} values"
            );
        }
        let saved = |state: &TrainState| {
            let mut file = TensorFile::default();
            state.save(&mut file);
            file.arrays
        };
        for ((name, _, a), (_, _, b)) in saved(&host).iter().zip(&saved(&there)) {
            for (a, b) in a.iter().zip(b) {
                assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0), "{name}: host {a}, device {b}");
            }
        }
    }

    /// The mean losses of ten runs of twenty steps each, in which two layers learn a map with noise on it.
    fn learning(graph: impl Fn() -> Graph) -> Vec<f64> {
        const IMAGES: usize = 16;
        let config = TrainConfig {
            optimiser: OptimiserConfig::RAdam(MomentsConfig::default()),
            learning_rate: LearningRateConfig { peak: 0.02, ..LearningRateConfig::default() },
            ema: vec![EmaConfig::PerStep(0.9)],
            batch: IMAGES,
            ..TrainConfig::default()
        };
        let mut random = Random::with_stream(5, 0);
        let mut drawn = |len: usize, scale: f32| (0..len).map(|_| scale * random.normal()).collect();
        let mut weights = Weights::new();
        let first = weights.add("first", &[4, 16], drawn(64, 0.5));
        let bias = weights.add("bias", &[16], vec![0.0; 16]);
        let second = weights.add("second", &[16, 3], drawn(48, 0.25));
        let mut state = TrainState::new(&config, weights, false);
        let mut losses = Vec::new();
        for number in 0..200 {
            let mut random = Random::with_stream(6, number);
            let x: Vec<f32> = (0..IMAGES * 4).map(|_| random.normal()).collect();
            let of = |x: &[f32]| [x[0] * x[1], (x[2] + x[3]).sin(), x[0].max(x[3])];
            let y = x.chunks_exact(4).flat_map(of).map(|y| y + 0.3 * random.normal()).collect();
            let mut graph = graph();
            let rows = Matrix::constant(x, [IMAGES, 4]);
            let hidden =
                ops::linear(&mut graph, &rows, state.weights.get(first), Some(state.weights.get(bias)));
            let hidden = ops::silu(&mut graph, &hidden);
            let output = ops::linear(&mut graph, &hidden, state.weights.get(second), None);
            let output = ops::as_images(&mut graph, &output, [1, 1, 3]);
            let target = Images::constant(y, [IMAGES, 1, 1, 3]);
            let each = ops::pair_distance(&mut graph, PairDistance::SquaredL2, &output, &target);
            let progress = Progress { step: number, images: number * IMAGES as u64, total_images: 0 };
            let when = (progress, StepSeed::new(1, 2, number));
            let told =
                state.descend(graph, &each, vec![1.0 / IMAGES as f32; IMAGES], when, 0.0, |_| (1.0, 1.0));
            losses.push(told.unwrap().loss);
        }
        losses.chunks_exact(20).map(|losses| losses.iter().sum::<f64>() / 20.0).collect()
    }

    /// The curves of two hundred steps: what is learnt in narrower products stays in a band around the host's.
    #[test]
    fn learning_in_narrow_products_stays_near_single_precision() {
        let host = learning(|| Graph::recording().on_host());
        assert!(host[9] < 0.6 * host[0], "something is learnt: {host:?}");
        let Some(gpu) = gpu() else { return };
        for (precision, band) in [(Precision::Tf32, 0.01), (Precision::Bf16, 0.03)] {
            let device = Device::new(gpu.clone(), precision);
            let there = learning(|| Graph::recording().on(&device));
            for (a, b) in host.iter().zip(&there) {
                assert!((a - b).abs() <= band * a, "{precision:?}: host {host:?}, device {there:?}");
            }
        }
    }
}
