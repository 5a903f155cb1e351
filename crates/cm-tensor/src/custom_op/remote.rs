//! Values on a [`Device`]: tensors stay there between operations, and so do gradients.
//!
//! A value crosses when it is asked for: up when an operation on a device takes a tensor made of host values, down when
//! somebody reads one. [`crossed`](crate::device::crossed) counts both.

use super::{Data, Slot, Var};
use crate::device::{Device, done};
use cm_gpu::{Buffer, Element};
use dfdx::shapes::Shape;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

/// A tensor's values on a device, and on the host once they have been asked for.
#[derive(Debug)]
pub(super) struct Remote {
    device: Device,
    values: Buffer,
    host: OnceLock<Vec<f32>>,
}

impl Remote {
    pub(super) fn new(device: &Device, values: Buffer) -> Arc<Self> {
        Arc::new(Self { device: device.clone(), values, host: OnceLock::new() })
    }

    pub(super) fn host(&self) -> &[f32] {
        self.host.get_or_init(|| self.device.downloaded(&self.values))
    }
}

/// Gradients by the number of their slot, all on the pass's device.
pub(super) type RemoteGradients = Rc<RefCell<HashMap<u64, Buffer>>>;

pub(super) fn add(device: &Device, gradients: &RemoteGradients, slot: &Slot, part: Buffer) {
    if part.is_empty() {
        return; // as on the host, nothing is no gradient
    }
    let mut gradients = gradients.borrow_mut();
    let sum = match gradients.remove(&slot.number) {
        Some(already) => device.sum(&already, &part),
        None => part,
    };
    gradients.insert(slot.number, sum);
}

impl<S: Shape> Var<S> {
    /// The values on a device, uploaded if they are not there.
    pub fn on_device(&self, device: &Device) -> Buffer {
        let remote = match &self.data {
            Data::Host(_, kept) => kept.get_or_init(|| Remote::new(device, device.uploaded(self.values()))),
            Data::Remote(remote, _) => remote,
            Data::Outline(shape) => panic!("an outline of {shape:?} has no values"),
        };
        // Of two GPUs in one process, the first to ask has the tensor.
        if remote.device.gpu() == device.gpu() {
            remote.values.clone()
        } else {
            device.uploaded(self.values())
        }
    }

    /// The values on a device, in single precision, to be changed there in place; copied first if they are shared. From
    /// now on they are there.
    pub fn on_device_mut(&mut self, device: &Device) -> &mut Buffer {
        let values = done(device.gpu().converted(&self.on_device(device), Element::F32));
        self.data = Data::Remote(Remote::new(device, values), self.data.shape());
        let Data::Remote(remote, _) = &mut self.data else {
            unreachable!("the values were brought to the device")
        };
        let remote = Arc::get_mut(remote).expect("just made");
        done(device.gpu().make_unshared(&mut remote.values));
        &mut remote.values
    }
}
