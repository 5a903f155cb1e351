//! The loss of a classifier.

use crate::source::{SOFTMAX, Variant};
use crate::{Buffer, Element, Gpu, GpuError};

impl Gpu {
    /// -ln of the probability of each row's label, and all probabilities, \[rows, classes\], for the backward pass; both
    /// in single precision. `labels`: a number below `classes` for each row.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit.
    pub fn cross_entropy(&self, logits: &Buffer, labels: &Buffer) -> Result<(Buffer, Buffer), GpuError> {
        let rows = labels.len();
        let whole = if rows == 0 { logits.is_empty() } else { logits.len().is_multiple_of(rows) };
        assert!(whole && (rows == 0 || !logits.is_empty()), "{rows} whole rows of logits");
        let classes = logits.len().checked_div(rows).unwrap_or(1);
        let mut losses = self.unwritten(Element::F32, rows)?;
        let mut probabilities = self.unwritten(Element::F32, logits.len())?;
        let launch = self.launch(&SOFTMAX, Variant::of(logits.element()), "cross_entropy")?;
        let launch = launch.read(logits).read(labels).write(&mut losses).write(&mut probabilities);
        launch.int(rows).int(classes).grid([rows.div_ceil(4), 1, 1], 0)?;
        Ok((losses, probabilities))
    }

    /// The gradient of [`Gpu::cross_entropy`] by the logits, in the type `element`.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a size does not fit.
    pub fn cross_entropy_backward(
        &self,
        element: Element,
        probabilities: &Buffer,
        labels: &Buffer,
        grad_losses: &Buffer,
    ) -> Result<Buffer, GpuError> {
        let rows = labels.len();
        assert_eq!(grad_losses.len(), rows, "one gradient for each row");
        let classes = probabilities.len().checked_div(rows).unwrap_or(1).max(1);
        assert_eq!(probabilities.len(), rows * classes, "{rows} whole rows of probabilities");
        let mut grad_logits = self.unwritten(element, probabilities.len())?;
        let launch = self.launch(&SOFTMAX, Variant::of(element), "cross_entropy_backward")?;
        let launch = launch.read(probabilities).read(labels).read(grad_losses).write(&mut grad_logits);
        launch.long(probabilities.len()).int(classes).over(probabilities.len())?;
        Ok(grad_logits)
    }
}
