//! One axis of a drawing: where a value lies, and which values are written beside it. `page.js` does the same when a
//! figure is zoomed.

/// From the lowest to the highest value shown, by their logarithms or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    pub(super) logarithmic: bool,
}

impl Axis {
    /// An axis for these values with some room at both ends; a logarithmic one leaves out what is not positive. `None`
    /// if nothing is left.
    pub(super) fn of(values: impl Iterator<Item = f64>, logarithmic: bool) -> Option<Self> {
        let fit = values.filter(|value| value.is_finite() && (!logarithmic || *value > 0.0));
        let transformed = fit.map(|value| if logarithmic { value.log10() } else { value });
        let (low, high) = transformed
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return None;
        }
        let room = match (high - low, logarithmic) {
            (0.0, true) => 0.3,
            (0.0, false) => {
                if low == 0.0 {
                    1.0
                } else {
                    low.abs() * 0.1
                }
            }
            (width, _) => width * 0.04,
        };
        Some(Self { low: low - room, high: high + room, logarithmic })
    }

    /// Where a value lies, 0 at the lower and 1 at the upper end; `None` for one that has no place.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let value = if self.logarithmic { value.log10() } else { value };
        value.is_finite().then(|| (value - self.low) / (self.high - self.low))
    }

    /// Values to write beside the axis.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let width = self.high - self.low;
        if !self.logarithmic {
            return multiples(self.low, self.high, round(width / 5.0));
        }
        if width >= 2.0 {
            let every = (width / 6.0).ceil();
            return multiples(self.low, self.high, every)
                .into_iter()
                .map(|power| 10f64.powf(power))
                .collect();
        }
        let first = self.low.floor() as i32;
        let decades = (first..=self.high.ceil() as i32)
            .flat_map(|power| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(power)));
        let within: Vec<f64> = decades
            .filter(|tick| self.place(*tick).is_some_and(|place| (0.0..=1.0).contains(&place)))
            .collect();
        if within.len() >= 2 {
            return within;
        }
        // Less than a decade: evenly between the ends themselves.
        let (low, high) = (10f64.powf(self.low), 10f64.powf(self.high));
        multiples(low, high, round((high - low) / 5.0))
    }
}

/// The multiples of `step` from `low` to `high`.
fn multiples(low: f64, high: f64, step: f64) -> Vec<f64> {
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).map(|multiple| multiple as f64 * step).collect()
}

/// The least of 1, 2 and 5 times a power of ten that is not less than `step`.
fn round(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0]
        .map(|m| m * power)
        .into_iter()
        .find(|round| *round >= step * 0.999_999)
        .unwrap_or(10.0 * power)
}

/// A number as it stands beside an axis: `80k`, `0.02`, `3e-5`.
pub(super) fn label(value: f64) -> String {
    let rounded = |value: f64| -> f64 { format!("{value:.5e}").parse().unwrap_or(value) };
    match value.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-3..1e9).contains(&size) => format!("{:e}", rounded(value)),
        size if size >= 1e6 => format!("{}M", rounded(value / 1e6)),
        size if size >= 1e4 => format!("{}k", rounded(value / 1e3)),
        _ => rounded(value).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64, logarithmic: bool) -> Vec<String> {
        let axis = Axis::of([low, high].into_iter(), logarithmic).unwrap();
        axis.ticks().into_iter().map(label).collect()
    }

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(labels(0.0, 80_000.0, false), ["0", "20k", "40k", "60k", "80k"]);
        assert_eq!(labels(0.0, 2.5e6, false), ["0", "1M", "2M"]);
        assert_eq!(labels(-0.3, 0.3, false), ["-0.2", "0", "0.2"]);
        assert_eq!(labels(0.02, 20.0, true), ["0.1", "1", "10"]);
        assert_eq!(labels(3e-9, 40.0, true), ["1e-8", "1e-6", "1e-4", "0.01", "1", "100"].map(str::to_owned));
        assert_eq!(labels(0.3, 4.0, true), ["0.5", "1", "2"]);
        assert_eq!(labels(3.1, 3.9, true), ["3.2", "3.4", "3.6", "3.8"]);
    }

    #[test]
    fn values_without_a_place_are_left_out() {
        let axis = Axis::of([f64::NAN, 0.0, -1.0, 1.0, 100.0, f64::INFINITY].into_iter(), true).unwrap();
        assert_eq!((axis.place(0.0), axis.place(f64::INFINITY)), (None, None));
        assert!((axis.place(10.0).unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(Axis::of([0.0, -3.0].into_iter(), true), None);
        assert_eq!(Axis::of([f64::NAN].into_iter(), false), None);
    }

    #[test]
    fn one_value_has_an_axis_around_it() {
        for value in [0.0, -3.0, 1e-12, 5e7] {
            let axis = Axis::of([value].into_iter(), false).unwrap();
            assert!((axis.place(value).unwrap() - 0.5).abs() < 1e-9 && axis.ticks().len() > 1, "{value}");
        }
        assert_eq!(Axis::of([1.0].into_iter(), true).unwrap().ticks(), [1.0, 1.5]);
    }
}
