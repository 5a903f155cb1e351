//! What is wrong with something that somebody asked for: a study, before the problem has a place in a file, or the
//! options of a command. Deliberately absent: places in a file (`diagnostics.rs`).

use cm_training::RangeError;
use std::fmt;

/// One thing wrong with a study, before it has a place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// The path of what is wrong, such as `base.consistency.distance.c` or `arms[1].changes[0]`.
    pub path: String,
    /// What is wrong, a lower-case fragment.
    pub message: String,
    /// What is allowed.
    pub allowed: String,
    /// Whether all that is wrong is a file or folder that is not there: the study can be planned, and not run.
    pub absent: bool,
}

impl Problem {
    /// Something that is wrong, and what is allowed instead.
    pub fn new(path: impl Into<String>, message: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), allowed: allowed.into(), absent: false }
    }

    /// A file or folder that is not there.
    pub fn absent(path: impl Into<String>, message: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { absent: true, ..Self::new(path, message, allowed) }
    }
}

/// What a crate says of its own configuration, whose path is `prefix`.
pub(crate) fn ranged(prefix: &str, problems: Vec<RangeError>) -> impl Iterator<Item = Problem> {
    problems.into_iter().map(move |problem| {
        let path = format!("{prefix}.{}", problem.field);
        Problem::new(path, format!("{} is {}", problem.field, problem.given), problem.allowed)
    })
}

/// Everything that is wrong with a request. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestErrors(Vec<Problem>);

impl RequestErrors {
    /// The one thing that is wrong with a command's option.
    pub fn one(option: &str, message: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self(vec![Problem::new(option, message, allowed)])
    }

    /// The problems; their paths are options of the command line.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for RequestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { path, message, allowed, absent: _ }) in self.0.iter().enumerate() {
            // The first line continues what the caller has begun.
            let begin = if index == 0 { "" } else { "\nerror: " };
            write!(f, "{begin}{path}: {message}\n  allowed: {allowed}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RequestErrors {}

/// Problems as they are found.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// One more, of a command's option.
    pub fn add(&mut self, option: &str, message: impl Into<String>, allowed: impl Into<String>) {
        self.0.push(Problem::new(option, message, allowed));
    }

    /// That there were none.
    ///
    /// # Errors
    /// All of them.
    pub fn check(self) -> Result<(), RequestErrors> {
        if self.0.is_empty() { Ok(()) } else { Err(RequestErrors(self.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_listed_one_after_the_other() {
        let mut problems = Problems::default();
        problems.add("--class", "the model has no class 12", "0 to 9");
        problems.add("--ema", "the model has no average `x`", "raw");
        let text = problems.check().unwrap_err().to_string();
        let expected = "--class: the model has no class 12\n  allowed: 0 to 9\nerror: --ema: the model has no \
                        average `x`\n  allowed: raw";
        assert_eq!(text, expected);
        assert!(Problems::default().check().is_ok());
    }
}
