//! `cadet tutorial lint`: every mistake a lesson's files have, with file and line.

use std::path::Path;

use cadet_tutorial::lint::{Known, lint, lint_all};
use cadet_tutorial::{Finding, Folder};
use serde_json::json;

use crate::Context;
use crate::error::{CliError, Result};
use crate::images::lessons::sets;
use crate::lessons::library;
use crate::machine;

/// Looks; exit code 18 if a lesson cannot be played as it is written.
pub fn run(cx: &Context, what: Option<&str>) -> Result<u8> {
    let images: Vec<String> = sets()?.into_keys().collect();
    let (folders, findings) = match what {
        None => {
            let folders = library::folders(&cx.world)?;
            let findings = lint_all(&folders, &images);
            (folders, findings)
        }
        Some(what) => named(cx, what, &images)?,
    };
    let errors = findings.iter().filter(|f| f.is_error()).count();
    for finding in &findings {
        tell(cx, finding);
    }
    let checked = count(folders.len(), "lesson");
    if cx.ui.json() {
        cx.ui.object(
            &json!({"type": "done", "lessons": folders.len(), "errors": errors,
            "warnings": findings.len() - errors}),
        );
    }
    if errors > 0 {
        return Err(CliError::new(
            "LESSON_INVALID",
            format!("{} in {checked}", count(errors, "mistake")),
        )
        .why("each is told above with its file and line")
        .fix("cadet help LESSON_INVALID"));
    }
    if !cx.ui.json() {
        let warnings = match findings.len() {
            0 => String::new(),
            n => format!(", {}", count(n, "warning")),
        };
        cx.ui.line(format!("{checked}, no mistakes{warnings}."));
        if let [folder] = folders.as_slice() {
            let name = folder.lesson_name();
            cx.ui
                .line(format!("  next: cadet tutorial play {name} --mistakes"));
        }
    }
    Ok(0)
}

/// A folder of a lesson, a folder of lessons, or the name of one of Cadet's.
fn named(cx: &Context, what: &str, images: &[String]) -> Result<(Vec<Folder>, Vec<Finding>)> {
    let path = Path::new(what);
    if path.join("lesson.md").exists() || (path.is_dir() && !has_lessons(path)?) {
        let folder = library::read(path)?;
        // Other lessons are those beside it, and Cadet's own.
        let mut around = library::folders(&cx.world).unwrap_or_default();
        if let Some(beside) = std::path::absolute(path)
            .ok()
            .as_deref()
            .and_then(Path::parent)
        {
            around.extend(library::below(beside)?);
        }
        let findings = lint(&folder, &Known::new(&around, images));
        return Ok((vec![folder], findings));
    }
    if path.is_dir() {
        let folders = library::below(path)?;
        let findings = lint_all(&folders, images);
        return Ok((folders, findings));
    }
    let folder = library::find_folder(&cx.world, what)?;
    let around = library::folders(&cx.world)?;
    let findings = lint(&folder, &Known::new(&around, images));
    Ok((vec![folder], findings))
}

fn has_lessons(dir: &Path) -> Result<bool> {
    let entries = std::fs::read_dir(dir).map_err(|e| machine::io("read", dir, &e))?;
    Ok(entries
        .flatten()
        .any(|e| e.path().join("lesson.md").is_file()))
}

fn tell(cx: &Context, finding: &Finding) {
    if !cx.ui.json() {
        cx.ui.line(finding.to_string());
        return;
    }
    cx.ui.object(
        &json!({"type": "finding", "path": finding.path, "line": finding.line,
        "severity": finding.severity, "message": finding.text, "fix": finding.fix}),
    );
}

/// `1 lesson`, `2 lessons`.
pub fn count(n: usize, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {what}{s}")
}
