use crate::check::{STORED, drawn, in_three_orders, put, stored, written};

#[test]
fn masks_are_the_cpu_s_to_the_bit() {
    for element in STORED {
        for (n, key, p) in
            [(0, 1, 0.5), (1, 2, 0.13), (4097, 3, 0.13), (70_000, u64::MAX, 0.5), (9000, 5, 0.0)]
        {
            let x = drawn(element, n, key & 0xff);
            let Some(got) = in_three_orders(&(element, n), &|gpu| {
                Ok(vec![gpu.dropout(key, p, &put(gpu, element, &x))?])
            }) else {
                return;
            };
            let exact = stored(element, written(n, |out| cm_kernels::dropout::dropout(key, p, &x, out)));
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert!(bits(&got[0]) == bits(&exact), "{element:?}, {n} values");
        }
    }
}
