//! A learner's progress in the records: read and kept in a moment, never held open.

use std::path::PathBuf;

use cadet_state::Store;
use cadet_tutorial::LessonProgress;
use cadet_tutorial::model::Lesson;
use cadet_tutorial::progress::ProgressError;

use crate::Context;
use crate::error::{CliError, Result};
use crate::machine;

/// Progress in `lesson`, None where it was never begun.
///
/// # Errors
/// LESSON_PROGRESS when what was kept cannot be read, HOST_STATE_CORRUPT, HOST_PROFILE_BUSY.
pub fn of(cx: &Context, lesson: &str) -> Result<Option<LessonProgress>> {
    // Looking must not make folders.
    if !cx.world.home.database().exists() {
        return Ok(None);
    }
    let kept = Store::open(&cx.world.home)?.lesson(&cx.name, lesson)?;
    kept.map(|bytes| decode(cx, lesson, &bytes)).transpose()
}

/// Progress in `lesson`, taken to the text as it reads now; new where there was none.
///
/// # Errors
/// As [`of`].
pub fn take_up(cx: &Context, lesson: &Lesson, now: u64) -> Result<LessonProgress> {
    let mut progress = match of(cx, &lesson.name)? {
        Some(progress) => progress,
        None => LessonProgress::new(lesson, now),
    };
    if progress.adopt(lesson) {
        let told = "its text has changed since you began; what you did still counts";
        cx.ui.warn("lesson", told);
    }
    Ok(progress)
}

/// What was kept of each lesson: progress, or why it cannot be read.
///
/// # Errors
/// HOST_STATE_CORRUPT, HOST_PROFILE_BUSY.
pub fn all(cx: &Context) -> Result<Vec<(String, Result<LessonProgress>)>> {
    if !cx.world.home.database().exists() {
        return Ok(Vec::new());
    }
    let kept = Store::open(&cx.world.home)?.lessons(&cx.name)?;
    let read = kept.into_iter().map(|(lesson, bytes)| {
        let progress = decode(cx, &lesson, &bytes);
        (lesson, progress)
    });
    Ok(read.collect())
}

/// The lesson that was worked on last.
///
/// # Errors
/// HOST_STATE_CORRUPT, HOST_PROFILE_BUSY.
pub fn open(cx: &Context) -> Result<Option<String>> {
    if !cx.world.home.database().exists() {
        return Ok(None);
    }
    Ok(Store::open(&cx.world.home)?.open_lesson(&cx.name)?)
}

/// Keeps it; on the disk when this returns.
///
/// # Errors
/// HOST_DISK_FULL, HOST_NOT_READABLE, HOST_STATE_CORRUPT, HOST_PROFILE_BUSY.
pub fn keep(cx: &Context, progress: &LessonProgress) -> Result<()> {
    let store = Store::open(&cx.world.home)?;
    Ok(store.put_lesson(&cx.name, &progress.lesson, &progress.encode())?)
}

/// Forgets what cannot be read; its copy stays on the disk under another name, which is given.
///
/// # Errors
/// As [`keep`].
pub fn put_aside(cx: &Context, lesson: &str) -> Result<PathBuf> {
    let copy = cx
        .world
        .home
        .lessons(&cx.name)
        .join(format!("{lesson}.json"));
    let aside = machine::with_suffix(&copy, ".damaged");
    match std::fs::rename(&copy, &aside) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(machine::io("rename", &copy, &e));
        }
        _ => {}
    }
    Store::open(&cx.world.home)?.remove_lesson(&cx.name, lesson)?;
    Ok(aside)
}

fn decode(cx: &Context, lesson: &str, bytes: &[u8]) -> Result<LessonProgress> {
    LessonProgress::decode(bytes).map_err(|e| {
        let error = CliError::new(
            "LESSON_PROGRESS",
            format!("your progress in {lesson} cannot be read"),
        )
        .why(e.to_string());
        match e {
            ProgressError::Version { .. } => {
                error.fix("use the cadet that wrote it, or begin anew: cadet tutorial reset")
            }
            ProgressError::Damaged(_) => {
                let again = machine::again(cx, &format!("tutorial reset --lesson {lesson}"));
                error.fix(format!("{again}      begins it anew"))
            }
        }
        .log(cx.world.home.lessons(&cx.name).display().to_string())
    })
}
