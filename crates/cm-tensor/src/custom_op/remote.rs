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

/// A tensor's values on a device, and once they have been asked for, on the host and as factors of products.
#[derive(Debug)]
pub(super) struct Remote {
    device: Device,
    values: Buffer,
    host: OnceLock<Vec<f32>>,
    /// The same in bf16.
    narrow: OnceLock<Buffer>,
}

impl Remote {
    pub(super) fn new(device: &Device, values: Buffer) -> Arc<Self> {
        Arc::new(Self { device: device.clone(), values, host: OnceLock::new(), narrow: OnceLock::new() })
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

/// A tensor's values on a device, to be written to.
pub(crate) struct Changed<'a> {
    /// In single precision, as they are.
    pub(crate) values: &'a mut Buffer,
    /// In bf16, unwritten: for whoever changes the values to write as well. Only if products have asked for it before.
    pub(crate) narrow: Option<&'a mut Buffer>,
}

impl<S: Shape> Var<S> {
    /// A tensor of values on a device, to which no gradient flows.
    pub(crate) fn resident(device: &Device, values: Buffer, shape: S) -> Self {
        assert_eq!(values.len(), shape.num_elements(), "values do not fill {shape:?}");
        Self { data: Data::Remote(Remote::new(device, values), shape), slot: None, tangent: None }
    }

    /// The device on which the tensor was made, if it was.
    pub(crate) fn place(&self) -> Option<&Device> {
        match &self.data {
            Data::Remote(remote, _) => Some(&remote.device),
            Data::Host(..) | Data::Outline(..) => None,
        }
    }

    /// The tensor there, uploaded if it is not; `None` if it is on another GPU.
    fn remote(&self, device: &Device) -> Option<&Remote> {
        let remote = match &self.data {
            Data::Host(_, kept) => kept.get_or_init(|| Remote::new(device, device.uploaded(self.values()))),
            Data::Remote(remote, _) => remote,
            Data::Outline(shape, _) => panic!("an outline of {shape:?} has no values"),
        };
        // Of two GPUs in one process, the first to ask has the tensor.
        Some(&**remote).filter(|remote| remote.device.gpu() == device.gpu())
    }

    /// The values on a device, uploaded if they are not there.
    pub fn on_device(&self, device: &Device) -> Buffer {
        self.remote(device).map_or_else(|| device.uploaded(self.values()), |remote| remote.values.clone())
    }

    /// The values on a device as its products take them. What has to be converted for that is kept.
    pub fn as_factor(&self, device: &Device) -> Buffer {
        match self.remote(device) {
            Some(Remote { values, narrow, .. })
                if (values.element(), device.precision().element()) == (Element::F32, Element::Bf16) =>
            {
                narrow.get_or_init(|| done(device.factor(values))).clone()
            }
            _ => done(device.factor(&self.on_device(device))),
        }
    }

    /// The values on a device, in single precision, to be changed there in place; copied first if they are shared. From
    /// now on they are there.
    pub fn on_device_mut(&mut self, device: &Device) -> &mut Buffer {
        self.changed(device, false).values
    }

    /// [`on_device_mut`](Self::on_device_mut), and with `narrow` what products take.
    pub(crate) fn changed(&mut self, device: &Device, narrow: bool) -> Changed<'_> {
        let narrow = narrow && self.remote(device).is_some_and(|remote| remote.narrow.get().is_some());
        let values = done(device.gpu().converted(&self.on_device(device), Element::F32));
        self.data = Data::Remote(Remote::new(device, values), self.data.shape());
        let Data::Remote(remote, _) = &mut self.data else {
            unreachable!("the values were brought to the device")
        };
        let Remote { values, narrow: kept, .. } = Arc::get_mut(remote).expect("just made");
        done(device.gpu().make_unshared(values));
        if narrow {
            kept.get_or_init(|| done(device.gpu().unwritten(Element::Bf16, values.len())));
        }
        Changed { values, narrow: kept.get_mut() }
    }
}
