//! How lessons lead to each other: names, needs, images.

use std::collections::BTreeMap;

use super::Known;
use crate::finding::{Finding, Findings};
use crate::folder::{Folder, LESSON};
use crate::front::Lines;
use crate::model::Lesson;
use crate::yaml::nearest;

pub(super) fn check(lesson: &Lesson, lines: &Lines, known: &Known, findings: &mut Findings) {
    if lesson.number.is_none() {
        findings.warning(
            0,
            format!("the folder `{}` has no number", lesson.folder),
            "name it NN-name: the number orders the list of lessons",
        );
    }
    if !crate::front::is_label(&lesson.name) {
        findings.error(
            0,
            format!("`{}` cannot be the name of a lesson", lesson.name),
            "use lower-case letters, digits and -",
        );
    }
    for (need, line) in lesson.needs.iter().zip(&lines.needs) {
        if *need == lesson.name {
            findings.error(
                *line,
                "a lesson cannot need itself",
                "remove it from `needs`",
            );
        } else if !known.lessons.contains_key(need) {
            let near = nearest(need, known.lessons.keys().map(String::as_str));
            let fix = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "names are those of folders, without the number".to_owned(),
            };
            findings.error(*line, format!("there is no lesson `{need}`"), fix);
        } else if let Some(way) = circle(need, &lesson.name, known) {
            findings.error(
                *line,
                format!("lessons need each other in a circle: {way}"),
                "remove one of the needs",
            );
        }
    }
    let Some(images) = &known.images else {
        return;
    };
    for (image, line) in lesson.images.iter().zip(&lines.images) {
        if !images.contains(image) {
            let fix = match nearest(image, images.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "add it to images/lessons.yaml".to_owned(),
            };
            findings.error(*line, format!("there is no image `{image}`"), fix);
        }
    }
}

/// The way from `from` back to `to` along needs, as `to → from → … → to`.
fn circle(from: &str, to: &str, known: &Known) -> Option<String> {
    let mut came: BTreeMap<&str, &str> = BTreeMap::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        for next in known.lessons.get(at).into_iter().flatten() {
            if next == to {
                let mut way = vec![to, at];
                let mut back = at;
                while let Some(before) = came.get(back) {
                    way.push(before);
                    back = before;
                }
                way.push(to);
                way.reverse();
                return Some(way.join(" → "));
            }
            if next != from && !came.contains_key(next.as_str()) {
                came.insert(next, at);
                open.push(next);
            }
        }
    }
    None
}

/// Lessons that have one name, or one number, between them.
pub(super) fn names(folders: &[Folder]) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut names: BTreeMap<&str, &Folder> = BTreeMap::new();
    let mut numbers: BTreeMap<u32, &Folder> = BTreeMap::new();
    for folder in folders {
        let path = folder.shown(LESSON);
        if let Some(other) = names.insert(folder.lesson_name(), folder) {
            let text = format!("this lesson has the name of {}", other.name);
            out.push(Finding::error(&path, 0, text).fix("rename one of the folders"));
        }
        if let Some(number) = folder.number()
            && let Some(other) = numbers.insert(number, folder)
        {
            let text = format!("this lesson has the number of {}", other.name);
            out.push(Finding::warning(&path, 0, text).fix("renumber one of the folders"));
        }
    }
    out
}
