use crate::check::{assert_close, error, in_three_orders, values};
use cm_gpu::update::{Parameter, Rule};
use cm_gpu::{Buffer, Element};
use cm_kernels::update as exact;

const DECAYS: [f32; 2] = [0.99, 0.0];
const LENGTHS: [usize; 5] = [1, 37, 4096, 4097, 0];

/// A parameter of the CPU with all that belongs to it.
#[derive(Clone)]
struct State {
    parameter: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    averages: [Vec<f32>; 2],
}

fn start(number: usize) -> State {
    let len = LENGTHS[number];
    let parameter = values(len, number as u64);
    let averages = [parameter.clone(), parameter.clone()];
    State { parameter, first: vec![0.0; len], second: vec![0.0; len], averages }
}

fn gradient(number: usize, step: u64) -> Vec<f32> {
    values(LENGTHS[number], 100 * step + number as u64)
}

fn decay(number: usize, weight_decay: f32) -> f32 {
    if number == 1 { 0.0 } else { weight_decay }
}

#[test]
fn ten_steps_are_the_cpu_s() {
    for (rectified, weight_decay) in [(false, 0.0), (false, 0.1), (true, 0.1)] {
        let rule = |step| Rule { rectified, lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, step };
        let Some(got) = in_three_orders(&rule(1), &|gpu| {
            let states: Vec<State> = (0..LENGTHS.len()).map(start).collect();
            let up = |values: &[f32]| gpu.upload(values);
            let mut all: Vec<Vec<Buffer>> = Vec::new();
            for s in &states {
                let mut row = vec![up(&s.parameter)?, up(&s.first)?, up(&s.second)?];
                row.extend([up(&s.averages[0])?, up(&s.averages[1])?]);
                row.push(gpu.unwritten(Element::Bf16, s.parameter.len())?);
                all.push(row);
            }
            let factor = up(&[0.5])?;
            for step in 1..=10 {
                let gradients: Vec<Buffer> =
                    (0..LENGTHS.len()).map(|number| gpu.upload(&gradient(number, step)).unwrap()).collect();
                let mut parameters: Vec<Parameter> = all
                    .iter_mut()
                    .zip(&gradients)
                    .enumerate()
                    .map(|(number, (row, gradient))| {
                        let [value, first_moment, second_moment, slow, target, copy] = &mut row[..] else {
                            panic!()
                        };
                        let (averages, copy) = (vec![slow, target], (number != 2).then_some(copy));
                        let weight_decay = decay(number, weight_decay);
                        Parameter {
                            value,
                            gradient,
                            first_moment,
                            second_moment,
                            averages,
                            copy,
                            weight_decay,
                        }
                    })
                    .collect();
                gpu.update(&rule(step), &factor, &DECAYS, &mut parameters)?;
            }
            // The copy that was not wanted was not written.
            all[2].pop();
            Ok(all.into_iter().flatten().collect())
        }) else {
            return;
        };
        let mut got = got.into_iter();
        for number in 0..LENGTHS.len() {
            let mut s = start(number);
            for step in 1..=10 {
                let Rule { lr, beta1, beta2, eps, .. } = rule(step);
                let weight_decay = decay(number, weight_decay);
                let rule = if rectified {
                    exact::Rule::RAdam { lr, beta1, beta2, eps, weight_decay, step }
                } else {
                    exact::Rule::Adam { lr, beta1, beta2, eps, weight_decay, step }
                };
                let [slow, target] = &mut s.averages;
                let slices = exact::Slices {
                    parameter: &mut s.parameter,
                    gradient: &gradient(number, step),
                    first_moment: &mut s.first,
                    second_moment: &mut s.second,
                    averages: &mut [(slow, DECAYS[0]), (target, DECAYS[1])],
                };
                exact::apply(&rule, 0.5, slices);
            }
            let [slow, target] = s.averages;
            for exact in [&s.parameter, &s.first, &s.second, &slow, &target] {
                let got = got.next().unwrap();
                assert_close(&got, exact, 1e-6, &(number, rectified, weight_decay));
            }
            if number != 2 {
                assert!(error(&got.next().unwrap(), &s.parameter) < 4e-3);
            }
            assert_eq!(s.parameter, target, "a decay of 0 copies");
        }
    }
}

#[test]
fn gradients_are_clipped_by_the_norm_of_all() {
    let gradients: Vec<Vec<f32>> = (0..LENGTHS.len()).map(|number| gradient(number, 3)).collect();
    let square: f64 = gradients.iter().map(|g| cm_kernels::elementwise::sum_squares(g)).sum();
    let norm = square.sqrt();
    for (most, expected) in [(1.0, 1.0 / norm), (1e6, 1.0)] {
        let Some(got) = in_three_orders(&most, &|gpu| {
            let there: Vec<Buffer> = gradients.iter().map(|g| gpu.upload(g).unwrap()).collect();
            let (norm, factor) = gpu.gradient_norm(most, &there.iter().collect::<Vec<_>>())?;
            Ok(vec![norm, factor])
        }) else {
            return;
        };
        assert!((f64::from(got[0][0]) / norm - 1.0).abs() < 1e-6);
        assert!((f64::from(got[1][0]) / expected - 1.0).abs() < 1e-6);
    }
}
