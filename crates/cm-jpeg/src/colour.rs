//! From the planes' colours to red, green and blue, in fixed point as libjpeg has it; four inks as Pillow has them.

/// What the planes of a picture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    /// One plane of brightness.
    Grey,
    /// Brightness and two differences (BT.601, full range).
    YCbCr,
    /// Red, green, blue.
    Rgb,
    /// Four inks, stored inverted, as Adobe's programs do.
    Cmyk,
    /// Brightness and differences of three inks, and black.
    Ycck,
}

impl Colours {
    /// What `ids.len()` planes of these names are: `jfif` if there is a JFIF header, `adobe` the transformation that
    /// Adobe's names (libjpeg's `default_decompress_parms`).
    pub(crate) fn of(ids: &[u8], jfif: bool, adobe: Option<u8>) -> Self {
        match (ids.len(), adobe) {
            (1, _) => Self::Grey,
            (4, Some(2)) => Self::Ycck,
            (4, _) => Self::Cmyk,
            _ if jfif => Self::YCbCr,
            (_, Some(0)) => Self::Rgb,
            (_, Some(_)) => Self::YCbCr,
            (_, None) if ids == *b"RGB" => Self::Rgb,
            (_, None) => Self::YCbCr,
        }
    }

    /// Channels of the picture.
    pub(crate) fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::YCbCr | Self::Rgb | Self::Cmyk | Self::Ycck => 3,
        }
    }

    /// A row of the picture from those of its planes.
    pub(crate) fn convert(self, rows: &[Vec<u8>], out: &mut [u8]) {
        let pixel = |x: usize| -> [u8; 3] { [rows[0][x], rows[1][x], rows[2][x]] };
        let pixels = out.chunks_exact_mut(self.channels()).enumerate();
        match self {
            Self::Grey => pixels.for_each(|(x, pixel)| pixel[0] = rows[0][x]),
            Self::Rgb => pixels.for_each(|(x, out)| out.copy_from_slice(&pixel(x))),
            Self::YCbCr => pixels.for_each(|(x, out)| out.copy_from_slice(&rgb(pixel(x)))),
            Self::Cmyk => pixels.for_each(|(x, out)| out.copy_from_slice(&printed(pixel(x), rows[3][x]))),
            // libjpeg inverts the inks it works out, as if black were not stored inverted too.
            Self::Ycck => pixels.for_each(|(x, out)| {
                let inks = rgb(pixel(x)).map(|value| 255 - value);
                out.copy_from_slice(&printed(inks, rows[3][x]));
            }),
        }
    }
}

/// A factor with 16 bits behind the point.
const fn fixed(value: f64) -> i32 {
    (value * 65536.0 + 0.5) as i32
}

/// Red, green and blue of brightness and differences.
fn rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = (fixed(1.40200) * cr + HALF) >> 16;
    let green = (-fixed(0.34414) * cb - fixed(0.71414) * cr + HALF) >> 16;
    let blue = (fixed(1.77200) * cb + HALF) >> 16;
    [red, green, blue].map(|difference| (y + difference).clamp(0, 255) as u8)
}

/// The colour of three inks over black, all stored inverted.
fn printed(inks: [u8; 3], black: u8) -> [u8; 3] {
    let light = i32::from(black);
    inks.map(|ink| {
        let product = (255 - i32::from(ink)) * light + 128;
        (light - (((product >> 8) + product) >> 8)).clamp(0, 255) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greys_stay_greys_and_colours_are_bt_601s() {
        for y in [0, 1, 127, 128, 255] {
            assert_eq!(rgb([y, 128, 128]), [y; 3]);
        }
        // Pure red, green and blue as BT.601 has them, rounded.
        assert_eq!(rgb([76, 85, 255]), [254, 0, 0]);
        assert_eq!(rgb([150, 44, 21]), [0, 255, 1]);
        assert_eq!(rgb([29, 255, 107]), [0, 0, 254]);
    }

    #[test]
    fn planes_are_named_by_headers_before_names() {
        let of = Colours::of;
        assert_eq!(of(&[1], true, Some(0)), Colours::Grey);
        assert_eq!(of(&[1, 2, 3], false, None), Colours::YCbCr);
        assert_eq!(of(b"RGB", false, None), Colours::Rgb);
        assert_eq!(of(b"RGB", true, None), Colours::YCbCr);
        assert_eq!(of(&[1, 2, 3], false, Some(0)), Colours::Rgb);
        assert_eq!(of(&[1, 2, 3, 4], false, Some(2)), Colours::Ycck);
        assert_eq!(of(&[1, 2, 3, 4], false, None), Colours::Cmyk);
    }

    #[test]
    fn no_ink_is_white_and_black_is_black() {
        assert_eq!(printed([255; 3], 255), [255; 3]);
        assert_eq!(printed([255; 3], 0), [0; 3]);
        assert_eq!(printed([0, 255, 255], 255), [0, 255, 255]);
    }
}
