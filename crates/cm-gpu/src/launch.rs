//! A launch of a kernel, its arguments held against its parameters.

use crate::buffer::Buffer;
use crate::element::Element;
use crate::error::GpuError;
use crate::gathered::Call;
use crate::gpu::{Gpu, Kernel};
use crate::signature::Parameter;
use crate::source::{Source, Variant};

/// A kernel and what it has been given so far.
pub(crate) struct Launch<'a> {
    gpu: &'a Gpu,
    kernel: Kernel,
    /// Eight bytes each, whatever the parameter's type: the driver reads as many as it needs from the first.
    arguments: Vec<u64>,
}

impl Gpu {
    pub(crate) fn launch(
        &self,
        source: &Source,
        variant: Variant,
        name: &str,
    ) -> Result<Launch<'_>, GpuError> {
        let kernel = self.kernel(source, variant, name)?;
        Ok(Launch { gpu: self, kernel, arguments: Vec::new() })
    }
}

impl Launch<'_> {
    /// # Panics
    /// If the next parameter is not one that takes `given`.
    fn push(mut self, given: Parameter, bits: u64) -> Self {
        let signature = &self.kernel.signature;
        let wanted = signature.parameters.get(self.arguments.len()).copied();
        let number = self.arguments.len() + 1;
        assert_eq!(wanted, Some(given), "argument {number} of the kernel {}", signature.name);
        self.arguments.push(bits);
        self
    }

    /// The type of the elements behind the next parameter, if it is a pointer.
    fn next_element(&self) -> Option<Element> {
        match self.kernel.signature.parameters.get(self.arguments.len()) {
            Some(Parameter::Read(element) | Parameter::Write(element)) => Some(*element),
            _ => None,
        }
    }

    pub(crate) fn read(self, buffer: &Buffer) -> Self {
        self.push(Parameter::Read(buffer.element()), buffer.address())
    }

    /// Address 0 for what is absent.
    pub(crate) fn read_if(self, buffer: Option<&Buffer>) -> Self {
        match (buffer, self.next_element()) {
            (None, Some(element)) => self.push(Parameter::Read(element), 0),
            (None, None) => self.push(Parameter::Read(Element::F32), 0),
            (Some(buffer), _) => self.read(buffer),
        }
    }

    pub(crate) fn write(self, buffer: &mut Buffer) -> Self {
        let address = buffer.address_to_write();
        self.push(Parameter::Write(buffer.element()), address)
    }

    /// A place inside a buffer that the caller may write to.
    pub(crate) fn write_at(self, address: u64, element: Element) -> Self {
        self.push(Parameter::Write(element), address)
    }

    /// Address 0 for what is not wanted.
    pub(crate) fn write_if(self, buffer: Option<&mut Buffer>) -> Self {
        match (buffer, self.next_element()) {
            (None, Some(element)) => self.push(Parameter::Write(element), 0),
            (None, None) => self.push(Parameter::Write(Element::F32), 0),
            (Some(buffer), _) => self.write(buffer),
        }
    }

    /// # Panics
    /// If the number is above 2^31 - 1.
    pub(crate) fn int(self, value: usize) -> Self {
        let value = i32::try_from(value).expect("a size that a kernel takes as a 32-bit number");
        self.push(Parameter::Int, u64::from(value.cast_unsigned()))
    }

    pub(crate) fn long(self, value: usize) -> Self {
        self.push(Parameter::Long, value as u64)
    }

    pub(crate) fn float(self, value: f32) -> Self {
        self.push(Parameter::Float, u64::from(value.to_bits()))
    }

    /// Launches blocks enough for `work` threads; nothing for none.
    pub(crate) fn over(self, work: usize) -> Result<(), GpuError> {
        let blocks = work.div_ceil(self.kernel.signature.threads as usize);
        self.grid([blocks, 1, 1], 0)
    }

    /// Launches a grid of blocks, each with so many bytes of dynamic shared memory; nothing for an empty one.
    ///
    /// # Panics
    /// If arguments are missing, or the grid is larger than CUDA allows.
    pub(crate) fn grid(self, [x, y, z]: [usize; 3], shared_bytes: usize) -> Result<(), GpuError> {
        let Self { gpu, kernel, arguments } = self;
        let signature = &kernel.signature;
        assert_eq!(arguments.len(), signature.parameters.len(), "arguments of the kernel {}", signature.name);
        let fits = x <= i32::MAX as usize && y <= 65_535 && z <= 65_535;
        assert!(fits, "a grid of {x} x {y} x {z} blocks for the kernel {}", signature.name);
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        let shared = u32::try_from(shared_bytes).expect("shared memory is small");
        gpu.context().enter()?;
        gpu.allow_shared(&kernel, shared)?;
        let (function, signature) = (kernel.function, kernel.signature);
        let call = Call {
            function,
            signature,
            grid: [x as u32, y as u32, z as u32],
            shared_bytes: shared,
            arguments,
        };
        gpu.context().gathered.push(call, gpu.context().stream)
    }
}
