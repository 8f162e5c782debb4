//! How Cadet speaks: step lines, progress, warnings, JSON events.
//!
//! One line per step with its time. On a terminal the running step is drawn by
//! indicatif; elsewhere the same lines are printed once each; with `-o json` every
//! line is an event with a stable name.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::error::CliError;

/// Shape of a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Lines for people.
    Text,
    /// JSON: one event or object per line.
    Json,
}

/// Where a command speaks to.
pub struct Ui {
    output: Output,
    terminal: bool,
    current: Mutex<Option<Running>>,
}

struct Running {
    name: &'static str,
    index: usize,
    total: usize,
    since: Instant,
    bar: Option<ProgressBar>,
    last_percent: Option<u64>,
}

/// Column at which a step's time ends, so that lines fit into 80 columns.
const TIME_COLUMN: usize = 72;

impl Ui {
    /// Speaks `output`; draws only if standard output is a terminal.
    pub fn new(output: Output) -> Self {
        let terminal = output == Output::Text && std::io::stdout().is_terminal();
        Self {
            output,
            terminal,
            current: Mutex::new(None),
        }
    }

    /// Another voice of the same manner, with no step running.
    pub fn again(&self) -> Self {
        Self {
            output: self.output,
            terminal: self.terminal,
            current: Mutex::new(None),
        }
    }

    /// True if output is JSON.
    pub fn json(&self) -> bool {
        self.output == Output::Json
    }

    /// Prints a line of the command's result; for programs, whose every line is JSON, as a note.
    pub fn line(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        if !self.json() {
            say(text);
        } else if !text.trim().is_empty() {
            self.object(&json!({"type": "note", "message": text.trim()}));
        }
    }

    /// Says something beside a result that is another program's input: on stderr.
    pub fn aside(&self, text: &str) {
        // If stderr is gone there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// Prints one JSON object on a line.
    pub fn object(&self, value: &Value) {
        say(&value.to_string());
    }

    /// A step begins.
    pub fn step_started(&self, name: &'static str, index: usize, total: usize) {
        let bar = self.terminal.then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(style("{spinner:.dim} {prefix:<11} {msg}"));
            bar.set_prefix(name);
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if self.json() {
            self.object(
                &json!({"type": "step.started", "step": name, "index": index, "total": total}),
            );
        }
        *self.running() = Some(Running {
            name,
            index,
            total,
            since: Instant::now(),
            bar,
            last_percent: None,
        });
    }

    /// What the running step is doing; with `part` of `whole` if a share is known.
    pub fn progress(&self, text: &str, share: Option<(u64, u64)>) {
        let mut running = self.running();
        let Some(step) = running.as_mut() else { return };
        if let Some(bar) = &step.bar {
            let text = match share {
                Some((part, whole)) if whole > 0 => {
                    format!(
                        "{text} {} of {} MB",
                        part / 1_000_000,
                        whole.div_ceil(1_000_000)
                    )
                }
                _ => text.to_string(),
            };
            let room = usize::from(console::Term::stdout().size().1).saturating_sub(16);
            bar.set_message(console::truncate_str(&text, room, "…").into_owned());
        }
        if self.json() {
            // An event per percent, not per packet.
            let percent = share.and_then(|(part, whole)| (part * 100).checked_div(whole));
            if percent.is_some() && percent == step.last_percent {
                return;
            }
            step.last_percent = percent;
            let (name, index, total) = (step.name, step.index, step.total);
            drop(running);
            self.object(&json!({
                "type": "step.progress", "step": name, "index": index, "total": total,
                "message": text, "percent": percent,
            }));
        }
    }

    /// The running step is done. `note` says what came of it; `time` replaces the
    /// seconds, as in "cached".
    pub fn step_done(&self, note: &str, time: Option<&str>) {
        let Some(step) = self.running().take() else {
            return;
        };
        if let Some(bar) = &step.bar {
            bar.finish_and_clear();
        }
        let seconds = step.since.elapsed().as_secs_f64();
        if self.json() {
            self.object(&json!({
                "type": "step.done", "step": step.name, "index": step.index, "total": step.total,
                "message": note, "seconds": (seconds * 1000.0).round() / 1000.0,
            }));
            return;
        }
        let time = time.map_or_else(|| format!("{seconds:.1} s"), str::to_string);
        self.mark("✓", step.name, note, &time, console::Style::new().green());
    }

    /// The running step failed; the error itself is printed by the caller.
    pub fn step_failed(&self, note: &str) {
        let Some(step) = self.running().take() else {
            return;
        };
        if let Some(bar) = &step.bar {
            bar.finish_and_clear();
        }
        if self.json() {
            self.object(&json!({
                "type": "step.failed", "step": step.name, "index": step.index, "total": step.total,
                "message": note,
            }));
            return;
        }
        self.mark("✗", step.name, note, "", console::Style::new().red());
    }

    /// Something the user should know, though the work goes on.
    pub fn warn(&self, subject: &str, text: &str) {
        if self.json() {
            self.object(&json!({"type": "warning", "subject": subject, "message": text}));
            return;
        }
        let text = beside_subject(text);
        let print = || self.mark("!", subject, &text, "", console::Style::new().yellow());
        match self.running().as_ref().and_then(|r| r.bar.clone()) {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Prints an error: to stderr for people, as an event for programs.
    pub fn error(&self, error: &CliError) {
        if error.silent_exit.is_some() {
            return;
        }
        self.step_failed(first_line(&error.what));
        if self.json() {
            self.object(&error.to_json());
            return;
        }
        // If stderr is gone there is nobody left to tell.
        let _ = std::io::stderr().write_all(error.render().as_bytes());
    }

    fn mark(&self, sign: &str, name: &str, text: &str, time: &str, style: console::Style) {
        let sign = style.apply_to(sign);
        let start = format!("{name:<11} {text}");
        let room = TIME_COLUMN.saturating_sub(console::measure_text_width(&start) + 2);
        let gap = " ".repeat(
            room.saturating_sub(console::measure_text_width(time))
                .max(2),
        );
        let time = if time.is_empty() {
            String::new()
        } else {
            format!("{gap}{time}")
        };
        say(&format!("{sign} {start}{time}"));
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.current
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Columns of the terminal; where the output is none, what COLUMNS says, or 80.
pub fn columns() -> usize {
    let terminal = console::Term::stdout();
    if terminal.is_term() {
        return terminal.size().1.into();
    }
    let named = std::env::var("COLUMNS").ok();
    let named = named.and_then(|text| text.parse().ok());
    named.filter(|columns| *columns > 0).unwrap_or(80)
}

/// Prints a line; a reader that went away (`cadet … | head`) is no error of ours.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Breaks `text` between words so that no line is longer than `width`.
pub fn wrap(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            out.push('\n');
            used = 0;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += length;
    }
    out
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .tick_strings(&["·", "•", "●", "•", "·"])
}

/// What stands beside a subject; what does not fit goes on below itself.
pub fn beside_subject(text: &str) -> String {
    let room = columns().saturating_sub(14).max(20);
    wrap(text, room).replace('\n', "\n              ")
}

/// `1 lesson`, `2 lessons`.
pub fn count(n: usize, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {what}{s}")
}

/// Sizes for people: MiB as "2.0 GiB" or "768 MiB".
pub fn mib(value: u64) -> String {
    if value >= 1024 {
        #[allow(clippy::cast_precision_loss)] // memory sizes are far below 2^52
        let gib = value as f64 / 1024.0;
        format!("{gib:.1} GiB")
    } else {
        format!("{value} MiB")
    }
}

/// Durations for people: "41 s", "3 h 12 min", "2 d 4 h".
pub fn duration(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..86400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86400, s % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_stories_are_broken_between_words() {
        assert_eq!(wrap("aa bb  cc dd", 5), "aa bb\ncc dd");
        assert_eq!(wrap("toolongword x", 5), "toolongword\nx");
    }

    #[test]
    fn sizes_and_times_read_well() {
        assert_eq!(mib(2048), "2.0 GiB");
        assert_eq!(mib(768), "768 MiB");
        assert_eq!(duration(Duration::from_secs(59)), "59 s");
        assert_eq!(duration(Duration::from_secs(11_520)), "3 h 12 min");
        assert_eq!(duration(Duration::from_secs(187_200)), "2 d 4 h");
    }
}
