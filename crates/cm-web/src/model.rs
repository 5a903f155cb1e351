//! A model as the page holds it: the length of the card (four bytes, the least significant first), the card as JSON,
//! the weights as `packed.rs` makes them.

use crate::artist::Artist;
use crate::card::{Card, CardError};
use crate::packed::{PackError, pack, unpack};
use cm_network::{NetworkConfigError, Weights};

/// Bytes that are no model.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// They end in the card.
    #[error("the model ends in its card")]
    Short,
    /// The card is no card.
    #[error("the model's card: {0}")]
    Text(#[from] serde_json::Error),
    /// The card cannot be.
    #[error("the model's card: {0}")]
    Card(#[from] CardError),
    /// Its network cannot be.
    #[error("the model's network: {0}")]
    Network(#[from] NetworkConfigError),
    /// The weights are not those of its network.
    #[error("the model holds {bytes} bytes of weights, which are not as many as its network has")]
    Weights {
        /// Bytes behind the card.
        bytes: usize,
    },
}

/// A model as bytes.
///
/// # Errors
/// [`PackError`] if the weights are not those of the card's network, or half precision cannot hold them.
pub fn packed_model(card: &Card, weights: &Weights) -> Result<Vec<u8>, PackError> {
    let (_, network) = card.network.outline(card.shape(), card.conditions())?;
    let card = serde_json::to_vec(card).expect("a card is text and numbers");
    let len = u32::try_from(card.len()).expect("a card is short");
    Ok([len.to_le_bytes().to_vec(), card, pack(&network, weights)?].concat())
}

impl Artist {
    /// Opens a model.
    ///
    /// # Errors
    /// [`OpenError`] if the bytes are none.
    pub fn open(bytes: &[u8]) -> Result<Self, OpenError> {
        let (len, rest) = bytes.split_first_chunk().ok_or(OpenError::Short)?;
        let (card, packed) =
            rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or(OpenError::Short)?;
        let card: Card = serde_json::from_slice(card)?;
        card.check()?;
        let (network, mut weights) = card.network.outline(card.shape(), card.conditions())?;
        match unpack(packed, &mut weights) {
            true => Ok(Self::new(card, network, weights)),
            false => Err(OpenError::Weights { bytes: packed.len() }),
        }
    }
}
