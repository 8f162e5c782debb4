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
use crate::ui;

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
    let checked = ui::count(folders.len(), "lesson");
    if cx.ui.json() {
        cx.ui.object(
            &json!({"type": "done", "lessons": folders.len(), "errors": errors,
            "warnings": findings.len() - errors}),
        );
    }
    if errors > 0 {
        return Err(CliError::new(
            "LESSON_INVALID",
            format!("{} in {checked}", ui::count(errors, "mistake")),
        )
        .why("each is told above with its file and line")
        .fix("cadet help LESSON_INVALID"));
    }
    if !cx.ui.json() {
        let warnings = match findings.len() {
            0 => String::new(),
            n => format!(", {}", ui::count(n, "warning")),
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
    if path.join("lesson.md").exists() {
        return beside(cx, path, images);
    }
    if path.is_dir() && has_lessons(path)? {
        let folders = library::below(path)?;
        let findings = lint_all(&folders, images);
        return Ok((folders, findings));
    }
    match library::find_folder(&cx.world, what) {
        Ok(folder) => {
            let around = library::folders(&cx.world)?;
            let findings = lint(&folder, &Known::new(&around, images));
            Ok((vec![folder], findings))
        }
        // A folder that is to become a lesson is told what it lacks.
        Err(_) if path.is_dir() => beside(cx, path, images),
        Err(e) => Err(e),
    }
}

/// The lesson in folder `path`; other lessons are those beside it, and Cadet's own.
fn beside(cx: &Context, path: &Path, images: &[String]) -> Result<(Vec<Folder>, Vec<Finding>)> {
    let folder = library::read(path)?;
    // An author need not have Cadet's lessons.
    let mut around = library::folders(&cx.world).unwrap_or_default();
    let whole = std::path::absolute(path).map_err(|e| machine::io("find", path, &e))?;
    if let Some(parent) = whole.parent() {
        around.extend(library::below(parent)?);
    }
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
