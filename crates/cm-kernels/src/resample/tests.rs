use super::naive::Images;
use super::*;
use crate::buffer::written_by;
use crate::elementwise::testing::*;

type Forward = fn(usize, usize, usize, usize, &[f32], &mut [f32]);
type Twin = fn(&Images<f64>) -> Images<f64>;

const BY_TWO: [(&str, Forward, Forward, Twin); 5] = [
    ("nearest up", nearest_up2, nearest_up2_backward, naive::nearest_up2),
    ("mean down", avg_down2, avg_down2_backward, naive::avg_down2),
    ("fir up", fir_up2, fir_up2_backward, naive::fir_up2),
    ("fir down", fir_down2, fir_down2_backward, naive::fir_down2),
    ("fir smooth", fir_smooth, fir_smooth_backward, naive::fir_smooth),
];

/// The gradient of `weights . twin(x)`: the twins are linear, so it is the value at every unit vector.
fn exact_gradient(size: [usize; 4], weights: &[f64], twin: impl Fn(&Images<f64>) -> Images<f64>) -> Vec<f64> {
    let len = size.iter().product();
    let unit = |i: usize| {
        let mut data = vec![0.0; len];
        data[i] = 1.0;
        weighted_sum(&twin(&Images { size, data }).data, weights)
    };
    (0..len).map(unit).collect()
}

#[test]
fn factors_of_two_agree_with_the_naive_twins() {
    for (name, forward, _, twin) in BY_TWO {
        for (batch, h, w) in [(0, 2, 2), (1, 2, 2), (3, 2, 6), (2, 8, 4), (1, 0, 0)] {
            for channels in [1, 3, 15, 16, 17] {
                if name.starts_with("fir") && h == 0 {
                    continue; // the twin would filter padding alone
                }
                let size = [batch, h, w, channels];
                let x = values(size.iter().product(), 1);
                let exact = twin(&Images { size, data: wide(&x) });
                let out = written_by(exact.data.len(), |out| forward(batch, h, w, channels, &x, out));
                assert_close(&out, &exact.data, 1e-6, &(name, size));
            }
        }
    }
}

#[test]
fn factors_of_two_have_the_right_gradients() {
    for (name, _, backward, twin) in BY_TWO {
        for size in [[1, 2, 2, 1], [2, 4, 6, 3], [1, 6, 4, 2]] {
            let [batch, h, w, channels] = size;
            let len: usize = size.iter().product();
            let out_len = twin(&Images { size, data: vec![0.0; len] }).data.len();
            let g = values(out_len, 2);
            let grad = written_by(len, |out| backward(batch, h, w, channels, &g, out));
            assert_close(&grad, &exact_gradient(size, &wide(&g), twin), 1e-6, &(name, size));
        }
    }
}

#[test]
fn bilinear_agrees_with_the_naive_twin_both_ways() {
    for (from, to) in [
        ((1, 1), (3, 2)),
        ((2, 2), (4, 4)),
        ((4, 5), (7, 3)),
        ((8, 6), (3, 4)),
        ((5, 5), (5, 5)),
        ((3, 3), (0, 2)),
    ] {
        for (batch, channels) in [(0, 2), (2, 1), (1, 16), (2, 17)] {
            let size = [batch, from.0, from.1, channels];
            let len: usize = size.iter().product();
            let x = values(len, 1);
            let exact = naive::bilinear(&Images { size, data: wide(&x) }, to).data;
            let out = written_by(exact.len(), |out| bilinear(batch, from, to, channels, &x, out));
            assert_close(&out, &exact, 1e-6, &(from, to, batch, channels));
            if channels < 16 {
                let g = values(exact.len(), 2);
                let grad = written_by(len, |out| bilinear_backward(batch, from, to, channels, &g, out));
                let exact = exact_gradient(size, &wide(&g), |image| naive::bilinear(image, to));
                assert_close(&grad, &exact, 1e-6, &(from, to, batch, channels));
            }
        }
    }
}

#[test]
fn corners_agree_with_the_naive_twin() {
    for (from, to) in
        [((1, 1), (3, 2)), ((4, 5), (7, 3)), ((8, 6), (3, 4)), ((5, 5), (5, 5)), ((32, 32), (299, 299))]
    {
        let size = [2, from.0, from.1, 3];
        let x = values(size.iter().product(), 1);
        let exact = naive::bilinear_corners(&Images { size, data: wide(&x) }, to).data;
        let out = written_by(exact.len(), |out| {
            resize(Interpolation::BilinearCorners, 2, from, to, 3, &x, out);
        });
        assert_close(&out, &exact, 1e-6, &(from, to));
    }
}

/// The fixture is by `scripts/parity/resize.py`: TensorFlow 1's formula, and the Python Imaging Library itself.
#[test]
fn published_interpolations_are_reproduced() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/parity/resize.csv");
    let text = std::fs::read_to_string(path).unwrap();
    let mut cases = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [height, width, to_height, to_width] = [1, 2, 3, 4].map(|i| fields[i].parse::<usize>().unwrap());
        let how = match fields[0] {
            "corners" => Interpolation::BilinearCorners,
            "bicubic" => Interpolation::BicubicSmooth,
            other => panic!("{other}"),
        };
        let x: Vec<f32> = (0..height * width)
            .map(|i| (i / width, i % width))
            .map(|(y, x)| ((5 * y * y + 7 * x * (y + 3)) % 64) as f32)
            .collect();
        let exact: Vec<f64> = fields[5].split(' ').map(|value| value.parse().unwrap()).collect();
        let to = (to_height, to_width);
        let out = written_by(exact.len(), |out| resize(how, 1, (height, width), to, 1, &x, out));
        for (value, exact) in out.iter().zip(&exact) {
            // Values are up to 63; the references are in single precision.
            assert!((f64::from(*value) - exact).abs() < 5e-5, "{line}\n{out:?}");
        }
        cases += 1;
    }
    assert_eq!(cases, 8);
}

#[test]
fn smooth_reduction_keeps_constants_and_straight_lines() {
    let ramp: Vec<f32> = (0..64).map(|i| i as f32).collect();
    let out = written_by(16, |out| resize(Interpolation::BicubicSmooth, 1, (1, 64), (1, 16), 1, &ramp, out));
    for (o, value) in out.iter().enumerate().take(14).skip(2) {
        assert!((value - (4.0 * o as f32 + 1.5)).abs() < 1e-4, "{out:?}");
    }
    let out =
        written_by(49, |out| resize(Interpolation::BicubicSmooth, 1, (3, 3), (7, 7), 1, &[0.75; 9], out));
    assert!(out.iter().all(|v| (v - 0.75).abs() < 1e-6), "{out:?}");
}

#[test]
fn known_values() {
    let out = written_by(8, |out| bilinear(1, (1, 4), (1, 8), 1, &[0.0, 1.0, 2.0, 3.0], out));
    assert_eq!(out, [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]);
    // A constant survives up-sampling away from the border, and loses a quarter per side at it.
    let out = written_by(64, |out| fir_up2(1, 4, 4, 1, &[1.0; 16], out));
    assert_eq!((out[0], out[1], out[9]), (0.5625, 0.75, 1.0));
    assert_eq!(written_by(1, |out| avg_down2(1, 2, 2, 1, &[1.0, 2.0, 3.0, 6.0], out)), [3.0]);
}

#[test]
fn the_single_precision_twins_and_every_instruction_set_agree() {
    let size = [2, 6, 4, 17];
    let x = values(size.iter().product(), 1);
    let exact = naive::fir_down2(&Images { size, data: wide(&x) }).data;
    let narrow = naive::fir_down2(&Images { size, data: x.clone() }).data;
    assert_close(&narrow, &exact, 1e-6, &"twin");
    for isa in Isa::available() {
        let (rows, columns) = (Axis::fir_down2(6), Axis::fir_down2(4));
        let out = written_by(exact.len(), |out| apply_on(isa, 2, 17, &rows, &columns, &x, out));
        assert_close(&out, &exact, 1e-6, &isa);
    }
}

#[test]
#[should_panic(expected = "odd side 5")]
fn an_odd_image_cannot_be_halved() {
    avg_down2(1, 5, 4, 1, &[0.0; 20], &mut [0.0; 4]);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let (batch, side, channels) = (5, 32, 17);
    let x = values(batch * side * side * channels, 1);
    assert_same_for_any_threads(|| {
        let mut all = written_by(x.len() / 4, |out| fir_down2(batch, side, side, channels, &x, out));
        all.extend(written_by(x.len() * 4, |out| fir_up2(batch, side, side, channels, &x, out)));
        all
    });
}
