//! A convolution as cuDNN's backend interface describes it: a graph of one operation.

use super::descriptor::{Descriptor, Kind, Name, Type};
use super::{For, TENSORS};
use crate::conv2d::{Conv2dShape, Product, Way};
use crate::element::Element;
use crate::error::GpuError;
use cudarc::cudnn::sys;

/// Configurations that the library is asked for.
const MOST_CONFIGURATIONS: usize = 64;

/// What is wanted as a graph of one operation, with all that it is made of.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) graph: Descriptor,
    /// The library may look at them as long as the graph is used.
    _parts: Vec<Descriptor>,
}

/// One of the three tensors by its sizes in the library's order, images, channels, rows, columns, of which channels lie
/// next to each other.
fn tensor(name: i64, sizes: [usize; 4], element: Element) -> Result<Descriptor, GpuError> {
    let kind = match element {
        Element::F32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
        Element::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
        Element::U32 | Element::U64 => panic!("products are of real numbers"),
    };
    let [images, channels, rows, columns] = sizes.map(|size| size as i64);
    let tensor = Descriptor::new(Kind::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?;
    tensor.named(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, Type::CUDNN_TYPE_DATA_TYPE, kind as u32)?;
    tensor.integers(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, &[images, channels, rows, columns])?;
    let strides = [channels * rows * columns, 1, columns * channels, channels];
    tensor.integers(Name::CUDNN_ATTR_TENSOR_STRIDES, &strides)?;
    tensor.integers(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, &[name])?;
    tensor.integers(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &[16])?;
    tensor.finished(|| format!("describing a tensor of {sizes:?}"))
}

impl Graph {
    pub(super) fn new(of: For<'_>, product: &Product) -> Result<Self, GpuError> {
        let single = sys::cudnnDataType_t::CUDNN_DATA_FLOAT as u32;
        let describing = || format!("describing {product}");
        let Conv2dShape { batch, height, width, in_channels, out_channels, kernel, stride, padding } =
            product.shape;
        let convolution = Descriptor::new(Kind::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?;
        convolution.named(Name::CUDNN_ATTR_CONVOLUTION_COMP_TYPE, Type::CUDNN_TYPE_DATA_TYPE, single)?;
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION as u32;
        convolution.named(Name::CUDNN_ATTR_CONVOLUTION_CONV_MODE, Type::CUDNN_TYPE_CONVOLUTION_MODE, mode)?;
        convolution.integers(Name::CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, &[2])?;
        convolution.integers(Name::CUDNN_ATTR_CONVOLUTION_DILATIONS, &[1, 1])?;
        convolution.integers(Name::CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, &[stride as i64; 2])?;
        let padding = padding.map(|lines| lines as i64);
        convolution.integers(Name::CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, &padding)?;
        convolution.integers(Name::CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, &padding)?;
        let convolution = convolution.finished(describing)?;
        let element = super::element(product);
        let (out_height, out_width) = (product.shape.out_height(), product.shape.out_width());
        let tensors = [
            tensor(TENSORS[0], [batch, in_channels, height, width], element)?,
            tensor(TENSORS[1], [out_channels, in_channels, kernel[0], kernel[1]], element)?,
            tensor(TENSORS[2], [batch, out_channels, out_height, out_width], element)?,
        ];
        let names = match product.way {
            Way::Forward => FORWARD,
            Way::BackwardData => BACKWARD_DATA,
            Way::BackwardWeight => BACKWARD_WEIGHT,
        };
        let operation = Descriptor::new(names.kind)?;
        operation.descriptors(names.convolution, &[&convolution])?;
        for (tensor, name) in tensors.iter().zip(names.tensors) {
            operation.descriptors(name, &[tensor])?;
        }
        operation.float(names.alpha, 1.0)?;
        operation.float(names.beta, 0.0)?;
        let operation = operation.finished(describing)?;
        let graph = Descriptor::new(Kind::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?;
        if let For::Handle(handle) = of {
            graph.handle(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle)?;
        }
        graph.descriptors(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &[&operation])?;
        let graph = graph.finished(describing)?;
        let _parts = tensors.into_iter().chain([convolution, operation]).collect();
        Ok(Self { graph, _parts })
    }

    /// Configurations of engines in the order in which the library thinks them fast.
    pub(super) fn configurations(
        &self,
        of: For<'_>,
        asking: &dyn Fn() -> String,
    ) -> Result<Vec<Descriptor>, GpuError> {
        let asked = Descriptor::new(Kind::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?;
        asked.descriptors(Name::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, &[&self.graph])?;
        let mode = sys::cudnnBackendHeurMode_t::CUDNN_HEUR_MODE_A as u32;
        asked.named(Name::CUDNN_ATTR_ENGINEHEUR_MODE, Type::CUDNN_TYPE_HEUR_MODE, mode)?;
        if let For::Properties(device) = of {
            asked.descriptors(Name::CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, &[device])?;
        }
        let asked = asked.finished(asking)?;
        let kind = Kind::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR;
        asked.parts(Name::CUDNN_ATTR_ENGINEHEUR_RESULTS, kind, MOST_CONFIGURATIONS)
    }
}

/// What a product is called.
struct Names {
    kind: Kind,
    convolution: Name,
    /// Of input, weight and output.
    tensors: [Name; 3],
    alpha: Name,
    beta: Name,
}

const FORWARD: Names = Names {
    kind: Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
    convolution: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
    tensors: [
        Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
        Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
        Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
    ],
    alpha: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
    beta: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
};

const BACKWARD_DATA: Names = Names {
    kind: Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
    convolution: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
    tensors: [
        Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
        Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
        Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
    ],
    alpha: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
    beta: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
};

const BACKWARD_WEIGHT: Names = Names {
    kind: Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
    convolution: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
    tensors: [
        Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
        Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
        Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
    ],
    alpha: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
    beta: Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
};
