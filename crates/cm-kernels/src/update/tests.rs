use super::naive::State;
use super::*;
use crate::elementwise::testing::*;

fn rule(rectified: bool, weight_decay: f32, step: u64) -> Rule {
    let (lr, beta1, beta2, eps) = (0.01, 0.9, 0.999, 1e-8);
    if rectified {
        Rule::RAdam { lr, beta1, beta2, eps, weight_decay, step }
    } else {
        Rule::Adam { lr, beta1, beta2, eps, weight_decay, step }
    }
}

/// Parameter, moments and an average after `steps` steps with gradients that change.
fn run(isa: Isa, n: usize, rectified: bool, weight_decay: f32, steps: u64) -> [Vec<f32>; 4] {
    let mut parameter = values(n, 0);
    let (mut first, mut second, mut average) = (vec![0.0; n], vec![0.0; n], parameter.clone());
    for step in 1..=steps {
        let gradient = values(n, step);
        let slices = Slices {
            parameter: &mut parameter,
            gradient: &gradient,
            first_moment: &mut first,
            second_moment: &mut second,
            averages: &mut [(&mut average, 0.95)],
        };
        apply_on(isa, &rule(rectified, weight_decay, step), 0.5, slices);
    }
    [parameter, first, second, average]
}

#[test]
fn agrees_with_the_naive_twin_before_and_after_the_threshold() {
    for (rectified, weight_decay) in [(false, 0.0), (false, 0.1), (true, 0.0), (true, 0.1)] {
        for n in [0, 1, 15, 16, 17, 100] {
            // RAdam with beta2 = 0.999 becomes adaptive at step 6.
            for steps in [1, 5, 6, 40] {
                let mut exact = [vec![], vec![], vec![], vec![]];
                for (i, &p) in values(n, 0).iter().enumerate() {
                    let p = f64::from(p);
                    let mut state = State { parameter: p, first: 0.0, second: 0.0, average: p };
                    for step in 1..=steps {
                        let gradient = 0.5 * f64::from(values(n, step)[i]);
                        naive::step(
                            &rule(rectified, weight_decay, step),
                            gradient,
                            f64::from(0.95_f32),
                            &mut state,
                        );
                    }
                    for (list, v) in
                        exact.iter_mut().zip([state.parameter, state.first, state.second, state.average])
                    {
                        list.push(v);
                    }
                }
                for isa in Isa::available() {
                    let got = run(isa, n, rectified, weight_decay, steps);
                    for (got, exact) in got.iter().zip(&exact) {
                        // 1 - beta2 = 0.001 carries the rounding of beta2, in the twin too: both start from f32.
                        assert_close(got, exact, 2e-6, &(isa, rectified, weight_decay, n, steps));
                    }
                }
            }
        }
    }
}

#[test]
fn the_single_precision_twin_agrees_too() {
    let mut narrow = State { parameter: 0.3_f32, first: 0.0, second: 0.0, average: 0.3 };
    let mut wide =
        State { parameter: f64::from(0.3_f32), first: 0.0, second: 0.0, average: f64::from(0.3_f32) };
    for step in 1..=20 {
        let g = (step as f32).sin();
        naive::step(&rule(true, 0.0, step), g, 0.9, &mut narrow);
        naive::step(&rule(true, 0.0, step), f64::from(g), f64::from(0.9_f32), &mut wide);
    }
    assert!((f64::from(narrow.parameter) - wide.parameter).abs() < 1e-5);
    assert!((f64::from(narrow.average) - wide.average).abs() < 1e-5);
}

#[test]
fn radam_turns_adaptive_at_step_six() {
    let adaptive = |step| Coefficients::new(&rule(true, 0.0, step), 1.0).adaptive;
    assert!(!adaptive(1) && !adaptive(5) && adaptive(6) && adaptive(1_000_000) && adaptive(u64::MAX));
    // Far along, RAdam is Adam.
    let (a, b) = (rule(true, 0.0, 1_000_000), rule(false, 0.0, 1_000_000));
    let (a, b) = (Coefficients::new(&a, 1.0), Coefficients::new(&b, 1.0));
    assert!((a.rate / b.rate - 1.0).abs() < 1e-6 && a.root_scale == b.root_scale);
}

#[test]
fn the_first_adam_step_has_the_length_of_the_learning_rate() {
    let (mut p, mut m, mut v) = ([0.0], [0.0], [0.0]);
    let slices = Slices {
        parameter: &mut p,
        gradient: &[-123.0],
        first_moment: &mut m,
        second_moment: &mut v,
        averages: &mut [],
    };
    apply(&rule(false, 0.0, 1), 1.0, slices);
    assert!((p[0] - 0.01).abs() < 1e-8);
}

#[test]
fn decays_of_zero_and_one_copy_and_keep() {
    let n = 50;
    let (mut p, mut m, mut v) = (values(n, 0), vec![0.0; n], vec![0.0; n]);
    let (mut copy, mut kept) = (values(n, 7), values(n, 8));
    let slices = Slices {
        parameter: &mut p,
        gradient: &values(n, 1),
        first_moment: &mut m,
        second_moment: &mut v,
        averages: &mut [(&mut copy, 0.0), (&mut kept, 1.0)],
    };
    apply(&rule(true, 0.0, 9), 1.0, slices);
    assert_eq!(copy, p);
    assert_eq!(kept, values(n, 8));
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    assert_same_for_any_threads(|| run(isa(), 3 * PIECE + 5, true, 0.01, 7).concat());
}
