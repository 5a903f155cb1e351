use super::*;
use proptest::prelude::*;

/// Every spacing, with constants that matter.
const SPACINGS: [SpacingConfig; 6] = [
    SpacingConfig::Karras(KarrasConfig { rho: 7.0 }),
    SpacingConfig::Karras(KarrasConfig { rho: 0.5 }),
    SpacingConfig::Linear,
    SpacingConfig::Exponential,
    SpacingConfig::Cosine(CosineConfig { scale: 1.0 }),
    SpacingConfig::Cosine(CosineConfig { scale: 0.5 }),
];

fn build(spacing: SpacingConfig, min: f32, max: f32) -> Box<dyn Discretisation> {
    DiscretisationConfig { sigma_min: min, sigma_max: max, spacing }.build().unwrap()
}

fn levels(spacing: SpacingConfig, n: usize, min: f32, max: f32) -> Vec<f32> {
    let levels = build(spacing, min, max).noise_levels(NumLevels::new(n).unwrap()).unwrap();
    levels.as_slice().iter().map(|sigma| sigma.get()).collect()
}

/// What each spacing is even in.
fn even_in(spacing: SpacingConfig, sigma: f64) -> f64 {
    match spacing {
        SpacingConfig::Karras(KarrasConfig { rho }) => sigma.powf(1.0 / f64::from(rho)),
        SpacingConfig::Linear => sigma,
        SpacingConfig::Exponential => sigma.ln(),
        SpacingConfig::Cosine(CosineConfig { scale }) => (sigma / f64::from(scale)).atan(),
    }
}

#[test]
fn every_spacing_is_even_in_what_it_says() {
    for spacing in SPACINGS {
        let positions: Vec<f64> =
            levels(spacing, 21, 0.05, 20.0).into_iter().map(|s| even_in(spacing, f64::from(s))).collect();
        let gap = (positions[0] - positions[20]) / 20.0;
        for pair in positions.windows(2) {
            assert!(((pair[0] - pair[1]) / gap - 1.0).abs() < 1e-4, "{spacing:?}: {positions:?}");
        }
    }
}

#[test]
fn linear_and_exponential_are_the_ends_of_karras() {
    let karras = |rho| SpacingConfig::Karras(KarrasConfig { rho });
    for (spacing, limit) in [(karras(1.0), SpacingConfig::Linear), (karras(1e5), SpacingConfig::Exponential)]
    {
        for (a, b) in levels(spacing, 30, 0.002, 80.0).into_iter().zip(levels(limit, 30, 0.002, 80.0)) {
            assert!((a / b - 1.0).abs() < 2e-4, "{limit:?}: {a} {b}");
        }
    }
}

/// The angles of Nichol and Dhariwal's alpha_bar(t) = cos^2((t + s) / (1 + s) pi / 2), s = 0.008, at even times:
/// sigma = sqrt(1 / alpha_bar - 1).
#[test]
fn the_cosine_schedule_is_nichol_and_dhariwal_s() {
    let sigma = |t: f64| {
        let alpha_bar = ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
        (1.0 / alpha_bar - 1.0).sqrt()
    };
    let times: Vec<f64> = (0..9).map(|i| 0.97 - 0.12 * f64::from(i)).collect();
    let spacing = SpacingConfig::Cosine(CosineConfig::default());
    let found = levels(spacing, 9, sigma(times[8]) as f32, sigma(times[0]) as f32);
    for (level, t) in found.into_iter().zip(times) {
        assert!((f64::from(level) / sigma(t) - 1.0).abs() < 1e-5, "{level} at {t}");
    }
}

#[test]
fn crowded_levels_still_fall_strictly_and_too_many_are_an_error() {
    // Numbers lie twice as far apart above 2 as below it, so even levels collide above.
    let min = (0..8).fold(2.0f32, |level, _| level.next_down());
    let max = (0..4).fold(2.0f32, |level, _| level.next_up());
    let every: Vec<f32> =
        (0..13).scan(max, |next, _| Some(std::mem::replace(next, next.next_down()))).collect();
    for spacing in SPACINGS {
        assert_eq!(levels(spacing, 13, min, max), every);
        let most = levels(spacing, 11, min, max);
        assert_eq!((most[0], most[10]), (max, min));
        assert!(most.windows(2).all(|pair| pair[0] > pair[1]));
        let too_many = build(spacing, min, max).noise_levels(NumLevels::new(14).unwrap());
        assert_eq!(too_many, Err(QuantityError::Crowded { levels: 14, min, max, room: 13 }));
    }
}

#[test]
fn the_scale_of_the_cosine_must_leave_angles() {
    let range = SigmaRange::new(0.002, 80.0).unwrap();
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-12, f32::MIN_POSITIVE] {
        assert!(matches!(Cosine::new(range, scale), Err(QuantityError::Scale(_))), "{scale}");
    }
    assert!(Cosine::new(range, 1e4).is_ok());
}

proptest! {
    #[test]
    fn ends_are_exact_and_levels_fall(
        n in 2usize..5000, min in 1e-4f32..1.0, ratio in 1.5f32..1e5, kind in 0..SPACINGS.len()
    ) {
        let max = min * ratio;
        let levels = levels(SPACINGS[kind], n, min, max);
        prop_assert_eq!(levels.len(), n);
        prop_assert_eq!((levels[0], levels[n - 1]), (max, min));
        prop_assert!(levels.windows(2).all(|pair| pair[0] > pair[1]));
    }

    #[test]
    fn positions_fall_with_the_fraction(a in 0f64..1.0, b in 0f64..1.0, kind in 0..SPACINGS.len()) {
        let levels = build(SPACINGS[kind], 0.002, 80.0);
        prop_assert!(a == b || (levels.at(a.min(b)) >= levels.at(a.max(b))));
        prop_assert_eq!(levels.at(0.0).get(), 80.0);
        prop_assert_eq!(levels.at(1.0).get(), 0.002);
    }
}
