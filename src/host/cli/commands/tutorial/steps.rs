//! One wish at a time, from any terminal: next, check, hint, solve, skip, reset, status.
//!
//! `status`, `hint` and `skip` need no cluster: they work while it is off.

use cadet_state::LessonLock;
use cadet_tutorial::model::Lesson;
use cadet_tutorial::progress::StepState;
use cadet_tutorial::{Event, LessonProgress, Verb};
use serde_json::json;

use super::start;
use crate::Context;
use crate::error::{CliError, Result};
use crate::lessons::page::{self, Paper};
use crate::lessons::session::{Manner, Outcome, Purpose};
use crate::lessons::text::prose;
use crate::lessons::{library, progress};
use crate::{machine, ui};

/// The lesson that is meant.
fn meant(cx: &Context, named: Option<String>) -> Result<Lesson> {
    match named {
        Some(name) => library::find(&cx.world, &name),
        None => start::open(cx),
    }
}

/// The lesson, and its progress for as long as the lock is held.
struct Taken {
    lesson: Lesson,
    progress: LessonProgress,
    _lock: LessonLock,
}

fn take(cx: &Context, named: Option<String>, verb: &str) -> Result<Taken> {
    let lesson = meant(cx, named)?;
    let lock = LessonLock::take(&cx.world.home, &cx.name, &format!("tutorial {verb}"))?;
    let progress = progress::take_up(cx, &lesson, start::now())?;
    Ok(Taken {
        lesson,
        progress,
        _lock: lock,
    })
}

/// Has one wish fulfilled by the engine.
async fn engine(
    cx: &Context,
    taken: Taken,
    verbs: &'static [Verb],
    answers: fn(&Event) -> bool,
) -> Result<Outcome> {
    start::fits(cx, &taken.lesson).await?;
    let manner = if cx.ui.json() {
        Manner::Json
    } else {
        Manner::Plain
    };
    let session = start::session(cx, taken.lesson, taken.progress, manner)?;
    let outcome = session.hold(Purpose::Do(verbs, answers)).await?;
    if outcome.interrupted && !outcome.answered {
        return Err(CliError::exit_like(130));
    }
    Ok(outcome)
}

fn code(holds: bool) -> u8 {
    u8::from(!holds)
}

/// Goes on if the step is done; exit code 1 if it is not.
pub async fn next(cx: &Context, named: Option<String>) -> Result<u8> {
    let taken = take(cx, named, "next")?;
    let (before, lesson) = (taken.progress.step, taken.lesson.clone());
    // `Next` completes a step that waits for the learner's word, `Check` answers.
    let outcome = engine(cx, taken, &[Verb::Next, Verb::Check], |event| {
        matches!(event, Event::Checked { .. } | Event::LessonCompleted { .. })
    })
    .await?;
    let goes_on = outcome.progress.step > before;
    if goes_on && !cx.ui.json() {
        cx.ui.line("");
        show(cx, &lesson, &outcome.progress)?;
    }
    Ok(code(goes_on))
}

/// Says how the step stands; exit code 1 if it is not done.
pub async fn check(cx: &Context, named: Option<String>) -> Result<u8> {
    let taken = take(cx, named, "check")?;
    let step = taken.progress.step;
    let outcome = engine(cx, taken, &[Verb::Check], |event| {
        matches!(event, Event::Checked { .. })
    })
    .await?;
    let left = outcome.progress.steps.get(step);
    Ok(code(left.is_none_or(|step| step.state.left())))
}

/// Does the step and waits until it is done.
pub async fn solve(cx: &Context, named: Option<String>) -> Result<u8> {
    let taken = take(cx, named, "solve")?;
    let step = taken.progress.step;
    let outcome = engine(cx, taken, &[Verb::Solve], |event| {
        matches!(event, Event::Completed { .. })
    })
    .await?;
    let left = outcome.progress.steps.get(step);
    Ok(code(left.is_none_or(|step| step.state.left())))
}

/// Brings one step back, or all of them; progress that cannot be read is put aside.
pub async fn reset(cx: &Context, named: Option<String>, step: Option<usize>) -> Result<u8> {
    let lesson = match named {
        Some(name) => library::find(&cx.world, &name)?,
        None => start::open(cx)?,
    };
    let lock = LessonLock::take(&cx.world.home, &cx.name, "tutorial reset")?;
    let mut kept = match progress::take_up(cx, &lesson, start::now()) {
        Ok(kept) => kept,
        Err(e) if e.topic.id == "LESSON_PROGRESS" => {
            let aside = progress::put_aside(cx, &lesson.name)?;
            cx.ui.warn(
                "progress",
                &format!(
                    "it was unreadable; what was kept lies in {}",
                    aside.display()
                ),
            );
            LessonProgress::new(&lesson, start::now())
        }
        Err(e) => return Err(e),
    };
    let verbs: &'static [Verb] = match step {
        Some(step) if step >= lesson.steps.len() => {
            return Err(CliError::new(
                "PROGRAM_USAGE",
                format!("{} has no step {}", lesson.name, step + 1),
            )
            .fix("cadet tutorial status"));
        }
        Some(step) => {
            kept.step = step;
            &[Verb::Reset]
        }
        None => {
            // A lesson that was left behind is brought back all the same.
            kept.step = kept.step.min(lesson.steps.len().saturating_sub(1));
            &[Verb::ResetLesson]
        }
    };
    let name = lesson.name.clone();
    let taken = Taken {
        lesson,
        progress: kept,
        _lock: lock,
    };
    engine(cx, taken, verbs, |event| {
        matches!(event, Event::WasReset { .. })
    })
    .await?;
    if !cx.ui.json() {
        let again = machine::again(cx, &format!("tutorial {name}"));
        cx.ui.line(format!("  next: {again}"));
    }
    Ok(0)
}

/// One more hint, from the lesson's text.
pub fn hint(cx: &Context, named: Option<String>) -> Result<u8> {
    let mut taken = take(cx, named, "hint")?;
    let place = taken.progress.step;
    let Some(step) = taken.lesson.steps.get(place) else {
        return finished(cx, &taken.lesson);
    };
    let given = taken.progress.steps[place].hints;
    let total = step.hints.len();
    let number = (given + 1).min(total);
    let Some(text) = number.checked_sub(1).and_then(|n| step.hints.get(n)) else {
        tell(
            cx,
            json!({"type": "no.more.hints", "total": 0}),
            "this step has no hints",
        );
        return Ok(0);
    };
    taken.progress.steps[place].hints = number;
    progress::keep(cx, &taken.progress)?;
    let paper = paper();
    let mut lines = vec![format!("hint {number} of {total} for step {}", place + 1)];
    lines.extend(prose(text, paper.width, paper.colour));
    if number == total {
        let solve = machine::again(cx, "tutorial solve");
        lines.push(format!("that was the last; {solve} does the step for you"));
    }
    let event = json!({"type": "hint", "number": number, "total": total, "text": text});
    tell(cx, event, &lines.join("\n"));
    Ok(0)
}

/// Leaves the step as it is.
pub fn skip(cx: &Context, named: Option<String>) -> Result<u8> {
    let mut taken = take(cx, named, "skip")?;
    let place = taken.progress.step;
    let Some(step) = taken.progress.steps.get_mut(place) else {
        return finished(cx, &taken.lesson);
    };
    if !step.state.left() {
        step.state = StepState::Skipped;
    }
    taken.progress.step = place + 1;
    if taken.progress.step == taken.lesson.steps.len() {
        taken.progress.finished = Some(start::now());
    }
    progress::keep(cx, &taken.progress)?;
    if cx.ui.json() {
        cx.ui.object(&json!({"type": "skipped", "step": place}));
        return Ok(0);
    }
    cx.ui.line(format!("step {} is skipped", place + 1));
    show(cx, &taken.lesson, &taken.progress)
}

/// Shows the step the learner is in.
pub fn status(cx: &Context, named: Option<String>) -> Result<u8> {
    let lesson = meant(cx, named)?;
    let mut kept = match progress::of(cx, &lesson.name)? {
        Some(kept) => kept,
        None => LessonProgress::new(&lesson, start::now()),
    };
    kept.adopt(&lesson);
    if cx.ui.json() {
        cx.ui.object(
            &json!({"type": "status", "lesson": lesson.name, "title": lesson.title,
            "step": kept.step, "total": lesson.steps.len(), "left": kept.left(),
            "done": kept.finished.is_some(), "steps": kept.steps}),
        );
        return Ok(0);
    }
    show(cx, &lesson, &kept)
}

fn show(cx: &Context, lesson: &Lesson, kept: &LessonProgress) -> Result<u8> {
    if kept.step >= lesson.steps.len() {
        return finished(cx, lesson);
    }
    let (left, total) = (kept.left(), lesson.steps.len());
    let head = format!("{} · {left} of {total} steps done", lesson.title);
    cx.ui.line(ui::wrap(&head, ui::columns()));
    cx.ui.line("");
    for line in page::step(lesson, kept.step, paper()) {
        cx.ui.line(line.trim_end());
    }
    cx.ui.line("");
    let again = machine::again(cx, &format!("tutorial {}", lesson.name));
    cx.ui.line(format!("  next: {again}"));
    Ok(0)
}

fn finished(cx: &Context, lesson: &Lesson) -> Result<u8> {
    let told = format!(
        "{}\n  next: {}",
        ui::wrap(&format!("You have done {}.", lesson.title), ui::columns()),
        machine::again(cx, "tutorial")
    );
    tell(
        cx,
        json!({"type": "status", "lesson": lesson.name, "done": true}),
        &told,
    );
    Ok(0)
}

fn tell(cx: &Context, event: serde_json::Value, text: &str) {
    if cx.ui.json() {
        cx.ui.object(&event);
    } else {
        cx.ui.line(text);
    }
}

fn paper() -> Paper {
    Paper {
        width: ui::columns().clamp(20, 90),
        colour: console::colors_enabled(),
    }
}
