//! The bits of entropy-coded data, between two markers.

use crate::JpegError;

/// The most significant bits first. It never reads past a marker.
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte that is not held yet.
    at: usize,
    /// Bits that are held, in its upper end.
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, held: 0, count: 0 }
    }

    /// Holds at least 32 bits, or all there are up to the next marker.
    fn fill(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.bytes.get(self.at) else { return };
            let mut next = self.at + 1;
            if byte == 0xff {
                // Any number of 0xff may stand before a zero, which makes them one byte, or before a marker's number.
                while self.bytes.get(next) == Some(&0xff) {
                    next += 1;
                }
                if self.bytes.get(next) != Some(&0) {
                    return;
                }
                next += 1;
            }
            self.at = next;
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next 16 bits, with zeros behind the end.
    pub(crate) fn peek16(&mut self) -> u32 {
        if self.count < 16 {
            self.fill();
        }
        (self.held >> 48) as u32
    }

    /// Passes over bits, at most 16.
    pub(crate) fn skip(&mut self, count: u32) -> Result<(), JpegError> {
        if self.count < count {
            self.fill();
            if self.count < count {
                return Err(JpegError::Cut("within the picture"));
            }
        }
        self.held <<= count;
        self.count -= count;
        Ok(())
    }

    /// The next bits as a number, at most 16.
    pub(crate) fn take(&mut self, count: u32) -> Result<i32, JpegError> {
        if count == 0 {
            return Ok(0);
        }
        let value = self.peek16() >> (16 - count);
        self.skip(count)?;
        Ok(value as i32)
    }

    /// A number of `count` bits with the sign as JPEG has it: those that begin with 0 are negative (T.81, F.12).
    pub(crate) fn signed(&mut self, count: u32) -> Result<i32, JpegError> {
        let value = self.take(count)?;
        Ok(if count > 0 && value < 1 << (count - 1) { value - (1 << count) + 1 } else { value })
    }

    /// Gives up the bits that are left before the next marker, and stands behind it: its number, which is the byte after
    /// 0xff.
    pub(crate) fn marker(&mut self) -> Result<u8, JpegError> {
        (self.held, self.count) = (0, 0);
        let (number, behind) = next_marker(self.bytes, self.at)?;
        self.at = behind;
        Ok(number)
    }

    /// Where the next marker is looked for.
    pub(crate) fn position(&self) -> usize {
        self.at
    }
}

/// The number of the next marker from `at` on and where it ends. Bytes before it are passed over.
pub(crate) fn next_marker(bytes: &[u8], mut at: usize) -> Result<(u8, usize), JpegError> {
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(start) = rest.iter().position(|&byte| byte == 0xff) else {
            return Err(JpegError::Cut("without its end marker"));
        };
        at += start;
        let Some(number) = rest[start..].iter().position(|&byte| byte != 0xff) else {
            return Err(JpegError::Cut("without its end marker"));
        };
        at += number + 1;
        match bytes[at - 1] {
            0 => {}
            number => return Ok((number, at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_end_at_a_marker_and_stuffed_bytes_are_one() {
        let bytes = [0b1010_0000, 0xff, 0x00, 0xff, 0xff, 0x00, 0xff, 0xd9];
        let mut bits = Bits::new(&bytes, 0);
        assert_eq!(bits.take(3), Ok(0b101));
        assert_eq!(bits.take(5), Ok(0));
        assert_eq!(bits.take(16), Ok(0xffff));
        assert_eq!(bits.take(1), Err(JpegError::Cut("within the picture")));
        assert_eq!(bits.marker(), Ok(0xd9));
        assert!(bits.marker().is_err());
    }

    #[test]
    fn numbers_that_begin_with_zero_are_negative() {
        let mut bits = Bits::new(&[0b0111_0000], 0);
        assert_eq!(bits.signed(2), Ok(-2));
        assert_eq!(bits.signed(2), Ok(3));
        assert_eq!(bits.signed(1), Ok(-1));
        assert_eq!(bits.signed(0), Ok(0));
    }
}
