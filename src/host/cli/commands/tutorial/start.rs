//! `cadet tutorial start`: into a lesson, and out of it with what was done kept.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use cadet_state::LessonLock;
use cadet_tutorial::LessonProgress;
use cadet_tutorial::model::Lesson;
use cadet_tutorial::progress::StepState;
use serde_json::json;

use crate::Context;
use crate::cluster::Cluster;
use crate::error::{CliError, Result};
use crate::lessons::folder::Folder;
use crate::lessons::session::{Manner, Outcome, Purpose, Session};
use crate::lessons::{library, progress};
use crate::{kubeconfig, machine, ui};

/// Begins lesson `name`, or goes on with it; at `step` (from 0) if one is named.
pub async fn run(cx: &Context, name: Option<&str>, step: Option<usize>, plain: bool) -> Result<u8> {
    let lesson = match name {
        Some(name) => library::find(&cx.world, name)?,
        None => open(cx)?,
    };
    if let Some(step) = step.filter(|step| *step >= lesson.steps.len()) {
        return Err(CliError::new(
            "PROGRAM_USAGE",
            format!("{} has no step {}", lesson.name, step + 1),
        )
        .why(format!(
            "it has {}",
            crate::ui::count(lesson.steps.len(), "step")
        ))
        .fix(format!("cadet tutorial start {}", lesson.name)));
    }
    let before = fits(cx, &lesson).await?;
    for text in &before {
        cx.ui.warn("lesson", text);
    }
    let _lock = LessonLock::take(
        &cx.world.home,
        &cx.name,
        &format!("tutorial {}", lesson.name),
    )?;
    let mut kept = progress::take_up(cx, &lesson, now())?;
    if kept.step >= lesson.steps.len() && step.is_none() {
        cx.ui
            .warn("lesson", "you have done it before; it begins anew");
        kept = LessonProgress::new(&lesson, now());
    }
    if let Some(step) = step {
        kept.step = step;
    }
    let session = session(cx, lesson, kept, Manner::of(cx, plain))?;
    let lesson = session.lesson.clone();
    let folder = session.folder.root().display().to_string();
    let outcome = session.hold(Purpose::Learn).await?;
    if cx.ui.json() {
        cx.ui.object(&json!({"type": "done", "lesson": lesson.name,
            "completed": outcome.progress.finished.is_some(),
            "skipped": skipped(&outcome.progress), "step": outcome.progress.step}));
    } else {
        cx.ui.line("");
        cx.ui.line(farewell(cx, &lesson, &outcome, &folder));
    }
    Ok(0)
}

/// The lesson the learner was in last.
///
/// # Errors
/// LESSON_NOT_STARTED, and what [`library::find`] says.
pub fn open(cx: &Context) -> Result<Lesson> {
    match progress::open(cx)? {
        Some(name) => library::find(&cx.world, &name),
        None => Err(CliError::new("LESSON_NOT_STARTED", "you are in no lesson")
            .why(format!("no lesson was begun with profile {}", cx.name))
            .fix(machine::again(cx, "tutorial"))),
    }
}

/// A session over `lesson`, in the learner's own folder.
///
/// # Errors
/// HOST_NOT_READABLE when there is no home to put the folder into.
pub fn session(
    cx: &Context,
    lesson: Lesson,
    progress: LessonProgress,
    manner: Manner,
) -> Result<Session> {
    let root = cx.world.lesson_folder(&lesson.name)?;
    Ok(Session {
        cx: Arc::new(cx.again()),
        folder: Folder::new(root, lesson.files.clone()),
        lesson: Arc::new(lesson),
        progress,
        manner,
    })
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Whether this cluster can play the lesson; what it lacks but can be done without is given.
///
/// # Errors
/// GUEST_NOT_FOUND, GUEST_NOT_RUNNING …; LESSON_CLUSTER when there are too few nodes.
pub async fn fits(cx: &Context, lesson: &Lesson) -> Result<Vec<String>> {
    let profile = machine::running(cx).await?;
    let mut lacks = Vec::new();
    let has = profile.spec.memory_mib;
    if let Some(wanted) = lesson.memory.map(u64::from).filter(|wanted| *wanted > has) {
        lacks.push(format!(
            "it wants {} of memory, the machine has {}: {} && {} --memory {wanted}m",
            ui::mib(wanted),
            ui::mib(has),
            machine::again(cx, "stop --poweroff"),
            machine::again(cx, "start"),
        ));
    }
    if lesson.nodes > 1 {
        let file = cx.world.files(&cx.name).kubeconfig();
        let access = kubeconfig::read_alone(&file, cx.name.as_str())?
            .ok_or_else(|| machine::not_running(cx, None))?;
        let nodes = Cluster::new(&access)?.get("/api/v1/nodes").await?;
        let there = nodes["items"].as_array().map_or(0, Vec::len);
        let wanted = usize::try_from(lesson.nodes).unwrap_or(usize::MAX);
        if there < wanted {
            return Err(CliError::new(
                "LESSON_CLUSTER",
                format!(
                    "{} needs {wanted} nodes, this cluster has {there}",
                    lesson.name
                ),
            )
            .why("it shows what happens between nodes, and cannot be completed on fewer")
            .fix("cadet help LESSON_CLUSTER"));
        }
    }
    Ok(lacks)
}

/// What is said at the end.
fn farewell(cx: &Context, lesson: &Lesson, outcome: &Outcome, folder: &str) -> String {
    let progress = &outcome.progress;
    if progress.finished.is_none() {
        return format!(
            "Your progress is kept: step {} of {}.\n  next: {}",
            (progress.step + 1).min(lesson.steps.len()),
            lesson.steps.len(),
            machine::again(cx, &format!("tutorial {}", lesson.name))
        );
    }
    let skipped = match skipped(progress) {
        0 => String::new(),
        n => format!(" ({} skipped)", crate::ui::count(n, "step")),
    };
    let after = match following(cx, &lesson.name) {
        Some(name) => format!("tutorial {name}"),
        None => "tutorial".into(),
    };
    let told = format!(
        "You have done {}{skipped}. Its files stay in {folder}.",
        lesson.title
    );
    format!(
        "{}\n  next: {}\n  undo: {}",
        ui::wrap(&told, ui::columns()),
        machine::again(cx, &after),
        machine::again(cx, "tutorial reset"),
    )
}

fn skipped(progress: &LessonProgress) -> usize {
    let states = progress.steps.iter().map(|step| step.state);
    states.filter(|state| *state == StepState::Skipped).count()
}

/// The next lesson of the list that is not done.
fn following(cx: &Context, name: &str) -> Option<String> {
    // What cannot be read is no reason to spoil a farewell; the list tells it.
    let all = library::folders(&cx.world).ok()?;
    let kept = progress::all(cx).ok()?;
    let done = |name: &str| {
        let mut found = kept.iter().filter(|(lesson, _)| lesson == name);
        found.any(|(_, p)| p.as_ref().is_ok_and(|p| p.finished.is_some()))
    };
    let place = all.iter().position(|folder| folder.lesson_name() == name)?;
    let mut after = all[place + 1..].iter().map(|folder| folder.lesson_name());
    after.find(|name| !done(name)).map(str::to_owned)
}
