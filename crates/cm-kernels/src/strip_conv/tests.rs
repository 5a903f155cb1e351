use super::*;
use crate::buffer::written_by;
use crate::elementwise::testing::*;

fn of(isa: Isa, shape: &StripShape) -> (Vec<f32>, Vec<f32>, Vec<f32>, Vec<f32>) {
    let x = values(shape.batch * shape.pixels() * shape.in_channels, 1);
    let (weight, bias) = (values(shape.weight_len(), 2), values(shape.out_channels, 3));
    let out = written_by(shape.batch * shape.pixels() * shape.out_channels, |out| {
        forward_relu_on(isa, shape, &x, &weight, &bias, out);
    });
    (x, weight, bias, out)
}

#[test]
fn agrees_with_the_naive_twin_both_ways() {
    for strip in [Strip::Column, Strip::Row] {
        for length in [1, 3, 7] {
            for (height, width) in [(1, 1), (2, 5), (8, 8), (17, 3)] {
                for (in_channels, out_channels) in [(1, 1), (3, 17), (16, 15)] {
                    for batch in [0, 1, 3] {
                        let shape =
                            StripShape { batch, height, width, in_channels, out_channels, strip, length };
                        for isa in Isa::available() {
                            let (x, weight, bias, out) = of(isa, &shape);
                            let exact = naive::forward_relu(&shape, &wide(&x), &wide(&weight), &wide(&bias));
                            assert_close(&out, &exact, 5e-6, &(isa, shape));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for strip in [Strip::Column, Strip::Row] {
        let shape = StripShape {
            batch: 7,
            height: 17,
            width: 17,
            in_channels: 24,
            out_channels: 24,
            strip,
            length: 7,
        };
        assert_same_for_any_threads(|| of(isa(), &shape).3);
    }
}
