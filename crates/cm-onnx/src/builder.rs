//! A graph under construction, in the words of ONNX's operators.

use crate::proto::{
    AttributeProto, DimensionProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto, attribute_type, data_type,
};
use std::collections::HashMap;

/// A value of the graph, by its name.
#[derive(Clone, Debug)]
pub(crate) struct Value(String);

impl Value {
    /// An optional input that is left out.
    pub(crate) fn left_out() -> Self {
        Self(String::new())
    }
}

/// An attribute of a node.
#[derive(Clone, Debug)]
pub(crate) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Text(&'static str),
}

/// What the values of an input or output are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Element {
    Float,
    Integer,
}

#[derive(Default)]
pub(crate) struct Builder {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    /// Constants that are made again and again, by their bytes.
    known: HashMap<(Vec<i64>, Vec<u8>, i32), Value>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
}

impl Builder {
    /// A node of one output.
    pub(crate) fn node(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute)],
    ) -> Value {
        self.node_of(operator, inputs, attributes, 1).remove(0)
    }

    /// A node of `count` outputs.
    pub(crate) fn node_of(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute)],
        count: usize,
    ) -> Vec<Value> {
        let name = format!("{operator}_{}", self.nodes.len());
        let outputs: Vec<String> = match count {
            1 => vec![name.clone()],
            _ => (0..count).map(|output| format!("{name}_{output}")).collect(),
        };
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|input| input.0.clone()).collect(),
            output: outputs.clone(),
            name: Some(name),
            op_type: Some(operator.to_owned()),
            attribute: attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
        });
        outputs.into_iter().map(Value).collect()
    }

    /// An array of a name of its own.
    pub(crate) fn array(&mut self, name: &str, dims: &[usize], values: impl Iterator<Item = f32>) -> Value {
        let raw = values.flat_map(f32::to_le_bytes).collect();
        let dims = dims.iter().map(|&extent| extent as i64).collect();
        self.constant(name.to_owned(), dims, raw, data_type::FLOAT)
    }

    /// Values of these extents.
    pub(crate) fn floats(&mut self, dims: &[usize], values: &[f32]) -> Value {
        let dims = dims.iter().map(|&extent| extent as i64).collect();
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.shared(dims, raw, data_type::FLOAT)
    }

    pub(crate) fn number(&mut self, value: f32) -> Value {
        self.floats(&[], &[value])
    }

    /// A list of whole numbers, for operators that take axes or extents as an input.
    pub(crate) fn integers(&mut self, values: &[i64]) -> Value {
        self.integers_of(&[values.len() as i64], values)
    }

    pub(crate) fn integers_of(&mut self, dims: &[i64], values: &[i64]) -> Value {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.shared(dims.to_vec(), raw, data_type::INT64)
    }

    fn shared(&mut self, dims: Vec<i64>, raw: Vec<u8>, data_type: i32) -> Value {
        let key = (dims, raw, data_type);
        if let Some(value) = self.known.get(&key) {
            return value.clone();
        }
        let (dims, raw, _) = key.clone();
        let value = self.constant(format!("constant_{}", self.known.len()), dims, raw, data_type);
        self.known.insert(key, value.clone());
        value
    }

    fn constant(&mut self, name: String, dims: Vec<i64>, raw: Vec<u8>, data_type: i32) -> Value {
        self.constants.push(TensorProto {
            dims,
            data_type: Some(data_type),
            name: Some(name.clone()),
            raw_data: Some(raw),
            ..TensorProto::default()
        });
        Value(name)
    }

    /// An input of the graph: for each image, values of `extents`.
    pub(crate) fn input(&mut self, name: &str, element: Element, extents: &[usize], about: &str) -> Value {
        self.inputs.push(declared(name, element, extents, about));
        Value(name.to_owned())
    }

    /// Makes a value an output of the graph: for each image, values of `extents`.
    pub(crate) fn output(&mut self, name: &str, value: &Value, extents: &[usize], about: &str) {
        self.outputs.push(declared(name, Element::Float, extents, about));
        self.nodes.push(NodeProto {
            input: vec![value.0.clone()],
            output: vec![name.to_owned()],
            name: Some(format!("{name}_output")),
            op_type: Some("Identity".to_owned()),
            attribute: Vec::new(),
        });
    }

    pub(crate) fn graph(self, name: &str) -> GraphProto {
        GraphProto {
            node: self.nodes,
            name: Some(name.to_owned()),
            initializer: self.constants,
            input: self.inputs,
            output: self.outputs,
        }
    }

    pub(crate) fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Add", &[a, b], &[])
    }

    pub(crate) fn sub(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Sub", &[a, b], &[])
    }

    pub(crate) fn mul(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Mul", &[a, b], &[])
    }

    pub(crate) fn div(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Div", &[a, b], &[])
    }

    /// The value times a number, itself if that is 1.
    pub(crate) fn scaled(&mut self, a: &Value, by: f32) -> Value {
        if by == 1.0 {
            return a.clone();
        }
        let by = self.number(by);
        self.mul(a, &by)
    }

    /// The value plus a number.
    pub(crate) fn plus(&mut self, a: &Value, number: f32) -> Value {
        let number = self.number(number);
        self.add(a, &number)
    }

    pub(crate) fn reshape(&mut self, a: &Value, extents: &[i64]) -> Value {
        let extents = self.integers(extents);
        self.node("Reshape", &[a, &extents], &[])
    }

    pub(crate) fn unsqueeze(&mut self, a: &Value, axes: &[i64]) -> Value {
        let axes = self.integers(axes);
        self.node("Unsqueeze", &[a, &axes], &[])
    }

    pub(crate) fn transpose(&mut self, a: &Value, order: &[i64]) -> Value {
        self.node("Transpose", &[a], &[("perm", Attribute::Ints(order.to_vec()))])
    }

    pub(crate) fn silu(&mut self, a: &Value) -> Value {
        let gate = self.node("Sigmoid", &[a], &[]);
        self.mul(a, &gate)
    }
}

fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let named = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    match value {
        Attribute::Int(value) => {
            AttributeProto { i: Some(*value), r#type: Some(attribute_type::INT), ..named }
        }
        Attribute::Ints(values) => {
            AttributeProto { ints: values.clone(), r#type: Some(attribute_type::INTS), ..named }
        }
        Attribute::Float(value) => {
            AttributeProto { f: Some(*value), r#type: Some(attribute_type::FLOAT), ..named }
        }
        Attribute::Text(text) => AttributeProto {
            s: Some(text.as_bytes().to_vec()),
            r#type: Some(attribute_type::STRING),
            ..named
        },
    }
}

fn declared(name: &str, element: Element, extents: &[usize], about: &str) -> ValueInfoProto {
    let images = DimensionProto { dim_value: None, dim_param: Some("N".to_owned()) };
    let of = |&extent: &usize| DimensionProto { dim_value: Some(extent as i64), dim_param: None };
    let elem_type = match element {
        Element::Float => data_type::FLOAT,
        Element::Integer => data_type::INT64,
    };
    let shape = TensorShapeProto { dim: std::iter::once(images).chain(extents.iter().map(of)).collect() };
    let tensor_type = TensorTypeProto { elem_type: Some(elem_type), shape: Some(shape) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { tensor_type: Some(tensor_type) }),
        doc_string: Some(about.to_owned()),
    }
}
