//! Whether this program is one of several that MPI started together.

use cm_experiment::is_first;
use std::env;
use std::process::ExitCode;

/// What MPI's launchers tell of the number of processes.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS"];

/// Membership of the processes that were started together, if there are several.
pub(crate) struct Group {
    #[cfg(feature = "mpi")]
    session: Option<cm_tensor::mpi::MpiSession>,
}

/// Joins the others if there are any; `shared` says whether this command is one that processes can share.
pub(crate) fn join(shared: bool) -> Result<Group, String> {
    let size = SIZES.iter().find_map(|name| env::var(name).ok()?.parse::<usize>().ok()).unwrap_or(1);
    if size > 1 && !shared {
        return Err(format!(
            "{size} processes were started together, and only cm run and cm resume are shared"
        ));
    }
    #[cfg(feature = "mpi")]
    {
        let session = match size > 1 {
            true => Some(cm_tensor::mpi::MpiSession::join().map_err(|error| error.to_string())?),
            false => None,
        };
        Ok(Group { session })
    }
    #[cfg(not(feature = "mpi"))]
    match size > 1 {
        true => Err(format!(
            "{size} processes were started together, and this program was built without the feature mpi: each would do \
             the same"
        )),
        false => Ok(Group {}),
    }
}

impl Group {
    /// The end of a program that failed: what went wrong is told once, and the others end as well.
    pub(crate) fn end(&self, tell: impl FnOnce() -> ExitCode, code: u8) -> ExitCode {
        if !is_first() {
            // What is wrong for all the first process tells, and ends them.
            std::thread::sleep(std::time::Duration::from_secs(5));
        }
        let exit = tell();
        #[cfg(feature = "mpi")]
        if let Some(session) = &self.session {
            session.abort(code);
        }
        #[cfg(not(feature = "mpi"))]
        let _ = code;
        exit
    }
}
