//! What the headers say: sizes, components, tables.

use crate::JpegError;
use crate::huffman::Huffman;

/// Where the coefficients of a block stand, in the order they are coded (T.81, Figure A.6).
pub(crate) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Sampling factors at most.
const MOST_SAMPLING: usize = 4;

/// One of a picture's planes.
#[derive(Clone, Debug)]
pub(crate) struct Component {
    pub(crate) id: u8,
    /// Samples of it to one unit of the picture, across and down.
    pub(crate) sampling: (usize, usize),
    /// Which table of steps it has.
    pub(crate) steps: usize,
    /// Its columns and rows of samples.
    pub(crate) size: (usize, usize),
    /// Its columns and rows of blocks, in whole units.
    pub(crate) blocks: (usize, usize),
}

/// The size of a picture and its planes.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) progressive: bool,
    pub(crate) components: Vec<Component>,
    /// The largest sampling factors, across and down.
    pub(crate) sampling: (usize, usize),
    /// Units of the picture, each of `8 sampling` pixels, across and down.
    pub(crate) units: (usize, usize),
}

impl Frame {
    /// The frame in the segment of an SOF marker; `most` pixels are allowed.
    pub(crate) fn new(segment: &[u8], progressive: bool, most: usize) -> Result<Self, JpegError> {
        let short = JpegError::Damaged("the frame's header is too short");
        let [bits, h0, h1, w0, w1, count, rest @ ..] = segment else { return Err(short) };
        if *bits != 8 {
            return Err(JpegError::Unsupported("a JPEG of other than 8 bits"));
        }
        let (height, width) =
            (usize::from(u16::from_be_bytes([*h0, *h1])), usize::from(u16::from_be_bytes([*w0, *w1])));
        if height == 0 {
            return Err(JpegError::Unsupported("a JPEG that says its height behind the picture (DNL)"));
        }
        if width == 0 {
            return Err(JpegError::Damaged("a width of zero"));
        }
        if height.saturating_mul(width) > most {
            return Err(JpegError::TooLarge { height, width, most });
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(JpegError::Unsupported("a JPEG of other than 1, 3 or 4 components"));
        }
        let count = usize::from(*count);
        if rest.len() < 3 * count {
            return Err(short);
        }
        let mut components = Vec::with_capacity(count);
        for part in rest.chunks_exact(3).take(count) {
            let sampling = (usize::from(part[1] >> 4), usize::from(part[1] & 15));
            let possible = 1..=MOST_SAMPLING;
            if !possible.contains(&sampling.0) || !possible.contains(&sampling.1) || part[2] > 3 {
                return Err(JpegError::Damaged("a component's sampling or table is none"));
            }
            let steps = usize::from(part[2]);
            components.push(Component { id: part[0], sampling, steps, size: (0, 0), blocks: (0, 0) });
        }
        let largest = |of: fn(&Component) -> usize| components.iter().map(of).max().unwrap_or(1);
        let sampling = (largest(|component| component.sampling.0), largest(|component| component.sampling.1));
        let units = (width.div_ceil(8 * sampling.0), height.div_ceil(8 * sampling.1));
        for component in &mut components {
            let (across, down) = component.sampling;
            component.size = ((width * across).div_ceil(sampling.0), (height * down).div_ceil(sampling.1));
            component.blocks = (units.0 * across, units.1 * down);
        }
        Ok(Self { width, height, progressive, components, sampling, units })
    }
}

/// Tables that stand until another takes their place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    /// Steps of quantisation, by row and column.
    pub(crate) steps: [Option<[u16; 64]>; 4],
    /// Codes of first coefficients.
    pub(crate) dc: [Option<Huffman>; 4],
    /// Codes of the others.
    pub(crate) ac: [Option<Huffman>; 4],
    /// Units between two restart markers; 0: there are none.
    pub(crate) restart: usize,
}

impl Tables {
    /// Reads a DQT segment.
    pub(crate) fn read_steps(&mut self, mut segment: &[u8]) -> Result<(), JpegError> {
        let short = JpegError::Damaged("a table of steps is too short");
        while let [kind, rest @ ..] = segment {
            let (wide, index) = (kind >> 4, usize::from(kind & 15));
            let length = match wide {
                0 => 64,
                1 => 128,
                _ => return Err(JpegError::Damaged("a table of steps of no known width")),
            };
            let Some((values, behind)) = rest.split_at_checked(length) else { return Err(short) };
            let Some(place) = self.steps.get_mut(index) else {
                return Err(JpegError::Damaged("a table of steps has no place"));
            };
            let mut steps = [0; 64];
            for (i, &at) in ZIGZAG.iter().enumerate() {
                steps[usize::from(at)] = match wide {
                    0 => u16::from(values[i]),
                    _ => u16::from_be_bytes([values[2 * i], values[2 * i + 1]]),
                };
            }
            *place = Some(steps);
            segment = behind;
        }
        Ok(())
    }

    /// Reads a DHT segment.
    pub(crate) fn read_codes(&mut self, mut segment: &[u8]) -> Result<(), JpegError> {
        let short = JpegError::Damaged("a table of codes is too short");
        while let [kind, rest @ ..] = segment {
            let Some((counts, rest)) = rest.split_at_checked(16) else { return Err(short) };
            let total = counts.iter().map(|&count| usize::from(count)).sum();
            let Some((symbols, behind)) = rest.split_at_checked(total) else { return Err(short) };
            let places = match kind >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return Err(JpegError::Damaged("a table of codes of no known kind")),
            };
            let Some(place) = places.get_mut(usize::from(kind & 15)) else {
                return Err(JpegError::Damaged("a table of codes has no place"));
            };
            *place = Some(Huffman::new(counts, symbols)?);
            segment = behind;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_cut_into_whole_units() {
        // 17 columns and 9 rows; 2x2, 1x1, 1x1.
        let segment = [8, 0, 9, 0, 17, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1];
        let frame = Frame::new(&segment, false, 1000).unwrap();
        assert_eq!((frame.units, frame.sampling), ((2, 1), (2, 2)));
        assert_eq!((frame.components[0].size, frame.components[0].blocks), ((17, 9), (4, 2)));
        assert_eq!((frame.components[1].size, frame.components[1].blocks), ((9, 5), (2, 1)));
        let refused = |segment: &[u8]| Frame::new(segment, false, 1000).unwrap_err().to_string();
        assert!(Frame::new(&segment, false, 152).unwrap_err().to_string().contains("9x17"));
        assert!(refused(&segment[..9]).contains("too short"));
        assert!(refused(&[12, 0, 9, 0, 17, 3]).contains("8 bits"));
        assert!(refused(&[8, 0, 0, 0, 17, 3]).contains("height"));
        assert!(refused(&[8, 0, 9, 0, 17, 1, 1, 0x51, 0]).contains("sampling"));
    }

    #[test]
    fn every_coefficient_has_a_place() {
        let mut places = ZIGZAG;
        places.sort_unstable();
        assert!(places.iter().enumerate().all(|(i, &place)| i == usize::from(place)));
    }
}
