//! A lesson on a terminal that can be drawn on: the text scrolls, the live part stays at the
//! bottom and is drawn anew when something changes.

use std::sync::Arc;

use cadet_tutorial::event::{Doing, Event, How, LiveCondition};
use cadet_tutorial::model::Lesson;
use console::{Style, Term};

use super::page::{self, Paper};
use super::session::Voice;
use super::text::{laid, prose};

/// What the learner can do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Preparing,
    Open,
    Doing,
    Left,
    Over,
}

/// See the module.
pub struct Screen {
    term: Term,
    /// Columns, where the terminal is not asked.
    columns: Option<usize>,
    lesson: Arc<Lesson>,
    mode: Mode,
    step: usize,
    conditions: Vec<LiveCondition>,
    reason: Option<String>,
    /// What went wrong last, as long as nothing else was told.
    trouble: Option<String>,
    /// Lines of the live part that are on the screen.
    drawn: usize,
    /// A line of output whose end has not come yet.
    part: String,
}

impl Screen {
    /// A screen on standard output.
    pub fn new(lesson: Arc<Lesson>) -> Self {
        Self::on(Term::buffered_stdout(), lesson)
    }

    fn on(term: Term, lesson: Arc<Lesson>) -> Self {
        Self {
            term,
            columns: None,
            lesson,
            mode: Mode::Preparing,
            step: 0,
            conditions: Vec::new(),
            reason: None,
            trouble: None,
            drawn: 0,
            part: String::new(),
        }
    }

    /// One column is left free, where some terminals break the line.
    fn paper(&self) -> Paper {
        let terminal = || usize::from(self.term.size().1);
        let columns = self.columns.unwrap_or_else(terminal).saturating_sub(1);
        Paper {
            width: columns.clamp(20, 90),
            colour: console::colors_enabled(),
        }
    }

    /// Writes `lines` above the live part.
    fn say(&mut self, lines: &[String]) {
        self.clear();
        for line in lines {
            // A terminal that is gone ends us by its own signal.
            let _ = self.term.write_line(line);
        }
        self.draw();
    }

    fn marked(&mut self, sign: &str, style: Style, text: &str) {
        let paper = self.paper();
        let mut lines = laid(text, paper.width, &format!("{sign} "), "  ", paper.colour);
        if paper.colour
            && let Some(first) = lines.first_mut()
        {
            let painted = style.force_styling(true).apply_to(sign).to_string();
            *first = first.replacen(sign, &painted, 1);
        }
        self.say(&lines);
    }

    fn clear(&mut self) {
        let _ = self.term.clear_last_lines(self.drawn);
        self.drawn = 0;
    }

    fn draw(&mut self) {
        let lines = self.live();
        let rows = usize::from(self.term.size().0).saturating_sub(2).max(4);
        // The keys are at the end; what does not fit is cut in the middle of the conditions.
        let over = lines.len().saturating_sub(rows);
        for (place, line) in lines.iter().enumerate() {
            if over > 0 && (rows / 2..rows / 2 + over).contains(&place) {
                continue;
            }
            let _ = self.term.write_line(line);
            self.drawn += 1;
        }
        let _ = self.term.flush();
    }

    fn live(&self) -> Vec<String> {
        let paper = self.paper();
        let mut lines = Vec::new();
        if matches!(self.mode, Mode::Open | Mode::Doing) {
            lines.push(String::new());
            let reason = self.reason.as_deref();
            lines.extend(page::live(&self.conditions, reason, paper));
        }
        if self.mode == Mode::Preparing {
            let told = "making the place ready: files, namespace, images …";
            lines.extend(laid(told, paper.width, "", "  ", paper.colour));
        }
        let can_run = self.can_run();
        let pressed: &[(&str, &str)] = match self.mode {
            Mode::Preparing | Mode::Over => &[],
            Mode::Doing => &[("^C", "end the command")],
            Mode::Left => &[
                ("Enter", "go on"),
                ("r", "reset the step"),
                ("q", "leave, keep progress"),
            ],
            Mode::Open if can_run => &[
                ("Enter", "run"),
                ("h", "hint"),
                ("s", "solve"),
                ("r", "reset"),
                ("q", "leave, keep progress"),
            ],
            Mode::Open if self.can_solve() => &[
                ("n", "next"),
                ("h", "hint"),
                ("s", "solve"),
                ("r", "reset"),
                ("q", "leave, keep progress"),
            ],
            Mode::Open => &[
                ("n", "next"),
                ("h", "hint"),
                ("r", "reset"),
                ("q", "leave, keep progress"),
            ],
        };
        lines.extend(page::keys(pressed, paper));
        lines
    }

    fn can_solve(&self) -> bool {
        let step = self.lesson.steps.get(self.step);
        step.is_some_and(|step| step.solve.is_some())
    }

    fn can_run(&self) -> bool {
        let step = self.lesson.steps.get(self.step);
        step.is_some_and(|step| step.has_actions())
    }

    fn output(&mut self, text: &str) {
        self.part.push_str(text);
        let Some(end) = self.part.rfind('\n') else {
            return;
        };
        let rest = self.part.split_off(end + 1);
        let whole = std::mem::replace(&mut self.part, rest);
        // Of a line that a program wrote over and over, the last state counts.
        let last = |line: &str| line.rsplit('\r').next().unwrap_or_default().to_owned();
        let lines: Vec<String> = whole.lines().map(last).collect();
        if self.mode != Mode::Preparing {
            self.say(&lines);
            return;
        }
        // What is said of the lesson's images is prose; what a command prints stays as it is.
        let paper = self.paper();
        let broken: Vec<String> = lines
            .iter()
            .flat_map(|line| laid(line, paper.width, "", "  ", paper.colour))
            .collect();
        self.say(&broken);
    }

    /// Writes a sentence of ours, broken between words.
    fn tell(&mut self, text: &str) {
        let paper = self.paper();
        self.say(&laid(text, paper.width, "", "  ", paper.colour));
    }

    /// Ends a line of output that has no end of its own.
    fn end_output(&mut self) {
        if !self.part.is_empty() {
            let part = std::mem::take(&mut self.part);
            self.say(&[part]);
        }
    }
}

impl Voice for Screen {
    fn begin(&mut self, folder: &str, whole: bool) {
        let paper = self.paper();
        if whole {
            let mut lines = page::introduction(&self.lesson, folder, paper);
            lines.push(String::new());
            self.say(&lines);
        }
    }

    fn event(&mut self, event: &Event) {
        let paper = self.paper();
        match event {
            Event::Preparing { .. } => {
                self.mode = Mode::Preparing;
                self.say(&[]);
            }
            Event::StepShown { step, .. } => {
                self.step = *step;
                self.mode = Mode::Open;
                self.conditions.clear();
                self.reason = None;
                let mut lines = vec![String::new()];
                lines.extend(page::step(&self.lesson, *step, paper));
                self.say(&lines);
            }
            Event::Doing { doing, what } => {
                // These end, and say so.
                if matches!(doing, Doing::Command | Doing::Guest) {
                    self.mode = Mode::Doing;
                }
                let told = match doing {
                    Doing::Command | Doing::Background => format!("$ {what}"),
                    Doing::File => format!("writes {what}"),
                    Doing::Guest => "runs the script inside the machine".to_owned(),
                };
                let lines: Vec<String> = told.lines().map(str::to_owned).collect();
                self.say(&lines);
            }
            Event::Output { text, .. } => self.output(text),
            Event::Ended { code, .. } => {
                self.end_output();
                self.mode = Mode::Open;
                if *code == 0 {
                    self.say(&[]);
                } else {
                    let told = format!("ended with exit code {code}");
                    self.marked("!", Style::new().yellow(), &told);
                }
            }
            Event::Live { conditions } => {
                self.trouble = None;
                self.conditions.clone_from(conditions);
                self.say(&[]);
            }
            Event::NotYet { reason, .. } => {
                self.reason = Some(reason.clone());
                self.say(&[]);
            }
            Event::Checked {
                holds,
                conditions,
                reason,
            } => {
                self.conditions.clone_from(conditions);
                self.reason.clone_from(reason);
                if !holds {
                    self.tell("checked: not yet");
                }
            }
            Event::Hint {
                number,
                total,
                text,
            } => {
                let mut lines = vec![format!("hint {number} of {total}")];
                let indented = prose(text, paper.width.saturating_sub(2), paper.colour);
                lines.extend(indented.into_iter().map(|line| format!("  {line}")));
                self.say(&lines);
            }
            Event::NoMoreHints { total: 0 } => self.tell("this step has no hints"),
            Event::NoMoreHints { .. } => {
                self.tell("there are no more hints; [s] solves the step");
            }
            Event::Completed { seconds, how, .. } => {
                self.end_output();
                self.mode = Mode::Left;
                let told = match how {
                    How::Done => format!("done, after {}", spent(*seconds)),
                    How::Already => "this is so already".to_owned(),
                    How::Solved => "solved for you".to_owned(),
                };
                self.marked("✓", Style::new().green(), &told);
            }
            Event::Skipped { .. } => self.tell("skipped"),
            Event::WasReset { steps } => {
                self.end_output();
                self.mode = Mode::Open;
                self.tell(match steps.as_slice() {
                    [_] => "the step is as it was found",
                    _ => "the lesson is as it was found",
                });
            }
            Event::LessonCompleted { .. } => {
                self.mode = Mode::Over;
                self.say(&[]);
            }
            Event::Trouble { what, fix } => {
                self.end_output();
                if self.mode == Mode::Doing {
                    self.mode = Mode::Open;
                }
                // Every watch tells of the same outage.
                if self.trouble.as_ref() == Some(what) {
                    return;
                }
                self.trouble = Some(what.clone());
                self.marked("!", Style::new().yellow(), what);
                if let Some(fix) = fix {
                    self.say(&[format!("  fix   {fix}")]);
                }
            }
        }
    }

    fn note(&mut self, text: &str) {
        self.marked("·", Style::new().dim(), text);
    }

    fn is_busy(&self) -> bool {
        self.mode == Mode::Doing
    }

    fn end(&mut self) {
        self.end_output();
        self.mode = Mode::Over;
        self.say(&[]);
    }
}

/// Seconds in words, short.
pub fn spent(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds} s"),
        _ => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(all(test, unix))]
#[path = "screen_tests.rs"]
mod tests;
