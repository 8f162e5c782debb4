//! What is said to the engine and what it says: the whole of the conversation with a UI.

use serde::Serialize;

use crate::world::Stream;

/// What a learner may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Enter: do what the step shows. In a completed step the same as [`Verb::Next`].
    Run,
    /// Go on. Completes a step that waits for `done`; elsewhere an uncompleted step answers with
    /// why it is not yet done.
    Next,
    /// Judge now and answer with [`Event::Checked`].
    Check,
    /// One more hint.
    Hint,
    /// Do for the learner what solves the step.
    Solve,
    /// Leave the step as it is and go on.
    Skip,
    /// Bring this step back to how it was found.
    Reset,
    /// Bring every step back, last first, clean up and begin anew.
    ResetLesson,
    /// Show another step, counted from 0; nothing is reset.
    GoTo(usize),
    /// Say again where we are: [`Event::StepShown`], [`Event::Live`], [`Event::NotYet`].
    Status,
    /// End the command that runs.
    Interrupt,
    /// Leave; progress is kept.
    Quit,
}

/// One condition and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveCondition {
    /// The condition in words: `pod/telescope-pod ready`.
    pub wanted: String,
    pub holds: bool,
    /// What is there now, one line each.
    pub lines: Vec<String>,
}

/// How a step was completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum How {
    /// The learner did it, by Enter or in their own terminal.
    Done,
    /// It was so when the step was shown, before anything was done in it.
    Already,
    /// `solve` did it.
    Solved,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Doing {
    Command,
    /// A command that goes on while the step lasts.
    Background,
    File,
    /// A script inside the machine.
    Guest,
}

/// Whose words a reason is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// The lesson's author foresaw this.
    Author,
    /// The first condition that does not hold.
    Condition,
    /// What the cluster's own causes say of the object.
    Why,
}

/// What the engine tells. In `-o json` each is one line, named by `event`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(
    tag = "event",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Event {
    /// The place is made ready (images, namespace, files); may take a while.
    Preparing { lesson: String },
    /// A step begins. Steps count from 0; its text is in the lesson.
    StepShown {
        step: usize,
        total: usize,
        title: String,
    },
    /// A command, file or script of the step is being done. `what` is its text (of a command),
    /// path (of a file) or `guest`.
    Doing { doing: Doing, what: String },
    /// A piece of a command's output.
    Output { stream: Stream, text: String },
    /// A command or script ended.
    Ended {
        what: String,
        code: i32,
        seconds: f64,
    },
    /// How the conditions stand; said when it changes.
    Live { conditions: Vec<LiveCondition> },
    /// Why the step is not completed, in plain words; said when it changes.
    NotYet { reason: String, by: Reason },
    /// The answer to [`Verb::Check`].
    Checked {
        holds: bool,
        conditions: Vec<LiveCondition>,
        reason: Option<String>,
    },
    /// One more hint; `number` counts from 1.
    Hint {
        number: usize,
        total: usize,
        text: String,
    },
    /// All hints were given, or there are none.
    NoMoreHints { total: usize },
    /// Everything the step waits for holds.
    Completed {
        step: usize,
        total: usize,
        seconds: u64,
        how: How,
    },
    /// The step was left as it is.
    Skipped { step: usize },
    /// Steps were brought back: one, or from the last to the first.
    WasReset { steps: Vec<usize> },
    /// The last step was left.
    LessonCompleted { seconds: u64, skipped: usize },
    /// Something could not be done; the lesson goes on.
    Trouble { what: String, fix: Option<String> },
}
