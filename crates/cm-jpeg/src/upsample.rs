//! Planes of fewer samples at the picture's size: libjpeg's "fancy upsampling", a triangle filter whose roundings
//! alternate so that nothing is lost on the mean, or repetition where that has none.

use crate::JpegError;
use crate::frame::{Component, Frame};

/// How the samples of a plane become a row of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    /// As they are.
    Whole,
    /// Twice as many across.
    Across,
    /// Twice as many down.
    Down,
    /// Twice as many both ways.
    Both,
    /// So many of each, across and down.
    Repeated(usize, usize),
}

/// A plane at the picture's size, row by row.
pub(crate) struct Upsampled<'a> {
    samples: &'a [u8],
    stride: usize,
    /// Its columns and rows.
    size: (usize, usize),
    filter: Filter,
}

impl<'a> Upsampled<'a> {
    /// Of a component's samples, whose rows are whole blocks long.
    pub(crate) fn new(samples: &'a [u8], component: &Component, frame: &Frame) -> Result<Self, JpegError> {
        let (across, down) = component.sampling;
        let (width, height) = frame.sampling;
        if width % across != 0 || height % down != 0 {
            return Err(JpegError::Unsupported(
                "a JPEG whose planes are no whole parts of each other's size",
            ));
        }
        // Of a plane two samples wide there are not three to weigh.
        let filter = match (width / across, height / down, component.size.0 > 2) {
            (1, 1, _) => Filter::Whole,
            (2, 1, true) => Filter::Across,
            (1, 2, _) => Filter::Down,
            (2, 2, true) => Filter::Both,
            (across, down, _) => Filter::Repeated(across, down),
        };
        Ok(Self { samples, stride: 8 * component.blocks.0, size: component.size, filter })
    }

    /// Row `y` of the picture, in place of what is in `row`; it may be longer than the picture is wide.
    pub(crate) fn row(&self, y: usize, row: &mut Vec<u8>) {
        row.clear();
        match self.filter {
            Filter::Whole => row.extend_from_slice(self.input(y)),
            Filter::Repeated(across, down) => {
                row.extend(self.input(y / down).iter().flat_map(|&value| std::iter::repeat_n(value, across)));
            }
            Filter::Across => across(self.input(y), row),
            Filter::Down => {
                let rounding = if y.is_multiple_of(2) { 1 } else { 2 };
                row.extend(self.vertical(y).map(|sum| ((sum + rounding) >> 2) as u8));
            }
            Filter::Both => both(&self.vertical(y).collect::<Vec<_>>(), row),
        }
    }

    fn input(&self, y: usize) -> &[u8] {
        &self.samples[y * self.stride..][..self.size.0]
    }

    /// Three times the row in which row `y` of the picture lies and once the nearer neighbour of it; at the edges itself.
    fn vertical(&self, y: usize) -> impl Iterator<Item = u32> {
        let own = y / 2;
        let neighbour =
            if y.is_multiple_of(2) { own.saturating_sub(1) } else { (own + 1).min(self.size.1 - 1) };
        let pairs = self.input(own).iter().zip(self.input(neighbour));
        pairs.map(|(&own, &neighbour)| 3 * u32::from(own) + u32::from(neighbour))
    }
}

/// Twice as many samples in a row: each is three quarters of its own and a quarter of its neighbour.
fn across(input: &[u8], row: &mut Vec<u8>) {
    let value = |x: usize| u32::from(input[x]);
    let last = input.len() - 1;
    for x in 0..=last {
        let left = if x == 0 { 4 * value(0) } else { 3 * value(x) + value(x - 1) + 1 };
        let right = if x == last { 4 * value(last) } else { 3 * value(x) + value(x + 1) + 2 };
        row.extend([(left >> 2) as u8, (right >> 2) as u8]);
    }
}

/// The same of sums that are four times the samples.
fn both(sums: &[u32], row: &mut Vec<u8>) {
    let last = sums.len() - 1;
    for x in 0..=last {
        let left = if x == 0 { 4 * sums[0] } else { 3 * sums[x] + sums[x - 1] };
        let right = if x == last { 4 * sums[last] } else { 3 * sums[x] + sums[x + 1] };
        row.extend([((left + 8) >> 4) as u8, ((right + 7) >> 4) as u8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_weighed_three_to_one_and_its_ends_are_kept() {
        let mut row = Vec::new();
        across(&[10, 20, 41], &mut row);
        // (30 + 20 + 2) / 4; (60 + 10 + 1) / 4; (60 + 41 + 2) / 4; (123 + 20 + 1) / 4.
        assert_eq!(row, [10, 13, 17, 25, 36, 41]);
        row.clear();
        both(&[40, 80, 164], &mut row);
        // (160 + 8) / 16; (120 + 80 + 7) / 16; (240 + 40 + 8) / 16; (240 + 164 + 7) / 16; (492 + 80 + 8) / 16; (656 + 7) / 16.
        assert_eq!(row, [10, 12, 18, 25, 36, 41]);
    }

    #[test]
    fn a_constant_plane_stays_constant_through_every_filter() {
        for (filter, size) in [
            (Filter::Whole, (4, 2)),
            (Filter::Across, (4, 2)),
            (Filter::Down, (4, 1)),
            (Filter::Both, (4, 1)),
            (Filter::Repeated(4, 2), (2, 1)),
        ] {
            let samples = [77; 64];
            let plane = Upsampled { samples: &samples, stride: 8, size, filter };
            let mut row = Vec::new();
            for y in 0..2 {
                plane.row(y, &mut row);
                assert!(row.iter().all(|&value| value == 77), "{filter:?} {row:?}");
            }
        }
    }
}
