//! A network's weights: named arrays outside the layers that use them.

use crate::device::{Device, done};
use crate::{Gradients, Vector};
use cm_gpu::{Buffer, Element};
use std::fmt;

/// Which array of a [`Weights`] set; layers keep these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterId(usize);

/// Named arrays in a fixed order. Cloning shares the values until one copy is changed, and gives the copy
/// gradients of its own.
pub struct Weights {
    parameters: Vec<Parameter>,
    trainable: bool,
}

struct Parameter {
    name: String,
    shape: Vec<usize>,
    value: Vector,
    trained: bool,
}

/// Why arrays do not fit a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// An array of the network is not there.
    #[error("weight `{0}` is missing")]
    Missing(String),
    /// There is an array the network does not have.
    #[error("weight `{0}` is not one of this network's")]
    Unexpected(String),
    /// An array has other extents than the network's.
    #[error("weight `{name}` has shape {given:?}, but the network's is {expected:?}")]
    Shape {
        /// Name of the array.
        name: String,
        /// Extents given.
        given: Vec<usize>,
        /// Extents of the network.
        expected: Vec<usize>,
    },
}

impl Weights {
    /// No arrays yet; gradients will flow to those that are added.
    pub fn new() -> Self {
        Self { parameters: Vec::new(), trainable: true }
    }

    /// Adds an array.
    ///
    /// # Panics
    /// If the values do not fill the shape, or the name is taken.
    pub fn add(&mut self, name: impl Into<String>, shape: &[usize], values: Vec<f32>) -> ParameterId {
        self.push(name.into(), shape, values, true)
    }

    /// Adds an array that training leaves as it is: no gradient flows to it, and no decay shrinks it.
    ///
    /// # Panics
    /// As [`add`](Self::add).
    pub fn add_untrained(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        values: Vec<f32>,
    ) -> ParameterId {
        self.push(name.into(), shape, values, false)
    }

    /// Adds an array of which only the extents are known: to be counted, or filled by [`values_mut`](Self::values_mut). It
    /// takes no memory.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn add_outline(&mut self, name: impl Into<String>, shape: &[usize], trained: bool) -> ParameterId {
        self.put(name.into(), shape, Vector::outline([shape.iter().product()]), trained)
    }

    fn push(&mut self, name: String, shape: &[usize], values: Vec<f32>, trained: bool) -> ParameterId {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "values of {name} do not fill {shape:?}");
        let len = values.len();
        self.put(name, shape, Vector::constant(values, [len]), trained)
    }

    fn put(&mut self, name: String, shape: &[usize], value: Vector, trained: bool) -> ParameterId {
        assert!(self.parameters.iter().all(|p| p.name != name), "two weights named {name}");
        let value = value.detached(self.trainable && trained);
        self.parameters.push(Parameter { name, shape: shape.to_vec(), value, trained });
        ParameterId(self.parameters.len() - 1)
    }

    /// The same values to which no gradient flows: a fixed network inside a differentiated pass.
    pub fn frozen(&self) -> Self {
        self.copy(false)
    }

    /// The same arrays with the same gradients: for what must outlive a borrow, and is never written to.
    pub fn handle(&self) -> Self {
        let same = |p: &Parameter| Parameter {
            name: p.name.clone(),
            shape: p.shape.clone(),
            value: p.value.clone(),
            trained: p.trained,
        };
        Self { parameters: self.parameters.iter().map(same).collect(), trainable: self.trainable }
    }

    /// The array of a layer.
    pub fn get(&self, id: ParameterId) -> &Vector {
        &self.parameters[id.0].value
    }

    /// The number of arrays.
    pub fn len(&self) -> usize {
        self.parameters.len()
    }

    /// Whether there is no array.
    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }

    /// The number of values in all arrays.
    pub fn count(&self) -> usize {
        self.parameters.iter().map(|p| p.value.shape()[0]).sum()
    }

    /// Name and extents of each array, in order.
    pub fn outlines(&self) -> impl ExactSizeIterator<Item = (&str, &[usize])> {
        self.parameters.iter().map(|p| (p.name.as_str(), p.shape.as_slice()))
    }

    /// Name, extents and values of each array, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[usize], &[f32])> {
        self.parameters.iter().map(|p| (p.name.as_str(), p.shape.as_slice(), p.value.values()))
    }

    /// The values of each array in order, to be changed in place; zeros of one that was an outline.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.parameters.iter_mut().map(|p| p.value.values_mut())
    }

    /// Moves the gradient of each array out of a backward pass; zeros where the loss did not depend on it.
    pub fn gradients(&self, gradients: &mut Gradients) -> Vec<Vec<f32>> {
        self.parameters
            .iter()
            .map(|p| gradients.take(&p.value).unwrap_or_else(|| vec![0.0; p.value.shape()[0]]))
            .collect()
    }

    /// [`gradients`](Self::gradients) of a pass on a device, without bringing them to the host, in single precision.
    pub fn gradients_on_device(&self, device: &Device, gradients: &mut Gradients) -> Vec<Buffer> {
        let of = |p: &Parameter| match gradients.take_on_device(&p.value) {
            Some(gradient) => done(device.single(&gradient)),
            None => done(device.gpu().zeros(Element::F32, p.value.shape()[0])),
        };
        self.parameters.iter().map(of).collect()
    }

    /// Each array in order, to be changed where it lies.
    pub fn vectors_mut(&mut self) -> impl Iterator<Item = &mut Vector> {
        self.parameters.iter_mut().map(|p| &mut p.value)
    }

    /// Of each array in order, whether training changes it.
    pub fn trained(&self) -> impl Iterator<Item = bool> {
        self.parameters.iter().map(|p| p.trained)
    }

    /// Replaces all values by those of same-named arrays, whatever their order.
    ///
    /// # Errors
    /// [`WeightsError`] for the first missing, misshapen or unexpected array; then nothing has been changed.
    pub fn load(&mut self, arrays: &[(String, Vec<usize>, Vec<f32>)]) -> Result<(), WeightsError> {
        let mut found = Vec::with_capacity(self.len());
        for parameter in &self.parameters {
            let (_, shape, values) = arrays
                .iter()
                .find(|(name, _, _)| *name == parameter.name)
                .ok_or_else(|| WeightsError::Missing(parameter.name.clone()))?;
            if *shape != parameter.shape {
                return Err(WeightsError::Shape {
                    name: parameter.name.clone(),
                    given: shape.clone(),
                    expected: parameter.shape.clone(),
                });
            }
            found.push(values);
        }
        if let Some((name, _, _)) =
            arrays.iter().find(|(n, _, _)| self.parameters.iter().all(|p| p.name != *n))
        {
            return Err(WeightsError::Unexpected(name.clone()));
        }
        for (parameter, values) in self.parameters.iter_mut().zip(found) {
            parameter.value.values_mut().copy_from_slice(values);
        }
        Ok(())
    }

    fn copy(&self, trainable: bool) -> Self {
        let copy = |p: &Parameter| Parameter {
            name: p.name.clone(),
            shape: p.shape.clone(),
            value: p.value.detached(trainable && p.trained),
            trained: p.trained,
        };
        Self { parameters: self.parameters.iter().map(copy).collect(), trainable }
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for Weights {
    fn clone(&self) -> Self {
        self.copy(self.trainable)
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weights({} arrays, {} values)", self.len(), self.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_clone_leaves_the_original_alone() {
        let mut weights = Weights::new();
        weights.add("a", &[2], vec![1.0, 2.0]);
        let mut copy = weights.clone();
        copy.values_mut().next().unwrap()[0] = 7.0;
        assert_eq!(weights.iter().next().unwrap().2, [1.0, 2.0]);
        assert_eq!(copy.iter().next().unwrap().2, [7.0, 2.0]);
    }

    #[test]
    fn an_outline_is_counted_and_filled_and_takes_nothing() {
        let mut weights = Weights::new();
        // Five hundred terabytes.
        let id = weights.add_outline("a", &[1 << 23, 1 << 24], true);
        assert_eq!((weights.count(), weights.get(id).shape()), (1 << 47, [1 << 47]));
        assert_eq!(weights.clone().outlines().next(), Some(("a", &[1 << 23, 1 << 24][..])));
        let mut weights = Weights::new();
        weights.add_outline("b", &[2, 2], true);
        weights.values_mut().for_each(|values| values[1] = 3.0);
        assert_eq!(weights.iter().next().unwrap().2, [0.0, 3.0, 0.0, 0.0]);
    }

    #[test]
    fn loading_is_all_or_nothing() {
        let mut weights = Weights::new();
        weights.add("a", &[2], vec![1.0, 2.0]);
        weights.add("b", &[1], vec![3.0]);
        let array = |name: &str, values: &[f32]| (name.to_string(), vec![values.len()], values.to_vec());
        let (a, b) = (array("a", &[5.0, 6.0]), array("b", &[7.0]));
        assert_eq!(weights.load(std::slice::from_ref(&a)), Err(WeightsError::Missing("b".into())));
        let extra = [a.clone(), b.clone(), array("c", &[0.0])];
        assert_eq!(weights.load(&extra), Err(WeightsError::Unexpected("c".into())));
        assert!(matches!(weights.load(&[array("a", &[5.0]), b.clone()]), Err(WeightsError::Shape { .. })));
        assert_eq!(weights.iter().next().unwrap().2, [1.0, 2.0]);
        weights.load(&[b, a]).unwrap();
        assert_eq!(
            weights.iter().map(|(_, _, v)| v.to_vec()).collect::<Vec<_>>(),
            [vec![5.0, 6.0], vec![7.0]]
        );
    }
}
