//! Values in the memory of a GPU.

use crate::arena::Piece;
use crate::element::Element;
use cudarc::driver::sys::CUdeviceptr;
use std::sync::Arc;

/// Values on a GPU. Cloning shares them; a buffer that is shared cannot be written to.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// None for a buffer without values.
    pub(crate) piece: Option<Arc<Piece>>,
    pub(crate) len: usize,
    pub(crate) element: Element,
}

impl Buffer {
    /// The number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the values are.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Where the values lie; 0 for none.
    pub(crate) fn address(&self) -> CUdeviceptr {
        self.piece.as_ref().map_or(0, |piece| piece.address)
    }

    /// Where they may be written.
    ///
    /// # Panics
    /// If the buffer is shared.
    pub(crate) fn address_to_write(&mut self) -> CUdeviceptr {
        let unshared = self.piece.as_mut().map(|piece| Arc::get_mut(piece).is_some());
        assert_ne!(unshared, Some(false), "a buffer that others hold as well is not to be written to");
        self.address()
    }
}
