//! Scores of runs that are not finished, as far as they were taken on the way: marked, and kept out of all others.

use super::{Extra, Part};
use crate::findings::Findings;
use crate::metric::definition;
use cm_experiment::table::Table;
use cm_experiment::{Curve, ReportRow};
use cm_study::{PlannedRun, StudentSamplerConfig};

impl Part {
    /// Adds the last scores of each run that has none at its end, and says how far it was. The model's name has the share
    /// of its training and a star: `student at 25%*`.
    pub(super) fn add_unfinished(&mut self, findings: &Findings) {
        let mut rows: Vec<ReportRow> = Vec::new();
        for run in findings.plan.runs().filter(|run| findings.missing.contains(&run.name())) {
            let of_run = |curves: &[Curve]| -> Vec<(f64, ReportRow)> {
                let last = |curve: &Curve| {
                    let &(images, value) = curve.points.last()?;
                    Some((images, ReportRow { value, ..row(&run, &curve.name)? }))
                };
                curves.iter().filter_map(last).collect()
            };
            let record =
                findings.runs.iter().find(|record| (&record.group, record.seed) == (&run.arm, run.seed));
            let scored = record.map_or_else(Vec::new, |record| of_run(&record.curves));
            let Some(images) = scored.iter().map(|(images, _)| *images).reduce(f64::max) else { continue };
            let planned = run.experiment.consistency.train.images();
            let share = format!(" at {:.0}%*", (100.0 * images / planned as f64).floor());
            self.remarks.push(format!(
                "{}: * of {}: scored on the way, after {images} of {planned} images",
                self.name,
                run.name()
            ));
            // Of a sampler that was scored earlier only, nothing is as new.
            let newest = scored.into_iter().filter(|(at, _)| *at == images);
            rows.extend(newest.map(|(_, row)| ReportRow { model: row.model.clone() + &share, ..row }));
        }
        let Table { metrics, lines } = Table::new(&rows);
        let columns: Vec<usize> = metrics.iter().map(|metric| self.column(metric)).collect();
        for mut line in lines {
            let mut values = vec![Vec::new(); self.metrics.len()];
            for (&column, of_metric) in columns.iter().zip(line.values) {
                values[column] = of_metric;
            }
            line.values = values;
            self.lines.push((line, Extra { is_unfinished: true, ..Extra::default() }));
        }
    }
}

/// What a curve such as `student/one-step/frechet-1000` is a score of, without its value; `None` if it is no score.
fn row(run: &PlannedRun, curve: &str) -> Option<ReportRow> {
    let mut parts = curve.splitn(3, '/');
    let (model, sampler, metric) = (parts.next()?, parts.next()?, parts.next()?);
    definition(metric)?;
    let (_, samples) = metric.rsplit_once('-')?;
    let planned = run.experiment.evaluation.student.iter().find(|config| config.name() == sampler);
    // One of a stage on the way is not planned: `jumps-16` takes as many.
    let of_stage = || sampler.strip_prefix("jumps-")?.parse().ok();
    Some(ReportRow {
        arm: run.arm.clone(),
        seed: run.seed,
        model: model.to_owned(),
        sampler: sampler.to_owned(),
        nfe: planned.map(StudentSamplerConfig::evaluations).or_else(of_stage)?,
        metric: metric.to_owned(),
        value: f64::NAN,
        samples: samples.parse().ok()?,
    })
}
