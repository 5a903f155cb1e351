//! The coefficients of a scan: all of some planes (baseline), or a part of them that adds to what was there
//! (progressive; T.81, Annex G).

use crate::JpegError;
use crate::bits::Bits;
use crate::frame::{Component, Frame, Tables, ZIGZAG};
use crate::huffman::Huffman;

/// The coefficients of a plane: 64 for each block, blocks in rows.
pub(crate) type Plane = Vec<[i16; 64]>;

/// What a scan holds.
struct Scan {
    /// Planes, each with its numbers of tables for first and other coefficients.
    planes: Vec<(usize, usize, usize)>,
    /// The first coefficient and the last, in coded order.
    band: (usize, usize),
    /// Bits that were left out before this scan; 0: it is the first of its band.
    before: u8,
    /// Bits that are left out still.
    after: u8,
}

impl Scan {
    /// From the segment of an SOS marker.
    fn new(segment: &[u8], frame: &Frame) -> Result<Self, JpegError> {
        let damaged = |what| Err(JpegError::Damaged(what));
        let [count, rest @ ..] = segment else { return damaged("a scan's header is too short") };
        let count = usize::from(*count);
        if !(1..=frame.components.len()).contains(&count) {
            return damaged("a scan of no such number of components");
        }
        let Some((named, &[first, last, bits])) =
            rest.split_at_checked(2 * count).and_then(|(named, rest)| {
                let three: &[u8; 3] = rest.get(..3)?.try_into().ok()?;
                Some((named, three))
            })
        else {
            return damaged("a scan's header is too short");
        };
        let mut planes: Vec<(usize, usize, usize)> = Vec::with_capacity(count);
        for pair in named.chunks_exact(2) {
            let plane = frame.components.iter().position(|component| component.id == pair[0]);
            let Some(plane) = plane.filter(|plane| planes.iter().all(|&(other, ..)| other != *plane)) else {
                return damaged("a scan of a component that is not there, or twice");
            };
            planes.push((plane, usize::from(pair[1] >> 4), usize::from(pair[1] & 15)));
        }
        let (first, last, before, after) = (usize::from(first), usize::from(last), bits >> 4, bits & 15);
        if !frame.progressive {
            return Ok(Self { planes, band: (0, 63), before: 0, after: 0 });
        }
        let band = if first == 0 { last == 0 } else { last >= first && last < 64 && count == 1 };
        if !band || after > 13 || (before != 0 && before != after + 1) {
            return damaged("a scan of coefficients that cannot be");
        }
        Ok(Self { planes, band: (first, last), before, after })
    }
}

/// Reads the scan whose header is `segment` and whose data begin at `at`; returns where it ended.
pub(crate) fn read(
    bytes: &[u8],
    at: usize,
    segment: &[u8],
    frame: &Frame,
    tables: &Tables,
    planes: &mut [Plane],
) -> Result<usize, JpegError> {
    let scan = Scan::new(segment, frame)?;
    let mut reader = Reader {
        bits: Bits::new(bytes, at),
        scan: &scan,
        progressive: frame.progressive,
        predictions: [0; 4],
        empty: 0,
    };
    let codes = scan
        .planes
        .iter()
        .map(|&(_, dc, ac)| Codes {
            dc: tables.dc.get(dc).and_then(Option::as_ref),
            ac: tables.ac.get(ac).and_then(Option::as_ref),
        })
        .collect::<Vec<_>>();
    // A scan of one plane has its blocks in rows, without those that only fill its last unit.
    let alone = scan.planes.len() == 1;
    let (across, down) = match alone {
        true => {
            let Component { size: (width, height), .. } = frame.components[scan.planes[0].0];
            (width.div_ceil(8), height.div_ceil(8))
        }
        false => frame.units,
    };
    let mut restarts = 0;
    for unit in 0..across * down {
        if tables.restart > 0 && unit > 0 && unit % tables.restart == 0 {
            reader.restart(restarts)?;
            restarts = (restarts + 1) % 8;
        }
        let (x, y) = (unit % across, unit / across);
        for (index, &(plane, ..)) in scan.planes.iter().enumerate() {
            let Component { sampling, blocks, .. } = frame.components[plane];
            let (wide, high) = if alone { (1, 1) } else { sampling };
            for row in 0..high {
                for column in 0..wide {
                    let block = (y * high + row) * blocks.0 + x * wide + column;
                    reader.block(&mut planes[plane][block], &codes[index], index)?;
                }
            }
        }
    }
    Ok(reader.bits.position())
}

/// The tables of a plane in a scan.
struct Codes<'a> {
    dc: Option<&'a Huffman>,
    ac: Option<&'a Huffman>,
}

fn given(table: Option<&Huffman>) -> Result<&Huffman, JpegError> {
    table.ok_or(JpegError::Damaged("a scan names a table of codes that is not there"))
}

struct Reader<'a> {
    bits: Bits<'a>,
    scan: &'a Scan,
    progressive: bool,
    /// The last first coefficient of each plane in the scan.
    predictions: [i32; 4],
    /// Blocks in which the band is empty from here on.
    empty: u32,
}

impl Reader<'_> {
    fn restart(&mut self, number: u8) -> Result<(), JpegError> {
        if self.bits.marker()? != 0xd0 + number {
            return Err(JpegError::Damaged("a restart marker is missing"));
        }
        (self.predictions, self.empty) = ([0; 4], 0);
        Ok(())
    }

    fn block(&mut self, block: &mut [i16; 64], codes: &Codes<'_>, index: usize) -> Result<(), JpegError> {
        match (self.progressive, self.scan.band.0, self.scan.before) {
            (false, ..) => {
                self.first(block, given(codes.dc)?, index)?;
                self.whole(block, given(codes.ac)?)
            }
            (true, 0, 0) => self.first(block, given(codes.dc)?, index),
            (true, 0, _) => {
                block[0] |= (self.bits.take(1)? << self.scan.after) as i16;
                Ok(())
            }
            (true, _, 0) => self.band(block, given(codes.ac)?),
            (true, ..) => self.refined(block, given(codes.ac)?),
        }
    }

    /// The first coefficient, as a difference from that of the block before.
    fn first(&mut self, block: &mut [i16; 64], table: &Huffman, index: usize) -> Result<(), JpegError> {
        let length = table.symbol(&mut self.bits)?;
        if length > 15 {
            return Err(JpegError::Damaged("a difference of too many bits"));
        }
        let difference = self.bits.signed(u32::from(length))?;
        self.predictions[index] = self.predictions[index].wrapping_add(difference);
        block[0] = (self.predictions[index] << self.scan.after) as i16;
        Ok(())
    }

    /// All coefficients but the first.
    fn whole(&mut self, block: &mut [i16; 64], table: &Huffman) -> Result<(), JpegError> {
        let mut k = 1;
        while k < 64 {
            let symbol = table.symbol(&mut self.bits)?;
            let (run, length) = (usize::from(symbol >> 4), symbol & 15);
            match (run, length) {
                (15, 0) => k += 16,
                (_, 0) => break,
                _ => {
                    k += run;
                    let value = self.bits.signed(u32::from(length))?;
                    *place(block, k)? = value as i16;
                    k += 1;
                }
            }
        }
        Ok(())
    }

    /// The upper bits of a band.
    fn band(&mut self, block: &mut [i16; 64], table: &Huffman) -> Result<(), JpegError> {
        if self.empty > 0 {
            self.empty -= 1;
            return Ok(());
        }
        let (mut k, last) = self.scan.band;
        while k <= last {
            let symbol = table.symbol(&mut self.bits)?;
            let (run, length) = (usize::from(symbol >> 4), symbol & 15);
            match (run, length) {
                (15, 0) => k += 16,
                (_, 0) => {
                    self.empty = self.empty_blocks(run)? - 1;
                    break;
                }
                _ => {
                    k += run;
                    let value = self.bits.signed(u32::from(length))?;
                    *place(block, k)? = (value << self.scan.after) as i16;
                    k += 1;
                }
            }
        }
        Ok(())
    }

    /// In how many blocks, this one among them, the band is empty: `2^run` and more.
    fn empty_blocks(&mut self, run: usize) -> Result<u32, JpegError> {
        let run = run as u32;
        Ok((1 << run) + self.bits.take(run)? as u32)
    }

    /// One bit more of a band: of coefficients that are not zero, and of those that become so.
    fn refined(&mut self, block: &mut [i16; 64], table: &Huffman) -> Result<(), JpegError> {
        let bit = 1_i16 << self.scan.after;
        let (mut k, last) = self.scan.band;
        while self.empty == 0 && k <= last {
            let symbol = table.symbol(&mut self.bits)?;
            let (run, length) = (usize::from(symbol >> 4), symbol & 15);
            let mut zeros = run;
            let value = match length {
                0 if run < 15 => {
                    self.empty = self.empty_blocks(run)?;
                    break;
                }
                0 => 0,
                1 => match self.bits.take(1)? {
                    1 => bit,
                    _ => -bit,
                },
                _ => return Err(JpegError::Damaged("a correction of more than one bit")),
            };
            // Passes over `run` zeros, and corrects what is not zero on the way.
            while k <= last {
                let coefficient = place(block, k)?;
                if *coefficient != 0 {
                    correct(&mut self.bits, coefficient, bit)?;
                } else if zeros == 0 {
                    *coefficient = value;
                    k += 1;
                    break;
                } else {
                    zeros -= 1;
                }
                k += 1;
            }
        }
        if self.empty > 0 {
            for k in k..=last {
                let coefficient = place(block, k)?;
                if *coefficient != 0 {
                    correct(&mut self.bits, coefficient, bit)?;
                }
            }
            self.empty -= 1;
        }
        Ok(())
    }
}

/// The coefficient that is the `k`-th in coded order.
fn place(block: &mut [i16; 64], k: usize) -> Result<&mut i16, JpegError> {
    let at = ZIGZAG.get(k).ok_or(JpegError::Damaged("a block of more than 64 coefficients"))?;
    Ok(&mut block[usize::from(*at)])
}

/// The next bit of a coefficient that is not zero.
fn correct(bits: &mut Bits<'_>, coefficient: &mut i16, bit: i16) -> Result<(), JpegError> {
    if bits.take(1)? == 1 && *coefficient & bit == 0 {
        *coefficient = coefficient.wrapping_add(if *coefficient > 0 { bit } else { -bit });
    }
    Ok(())
}
