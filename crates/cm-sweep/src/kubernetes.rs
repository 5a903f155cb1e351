//! A sweep as an indexed job of Kubernetes: the index is the number of the task.

use crate::error::SweepError;
use crate::folder::Sweep;
use cm_host::{FileError, durable};
use std::path::PathBuf;

/// What the job's description needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesOptions {
    /// An image that holds the program `cm`.
    pub image: String,
    /// The claim of the volume that holds the sweep's folder at its top level, under its own name.
    pub claim: String,
    /// Tasks at a time, at least 1.
    pub jobs: usize,
    /// Cores and worker threads of a task, at least 1.
    pub threads: usize,
    /// Memory of a task in MiB. None: no bound.
    pub memory_mib: Option<u64>,
    /// Further attempts at a task that failed.
    pub retries: u32,
}

/// Writes `kubernetes.yaml`.
///
/// # Errors
/// [`FileError::NotWritable`] if it cannot be written.
pub fn write_kubernetes_job(sweep: &Sweep, options: &KubernetesOptions) -> Result<PathBuf, SweepError> {
    let path = sweep.path().join("kubernetes.yaml");
    let full = std::fs::canonicalize(sweep.path()).map_err(FileError::io(sweep.path()))?;
    let name = full.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let text = text(&name, sweep.tasks().len(), options);
    durable::write(&path, text.as_bytes())
        .map_err(|source| FileError::NotWritable { path: path.clone(), source })?;
    Ok(path)
}

/// A text in YAML's double quotes, which are JSON's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A name as Kubernetes wants it: lower-case letters, digits and dashes, at most 63.
fn resource_name(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = format!("cm-{name}").chars().map(fits).take(63).collect();
    name.trim_end_matches('-').to_owned()
}

fn text(name: &str, tasks: usize, options: &KubernetesOptions) -> String {
    let KubernetesOptions { image, claim, jobs, threads, memory_mib, retries } = options;
    let memory =
        memory_mib.map_or(String::new(), |memory| format!(", memory: {}", quoted(&format!("{memory}Mi"))));
    let resources = format!("{{cpu: {}{memory}}}", quoted(&threads.to_string()));
    let job = resource_name(name);
    let folder = quoted(&format!("/sweeps/{name}"));
    let (image, claim) = (quoted(image), quoted(claim));
    format!(
        "apiVersion: batch/v1
kind: Job
metadata:
  name: {job}
spec:
  completionMode: Indexed
  completions: {tasks}
  parallelism: {jobs}
  backoffLimitPerIndex: {retries}
  template:
    spec:
      restartPolicy: Never
      # Time to leave a checkpoint when the pod is asked to end.
      terminationGracePeriodSeconds: 120
      containers:
        - name: task
          image: {image}
          command: [cm, sweep, run, {folder}, --task, $(JOB_COMPLETION_INDEX), --threads, \"{threads}\"]
          resources:
            requests: {resources}
            limits: {resources}
          volumeMounts:
            - {{name: sweeps, mountPath: /sweeps}}
      volumes:
        - name: sweeps
          persistentVolumeClaim: {{claimName: {claim}}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_has_an_index_for_each_task() {
        let options = KubernetesOptions {
            image: "registry/cm:1".into(),
            claim: "sweeps".into(),
            jobs: 4,
            threads: 2,
            memory_mib: Some(2048),
            retries: 1,
        };
        let text = text("Big_sweep", 12, &options);
        for line in [
            "  name: cm-big-sweep\n",
            "  completions: 12\n",
            "  parallelism: 4\n",
            "          command: [cm, sweep, run, \"/sweeps/Big_sweep\", --task, $(JOB_COMPLETION_INDEX), --threads, \"2\"]\n",
            "            limits: {cpu: \"2\", memory: \"2048Mi\"}\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
