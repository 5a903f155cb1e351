//! df / d ln sigma of a consistency function f = c_skip x + c_out N from its network's output and the derivative of that.

use crate::tangent::LocalPath;
use cm_diffusion::{Boundary, Sigma};
use cm_image::ImageBatch;
use cm_tensor::Images;

/// What the derivative at one noise level is made of, in double precision.
///
/// With t = arctan(sigma / sigma_data) the point is TrigFlow's x_t = cos t x, and at sigma_min = 0 the network's output
/// is -F of TrigFlow (Lu and Song 2025): a network under EDM's preconditioning serves as it is. Nothing here is divided
/// by what may vanish but sin t, by which x - D is as small.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    sin: f64,
    cos: f64,
    sigma_data: f64,
    /// (sigma - sigma_min) / sigma, the share of EDM's c_out that the boundary leaves.
    share: f64,
    c_skip: f64,
    c_out: f64,
    /// Derivatives by ln sigma.
    c_skip_slope: f64,
    c_out_slope: f64,
}

impl Level {
    /// The level `sigma` >= `sigma_min` of a model with this preconditioning.
    pub(super) fn new(sigma: Sigma, Boundary { sigma_data, sigma_min }: Boundary) -> Self {
        let [s, d, min] = [sigma.get(), sigma_data, sigma_min].map(f64::from);
        let (above, norm) = (s - min, s.hypot(d));
        let skipped = above * above + d * d;
        Self {
            sin: s / norm,
            cos: d / norm,
            sigma_data: d,
            share: above / s,
            c_skip: d * d / skipped,
            c_out: above * d / norm,
            c_skip_slope: -2.0 * s * above * d * d / (skipped * skipped),
            c_out_slope: s * d * (d * d + min * s) / (norm * norm * norm),
        }
    }

    /// sin t cos t: what a weight per sigma becomes where errors are the network's.
    pub(super) fn sine_cosine(&self) -> f64 {
        self.sin * self.cos
    }

    /// df / d ln sigma at x, where the path aims at `aim`, from N and its derivative `slope`.
    pub(super) fn derivative(&self, x: f64, aim: f64, raw: f64, slope: f64) -> f64 {
        self.c_skip_slope * x + self.c_skip * (x - aim) + self.c_out_slope * raw + self.c_out * slope
    }

    /// The same as a x + b D + c N + d N', for what is differentiated in N and N': a, b, c, d.
    pub(super) fn factors(&self) -> [f64; 4] {
        [self.c_skip_slope + self.c_skip, -self.c_skip, self.c_out_slope, self.c_out]
    }

    /// g of sCM, the tangent cos t df/dt: with it the student is to move from N to N - g.
    ///
    /// At sigma_min = 0 it is -cos^2 t (sigma_data F - dx_t/dt) - r (cos t sin t x_t + sigma_data cos t sin t dF/dt), Lu and
    /// Song 2025, Equation 8 and Section 4.1. `warmup` is their r in [0, 1]: at 0 only the regression to the velocity is left.
    pub(super) fn tangent(&self, x: f64, aim: f64, raw: f64, slope: f64, warmup: f64) -> f64 {
        let Self { sin, cos, sigma_data, share, .. } = *self;
        let denoised = cos * cos * x + sigma_data * sin * raw;
        let velocity = cos * cos / sin * (denoised - aim);
        let whole = self.derivative(x, aim, raw, slope) / sin;
        share * (velocity + warmup * (whole - velocity))
    }
}

/// df / d ln sigma at the points of `path`, as many values, from the network's output there in a pass with tangents.
///
/// # Panics
/// If the output carries no tangent, or is of other shape or count.
pub fn endpoint_slopes(path: &LocalPath<'_>, precondition: Boundary, output: &Images) -> ImageBatch {
    let slopes = output.tangent_batch();
    let len = slopes.shape().len();
    ImageBatch::from_fn(slopes.shape(), slopes.count(), |image, out| {
        let level = Level::new(path.sigma[image], precondition);
        let parts = [path.noisy.values(), path.aim.values(), output.values(), slopes.values()];
        let [x, aim, raw, slope] = parts.map(|values| &values[image * len..][..len]);
        for (place, out) in out.iter_mut().enumerate() {
            let [x, aim, raw, slope] = [x, aim, raw, slope].map(|values| f64::from(values[place]));
            *out = level.derivative(x, aim, raw, slope) as f32;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tangent::moved;
    use cm_diffusion::analytic::GaussianMixture;

    const STEP: f64 = 0.005;

    fn sigma(value: f64) -> Sigma {
        Sigma::new(value as f32).unwrap()
    }

    /// N of the exact consistency function, which ends at `boundary.sigma_min`.
    fn exact(mixture: &GaussianMixture, boundary: Boundary, x: f64, level: Sigma) -> f64 {
        let end = mixture.flow_endpoint(&[x], level, Sigma::new(boundary.sigma_min).unwrap()).unwrap()[0];
        let here = Level::new(level, boundary);
        (end - here.c_skip * x) / here.c_out
    }

    /// dN / d ln sigma by central differences over points that aim at `aim`, as training has it, in double precision.
    fn slope(x: f64, aim: f64, level: Sigma, step: f64, raw: impl Fn(f64, Sigma) -> f64) -> f64 {
        let from = f64::from(level.get());
        let [(upper, above), (lower, below)] = [step, -step].map(|step| {
            let to = sigma(from * step.exp());
            (f64::from(to.get()), raw(moved(x, aim, from, f64::from(to.get())), to))
        });
        (above - below) / (upper / lower).ln()
    }

    /// The tangent of the exact function along its own flow, as a share of its largest part; the worst over levels and
    /// points.
    fn worst(mixture: &GaussianMixture, boundary: Boundary, step: f64) -> f64 {
        let (min, mut worst) = (f64::from(boundary.sigma_min), 0.0f64);
        for factor in [1.5f64, 4.0, 30.0, 200.0, 1500.0, 9000.0] {
            let level = sigma(if min > 0.0 { min * factor } else { 0.005 * factor });
            let s = f64::from(level.get());
            for place in [-1.6, -0.4, 0.9, 2.3] {
                let x = place * s.hypot(0.7);
                let aim = mixture.posterior_mean(&[x], s)[0];
                let raw = exact(mixture, boundary, x, level);
                let slope = slope(x, aim, level, step, |x, level| exact(mixture, boundary, x, level));
                let here = Level::new(level, boundary);
                let parts = [
                    here.tangent(x, 0.0, 0.0, 0.0, 1.0),
                    here.tangent(0.0, aim, 0.0, 0.0, 1.0),
                    here.tangent(0.0, 0.0, raw, 0.0, 1.0),
                    here.tangent(0.0, 0.0, 0.0, slope, 1.0),
                ];
                let size = parts.into_iter().fold(0.0f64, |size, part| size.max(part.abs()));
                worst = worst.max(here.tangent(x, aim, raw, slope, 1.0).abs() / size);
            }
        }
        worst
    }

    /// Of the exact consistency function nothing is left: a hundred-thousandth of its parts, at the default step.
    #[test]
    fn the_exact_function_of_a_gaussian_has_no_tangent() {
        assert_eq!(STEP as f32, crate::CentralConfig::default().step);
        let gaussian = GaussianMixture::new(vec![1.0], vec![vec![0.3]], vec![0.7]).unwrap();
        for sigma_min in [0.0, 0.002, 0.05] {
            let left = worst(&gaussian, Boundary { sigma_data: 0.5, sigma_min }, STEP);
            assert!(left < 1e-5, "sigma_min {sigma_min}: {left}");
        }
    }

    /// Two Gaussians of different weights in one dimension: where their basins part, the flow is far from linear, and three
    /// hundred-thousandths are left. They fall with the square of the step.
    #[test]
    fn of_the_exact_function_of_a_mixture_the_square_of_the_step_is_left() {
        let mixture =
            GaussianMixture::new(vec![1.0, 2.0], vec![vec![-0.8], vec![0.5]], vec![0.3, 0.2]).unwrap();
        for sigma_min in [0.0, 0.05] {
            let left = |step| worst(&mixture, Boundary { sigma_data: 0.5, sigma_min }, step);
            let (near, far) = (left(STEP), left(4.0 * STEP));
            assert!(near < 3e-5, "sigma_min {sigma_min}: {near}");
            assert!((14.0..18.0).contains(&(far / near)), "sigma_min {sigma_min}: {far} {near}");
        }
    }

    /// At sigma_min = 0 it is sCM's g as the paper prints it, with F = -N, x_t = cos t x, and the velocity of the path.
    #[test]
    fn the_tangent_is_the_paper_s() {
        let (d, x, aim, raw, slope) = (0.6, 1.3, -0.2, 0.7, -0.4);
        for (level, warmup) in [(0.01, 1.0), (0.3, 0.0), (0.8, 0.25), (5.0, 1.0), (60.0, 0.5)] {
            let level = sigma(level);
            let boundary = Boundary { sigma_data: d as f32, sigma_min: 0.0 };
            let d = f64::from(boundary.sigma_data);
            let t = (f64::from(level.get()) / d).atan();
            let (sin, cos) = t.sin_cos();
            // dx_t/dt = cos t z - sin t x_0 with the clean image and the noise that the point is made of.
            let z = d * (x - aim) / f64::from(level.get());
            let velocity = cos * z - sin * aim;
            let (x_t, f, f_slope) = (cos * x, -raw, -slope / (sin * cos));
            let printed = -cos * cos * (d * f - velocity) - warmup * cos * sin * (x_t + d * f_slope);
            let found = Level::new(level, boundary).tangent(x, aim, raw, slope, warmup);
            assert!((found - printed).abs() < 1e-9 * printed.abs().max(1.0), "{level}: {found} {printed}");
        }
    }

    /// The derivatives of the coefficients, by central differences of the preconditioning itself.
    #[test]
    fn slopes_are_those_of_the_coefficients() {
        let boundary = Boundary { sigma_data: 0.5, sigma_min: 0.02 };
        for level in [0.021, 0.1, 0.5, 2.0, 40.0] {
            let here = Level::new(sigma(level), boundary);
            let [above, below] = [1e-3f64, -1e-3].map(|h| (f64::from(sigma(level * h.exp()).get()), h));
            let at = |(level, _): (f64, f64)| Level::new(sigma(level), boundary);
            let width = (above.0 / below.0).ln();
            let skip = (at(above).c_skip - at(below).c_skip) / width;
            let out = (at(above).c_out - at(below).c_out) / width;
            assert!((here.c_skip_slope - skip).abs() < 1e-6, "{level}: {} {skip}", here.c_skip_slope);
            assert!((here.c_out_slope - out).abs() < 1e-6, "{level}: {} {out}", here.c_out_slope);
            let [by_x, by_aim, by_raw, by_slope] = here.factors();
            let whole = by_x * 1.1 + by_aim * 0.4 + by_raw * -0.3 + by_slope * 0.9;
            assert!((whole - here.derivative(1.1, 0.4, -0.3, 0.9)).abs() < 1e-12);
        }
        let least = Level::new(sigma(0.02), boundary);
        assert_eq!(
            least.tangent(1.0, 0.3, 5.0, 7.0, 1.0),
            0.0,
            "where f is the identity, nothing is to be moved"
        );
    }
}
