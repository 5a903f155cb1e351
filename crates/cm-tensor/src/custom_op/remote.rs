//! Values on the [`Accelerator`]: tensors stay there between operations, and so do gradients.
//!
//! A value crosses when it is asked for: up when a composed operation takes a tensor made of host values, down when
//! somebody reads one. [`crossed`] counts both.

use super::{Accelerator, Data, Slot, Var};
use crate::composed::{self, Flat};
use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{NoneTape, TensorFromVec};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

/// Values on the accelerator without a tape.
pub type OnAccelerator = Flat<Accelerator, NoneTape>;

thread_local! {
    static CROSSED: Cell<usize> = const { Cell::new(0) };
}

/// How many values of tensors and gradients this thread has moved to or from the accelerator so far. What operations
/// make for themselves is not among them: factors of images, small matrices of resampling, places of dropout.
pub fn crossed() -> usize {
    CROSSED.get()
}

/// Values brought to the accelerator.
pub fn uploaded(values: Vec<f32>) -> OnAccelerator {
    CROSSED.set(CROSSED.get() + values.len());
    let len = values.len();
    composed::accelerator().tensor_from_vec(values, (len,))
}

/// Values brought to the host.
pub fn downloaded(values: &OnAccelerator) -> Vec<f32> {
    CROSSED.set(CROSSED.get() + values.shape().0);
    values.as_vec()
}

/// A tensor's values on the accelerator, and on the host once they have been asked for.
#[derive(Debug)]
pub struct Remote {
    pub(super) values: OnAccelerator,
    host: OnceLock<Vec<f32>>,
}

impl Remote {
    pub(super) fn new(values: OnAccelerator) -> Arc<Self> {
        Arc::new(Self { values, host: OnceLock::new() })
    }

    pub(super) fn host(&self) -> &[f32] {
        self.host.get_or_init(|| downloaded(&self.values))
    }
}

/// Gradients by the number of their slot.
pub(super) type RemoteGradients = Rc<RefCell<HashMap<u64, OnAccelerator>>>;

pub(super) fn add(gradients: &RemoteGradients, slot: &Slot, part: OnAccelerator) {
    let mut gradients = gradients.borrow_mut();
    let sum = match gradients.remove(&slot.number) {
        Some(already) => already + part,
        None => part,
    };
    gradients.insert(slot.number, sum);
}

impl<S: Shape> Var<S> {
    /// The values on the accelerator, uploaded if they are not there.
    pub fn on_accelerator(&self) -> OnAccelerator {
        self.remote().values.clone()
    }

    /// Other values in place of these; gradients are collected where they were.
    ///
    /// # Panics
    /// If they are not as many.
    pub fn replace_on_accelerator(&mut self, values: OnAccelerator) {
        let shape = self.data.shape();
        assert_eq!(values.shape().0, shape.num_elements(), "other values of the same tensor");
        self.data = Data::Remote(Remote::new(values), shape);
    }

    pub(super) fn remote(&self) -> Arc<Remote> {
        match &self.data {
            Data::Outline(_) => Remote::new(uploaded(self.values().to_vec())),
            Data::Host(_, kept) => kept.get_or_init(|| Remote::new(uploaded(self.values().to_vec()))).clone(),
            Data::Remote(remote, _) => remote.clone(),
        }
    }
}
