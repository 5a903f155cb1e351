//! Weights as few bytes: trained ones in half precision, the upper bytes of all before the lower, which a general
//! compressor makes a sixth smaller than pairs; those that training leaves as they are (frequencies, whose errors
//! multiply) in single precision.

use cm_network::{NetworkConfigError, Weights};
use half::f16;

/// Weights that a page cannot hold.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PackError {
    /// The card's network cannot be.
    #[error(transparent)]
    Network(#[from] NetworkConfigError),
    /// They are not those of the card's network.
    #[error("the weights have no array `{name}` of the shape {shape:?}, as the network has")]
    Missing {
        /// Name of the array.
        name: String,
        /// Its extents.
        shape: Vec<usize>,
    },
    /// One is not finite in half precision.
    #[error("the weight {value} of `{name}` is beyond half precision, which ends at {}", f16::MAX)]
    Beyond {
        /// Name of the array.
        name: String,
        /// The value.
        value: f32,
    },
}

/// The bytes of those of `weights` that `network` has, in its order; others are of use to training only.
///
/// # Errors
/// [`PackError`] for the first array that is not there, or the first value that is not finite in half precision.
pub(crate) fn pack(network: &Weights, weights: &Weights) -> Result<Vec<u8>, PackError> {
    let (mut upper, mut lower, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for ((name, shape), trained) in network.outlines().zip(network.trained()) {
        let found = weights.iter().find(|(other, extents, _)| *other == name && *extents == shape);
        let missing = || PackError::Missing { name: name.to_owned(), shape: shape.to_vec() };
        for &value in found.ok_or_else(missing)?.2 {
            if !trained {
                whole.extend(value.to_le_bytes());
                continue;
            }
            let half = f16::from_f32(value);
            if !half.is_finite() {
                return Err(PackError::Beyond { name: name.to_owned(), value });
            }
            let [low, high] = half.to_le_bytes();
            upper.push(high);
            lower.push(low);
        }
    }
    Ok([upper, lower, whole].concat())
}

/// How many bytes the weights of these extents are.
fn len(weights: &Weights) -> usize {
    let each = weights.outlines().zip(weights.trained());
    each.map(|((_, shape), trained)| shape.iter().product::<usize>() * if trained { 2 } else { 4 }).sum()
}

/// Fills weights, of which the extents are known, from their bytes; false, and nothing is changed, if these are more or
/// fewer.
pub(crate) fn unpack(bytes: &[u8], weights: &mut Weights) -> bool {
    if bytes.len() != len(weights) {
        return false;
    }
    let trained: Vec<bool> = weights.trained().collect();
    let halves = weights.outlines().zip(&trained).filter(|(_, trained)| **trained);
    let halves: usize = halves.map(|((_, shape), _)| shape.iter().product::<usize>()).sum();
    let (upper, rest) = bytes.split_at(halves);
    let (lower, whole) = rest.split_at(halves);
    let mut halves = upper.iter().zip(lower).map(|(&high, &low)| f16::from_le_bytes([low, high]).to_f32());
    let mut whole = whole.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
    for (values, trained) in weights.values_mut().zip(trained) {
        for value in values {
            *value = if trained { halves.next() } else { whole.next() }.expect("as many as were counted");
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_come_back_in_half_precision_and_fixed_ones_to_the_bit() {
        let mut weights = Weights::new();
        weights.add("a", &[3], vec![1.0, -0.1, 3e-8]);
        weights.add_untrained("frequencies", &[2], vec![0.1, -1e20]);
        weights.add("b", &[1], vec![65_504.0]);
        weights.add("of training only", &[1], vec![1.0]);
        let mut back = Weights::new();
        back.add_outline("b", &[1], true);
        back.add_outline("frequencies", &[2], false);
        back.add_outline("a", &[3], true);
        let bytes = pack(&back, &weights).unwrap();
        assert_eq!(bytes.len(), 2 * 4 + 4 * 2);
        assert!(!unpack(&bytes[1..], &mut back));
        assert!(unpack(&bytes, &mut back));
        let values: Vec<&[f32]> = back.iter().map(|(_, _, values)| values).collect();
        assert_eq!(values[1], [0.1, -1e20]);
        assert_eq!((values[2][0], values[0]), (1.0, &[65_504.0][..]));
        assert!((values[2][1] + 0.1).abs() < 5e-5 && (values[2][2] - 3e-8).abs() < 3.1e-8);
    }

    #[test]
    fn what_cannot_be_held_is_named() {
        let with = |value: f32| {
            let mut weights = Weights::new();
            weights.add("a", &[1], vec![0.0]);
            weights.add("big", &[2], vec![1.0, value]);
            weights
        };
        for value in [70_000.0, f32::NAN] {
            let error = pack(&with(1.0), &with(value)).unwrap_err();
            assert!(matches!(&error, PackError::Beyond { name, .. } if name == "big"), "{error}");
        }
        let mut other = Weights::new();
        other.add_outline("big", &[3], true);
        let error = pack(&other, &with(1.0)).unwrap_err();
        assert_eq!(error, PackError::Missing { name: "big".to_owned(), shape: vec![3] });
    }
}
