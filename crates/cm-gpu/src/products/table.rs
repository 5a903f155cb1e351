//! The table of products: who computes which, how long each takes, and on what that was measured. As text, a CSV with a
//! first line of its own, it is kept with a run and can be given to another.

use crate::error::GpuError;
use std::collections::BTreeMap;
use std::fmt;

/// Whose products there are besides ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    Cublaslt,
    Cudnn,
}

impl Library {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cublaslt => "cuBLASLt",
            Self::Cudnn => "cuDNN",
        }
    }
}

/// Who computes a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Our kernels.
    Ours,
    /// A library, by a plan that it knows again from its text.
    Plan(Library, String),
}

/// A product that was timed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) choice: Choice,
    /// Microseconds of our kernels.
    pub(crate) ours: f64,
    /// Microseconds of the fastest plan that agreed with ours, and by how much of ours' length it differed.
    pub(crate) theirs: Option<(f64, f64)>,
}

/// Timed products by their names, what they were timed on, and what was noticed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) of: String,
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) notes: Vec<String>,
}

const COLUMNS: &str = "product,who,ours_us,theirs_us,differs_by,plan";

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {}", self.of)?;
        for note in &self.notes {
            writeln!(f, "# note: {note}")?;
        }
        writeln!(f, "{COLUMNS}")?;
        for (product, Entry { choice, ours, theirs }) in &self.entries {
            let (who, plan) = match choice {
                Choice::Ours => ("ours", ""),
                Choice::Plan(library, plan) => (library.name(), plan.as_str()),
            };
            let theirs = theirs.map_or(",".to_owned(), |(time, off)| format!("{time:.2},{off:.2e}"));
            writeln!(f, "{product},{who},{ours:.2},{theirs},{plan}")?;
        }
        Ok(())
    }
}

impl Table {
    /// Says something once, on a line of its own.
    pub(crate) fn note(&mut self, note: String) {
        let note = note.replace(['\n', '\r'], " ");
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// # Errors
    /// [`GpuError::Table`] with the line that is no table's.
    pub(crate) fn parse(text: &str) -> Result<Self, GpuError> {
        let wrong = |line: usize, reason: String| GpuError::Table { line: line + 1, reason };
        let mut table = Self::default();
        let mut lines = text.lines().enumerate();
        match lines.next().and_then(|(_, first)| first.strip_prefix("# ")) {
            Some(of) => table.of = of.to_owned(),
            None => return Err(wrong(0, "it begins with `# ` and what it was timed on".to_owned())),
        }
        let mut headed = false;
        for (number, line) in lines {
            if let Some(note) = line.strip_prefix("# note: ") {
                table.notes.push(note.to_owned());
            } else if line == COLUMNS {
                headed = true;
            } else if headed {
                let (product, entry) = entry(line).map_err(|reason| wrong(number, reason))?;
                table.entries.insert(product, entry);
            } else {
                return Err(wrong(number, format!("the columns are {COLUMNS}")));
            }
        }
        if headed { Ok(table) } else { Err(wrong(0, format!("there are no columns {COLUMNS}"))) }
    }
}

fn entry(line: &str) -> Result<(String, Entry), String> {
    let fields: Vec<&str> = line.splitn(6, ',').collect();
    let &[product, who, ours, theirs, off, plan] = &fields[..] else {
        return Err(format!("{} fields; it has 6: {COLUMNS}", fields.len()));
    };
    let number = |text: &str| text.parse::<f64>().map_err(|_| format!("`{text}` is no number"));
    let choice = match (who, plan) {
        ("ours", "") => Choice::Ours,
        ("cuBLASLt", plan) if !plan.is_empty() => Choice::Plan(Library::Cublaslt, plan.to_owned()),
        ("cuDNN", plan) if !plan.is_empty() => Choice::Plan(Library::Cudnn, plan.to_owned()),
        _ => {
            let allowed = "allowed are ours without a plan, cuBLASLt and cuDNN with one";
            return Err(format!("`{who}` with the plan `{plan}`; {allowed}"));
        }
    };
    let theirs = match (theirs, off) {
        ("", "") => None,
        (theirs, off) => Some((number(theirs)?, number(off)?)),
    };
    Ok((product.to_owned(), Entry { choice, ours: number(ours)?, theirs }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let entry = |choice, theirs| Entry { choice, ours: 12.5, theirs };
        let plan = Choice::Plan(Library::Cudnn, "engine 3 2=1".to_owned());
        Table {
            of: "a card; no cuBLASLt; cuDNN 9.10".to_owned(),
            entries: [
                ("backward data F32 x".to_owned(), entry(plan, Some((3.25, 1.5e-3)))),
                ("forward F32 x".to_owned(), entry(Choice::Ours, None)),
            ]
            .into(),
            notes: vec!["cuDNN, engine 4: left out".to_owned()],
        }
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let text = table().to_string();
        let expected = "# a card; no cuBLASLt; cuDNN 9.10\n# note: cuDNN, engine 4: left out\n\
             product,who,ours_us,theirs_us,differs_by,plan\n\
             backward data F32 x,cuDNN,12.50,3.25,1.50e-3,engine 3 2=1\nforward F32 x,ours,12.50,,,\n";
        assert_eq!(text, expected);
        assert_eq!(Table::parse(&text).unwrap(), table());
    }

    #[test]
    fn what_is_no_table_is_told_with_its_line() {
        let text = table().to_string();
        for (from, to, told) in [
            ("# a card", "a card", "line 1 of a table of products: it begins with"),
            ("product,who", "product,whom", "line 3 of a table of products: the columns are"),
            (",ours,", ",theirs,", "line 5 of a table of products: `theirs` with the plan ``; allowed are"),
            (
                ",cuDNN,12.50,3.25,1.50e-3,engine 3 2=1",
                ",cuDNN,12.50,3.25,1.50e-3,",
                "line 4 of a table of products: `cuDNN`",
            ),
            ("3.25", "fast", "line 4 of a table of products: `fast` is no number"),
            (",12.50,,,", "", "line 5 of a table of products: 2 fields; it has 6"),
        ] {
            let error = Table::parse(&text.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(told), "{told}: {error}");
        }
        assert!(Table::parse("# a card\n").unwrap_err().to_string().contains("there are no columns"));
    }
}
