//! Whether this program is one of several that work together: by MPI, or started here on one machine.

use cm_experiment::is_first;
use cm_tensor::devices::Place;
use std::env;
use std::process::{Child, ExitCode};

/// What MPI's launchers tell of the number of processes.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS"];
/// What the first process tells those it starts: `RANK FOLDER`, where they meet.
#[cfg(unix)]
const MEMBER: &str = "CM_PROCESS";

/// Processes that share every batch of a training.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Shared {
    /// Processes on this machine that share every batch, a power of two: each takes as many of the parts that `shards` cuts a
    /// batch into, and as many of the cores. Results are those of one process with as many shards.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    processes: Option<u16>,
    /// One process for each of these GPUs, by their numbers; a power of two of them.
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', conflicts_with = "processes")]
    devices: Vec<usize>,
}

impl Shared {
    fn size(&self) -> usize {
        match self.devices.len() {
            0 => self.processes.map_or(1, usize::from),
            devices => devices,
        }
    }

    /// Threads of each, if it is not said: its part of the cores.
    pub(crate) fn threads(&self) -> Option<u16> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (self.size() > 1).then(|| (cores / self.size()).clamp(1, 1024) as u16)
    }
}

/// Membership of the processes that work together, if there are several.
pub(crate) struct Group {
    #[cfg(feature = "mpi")]
    session: Option<cm_tensor::mpi::MpiSession>,
    /// Those that this one started.
    started: Vec<Child>,
    /// The GPU of this one, where each has its own.
    pub(crate) device: Option<Place>,
}

/// Joins the others if there are any, and starts them where `shared` asks for it. `None`: this command is one that
/// processes cannot share.
///
/// # Errors
/// What cannot be, or went wrong.
pub(crate) fn join(shared: Option<&Shared>) -> Result<Group, String> {
    let size = SIZES.iter().find_map(|name| env::var(name).ok()?.parse::<usize>().ok()).unwrap_or(1);
    if size > 1 && shared.is_none() {
        return Err(format!(
            "{size} processes were started together, and only cm run and cm resume are shared"
        ));
    }
    let wanted = shared.map_or(1, Shared::size);
    if size > 1 && wanted > 1 {
        return Err(
            "these processes were started together already: --processes and --devices start others".into()
        );
    }
    let device = |rank: usize| shared?.devices.get(rank).map(|&number| Place::Cuda(Some(number)));
    if wanted > 1 {
        let (rank, started) = together(wanted)?;
        return Ok(Group {
            #[cfg(feature = "mpi")]
            session: None,
            started,
            device: device(rank),
        });
    }
    #[cfg(feature = "mpi")]
    {
        let session = match size > 1 {
            true => Some(cm_tensor::mpi::MpiSession::join().map_err(|error| error.to_string())?),
            false => None,
        };
        Ok(Group { session, started: Vec::new(), device: device(0) })
    }
    #[cfg(not(feature = "mpi"))]
    match size > 1 {
        true => Err(format!(
            "{size} processes were started together, and this program was built without the feature mpi: each would do \
             the same"
        )),
        false => Ok(Group { started: Vec::new(), device: device(0) }),
    }
}

/// The rank of this process among `size` on this machine, and those it started: all others, if it is the first.
#[cfg(unix)]
fn together(size: usize) -> Result<(usize, Vec<Child>), String> {
    use std::path::Path;
    use std::process::{Command, Stdio};
    if let Some(told) = env::var_os(MEMBER) {
        let told = told.into_string().unwrap_or_default();
        let (rank, folder) = told.split_once(' ').unwrap_or_default();
        let rank = rank.parse().map_err(|_| format!("{MEMBER} is `{told}`; only this program sets it"))?;
        cm_tensor::sockets::join(Path::new(folder), rank, size).map_err(|error| error.to_string())?;
        return Ok((rank, Vec::new()));
    }
    if !size.is_power_of_two() {
        return Err(format!("{size} processes; allowed are powers of two"));
    }
    let meeting =
        meeting_folder().map_err(|error| format!("a folder in {}: {error}", env::temp_dir().display()))?;
    let program = env::current_exe().map_err(|error| format!("this program's file: {error}"))?;
    let mut others = Others(Vec::new());
    for rank in 1..size {
        let mut command = Command::new(&program);
        let said = format!("{rank} {}", meeting.path().display());
        command.args(env::args_os().skip(1)).env(MEMBER, said).stdin(Stdio::null()).stdout(Stdio::null());
        others.0.push(command.spawn().map_err(|error| format!("starting a process: {error}"))?);
    }
    cm_tensor::sockets::join(meeting.path(), 0, size).map_err(|error| error.to_string())?;
    Ok((0, std::mem::take(&mut others.0)))
}

/// Where the processes meet: a folder that nobody else can look into, whatever a process that was killed has left. Its files
/// are names only, and once all have met nobody needs them.
#[cfg(unix)]
fn meeting_folder() -> std::io::Result<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt;
    let private = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix("cm-").permissions(private).tempdir()
}

#[cfg(not(unix))]
fn together(_: usize) -> Result<(usize, Vec<Child>), String> {
    Err("--processes and --devices need sockets that this system does not have; see mpirun".into())
}

/// Processes that end if this one cannot go on with them.
struct Others(Vec<Child>);

impl Drop for Others {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended already is no matter.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Group {
    /// The end of a program that failed: what went wrong is told once, and the others end as well.
    pub(crate) fn end(self, tell: impl FnOnce() -> ExitCode, code: u8) -> ExitCode {
        if !is_first() {
            // What is wrong for all the first process tells, and ends them.
            std::thread::sleep(std::time::Duration::from_secs(5));
        }
        let exit = tell();
        drop(Others(self.started));
        #[cfg(feature = "mpi")]
        if let Some(session) = &self.session {
            session.abort(code);
        }
        #[cfg(not(feature = "mpi"))]
        let _ = code;
        exit
    }

    /// The end of a program that did what it was asked to: so do the others, in a moment.
    pub(crate) fn finish(self) {
        for mut child in self.started {
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(unix)]
    fn nobody_else_can_look_into_the_folder_where_processes_meet() {
        use std::os::unix::fs::PermissionsExt;
        let folder = super::meeting_folder().unwrap();
        assert_eq!(folder.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
}
