//! Programs of the system that the keeper runs, with what they said when they failed.

use std::process::{Command, Stdio};

/// A program did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be run.
    #[error("cannot run {line}")]
    Run {
        line: String,
        source: std::io::Error,
    },
    /// It failed.
    #[error("{line} failed ({status}): {said}")]
    Failed {
        line: String,
        status: std::process::ExitStatus,
        said: String,
    },
}

/// Runs `words`; its output is for the error.
///
/// # Errors
/// [`CommandError`].
pub fn run(words: &[&str]) -> Result<(), CommandError> {
    let line = words.join(" ");
    let [program, arguments @ ..] = words else {
        return Ok(());
    };
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(source) => return Err(CommandError::Run { line, source }),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(CommandError::Failed {
        line,
        status: output.status,
        said,
    })
}

/// As [`run`], where failing is no fault: a unit that an image does not have, a disk that gives
/// nothing back.
pub fn try_run(words: &[&str]) {
    if let Err(error) = run(words) {
        tracing::debug!(%error, "passed over");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_carry_what_was_said() {
        run(&["true"]).unwrap();
        let error = run(&["sh", "-c", "echo no such card >&2; exit 3"]).unwrap_err();
        assert!(error.to_string().contains("no such card"), "{error}");
        assert!(matches!(
            run(&["/nowhere/program"]),
            Err(CommandError::Run { .. })
        ));
        try_run(&["false"]);
    }
}
