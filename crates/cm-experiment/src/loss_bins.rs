//! The training loss, apart for each range of noise levels.
//!
//! One number for a consistency loss says little: levels differ by orders of magnitude, and the number of levels
//! changes. Means over bins of ln sigma, taken over all steps since the last record, show where a model learns.

use cm_diffusion::SigmaRange;
use cm_training::ImageLoss;

/// Bins over the range of noise levels.
pub const BINS: usize = 16;

/// Sums of losses since the last record. They travel with checkpoints, so that a resumed run records the same means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LossBins {
    range: SigmaRange,
    bins: [(f64, u64); BINS],
}

impl LossBins {
    pub(crate) fn new(range: SigmaRange) -> Self {
        Self { range, bins: [(0.0, 0); BINS] }
    }

    /// The bin of a level; the outermost bins take what lies outside the range.
    fn bin(&self, level: f32) -> usize {
        let (min, max) = (f64::from(self.range.min().get()), f64::from(self.range.max().get()));
        let place = (f64::from(level) / min).ln() / (max / min).ln();
        // A level of 0 is at minus infinity; the cast saturates.
        ((place * BINS as f64) as usize).min(BINS - 1)
    }

    pub(crate) fn add(&mut self, losses: &[ImageLoss]) {
        for &ImageLoss { level, loss } in losses {
            let (sum, count) = &mut self.bins[self.bin(level)];
            (*sum, *count) = (*sum + loss, *count + 1);
        }
    }

    /// The mean of each bin that has any, named by place and lower edge; then all are empty.
    pub(crate) fn take(&mut self) -> Vec<(String, f64)> {
        let means =
            (self.bins.iter().enumerate()).filter(|(_, (_, count))| *count > 0).map(|(bin, (sum, count))| {
                (format!("loss_by_level/{}", name(self.range, bin)), sum / *count as f64)
            });
        let means = means.collect();
        *self = Self::new(self.range);
        means
    }

    /// One line that [`restore`](Self::restore) reads back to the bit.
    pub(crate) fn to_text(&self) -> String {
        self.bins.map(|(sum, count)| format!("{sum} {count}")).join(",")
    }

    /// Takes over what [`to_text`](Self::to_text) wrote; `None` if it is something else.
    pub(crate) fn restore(&mut self, text: &str) -> Option<()> {
        let mut cells = text.split(',');
        let mut bins = [(0.0, 0); BINS];
        for bin in &mut bins {
            let (sum, count) = cells.next()?.split_once(' ')?;
            *bin = (sum.parse().ok()?, count.parse().ok()?);
        }
        self.bins = bins;
        cells.next().is_none().then_some(())
    }
}

/// The name of a bin: its place and its lower edge, `03_from_0.0123`.
pub(crate) fn name(range: SigmaRange, bin: usize) -> String {
    let (min, max) = (f64::from(range.min().get()), f64::from(range.max().get()));
    format!("{bin:02}_from_{:.3}", min * (max / min).powf(bin as f64 / BINS as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bins() -> LossBins {
        LossBins::new(SigmaRange::new(0.01, 100.0).unwrap())
    }

    fn at(level: f32, loss: f64) -> ImageLoss {
        ImageLoss { level, loss }
    }

    #[test]
    fn losses_fall_into_even_bins_of_the_logarithm() {
        let bins = bins();
        // Four decades over sixteen bins: four bins to a decade.
        let places = [(0.0, 0), (0.001, 0), (0.0101, 0), (0.0999, 3), (0.101, 4), (1.01, 8), (99.9, 15)];
        assert!(places.iter().all(|&(level, bin)| bins.bin(level) == bin));
        assert_eq!([bins.bin(100.0), bins.bin(1e9)], [15, 15]);
    }

    #[test]
    fn means_are_over_all_since_the_last_record_and_empty_bins_have_none() {
        let mut bins = bins();
        bins.add(&[at(0.5, 1.0), at(1.01, 7.0)]);
        bins.add(&[at(0.5, 3.0)]);
        let expected = |name: &str, mean| (format!("loss_by_level/{name}"), mean);
        assert_eq!(bins.take(), [expected("06_from_0.316", 2.0), expected("08_from_1.000", 7.0)]);
        assert_eq!(bins.take(), []);
    }

    #[test]
    fn text_brings_them_back_to_the_bit() {
        let mut before = bins();
        before.add(&[at(0.5, 0.1), at(0.5, 0.2), at(3.0, 1e-30)]);
        let mut after = bins();
        after.restore(&before.to_text()).unwrap();
        assert_eq!(after, before);
        assert_eq!(after.restore("1 2"), None);
        assert_eq!(after.restore(&(before.to_text() + ",1 1")), None);
    }
}
