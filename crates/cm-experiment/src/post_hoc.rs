//! Averages of other widths than a run's own, worked out and scored after its end: `cm ema`.

use crate::error::{FolderError, Halt, RunError, RunOutcome};
use crate::execute::outcome;
use crate::model_file::{MODEL_FILE, ModelKind, model_file};
use crate::run::Run;
use crate::run_dir::RunDir;
use crate::study_dir::StudyDir;
use crate::tensor_file::{read, write_file};
use crate::{snapshots, table};
use cm_host::{FileError, Progress, StopFlag, durable};
use cm_training::EmaConfig;
use std::fs;
use std::path::Path;

/// Works out averages of other widths from the snapshots of a finished run, `STUDY/ARM/seed-N`, and scores them as the
/// study scores its own. Each is written to `post-hoc/` in the run's folder as a model of its own; the study's report
/// stays as it is.
///
/// # Errors
/// [`RunError`] if the folder is no run of a study, kept no snapshots or has not come to its end.
pub fn post_hoc_ema(
    run_dir: &Path,
    sigma_rels: &[f32],
    stop: &StopFlag,
    progress: &mut dyn Progress,
) -> Result<RunOutcome, RunError> {
    let full = fs::canonicalize(run_dir).map_err(FileError::io(run_dir))?;
    let no_run = || {
        let reason = "its study has no such run; give a folder such as runs/STUDY/ARM/seed-0".to_owned();
        FolderError::NoAverages { path: run_dir.to_owned(), reason }
    };
    let study_dir =
        full.ancestors().nth(2).filter(|dir| dir.join("plan.ron").is_file()).ok_or_else(no_run)?;
    let (dir, study) = StudyDir::reopen(study_dir)?;
    let planned = study.plan.runs().find(|run| full.ends_with(run.name())).ok_or_else(no_run)?;
    let run = Run::new(&dir, &planned, stop)?;
    stop.resumable_in(dir.path());
    outcome(&dir, run.post_hoc(&dir.run_dir(&planned)?, sigma_rels, progress))
}

impl Run<'_> {
    /// Reconstructs, writes and scores averages of the given widths; their table.
    fn post_hoc(
        &self,
        folder: &RunDir,
        sigma_rels: &[f32],
        progress: &mut dyn Progress,
    ) -> Result<String, Halt> {
        let config = &self.experiment().consistency.train;
        let context = self.prepare(progress)?;
        let path = folder.path().join(MODEL_FILE);
        if self.experiment().consistency.truncation.is_some()
            && let Some(file) = read(&path)?
        {
            context.read_first_stage(self.experiment(), &file, &path)?;
        }
        let parent = folder.path().join("post-hoc");
        durable::create_folders(&parent).map_err(FileError::io(&parent))?;
        let mut models = Vec::new();
        for &sigma_rel in sigma_rels {
            let (weights, error) = snapshots::reconstruct(folder, config, &context.fresh, sigma_rel)?;
            let name = EmaConfig::Power(sigma_rel).name();
            let average = std::slice::from_ref(&weights);
            let (data, first) = (&context.data, context.first_stage.get());
            let file = model_file(ModelKind::Student, self.planned, data.sigma_data, average, first);
            write_file(&parent.join(format!("{name}.safetensors")), &file)?;
            progress.note(&format!("{name}: its profile is met up to {:.2} per cent", 100.0 * error));
            models.push((format!("student-{name}"), weights));
        }
        let models: Vec<_> = models.iter().map(|(name, weights)| (name.clone(), weights)).collect();
        let reference = context.reference(self.experiment(), &self.experiment().evaluation.metrics)?;
        let rows = self.student_scores(&context, &reference, &models, progress, None)?;
        Ok(table::markdown(&rows))
    }
}
