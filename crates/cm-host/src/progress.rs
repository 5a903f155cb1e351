//! How a run tells whoever started it what it is doing. The binary draws bars with it; tests count with it.
//!
//! Deliberately absent: printing, rates and clocks (the binary's business), and anything that ends up in a run
//! folder.

/// What a run reports while it works. Durations are counted in images, never in steps.
///
/// It is called like this, for each piece of work in turn:
///
/// ```text
/// part(1 of 3)                              of a study: which of its trainings it is for
/// phase("l1/seed-0: teacher", 200_000)      the piece of work and its length
///   advance(128, Some(0.31))  ...           after each step: images done by this step and its loss
///   note("checkpoint at 64000 images")      now and then: a line worth keeping
/// finish_phase()
/// ```
pub trait Progress {
    /// The phases that follow belong to this part of the whole.
    fn part(&mut self, _part: Part) {}
    /// A piece of work begins: its name and its length in images (0 = unknown).
    fn phase(&mut self, name: &str, total_images: u64);
    /// `images` more images of the current phase are done; `loss` is the latest training loss if there is one.
    fn advance(&mut self, images: u64, loss: Option<f64>);
    /// One line to keep: what was found, reused or written.
    fn note(&mut self, text: &str);
    /// The current phase is over.
    fn finish_phase(&mut self);
}

/// One of the trainings that a longer work consists of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Its number, from 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
    /// The share of all training that lies before it, 0 to 1.
    pub before: f64,
    /// The share that is done with it, at least `before`.
    pub with: f64,
}

/// Reports nothing to nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn phase(&mut self, _name: &str, _total_images: u64) {}
    fn advance(&mut self, _images: u64, _loss: Option<f64>) {}
    fn note(&mut self, _text: &str) {}
    fn finish_phase(&mut self) {}
}
