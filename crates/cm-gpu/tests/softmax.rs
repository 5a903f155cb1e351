use crate::check::{STORED, assert_close, drawn, in_three_orders, put, tolerance, values};
use cm_kernels::softmax as exact;

#[test]
fn the_classifier_s_loss_is_the_cpu_s() {
    for element in STORED {
        for (rows, classes) in [(0, 1), (1, 1), (3, 10), (5, 33), (2, 1000)] {
            let logits: Vec<f32> = drawn(element, rows * classes, 1).iter().map(|x| x * 8.0).collect();
            let labels: Vec<u32> = (0..rows).map(|row| (row * 7 % classes) as u32).collect();
            let g = values(rows, 2);
            let Some(got) = in_three_orders(&(element, rows, classes), &|gpu| {
                let (x, labels) = (put(gpu, element, &logits), gpu.upload(&labels)?);
                let (losses, probabilities) = gpu.cross_entropy(&x, &labels)?;
                let grad = gpu.cross_entropy_backward(element, &probabilities, &labels, &gpu.upload(&g)?)?;
                Ok(vec![losses, probabilities, grad])
            }) else {
                return;
            };
            let (mut losses, mut probabilities) = (vec![0.0; rows], vec![0.0; rows * classes]);
            exact::cross_entropy(rows, classes, &logits, &labels, &mut losses, &mut probabilities);
            let mut grad = vec![0.0; rows * classes];
            exact::cross_entropy_backward(rows, classes, &probabilities, &labels, &g, &mut grad);
            assert_close(&got[0], &losses, 1e-6, &(element, rows, classes));
            assert_close(&got[1], &probabilities, 1e-6, &(element, rows, classes));
            assert_close(&got[2], &grad, tolerance(element, 1e-6), &(element, rows, classes));
        }
    }
}
