//! A picture from the bytes of a file.

use crate::JpegError;
use crate::bits::next_marker;
use crate::colour::Colours;
use crate::frame::{Frame, Tables};
use crate::idct;
use crate::scan::{self, Plane};
use crate::upsample::Upsampled;

/// A decoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 of a grey picture, 3 (red, green, blue) of any other.
    pub channels: usize,
    /// `height * width * channels` values in [0, 255], in rows of pixels.
    pub values: Vec<u8>,
}

/// The picture in the bytes of a JPEG file of at most `most` pixels; it takes about 12 bytes for each.
///
/// # Errors
/// [`JpegError`] if the file is cut or damaged, is of a kind that is not read, or has more pixels.
pub fn decode(file: &[u8], most: usize) -> Result<Picture, JpegError> {
    if !file.starts_with(&[0xff, 0xd8]) {
        return Err(JpegError::Damaged("it does not begin as a JPEG does"));
    }
    let mut tables = Tables::default();
    let mut started: Option<(Frame, Vec<Plane>)> = None;
    let (mut jfif, mut adobe) = (false, None);
    let mut scans = false;
    let mut at = 2;
    loop {
        let (marker, behind) = next_marker(file, at)?;
        at = behind;
        match marker {
            // End of the picture.
            0xd9 => break,
            // Markers without a segment.
            0x01 | 0xd0..=0xd8 => continue,
            _ => {}
        }
        let segment = segment(file, at)?;
        at += 2 + segment.len();
        match marker {
            0xc0..=0xc2 if started.is_some() => return Err(JpegError::Damaged("two frames")),
            // Baseline, extended, progressive.
            0xc0..=0xc2 => {
                let frame = Frame::new(segment, marker == 0xc2, most)?;
                let blocks = frame.components.iter().map(|component| component.blocks.0 * component.blocks.1);
                let planes = blocks.map(|blocks| vec![[0; 64]; blocks]).collect();
                started = Some((frame, planes));
            }
            0xc3 | 0xc5..=0xc7 | 0xcb | 0xcd..=0xcf => {
                return Err(JpegError::Unsupported("a lossless or hierarchical JPEG"));
            }
            0xc9 | 0xca => return Err(JpegError::Unsupported("a JPEG with arithmetic coding")),
            0xc4 => tables.read_codes(segment)?,
            0xdb => tables.read_steps(segment)?,
            0xdd => match segment {
                [high, low, ..] => tables.restart = usize::from(u16::from_be_bytes([*high, *low])),
                _ => return Err(JpegError::Damaged("the interval of restarts is too short")),
            },
            0xda => {
                let Some((frame, planes)) = &mut started else {
                    return Err(JpegError::Damaged("a scan before its frame"));
                };
                at = scan::read(file, at, segment, frame, &tables, planes)?;
                scans = true;
            }
            0xe0 => jfif |= segment.starts_with(b"JFIF\0"),
            0xee if segment.starts_with(b"Adobe") && segment.len() >= 12 => adobe = Some(segment[11]),
            _ => {}
        }
    }
    let Some((frame, planes)) = started.filter(|_| scans) else {
        return Err(JpegError::Damaged("there is no picture in it"));
    };
    let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
    picture(&frame, planes, &tables, Colours::of(&ids, jfif, adobe))
}

/// The segment that begins at `at` with its length.
fn segment(file: &[u8], at: usize) -> Result<&[u8], JpegError> {
    let cut = JpegError::Cut("within a header");
    let Some(&[high, low]) = file.get(at..at + 2) else { return Err(cut) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < 2 {
        return Err(JpegError::Damaged("a header of no length"));
    }
    file.get(at + 2..at + length).ok_or(cut)
}

/// The picture of its planes' coefficients.
fn picture(
    frame: &Frame,
    planes: Vec<Plane>,
    tables: &Tables,
    colours: Colours,
) -> Result<Picture, JpegError> {
    let mut samples = Vec::with_capacity(planes.len());
    for (component, plane) in frame.components.iter().zip(planes) {
        let steps = tables.steps[component.steps].as_ref();
        let steps = steps.ok_or(JpegError::Damaged("a table of steps is not there"))?;
        let (across, stride) = (component.blocks.0, 8 * component.blocks.0);
        let mut values = vec![0; 64 * plane.len()];
        for (index, block) in plane.iter().enumerate() {
            let corner = index / across * 8 * stride + index % across * 8;
            idct::block(block, steps, &mut values[corner..], stride);
        }
        samples.push(values);
    }
    let mut sources = Vec::with_capacity(samples.len());
    for (component, samples) in frame.components.iter().zip(&samples) {
        sources.push(Upsampled::new(samples, component, frame)?);
    }
    let (height, width, channels) = (frame.height, frame.width, colours.channels());
    let mut values = vec![0; height * width * channels];
    let mut rows = vec![Vec::new(); sources.len()];
    for (y, out) in values.chunks_exact_mut(width * channels).enumerate() {
        for (source, row) in sources.iter().zip(&mut rows) {
            source.row(y, row);
        }
        colours.convert(&rows, out);
    }
    Ok(Picture { height, width, channels, values })
}
