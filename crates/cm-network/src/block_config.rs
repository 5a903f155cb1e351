//! What blocks of every family have a choice of.

use serde::{Deserialize, Serialize};

/// How a block halves and doubles height and width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResamplingConfig {
    /// Means of 2x2 pixels; each pixel four times.
    #[default] // Karras et al. 2022, Table 7, DDPM++: no FIR filter
    Plain,
    /// The filter (1, 3, 3, 1) in both directions (Song et al. 2021).
    Fir,
}

/// How many attention heads there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeadsConfig {
    /// So many, at every resolution.
    Count(usize),
    /// One for so many channels.
    Channels(usize),
    /// One for so many channels, rounded down: no attention where there are fewer (Karras et al. 2022, DhariwalUNet).
    Whole(usize),
}

impl HeadsConfig {
    /// The heads of `channels`, 0 where there is no attention; `None` if they cannot be shared out.
    pub(crate) fn of(self, channels: usize) -> Option<usize> {
        let heads = match self {
            Self::Count(heads) => heads,
            Self::Channels(each) => channels.checked_div(each).filter(|heads| heads * each == channels)?,
            Self::Whole(each) => match channels.checked_div(each)? {
                0 => return Some(0),
                heads => heads,
            },
        };
        (heads > 0 && channels.is_multiple_of(heads)).then_some(heads)
    }
}
