//! Every lesson of this repository is one that can be played, as far as reading can tell.

use std::path::{Path, PathBuf};

use cadet_tutorial::lint::lint_all;
use cadet_tutorial::{Finding, Folder, load};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

fn folders() -> Vec<Folder> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(root().join("tutorials"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("lesson.md").is_file())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| Folder::read(path).unwrap())
        .collect()
}

/// Names of the sets of images that lessons may ask for.
fn images() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("images/lessons.yaml")).unwrap();
    let table: Value = serde_saphyr::from_str(&text).unwrap();
    let sets = table.get("sets").and_then(Value::as_object);
    sets.into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect()
}

#[test]
fn lint_has_nothing_to_say() {
    let findings = lint_all(&folders(), &images());
    let said: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(said.is_empty(), "{}", said.join("\n"));
}

#[test]
fn every_step_is_tested_with_a_mistake() {
    for folder in folders() {
        let (lesson, _) = load::load(&folder);
        assert!(!lesson.steps.is_empty(), "{}", lesson.name);
        for step in &lesson.steps {
            let (name, title) = (&lesson.name, &step.title);
            assert!(!step.mistakes.is_empty(), "{name}: {title}");
        }
    }
}
