//! What is wrong with a configuration: every number of it, not the first alone.

use crate::limits::{MOST_BLOCKS, MOST_CHANNELS, MOST_WIDTH};
use cm_image::ImageShape;

/// Why a network cannot be built: every number that is out of its range or does not fit the images, at least one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct NetworkConfigError(pub Vec<NetworkProblem>);

/// A number that is out of its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} is {given}: {allowed}")]
pub struct NetworkProblem {
    /// Path of the field inside the configuration.
    pub field: &'static str,
    /// The value given.
    pub given: String,
    /// What is allowed.
    pub allowed: String,
}

/// Collects what is wrong with a configuration.
#[derive(Default)]
pub(crate) struct Problems(Vec<NetworkProblem>);

impl Problems {
    /// Notes a problem unless the condition holds.
    pub(crate) fn unless(
        &mut self,
        holds: bool,
        field: &'static str,
        given: impl std::fmt::Debug,
        allowed: impl Into<String>,
    ) {
        if !holds {
            self.0.push(NetworkProblem { field, given: format!("{given:?}"), allowed: allowed.into() });
        }
    }

    /// The factors of a U-Net's resolutions, which must fit the images, and its blocks.
    pub(crate) fn resolutions(
        &mut self,
        channels: usize,
        multipliers: &[usize],
        blocks: usize,
        shape: ImageShape,
    ) {
        let some = !multipliers.is_empty() && multipliers.iter().all(|&m| m > 0);
        self.unless(some, "multipliers", multipliers, "at least one factor, each at least 1");
        let widest = multipliers.iter().max().map_or(0, |&m| channels.saturating_mul(m));
        let narrow = channels > MOST_CHANNELS || widest <= MOST_CHANNELS;
        let allowed = format!("at most {MOST_CHANNELS} channels at a resolution ({channels} x factor)");
        self.unless(narrow, "multipliers", multipliers, allowed);
        let in_all = blocks.saturating_mul(multipliers.len());
        let allowed = format!("at least 1, and at most {MOST_BLOCKS} at all resolutions together");
        self.unless(blocks > 0 && in_all <= MOST_BLOCKS, "blocks", blocks, allowed);
        let halvings = multipliers.len().saturating_sub(1);
        let divides = |extent: usize| halvings < 32 && extent.is_multiple_of(1 << halvings);
        self.unless(
            divides(shape.height) && divides(shape.width),
            "multipliers",
            multipliers,
            format!("images of {shape} can be halved no more than their height and width divide by 2"),
        );
    }

    /// The values of an embedding for each channel.
    pub(crate) fn embedding_multiplier(&mut self, multiplier: usize) {
        let some = (1..=MOST_WIDTH).contains(&multiplier);
        self.unless(some, "embedding_multiplier", multiplier, format!("1 to {MOST_WIDTH}"));
    }

    /// # Errors
    /// If anything was noted.
    pub(crate) fn none(self) -> Result<(), NetworkConfigError> {
        if self.0.is_empty() { Ok(()) } else { Err(NetworkConfigError(self.0)) }
    }
}
