//! Sweeps: a study, or a grid over any of its fields, as a list of tasks that processes and machines share.
//!
//! A sweep's folder is a study's folder (see [`cm_experiment::StudyDir`]) with a task list. There is one task for each run, and
//! before them one for each baseline: the teacher's training, and the scores of held-out data and of the teacher.
//!
//! ```text
//! sweeps/NAME/
//!   study.ron  plan.ron             as in every study's folder
//!   tasks.csv                       task,name
//!   tasks/0003.lock                 held by the process that works on task 3
//!   tasks/0003.ron                  its attempts, how the last one ended, and what they took
//!   baselines/HASH/scores.csv       floor and teacher, written last
//!   ARM/seed-N/  teachers/HASH/     as in every study's folder
//! ```
//!
//! The contract with whatever starts processes is one command, `cm sweep run FOLDER --task N`: it does the task once,
//! whoever asks and how often ([`run_task`]); it goes on from the last checkpoint; it waits for a teacher that another
//! process trains. Local processes ([`run_locally`]), Slurm arrays ([`submit_to_slurm`]), Kubernetes indexed jobs and
//! GNU parallel all call it.
//!
//! Deliberately absent: another format of results; [`collect`] writes the report that `cm run` writes, to the byte.
//! This crate may know `cm-study` and `cm-experiment`, and no other crate of its own floor.
//!
//! ```
//! let axis: cm_study::GridAxis = "base.consistency.train.batch=[32, 64]".parse().unwrap();
//! assert_eq!((axis.path.as_str(), axis.values.len()), ("base.consistency.train.batch", 2));
//! ```

mod collect;
mod error;
mod folder;
mod kubernetes;
mod local;
mod parallel;
mod record;
mod slurm;
mod status;
mod task;

pub use collect::{Collected, collect};
pub use error::SweepError;
pub use folder::{Sweep, Task, Work, plan_sweep};
pub use kubernetes::{KubernetesOptions, write_kubernetes_job};
pub use local::{LocalOptions, LocalOutcome, run_locally};
pub use parallel::{ParallelOptions, parallel_command};
pub use slurm::{SlurmOptions, Submitted, submit_to_slurm};
pub use status::{SweepStatus, TaskState, TaskStatus, status};
pub use task::{TaskOutcome, limit_memory, run_task};
