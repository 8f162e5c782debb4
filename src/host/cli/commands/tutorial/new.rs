//! `cadet tutorial new`: a lesson to begin with, and writing the files of lessons.

use std::collections::BTreeMap;
use std::path::Path;

use cadet_tutorial::skeleton;
use serde_json::json;

use crate::Context;
use crate::error::{CliError, Result};
use crate::machine;

/// Writes the folder `./NAME`.
pub fn run(cx: &Context, name: &str, title: Option<&str>) -> Result<u8> {
    let title = title.map_or_else(|| title_of(name), str::to_owned);
    let files = skeleton::files(name, &title).map_err(|e| {
        CliError::new("PROGRAM_USAGE", e.to_string()).fix("cadet tutorial new my-lesson")
    })?;
    let folder = Path::new(name);
    write(folder, &files)?;
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "done", "folder": folder, "files": files.len()}));
    } else {
        cx.ui.line(format!(
            "{name}/lesson.md is a whole lesson: change it step by step.\n  \
             next: cadet tutorial lint {name}\n  then: cadet tutorial play {name} --mistakes"
        ));
    }
    Ok(0)
}

/// `07-my-lesson` is called `My lesson` until its author knows better.
fn title_of(name: &str) -> String {
    let words = name.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
    let words = words.replace('-', " ");
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => format!("{}{}", first.to_uppercase(), letters.as_str()),
        None => name.to_owned(),
    }
}

/// Writes a new folder with `files`; all of it, or nothing.
///
/// # Errors
/// LESSON_EXISTS when something is there already, HOST_DISK_FULL, HOST_NOT_READABLE.
pub fn write(folder: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    if folder.exists() {
        return Err(CliError::new(
            "LESSON_EXISTS",
            format!("{} is there already", folder.display()),
        )
        .why("nothing is written over")
        .fix("choose another name, or move it away"));
    }
    let written = files.iter().try_for_each(|(path, content)| {
        let file = folder.join(path);
        let above = file.parent().unwrap_or(folder);
        std::fs::create_dir_all(above).map_err(|e| machine::io("make", above, &e))?;
        std::fs::write(&file, content).map_err(|e| machine::io("write", &file, &e))
    });
    if written.is_err() {
        // Half a lesson helps nobody; the error below is the one to tell.
        let _ = std::fs::remove_dir_all(folder);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_titles() {
        assert_eq!(title_of("07-my-lesson"), "My lesson");
        assert_eq!(title_of("comet"), "Comet");
        assert_eq!(title_of("2026"), "2026");
    }

    #[test]
    fn nothing_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("comet");
        let files = BTreeMap::from([("a/b.txt".to_owned(), b"x".to_vec())]);
        write(&folder, &files).unwrap();
        assert_eq!(std::fs::read(folder.join("a/b.txt")).unwrap(), b"x");
        let refused = write(&folder, &files).unwrap_err();
        assert_eq!(refused.topic.id, "LESSON_EXISTS");
    }
}
