//! How the program ends: what it prints, why it stops, and its exit code.

use crate::fold;
use cm_experiment::RunError;
use cm_host::StopFlag;
use cm_network::feature_net::FeatureFileError;
use cm_report::ReportError;
use cm_scoring::ScoringError;
use cm_study::{CalibrationError, InputErrors};
use cm_sweep::SweepError;
use cm_workbench::WorkbenchError;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::exit;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// The run failed or was stopped.
pub(crate) const FAILED: u8 = 1;
/// The input is wrong.
pub(crate) const WRONG_INPUT: u8 = 2;

pub(crate) fn tell(Ending { message, code }: &Ending) -> ExitCode {
    // Nothing is left to do about an error that cannot be told.
    drop(writeln!(std::io::stderr(), "{message}"));
    ExitCode::from(*code)
}

/// Why the program ends without success.
pub(crate) struct Ending {
    pub(crate) message: String,
    pub(crate) code: u8,
}

impl From<InputErrors> for Ending {
    fn from(errors: InputErrors) -> Self {
        Self { message: errors.render(std::io::stderr().is_terminal()), code: WRONG_INPUT }
    }
}

impl From<ReportError> for Ending {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Input(errors) => errors.into(),
            other => Self::of(&other, other.is_input()),
        }
    }
}

impl From<RunError> for Ending {
    fn from(error: RunError) -> Self {
        Self::of(&error, error.is_input())
    }
}

impl From<SweepError> for Ending {
    fn from(error: SweepError) -> Self {
        Self::of(&error, error.is_input())
    }
}

impl From<WorkbenchError> for Ending {
    fn from(error: WorkbenchError) -> Self {
        Self::of(&error, error.is_input())
    }
}

impl From<ScoringError> for Ending {
    fn from(error: ScoringError) -> Self {
        Self::of(&error, error.is_input())
    }
}

impl From<CalibrationError> for Ending {
    fn from(error: CalibrationError) -> Self {
        Self::of(&error, error.is_input())
    }
}

impl From<FeatureFileError> for Ending {
    fn from(error: FeatureFileError) -> Self {
        Self::of(&error, true)
    }
}

impl Ending {
    fn of(error: &dyn std::error::Error, is_input: bool) -> Self {
        Self { message: format!("error: {error}"), code: if is_input { WRONG_INPUT } else { FAILED } }
    }
}

pub(crate) fn wrong_input(error: &dyn std::fmt::Display) -> Ending {
    Ending { message: format!("error: {error}"), code: WRONG_INPUT }
}

pub(crate) fn failed(error: &dyn std::error::Error) -> Ending {
    Ending { message: format!("error: {error}"), code: FAILED }
}

/// How long work that was asked to stop may take to notice.
const GRACE: Duration = Duration::from_secs(5);

/// Makes Ctrl-C and SIGTERM ask for a stop. Work that has not noticed after five seconds is broken off, but for training,
/// which notices after its step; the second signal breaks off anything at once. What is unfinished is removed then.
pub(crate) fn listen() -> Result<StopFlag, Ending> {
    let stop = StopFlag::new();
    let asked = stop.clone();
    watch(move || {
        asked.request();
        let stop = asked.clone();
        std::thread::spawn(move || {
            let mut waited = Duration::ZERO;
            while waited < GRACE {
                const PART: Duration = Duration::from_millis(50);
                std::thread::sleep(PART);
                waited += if stop.is_finishing() { Duration::ZERO } else { PART };
            }
            cm_host::abandon();
            break_off(&stop.resumable().map_or_else(
                || "stopped; what was not finished is removed".to_owned(),
                |folder| stopped(&folder),
            ))
        });
    })?;
    Ok(stop)
}

/// Makes Ctrl-C and SIGTERM end the process at once; what is unfinished is removed. For work of which nothing is kept
/// unless it is whole.
pub(crate) fn end_when_asked() -> Result<(), Ending> {
    watch(|| {
        cm_host::abandon();
        break_off(&nothing_written())
    })
}

/// What is said of work that goes on where it was.
pub(crate) fn stopped(folder: &Path) -> String {
    format!("stopped; continue with: cm resume {}", folder.display())
}

/// What is said of work that is whole or not there.
pub(crate) fn nothing_written() -> String {
    "stopped; nothing was written".to_owned()
}

/// Writes the page of a study that has ended, and says where it is. The results are there, whatever becomes of a page
/// about them.
pub(crate) fn page_of(folder: &Path) -> String {
    match cm_report::write_page(folder, None) {
        Ok(page) => format!("report: {}", page.display()),
        Err(error) => format!("no report: {error}"),
    }
}

/// Waits for signals: what is done at the first one, and the end at the second.
fn watch(first: impl FnOnce() + Send + 'static) -> Result<(), Ending> {
    let cannot = |error: std::io::Error| Ending {
        message: format!("error: cannot listen to signals: {error}"),
        code: FAILED,
    };
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(cannot)?;
    let listening = move || {
        let mut told = signals.forever();
        if told.next().is_some() {
            // It may take a while, in which the second one may come.
            std::thread::spawn(first);
            if told.next().is_some() {
                // Where this is under way already, it waits, and the process ends over there.
                cm_host::abandon();
                exit(FAILED.into());
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listening).map(drop).map_err(cannot)
}

/// Ends the process without waiting for its threads.
fn break_off(message: &str) -> ! {
    drop(writeln!(std::io::stderr(), "{message}"));
    exit(FAILED.into())
}

/// Writes to standard output, tables folded where a terminal is narrower; a reader that has gone away is no error.
pub(crate) fn print(text: &str) -> Result<(), Ending> {
    match std::io::stdout().write_all(fold::for_stdout(text).as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Ending { message: format!("error: cannot write the result: {error}"), code: FAILED })
        }
        _ => Ok(()),
    }
}
