use super::naive::Parameters;
use super::*;
use crate::buffer::{unwritten, written_by};
use crate::elementwise::testing::*;

/// Inputs of one case in single precision, and the same in double.
struct Case {
    shape: GroupNormShape,
    x: Vec<f32>,
    grad_out: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    film: bool,
    silu: bool,
}

/// What a kernel or twin returns, output first.
struct Results<F> {
    out: Vec<F>,
    stats: Vec<F>,
    grads: Vec<(&'static str, Vec<F>)>,
    /// With all inputs changing, and with the images as they are.
    tangents: [Vec<F>; 2],
}

impl Case {
    fn new(batch: usize, pixels: usize, channels: usize, groups: usize, film: bool, silu: bool) -> Self {
        let shape = GroupNormShape { batch, pixels, channels, groups, eps: 1e-5 };
        Self {
            shape,
            x: values(shape.len(), 1),
            grad_out: values(shape.len(), 2),
            gamma: values(channels, 3),
            beta: values(channels, 4),
            scale: values(batch * channels, 5),
            shift: values(batch * channels, 6),
            film,
            silu,
        }
    }

    fn affine(&self) -> Affine<'_> {
        let film = self.film.then_some(Film { scale: &self.scale, shift: &self.shift });
        Affine { gamma: &self.gamma, beta: &self.beta, film }
    }

    /// Directions of images, gamma, beta, scale and shift.
    fn along(&self) -> [Vec<f32>; 5] {
        let lens = [&self.x, &self.gamma, &self.beta, &self.scale, &self.shift].map(Vec::len);
        std::array::from_fn(|which| values(lens[which], 10 + which as u64))
    }

    /// Each with and without that of the images.
    fn tangents<F>(&self, of: impl Fn(&[Vec<f32>; 5], bool) -> Vec<F>) -> [Vec<F>; 2] {
        [true, false].map(|moving| of(&self.along(), moving))
    }

    fn tangents_on(&self, isa: Isa, stats: &[f32]) -> [Vec<f32>; 2] {
        self.tangents(|[x, gamma, beta, scale, shift], moving| {
            let film = |part| self.film.then_some(part);
            let along = Along {
                x: moving.then_some(&x[..]),
                gamma: Some(gamma),
                beta: Some(beta),
                scale: film(&scale[..]),
                shift: film(&shift[..]),
            };
            written_by(x.len(), |out| {
                tangent_on(isa, &self.shape, &self.x, self.affine(), self.silu, stats, along, out);
            })
        })
    }

    /// The naive twin in dual numbers.
    fn exact_tangents(&self) -> [Vec<f64>; 2] {
        self.tangents(|along, moving| {
            let x = dual(&self.x, moving.then_some(&along[0][..]));
            let parts = [&self.gamma, &self.beta, &self.scale, &self.shift];
            let [gamma, beta, scale, shift] = std::array::from_fn(|i| dual(parts[i], Some(&along[i + 1])));
            let film = self.film.then_some((&scale[..], &shift[..]));
            let parameters = Parameters { gamma: &gamma, beta: &beta, film };
            slopes(&naive::forward(&self.shape, &x, &parameters, self.silu).0)
        })
    }

    fn run(&self, isa: Isa) -> Results<f32> {
        let (shape, n, c) = (&self.shape, self.shape.len(), self.shape.channels);
        let mut stats = unwritten(shape.stats_len());
        let out =
            written_by(n, |out| forward_on(isa, shape, &self.x, self.affine(), self.silu, out, &mut stats));
        let (mut grad_x, mut grad_gamma, mut grad_beta) = (unwritten(n), unwritten(c), unwritten(c));
        let (mut scale, mut shift) = (unwritten(shape.batch * c), unwritten(shape.batch * c));
        let grads = Grads {
            grad_x: &mut grad_x,
            grad_gamma: &mut grad_gamma,
            grad_beta: &mut grad_beta,
            film: self.film.then_some((&mut scale, &mut shift)),
        };
        backward_on(isa, shape, &self.x, self.affine(), self.silu, &stats, &self.grad_out, grads);
        let mut grads = vec![("x", grad_x), ("gamma", grad_gamma), ("beta", grad_beta)];
        if self.film {
            grads.extend([("scale", scale), ("shift", shift)]);
        }
        let tangents = self.tangents_on(isa, &stats);
        Results { out, stats, grads, tangents }
    }

    fn exact(&self) -> Results<f64> {
        let (x, g) = (wide(&self.x), wide(&self.grad_out));
        let (gamma, beta, scale, shift) =
            (wide(&self.gamma), wide(&self.beta), wide(&self.scale), wide(&self.shift));
        let film = self.film.then_some((&scale[..], &shift[..]));
        let parameters = Parameters { gamma: &gamma, beta: &beta, film };
        let (out, stats) = naive::forward(&self.shape, &x, &parameters, self.silu);
        let grads = naive::backward(&self.shape, &x, &parameters, self.silu, &g);
        let mut list = vec![("x", grads.x), ("gamma", grads.gamma), ("beta", grads.beta)];
        if self.film {
            list.extend([("scale", grads.scale), ("shift", grads.shift)]);
        }
        Results { out, stats, grads: list, tangents: self.exact_tangents() }
    }

    #[track_caller]
    fn compare(&self, forward_tolerance: f64, backward_tolerance: f64) {
        let exact = self.exact();
        for isa in Isa::available() {
            let what = (isa, self.shape, self.film, self.silu);
            let got = self.run(isa);
            assert_close(&got.out, &exact.out, forward_tolerance, &what);
            assert_close(&got.stats, &exact.stats, forward_tolerance, &what);
            assert_eq!(got.grads.len(), exact.grads.len());
            for ((name, got), (_, exact)) in got.grads.iter().zip(&exact.grads) {
                assert_close(got, exact, backward_tolerance, &(name, what));
            }
            for (got, exact) in got.tangents.iter().zip(&exact.tangents) {
                assert_close(got, exact, backward_tolerance, &("tangent", what));
            }
        }
    }
}

#[test]
fn agrees_with_the_naive_twin_over_the_edge_grid() {
    for batch in [0, 1, 3] {
        // 700 pixels of 32 or 96 channels pass the length of a chunk of rows.
        for pixels in [1, 2, 9, 16, 64, 700] {
            for (channels, groups) in
                [(1, 1), (4, 2), (15, 3), (16, 4), (17, 17), (24, 6), (32, 32), (32, 8), (96, 1)]
            {
                // One value is always its mean and two are always one deviation from it, so the exact gradient
                // is a tiny difference of large numbers: see the next test.
                if pixels * channels / groups < 3 {
                    continue;
                }
                for (film, silu) in [(false, false), (false, true), (true, false), (true, true)] {
                    Case::new(batch, pixels, channels, groups, film, silu).compare(5e-6, 2e-5);
                }
            }
        }
    }
}

#[test]
fn groups_of_one_or_two_values_do_not_depend_on_them() {
    for (channels, groups) in [(5, 5), (6, 3)] {
        let case = Case::new(2, 1, channels, groups, true, true);
        let exact = case.exact();
        for isa in Isa::available() {
            let got = case.run(isa);
            assert_close(&got.out, &exact.out, 5e-6, &(isa, channels));
            // The terms that cancel are as large as 1 / standard deviation, at most 1 / sqrt(eps).
            let largest = got.stats.iter().skip(1).step_by(2).fold(0.0_f32, |m, &v| m.max(v));
            for (got, exact) in got.grads[0].1.iter().zip(&exact.grads[0].1) {
                assert!((f64::from(*got) - exact).abs() < f64::from(largest) * 2e-5, "{got} for {exact}");
            }
            for (got, exact) in got.tangents[0].iter().zip(&exact.tangents[0]) {
                assert!((f64::from(*got) - exact).abs() < f64::from(largest) * 2e-5, "{got} for {exact}");
            }
        }
    }
}

#[test]
fn the_naive_twin_in_single_precision_agrees_too() {
    let case = Case::new(2, 9, 24, 6, true, true);
    let film = Some((&case.scale[..], &case.shift[..]));
    let parameters = Parameters { gamma: &case.gamma[..], beta: &case.beta[..], film };
    let (out, _) = naive::forward(&case.shape, &case.x, &parameters, true);
    let grads = naive::backward(&case.shape, &case.x, &parameters, true, &case.grad_out);
    let exact = case.exact();
    assert_close(&out, &exact.out, 5e-6, &"forward");
    assert_close(&grads.x, &exact.grads[0].1, 2e-5, &"backward");
}

#[test]
fn naive_gradients_are_right() {
    for silu in [false, true] {
        let case = Case::new(2, 3, 6, 2, true, silu);
        let inputs = [&case.x, &case.gamma, &case.beta, &case.scale, &case.shift].map(|v| wide(v));
        let weights = wide(&case.grad_out);
        let grads = case.exact().grads;
        for (which, (name, formula)) in grads.iter().enumerate() {
            let loss = |moved: &[f64]| {
                let mut inputs = inputs.clone();
                inputs[which] = moved.to_vec();
                let [x, gamma, beta, scale, shift] = &inputs;
                let parameters = Parameters { gamma, beta, film: Some((scale, shift)) };
                weighted_sum(&naive::forward(&case.shape, x, &parameters, silu).0, &weights)
            };
            assert_gradient(loss, &inputs[which], formula, &(name, silu));
        }
    }
}

#[test]
fn a_large_mean_costs_no_digits() {
    for (batch, pixels, channels, groups) in [(2, 64, 24, 6), (1, 1024, 64, 32), (2, 5, 3, 1)] {
        let mut case = Case::new(batch, pixels, channels, groups, false, false);
        for v in &mut case.x {
            *v = 1000.0 + *v * 0.866; // uniform on [-2, 2): standard deviation 1 after scaling
        }
        let exact = case.exact();
        for isa in Isa::available() {
            let got = case.run(isa);
            assert_close(&got.out, &exact.out, 5e-6, &(isa, channels));
            let rstd = |stats: &[f64]| stats.iter().skip(1).step_by(2).copied().collect::<Vec<_>>();
            let error = rstd(&wide(&got.stats))
                .iter()
                .zip(rstd(&exact.stats))
                .fold(0.0_f64, |m, (a, b)| m.max((a / b - 1.0).abs()));
            assert!(error < 1e-6, "reciprocal standard deviation off by {error:.1e}");
            // The mean in the statistics is rounded to f32: half a unit of 1000 is 3e-5 standard deviations.
            for ((name, got), (_, exact)) in got.grads.iter().zip(&exact.grads) {
                assert_close(got, exact, 1e-4, &(name, isa, channels));
            }
            assert_close(&got.tangents[0], &exact.tangents[0], 1e-4, &("tangent", isa, channels));
        }
    }
}

#[test]
fn one_outlier_does_not_spoil_the_variance() {
    let mut case = Case::new(1, 1024, 32, 1, false, false);
    case.x[0] = 1e6; // among the very values that sums are taken relative to
    let exact = case.exact();
    for isa in Isa::available() {
        let got = case.run(isa);
        assert_close(&got.out, &exact.out, 5e-6, &isa);
        assert_close(&got.stats, &exact.stats, 5e-6, &isa);
    }
}

#[test]
fn a_constant_group_gives_beta() {
    let mut case = Case::new(2, 7, 6, 3, false, false);
    case.x.fill(3.25);
    let got = case.run(isa());
    for (i, v) in got.out.iter().enumerate() {
        assert_eq!(*v, case.beta[i % 6]);
    }
    assert!(got.grads.iter().all(|(_, g)| g.iter().all(|v| v.is_finite())));
}

#[test]
fn an_image_without_pixels_has_no_gradients() {
    let got = Case::new(2, 0, 6, 3, true, true).run(isa());
    assert!(got.out.is_empty());
    assert!(got.grads.iter().all(|(_, g)| g.iter().all(|&v| v == 0.0)));
    assert!(got.tangents.concat().is_empty());
}

#[test]
fn a_nan_poisons_its_group_only() {
    let mut case = Case::new(2, 16, 8, 2, false, true);
    case.x[8 * 3 + 1] = f32::NAN;
    let out = case.run(isa()).out;
    for (i, v) in out.iter().enumerate() {
        let poisoned = i < 16 * 8 && i % 8 < 4;
        assert_eq!(v.is_nan(), poisoned, "element {i}");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let case = Case::new(33, 64, 24, 6, true, true);
    assert_same_for_any_threads(|| {
        let got = case.run(isa());
        let grads = got.grads.into_iter().flat_map(|(_, g)| g);
        got.out.into_iter().chain(got.stats).chain(grads).chain(got.tangents.concat()).collect()
    });
}
