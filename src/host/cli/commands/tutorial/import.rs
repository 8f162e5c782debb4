//! `cadet tutorial import`: a Killercoda scenario as the beginning of a lesson.

use std::path::{Path, PathBuf};

use cadet_tutorial::Folder;
use cadet_tutorial::import::import;
use serde_json::json;

use super::new;
use crate::Context;
use crate::error::{CliError, Result};
use crate::from_rooms::chain;

/// Reads the scenario in `from` and writes the lesson `to`, or `./NAME` after the scenario.
pub fn run(cx: &Context, from: &Path, to: Option<&Path>) -> Result<u8> {
    let scenario = Folder::read(from).map_err(|e| {
        CliError::new(
            "PROGRAM_USAGE",
            format!("{} cannot be read", from.display()),
        )
        .why(chain(&e))
        .fix("cadet tutorial import FOLDER-WITH-INDEX.JSON")
    })?;
    let lesson = import(&scenario).map_err(|e| {
        CliError::new("LESSON_INVALID", "the scenario cannot be carried over")
            .why(chain(&e))
            .fix("cadet tutorial import FOLDER-WITH-INDEX.JSON")
    })?;
    let folder = to.map_or_else(|| PathBuf::from(name_of(&scenario.name)), Path::to_path_buf);
    new::write(&folder, &lesson.files)?;
    if cx.ui.json() {
        cx.ui.object(
            &json!({"type": "done", "folder": folder.display().to_string(), "files": lesson.files.len(),
            "notes": lesson.notes}),
        );
        return Ok(0);
    }
    let shown = folder.display();
    cx.ui.line(format!("{shown}/lesson.md is written."));
    for note in &lesson.notes {
        cx.ui.warn("author", note);
    }
    cx.ui.line(format!("  next: cadet tutorial lint {shown}"));
    Ok(0)
}

/// A folder's name as a lesson may have it.
fn name_of(scenario: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = scenario.to_lowercase().chars().map(letter).collect();
    let name = name.trim_matches('-');
    if name.is_empty() {
        "imported".into()
    } else {
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn scenario_names_become_lesson_names() {
        assert_eq!(name_of("My_Scenario 2"), "my-scenario-2");
        assert_eq!(name_of("___"), "imported");
    }
}
