use super::*;
use crate::buffer::written_by;
use crate::elementwise::testing::*;

fn of(isa: Isa, window: &StripWindow, size: [usize; 3]) -> (Vec<f32>, Vec<f32>, Vec<f32>, Vec<f32>) {
    let pixels: usize = size.iter().product();
    let x = values(pixels * window.in_channels, 1);
    let (weight, bias) = (values(window.weight_len(), 2), values(window.out_channels, 3));
    let conv = StripConv::on(isa, *window, &weight, &bias);
    let out = written_by(pixels * window.out_channels, |out| conv.forward_relu(size, &x, out));
    (x, weight, bias, out)
}

fn every_window() -> impl Iterator<Item = StripWindow> {
    [Direction::Column, Direction::Row].into_iter().flat_map(|direction| {
        [3, 5, 7].into_iter().flat_map(move |length| {
            [1, 3, 5].into_iter().map(move |lines| StripWindow {
                direction,
                length,
                lines,
                in_channels: 1,
                out_channels: 1,
            })
        })
    })
}

#[test]
fn agrees_with_the_naive_twin_both_ways() {
    for window in every_window() {
        for size in [[0, 3, 3], [1, 1, 1], [3, 2, 5], [2, 8, 8], [1, 17, 3], [3, 4, 9]] {
            for (in_channels, out_channels) in [(1, 1), (3, 17), (16, 15)] {
                let window = StripWindow { in_channels, out_channels, ..window };
                for isa in Isa::available() {
                    let (x, weight, bias, out) = of(isa, &window, size);
                    let exact = naive::forward_relu(&window, size, &wide(&x), &wide(&weight), &wide(&bias));
                    // The error of minimal filtering, see `filter`.
                    assert_close(&out, &exact, 1e-5, &(isa, window, size));
                }
            }
        }
    }
}

/// Sizes that take several blocks, of several images.
#[test]
fn blocks_meet_without_a_seam() {
    for lines in [1, 5] {
        let window =
            StripWindow { direction: Direction::Row, length: 5, lines, in_channels: 40, out_channels: 33 };
        let size = [3, 19, 37];
        let (x, weight, bias, out) = of(isa(), &window, size);
        let exact = naive::forward_relu(&window, size, &wide(&x), &wide(&weight), &wide(&bias));
        assert_close(&out, &exact, 1e-5, &window);
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for window in every_window() {
        let window = StripWindow { in_channels: 24, out_channels: 24, ..window };
        assert_same_for_any_threads(|| of(isa(), &window, [7, 17, 17]).3);
    }
}

#[test]
fn nan_stays_nan_and_reaches_its_window() {
    let window =
        StripWindow { direction: Direction::Row, length: 3, lines: 1, in_channels: 1, out_channels: 1 };
    let conv = StripConv::new(window, &[1.0, 1.0, 1.0], &[0.0]);
    let mut x = [1.0; 16];
    x[8] = f32::NAN;
    let out = written_by(16, |out| conv.forward_relu([1, 1, 16], &x, out));
    assert!(out[7..10].iter().all(|v| v.is_nan()));
    assert!(out[..4].iter().all(|&v| (v - 3.0).abs() <= 1.0));
}

#[test]
#[should_panic(expected = "lines of 4 pixels")]
fn unknown_lengths_are_refused() {
    let window =
        StripWindow { direction: Direction::Row, length: 4, lines: 1, in_channels: 1, out_channels: 1 };
    StripConv::new(window, &[0.0; 4], &[0.0]);
}
