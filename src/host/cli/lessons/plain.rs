//! A lesson in lines: for screen readers, for terminals that cannot be drawn on, for pipes.
//! Nothing is drawn twice; a line is said when something has changed.

use std::sync::Arc;

use cadet_tutorial::event::{Doing, Event, How, LiveCondition};
use cadet_tutorial::model::Lesson;

use super::page::{self, Paper};
use super::screen::spent;
use super::session::Voice;
use super::text::{laid, prose};
use crate::ui;

/// See the module.
pub struct Plain {
    lesson: Arc<Lesson>,
    /// Whether somebody can type an answer.
    asks: bool,
    busy: bool,
    /// The place is being made ready: what is said then is prose, not a command's output.
    preparing: bool,
    said: Vec<LiveCondition>,
    reason: Option<String>,
    /// What went wrong last, as long as nothing else was told.
    trouble: Option<String>,
    part: String,
}

impl Plain {
    /// `asks` is false for commands that do one thing and end.
    pub fn new(lesson: Arc<Lesson>, asks: bool) -> Self {
        Self {
            lesson,
            asks,
            busy: false,
            preparing: false,
            said: Vec::new(),
            reason: None,
            trouble: None,
            part: String::new(),
        }
    }

    fn paper() -> Paper {
        Paper {
            width: ui::columns().clamp(20, 90),
            colour: false,
        }
    }

    fn conditions(&mut self, conditions: &[LiveCondition]) {
        for condition in conditions {
            let before = self.said.iter().find(|c| c.wanted == condition.wanted);
            match (before.map(|c| c.holds), condition.holds) {
                (None | Some(true), false) => {
                    tell(&format!("Waiting for: {}.", condition.wanted));
                }
                (Some(false), true) => tell(&format!("Now so: {}.", condition.wanted)),
                _ => {}
            }
        }
        self.said = conditions.to_vec();
    }

    /// The lines that are whole with this piece of output.
    fn output(&mut self, text: &str, width: usize) -> Vec<String> {
        let mut out = Vec::new();
        self.part.push_str(text);
        while let Some(end) = self.part.find('\n') {
            let rest = self.part.split_off(end + 1);
            let line = std::mem::replace(&mut self.part, rest);
            // Of a line that a program wrote over and over, the last state counts.
            let line = line.trim_end_matches(['\n', '\r']);
            let line = line.rsplit('\r').next().unwrap_or_default();
            if self.preparing {
                out.extend(laid(line, width, "", "  ", false));
            } else {
                out.push(line.to_owned());
            }
        }
        out
    }

    fn end_output(&mut self) {
        if !self.part.is_empty() {
            ui::say(&std::mem::take(&mut self.part));
        }
    }
}

fn lines(lines: &[String]) {
    for line in lines {
        ui::say(line.trim_end());
    }
}

/// Says a sentence of ours, broken between words.
fn tell(text: &str) {
    lines(&laid(text, Plain::paper().width, "", "  ", false));
}

impl Voice for Plain {
    fn begin(&mut self, folder: &str, whole: bool) {
        if whole {
            lines(&page::introduction(&self.lesson, folder, Self::paper()));
        }
        if self.asks {
            ui::say("");
            tell(
                "Press Enter to run a step's commands, or type a letter and Enter: \
                 n next, h hint, c check, s solve, k skip, r reset, w where am I, q leave.",
            );
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Preparing { .. } => self.preparing = true,
            Event::StepShown { step, .. } => {
                self.preparing = false;
                self.said.clear();
                self.reason = None;
                ui::say("");
                lines(&page::step(&self.lesson, *step, Self::paper()));
            }
            Event::Doing { doing, what } => {
                // These end, and say so.
                self.busy = matches!(doing, Doing::Command | Doing::Guest);
                ui::say(&match doing {
                    Doing::Command => format!("Running: {what}"),
                    Doing::Background => format!("Running until the step ends: {what}"),
                    Doing::File => format!("Writing {what}."),
                    Doing::Guest => "Running the script inside the machine.".to_owned(),
                });
            }
            Event::Output { text, .. } => {
                for line in self.output(text, Self::paper().width) {
                    ui::say(&line);
                }
            }
            Event::Ended { code, .. } => {
                self.end_output();
                self.busy = false;
                if *code != 0 {
                    ui::say(&format!("It ended with exit code {code}."));
                }
            }
            Event::Live { conditions } => {
                self.trouble = None;
                self.conditions(conditions);
            }
            Event::NotYet { reason, .. } => {
                if self.reason.as_ref() != Some(reason) {
                    tell(&format!("Not yet, because {reason}"));
                    self.reason = Some(reason.clone());
                }
            }
            Event::Checked {
                holds,
                conditions,
                reason,
            } => {
                for condition in conditions {
                    let sign = if condition.holds { "so" } else { "not so" };
                    tell(&format!("{sign}: {}", condition.wanted));
                    for line in &condition.lines {
                        let width = Self::paper().width;
                        lines(&laid(line, width, "  ", "    ", false));
                    }
                }
                match reason {
                    Some(reason) if !holds => tell(&format!("Not yet, because {reason}")),
                    _ => {}
                }
                self.said.clone_from(conditions);
            }
            Event::Hint {
                number,
                total,
                text,
            } => {
                ui::say(&format!("Hint {number} of {total}:"));
                lines(&prose(text, Self::paper().width, false));
            }
            Event::NoMoreHints { total: 0 } => ui::say("This step has no hints."),
            Event::NoMoreHints { .. } => ui::say("There are no more hints."),
            Event::Completed {
                step,
                total,
                seconds,
                how,
            } => {
                self.end_output();
                self.busy = false;
                let how = match how {
                    How::Done => format!("done, after {}", spent(*seconds)),
                    How::Already => "so already".to_owned(),
                    How::Solved => "solved for you".to_owned(),
                };
                let press = if self.asks {
                    " Press Enter to go on."
                } else {
                    ""
                };
                tell(&format!("Step {} of {total} is {how}.{press}", step + 1));
            }
            Event::Skipped { step } => ui::say(&format!("Step {} is skipped.", step + 1)),
            Event::WasReset { steps } => {
                self.end_output();
                self.preparing = false;
                self.busy = false;
                for step in steps {
                    ui::say(&format!("Step {} is as it was found.", step + 1));
                }
            }
            Event::LessonCompleted { .. } => {}
            Event::Trouble { what, fix } => {
                self.end_output();
                self.busy = false;
                // Every watch tells of the same outage.
                if self.trouble.as_ref() == Some(what) {
                    return;
                }
                self.trouble = Some(what.clone());
                tell(&format!("Trouble: {what}"));
                if let Some(fix) = fix {
                    ui::say(&format!("  fix   {fix}"));
                }
            }
        }
    }

    fn note(&mut self, text: &str) {
        tell(&format!("Note: {text}"));
    }

    fn is_busy(&self) -> bool {
        self.busy
    }

    fn end(&mut self) {
        self.end_output();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cadet_tutorial::{Folder, load};
    use console::measure_text_width;

    use super::*;

    #[test]
    fn words_about_images_are_broken_and_output_of_commands_is_not() {
        let (lesson, _) = load::load(&Folder::from_files("01-rocket", BTreeMap::new()));
        let lesson = Arc::new(lesson);
        let text = "No registry gave the image, so Python from the machine's Debian packages \
                    runs, with Flask for pip.\n";
        for width in [80, 40] {
            let mut plain = Plain::new(lesson.clone(), true);
            plain.event(&Event::Preparing {
                lesson: "rocket".into(),
            });
            let (first, second) = text.split_at(50);
            assert!(plain.output(first, width).is_empty());
            let lines = plain.output(second, width);
            assert!(lines.len() > 1, "{width}: {lines:?}");
            for line in &lines {
                assert!(measure_text_width(line) <= width, "{width}: {line}");
            }
            let words: Vec<&str> = lines.iter().flat_map(|l| l.split_whitespace()).collect();
            assert_eq!(words, text.split_whitespace().collect::<Vec<_>>());
            plain.preparing = false;
            let table = "NAME    READY   STATUS    RESTARTS   AGE    and much more of it here";
            assert_eq!(plain.output(&format!("{table}\r\n"), width), [table]);
        }
    }
}
