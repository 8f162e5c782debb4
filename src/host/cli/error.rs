//! What a user sees when something fails: id, exit code, why, the next command.
//!
//! Rooms return typed errors; `from_rooms` turns each into one of these. Nothing
//! below the command line knows about words or exit codes.

use std::fmt::Write as _;

use serde_json::json;

use crate::topics::{self, Topic};

/// One error as it is printed: see the storyboard in `help` topics.
#[derive(Debug, Clone)]
pub struct CliError {
    /// Stable id and exit code.
    pub topic: &'static Topic,
    /// What happened, one line.
    pub what: String,
    /// The evidence.
    pub why: Option<String>,
    /// A command that can be pasted.
    pub fix: Option<String>,
    /// Where to read more.
    pub log: Option<String>,
    /// Set when the command has said everything already (`ssh`, `kubectl`): the
    /// process ends with this code and prints nothing.
    pub silent_exit: Option<u8>,
}

/// Result of everything in the command line.
pub type Result<T, E = CliError> = std::result::Result<T, E>;

impl CliError {
    /// An error of the catalogue's `id`.
    pub fn new(id: &'static str, what: impl Into<String>) -> Self {
        Self {
            topic: topics::find(id).unwrap_or(&topics::INTERNAL),
            what: what.into(),
            why: None,
            fix: None,
            log: None,
            silent_exit: None,
        }
    }

    /// Ends the process with the exit code of a program we ran, which has already
    /// said what there was to say.
    pub fn exit_like(code: u8) -> Self {
        Self {
            silent_exit: Some(code),
            ..Self::new("PROGRAM_INTERNAL", "")
        }
    }

    /// Adds the evidence.
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// Adds the next command to type.
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Adds where to read more.
    pub fn log(mut self, log: impl Into<String>) -> Self {
        self.log = Some(log.into());
        self
    }

    /// Exit code of the process.
    pub fn exit_code(&self) -> u8 {
        self.silent_exit.unwrap_or(self.topic.exit)
    }

    /// The block for people.
    pub fn render(&self) -> String {
        let mut text = format!(
            "error {} (exit {}): {}\n",
            self.topic.id, self.topic.exit, self.what
        );
        for (label, part) in [("why", &self.why), ("fix", &self.fix), ("log", &self.log)] {
            let Some(part) = part else { continue };
            for (i, line) in part.lines().enumerate() {
                let label = if i == 0 { label } else { "" };
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  {label:<5} {line}");
            }
        }
        let _ = writeln!(text, "  more  cadet help {}", self.topic.id);
        text
    }

    /// The event for programs.
    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "type": "error", "id": self.topic.id, "exitCode": self.topic.exit,
            "message": self.what, "why": self.why, "fix": self.fix, "log": self.log,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_the_storyboard() {
        let error = CliError::new("HOST_DISK_FULL", "the disk holding your Cadet home is full")
            .why("needs 2 GiB,\nhas 0.2 GiB")
            .fix("CADET_HOME=/big/disk cadet start");
        assert_eq!(
            error.render(),
            "error HOST_DISK_FULL (exit 31): the disk holding your Cadet home is full\n\
             \x20 why   needs 2 GiB,\n\
             \x20       has 0.2 GiB\n\
             \x20 fix   CADET_HOME=/big/disk cadet start\n\
             \x20 more  cadet help HOST_DISK_FULL\n"
        );
        assert_eq!(error.exit_code(), 31);
    }
}
