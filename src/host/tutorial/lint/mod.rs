//! Finds every mistake a lesson can have that its text alone shows: what `cadet tutorial lint`
//! and CI say before a lesson is ever played.
//!
//! [`crate::load`] finds what cannot be read; here are the rules about what it means.
//! [`commands`] judges programs and their words, [`files`] the files they name, [`steps`] what
//! a step must have, [`page`] how it reads, [`needs`] how lessons lead to each other.

pub(crate) mod commands;
mod files;
pub(crate) mod kubectl;
mod needs;
mod page;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::{Finding, Findings};
use crate::folder::{Folder, LESSON};
use crate::load;

/// What the lessons and images around a lesson are.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Every lesson's name, with what it needs.
    pub lessons: BTreeMap<String, Vec<String>>,
    /// Names in `images/lessons.yaml`; None where they are not known, and not judged.
    pub images: Option<BTreeSet<String>>,
}

impl Known {
    /// The lessons of these folders, and these images.
    pub fn new(folders: &[Folder], images: &[String]) -> Known {
        let lessons = folders.iter().map(|folder| {
            let needs = crate::front::peek(folder).map(|front| front.needs);
            (folder.lesson_name().to_owned(), needs.unwrap_or_default())
        });
        Known {
            lessons: lessons.collect(),
            images: Some(images.iter().cloned().collect()),
        }
    }
}

/// Everything wrong with one lesson, sorted by line.
pub fn lint(folder: &Folder, known: &Known) -> Vec<Finding> {
    let loaded = load::load_all(folder);
    let lesson = &loaded.lesson;
    let mut findings = Findings::new(folder.shown(LESSON));
    needs::check(lesson, &loaded.lines, known, &mut findings);
    steps::check(lesson, &mut findings);
    commands::check(lesson, &mut findings);
    files::check(lesson, &mut findings);
    page::check(lesson, &mut findings);
    let mut all = loaded.findings;
    all.append(&mut findings.all);
    all.sort();
    all.dedup();
    all
}

/// Everything wrong with a set of lessons, each and together.
pub fn lint_all(folders: &[Folder], images: &[String]) -> Vec<Finding> {
    let known = Known::new(folders, images);
    let mut all: Vec<Finding> = folders
        .iter()
        .flat_map(|folder| lint(folder, &known))
        .collect();
    all.extend(needs::names(folders));
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests;
