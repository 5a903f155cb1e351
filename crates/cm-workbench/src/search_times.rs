//! The search for the times of multistep sampling with a model that is trained.

use crate::error::WorkbenchError;
use crate::ternary_search::{Tried, greedy_ternary_search};
use cm_diffusion::{NoiseLevels, NumLevels};
use cm_evaluator::{MetricKind, evaluate};
use cm_experiment::table::{align, number};
use cm_experiment::{Trained, student_sampler};
use cm_host::{FileError, Progress, durable};
use cm_study::{EvaluationConfig, MultistepConfig, StudentSamplerConfig};
use cm_training::RangeError;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

/// What is searched for, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchTimes {
    /// The number of times to find, at least 1: one evaluation of the network more for each.
    pub points: usize,
    /// Images of each Fréchet distance. None: as many as the run's own scores.
    pub samples: Option<usize>,
    /// Noise levels among which the times are found, at least `points` + 2. None: as many as the run ended with.
    pub levels: Option<usize>,
    /// Which of the run's averages of the weights, counted from 0.
    pub average: usize,
}

impl Default for SearchTimes {
    fn default() -> Self {
        Self {
            points: 1,     // Song et al. 2023, Table 1: two steps
            samples: None, // the run's own number
            levels: None,  // Song et al. 2023, Section 3: the times are levels of the discretisation
            average: 0,    // the one that pictures are drawn from
        }
    }
}

/// Times that are searched at most: each takes dozens of evaluations.
const MOST_POINTS: usize = 1000;

/// Greedy ternary search of the times of [`StudentSamplerConfig::Multistep`] on the Fréchet distance (Song et al. 2023,
/// Section 3), one after the other, each a level of the model's own discretisation. All distances are of the same
/// noise, so they compare better than their spread over seeds suggests.
///
/// Returns the times as a fragment of RON, with all that was tried as comments above it; also written to `out`.
///
/// # Errors
/// [`WorkbenchError::Options`] if `search` does not fit the run, and [`WorkbenchError`] as [`Trained::open`], if an evaluation fails,
/// or if `out` cannot be written; that is found before anything is evaluated.
pub fn search_times(
    path: &Path,
    search: &SearchTimes,
    out: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<String, WorkbenchError> {
    if let Some(out) = out {
        check_writable(out)?;
    }
    let trained = Trained::open(path)?;
    let (levels, samples) = check(&trained, search)?;
    let reference = trained.reference(&[MetricKind::Frechet])?;
    let model = trained.model(search.average);
    let mut score = |indexes: &[usize]| -> Result<f64, WorkbenchError> {
        let sampler = match indexes {
            [] => StudentSamplerConfig::OneStep,
            _ => multistep(&levels, indexes),
        };
        let name = sampler.name();
        let sampler =
            student_sampler(&sampler, &model, trained.shape(), trained.discretisation(), trained.labels())
                .map_err(|error| WorkbenchError::failed("the sampler", error))?;
        progress.phase(&format!("{}: {name}", trained.run().name()), samples as u64);
        let mut before = 0;
        let seed = trained.seeds().sample;
        let scores = evaluate(&reference, sampler.as_ref(), samples, seed, &mut |drawn, _| {
            progress.advance((drawn - before) as u64, None);
            before = drawn;
            ControlFlow::Continue(())
        })
        .map_err(|error| WorkbenchError::failed(format!("the evaluation of {name}"), error))?;
        progress.finish_phase();
        let value = scores.first().map_or(f64::NAN, |score| score.value);
        progress.note(&format!("{name}: {}", number(value, value)));
        Ok(value)
    };
    let mut tried = vec![Tried { indexes: Vec::new(), value: score(&[])? }];
    let (found, more) = greedy_ternary_search(levels.as_slice().len(), search.points, &mut score)?;
    tried.extend(more);
    let text = describe(&trained, search, &levels, samples, &found, &tried);
    if let Some(out) = out {
        durable::write(out, text.as_bytes()).map_err(FileError::io(out))?;
    }
    Ok(text)
}

/// The levels and the number of samples, if everything fits.
fn check(trained: &Trained, search: &SearchTimes) -> Result<(NoiseLevels, usize), WorkbenchError> {
    let experiment = &trained.run().experiment;
    let mut problems = Vec::new();
    let averages = trained.averages().len();
    problems.extend(RangeError::unless(
        search.average < averages,
        "--average",
        search.average,
        "below the number of the run's averages, which are counted from 0",
    ));
    let samples = search.samples.unwrap_or(experiment.evaluation.samples);
    problems.extend(RangeError::unless(
        (MetricKind::Frechet.min_images(&experiment.evaluation.metric)..=EvaluationConfig::MOST_SAMPLES)
            .contains(&samples),
        "--samples",
        samples,
        "2 to 10000000",
    ));
    let some = (1..=MOST_POINTS).contains(&search.points);
    problems.extend(RangeError::unless(some, "--points", search.points, "1 to 1000"));
    let wanted = search.levels.or(experiment.consistency.curriculum.most_levels().map(|(levels, _)| levels));
    let Some(wanted) = wanted else {
        let given = "not given, but this model was trained on no grid of noise levels".to_owned();
        problems.push(RangeError {
            field: "--levels".into(),
            given,
            allowed: "a number, such as 40 (Song et al. 2023 on LSUN)",
        });
        return Err(WorkbenchError::Options(problems));
    };
    problems.extend(RangeError::unless(
        wanted >= search.points.saturating_add(2),
        if search.levels.is_some() { "--levels" } else { "--points" },
        if search.levels.is_some() { wanted } else { search.points },
        "two levels more than points; --levels may give more levels than the run had",
    ));
    let levels = NumLevels::new(wanted).and_then(|wanted| trained.levels(wanted));
    match levels {
        Ok(levels) if problems.is_empty() => Ok((levels, samples)),
        Ok(_) => Err(WorkbenchError::Options(problems)),
        Err(_) => {
            let allowed = "at least 3, and no more than the model's range has different numbers";
            problems.extend(RangeError::unless(false, "--levels", wanted, allowed));
            Err(WorkbenchError::Options(problems))
        }
    }
}

/// The sampler with the times at `indexes`.
fn multistep(levels: &NoiseLevels, indexes: &[usize]) -> StudentSamplerConfig {
    let times = indexes.iter().map(|&index| levels.as_slice()[index].get()).collect();
    StudentSamplerConfig::Multistep(MultistepConfig { times, ..MultistepConfig::default() })
}

/// All that was tried as comments, and the found times as RON.
fn describe(
    trained: &Trained,
    search: &SearchTimes,
    levels: &NoiseLevels,
    samples: usize,
    found: &[usize],
    tried: &[Tried],
) -> String {
    let times = |indexes: &[usize]| -> Vec<String> {
        indexes.iter().map(|&index| levels.as_slice()[index].to_string()).collect()
    };
    let mut table = vec![["indexes", "times", "frechet"].map(str::to_owned).to_vec()];
    for Tried { indexes, value } in tried {
        let names: Vec<String> = indexes.iter().map(usize::to_string).collect();
        let cells = if indexes.is_empty() {
            ["-".to_owned(), "one step".to_owned()]
        } else {
            [names.join(", "), times(indexes).join(", ")]
        };
        table.push([&cells[..], &[number(*value, *value)]].concat());
    }
    let value = |indexes: &[usize]| {
        tried.iter().find(|tried| tried.indexes == indexes).map_or(f64::NAN, |tried| tried.value)
    };
    let mut text = format!(
        "The times of multistep sampling with {}, weights {}: greedy ternary search among {} noise levels on the Fréchet \
         distance of {samples} samples, less is better.\n\n{}",
        trained.run().name(),
        trained.averages()[search.average].name(),
        levels.as_slice().len(),
        align(&table, 2),
    );
    let fewer = (0..found.len()).map(|count| value(&found[..count])).fold(f64::INFINITY, f64::min);
    if value(found) >= fewer {
        text += "\nNo better than with fewer times.\n";
    }
    let comments: String =
        text.lines().map(|line| format!("// {line}").trim_end().to_owned() + "\n").collect();
    format!("{comments}Multistep(times: [{}])\n", times(found).join(", "))
}

/// Finds out before any work whether the result can be written.
fn check_writable(out: &Path) -> Result<(), WorkbenchError> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let refused = |kind: io::ErrorKind| FileError::NotWritable { path: out.to_owned(), source: kind.into() };
    if out.is_dir() {
        return Err(refused(io::ErrorKind::IsADirectory).into());
    }
    if !folder.is_dir() {
        return Err(refused(io::ErrorKind::NotFound).into());
    }
    Ok(())
}
