use crate::check::{STORED, assert_close, drawn, in_three_orders, put, stored, tolerance, values, written};
use cm_gpu::Element;
use cm_kernels::elementwise as exact;

#[test]
fn sums_and_scalings_are_the_cpu_s() {
    for element in STORED {
        for n in [0, 1, 5, 1024, 2051] {
            let (a, b) = (drawn(element, n, 1), drawn(element, n, 2));
            let Some(got) = in_three_orders(&(element, n), &|gpu| {
                let (x, y) = (put(gpu, element, &a), put(gpu, element, &b));
                let (mut sum, mut mean) = (gpu.copied(&x)?, gpu.copied(&x)?);
                gpu.add_assign(&mut sum, &y)?;
                gpu.interpolate(&mut mean, &y, 0.3)?;
                Ok(vec![gpu.add(&x, &y, 0.7)?, gpu.scaled(&x, -1.5)?, gpu.multiply(&x, &y)?, sum, mean])
            }) else {
                return;
            };
            let assigned = |work: fn(&mut [f32], &[f32])| {
                let mut acc = a.clone();
                work(&mut acc, &b);
                acc
            };
            let all = [
                written(n, |out| exact::add(&a, &b, 0.7, out)),
                written(n, |out| exact::scaled(&a, -1.5, out)),
                written(n, |out| exact::mul(&a, &b, out)),
                assigned(exact::add_assign),
                assigned(|acc, x| exact::lerp(acc, x, 0.3)),
            ];
            for (i, (got, exact)) in got.iter().zip(&all).enumerate() {
                assert_close(got, exact, tolerance(element, 2e-7), &(element, n, i));
            }
        }
    }
}

#[test]
fn rows_have_factors_of_their_own() {
    for element in STORED {
        for (rows, row) in [(0, 5), (1, 1), (3, 7), (5, 300), (2, 0)] {
            let n = rows * row;
            let (x, y) = (drawn(element, n, 1), drawn(element, n, 2));
            let (a, b) = (values(rows, 3), values(rows, 4));
            let Some(got) = in_three_orders(&(element, rows, row), &|gpu| {
                let (x, y) = (put(gpu, element, &x), put(gpu, element, &y));
                let (a, b) = (gpu.upload(&a)?, gpu.upload(&b)?);
                Ok(vec![gpu.rows_scale_add(&a, &x, Some((&b, &y)))?, gpu.rows_scale_add(&a, &x, None)?])
            }) else {
                return;
            };
            let both = written(n, |out| exact::rows_scale_add(rows, &a, &x, &b, &y, out));
            let one = written(n, |out| exact::rows_scale(rows, &a, &x, out));
            assert_close(&got[0], &both, tolerance(element, 2e-7), &(element, rows, row));
            assert_close(&got[1], &one, tolerance(element, 2e-7), &(element, rows, row));
        }
    }
}

#[test]
fn channels_are_joined_split_and_scaled() {
    for element in STORED {
        for (pixels, ca, cb) in [(0, 3, 2), (1, 1, 1), (7, 3, 5), (33, 16, 17)] {
            let (a, b) = (drawn(element, pixels * ca, 1), drawn(element, pixels * cb, 2));
            let (scale, shift) = (values(ca, 3), values(ca, 4));
            let Some(got) = in_three_orders(&(element, pixels, ca, cb), &|gpu| {
                let (x, y) = (put(gpu, element, &a), put(gpu, element, &b));
                let joined = gpu.concat_channels(pixels, &x, &y)?;
                let (scale, shift) = (gpu.upload(&scale)?, gpu.upload(&shift)?);
                let first = gpu.slice_channels(&joined, ca + cb, 0, ca)?;
                let second = gpu.slice_channels(&joined, ca + cb, ca, cb)?;
                let affine = gpu.affine_channels(ca, &x, &scale, &shift)?;
                let back = gpu.affine_channels_backward(ca, &scale, &x)?;
                let one = gpu.slice_channels(&x, ca, 0, 1)?;
                let grey = gpu.affine_channels(1, &one, &scale, &shift)?;
                let grey_back = gpu.affine_channels_backward(1, &scale, &x)?;
                Ok(vec![joined, first, second, affine, back, grey, grey_back])
            }) else {
                return;
            };
            let joined = written(pixels * (ca + cb), |out| {
                exact::concat_channels(pixels, &[(&a, ca), (&b, cb)], out);
            });
            assert_eq!(got[..3], [joined, a.clone(), b.clone()]);
            let each = |f: &dyn Fn(usize, f32) -> f32| -> Vec<f32> {
                a.iter().enumerate().map(|(i, &x)| f(i, x)).collect()
            };
            let affine = each(&|i, x| scale[i % ca] * x + shift[i % ca]);
            let back = each(&|i, x| scale[i % ca] * x);
            let grey = each(&|i, _| scale[i % ca] * a[i / ca * ca] + shift[i % ca]);
            let grey_back: Vec<f32> = back.chunks(ca).map(|pixel| pixel.iter().sum()).collect();
            for (i, (got, exact)) in got[3..].iter().zip([affine, back, grey, grey_back]).enumerate() {
                assert_close(got, &exact, tolerance(element, 3e-7), &(element, pixels, ca, i));
            }
        }
    }
}

#[test]
fn conversions_round_to_nearest_even_and_keep_what_is_no_number() {
    let mut x = values(1030, 1);
    let between = |steps: f32| 1.0 + steps / 256.0;
    let ties = [between(1.0), between(3.0), -between(1.0), 3.4e38, f32::INFINITY, -0.0, 1e-40, f32::NAN];
    x.extend(ties);
    let Some(got) = in_three_orders(&"conversions", &|gpu| {
        let narrow = gpu.converted(&gpu.upload(&x)?, Element::Bf16)?;
        Ok(vec![gpu.converted(&narrow, Element::F32)?, narrow])
    }) else {
        return;
    };
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let expected = stored(Element::Bf16, x);
    assert_eq!(bits(&got[0]), bits(&expected));
    assert_eq!(bits(&got[1]), bits(&expected));
    assert_eq!(expected[1030..1032], [1.0, 1.015_625], "ties go to the even one");
}
