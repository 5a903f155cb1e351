//! How the program ends: what it prints, why it stops, and its exit code.

use cm_experiment::RunError;
use cm_host::StopFlag;
use cm_network::feature_net::FeatureFileError;
use cm_report::ReportError;
use cm_scoring::ScoringError;
use cm_study::{CalibrationError, InputErrors};
use cm_sweep::SweepError;
use cm_workbench::WorkbenchError;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

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

/// Makes Ctrl-C and SIGTERM ask for a stop; the second one kills.
pub(crate) fn listen() -> Result<StopFlag, Ending> {
    let stop = StopFlag::new();
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the first signal finds the flag unset, sets it, and only the next one ends the process.
        signal_hook::flag::register_conditional_shutdown(signal, FAILED.into(), stop.shared())
            .and_then(|_| signal_hook::flag::register(signal, stop.shared()))
            .map_err(|error| Ending {
                message: format!("error: cannot listen to signals: {error}"),
                code: FAILED,
            })?;
    }
    Ok(stop)
}

/// Writes to standard output; a reader that has gone away is no error.
pub(crate) fn print(text: &str) -> Result<(), Ending> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Ending { message: format!("error: cannot write the result: {error}"), code: FAILED })
        }
        _ => Ok(()),
    }
}
