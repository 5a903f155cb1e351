//! A model file as it is read: what it says of itself, and its weights. Deliberately absent: what is made of it
//! (`trained.rs`, `trained_teacher.rs`).

use crate::error::{FolderError, RunError};
use crate::model_file::{MODEL_FILE, ModelKind, prefix};
use crate::sealed::SealedFolder;
use cm_host::FileError;
use cm_network::{TensorFile, Weights};
use cm_study::{Plan, PlannedRun, from_ron};
use std::fs;
use std::path::{Path, PathBuf};

/// A model file that was read, and what it says of itself.
pub(crate) struct OpenedModel {
    pub(crate) kind: ModelKind,
    pub(crate) run: PlannedRun,
    pub(crate) file: TensorFile,
    pub(crate) path: PathBuf,
}

impl OpenedModel {
    /// The model file at `path`, or the one in this folder of a finished run or teacher.
    ///
    /// # Errors
    /// [`FolderError::NoModel`] if there is none, [`FileError::Damaged`] if it is not what was sealed there, or no model.
    pub(crate) fn open(path: &Path) -> Result<Self, RunError> {
        let file_path = if path.is_dir() { path.join(MODEL_FILE) } else { path.to_owned() };
        // A model file is also of use alone; where it lies in its folder, it is the one that was sealed there.
        let folder = SealedFolder::open(file_path.parent().unwrap_or(Path::new("")))?;
        let name = file_path.file_name().unwrap_or_default().to_string_lossy();
        let Some(bytes) = folder.bytes(&name)? else {
            return Err(no_model(path));
        };
        let file = TensorFile::decode(&bytes).map_err(|error| FileError::damaged(&file_path, error))?;
        let damaged = |reason: String| FileError::Damaged { path: file_path.clone(), reason };
        let text = |key: &str| {
            let text = file.metadata.get(key).map(String::as_str);
            text.ok_or_else(|| damaged(format!("it is no model of a run: it has no entry `{key}`")))
        };
        let kind = from_ron(text("model")?).map_err(|error| damaged(error.to_string()))?;
        let run = PlannedRun::from_ron(text("plan")?)
            .map_err(|error| damaged(format!("the plan in it cannot be read: {error}")))?;
        // The plan of a teacher's folder is that of the teacher alone.
        if let (ModelKind::Student, true, Some(planned)) = (kind, path.is_dir(), folder.text("plan.ron")?)
            && planned != run.to_ron()
        {
            return Err(
                damaged(format!("it is of {}, and of another plan than the run's", run.name())).into()
            );
        }
        Ok(Self { kind, run, file, path: file_path })
    }

    /// Its averages, `count` of them, in weights of the network that `fresh` is of.
    ///
    /// # Errors
    /// [`FileError::Damaged`] if they are others, or none.
    pub(crate) fn averages(&self, fresh: &Weights, count: usize) -> Result<Vec<Weights>, FileError> {
        let damaged = |error: String| FileError::damaged(&self.path, error);
        if count == 0 {
            return Err(damaged("it holds no weights".to_owned()));
        }
        let average = |index| {
            let mut weights = fresh.clone();
            let loaded = self.file.load_weights(&prefix(index), &mut weights);
            loaded.map(|()| weights).map_err(|error| damaged(error.to_string()))
        };
        (0..count).map(average).collect()
    }

    /// The standard deviation of the data that its network was trained with, whatever became of the data since.
    ///
    /// # Errors
    /// [`FileError::Damaged`] if it does not say.
    pub(crate) fn sigma_data(&self) -> Result<f32, FileError> {
        self.file.parse("sigma_data").map_err(|error| FileError::damaged(&self.path, error))
    }
}

/// Why there is no model, and where there are some.
fn no_model(path: &Path) -> RunError {
    let reason = match fs::read_to_string(path.join("plan.ron")).map(|text| Plan::from_ron(&text)) {
        Ok(Ok(plan)) => {
            let finished = |name: &PathBuf| name.join(MODEL_FILE).exists();
            let folders = plan.runs().map(|run| path.join(run.name())).filter(finished);
            let folders: Vec<String> = folders.map(|folder| folder.display().to_string()).collect();
            match folders.is_empty() {
                true => "it is the folder of a study none of whose runs is finished".to_owned(),
                false => format!("it is the folder of a study, whose models are in {}", folders.join(", ")),
            }
        }
        Ok(Err(_)) if path.join("checkpoints").is_dir() => "its training is not finished".to_owned(),
        Ok(Err(_)) | Err(_) => format!("there is no {MODEL_FILE}"),
    };
    FolderError::NoModel { path: path.to_owned(), reason }.into()
}
