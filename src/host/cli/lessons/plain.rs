//! A lesson in lines: for screen readers, for terminals that cannot be drawn on, for pipes.
//! Nothing is drawn twice; a line is said when something has changed.

use std::sync::Arc;

use cadet_tutorial::event::{Doing, Event, How, LiveCondition};
use cadet_tutorial::model::Lesson;

use super::page::{self, Paper};
use super::screen::spent;
use super::session::Voice;
use super::text::prose;
use crate::ui;

/// See the module.
pub struct Plain {
    lesson: Arc<Lesson>,
    /// Whether somebody can type an answer.
    asks: bool,
    busy: bool,
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
                    ui::say(&format!("Waiting for: {}.", condition.wanted));
                }
                (Some(false), true) => ui::say(&format!("Now so: {}.", condition.wanted)),
                _ => {}
            }
        }
        self.said = conditions.to_vec();
    }

    fn output(&mut self, text: &str) {
        self.part.push_str(text);
        while let Some(end) = self.part.find('\n') {
            let rest = self.part.split_off(end + 1);
            let line = std::mem::replace(&mut self.part, rest);
            // Of a line that a program wrote over and over, the last state counts.
            let line = line.trim_end_matches(['\n', '\r']);
            ui::say(line.rsplit('\r').next().unwrap_or_default());
        }
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

impl Voice for Plain {
    fn begin(&mut self, folder: &str, whole: bool) {
        if whole {
            lines(&page::introduction(&self.lesson, folder, Self::paper()));
        }
        if self.asks {
            ui::say("");
            ui::say(
                "Press Enter to run a step's commands, or type a letter and Enter: \
                 n next, h hint, c check, s solve, k skip, r reset, w where am I, q leave.",
            );
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Preparing { .. } => {}
            Event::StepShown { step, .. } => {
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
            Event::Output { text, .. } => self.output(text),
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
                    ui::say(&format!("Not yet, because {reason}"));
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
                    ui::say(&format!("{sign}: {}", condition.wanted));
                    for line in &condition.lines {
                        ui::say(&format!("  {line}"));
                    }
                }
                match reason {
                    Some(reason) if !holds => ui::say(&format!("Not yet, because {reason}")),
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
                ui::say(&format!("Step {} of {total} is {how}.{press}", step + 1));
            }
            Event::Skipped { step } => ui::say(&format!("Step {} is skipped.", step + 1)),
            Event::WasReset { steps } => {
                self.end_output();
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
                ui::say(&format!("Trouble: {what}"));
                if let Some(fix) = fix {
                    ui::say(&format!("  fix   {fix}"));
                }
            }
        }
    }

    fn note(&mut self, text: &str) {
        ui::say(&format!("Note: {text}"));
    }

    fn is_busy(&self) -> bool {
        self.busy
    }

    fn end(&mut self) {
        self.end_output();
    }
}
