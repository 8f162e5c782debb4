//! How `up` and `down` speak: one line a step with its time, or one JSON event a line.

use std::time::Instant;

use serde_json::json;

/// Shape of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Lines for people.
    Text,
    /// JSON: one event per line.
    Json,
}

/// Column at which a step's time ends, so that lines fit into 80 columns.
const TIME_COLUMN: usize = 72;

/// Speaks to standard output.
#[derive(Debug, Clone, Copy)]
pub struct Voice {
    output: Output,
}

impl Voice {
    /// Speaks `output`.
    pub fn new(output: Output) -> Self {
        Self { output }
    }

    /// Whether events are spoken.
    pub fn is_json(self) -> bool {
        self.output == Output::Json
    }

    /// A step that began at `since` is done.
    pub fn step(self, name: &str, text: &str, since: Instant) {
        let seconds = since.elapsed().as_secs_f64();
        match self.output {
            Output::Text => say(&step_line(name, text, seconds)),
            Output::Json => say(&json!({"type": "step.done", "step": name, "text": text,
                "seconds": (seconds * 1000.0).round() / 1000.0})
            .to_string()),
        }
    }

    /// Something worth knowing that stops nothing.
    pub fn warning(self, name: &str, text: &str) {
        match self.output {
            Output::Text => say(&format!("! {name:<11} {text}")),
            Output::Json => {
                say(&json!({"type": "warning", "step": name, "text": text}).to_string());
            }
        }
    }

    /// The end of it all: the last words for people, the event for programs.
    pub fn done(self, text: &str, since: Instant) {
        match self.output {
            Output::Text => say(text),
            Output::Json => {
                let seconds = (since.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
                say(&json!({"type": "done", "seconds": seconds}).to_string());
            }
        }
    }
}

fn step_line(name: &str, text: &str, seconds: f64) -> String {
    let line = format!("✓ {name:<11} {text}");
    let time = format!("{seconds:.1} s");
    let used = line.chars().count() + time.len();
    let gap = TIME_COLUMN.saturating_sub(used).max(2);
    format!("{line}{:gap$}{time}", "")
}

/// Whoever reads may have gone away; the work goes on.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_in_one_column() {
        let short = step_line("server", "the API answers", 0.32);
        let other = step_line("kubectl", "context \"cadet\"", 12.0);
        assert_eq!(short.chars().count(), TIME_COLUMN);
        assert_eq!(other.chars().count(), TIME_COLUMN);
        assert!(short.starts_with("✓ server      the API answers  ") && short.ends_with(" 0.3 s"));
        let long = step_line("server", &"x".repeat(90), 1.0);
        assert!(long.ends_with("x  1.0 s"), "{long}");
    }
}
