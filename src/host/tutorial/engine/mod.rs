//! Drives one lesson for one learner.
//!
//! ```text
//!             prepare                 conditions hold
//!  (start) ──────────▶ Open(step) ───────────────────▶ Left(step)
//!                       │  ▲  ▲                            │ Next, Run
//!          Run, Solve   │  │  └── GoTo, Reset ─────────────┤
//!                       ▼  │ ended                         ▼
//!                      Doing(step)  ·conditions go on·   Open(step + 1) … Finished
//!                       Skip: Open(step) ─▶ Open(step + 1)
//! ```
//!
//! Objects are watched, never polled. What cannot be watched (web addresses, output, files) is
//! asked anew when a watched object changes, and besides, with pauses that grow from a quarter
//! of a second to two, while it is all that is missing.

mod session;
pub(crate) mod sources;
mod turn;
pub(crate) mod work;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::event::{Event, Verb};
use crate::model::Lesson;
use crate::progress::LessonProgress;
use crate::world::{World, WorldError};

/// Plays `lesson` from where `progress` stands until the learner quits, the channel of verbs is
/// closed, or the last step is left; returns the progress, which was also kept through
/// [`World::save`] whenever it changed. Nothing is printed: all that is to be seen comes as
/// [`Event`]s, whose receiver may be dropped.
///
/// # Errors
/// The place cannot be made ready. All that fails later is told as [`Event::Trouble`].
pub async fn drive(
    world: Arc<dyn World>,
    lesson: Arc<Lesson>,
    progress: LessonProgress,
    verbs: mpsc::Receiver<Verb>,
    events: mpsc::UnboundedSender<Event>,
) -> Result<LessonProgress, WorldError> {
    session::Session::new(world, lesson, progress, events, true)
        .play(verbs)
        .await
}

/// As [`drive`], for tests of a lesson: progress is not kept.
pub(crate) async fn rehearse(
    world: Arc<dyn World>,
    lesson: Arc<Lesson>,
    progress: LessonProgress,
    verbs: mpsc::Receiver<Verb>,
    events: mpsc::UnboundedSender<Event>,
) -> Result<LessonProgress, WorldError> {
    session::Session::new(world, lesson, progress, events, false)
        .play(verbs)
        .await
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
