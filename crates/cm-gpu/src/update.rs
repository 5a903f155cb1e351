//! One step of the optimiser on all parameters of a network in one launch, with everything that follows from it:
//! moments, running averages, the copies in bf16 that the next pass reads.

use crate::source::{UPDATE, Variant};
use crate::{Buffer, Element, Gpu, GpuError};

/// Values of a parameter that one block takes; the kernel's PIECE.
const PIECE: usize = 4096;

/// How a gradient becomes a step. The fields are Adam's usual ones; `step` counts from 1. Decay is decoupled (AdamW).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Whether the variance is rectified (RAdam, Liu et al. 2020, with PyTorch's threshold rho > 5).
    pub rectified: bool,
    /// Learning rate.
    pub lr: f32,
    /// Decay of the first moment, in \[0, 1).
    pub beta1: f32,
    /// Decay of the second moment, in \[0, 1).
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Number of this step, from 1.
    pub step: u64,
}

/// One parameter and what belongs to it, in single precision, all of one length.
#[derive(Debug)]
pub struct Parameter<'a> {
    /// The parameter.
    pub value: &'a mut Buffer,
    /// Its gradient.
    pub gradient: &'a Buffer,
    /// Running mean of the gradient; zeros before the first step.
    pub first_moment: &'a mut Buffer,
    /// Running mean of its square; zeros before the first step.
    pub second_moment: &'a mut Buffer,
    /// Running averages, as many for each parameter; a target network is one of them.
    pub averages: Vec<&'a mut Buffer>,
    /// The new values in bf16, if a pass reads them.
    pub copy: Option<&'a mut Buffer>,
    /// The parameter is first multiplied by 1 - lr x this.
    pub weight_decay: f32,
}

/// The numbers of one step, worked out once in double precision.
struct Coefficients {
    rate: f32,
    root_scale: f32,
    adaptive: bool,
}

impl Coefficients {
    fn new(rule: &Rule) -> Self {
        let &Rule { lr, beta1, beta2, step, .. } = rule;
        assert!(step >= 1, "steps of an optimiser count from 1");
        // Beyond this the powers are zero in double precision for every decay that f32 can hold apart from 1.
        let k = step.min(1 << 32) as f64;
        let power2 = f64::from(beta2).powf(k);
        let first_correction = 1.0 - f64::from(beta1).powf(k);
        let second_correction = 1.0 - power2;
        let last = 2.0 / (1.0 - f64::from(beta2)) - 1.0;
        let rho = last - 2.0 * k * power2 / second_correction;
        let ratio = (rho - 4.0) * (rho - 2.0) * last / ((last - 4.0) * (last - 2.0) * rho);
        let (adaptive, rectification) = match rule.rectified {
            false => (true, 1.0),
            true if rho > 5.0 => (true, ratio.sqrt()),
            true => (false, 1.0),
        };
        Self {
            rate: (f64::from(lr) * rectification / first_correction) as f32,
            root_scale: (1.0 / second_correction.sqrt()) as f32,
            adaptive,
        }
    }
}

/// The kernels' table of parameters, and which block does what.
struct Table {
    tensors: Vec<u64>,
    blocks: Vec<u32>,
}

impl Table {
    fn new(lr: f32, averages: usize, parameters: &mut [Parameter<'_>]) -> Self {
        let mut table = Self { tensors: Vec::new(), blocks: Vec::new() };
        for (number, p) in parameters.iter_mut().enumerate() {
            let len = p.value.len();
            let single = |buffer: &Buffer| (buffer.len(), buffer.element()) == (len, Element::F32);
            let whole = single(p.value)
                && single(p.gradient)
                && single(p.first_moment)
                && single(p.second_moment)
                && p.averages.iter().all(|average| single(average));
            assert!(whole, "what belongs to a parameter has {len} values in single precision");
            assert_eq!(p.averages.len(), averages, "each parameter has as many averages as there are decays");
            let copy = p.copy.as_mut().map_or(0, |copy| {
                assert_eq!((copy.len(), copy.element()), (len, Element::Bf16), "the copy in bf16");
                copy.address_to_write()
            });
            let keep = (1.0 - f64::from(lr) * f64::from(p.weight_decay)) as f32;
            table.tensors.extend([
                p.value.address_to_write(),
                p.gradient.address(),
                p.first_moment.address_to_write(),
                p.second_moment.address_to_write(),
                copy,
                len as u64,
                u64::from(keep.to_bits()),
            ]);
            table.tensors.extend(p.averages.iter_mut().map(|average| average.address_to_write()));
            let number = u32::try_from(number).expect("parameters are counted in u32");
            let pieces = u32::try_from(len.div_ceil(PIECE)).expect("pieces are counted in u32");
            table.blocks.extend((0..pieces).flat_map(|piece| [number, piece]));
        }
        table
    }
}

impl Gpu {
    /// One step of `rule` on all parameters, whose gradients are first multiplied by `factor`, one value,
    /// such as [`Gpu::gradient_norm`]'s. `decays`: one for each average, avg = decay avg +
    /// (1 - decay) value; 0 copies exactly.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If lengths or types do not fit, a buffer to be written is shared, or the step is 0.
    pub fn update(
        &self,
        rule: &Rule,
        factor: &Buffer,
        decays: &[f32],
        parameters: &mut [Parameter<'_>],
    ) -> Result<(), GpuError> {
        let Coefficients { rate, root_scale, adaptive } = Coefficients::new(rule);
        assert_eq!((factor.len(), factor.element()), (1, Element::F32), "one factor");
        let table = Table::new(rule.lr, decays.len(), parameters);
        let [tensors, blocks] = self.list("update", table.tensors, |tensors| {
            Ok([self.upload(tensors)?, self.upload(&table.blocks)?])
        })?;
        let decays_there = self.upload(decays)?;
        let launch = self.launch(&UPDATE, Variant::F32, "update")?.read(&tensors).read(&blocks);
        let launch = launch.read(factor).read(&decays_there).int(decays.len()).float(rule.beta1);
        let launch = launch.float(rule.beta2).float(rate).float(root_scale).float(rule.eps);
        launch.int(usize::from(adaptive)).grid([table.blocks.len() / 2, 1, 1], 0)
    }

    /// The Euclidean norm of all gradients together, and the factor that brings it down to `most` where it is longer,
    /// else 1: buffers of one value each. The order of the sum depends on the lengths only.
    ///
    /// # Errors
    /// [`GpuError`].
    ///
    /// # Panics
    /// If a gradient is not in single precision.
    pub fn gradient_norm(&self, most: f32, gradients: &[&Buffer]) -> Result<(Buffer, Buffer), GpuError> {
        let (mut tensors, mut blocks) = (Vec::new(), Vec::new());
        for (number, gradient) in gradients.iter().enumerate() {
            assert_eq!(gradient.element(), Element::F32, "gradients of parameters are in single precision");
            tensors.extend([0, gradient.address(), 0, 0, 0, gradient.len() as u64, 0]);
            let number = u32::try_from(number).expect("parameters are counted in u32");
            let pieces = u32::try_from(gradient.len().div_ceil(PIECE)).expect("pieces are counted in u32");
            blocks.extend((0..pieces).flat_map(|piece| [number, piece]));
        }
        let count = blocks.len() / 2;
        let [tensors, blocks] =
            self.list("norm", tensors, |tensors| Ok([self.upload(tensors)?, self.upload(&blocks)?]))?;
        let mut sums = self.unwritten(Element::F32, count)?;
        let launch = self.launch(&UPDATE, Variant::F32, "gradient_squares")?.read(&tensors).read(&blocks);
        launch.write(&mut sums).int(0).grid([count, 1, 1], 0)?;
        let (mut norm, mut factor) = (self.unwritten(Element::F32, 1)?, self.unwritten(Element::F32, 1)?);
        let launch = self.launch(&UPDATE, Variant::F32, "gradient_norm")?.read(&sums);
        launch.write(&mut norm).write(&mut factor).long(count).float(most).grid([1, 1, 1], 0)?;
        Ok((norm, factor))
    }
}
