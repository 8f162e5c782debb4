//! A mistake in a lesson: where, what, and what to do.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The lesson cannot be played as written.
    Error,
    /// It can, but a learner may stumble.
    Warning,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Folder and file: `01-telescope/lesson.md`.
    pub path: String,
    /// From 1; 0 where the mistake is in no line (a missing file).
    pub line: u32,
    pub severity: Severity,
    pub text: String,
    /// What the author can do.
    pub fix: Option<String>,
}

impl Finding {
    pub fn error(path: &str, line: u32, text: impl Into<String>) -> Finding {
        Finding {
            path: path.to_owned(),
            line,
            severity: Severity::Error,
            text: text.into(),
            fix: None,
        }
    }

    pub fn warning(path: &str, line: u32, text: impl Into<String>) -> Finding {
        Finding {
            severity: Severity::Warning,
            ..Finding::error(path, line, text)
        }
    }

    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Finding {
        self.fix = Some(fix.into());
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// `01-telescope/lesson.md:12: error: …` and, where there is one, `  fix: …` in a second line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        f.write_str(&self.path)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {severity}: {}", self.text)?;
        match &self.fix {
            Some(fix) => write!(f, "\n  fix: {fix}"),
            None => Ok(()),
        }
    }
}

/// Findings of one file, gathered while it is read.
#[derive(Debug)]
pub(crate) struct Findings {
    pub path: String,
    pub all: Vec<Finding>,
}

impl Findings {
    pub fn new(path: impl Into<String>) -> Findings {
        Findings {
            path: path.into(),
            all: Vec::new(),
        }
    }

    pub fn error(&mut self, line: u32, text: impl Into<String>, fix: impl Into<String>) {
        let finding = Finding::error(&self.path, line, text).fix(fix);
        self.all.push(finding);
    }

    pub fn warning(&mut self, line: u32, text: impl Into<String>, fix: impl Into<String>) {
        let finding = Finding::warning(&self.path, line, text).fix(fix);
        self.all.push(finding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_as_compilers_write_them() {
        let finding = Finding::error("a/lesson.md", 3, "no title").fix("write one");
        assert_eq!(
            finding.to_string(),
            "a/lesson.md:3: error: no title\n  fix: write one"
        );
        let finding = Finding::warning("a", 0, "empty");
        assert_eq!(finding.to_string(), "a: warning: empty");
    }
}
