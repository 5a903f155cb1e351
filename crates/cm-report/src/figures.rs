//! From curves to figures: arms on one axis, seeds thin behind their mean, and losses by noise level.

use crate::axis::label;
use crate::figure::{Figure, Line, Scale};
use crate::findings::Findings;
use crate::metric::higher_is_better;
use crate::record::Record;
use crate::reference::Reference;
use crate::thin::thin;
use cm_experiment::BINS;
use std::collections::BTreeMap;

/// Points drawn of a line; a longer one is thinned.
const MOST_POINTS: usize = 400;
/// A range that spans more than this factor is shown by its logarithms.
const WIDE: f64 = 30.0;

/// Figures of what was recorded over training.
pub(super) struct Curves {
    /// Losses, and scores while training.
    pub(super) first: Vec<Figure>,
    /// The rest.
    pub(super) more: Vec<Figure>,
}

/// Every curve that is not of one range of noise levels.
pub(super) fn curves(findings: &Findings, reference: Option<&Reference>) -> Curves {
    let mut names: Vec<&str> = Vec::new();
    for curve in findings.teachers.iter().chain(&findings.runs).flat_map(|record| &record.curves) {
        if bin_of(&curve.name).is_none() && !names.contains(&curve.name.as_str()) {
            names.push(&curve.name);
        }
    }
    let (first, more) = names.into_iter().partition::<Vec<_>, _>(|name| {
        let last = name.rsplit('/').next().unwrap_or(name);
        last == "loss" || higher_is_better(last).is_some()
    });
    let figures = |names: Vec<&str>, prefix: &str| {
        let figure = |(place, name): (usize, &&str)| {
            over_training(findings, reference, name, format!("{prefix}-{place}"))
        };
        names.iter().enumerate().map(figure).collect()
    };
    Curves { first: figures(first, "curve"), more: figures(more, "more") }
}

/// What a curve's name stands for, in words.
fn words(name: &str) -> String {
    let (of, last) = name.rsplit_once('/').unwrap_or(("", name));
    let what = match last {
        "loss" => "training loss",
        "gradient_norm" => "gradient norm",
        "learning_rate" => "learning rate",
        "num_levels" => "number of noise levels N",
        "target_decay" => "target's decay mu",
        _ => return name.to_owned(),
    };
    if of.is_empty() { what.to_owned() } else { format!("{of}: {what}") }
}

fn over_training(findings: &Findings, reference: Option<&Reference>, name: &str, id: String) -> Figure {
    let mut lines = Vec::new();
    let mut thinned = false;
    let (mut several, mut referred) = (false, false);
    for (group, group_name) in findings.groups().into_iter().enumerate() {
        let of_group =
            findings.runs.iter().chain(&findings.teachers).filter(|record| record.group == group_name);
        let seeds: Vec<(u64, &[(f64, f64)])> = of_group
            .filter_map(|record| {
                let curve = record.curves.iter().find(|curve| curve.name == name)?;
                Some((record.seed, curve.points.as_slice()))
            })
            .collect();
        let mut add = |name: String, is_thin: bool, points: Vec<(f64, f64)>| {
            thinned |= points.len() > MOST_POINTS;
            lines.push(Line {
                group,
                name,
                thin: is_thin,
                reference: false,
                points: thin(&points, MOST_POINTS),
            });
        };
        if seeds.len() > 1 {
            several = true;
            add(group_name.to_owned(), false, mean(&seeds));
        }
        for &(seed, points) in &seeds {
            let name =
                if seeds.len() > 1 { format!("{group_name}, seed {seed}") } else { group_name.to_owned() };
            add(name, seeds.len() > 1, points.to_vec());
        }
        if let Some(points) = reference.and_then(|reference| reference.curve(group_name, name)) {
            referred = true;
            let name = format!("{group_name}, reference");
            lines.push(Line { group, name, thin: false, reference: true, points: points.to_vec() });
        }
    }
    let mut caption = format!("{name} over images seen.");
    if let Some(higher) = higher_is_better(name.rsplit('/').next().unwrap_or(name)) {
        caption += if higher { " Higher is better." } else { " Lower is better." };
    }
    if several {
        caption += " Thin lines are seeds, full lines their means.";
    }
    if referred {
        caption += " Dotted lines are a reference that was measured before.";
    }
    if thinned {
        caption += &format!(" Long curves are thinned to {MOST_POINTS} points, peaks kept.");
    }
    let y = Scale { label: String::new(), logarithmic: is_wide(&lines) };
    Figure { id, title: words(name), caption, x: images_seen(), y, lines }
}

fn images_seen() -> Scale {
    Scale { label: "images seen".to_owned(), logarithmic: false }
}

/// Whether all values are positive and far apart.
fn is_wide(lines: &[Line]) -> bool {
    let values =
        || lines.iter().flat_map(|line| &line.points).map(|point| point.1).filter(|value| value.is_finite());
    let low = values().fold(f64::INFINITY, f64::min);
    low > 0.0 && values().fold(0.0, f64::max) > WIDE * low
}

/// The mean over seeds where all have a value.
fn mean(seeds: &[(u64, &[(f64, f64)])]) -> Vec<(f64, f64)> {
    let mut sums: BTreeMap<u64, (f64, usize)> = BTreeMap::new();
    for (x, y) in seeds.iter().flat_map(|(_, points)| points.iter()) {
        // Images are whole numbers.
        let (sum, count) = sums.entry(*x as u64).or_default();
        (*sum, *count) = (*sum + y, *count + 1);
    }
    let common = sums.into_iter().filter(|(_, (_, count))| *count == seeds.len());
    common.map(|(x, (sum, count))| (x as f64, sum / count as f64)).collect()
}

/// The family and the place of a curve of one range of noise levels: `student/residual`, 3.
fn bin_of(name: &str) -> Option<(&str, usize)> {
    let (family, bin) = name.rsplit_once('/')?;
    let (place, _) = bin.split_once("_from_")?;
    Some((family, place.parse().ok().filter(|place| *place < BINS)?))
}

/// Losses and residuals by noise level.
pub(super) struct Levels {
    /// The last recorded values, arms on one axis.
    pub(super) figures: Vec<Figure>,
    /// How they came there, one for each arm.
    pub(super) maps: Vec<LevelMap>,
}

/// A number for each range of noise levels, over training.
pub(super) struct LevelMap {
    pub(super) title: String,
    /// Images seen, one for each column.
    pub(super) images: Vec<f64>,
    /// The middle of each range, lowest first.
    pub(super) levels: Vec<f64>,
    /// For each range one value a column.
    pub(super) values: Vec<Vec<Option<f64>>>,
}

/// Columns of a [`LevelMap`].
const MOST_COLUMNS: usize = 48;

pub(super) fn levels(findings: &Findings, reference: Option<&Reference>) -> Levels {
    let records = || findings.teachers.iter().chain(&findings.runs);
    let mut families: Vec<&str> = Vec::new();
    for (family, _) in records().flat_map(|record| &record.curves).filter_map(|curve| bin_of(&curve.name)) {
        if !families.contains(&family) {
            families.push(family);
        }
    }
    let (mut figures, mut maps) = (Vec::new(), Vec::new());
    for (place, family) in families.into_iter().enumerate() {
        let mut lines: Vec<Line> = Vec::new();
        for (group, name) in findings.groups().into_iter().enumerate() {
            let Some(middles) = middles(findings, name) else { continue };
            let of_group: Vec<&Record> = records().filter(|record| record.group == name).collect();
            let last = |record: &&Record| -> Vec<(f64, f64)> {
                let of_bin = |bin: usize| Some((middles[bin], bins(record, family)[bin]?.last()?.1));
                (0..BINS).filter_map(of_bin).collect()
            };
            let seeds: Vec<Vec<(f64, f64)>> =
                of_group.iter().map(last).filter(|points| !points.is_empty()).collect();
            if seeds.len() > 1 {
                lines.push(Line {
                    group,
                    name: name.to_owned(),
                    thin: false,
                    reference: false,
                    points: mean_of_levels(&seeds),
                });
            }
            let several = seeds.len() > 1;
            for (record, points) in of_group.iter().zip(seeds) {
                let name = if several { format!("{name}, seed {}", record.seed) } else { name.to_owned() };
                lines.push(Line { group, name, thin: several, reference: false, points });
            }
            if let Some(points) = of_group
                .first()
                .zip(reference)
                .and_then(|(record, reference)| last_of_reference(reference, record, family, &middles))
            {
                let name = format!("{name}, reference");
                lines.push(Line { group, name, thin: false, reference: true, points });
            }
            maps.extend(of_group.first().and_then(|record| map(record, family, &middles)));
        }
        let what = match family.rsplit('/').next() {
            Some("residual") => "self-consistency residual",
            Some("loss_by_level") => "training loss",
            Some(_) | None => family,
        };
        let of = family.split('/').next().unwrap_or(family);
        let y = Scale { label: String::new(), logarithmic: is_wide(&lines) };
        figures.push(Figure {
            id: format!("level-{place}"),
            title: format!("{of}: {what} by noise level"),
            caption: format!(
                "{family}: the last recorded mean of each of {BINS} ranges of noise levels, at its middle."
            ),
            x: Scale { label: "noise level".to_owned(), logarithmic: true },
            y,
            lines,
        });
    }
    Levels { figures, maps }
}

/// The reference's values where it ends, for the ranges of a record's family; `None` if it has none.
fn last_of_reference(
    reference: &Reference,
    record: &Record,
    family: &str,
    middles: &[f64],
) -> Option<Vec<(f64, f64)>> {
    let of_family = record.curves.iter().filter_map(|curve| {
        let (_, bin) = bin_of(&curve.name).filter(|(of, _)| *of == family)?;
        let last = reference.curve(&record.group, &curve.name)?.last()?;
        Some((middles[bin], last.1))
    });
    let mut points: Vec<(f64, f64)> = of_family.collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    (!points.is_empty()).then_some(points)
}

fn mean_of_levels(seeds: &[Vec<(f64, f64)>]) -> Vec<(f64, f64)> {
    let at = |x: f64| -> Option<f64> {
        let values: Option<Vec<f64>> = seeds
            .iter()
            .map(|points| points.iter().find(|point| point.0 == x).map(|point| point.1))
            .collect();
        values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
    };
    seeds[0].iter().filter_map(|&(x, _)| Some((x, at(x)?))).collect()
}

/// The middles, by their logarithms, of the ranges of noise levels of a group; of a teacher's, those of the first arm.
fn middles(findings: &Findings, group: &str) -> Option<Vec<f64>> {
    let experiment = findings.experiment(group).or_else(|| Some(&findings.plan.arms.first()?.experiment))?;
    let range = experiment.consistency.discretisation.range().ok()?;
    let (min, max) = (f64::from(range.min().get()), f64::from(range.max().get()));
    Some((0..BINS).map(|bin| min * (max / min).powf((bin as f64 + 0.5) / BINS as f64)).collect())
}

/// The curve of each range.
fn bins<'a>(record: &'a Record, family: &str) -> [Option<&'a [(f64, f64)]>; BINS] {
    let mut found = [None; BINS];
    for curve in &record.curves {
        if let Some((_, bin)) = bin_of(&curve.name).filter(|(of, _)| *of == family) {
            found[bin] = Some(curve.points.as_slice());
        }
    }
    found
}

fn map(record: &Record, family: &str, middles: &[f64]) -> Option<LevelMap> {
    let found = bins(record, family);
    let mut images: Vec<f64> =
        found.iter().flatten().flat_map(|points| points.iter().map(|point| point.0)).collect();
    images.sort_by(f64::total_cmp);
    images.dedup();
    if images.len() < 2 {
        return None;
    }
    let columns = images.len().min(MOST_COLUMNS);
    let images: Vec<f64> =
        (0..columns).map(|column| images[column * (images.len() - 1) / (columns - 1)]).collect();
    let value = |points: &[(f64, f64)], x: f64| points.iter().find(|point| point.0 == x).map(|point| point.1);
    let row = |bin: &Option<&[(f64, f64)]>| {
        images.iter().map(|&x| value((*bin)?, x).filter(|v| v.is_finite())).collect()
    };
    Some(LevelMap {
        title: format!("{}, seed {}: {family}", record.group, record.seed),
        values: found.iter().map(row).collect(),
        levels: middles.to_vec(),
        images,
    })
}

impl LevelMap {
    /// The lowest and the highest value; `None` unless there is one that has a logarithm.
    pub(super) fn extent(&self) -> Option<(f64, f64)> {
        let values = || self.values.iter().flatten().flatten().copied().filter(|value| *value > 0.0);
        let low = values().fold(f64::INFINITY, f64::min);
        low.is_finite().then(|| (low, values().fold(0.0, f64::max)))
    }

    /// What a cell says: `noise level 0.03, 20k images: 0.0012`.
    pub(super) fn cell(&self, bin: usize, column: usize, value: f64) -> String {
        let short = |value: f64| label(format!("{value:.2e}").parse().unwrap_or(value));
        format!(
            "noise level {}, {} images: {}",
            short(self.levels[bin]),
            label(self.images[column]),
            short(value)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_over_images_that_all_seeds_have() {
        let (one, two) = ([(10.0, 1.0), (20.0, 5.0)], [(10.0, 3.0), (30.0, 7.0)]);
        assert_eq!(mean(&[(0, &one), (1, &two)]), [(10.0, 2.0)]);
        assert_eq!(mean_of_levels(&[one.to_vec(), two.to_vec()]), [(10.0, 2.0)]);
    }

    #[test]
    fn ranges_of_noise_levels_are_told_by_their_names() {
        assert_eq!(bin_of("student/loss_by_level/03_from_0.012"), Some(("student/loss_by_level", 3)));
        assert_eq!(bin_of("student/residual/15_from_9.000"), Some(("student/residual", 15)));
        assert_eq!([bin_of("student/loss"), bin_of("a/99_from_1"), bin_of("a/x_from_1")], [None; 3]);
    }
}
