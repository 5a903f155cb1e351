use super::*;
use cm_consistency::{CentralConfig, LocalPath};
use cm_image::ImageShape;
use cm_image::random::Random;

const SHAPE: ImageShape = ImageShape::vector(3);
/// The data are N(0, SPREAD^2).
const SPREAD: f64 = 0.6;

fn sigma(value: f64) -> Sigma {
    Sigma::new(value as f32).unwrap()
}

/// D of a Gaussian's exact flow, on which x shrinks as sqrt(SPREAD^2 + sigma^2); `error` is added times ln(from / to).
fn exact(x: &ImageBatch, from: &[Sigma], to: &[Sigma], error: f64) -> ImageBatch {
    combine([x], |image| {
        let [from, to] = [from, to].map(|levels| f64::from(levels[image].get()));
        let (variance, ratio) = (SPREAD * SPREAD, to / from);
        // (kept - ratio) / (1 - ratio) without what cancels.
        let kept = ((variance + to * to) / (variance + from * from)).sqrt();
        let factor = variance * (1.0 + ratio) / ((variance + from * from) * (kept + ratio));
        move |[x]| factor * x + error * libm::log(from / to)
    })
}

/// dD / d ln sigma of the same, as forward mode has it.
fn exact_slope(path: &LocalPath<'_>, to: &[Sigma], error: f64) -> ImageBatch {
    combine([path.noisy, path.aim], |image| {
        let [from, to] = [path.sigma, to].map(|levels| f64::from(levels[image].get()));
        let factor = move |from: f64| {
            let (variance, ratio) = (SPREAD * SPREAD, to / from);
            let kept = ((variance + to * to) / (variance + from * from)).sqrt();
            variance * (1.0 + ratio) / ((variance + from * from) * (kept + ratio))
        };
        let h = 1e-5f64;
        let by_level = (factor(from * h.exp()) - factor(from * (-h).exp())) / (2.0 * h);
        move |[x, aim]| by_level * x + factor(from) * (x - aim) + error
    })
}

/// dD / d ln sigma of a network along a path from given ends.
type Slopes<'a> = dyn Fn(&LocalPath<'_>, &[Sigma]) -> ImageBatch + 'a;

/// Where the rule aims, of a network whose derivative in forward mode is `slopes`.
fn aimed(rule: &Rule, jumps: &Jumps<'_>, aims: &Aims<'_>, slopes: &Slopes<'_>) -> ImageBatch {
    let line = rule.line((jumps.x, jumps.from), jumps.velocity, aims).unwrap();
    let line = line.map(|(tangent, aim)| {
        let path = LocalPath { noisy: jumps.x, sigma: jumps.from, aim: &aim };
        let slope = match tangent {
            TangentConfig::Central(CentralConfig { step }) => {
                path.central(step.into(), |x, sigma| aims(x, sigma, jumps.to)).unwrap()
            }
            TangentConfig::Forward => slopes(&path, jumps.to),
        };
        (aim, slope)
    });
    let line = line.as_ref().map(|(aim, slope)| Line { aim, slope });
    rule.targets(&Jumps { line, ..*jumps }, aims).unwrap()
}

fn denoised(x: &ImageBatch, at: &[Sigma]) -> ImageBatch {
    exact(x, at, at, 0.0)
}

struct Case {
    from: Vec<Sigma>,
    to: Vec<Sigma>,
    x: ImageBatch,
}

/// Jumps between all pairs of nine levels, with points as they are there.
fn cases() -> Case {
    let levels = [0.002, 0.02, 0.1, 0.3, 0.6, 1.3, 4.0, 20.0, 80.0];
    let pairs = (0..9).flat_map(|from| (0..from).map(move |to| (sigma(levels[from]), sigma(levels[to]))));
    let (from, to): (Vec<Sigma>, Vec<Sigma>) = pairs.unzip();
    let mut random = Random::new(5);
    let x = ImageBatch::from_fn(SHAPE, from.len(), |image, out| {
        random.fill_normal(out);
        let spread = SPREAD.hypot(from[image].get().into()) as f32;
        out.iter_mut().for_each(|x| *x *= spread);
    });
    Case { from, to, x }
}

const CENTRAL: TangentConfig = TangentConfig::Central(CentralConfig { step: 0.01 });

const EVERY: [TwoTimeTarget; 7] = every(CENTRAL);

const fn every(tangent: TangentConfig) -> [TwoTimeTarget; 7] {
    let derivative = DerivativeConfig { tangent };
    [
        TwoTimeTarget::MeanFlow(derivative),
        TwoTimeTarget::ImprovedMeanFlow(derivative),
        TwoTimeTarget::SoFlow(SoFlowConfig { start: 0.5, end: 0.01 }),
        TwoTimeTarget::AlphaFlow(AlphaFlowConfig { middle: 0.5, sharpness: 25.0, least: 0.005, clip: 1e6 }),
        TwoTimeTarget::SplitMeanFlow,
        TwoTimeTarget::TransitionModel(derivative),
        TwoTimeTarget::AlignYourFlow(AlignYourFlowConfig { tangent, constant: 1.0, most: 1.0, warmup: 0.0 }),
    ]
}

fn rule(target: TwoTimeTarget, path: Path, progress: f64) -> Rule {
    Rule { target, path, sigma_data: 0.5, progress }
}

/// The targets of a network whose D is the exact one plus `error` x ln(from / to).
fn targets(rule: &Rule, case: &Case, error: f64) -> (ImageBatch, ImageBatch) {
    let Case { from, to, x } = case;
    let own = exact(x, from, to, error);
    let split: Vec<f64> = (0..x.count()).map(|image| (image as f64 + 0.5) / x.count() as f64).collect();
    let jumps = Jumps { x, from, to, own: &own, velocity: &denoised(x, from), split: &split, line: None };
    let aims: &Aims<'_> = &|x, from, to| Ok(exact(x, from, to, error));
    (aimed(rule, &jumps, aims, &|path, to| exact_slope(path, to, error)), own)
}

/// The largest difference as a velocity of the path, over all images.
fn distance(rule: &Rule, case: &Case, a: &ImageBatch, b: &ImageBatch) -> f64 {
    let mut largest: f64 = 0.0;
    for (image, (a, b)) in a.images().zip(b.images()).enumerate() {
        let unit = rule.path.unit(case.from[image].get().into(), rule.sigma_data).sqrt();
        for (a, b) in a.iter().zip(b) {
            // Where the whole target is rounded to single precision, that is no error of the rule.
            let rounding = 1.2e-7 * f64::from(b.abs()).max(1e-3);
            largest = largest.max(((f64::from(*a) - f64::from(*b)).abs() - rounding) * unit);
        }
    }
    largest
}

/// With the exact velocity the flow's own jumps are the fixed point of every rule that takes no straight step, on both paths,
/// all along the run.
#[test]
fn the_exact_jumps_of_a_gaussian_are_where_rules_aim() {
    let case = cases();
    let forward = every(TangentConfig::Forward);
    for target in [EVERY, forward].into_iter().flat_map(|every| [0, 1, 4, 5, 6].map(|rule| every[rule])) {
        for path in [Path::Straight, Path::Trig] {
            for progress in [0.0, 0.4, 1.0] {
                let rule = rule(target, path, progress);
                let (aimed, own) = targets(&rule, &case, 0.0);
                let mut worst: f64 = 0.0;
                for (image, (a, b)) in aimed.images().zip(own.images()).enumerate() {
                    let [from, to] = [&case.from, &case.to].map(|levels| f64::from(levels[image].get()));
                    // By so much the path's variables magnify what is left of the identity; on TrigFlow a jump from
                    // pure noise has tan(t - r) in it.
                    let stretch = path.stretch(from, to, rule.sigma_data).max(1.0);
                    let largest = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
                    worst = worst.max(largest / stretch);
                }
                assert!(worst < 1e-5, "{target:?} on {path:?}: {worst}");
            }
        }
    }
}

/// The others take a straight step along the velocity first, whose error falls with the square of its length.
#[test]
fn straight_steps_aim_there_in_the_limit() {
    let case = cases();
    for path in [Path::Straight, Path::Trig] {
        let error = |ratio: f32| {
            let so_flow = TwoTimeTarget::SoFlow(SoFlowConfig { start: ratio, end: ratio });
            let alpha_flow = TwoTimeTarget::AlphaFlow(AlphaFlowConfig {
                middle: 0.0,
                sharpness: 1e3,
                least: ratio,
                clip: 1e6,
            });
            let (aimed, own) = targets(&rule(so_flow, path, 1.0), &case, 0.0);
            assert_eq!(targets(&rule(alpha_flow, path, 1.0), &case, 0.0).0, aimed);
            let squares = aimed.values().iter().zip(own.values()).map(|(a, b)| f64::from(a - b).powi(2));
            squares.sum::<f64>().sqrt()
        };
        let errors = [0.08, 0.04, 0.02].map(error);
        for pair in errors.windows(2) {
            let order = (pair[0] / pair[1]).log2();
            assert!((1.6..2.4).contains(&order), "{path:?}: {errors:?}");
        }
    }
}

/// A wrong network is not: no rule takes what it is given for right.
#[test]
fn no_rule_aims_at_a_wrong_jump() {
    let case = cases();
    for target in EVERY {
        for path in [Path::Straight, Path::Trig] {
            let rule = rule(target, path, 0.4);
            let (aimed, own) = targets(&rule, &case, 0.05);
            assert!(distance(&rule, &case, &aimed, &own) > 1e-2, "{target:?} on {path:?}");
        }
    }
}

/// The papers' formulas on the straight path, in z and u and double precision, for one value of a network whose u is known
/// with its derivatives.
#[test]
fn targets_are_those_of_the_papers_in_their_own_variables() {
    // D(x; from, to) = sin(x / 3) + to / (1 + from), smooth and no flow's.
    let aim = |x: f64, from: f64, to: f64| (x / 3.0).sin() + to / (1.0 + from);
    let aims: &Aims<'_> = &|x, from, to| {
        Ok(combine([x], |image| {
            let (from, to) = (f64::from(from[image].get()), f64::from(to[image].get()));
            move |[x]| aim(x, from, to)
        }))
    };
    let (from, to, x, velocity) = (1.7, 0.4, 0.9, -0.3);
    let time = |sigma: f64| sigma / (1.0 + sigma);
    let (t, r) = (time(from), time(to));
    // u(z, r, t), with z = (1 - t) x.
    let u = |z: f64, r: f64, t: f64| (z - aim(z / (1.0 - t), t / (1.0 - t), r / (1.0 - r))) / t;
    let z = (1.0 - t) * x;
    let v = (z - velocity) / t;
    let total = |along: f64| {
        let h = 1e-4;
        (u(z + h * along, r, t + h) - u(z - h * along, r, t - h)) / (2.0 * h)
    };
    let batch = |value: f64| ImageBatch::from_fn(ImageShape::vector(1), 1, |_, out| out[0] = value as f32);
    let slopes = |path: &LocalPath<'_>, to: &[Sigma]| {
        combine([path.noisy, path.aim], |image| {
            let (from, to) = (f64::from(path.sigma[image].get()), f64::from(to[image].get()));
            move |[x, aim]| (x / 3.0).cos() / 3.0 * (x - aim) - to * from / (1.0 + from).powi(2)
        })
    };
    let split = 0.3;
    let ratio = rule(EVERY[2], Path::Straight, 0.4).ratio();
    assert!((ratio - 0.5 * (0.02f64).powf(0.4)).abs() < 1e-9);
    let alpha = rule(EVERY[3], Path::Straight, 0.4).ratio();
    assert!((alpha - 1.0 / (1.0 + (-2.5f64).exp())).abs() < 1e-9);
    let secant = |a: f64| {
        let between = z - a * (t - r) * v;
        a * v + (1.0 - a) * u(between, r, t - a * (t - r))
    };
    let tangent = {
        let g = (u(z, r, t) - v) + (t - r) * total(v);
        u(z, r, t) - g / (g.abs() + 1.0)
    };
    let middle = t - split * (t - r);
    let near = u(z, middle, t);
    let expected = [
        v - (t - r) * total(v),
        v - (t - r) * total(u(z, t, t)),
        secant(ratio),
        secant(alpha),
        split * near + (1.0 - split) * u(z - (t - middle) * near, r, middle),
        v - (t - r) * total(v),
        tangent,
    ];
    for (target, expected) in
        [EVERY, every(TangentConfig::Forward)].into_iter().flat_map(|every| every.into_iter().zip(expected))
    {
        let jumps = Jumps {
            x: &batch(x),
            from: &[sigma(from)],
            to: &[sigma(to)],
            own: &batch(aim(x, from, to)),
            velocity: &batch(velocity),
            split: &[split],
            line: None,
        };
        let aimed = aimed(&rule(target, Path::Straight, 0.4), &jumps, aims, &slopes);
        let found = (z - f64::from(aimed.values()[0])) / t;
        assert!((found - expected).abs() < 3e-4, "{target:?}: {found} {expected}");
    }
}

/// TiM's target and the continuous consistency model's tangent on TrigFlow, likewise (sigma_data 1).
#[test]
fn targets_on_trigflow_are_those_of_tim_and_of_scm() {
    let aim = |x: f64, from: f64, to: f64| (x / 3.0).sin() + to / (1.0 + from);
    let aims: &Aims<'_> = &|x, from, to| {
        Ok(combine([x], |image| {
            let (from, to) = (f64::from(from[image].get()), f64::from(to[image].get()));
            move |[x]| aim(x, from, to)
        }))
    };
    let (t, r) = (1.1f64, 0.3f64);
    let (y, velocity) = (0.5, -0.3);
    let f = |y: f64, r: f64, t: f64| (t.cos() * y - aim(y / t.cos(), t.tan(), r.tan())) / t.sin();
    let v = (t.cos() * y - velocity) / t.sin();
    let h = 1e-4;
    let total = (f(y + h * v, r, t + h) - f(y - h * v, r, t - h)) / (2.0 * h);
    let expected = v - (t - r).tan() * (y + total);
    let batch = |value: f64| ImageBatch::from_fn(ImageShape::vector(1), 1, |_, out| out[0] = value as f32);
    let x = y / t.cos();
    let jumps = Jumps {
        x: &batch(x),
        from: &[sigma(t.tan())],
        to: &[sigma(r.tan())],
        own: &batch(aim(x, t.tan(), r.tan())),
        velocity: &batch(velocity),
        split: &[0.5],
        line: None,
    };
    let rule = Rule { target: EVERY[5], path: Path::Trig, sigma_data: 1.0, progress: 0.4 };
    let aimed = aimed(&rule, &jumps, aims, &|_, _| unreachable!("by differences"));
    let found = (t.cos() * y - f64::from(aimed.values()[0])) / t.sin();
    assert!((found - expected).abs() < 3e-4, "{found} {expected}");
    // -cos^2 t (F - target) at r = 0 is sCM's g = -cos^2 t (F - v) - cos t sin t (y + dF/dt).
    let (g, tan) = (-(t.cos().powi(2)) * (f(y, r, t) - v) - t.cos() * t.sin() * (y + total), t.tan());
    let target = v - tan * (y + total);
    assert!((g + t.cos().powi(2) * (f(y, r, t) - target)).abs() < 1e-9);
}

#[test]
fn a_bound_on_u_moves_only_targets_beyond_it() {
    let case = cases();
    let rule = rule(
        TwoTimeTarget::AlphaFlow(AlphaFlowConfig { clip: 1.0, ..AlphaFlowConfig::default() }),
        Path::Straight,
        0.4,
    );
    let loose = self::rule(EVERY[3], Path::Straight, 0.4);
    let (bounded, _) = targets(&rule, &case, 0.05);
    let (free, _) = targets(&loose, &case, 0.05);
    let (mut kept, mut moved) = (0, 0);
    for image in 0..case.x.count() {
        let level = f64::from(case.from[image].get());
        let t = level / (1.0 + level);
        for value in 0..3 {
            let u = |aims: &ImageBatch| {
                ((1.0 - t) * f64::from(case.x.image(image)[value]) - f64::from(aims.image(image)[value])) / t
            };
            let (was, is) = (u(&free), u(&bounded));
            if was.abs() > 1.0 {
                assert!((is - 1f64.copysign(was)).abs() < 1e-3 / t, "{was} {is}");
                moved += 1;
            } else {
                assert_eq!(bounded.image(image)[value], free.image(image)[value]);
                kept += 1;
            }
        }
    }
    assert!(kept > 20 && moved > 5, "{kept} {moved}");
}

#[test]
fn a_jump_of_no_length_aims_where_the_velocity_does() {
    let (at, x) = ([sigma(0.7); 2], ImageBatch::from_fn(SHAPE, 2, |image, out| out.fill(image as f32)));
    let velocity = x.clone().map(|x| 0.3 * x - 0.1);
    for target in EVERY {
        let rule = rule(target, Path::Straight, 0.4);
        let (from, to, own, velocity) = (&at, &at, &x, &velocity);
        let jumps = Jumps { x: &x, from, to, own, velocity, split: &[0.5; 2], line: None };
        let of_rule = aimed(&rule, &jumps, &|x, _, _| Ok(x.clone()), &|_, _| unreachable!("by differences"));
        assert_eq!(of_rule, *velocity);
        assert_eq!(rule.worth(at[0], at[0]), (1.0, 1.0));
    }
}
