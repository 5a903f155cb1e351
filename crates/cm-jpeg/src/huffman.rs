//! Huffman codes as JPEG gives them: how many there are of each length, and their symbols in order (T.81, Annex C).

use crate::JpegError;
use crate::bits::Bits;

/// Codes up to this length are found by one look.
const SHORT: u32 = 9;

/// One table of codes.
#[derive(Clone, Debug)]
pub(crate) struct Huffman {
    /// By the next [`SHORT`] bits: length and symbol; length 0 of a longer code.
    short: Vec<(u8, u8)>,
    /// Of each length from 1 on: the first code behind those of this length, with zeros behind it to 16 bits, and what its
    /// code is to be diminished by to be the index of its symbol.
    lengths: [(u32, i32); 16],
    symbols: Vec<u8>,
}

impl Huffman {
    /// A table from the number of codes of each length, 1 to 16, and their symbols.
    pub(crate) fn new(counts: &[u8], symbols: &[u8]) -> Result<Self, JpegError> {
        let mut short = vec![(0, 0); 1 << SHORT];
        let mut lengths = [(0, 0); 16];
        let (mut code, mut index) = (0_u32, 0_usize);
        for (length, &count) in (1_u32..=16).zip(counts) {
            let begin = code;
            let offset = code as i32 - index as i32;
            for &symbol in &symbols[index..index + usize::from(count)] {
                if code >> length != 0 {
                    return Err(JpegError::Damaged(
                        "a table of codes has more codes than their lengths allow",
                    ));
                }
                if length <= SHORT {
                    let first = (code << (SHORT - length)) as usize;
                    short[first..first + (1 << (SHORT - length))].fill((length as u8, symbol));
                }
                code += 1;
            }
            index += usize::from(count);
            let behind = if code > begin { code << (16 - length) } else { 0 };
            lengths[length as usize - 1] = (behind, offset);
            code <<= 1;
        }
        Ok(Self { short, lengths, symbols: symbols.to_vec() })
    }

    /// The next symbol.
    pub(crate) fn symbol(&self, bits: &mut Bits<'_>) -> Result<u8, JpegError> {
        let next = bits.peek16();
        let (length, symbol) = self.short[(next >> (16 - SHORT)) as usize];
        if length > 0 {
            bits.skip(u32::from(length))?;
            return Ok(symbol);
        }
        for length in SHORT + 1..=16 {
            let (behind, offset) = self.lengths[length as usize - 1];
            if next < behind {
                bits.skip(length)?;
                let index = (next >> (16 - length)) as i32 - offset;
                return Ok(self.symbols[index as usize]);
            }
        }
        Err(JpegError::Damaged("a code that is in no table"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two codes of two bits, one of three, one of ten: 00, 01, 100, 1010000000.
    #[test]
    fn symbols_of_short_and_long_codes_are_read() {
        let mut counts = [0; 16];
        (counts[1], counts[2], counts[9]) = (2, 1, 1);
        let table = Huffman::new(&counts, &[7, 8, 9, 10]).unwrap();
        let mut bits = Bits::new(&[0b0100_1001, 0b0100_0000, 0b0110_0000], 0);
        let read: Vec<u8> = (0..4).map(|_| table.symbol(&mut bits).unwrap()).collect();
        assert_eq!(read, [8, 7, 9, 10]);
    }

    #[test]
    fn more_codes_than_can_be_and_codes_that_are_none_are_errors() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Huffman::new(&counts, &[1, 2, 3]).is_err());
        counts[0] = 1;
        let table = Huffman::new(&counts, &[1]).unwrap();
        assert!(table.symbol(&mut Bits::new(&[0xfe, 0, 0], 0)).is_err());
    }
}
