//! Tells the class how a lesson stands, for learners who agreed: lesson and step, time on each
//! step, hints used, and nothing else.
//!
//! Events go into a queue and are forgotten by the lesson; a task of its own sends what is
//! newest, so a slow or silent class holds nobody up. A report says how the whole lesson stands:
//! a lost one is made good by the next.

use std::time::{Duration, Instant};

use cadet_class::client::Teacher;
use cadet_class::message::{MOST_STEPS, Report, StepReport, StepState};
use cadet_class::{ClassError, Identity, Membership};
use cadet_tutorial::event::How;
use cadet_tutorial::model::Lesson;
use cadet_tutorial::progress::StepState as Kept;
use cadet_tutorial::{Event, LessonProgress};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::progress;
use crate::Context;
use crate::class::member;
use crate::error::{CliError, Result};

/// The class hears at least so often that a lesson is open.
const HEART: Duration = Duration::from_secs(20);
/// And at most so often.
const GATHER: Duration = Duration::from_millis(700);
/// How long one report may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause after a failure, doubled each time, and its longest.
const AGAIN: Duration = Duration::from_secs(4);
const LONGEST: Duration = Duration::from_secs(60);
/// How long the end of a lesson waits for its last report; less where the class was silent before.
const FAREWELL: Duration = Duration::from_secs(2);
const BRIEF: Duration = Duration::from_millis(500);

/// See the module.
pub struct Reporter {
    lesson: String,
    /// None where nobody listens.
    running: Option<Running>,
}

struct Running {
    tell: mpsc::UnboundedSender<Event>,
    task: JoinHandle<Sent>,
}

/// What arrived.
#[derive(Debug, Default)]
struct Sent {
    /// The last report of this lesson.
    last: bool,
    /// Reports of others, that had not arrived before.
    others: Vec<String>,
}

impl Reporter {
    /// A reporter for one session; it says and does nothing for learners who are in no class, or
    /// did not agree. `note` takes what the learner should know.
    pub fn begin(
        cx: &Context,
        lesson: &Lesson,
        kept: &LessonProgress,
        note: mpsc::UnboundedSender<String>,
    ) -> Self {
        let running = match start(cx, lesson, kept, note.clone()) {
            Ok(running) => running,
            Err(e) => {
                // The lesson goes on; nobody listens to notes only if it is over already.
                let _ = note.send(format!("the class is told nothing: {}", e.what));
                None
            }
        };
        Self {
            lesson: lesson.name.clone(),
            running,
        }
    }

    /// Something happened.
    pub fn event(&self, event: &Event) {
        if let Some(running) = &self.running
            && matters(event)
        {
            // The task ends only when the class refused: then nothing is sent any more.
            let _ = running.tell.send(event.clone());
        }
    }

    /// The session is over: sends the last report, and notes what did not arrive.
    ///
    /// # Errors
    /// HOST_DISK_FULL, HOST_STATE_CORRUPT, HOST_PROFILE_BUSY.
    pub async fn end(self, cx: &Context) -> Result<()> {
        let Some(Running { tell, task }) = self.running else {
            return Ok(());
        };
        drop(tell);
        let sent = match tokio::time::timeout(FAREWELL * 2, task).await {
            Ok(Ok(sent)) => sent,
            // It hangs, or is gone: nothing arrived.
            Ok(Err(_)) | Err(_) => Sent::default(),
        };
        let Some(mut kept) = member::read(cx)? else {
            return Ok(());
        };
        let before = kept.unsent.clone();
        for other in &sent.others {
            kept.unsent.remove(other);
        }
        if sent.last {
            kept.unsent.remove(&self.lesson);
        } else {
            kept.unsent.insert(self.lesson);
        }
        if kept.unsent != before {
            member::keep(cx, &kept)?;
        }
        Ok(())
    }
}

fn start(
    cx: &Context,
    lesson: &Lesson,
    kept: &LessonProgress,
    note: mpsc::UnboundedSender<String>,
) -> Result<Option<Running>> {
    let Some(member) = member::read(cx)?.filter(|member| member.reports) else {
        return Ok(None);
    };
    let mut before = Vec::new();
    for name in member.unsent.iter().filter(|name| **name != lesson.name) {
        // Progress that cannot be read is told when that lesson is opened.
        if let Ok(Some(kept)) = progress::of(cx, name) {
            before.push(Table::new(&kept, Instant::now()).report(Instant::now(), false));
        }
    }
    let class = Class::new(&member, note)?;
    let table = Table::new(kept, Instant::now());
    let (tell, events) = mpsc::unbounded_channel();
    let task = tokio::spawn(run(class, table, before, events));
    Ok(Some(Running { tell, task }))
}

/// True for events that change what the class sees.
fn matters(event: &Event) -> bool {
    matches!(
        event,
        Event::StepShown { .. }
            | Event::Hint { .. }
            | Event::Completed { .. }
            | Event::Skipped { .. }
            | Event::WasReset { .. }
            | Event::LessonCompleted { .. }
    )
}

/// The class as the task talks to it.
struct Class {
    teacher: Teacher,
    me: Identity,
    note: mpsc::UnboundedSender<String>,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Arrived,
    /// Worth another attempt.
    Later,
    /// The class takes nothing from this learner.
    Never,
}

impl Class {
    fn new(member: &Membership, note: mpsc::UnboundedSender<String>) -> Result<Self> {
        Ok(Self {
            teacher: Teacher::of(member)?,
            me: member.me()?,
            note,
        })
    }

    async fn send(&self, report: &Report, patience: Duration) -> Outcome {
        let sent = self.teacher.report(&self.me, report);
        match tokio::time::timeout(patience, sent).await {
            Ok(Ok(_)) => Outcome::Arrived,
            Ok(Err(ClassError::Refused { status, id, .. })) if status != 429 && status < 500 => {
                let told = CliError::from(ClassError::Refused {
                    status,
                    id,
                    message: String::new(),
                });
                let fix = told.fix.unwrap_or_default();
                // Nobody listens once the lesson is over.
                let _ = self
                    .note
                    .send(format!("the class is told nothing: {} ({fix})", told.what));
                Outcome::Never
            }
            // Silence, floods and full disks pass.
            Ok(Err(_)) | Err(_) => Outcome::Later,
        }
    }
}

async fn run(
    class: Class,
    mut table: Table,
    before: Vec<Report>,
    mut events: mpsc::UnboundedReceiver<Event>,
) -> Sent {
    let mut sent = Sent::default();
    for report in before {
        match class.send(&report, PATIENCE).await {
            Outcome::Arrived => sent.others.push(report.lesson),
            Outcome::Later => break,
            Outcome::Never => return sent,
        }
    }
    let mut pause = Duration::ZERO;
    let mut due = tokio::time::Instant::now() + GATHER;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => {
                    table.apply(&event, Instant::now());
                    // Soon, but together with what follows; not before a failure's pause is over.
                    if pause.is_zero() {
                        due = due.min(tokio::time::Instant::now() + GATHER);
                    }
                }
                None => break,
            },
            () = tokio::time::sleep_until(due) => {
                let outcome = class.send(&table.report(Instant::now(), true), PATIENCE).await;
                pause = match outcome {
                    Outcome::Arrived => Duration::ZERO,
                    Outcome::Later => (pause * 2).clamp(AGAIN, LONGEST),
                    Outcome::Never => return sent,
                };
                let next = if pause.is_zero() { HEART } else { pause };
                due = tokio::time::Instant::now() + next;
            }
        }
    }
    let last = table.report(Instant::now(), false);
    let patience = if pause.is_zero() { FAREWELL } else { BRIEF };
    sent.last = class.send(&last, patience).await == Outcome::Arrived;
    sent
}

/// How the lesson stands.
struct Table {
    lesson: String,
    step: usize,
    steps: Vec<StepReport>,
    /// Since when the step is on the screen, and what was on its clock then.
    shown: Option<(Instant, u32)>,
}

impl Table {
    fn new(kept: &LessonProgress, now: Instant) -> Self {
        let steps: Vec<StepReport> = kept
            .steps
            .iter()
            .take(MOST_STEPS)
            .map(|step| StepReport {
                seconds: u32::try_from(step.seconds).unwrap_or(u32::MAX),
                hints: u8::try_from(step.hints).unwrap_or(u8::MAX),
                state: match step.state {
                    Kept::Open => StepState::Open,
                    Kept::Completed(how) => done(how),
                    Kept::Skipped => StepState::Skipped,
                },
            })
            .collect();
        let mut table = Self {
            lesson: kept.lesson.clone(),
            step: kept.step.min(steps.len()),
            steps,
            shown: None,
        };
        table.show(table.step, now);
        table
    }

    fn show(&mut self, step: usize, now: Instant) {
        self.pass(now);
        self.step = step.min(self.steps.len());
        let seconds = self.steps.get(self.step).map(|step| step.seconds);
        self.shown = seconds.map(|seconds| (now, seconds));
    }

    /// Time goes on while a step is open.
    fn pass(&mut self, now: Instant) {
        if let (Some((since, before)), Some(step)) = (self.shown, self.steps.get_mut(self.step))
            && step.state == StepState::Open
        {
            let passed = now.saturating_duration_since(since).as_secs();
            let passed = u32::try_from(passed).unwrap_or(u32::MAX);
            step.seconds = before.saturating_add(passed);
        }
    }

    fn apply(&mut self, event: &Event, now: Instant) {
        self.pass(now);
        match event {
            Event::StepShown { step, .. } => self.show(*step, now),
            Event::Hint { number, .. } => {
                if let Some(step) = self.steps.get_mut(self.step) {
                    step.hints = u8::try_from(*number).unwrap_or(u8::MAX);
                }
            }
            Event::Completed { step, how, .. } => {
                if let Some(step) = self.steps.get_mut(*step) {
                    step.state = done(*how);
                }
            }
            Event::Skipped { step } => {
                if let Some(step) = self.steps.get_mut(*step) {
                    step.state = StepState::Skipped;
                }
            }
            Event::WasReset { steps } => {
                for step in steps {
                    if let Some(step) = self.steps.get_mut(*step) {
                        *step = StepReport::default();
                    }
                }
                self.shown = None;
                self.show(self.step, now);
            }
            Event::LessonCompleted { .. } => {
                self.step = self.steps.len();
                self.shown = None;
            }
            _ => {}
        }
    }

    fn report(&mut self, now: Instant, open: bool) -> Report {
        self.pass(now);
        Report {
            lesson: self.lesson.clone(),
            step: self.step,
            steps: self.steps.clone(),
            open: open && self.step < self.steps.len(),
        }
    }
}

fn done(how: How) -> StepState {
    match how {
        How::Done => StepState::Done,
        // Nobody did anything: it says nothing of how long the step takes.
        How::Already => StepState::Skipped,
        How::Solved => StepState::Solved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadet_tutorial::progress::StepProgress;

    fn kept(steps: usize) -> LessonProgress {
        LessonProgress {
            format: 1,
            lesson: "telescope".into(),
            digest: String::new(),
            step: 0,
            steps: vec![StepProgress::default(); steps],
            started: 1,
            finished: None,
        }
    }

    fn shown(step: usize) -> Event {
        Event::StepShown {
            step,
            total: 3,
            title: "secret words".into(),
        }
    }

    fn completed(step: usize, how: How) -> Event {
        Event::Completed {
            step,
            total: 3,
            seconds: 0,
            how,
        }
    }

    #[test]
    fn the_table_follows_the_lesson_and_its_clock() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut table = Table::new(&kept(3), start);
        table.apply(&shown(0), at(0));
        table.apply(
            &Event::Hint {
                number: 1,
                total: 2,
                text: "more secret words".into(),
            },
            at(20),
        );
        table.apply(&completed(0, How::Done), at(60));
        // Reading on after a step is done is nobody's slowness.
        table.apply(&shown(1), at(100));
        let report = table.report(at(130), true);
        assert_eq!((report.step, report.open), (1, true));
        assert_eq!(report.steps[0].seconds, 60);
        assert_eq!(report.steps[0].hints, 1);
        assert_eq!(report.steps[0].state, StepState::Done);
        assert_eq!(report.steps[1].seconds, 30);
        let sent = serde_json::to_string(&report).unwrap();
        assert!(!sent.contains("secret"), "{sent}");
        table.apply(&completed(1, How::Solved), at(140));
        table.apply(&shown(2), at(141));
        table.apply(&Event::Skipped { step: 2 }, at(150));
        table.apply(
            &Event::LessonCompleted {
                seconds: 150,
                skipped: 1,
            },
            at(150),
        );
        let report = table.report(at(500), true);
        assert_eq!((report.step, report.open), (3, false));
        assert_eq!(report.steps[1].state, StepState::Solved);
        assert_eq!(report.steps[2].state, StepState::Skipped);
        assert_eq!(report.steps[2].seconds, 9);
    }

    #[test]
    fn what_was_reset_begins_anew_and_what_was_kept_counts_on() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut before = kept(2);
        before.steps[0].seconds = 40;
        let mut table = Table::new(&before, start);
        assert_eq!(table.report(at(5), true).steps[0].seconds, 45);
        table.apply(&Event::WasReset { steps: vec![0] }, at(10));
        assert_eq!(table.report(at(13), true).steps[0].seconds, 3);
    }

    #[test]
    fn only_six_kinds_of_events_leave_the_lesson() {
        assert!(matters(&shown(1)));
        for event in [
            Event::NotYet {
                reason: "r".into(),
                by: cadet_tutorial::event::Reason::Why,
            },
            Event::Trouble {
                what: "w".into(),
                fix: None,
            },
            Event::NoMoreHints { total: 1 },
        ] {
            assert!(!matters(&event), "{event:?}");
        }
    }
}
