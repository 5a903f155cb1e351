use crate::check::{STORED, assert_close, drawn, in_three_orders, put, tolerance, written};
use cm_kernels::activation as exact;

#[test]
fn non_linearities_are_the_cpu_s() {
    for element in STORED {
        for n in [0, 1, 3, 4, 5, 1023, 1024, 1025, 4099] {
            let x: Vec<f32> = drawn(element, n, 1).iter().map(|x| x * 8.0).collect();
            let g = drawn(element, n, 2);
            let Some(got) = in_three_orders(&(element, n), &|gpu| {
                let (x, g) = (put(gpu, element, &x), put(gpu, element, &g));
                Ok(vec![gpu.silu(&x)?, gpu.silu_backward(&x, &g)?, gpu.relu(&x)?, gpu.relu_backward(&x, &g)?])
            }) else {
                return;
            };
            let all = [
                written(n, |out| exact::silu(&x, out)),
                written(n, |out| exact::silu_backward(&x, &g, out)),
                written(n, |out| exact::relu(&x, out)),
                written(n, |out| exact::relu_backward(&x, &g, out)),
            ];
            for (i, (got, exact)) in got.iter().zip(&all).enumerate() {
                assert_close(got, exact, tolerance(element, 5e-7), &(element, n, i));
            }
        }
    }
}

#[test]
fn far_out_and_no_number() {
    let x = [-1e30, -200.0, -88.0, 0.0, 200.0, 1e30, f32::NAN];
    let Some(got) = in_three_orders(&"far out", &|gpu| {
        let x = gpu.upload(&x)?;
        let ones = gpu.upload(&[1.0_f32; 7])?;
        Ok(vec![gpu.silu(&x)?, gpu.silu_backward(&x, &ones)?, gpu.relu(&x)?])
    }) else {
        return;
    };
    let [silu, slope, relu] = &got[..] else { panic!() };
    assert!(silu[0].abs() < 1e-7 && silu[1].abs() < 1e-35 && silu[3] == 0.0 && silu[4..6] == x[4..6]);
    assert!(slope[1].abs() < 1e-34 && slope[3] == 0.5 && slope[4] == 1.0 && slope[5] == 1.0);
    assert!(silu[6].is_nan() && relu[6].is_nan() && relu[..6] == [0.0, 0.0, 0.0, 0.0, 200.0, 1e30]);
}
