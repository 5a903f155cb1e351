//! Results of studies in one table, beside what was published of their arms: `cm table`.
//!
//! A published number is compared with scores by the published Inception network and with nothing else: those of the study
//! itself, where its evaluation has that network, and else what `cm evaluate --out RUN/evaluations/SAMPLER` left there. Deliberately absent: computing anything but means.

mod cost;
mod unfinished;
mod write;

use self::cost::Cost;
use crate::error::ReportError;
use crate::findings::Findings;
use cm_evaluator::{InceptionResize, SetMetric};
use cm_experiment::cautions;
use cm_experiment::table::{Table, TableLine, align, mean_and_spread};
use cm_experiment::{ReportRow, identity_of, paired};
use cm_host::{FileError, durable};
use cm_scoring::Card;
use cm_study::{PlannedRun, PublishedValue, StudyConfig, duration, load_to_plan};
use std::path::{Path, PathBuf};

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// Aligned for the terminal, with the differences seed by seed.
    Markdown,
    /// A line for each number.
    Csv,
    /// A `tabular` to be pasted.
    Latex,
}

/// A table, and what is missing in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The table.
    pub text: String,
    /// Runs and evaluations that are not there.
    pub remarks: Vec<String>,
}

/// The table of the studies, or runs, in these folders, or of study files that were never run.
///
/// # Errors
/// [`ReportError`] if one is neither, or a result in it cannot be read.
pub fn compare(paths: &[PathBuf], format: TableFormat) -> Result<Comparison, ReportError> {
    let mut parts = Vec::new();
    for path in paths {
        parts.push(Part::read(path)?);
    }
    let remarks = parts.iter().flat_map(|part| part.remarks.iter().cloned()).collect();
    let text = match format {
        TableFormat::Csv => write::csv(&parts),
        TableFormat::Markdown => {
            let tables = parts.iter().map(|part| {
                let differences = paired::differences_text(&part.rows);
                let differences = differences.map_or_else(String::new, |text| format!("\n{text}"));
                format!("{}\n\n{}{differences}", part.title, align(&part.cells(), 3))
            });
            tables.collect::<Vec<_>>().join("\n")
        }
        TableFormat::Latex => parts.iter().map(Part::latex).collect::<Vec<_>>().join("\n"),
    };
    Ok(Comparison { text, remarks })
}

/// The lines of a study's folder of which something was published, beside that; `None` if nothing was.
///
/// # Errors
/// [`ReportError`] if it is no study, or a result in it cannot be read.
pub fn compare_with_published(folder: &Path) -> Result<Option<Comparison>, ReportError> {
    let mut part = Part::read(folder)?;
    if part.published.is_empty() {
        return Ok(None);
    }
    let compared: Vec<bool> = (part.metrics.iter())
        .map(|metric| part.published.iter().any(|(_, name, _)| name == metric))
        .collect();
    let lines = published_lines(&part.published);
    part.lines
        .retain(|(line, _)| line.is_of_an_arm() && lines.contains(&(line.arm.clone(), line.sampler.clone())));
    let keep = |values: &mut Vec<_>| {
        let mut compared = compared.iter();
        values.retain(|_| compared.next().is_some_and(|compared| *compared));
    };
    part.lines.iter_mut().for_each(|(line, _)| keep(&mut line.values));
    let mut names = compared.iter();
    part.metrics.retain(|_| names.next().is_some_and(|compared| *compared));
    Ok(Some(Comparison { text: align(&part.cells(), 3), remarks: part.remarks }))
}

/// One study.
struct Part {
    title: String,
    name: String,
    /// One column for each of these.
    metrics: Vec<String>,
    lines: Vec<(TableLine, Extra)>,
    /// With the arm's name and that of the metric.
    published: Vec<(String, String, PublishedValue)>,
    rows: Vec<ReportRow>,
    remarks: Vec<String>,
}

/// What a line has beside its scores.
#[derive(Clone, Copy, Default)]
struct Extra {
    /// Images of the evaluations by the Inception network.
    evaluated: Option<usize>,
    /// What the training of its model cost for one seed.
    cost: Cost,
    /// It is of runs that go on, as far as they were scored on their way.
    is_unfinished: bool,
}

/// What a metric of the published network is called here, as in the scores of a study that has it.
fn label(metric: SetMetric) -> String {
    metric.by_inception(true, InceptionResize::Tf1Bilinear)
}

/// Samples of which published numbers are.
const PUBLISHED_SAMPLES: usize = 50_000; // Song et al. 2023, Section 6

impl Part {
    fn read(path: &Path) -> Result<Self, ReportError> {
        let (findings, folder) = if path.is_dir() {
            (Findings::read(path)?, Some(path))
        } else {
            let study = load_to_plan(path, &[])?;
            (Findings::planned(&study.name, study.plan, &study.text), None)
        };
        let study = StudyConfig::as_far_as_readable(&findings.study);
        let mut part = Self {
            title: format!("{} ({})", findings.title, findings.subject),
            name: findings.subject.trim_start_matches("study ").to_owned(),
            metrics: Vec::new(),
            lines: Vec::new(),
            published: (study.published().into_iter())
                .map(|(arm, value)| (arm.to_owned(), label(value.metric), value.clone()))
                .collect(),
            rows: findings.rows.clone(),
            remarks: Vec::new(),
        };
        let Table { metrics, lines } = Table::new(&findings.rows);
        part.metrics = metrics;
        part.lines = lines.into_iter().map(|line| (line, Extra::default())).collect();
        part.remarks.extend(findings.doubt());
        part.remarks
            .extend(findings.missing.iter().map(|run| format!("{}: run {run} is missing", part.name)));
        if !part.rows.is_empty() {
            let cautions = cautions(&findings.plan, &part.rows);
            part.remarks.extend(cautions.into_iter().map(|caution| format!("{}: {caution}", part.name)));
        }
        let metrics: Vec<String> = part.published.iter().map(|(_, metric, _)| metric.clone()).collect();
        for metric in &metrics {
            part.column(metric);
        }
        for (arm, sampler) in published_lines(&part.published) {
            part.line(&findings, &arm, &sampler);
        }
        if let Some(folder) = folder {
            part.add_evaluations(&findings, folder)?;
        }
        part.add_unfinished(&findings);
        part.remark_on_length(&findings, &study);
        part.remark_on_samples();
        part.remark_on_evaluations(&findings);
        part.add_costs(&findings);
        Ok(part)
    }

    /// The number of a metric's column, which is made if there is none.
    fn column(&mut self, metric: &str) -> usize {
        let found = self.metrics.iter().position(|name| name == metric);
        found.unwrap_or_else(|| {
            self.metrics.push(metric.to_owned());
            self.lines.iter_mut().for_each(|(line, _)| line.values.push(Vec::new()));
            self.metrics.len() - 1
        })
    }

    /// The line of an arm's student and sampler, of its first average; it is made if there is none. `None` if the arm
    /// has no such sampler.
    fn line(&mut self, findings: &Findings, arm: &str, sampler: &str) -> Option<usize> {
        let of_arm = |line: &TableLine| line.is_of_an_arm() && line.arm == arm && line.sampler == sampler;
        if let Some(found) = self.lines.iter().position(|(line, _)| of_arm(line)) {
            return Some(found);
        }
        let experiment = findings.experiment(arm)?;
        let config = experiment.evaluation.student.iter().find(|config| config.name() == sampler)?;
        let emas = &experiment.consistency.train.ema;
        let model = match emas.first() {
            Some(ema) if emas.len() > 1 => format!("student-{}", ema.name()),
            Some(_) | None => "student".to_owned(),
        };
        let line = TableLine {
            arm: arm.to_owned(),
            model,
            sampler: sampler.to_owned(),
            nfe: config.evaluations(),
            samples: 0,
            values: vec![Vec::new(); self.metrics.len()],
        };
        self.lines.push((line, Extra::default()));
        Some(self.lines.len() - 1)
    }

    /// What `cm evaluate` left in the runs' folders.
    fn add_evaluations(&mut self, findings: &Findings, folder: &Path) -> Result<(), ReportError> {
        for run in findings.plan.runs() {
            let of_run = folder.join(run.name());
            let of_run = if of_run.is_dir() { of_run } else { folder.to_owned() };
            for sampler in &run.experiment.evaluation.student {
                let path = of_run.join("evaluations").join(sampler.name()).join("evaluation.json");
                let Some(card) = read_card(&path)? else { continue };
                check_drawn(&card, &run, &sampler.name())
                    .map_err(|reason| FileError::damaged(&path, reason))?;
                if !card.features.published || card.features.resize != Some(InceptionResize::Tf1Bilinear) {
                    let what = "it was not made by the published Inception network and the original evaluator's \
                                resizing, and is left out";
                    self.remarks.push(format!("{}: {what}", path.display()));
                    continue;
                }
                let Some(line) = self.line(findings, &run.arm, &sampler.name()) else { continue };
                // What the study has measured itself is not counted twice.
                let own = |metric: &str| self.rows.iter().any(|row| row.stem() == metric);
                let names: Vec<(String, f64)> = (card.metrics.iter())
                    .filter_map(|metric| {
                        let known =
                            SetMetric::ALL.into_iter().find(|known| known.name(true) == metric.metric)?;
                        Some((label(known), metric.value)).filter(|(name, _)| !own(name))
                    })
                    .collect();
                if names.is_empty() {
                    continue;
                }
                for (name, value) in names {
                    let column = self.column(&name);
                    self.lines[line].0.values[column].push(value);
                }
                self.lines[line].1.evaluated = card.samples.images;
            }
        }
        Ok(())
    }

    /// Says how long the whole of a shortened study would take, as fast as it went.
    fn remark_on_length(&mut self, findings: &Findings, study: &StudyConfig) {
        if findings.plan.shortened_by <= 1 {
            return;
        }
        let whole = StudyConfig { shortened_by: 1, ..study.clone() };
        let Ok(whole) = whole.build() else { return };
        let seconds = |group: &str| -> Option<f64> {
            let records = findings.runs.iter().chain(&findings.teachers);
            records.filter(|record| record.group == group).map(|record| record.seconds).sum()
        };
        let costs = || findings.costs.iter().zip(whole.plan.cost());
        // Those of which it is known how fast they went.
        let students = costs().filter_map(|(short, whole)| {
            let took = seconds(&short.arm)?;
            (took > 0.0).then(|| (took, took * whole.student.flops / short.student.flops))
        });
        let teacher = costs().find_map(|(short, whole)| {
            let (short, whole) = (short.teacher?, whole.teacher?);
            let took = seconds("teacher")?;
            (took > 0.0).then(|| (took, took * whole.flops / short.flops))
        });
        let known: Vec<(f64, f64)> = students.chain(teacher).collect();
        let (took, in_full) = known.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        if in_full > 0.0 {
            self.remarks.push(format!(
                "{}: {} trainings took {}; the whole study's would take about {} as fast, without scores and pictures",
                self.name,
                known.len(),
                duration(took),
                duration(in_full)
            ));
        }
    }

    /// Says where the study's own scores by the published network are of fewer samples than published numbers.
    fn remark_on_samples(&mut self) {
        let compared = |metric: &&ReportRow| {
            self.published.iter().any(|(_, name, _)| name == metric.stem()) && metric.model != "floor"
        };
        let fewest = self.rows.iter().filter(compared).map(|row| row.samples).min();
        if let Some(fewest) = fewest.filter(|fewest| *fewest < PUBLISHED_SAMPLES) {
            self.remarks.push(format!(
                "{}: of {fewest} samples; the published numbers are of {PUBLISHED_SAMPLES}, and of fewer a Fréchet distance is \
                 larger: a difference says little",
                self.name
            ));
        }
    }

    /// Says which published numbers of arms that were run have nothing measured beside them.
    fn remark_on_evaluations(&mut self, findings: &Findings) {
        let mut missing: Vec<String> = Vec::new();
        for (arm, sampler) in published_lines(&self.published) {
            let of_arm = |run: &PlannedRun| run.arm == arm;
            if findings.plan.runs().filter(of_arm).all(|run| findings.missing.contains(&run.name())) {
                continue;
            }
            let unmeasured = |metric: &str| {
                let column = self.metrics.iter().position(|name| name == metric);
                let lines =
                    self.lines.iter().filter(|(line, _)| (&line.arm, &line.sampler) == (&arm, &sampler));
                !lines
                    .into_iter()
                    .any(|(line, _)| column.is_some_and(|column| !line.values[column].is_empty()))
            };
            let of_line =
                self.published.iter().filter(|(of, _, value)| (of, &value.sampler) == (&arm, &sampler));
            let metrics: Vec<&str> =
                of_line.map(|(_, metric, _)| metric.as_str()).filter(|metric| unmeasured(metric)).collect();
            if !metrics.is_empty() {
                missing.push(format!("{} of {arm}, {sampler}", metrics.join(", ")));
            }
        }
        if !missing.is_empty() {
            self.remarks.push(format!(
                "{}: not measured by the published Inception network: {}; a study does with its weights in \
                 `evaluation.networks`, and so do `cm sample` and `cm evaluate --features inception:FILE --out \
                 ARM/seed-N/evaluations/SAMPLER`",
                self.name,
                missing.join("; ")
            ));
        }
    }
}

/// Arms and samplers of which something was published, each once.
fn published_lines(published: &[(String, String, PublishedValue)]) -> Vec<(String, String)> {
    let mut lines: Vec<(String, String)> = Vec::new();
    for (arm, _, value) in published {
        let line = (arm.clone(), value.sampler.clone());
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// The card of an evaluation; `None` if there is none.
fn read_card(path: &Path) -> Result<Option<Card>, FileError> {
    let card = durable::read(path)?.map(|bytes| Card::from_json(&bytes)).transpose();
    card.map_err(|error| FileError::damaged(path, error))
}

/// That the samples are those of a run and a sampler, as far as they say whose they are.
fn check_drawn(card: &Card, run: &PlannedRun, sampler: &str) -> Result<(), String> {
    let Some(drawn) = &card.samples.drawn else { return Ok(()) };
    if let Some(of) = &drawn.of {
        identity_of(run).compare(Some(&of.to_text()))?;
    }
    if drawn.sampler != sampler {
        return Err(format!(
            "its samples were drawn by {}, and those of {sampler} belong here",
            drawn.sampler
        ));
    }
    Ok(())
}

/// The mean of some seeds, and of several its standard error.
fn summary(values: &[f64]) -> Option<(f64, Option<f64>)> {
    (!values.is_empty()).then(|| {
        let (mean, spread) = mean_and_spread(values);
        (mean, spread.map(|spread| spread / (values.len() as f64).sqrt()))
    })
}
