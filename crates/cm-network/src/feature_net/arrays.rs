//! A trained network's arrays by name, as other programs keep them.

use cm_tensor::WeightsError;
use std::collections::BTreeMap;

/// Arrays by name: extents, and values in row-major order. Names and layouts are those of the program they come from
/// (PyTorch's convolutions are `[out, in, rows, columns]`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamedArrays(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

/// Why arrays are not those of a network: every one that is missing or misshapen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", told(network, problems))]
pub struct ArraysError {
    /// The network.
    pub network: &'static str,
    /// What is wrong, in the order of the layers; never empty.
    pub problems: Vec<WeightsError>,
}

/// Problems told before the rest is only counted.
const TOLD: usize = 5;

fn told(network: &str, problems: &[WeightsError]) -> String {
    let list: Vec<String> = problems.iter().take(TOLD).map(ToString::to_string).collect();
    let more = match problems.len().saturating_sub(TOLD) {
        0 => String::new(),
        rest => format!("; and {rest} more"),
    };
    format!("these are not the weights of {network}: {}{more}", list.join("; "))
}

impl FromIterator<(String, Vec<usize>, Vec<f32>)> for NamedArrays {
    fn from_iter<T: IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>>(arrays: T) -> Self {
        Self(arrays.into_iter().map(|(name, shape, values)| (name, (shape, values))).collect())
    }
}

impl NamedArrays {
    /// The names in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The number of values in all arrays.
    pub fn count(&self) -> usize {
        self.0.values().map(|(_, values)| values.len()).sum()
    }

    /// Name, extents and values of each, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[usize], &[f32])> {
        self.0.iter().map(|(name, (shape, values))| (name.as_str(), shape.as_slice(), values.as_slice()))
    }

    /// An array's extents and values.
    pub fn get(&self, name: &str) -> Option<(&[usize], &[f32])> {
        self.0.get(name).map(|(shape, values)| (shape.as_slice(), values.as_slice()))
    }
}

/// Reads a network's arrays, and remembers what did not fit instead of stopping at it.
pub(super) struct Reader<'a> {
    network: &'static str,
    arrays: &'a NamedArrays,
    problems: Vec<WeightsError>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(network: &'static str, arrays: &'a NamedArrays) -> Self {
        Self { network, arrays, problems: Vec::new() }
    }

    /// The array under the first of `names` that is there; `expected` are its extents, 0 where any will do.
    pub(super) fn array(&mut self, names: &[String], expected: &[usize]) -> Option<(Vec<usize>, &'a [f32])> {
        let Some((shape, values)) = names.iter().find_map(|name| self.arrays.get(name)) else {
            self.problems.push(WeightsError::Missing(names[0].clone()));
            return None;
        };
        let fits = shape.len() == expected.len()
            && shape
                .iter()
                .zip(expected)
                .all(|(&given, &wanted)| given > 0 && (wanted == 0 || given == wanted));
        if !fits {
            self.problems.push(WeightsError::Shape {
                name: names[0].clone(),
                given: shape.to_vec(),
                expected: expected.to_vec(),
            });
            return None;
        }
        Some((shape.to_vec(), values))
    }

    /// An error if anything did not fit.
    pub(super) fn finish(self) -> Result<(), ArraysError> {
        let Self { network, problems, .. } = self;
        if problems.is_empty() { Ok(()) } else { Err(ArraysError { network, problems }) }
    }
}

/// `[out, in, rows, columns]` to `[rows, columns, in, out]`, each output's values times its factor.
pub(super) fn to_hwio(shape: &[usize], values: &[f32], factor: impl Fn(usize) -> f32) -> Vec<f32> {
    let [outputs, inputs, rows, columns] = *shape else { unreachable!("checked to be a convolution's") };
    let mut out = vec![0.0; values.len()];
    let pixels = rows * columns;
    for o in 0..outputs {
        let factor = factor(o);
        for i in 0..inputs {
            for p in 0..pixels {
                out[(p * inputs + i) * outputs + o] = factor * values[(o * inputs + i) * pixels + p];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_and_many_are_counted() {
        let arrays: NamedArrays =
            [("a".to_owned(), vec![2, 3], vec![0.0; 6]), ("b".to_owned(), vec![4], vec![0.0; 4])]
                .into_iter()
                .collect();
        let mut reader = Reader::new("a test", &arrays);
        assert!(reader.array(&["a".into()], &[2, 0]).is_some());
        assert!(reader.array(&["x".into(), "b".into()], &[4]).is_some());
        assert!(reader.array(&["b".into()], &[5]).is_none());
        for name in ["c", "d", "e", "f", "g"] {
            assert!(reader.array(&[name.into()], &[0]).is_none());
        }
        let error = reader.finish().unwrap_err().to_string();
        assert!(
            error.starts_with("these are not the weights of a test: weight `b` has shape [4]"),
            "{error}"
        );
        assert!(error.ends_with("; and 1 more"), "{error}");
    }

    #[test]
    fn pixels_come_first_and_outputs_last() {
        // Two outputs of one input, 1x2 pixels.
        assert_eq!(to_hwio(&[2, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0], |o| [1.0, 10.0][o]), [1.0, 30.0, 2.0, 40.0]);
    }
}
