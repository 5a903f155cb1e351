//! Matrix products by cuBLASLt: convolutions of single pixels, linear layers, and their gradients.
//!
//! The library thinks in columns: the matrix it calls rows x columns is, as ours lie in memory, the transposed one. So of
//! out = a b it is asked for the transposed, b a. Sums are in single precision, also where several parts are added.

use super::Products;
use crate::arena::Arena;
use crate::buffer::Buffer;
use crate::conv2d::{Conv2dShape, Epilogue, Precision, Product, Way};
use crate::element::Element;
use crate::error::GpuError;
use crate::gpu::Gpu;
use crate::libraries;
use cudarc::cublaslt::sys;
use std::ptr::{from_ref, null_mut};
use std::sync::Arc;
use sys::cublasLtMatmulDescAttributes_t as Attribute;
use sys::cublasLtMatmulPreferenceAttributes_t as Preference;

const NAME: &str = "cuBLASLt";
/// Plans that are tried for a product.
const MOST_PLANS: usize = 4;
/// Bytes of memory that a plan may use besides its operands; NVIDIA's recommendation for Hopper.
const WORKSPACE: usize = 32 << 20;
/// Transposed, in `cublasOperation_t`.
const TRANSPOSED: i32 = 1;
/// `CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE`: parts are kept and added in single precision, in their order.
const PARTS_IN_SINGLE_PRECISION: u32 = 2;

fn check(status: sys::cublasStatus_t, doing: impl FnOnce() -> String) -> Result<(), GpuError> {
    match status {
        sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS => Ok(()),
        other => Err(GpuError::Library { library: NAME, doing: doing(), answer: format!("{other:?}") }),
    }
}

/// The library, ready for a GPU.
#[derive(Debug)]
pub(crate) struct Handle {
    raw: sys::cublasLtHandle_t,
    arena: Arc<Arena>,
}

// SAFETY: cuBLASLt's handles may be used from any thread, from several at once.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    pub(crate) fn open(arena: &Arc<Arena>) -> Result<Self, GpuError> {
        libraries::need(NAME)?;
        arena.context().enter()?;
        let mut raw = null_mut();
        // SAFETY: the library is there, and the handle is written to.
        check(unsafe { sys::cublasLtCreate(&raw mut raw) }, || "its start".to_owned())?;
        Ok(Self { raw, arena: Arc::clone(arena) })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // What fails here has failed before: there is nobody to tell.
        let _ = self.arena.wait();
        // SAFETY: the handle is this value's own, and nothing uses it any more.
        let _ = unsafe { sys::cublasLtDestroy(self.raw) };
    }
}

/// A description that the library made, and how it is given back.
#[derive(Debug)]
struct Owned<T: Copy> {
    raw: T,
    give_back: unsafe fn(T) -> sys::cublasStatus_t,
}

impl<T: Copy> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the description is this value's own.
        let _ = unsafe { (self.give_back)(self.raw) };
    }
}

/// One of the three matrices: rows and columns as the library says it, and whether it is taken transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Matrix {
    rows: usize,
    columns: usize,
    transposed: bool,
}

/// The library's first and second factor with their places among the operands, and the result.
fn matrices(product: &Product) -> ([(usize, Matrix); 2], Matrix) {
    let Conv2dShape { batch, height, width, in_channels: inputs, out_channels: outputs, .. } = product.shape;
    let pixels = batch * height * width;
    let matrix = |rows, columns, transposed| Matrix { rows, columns, transposed };
    match product.way {
        // The operands are x [pixels, inputs] and weight [inputs, outputs].
        Way::Forward => (
            [(1, matrix(outputs, inputs, false)), (0, matrix(inputs, pixels, false))],
            matrix(outputs, pixels, false),
        ),
        // grad_out [pixels, outputs] and weight.
        Way::BackwardData => (
            [(1, matrix(outputs, inputs, true)), (0, matrix(outputs, pixels, false))],
            matrix(inputs, pixels, false),
        ),
        // x and grad_out.
        Way::BackwardWeight => (
            [(1, matrix(outputs, pixels, false)), (0, matrix(inputs, pixels, true))],
            matrix(outputs, inputs, false),
        ),
    }
}

fn data_type(element: Element) -> sys::cudaDataType {
    match element {
        Element::F32 => sys::cudaDataType::CUDA_R_32F,
        Element::Bf16 => sys::cudaDataType::CUDA_R_16BF,
        Element::U32 | Element::U64 => panic!("products are of real numbers"),
    }
}

/// An algorithm of which the library has said nothing yet.
fn unanswered(data: [u64; 8]) -> sys::cublasLtMatmulHeuristicResult_t {
    sys::cublasLtMatmulHeuristicResult_t {
        algo: sys::cublasLtMatmulAlgo_t { data },
        workspaceSize: 0,
        state: sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED,
        wavesCount: 0.0,
        reserved: [0; 4],
    }
}

type Layout = Owned<sys::cublasLtMatrixLayout_t>;

/// A product as the library knows it.
#[derive(Debug)]
struct Described {
    operation: Owned<sys::cublasLtMatmulDesc_t>,
    factors: [Layout; 2],
    /// Which operand each factor is.
    places: [usize; 2],
    result: Layout,
}

// SAFETY: descriptions are not changed once they are made.
unsafe impl Send for Described {}
// SAFETY: as above.
unsafe impl Sync for Described {}

impl Described {
    fn new(product: &Product) -> Result<Self, GpuError> {
        let describing = || format!("describing {product}");
        let layout = |Matrix { rows, columns, .. }: Matrix, element| -> Result<Layout, GpuError> {
            let mut raw = null_mut();
            let kind = data_type(element);
            // SAFETY: the library is there, and the description is written to. Rows lie one behind the other.
            let status = unsafe {
                sys::cublasLtMatrixLayoutCreate(&raw mut raw, kind, rows as u64, columns as u64, rows as i64)
            };
            check(status, describing)?;
            Ok(Owned { raw, give_back: sys::cublasLtMatrixLayoutDestroy })
        };
        let compute = match product.precision {
            Precision::F32 | Precision::Bf16 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            Precision::Tf32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        };
        let mut raw = null_mut();
        // SAFETY: the library is there, and the description is written to.
        let status =
            unsafe { sys::cublasLtMatmulDescCreate(&raw mut raw, compute, sys::cudaDataType::CUDA_R_32F) };
        check(status, describing)?;
        let operation = Owned { raw, give_back: sys::cublasLtMatmulDescDestroy };
        let (factors, result) = matrices(product);
        let attributes = [Attribute::CUBLASLT_MATMUL_DESC_TRANSA, Attribute::CUBLASLT_MATMUL_DESC_TRANSB];
        for ((_, matrix), attribute) in factors.iter().zip(attributes) {
            if matrix.transposed {
                let value = from_ref(&TRANSPOSED).cast();
                // SAFETY: the attribute is a 32-bit number, and so is the value.
                let status =
                    unsafe { sys::cublasLtMatmulDescSetAttribute(operation.raw, attribute, value, 4) };
                check(status, describing)?;
            }
        }
        let [(first, a), (second, b)] = factors;
        let element = product.precision.element();
        Ok(Self {
            operation,
            factors: [layout(a, element)?, layout(b, element)?],
            places: [first, second],
            result: layout(result, product.result().1)?,
        })
    }

    /// What the library thinks best.
    fn algorithms(
        &self,
        handle: &Handle,
        product: &Product,
    ) -> Result<Vec<sys::cublasLtMatmulHeuristicResult_t>, GpuError> {
        let asking = || format!("asking for plans of {product}");
        let mut raw = null_mut();
        // SAFETY: the preference is written to.
        check(unsafe { sys::cublasLtMatmulPreferenceCreate(&raw mut raw) }, asking)?;
        let preference = Owned { raw, give_back: sys::cublasLtMatmulPreferenceDestroy };
        let (most, scheme) = (WORKSPACE, PARTS_IN_SINGLE_PRECISION);
        let settings = [
            (Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, from_ref(&most).cast(), 8),
            (Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, from_ref(&scheme).cast(), 4),
        ];
        for (which, value, bytes) in settings {
            // SAFETY: the value has the size that this attribute is documented to have.
            let status =
                unsafe { sys::cublasLtMatmulPreferenceSetAttribute(preference.raw, which, value, bytes) };
            check(status, asking)?;
        }
        let nothing = unanswered([0; 8]);
        let (mut found, mut count) = ([nothing; MOST_PLANS], 0);
        let [a, b] = &self.factors;
        // SAFETY: all descriptions are whole, and there is room for as many results as are asked for.
        let status = unsafe {
            sys::cublasLtMatmulAlgoGetHeuristic(
                handle.raw,
                self.operation.raw,
                a.raw,
                b.raw,
                self.result.raw,
                self.result.raw,
                preference.raw,
                MOST_PLANS as i32,
                found.as_mut_ptr(),
                &raw mut count,
            )
        };
        check(status, asking)?;
        let can = |result: &&sys::cublasLtMatmulHeuristicResult_t| {
            result.state == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS && result.workspaceSize <= WORKSPACE
        };
        let found = &found[..usize::try_from(count).unwrap_or(0).min(MOST_PLANS)];
        Ok(found.iter().filter(can).copied().collect())
    }
}

/// A way of the library to compute one product.
#[derive(Debug)]
pub(crate) struct Plan {
    handle: Arc<Handle>,
    described: Arc<Described>,
    algorithm: sys::cublasLtMatmulAlgo_t,
    workspace: usize,
}

impl Plan {
    /// The first few that the library thinks best, at least one.
    pub(crate) fn best(handle: &Arc<Handle>, product: &Product) -> Result<Vec<Self>, GpuError> {
        handle.arena.context().enter()?;
        let described = Arc::new(Described::new(product)?);
        let found = described.algorithms(handle, product)?;
        if found.is_empty() {
            let doing = format!("asking for plans of {product}");
            return Err(GpuError::Library { library: NAME, doing, answer: "it knows none".to_owned() });
        }
        Ok(found
            .into_iter()
            .map(|result| Self {
                handle: Arc::clone(handle),
                described: Arc::clone(&described),
                algorithm: result.algo,
                workspace: result.workspaceSize,
            })
            .collect())
    }

    /// The one that was written as `text`.
    pub(crate) fn again(handle: &Arc<Handle>, product: &Product, text: &str) -> Result<Self, GpuError> {
        handle.arena.context().enter()?;
        let reading = || format!("taking up the plan {text} of {product}");
        let words: Option<Vec<u64>> =
            text.split('-').map(|word| u64::from_str_radix(word, 16).ok()).collect();
        let data: [u64; 8] =
            words.and_then(|words| words.try_into().ok()).ok_or_else(|| GpuError::Library {
                library: NAME,
                doing: reading(),
                answer: "a plan is eight numbers in hexadecimal digits".to_owned(),
            })?;
        let described = Arc::new(Described::new(product)?);
        let mut result = unanswered(data);
        let (algorithm, [a, b]) = (result.algo, &described.factors);
        // SAFETY: all descriptions are whole, and the result is written to. Whether the numbers are a plan is what is
        // asked.
        let status = unsafe {
            sys::cublasLtMatmulAlgoCheck(
                handle.raw,
                described.operation.raw,
                a.raw,
                b.raw,
                described.result.raw,
                described.result.raw,
                &raw const algorithm,
                &raw mut result,
            )
        };
        check(status, reading)?;
        Ok(Self { handle: Arc::clone(handle), described, algorithm, workspace: result.workspaceSize })
    }

    /// What it is known again by, by the same version of the library.
    pub(crate) fn text(&self) -> String {
        self.algorithm.data.map(|word| format!("{word:x}")).join("-")
    }
}

impl Products for Plan {
    fn compute(
        &self,
        gpu: &Gpu,
        product: &Product,
        operands: [&Buffer; 2],
        epilogue: Epilogue<'_>,
        out: &mut Buffer,
    ) -> Result<(), GpuError> {
        // A scale alone is the library's, anything more is a pass behind it.
        let alone = epilogue.is_scale();
        let (alpha, beta) = (if alone { epilogue.scale } else { 1.0 }, 0.0_f32);
        let mut workspace = gpu.unwritten(Element::U32, self.workspace.div_ceil(4))?;
        let (described, [first, second]) = (&self.described, self.described.places);
        gpu.context().enter_behind()?;
        let to = out.address_to_write();
        // SAFETY: the buffers have the sizes and types that were described; all work is of one stream, so that memory
        // is given away again only to what comes later. The library copies the two factors before it returns.
        let status = unsafe {
            sys::cublasLtMatmul(
                self.handle.raw,
                described.operation.raw,
                from_ref(&alpha).cast(),
                operands[first].address() as *const _,
                described.factors[0].raw,
                operands[second].address() as *const _,
                described.factors[1].raw,
                from_ref(&beta).cast(),
                to as *const _,
                described.result.raw,
                to as *mut _,
                described.result.raw,
                &raw const self.algorithm,
                workspace.address_to_write() as *mut _,
                self.workspace,
                gpu.context().stream.cast(),
            )
        };
        check(status, || format!("computing {product}"))?;
        gpu.context().gathered.called();
        if alone { Ok(()) } else { gpu.finish(&product.shape, out, epilogue) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_product_is_asked_for_transposed() {
        let shape = Conv2dShape::linear(7, 3, 5);
        let of = |way| {
            let product = Product { way, precision: Precision::F32, shape, finished: false };
            let ([(first, a), (second, b)], out) = matrices(&product);
            let taken = |m: Matrix| if m.transposed { (m.columns, m.rows) } else { (m.rows, m.columns) };
            assert_eq!(taken(a).1, taken(b).0, "the summed index");
            assert_eq!((taken(a).0, taken(b).1), (out.rows, out.columns));
            let sizes = [a, b].map(|m| m.rows * m.columns);
            assert_eq!([product.operands()[first], product.operands()[second]], sizes);
            assert_eq!(product.result().0, out.rows * out.columns);
            (a.transposed, b.transposed)
        };
        assert_eq!(of(Way::Forward), (false, false));
        assert_eq!(of(Way::BackwardData), (true, false));
        assert_eq!(of(Way::BackwardWeight), (false, true));
    }
}
