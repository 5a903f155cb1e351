//! The module's functions, as a script calls them. They take and give numbers only: what is longer goes through two
//! buffers of the module's memory, at addresses that the script is told.
//!
//! Each name begins with the version of this interface: a page is made of a module and a script of one version.

#![expect(
    unsafe_code,
    reason = "a script finds functions by names that nothing else in the program may have"
)]

use crate::artist::{Artist, Pixels};
use std::cell::RefCell;

/// What stands for each image's own class.
const ANY_CLASS: u32 = u32::MAX;

#[derive(Default)]
struct State {
    artist: Option<Artist>,
    /// What the script gives.
    given: Vec<u8>,
    /// What it is answered: pixels and classes, or why there are none, in words.
    answer: Vec<u8>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Keeps the answer; 1 if it is what was asked for, 0 if it is an error.
fn answered(work: impl FnOnce(&mut State) -> Result<Vec<u8>, String>) -> u32 {
    STATE.with_borrow_mut(|state| {
        let (answer, well) = match work(state) {
            Ok(answer) => (answer, 1),
            Err(error) => (error.into_bytes(), 0),
        };
        state.answer = answer;
        well
    })
}

/// Pixels, and then the classes, four bytes each, the least significant first.
fn bytes((mut pixels, classes): Pixels) -> Vec<u8> {
    pixels.extend(classes.into_iter().flat_map(u32::to_le_bytes));
    pixels
}

fn artist(state: &State) -> Result<&Artist, String> {
    state.artist.as_ref().ok_or_else(|| "no model was opened".to_owned())
}

// SAFETY, of this name and those below: it begins with this crate's, and no other crate has such a one.
/// Makes room for so many bytes that the script gives, and says where.
#[unsafe(no_mangle)]
extern "C" fn cm_web_1_room(len: usize) -> *mut u8 {
    STATE.with_borrow_mut(|state| {
        state.given = vec![0; len];
        state.given.as_mut_ptr()
    })
}

/// Opens the model that was given.
#[unsafe(no_mangle)]
extern "C" fn cm_web_1_open() -> u32 {
    answered(|state| {
        let given = std::mem::take(&mut state.given);
        state.artist = Some(Artist::open(&given).map_err(|error| error.to_string())?);
        Ok(Vec::new())
    })
}

/// Draws images, see [`Artist::draw`].
#[unsafe(no_mangle)]
extern "C" fn cm_web_1_draw(seed: u64, first: u32, count: usize, class: u32, evaluations: usize) -> u32 {
    answered(|state| {
        let class = (class != ANY_CLASS).then_some(class);
        let drawn = artist(state)?.draw(seed, first, count, class, evaluations);
        drawn.map(bytes).map_err(|error| error.to_string())
    })
}

/// Completes the image that was given: its pixels, and a byte for each place, 0 where it is not known. See
/// [`Artist::fill_in`].
#[unsafe(no_mangle)]
extern "C" fn cm_web_1_fill_in(seed: u64, class: u32, pixels: usize) -> u32 {
    answered(|state| {
        let (image, mask) = state.given.split_at_checked(pixels).ok_or("the image was not given")?;
        let known: Vec<bool> = mask.iter().map(|&known| known != 0).collect();
        let class = (class != ANY_CLASS).then_some(class);
        let drawn = artist(state)?.fill_in(seed, class, image, &known);
        drawn.map(bytes).map_err(|error| error.to_string())
    })
}

/// Where the answer is.
#[unsafe(no_mangle)]
extern "C" fn cm_web_1_answer() -> *const u8 {
    STATE.with_borrow(|state| state.answer.as_ptr())
}

/// Its bytes.
#[unsafe(no_mangle)]
extern "C" fn cm_web_1_answer_len() -> usize {
    STATE.with_borrow(|state| state.answer.len())
}
