use super::testing::*;
use super::*;
use crate::buffer::written_by;

#[test]
fn sums_and_products_by_hand() {
    let (a, b) = ([1.0, 2.0, 3.0], [10.0, 20.0, 30.0]);
    assert_eq!(written_by(3, |out| add(&a, &b, 0.5, out)), [5.5, 11.0, 16.5]);
    assert_eq!(written_by(3, |out| scaled(&a, -2.0, out)), [-2.0, -4.0, -6.0]);
    assert_eq!(written_by(3, |out| mul(&a, &b, out)), [10.0, 40.0, 90.0]);
    let mut acc = a.to_vec();
    add_assign(&mut acc, &b);
    assert_eq!(acc, [11.0, 22.0, 33.0]);
    mul_assign(&mut acc, &a);
    assert_eq!(acc, [11.0, 44.0, 99.0]);
    lerp(&mut acc, &[1.0, 4.0, 9.0], 0.5);
    assert_eq!(acc, [6.0, 24.0, 54.0]);
}

#[test]
fn rows_by_hand() {
    let x = [1.0, 2.0, 3.0, 4.0];
    let y = [1.0, 1.0, 2.0, 2.0];
    let out = written_by(4, |out| rows_scale_add(2, &[2.0, 10.0], &x, &[1.0, -1.0], &y, out));
    assert_eq!(out, [3.0, 5.0, 28.0, 38.0]);
    assert_eq!(written_by(4, |out| rows_scale(2, &[2.0, 10.0], &x, out)), [2.0, 4.0, 30.0, 40.0]);
    assert_eq!(written_by(2, |out| rows_dot(2, &x, &y, out)), [3.0, 14.0]);
    assert_eq!(written_by(0, |out| rows_dot(0, &[], &[], out)), [0.0; 0]);
    assert_eq!(written_by(3, |out| rows_dot(3, &[], &[], out)), [0.0; 3]);
}

#[test]
fn long_slices_equal_the_plain_loop() {
    let n = 3 * PIECE + 17;
    let (a, b) = (values(n, 1), values(n, 2));
    let out = written_by(n, |out| add(&a, &b, 0.7, out));
    assert!(out.iter().zip(a.iter().zip(&b)).all(|(o, (a, b))| *o == 0.7 * (a + b)));
    let exact: f64 = a.iter().map(|&v| f64::from(v)).sum();
    // Only the order of the additions differs.
    assert!((sum(&a) - exact).abs() < 1e-15 * n as f64);
    let exact: f64 = a.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    assert!((sum_squares(&a) / exact - 1.0).abs() < 1e-12);
    assert_eq!((sum(&[]), sum_squares(&[])), (0.0, 0.0));
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    use crate::dispatch::Isa;
    let (x, y) = (values(1003, 1), values(1003, 2));
    for isa in Isa::available() {
        assert_eq!(dot_piece(isa, &x, &y).to_bits(), dot_piece(Isa::Portable, &x, &y).to_bits());
        let on = |isa| {
            let mut out = vec![0.0; 1003];
            combine_piece(isa, 0.3, &x, 0.7, &y, &mut out);
            out
        };
        assert_eq!(on(isa), on(Isa::Portable));
    }
}

#[test]
fn channels_join_and_split() {
    for (pixels, ca, cb) in [(0, 3, 2), (1, 3, 0), (5, 1, 2), (3000, 16, 8)] {
        let (a, b) = (values(pixels * ca, 1), values(pixels * cb, 2));
        let joined =
            written_by(pixels * (ca + cb), |out| concat_channels(pixels, &[(&a, ca), (&b, cb)], out));
        for (i, pixel) in joined.chunks(ca + cb).enumerate() {
            assert_eq!(pixel[..ca], a[i * ca..(i + 1) * ca]);
            assert_eq!(pixel[ca..], b[i * cb..(i + 1) * cb]);
        }
        let (mut back_a, mut back_b) = (vec![f32::NAN; a.len()], vec![f32::NAN; b.len()]);
        split_channels(pixels, ca, cb, &joined, &mut back_a, &mut back_b);
        assert_eq!((back_a, back_b), (a, b));
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let n = 5 * PIECE + 3;
    let (x, y) = (values(n, 1), values(n, 2));
    assert_same_for_any_threads(|| {
        let mut out = x.clone();
        add_assign(&mut out, &y);
        lerp(&mut out, &x, 0.1);
        out.push(sum(&x) as f32);
        out.push(sum_squares(&y) as f32);
        out
    });
}
