//! The files commands name: each must be in the lesson folder, or be written before.

use std::collections::BTreeSet;

use super::commands::of_step;
use super::kubectl::Kubectl;
use crate::condition::What;
use crate::finding::Findings;
use crate::folder::unsound_path;
use crate::model::{Command, Lesson};
use crate::yaml::nearest;

pub(super) fn check(lesson: &Lesson, findings: &mut Findings) {
    let mut there: BTreeSet<&str> = lesson.files.keys().map(String::as_str).collect();
    for step in &lesson.steps {
        there.extend(step.file_blocks().map(|file| file.path.as_str()));
        let mistaken = step
            .mistakes
            .iter()
            .flat_map(|mistake| mistake.files.keys());
        let with_mistakes: BTreeSet<&str> = there
            .iter()
            .copied()
            .chain(mistaken.map(String::as_str))
            .collect();
        for (command, place) in of_step(step) {
            let there = match place {
                super::commands::Place::Mistake => &with_mistakes,
                _ => &there,
            };
            for (file, folder) in named(command) {
                one(command, file, folder, there, findings);
            }
        }
        for condition in &step.watch {
            if let What::File(path, expect) = &condition.what
                && *expect == Default::default()
                && lesson.files.contains_key(path)
            {
                findings.warning(
                    condition.line,
                    format!("{path} is there from the beginning"),
                    "say what it must have, with `contains:` or `matches:`",
                );
            }
        }
    }
}

/// The files and folders a command reads; true for those that must be folders.
fn named(command: &Command) -> Vec<(&str, bool)> {
    match command.program() {
        "kubectl" => Kubectl::of(command.arguments()).files(),
        "docker"
            if command
                .arguments()
                .first()
                .is_some_and(|verb| verb == "build") =>
        {
            build_context(command.arguments())
        }
        _ => Vec::new(),
    }
}

/// The folder of `docker build`, which is the last word that is no flag.
fn build_context(arguments: &[String]) -> Vec<(&str, bool)> {
    const VALUED: [&str; 8] = [
        "-t",
        "--tag",
        "-f",
        "--file",
        "--build-arg",
        "--target",
        "--label",
        "--platform",
    ];
    let mut words = arguments[1..].iter().map(String::as_str);
    let mut out = Vec::new();
    while let Some(word) = words.next() {
        if VALUED.contains(&word) {
            let value = words.next();
            if ["-f", "--file"].contains(&word) {
                out.extend(value.map(|file| (file, false)));
            }
        } else if let Some(file) = word.strip_prefix("--file=") {
            out.push((file, false));
        } else if !word.starts_with('-') {
            out.push((word, true));
        }
    }
    out
}

fn one(
    command: &Command,
    file: &str,
    folder: bool,
    there: &BTreeSet<&str>,
    findings: &mut Findings,
) {
    let line = command.line;
    if file == "-" {
        return;
    }
    if file.contains("://") {
        findings.error(
            line,
            format!("`{file}` is somewhere on the internet"),
            "put the file into the lesson folder: learners may be offline",
        );
        return;
    }
    let bare = file
        .strip_prefix("./")
        .unwrap_or(file)
        .trim_end_matches('/');
    if bare.is_empty() || bare == "." {
        return;
    }
    if let Some(why) = unsound_path(bare) {
        findings.error(
            line,
            format!("the path `{file}` {why}"),
            "name a file of the lesson",
        );
        return;
    }
    let inside = format!("{bare}/");
    let is_folder = there.iter().any(|path| path.starts_with(&inside));
    if is_folder || (!folder && there.contains(bare)) {
        return;
    }
    let fix = match nearest(bare, there.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "add it to the lesson folder, or a `file` block before this command".to_owned(),
    };
    let sort = if folder { "folder" } else { "file" };
    findings.error(
        line,
        format!("there is no {sort} `{file}` in this lesson"),
        fix,
    );
}
