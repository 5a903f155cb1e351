use super::*;
use proptest::prelude::*;

fn sigma(value: f32) -> Sigma {
    Sigma::new(value).unwrap()
}

fn wide(c: Coefficients) -> [f64; 4] {
    [c.c_skip, c.c_out, c.c_in, c.c_noise].map(f64::from)
}

proptest! {
    /// Karras et al. 2022, Appendix B.6: for data of standard deviation d the network's input and its target have
    /// variance 1, and c_skip makes c_out as small as it can be.
    #[test]
    fn edm_gives_the_network_unit_variance(s in 1e-3f32..100.0, d in 0.1f32..2.0) {
        let [c_skip, c_out, c_in, _] = wide(Edm { sigma_data: d }.coefficients(sigma(s)));
        let (s, d) = (f64::from(s), f64::from(d));
        prop_assert!((c_in * c_in * (s * s + d * d) - 1.0).abs() < 1e-6);
        // The target is (y - c_skip (y + n)) / c_out.
        let variance = |c_skip: f64| (1.0 - c_skip).powi(2) * d * d + c_skip * c_skip * s * s;
        prop_assert!((variance(c_skip) / (c_out * c_out) - 1.0).abs() < 1e-5);
        for moved in [0.99, 1.01] {
            prop_assert!(variance(c_skip * moved) > variance(c_skip));
        }
    }

    /// f(x, epsilon) = x whatever the network returns.
    #[test]
    fn the_boundary_is_the_identity(epsilon in 1e-4f32..0.1, d in 0.1f32..2.0) {
        let c = Boundary { sigma_data: d, sigma_min: epsilon }.coefficients(sigma(epsilon));
        prop_assert_eq!((c.c_skip, c.c_out), (1.0, 0.0));
    }

    /// Song et al. 2023, Appendix C: with epsilon = 0 the boundary coefficients are EDM's.
    #[test]
    fn without_epsilon_the_boundary_is_edm(s in 1e-3f32..100.0, d in 0.1f32..2.0) {
        let boundary = wide(Boundary { sigma_data: d, sigma_min: 0.0 }.coefficients(sigma(s)));
        let edm = wide(Edm { sigma_data: d }.coefficients(sigma(s)));
        for (a, b) in boundary.into_iter().zip(edm) {
            prop_assert!((a - b).abs() <= 2e-7 * b.abs());
        }
    }
}

/// By hand: sigma_data 0.5, sigma_min 0.002, sigma 80.
#[test]
fn the_boundary_at_the_noisy_end() {
    let [c_skip, c_out, c_in, c_noise] =
        wide(Boundary { sigma_data: 0.5, sigma_min: 0.002 }.coefficients(sigma(80.0)));
    assert!((c_skip - 0.25 / (79.998f64 * 79.998 + 0.25)).abs() < 1e-10);
    assert!((c_out - 79.998 * 0.5 / 6400.25f64.sqrt()).abs() < 1e-7);
    assert!((c_in - 1.0 / 6400.25f64.sqrt()).abs() < 1e-9);
    assert!((c_noise - 80f64.ln() / 4.0).abs() < 1e-6);
}

#[test]
fn no_noise_is_a_finite_input() {
    assert!(Edm { sigma_data: 0.5 }.coefficients(Sigma::ZERO).c_noise.is_finite());
}

/// sigma(t) of Karras et al. 2022, Table 1, "VP": the time told is the one at which the noise has that level.
#[test]
fn vp_tells_the_time_of_a_noise_level() {
    let vp = Vp::default();
    for t in [1e-3f64, 0.01, 0.2, 0.5, 0.9, 1.0] {
        let s = ((0.5 * 19.9 * t * t + 0.1 * t).exp() - 1.0).sqrt();
        let c = vp.coefficients(sigma(s as f32));
        assert!((f64::from(c.c_noise) / 999.0 - t).abs() < 2e-6, "{t}: {}", c.c_noise / 999.0);
        assert!((f64::from(c.c_in) - 1.0 / (1.0 + s * s).sqrt()).abs() < 1e-6);
    }
}

/// The ends of the table: the highest level is told M - 1, the lowest 0, and each level is its own nearest.
#[test]
fn iddpm_counts_its_levels() {
    let iddpm = Iddpm::new(0.001, 0.008, 1000);
    let told = |s: f32| iddpm.coefficients(sigma(s)).c_noise;
    // u_0 is about 20,000; u_999 about 0.0064 (Karras et al. 2022, Section 3 and their code).
    assert_eq!(told(1e6), 999.0);
    assert_eq!(told(0.0064), 0.0);
    assert_eq!(told(1e-6), -1.0);
    let mut last = told(1e-3);
    for exponent in -20..40 {
        let next = told(1.2f32.powi(exponent));
        assert!(next >= last);
        last = next;
    }
}
