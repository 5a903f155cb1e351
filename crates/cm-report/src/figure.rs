//! A figure of lines: drawn here as SVG, with its numbers beside it for the script of the page.

use crate::axis::{Axis, label};
use maud::{Markup, PreEscaped, html};
use serde::Serialize;
use std::fmt::Write;

/// Lines over a common axis.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// Unique in the page, fit for an attribute.
    pub(super) id: String,
    pub(super) title: String,
    pub(super) caption: String,
    pub(super) x: Scale,
    pub(super) y: Scale,
    pub(super) lines: Vec<Line>,
}

/// What an axis shows, and how at first.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Scale {
    pub(super) label: String,
    #[serde(rename = "log")]
    pub(super) logarithmic: bool,
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    /// Which of the page's groups it belongs to; decides its colour and dashes.
    pub(super) group: usize,
    pub(super) name: String,
    /// One seed of several, behind their mean.
    pub(super) thin: bool,
    /// Measured before, by another run.
    pub(super) reference: bool,
    /// From left to right; those that are not finite are gaps.
    #[serde(serialize_with = "rounded")]
    pub(super) points: Vec<(f64, f64)>,
}

/// Six significant digits are more than a screen has; `null` for what JSON has no number for.
fn rounded<S: serde::Serializer>(points: &[(f64, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    let short =
        |value: f64| -> Option<f64> { format!("{value:.5e}").parse().ok().filter(|v: &f64| v.is_finite()) };
    serializer.collect_seq(points.iter().map(|&(x, y)| (short(x), short(y))))
}

/// Size and margins of the drawing, the same in `page.js`.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 42.0;

/// The colours there are; lines beyond them are dashed.
pub(super) const COLOURS: usize = 8;

/// The classes that give a group its colour and dashes.
pub(super) fn style_of(group: usize) -> String {
    format!("c{} d{}", group % COLOURS, (group / COLOURS).min(3))
}

impl Figure {
    /// The figure; none if no point of it can be drawn.
    pub(super) fn markup(&self) -> Option<Markup> {
        let drawing = self.drawing()?;
        let Self { id, title, caption, x, y, lines } = self;
        let text = serde_json::to_string(&(x, y, lines)).expect("numbers and texts");
        // Nothing in it may look like the end of the script.
        let data = text.replace('<', "\\u003c");
        Some(html! {
            figure.plot id=(id) {
                h3 id={ (id) "-title" } { (title) }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-labelledby={ (id) "-title" }
                    aria-describedby={ (id) "-caption" } { (PreEscaped(drawing)) }
                figcaption id={ (id) "-caption" } { (caption) }
                script type="application/json" { (PreEscaped(data)) }
            }
        })
    }

    fn drawing(&self) -> Option<String> {
        let shown = || self.lines.iter().flat_map(|line| &line.points);
        // Of values that cannot be seen, the place on the other axis does not count.
        let seen = |(x, y): &&(f64, f64)| {
            let fits = |value: f64, scale: &Scale| value.is_finite() && (!scale.logarithmic || value > 0.0);
            fits(*x, &self.x) && fits(*y, &self.y)
        };
        let x = Axis::of(shown().filter(seen).map(|point| point.0), self.x.logarithmic)?;
        let y = Axis::of(shown().filter(seen).map(|point| point.1), self.y.logarithmic)?;
        let across = |value: f64| Some(LEFT + x.place(value)? * (WIDTH - LEFT - RIGHT));
        let down = |value: f64| Some(HEIGHT - BOTTOM - y.place(value)? * (HEIGHT - TOP - BOTTOM));
        let mut text = String::new();
        for (tick, at) in y.ticks().into_iter().filter_map(|tick| Some((tick, down(tick)?))) {
            put(&mut text, format_args!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/>", WIDTH - RIGHT));
            put(
                &mut text,
                format_args!(
                    "<text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    LEFT - 7.0,
                    at + 4.0,
                    label(tick)
                ),
            );
        }
        for (tick, at) in x.ticks().into_iter().filter_map(|tick| Some((tick, across(tick)?))) {
            put(
                &mut text,
                format_args!("<path class=\"grid\" d=\"M{at:.1} {TOP}V{:.1}\"/>", HEIGHT - BOTTOM),
            );
            put(
                &mut text,
                format_args!(
                    "<text class=\"tick middle\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>",
                    HEIGHT - BOTTOM + 17.0,
                    label(tick)
                ),
            );
        }
        let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
        let labelled = html! {
            text class="label middle" x=(middle) y=(HEIGHT - 6.0) { (self.x.label) }
        };
        text += &labelled.0;
        // Means lie over the lines of single seeds.
        let (thin, full): (Vec<&Line>, Vec<&Line>) = self.lines.iter().partition(|line| line.thin);
        for line in thin.into_iter().chain(full) {
            let mut path = String::new();
            let mut next = 'M';
            for &(x, y) in &line.points {
                match across(x).zip(down(y)) {
                    Some((x, y)) => {
                        put(&mut path, format_args!("{next}{x:.1} {y:.1}"));
                        next = 'L';
                    }
                    None => next = 'M',
                }
            }
            let weight = match (line.thin, line.reference) {
                (_, true) => " reference",
                (true, false) => " thin",
                (false, false) => "",
            };
            put(
                &mut text,
                format_args!("<path class=\"line {}{weight}\" d=\"{path}\"/>", style_of(line.group)),
            );
            // A line of one point would not be seen.
            if let [(x, y)] = line.points[..]
                && let Some((x, y)) = across(x).zip(down(y))
            {
                put(
                    &mut text,
                    format_args!(
                        "<circle class=\"dot {}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>",
                        style_of(line.group)
                    ),
                );
            }
        }
        Some(text)
    }
}

/// Writes to a text, which does not fail.
pub(super) fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(points: Vec<(f64, f64)>, logarithmic: bool) -> Figure {
        let scale = |logarithmic| Scale { label: "images".into(), logarithmic };
        Figure {
            id: "f1".into(),
            title: "loss </script> & more".into(),
            caption: "a caption".into(),
            x: scale(false),
            y: scale(logarithmic),
            lines: vec![Line {
                group: 9,
                name: "</script><b>".into(),
                thin: false,
                reference: false,
                points,
            }],
        }
    }

    #[test]
    fn a_gap_is_not_bridged_and_ends_lie_inside_the_margins() {
        let text = figure(vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 3.0)], false)
            .drawing()
            .unwrap();
        let path = text.split("class=\"line c1 d1\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 2), "{path}");
        let first: f64 = path[1..].split(' ').next().unwrap().parse().unwrap();
        assert!(first > LEFT && first < LEFT + 40.0, "{path}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn what_a_logarithm_cannot_show_is_a_gap_and_nothing_at_all_no_figure() {
        let text = figure(vec![(1.0, 1e-3), (2.0, 0.0), (3.0, 10.0)], true).drawing().unwrap();
        assert!(text.contains("M") && !text.contains("inf"), "{text}");
        assert!(figure(vec![(1.0, 0.0), (2.0, f64::NAN)], true).markup().is_none());
        assert!(figure(vec![], false).markup().is_none());
    }

    #[test]
    fn names_cannot_leave_their_place() {
        let text = figure(vec![(0.0, 1.0), (1.0, f64::INFINITY)], false).markup().unwrap().0;
        assert_eq!(text.matches("</script>").count(), 1, "{text}");
        assert!(text.contains("loss &lt;/script&gt; &amp; more") && text.contains("\\u003cb>"), "{text}");
        assert!(text.contains("[[0.0,1.0],[1.0,null]]"), "{text}");
    }
}
