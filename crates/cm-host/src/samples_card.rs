//! What a file of samples says of itself, so that whoever scores it later need not guess.

use crate::Identity;
use serde::{Deserialize, Serialize};

/// What drew some samples. Stands as JSON in the array [`SamplesCard::ARRAY`] of `samples.npz`, which other programs
/// pass over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplesCard {
    /// The model: its run, or its file, with the average of the weights.
    pub model: String,
    /// The run that trained it; none of a model that is a file of weights alone.
    #[serde(default)]
    pub of: Option<Identity>,
    /// The sampler, as tables name it.
    pub sampler: String,
    /// Network evaluations for each image.
    pub evaluations: usize,
    /// The seed from which each image's is derived.
    pub seed: u64,
    /// How values became pixels.
    pub quantisation: String,
    /// Version of the program.
    pub version: String,
    /// The instruction set it ran with.
    pub instruction_set: String,
}

impl SamplesCard {
    /// The name of its array.
    pub const ARRAY: &str = "card";

    /// As it stands in the file.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers")
    }

    /// What [`to_json`](Self::to_json) wrote; none of anything else.
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_read_back_and_other_bytes_are_none() {
        let card = SamplesCard {
            model: "cd/seed-0".into(),
            of: Some(Identity::new("student", "cd/seed-0", "(plan)")),
            sampler: "one-step".into(),
            evaluations: 1,
            seed: u64::MAX,
            quantisation: "rounded".into(),
            version: "0".into(),
            instruction_set: "avx2".into(),
        };
        assert_eq!(SamplesCard::from_json(&card.to_json()), Some(card));
        assert_eq!(SamplesCard::from_json(b"{}"), None);
    }
}
