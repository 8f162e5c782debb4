//! `cadet tutorial list`, and the same list to choose from.

use std::io::IsTerminal;

use cadet_tutorial::Folder;
use cadet_tutorial::LessonProgress;
use cadet_tutorial::load;
use console::truncate_str;
use serde_json::json;

use super::start;
use crate::Context;
use crate::error::{CliError, Result};
use crate::lessons::{library, progress};
use crate::ui;

/// Column of the titles where there is room for them: behind "after drill-pod-killed".
const TITLE: usize = 57;

/// A line of the list.
struct Row {
    name: String,
    title: String,
    summary: String,
    minutes: u32,
    needs: Vec<String>,
    steps: usize,
    /// Steps the learner is through with, where the lesson was begun.
    left: Option<usize>,
    state: State,
}

/// How far a learner is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    New,
    /// Lessons that come before it.
    After(Vec<String>),
    /// Step, from 1.
    At(usize),
    Done,
    /// Its files have mistakes.
    Invalid,
    /// Its progress cannot be read.
    Unreadable,
}

impl Row {
    fn sign(&self) -> &'static str {
        match self.state {
            State::Done => "✓",
            State::At(_) => ">",
            State::New | State::After(_) => "·",
            State::Invalid | State::Unreadable => "!",
        }
    }

    fn told(&self) -> String {
        match &self.state {
            State::New => "new".into(),
            State::After(names) => format!("after {}", names.join(", ")),
            State::At(step) => format!("step {step} of {}", self.steps),
            State::Done => "done".into(),
            State::Invalid => "has mistakes".into(),
            State::Unreadable => "progress unreadable".into(),
        }
    }

    /// The line at `width` columns: the name whole, because it is what one types; the title
    /// where there is room.
    fn line(&self, width: usize) -> String {
        let (sign, name, told) = (self.sign(), &self.name, self.told());
        let roomy = width >= 70;
        let column = if roomy { 22 } else { 14 };
        let start = if roomy || name.chars().count() <= column {
            format!("{sign} {name:<column$} {:>3} min  {told}", self.minutes)
        } else {
            format!("{sign} {name}  {told}")
        };
        // Titles stand below each other, whatever must be done before.
        let start = if roomy {
            let start = truncate_str(&start, TITLE - 1, "…");
            format!("{start:<TITLE$}{}", self.title)
        } else {
            start
        };
        truncate_str(&start, width, "…").trim_end().to_owned()
    }
}

fn rows(cx: &Context) -> Result<Vec<Row>> {
    let folders = library::folders(&cx.world)?;
    let kept = progress::all(cx)?;
    let of = |name: &str| {
        kept.iter()
            .find(|(lesson, _)| lesson == name)
            .map(|(_, p)| p)
    };
    let done = |name: &str| matches!(of(name), Some(Ok(p)) if p.finished.is_some());
    Ok(folders
        .iter()
        .map(|folder| row(folder, of(folder.lesson_name()), done))
        .collect())
}

fn row(folder: &Folder, kept: Option<&Result<LessonProgress>>, done: impl Fn(&str) -> bool) -> Row {
    let (lesson, findings) = load::load(folder);
    let before: Vec<String> = lesson.needs.iter().filter(|n| !done(n)).cloned().collect();
    let state = match kept {
        _ if findings.iter().any(cadet_tutorial::Finding::is_error) => State::Invalid,
        Some(Err(_)) => State::Unreadable,
        Some(Ok(p)) if p.finished.is_some() => State::Done,
        Some(Ok(p)) => State::At((p.step + 1).min(lesson.steps.len())),
        None if before.is_empty() => State::New,
        None => State::After(before),
    };
    Row {
        left: kept.and_then(|k| k.as_ref().ok()).map(LessonProgress::left),
        name: lesson.name,
        title: lesson.title,
        summary: lesson.summary,
        minutes: lesson.minutes,
        needs: lesson.needs,
        steps: lesson.steps.len(),
        state,
    }
}

/// Prints the list.
pub fn list(cx: &Context) -> Result<u8> {
    let rows = rows(cx)?;
    if cx.ui.json() {
        for row in &rows {
            let state = match row.state {
                State::New | State::After(_) => "new",
                State::At(_) => "begun",
                State::Done => "done",
                State::Invalid => "invalid",
                State::Unreadable => "unreadable",
            };
            cx.ui.object(
                &json!({"type": "lesson", "lesson": row.name, "title": row.title,
                "summary": row.summary, "minutes": row.minutes, "needs": row.needs,
                "steps": row.steps, "left": row.left, "state": state}),
            );
        }
        return Ok(0);
    }
    let width = ui::columns();
    for row in &rows {
        cx.ui.line(row.line(width));
    }
    cx.ui.line(next(cx, &rows)?);
    Ok(0)
}

/// What to type after the list.
fn next(cx: &Context, rows: &[Row]) -> Result<String> {
    let open = progress::open(cx)?;
    let at = |row: &&Row| matches!(row.state, State::At(_));
    let going = rows
        .iter()
        .filter(at)
        .find(|row| Some(&row.name) == open.as_ref());
    let first = rows.iter().find(|row| row.state == State::New);
    Ok(match (going.or_else(|| rows.iter().find(at)), first) {
        (Some(row), _) | (None, Some(row)) => format!("  next: cadet tutorial {}", row.name),
        (None, None) => "  next: cadet tutorial NAME".into(),
    })
}

/// Lets the learner choose on a terminal; elsewhere prints the list.
pub async fn choose(cx: &Context, plain: bool) -> Result<u8> {
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if plain || cx.ui.json() || !terminal || console::is_dumb() {
        return list(cx);
    }
    let rows = rows(cx)?;
    if rows.is_empty() {
        return list(cx);
    }
    // dialoguer puts two columns before each line.
    let width = ui::columns().saturating_sub(3);
    let lines: Vec<String> = rows.iter().map(|row| row.line(width)).collect();
    let open = progress::open(cx)?;
    let begun = rows
        .iter()
        .position(|row| Some(&row.name) == open.as_ref() && row.state != State::Done);
    let first = begun.or_else(|| rows.iter().position(|row| row.state == State::New));
    let default = first.unwrap_or(0);
    let asked = tokio::task::spawn_blocking(move || {
        dialoguer::Select::new()
            .with_prompt("Which lesson? (arrows, Enter; q leaves)")
            .items(&lines)
            .default(default)
            // The lesson says its title itself; prompt and line would not fit into one.
            .report(false)
            .interact_opt()
    });
    let chosen = tokio::select! {
        chosen = asked => chosen,
        _ = crate::interrupted() => {
            // The choice hides it; a terminal that is gone needs none.
            let _ = console::Term::stderr().show_cursor();
            return Err(CliError::exit_like(130));
        }
    };
    let chosen = chosen
        .map_err(|e| CliError::new("PROGRAM_INTERNAL", "the choice broke off").why(e.to_string()))?
        .map_err(|e| {
            CliError::new("PROGRAM_INTERRUPTED", "nothing was chosen").why(e.to_string())
        })?;
    match chosen {
        Some(place) => start::run(cx, Some(&rows[place].name), None, plain).await,
        None => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: State) -> Row {
        Row {
            name: "telescope".into(),
            title: "A telescope in two containers".into(),
            summary: String::new(),
            minutes: 20,
            needs: Vec::new(),
            steps: 8,
            left: Some(2),
            state,
        }
    }

    #[test]
    fn a_line_fits_into_its_terminal() {
        let states = [
            State::New,
            State::At(3),
            State::Done,
            State::Invalid,
            State::Unreadable,
            State::After(vec!["create".into(), "a-lesson-with-a-long-name".into()]),
        ];
        for state in states {
            for width in [40, 69, 70, 80, 120] {
                let line = row(state.clone()).line(width);
                assert!(
                    console::measure_text_width(&line) <= width,
                    "{width}: {line}"
                );
                assert!(line.contains("telescope"), "{line}");
            }
        }
        let titles = [State::New, State::After(vec!["drill-pod-killed".into(); 3])];
        for state in titles {
            let line = row(state).line(120);
            assert_eq!(
                line.find("A telescope")
                    .map(|at| line[..at].chars().count()),
                Some(TITLE),
                "{line}"
            );
        }
        for width in [40, 80] {
            let long = Row {
                name: "hello-hapi-three-nodes".into(),
                ..row(State::At(3))
            };
            let line = long.line(width);
            assert!(line.starts_with("> hello-hapi-three-nodes "), "{line}");
            assert!(line.contains("step 3 of 8"), "{line}");
        }
        assert_eq!(
            row(State::At(3)).line(40),
            "> telescope       20 min  step 3 of 8"
        );
    }
}
