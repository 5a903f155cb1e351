use super::*;
use crate::buffer::written_by;
use crate::elementwise::testing::*;

/// The truth, one row after the other.
fn softmax_naive<F: Real>(cols: usize, x: &[F]) -> Vec<F> {
    let mut out = Vec::new();
    for row in x.chunks(cols) {
        let max = row.iter().fold(row[0], |m, &v| if v > m { v } else { m });
        let sum = row.iter().fold(F::of(0.0), |s, &v| s + (v - max).exp());
        out.extend(row.iter().map(|&v| (v - max).exp() / sum));
    }
    out
}

fn log_softmax_naive(cols: usize, x: &[f64]) -> Vec<f64> {
    softmax_naive(cols, x).into_iter().map(f64::ln).collect()
}

fn softmax_backward_naive(cols: usize, p: &[f64], g: &[f64]) -> Vec<f64> {
    let rows = p.chunks(cols).zip(g.chunks(cols));
    rows.flat_map(|(p, g)| {
        let dot = weighted_sum(p, g);
        p.iter().zip(g).map(move |(p, g)| p * (g - dot)).collect::<Vec<_>>()
    })
    .collect()
}

fn log_softmax_backward_naive(cols: usize, l: &[f64], g: &[f64]) -> Vec<f64> {
    let rows = l.chunks(cols).zip(g.chunks(cols));
    rows.flat_map(|(l, g)| {
        let sum: f64 = g.iter().sum();
        l.iter().zip(g).map(move |(l, g)| g - l.exp() * sum).collect::<Vec<_>>()
    })
    .collect()
}

const GRID: [(usize, usize); 9] =
    [(0, 3), (1, 1), (3, 2), (5, 10), (3, 15), (3, 16), (3, 17), (7, 300), (4000, 10)];

#[test]
fn agrees_with_the_naive_twin_on_every_instruction_set() {
    for (rows, cols) in GRID {
        let x: Vec<f32> = values(rows * cols, 1).iter().map(|v| v * 5.0).collect();
        let exact = softmax_naive(cols, &wide(&x));
        let narrow = softmax_naive(cols, &x);
        for isa in Isa::available() {
            let p = written_by(x.len(), |out| {
                softmax_on(isa, rows, cols, &x, out);
            });
            assert_close(&p, &exact, 1e-6, &(isa, rows, cols));
            assert_close(&p, &wide(&narrow), 2e-6, &(isa, rows, cols));
        }
    }
}

#[test]
fn gradients_agree_with_the_naive_twins() {
    for (rows, cols) in GRID {
        let (x, g) = (values(rows * cols, 1), values(rows * cols, 2));
        let exact = softmax_naive(cols, &wide(&x));
        let p = written_by(x.len(), |out| softmax(rows, cols, &x, out));
        let dx = written_by(x.len(), |out| softmax_backward(rows, cols, &p, &g, out));
        assert_close(&dx, &softmax_backward_naive(cols, &exact, &wide(&g)), 2e-6, &(rows, cols));
        let l = written_by(x.len(), |out| log_softmax(rows, cols, &x, out));
        let exact = log_softmax_naive(cols, &wide(&x));
        assert_close(&l, &exact, 1e-6, &(rows, cols));
        let dx = written_by(x.len(), |out| log_softmax_backward(rows, cols, &l, &g, out));
        assert_close(&dx, &log_softmax_backward_naive(cols, &exact, &wide(&g)), 5e-6, &(rows, cols));
    }
}

#[test]
fn naive_gradients_are_right() {
    let (cols, x, w) = (4, wide(&values(12, 1)), wide(&values(12, 2)));
    let p = softmax_naive(cols, &x);
    let formula = softmax_backward_naive(cols, &p, &w);
    assert_gradient(|x| weighted_sum(&softmax_naive(cols, x), &w), &x, &formula, &"softmax");
    let l = log_softmax_naive(cols, &x);
    let formula = log_softmax_backward_naive(cols, &l, &w);
    assert_gradient(|x| weighted_sum(&log_softmax_naive(cols, x), &w), &x, &formula, &"log-softmax");
}

#[test]
fn cross_entropy_is_minus_the_log_probability_of_the_label() {
    let (rows, cols) = (5, 7);
    let x = values(rows * cols, 1);
    let labels = [0, 6, 3, 3, 1];
    let g = values(rows, 2);
    let mut losses = vec![f32::NAN; rows];
    let probs = written_by(rows * cols, |out| cross_entropy(rows, cols, &x, &labels, &mut losses, out));
    let loss = |x: &[f64]| {
        let logs = log_softmax_naive(cols, x);
        labels.iter().enumerate().map(|(r, &l)| -logs[r * cols + l as usize]).collect::<Vec<f64>>()
    };
    assert_close(&losses, &loss(&wide(&x)), 1e-6, &"losses");
    let grad = written_by(rows * cols, |out| cross_entropy_backward(rows, cols, &probs, &labels, &g, out));
    let mut exact = softmax_naive(cols, &wide(&x));
    for (i, v) in exact.iter_mut().enumerate() {
        let hit = if labels[i / cols] as usize == i % cols { 1.0 } else { 0.0 };
        *v = f64::from(g[i / cols]) * (*v - hit);
    }
    assert_close(&grad, &exact, 1e-6, &"gradient");
    assert_gradient(|x| weighted_sum(&loss(x), &wide(&g)), &wide(&x), &exact, &"cross-entropy");
}

#[test]
fn a_common_offset_changes_nothing_and_infinities_are_harmless() {
    let x = [1000.0, 1001.0, 999.0, f32::NEG_INFINITY, 0.0, 0.0];
    let p = written_by(6, |out| softmax(2, 3, &x, out));
    let exact = softmax_naive(3, &[1.0, 2.0, 0.0]);
    assert_close(&p[..3], &exact, 1e-6, &"offset");
    assert_eq!(&p[3..], &[0.0, 0.5, 0.5]);
    let mut losses = [f32::NAN; 1];
    let mut probs = [f32::NAN; 3];
    cross_entropy(1, 3, &x[..3], &[2], &mut losses, &mut probs);
    assert_close(&losses, &[-exact[2].ln()], 1e-6, &"the loss does not suffer from the offset");
}

#[test]
fn a_nan_poisons_its_row_only() {
    let mut x = values(60, 1);
    x[25] = f32::NAN;
    let p = written_by(60, |out| softmax(3, 20, &x, out));
    assert!(p[20..40].iter().all(|v| v.is_nan()));
    assert!(p[..20].iter().chain(&p[40..]).all(|v| v.is_finite()));
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let (rows, cols) = (5000, 10);
    let (x, g) = (values(rows * cols, 1), values(rows * cols, 2));
    assert_same_for_any_threads(|| {
        let p = written_by(x.len(), |out| softmax(rows, cols, &x, out));
        written_by(x.len(), |out| softmax_backward(rows, cols, &p, &g, out))
    });
}
