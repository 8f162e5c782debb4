//! `cadet tutorial` without a machine: the list, what authors need, what goes wrong.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Run, Sealed};

const LESSON: &str = "---
format: 1
title: A rocket of two stages
summary: What a stage is, and how it is let go.
minutes: 10
---
A rocket stands here.

## The first stage

It burns first. Look at it.

```run
kubectl get pods
```
```watch
- asked: list pods
```
```hint
Pods are listed by `kubectl get`.
```
```hint
Press Enter.
```

## The second stage

It burns then.

```run
kubectl get nodes
```
```watch
- asked: list nodes
```
";

/// A folder of lessons of the test's own: `rocket`, and `moon` that needs it.
fn library(home: &Sealed) -> PathBuf {
    let root = home.dir.path().join("tutorials");
    lesson(&root, "01-rocket", LESSON);
    let moon = LESSON
        .replace("A rocket of two stages", "A moon")
        .replace("minutes: 10", "minutes: 15\nneeds: [rocket]");
    lesson(&root, "02-moon", &moon);
    root
}

fn lesson(root: &Path, folder: &str, text: &str) {
    let folder = root.join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("lesson.md"), text).unwrap();
}

fn tutorial(home: &Sealed, args: &[&str]) -> Command {
    let mut command = home.command(&[&["tutorial"][..], args].concat());
    command
        .env("CADET_TUTORIALS", home.dir.path().join("tutorials"))
        .env("CADET_LESSONS", home.dir.path().join("mine"));
    command
}

fn run(home: &Sealed, args: &[&str]) -> Run {
    Run::of(&mut tutorial(home, args))
}

#[track_caller]
fn ok(home: &Sealed, args: &[&str]) -> Run {
    let run = run(home, args);
    assert!(run.code == 0, "cadet tutorial {args:?} failed:\n{run}");
    run
}

/// What the program keeps of a learner who is through with the first step.
fn begun(home: &Sealed) {
    let store = cadet_state::Store::open(&home.state()).unwrap();
    let name = cadet_state::ProfileName::parse("cadet").unwrap();
    let document = serde_json::json!({
        "format": 1, "lesson": "rocket", "digest": "of an older text", "step": 1, "started": 1,
        "steps": [
            {"title": "The first stage", "state": {"completed": "done"}, "seconds": 9},
            {"title": "The second stage"},
        ],
    });
    store
        .put_lesson(&name, "rocket", document.to_string().as_bytes())
        .unwrap();
}

#[test]
fn the_list_tells_how_long_what_before_and_how_far() {
    let home = Sealed::new();
    library(&home);
    let list = ok(&home, &["list"]).out;
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[0].contains("rocket") && lines[0].contains("10 min") && lines[0].contains("new"));
    assert!(lines[1].contains("moon") && lines[1].contains("after rocket"));
    assert!(lines[2].contains("next: cadet tutorial rocket"), "{list}");
    assert_eq!(
        ok(&home, &[]).out,
        list,
        "without a terminal nobody is asked"
    );
    assert!(home.files().is_empty(), "{:?}", home.files());
    begun(&home);
    let list = ok(&home, &["list"]).out;
    assert!(list.contains("step 2 of 2"), "{list}");
    let json = ok(&home, &["list", "-o", "json"]).out;
    let rows: Vec<Value> = json
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(rows[0]["state"], "begun");
    assert_eq!(rows[0]["left"], 1);
    assert_eq!(rows[1]["needs"][0], "rocket");
}

#[test]
fn forty_columns_are_enough() {
    let home = Sealed::new();
    library(&home);
    begun(&home);
    for args in [&["list"][..], &["status"], &["hint"], &["skip"]] {
        let run = Run::of(tutorial(&home, args).env("COLUMNS", "40"));
        assert_eq!(run.code, 0, "{run}");
        for line in run.out.lines() {
            assert!(line.chars().count() <= 40, "{args:?}: {line}");
        }
    }
}

#[test]
fn hint_skip_and_status_need_no_cluster() {
    let home = Sealed::new();
    library(&home);
    run(&home, &["hint"]).fails_with("LESSON_NOT_STARTED", 13);
    let status = ok(&home, &["status", "--lesson", "rocket"]).out;
    assert!(
        status.contains("Step 1 of 2") && status.contains("kubectl get pods"),
        "{status}"
    );
    let hint = ok(&home, &["hint", "--lesson", "rocket"]).out;
    assert!(
        hint.contains("hint 1 of 2") && hint.contains("are listed"),
        "{hint}"
    );
    let hint = ok(&home, &["hint"]).out;
    assert!(
        hint.contains("hint 2 of 2") && hint.contains("solve"),
        "{hint}"
    );
    let skipped = ok(&home, &["skip"]).out;
    assert!(skipped.contains("Step 2 of 2"), "{skipped}");
    ok(&home, &["skip"]);
    assert!(ok(&home, &["list"]).out.contains("done"));
    let status = ok(&home, &["status", "-o", "json"]).out;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["done"], true);
}

#[test]
fn without_a_cluster_the_next_command_is_told_and_progress_stays() {
    let home = Sealed::new();
    library(&home);
    begun(&home);
    for args in [
        &["rocket"][..],
        &["start"],
        &["check"],
        &["solve"],
        &["reset"],
        &["next"],
    ] {
        let told = run(&home, args);
        told.fails_with("GUEST_NOT_FOUND", 85);
        assert!(told.err.contains("cadet start"), "{told}");
    }
    home.profile("cadet");
    run(&home, &["rocket"]).fails_with("GUEST_NOT_RUNNING", 83);
    run(&home, &["play", "rocket"]).fails_with("GUEST_NOT_RUNNING", 83);
    // The cluster is deleted midway: the learner goes on with the next one.
    home.ok(&["delete", "--yes"]);
    assert!(ok(&home, &["list"]).out.contains("step 2 of 2"));
    let status = ok(&home, &["status"]).out;
    assert!(
        status.contains("Step 2 of 2") && status.contains("1 of 2 steps done"),
        "{status}"
    );
    home.profile("cadet");
    run(&home, &["next"]).fails_with("GUEST_NOT_RUNNING", 83);
    assert!(ok(&home, &["list"]).out.contains("step 2 of 2"));
}

#[test]
fn forty_columns_are_enough_at_the_end() {
    let home = Sealed::new();
    let long = LESSON.replace(
        "A rocket of two stages",
        "A rocket of two stages that flies to the moon and back",
    );
    lesson(&home.dir.path().join("tutorials"), "01-rocket", &long);
    begun(&home);
    ok(&home, &["skip"]);
    let run = Run::of(tutorial(&home, &["status"]).env("COLUMNS", "40"));
    assert!(run.out.contains("You have done"), "{run}");
    for line in run.out.lines() {
        assert!(line.chars().count() <= 40, "{line}");
    }
}

#[test]
fn names_that_are_nearly_right_are_understood() {
    let home = Sealed::new();
    library(&home);
    let told = run(&home, &["start", "rockt"]);
    told.fails_with("LESSON_UNKNOWN", 15);
    assert!(told.err.contains("cadet tutorial start rocket"), "{told}");
    run(&home, &["venus"]).fails_with("LESSON_UNKNOWN", 15);
    assert!(ok(&home, &["lint", "1"]).out.contains("1 lesson"));
    let nowhere = Run::of(tutorial(&home, &["list"]).env("CADET_TUTORIALS", "/nowhere"));
    nowhere.fails_with("LESSON_UNKNOWN", 15);
}

#[test]
fn bad_lessons_are_told_with_file_and_line_and_not_played() {
    let home = Sealed::new();
    let root = library(&home);
    let bad = LESSON
        .replace("kubectl get pods\n", "kubectl get pods | grep x\n")
        .replace("- asked: list nodes", "- asked: lits nodes");
    lesson(&root, "03-bad", &bad);
    let told = run(&home, &["lint", "bad"]);
    told.fails_with("LESSON_INVALID", 18);
    assert!(told.out.contains("03-bad/lesson.md:14: error:"), "{told}");
    assert!(told.out.contains("  fix: "), "{told}");
    run(&home, &["lint"]).fails_with("LESSON_INVALID", 18);
    run(&home, &["start", "bad"]).fails_with("LESSON_INVALID", 18);
    assert!(ok(&home, &["list"]).out.contains("has mistakes"));
    ok(&home, &["lint", "rocket"]);
    let json = run(&home, &["lint", "bad", "-o", "json"]).out;
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["type"], "finding");
    let version = LESSON.replace("format: 1", "format: 99");
    for (name, text) in [
        ("04-empty", ""),
        ("05-binary", "\u{0}\u{1}\u{fffd}"),
        ("06-open", "---\nformat: 1\n"),
        ("07-yaml", "---\n: : :\n---\n## A\n```watch\n- {\n```\n"),
        ("08-version", version.as_str()),
    ] {
        lesson(&root, name, text);
        run(&home, &["lint", &name[3..]]).fails_with("LESSON_INVALID", 18);
        run(&home, &[&name[3..]]).fails_with("LESSON_INVALID", 18);
    }
}

/// Whoever's lesson it is: what reaches beyond the lesson's cluster is refused before it begins.
#[test]
fn a_lesson_that_reaches_for_the_computer_is_not_begun() {
    let home = Sealed::new();
    let root = library(&home);
    for (number, reaching) in [
        (11, "cadet delete --all --yes"),
        (12, "cadet ssh -- id"),
        (13, "kubectl --kubeconfig other get pods"),
        (14, "kubectl cp pod:/etc/passwd passwd"),
        (15, "kubectl anything"),
    ] {
        let text = LESSON.replacen("kubectl get pods\n", &format!("{reaching}\n"), 1);
        assert_ne!(text, LESSON);
        let name = format!("{number}-reaching");
        lesson(&root, &name, &text);
        let place = root.join(&name).display().to_string();
        for args in [&["start", &place][..], &["play", &place], &["lint", &place]] {
            let told = run(&home, args);
            told.fails_with("LESSON_INVALID", 18);
            assert!(told.to_string().contains("error"), "{reaching}: {told}");
        }
        std::fs::remove_dir_all(root.join(&name)).unwrap();
    }
}

#[test]
fn the_skeleton_is_sound_and_nothing_is_written_over() {
    let home = Sealed::new();
    library(&home);
    let mut made = tutorial(&home, &["new", "comet"]);
    let made = Run::of(made.current_dir(home.dir.path()));
    assert_eq!(made.code, 0, "{made}");
    let folder = home.dir.path().join("comet");
    assert!(folder.join("lesson.md").is_file(), "{made}");
    let lint = run(&home, &["lint", &folder.display().to_string()]);
    assert_eq!(lint.code, 0, "{lint}");
    let mut again = tutorial(&home, &["new", "comet"]);
    Run::of(again.current_dir(home.dir.path())).fails_with("LESSON_EXISTS", 11);
    for name in ["", "../x", "A B", "x/y", "-x"] {
        let flag = ["new", "--", name];
        let mut bad = tutorial(&home, &flag);
        Run::of(bad.current_dir(home.dir.path())).fails_with("PROGRAM_USAGE", 14);
    }
}

#[test]
fn a_killercoda_scenario_becomes_a_lesson() {
    let home = Sealed::new();
    library(&home);
    let from = home.dir.path().join("scenario");
    std::fs::create_dir_all(from.join("step1")).unwrap();
    std::fs::write(
        from.join("index.json"),
        r#"{"title": "Pods", "description": "A first pod.", "details": {
            "intro": {"text": "intro.md"},
            "steps": [{"title": "Make it", "text": "step1/text.md", "verify": "step1/verify.sh"}],
            "finish": {"text": "finish.md"}}}"#,
    )
    .unwrap();
    std::fs::write(from.join("intro.md"), "Welcome.\n").unwrap();
    std::fs::write(from.join("finish.md"), "Well.\n").unwrap();
    let text = "Make a pod:\n\n```plain\nkubectl run web --image=nginx\n```{{exec}}\n";
    std::fs::write(from.join("step1/text.md"), text).unwrap();
    std::fs::write(from.join("step1/verify.sh"), "kubectl get pod web\n").unwrap();
    let to = home.dir.path().join("pods");
    let args = [
        "import",
        &from.display().to_string(),
        "--to",
        &to.display().to_string(),
    ];
    let imported = ok(&home, &args);
    let lesson = std::fs::read_to_string(to.join("lesson.md")).unwrap();
    assert!(
        lesson.contains("## Make it") && lesson.contains("kubectl run web --image=nginx"),
        "{lesson}\n{imported}"
    );
    run(&home, &args).fails_with("LESSON_EXISTS", 11);
    let none = home.dir.path().join("none").display().to_string();
    let refused = run(&home, &["import", &none]);
    assert!(
        refused.code != 0 && refused.err.contains("none"),
        "{refused}"
    );
    assert!(!refused.err.contains("panicked"), "{refused}");
}

#[test]
fn progress_that_cannot_be_read_is_told_and_kept() {
    let home = Sealed::new();
    library(&home);
    let name = cadet_state::ProfileName::parse("cadet").unwrap();
    let keep = |document: &[u8]| {
        let store = cadet_state::Store::open(&home.state()).unwrap();
        store.put_lesson(&name, "rocket", document).unwrap();
    };
    keep(b"{\"format\": 1, \"les");
    for args in [&["status"][..], &["hint"], &["skip"]] {
        let told = run(&home, args);
        told.fails_with("LESSON_PROGRESS", 38);
        assert!(told.err.contains("cadet tutorial reset"), "{told}");
    }
    assert!(ok(&home, &["list"]).out.contains("unreadable"));
    keep(b"{\"format\": 2}");
    let told = run(&home, &["status"]);
    told.fails_with("LESSON_PROGRESS", 38);
    assert!(told.err.contains("format 2"), "{told}");
    let copy = home.state().lessons(&name).join("rocket.json");
    assert_eq!(
        std::fs::read(&copy).unwrap(),
        b"{\"format\": 2}",
        "nothing is lost"
    );
}

#[test]
fn a_damaged_database_gives_progress_back() {
    let home = Sealed::new();
    library(&home);
    begun(&home);
    for entry in std::fs::read_dir(home.state().database())
        .unwrap()
        .flatten()
    {
        if entry.path().is_file() {
            std::fs::write(entry.path(), "not a database").unwrap();
        }
    }
    run(&home, &["status"]).fails_with("HOST_STATE_CORRUPT", 38);
    home.run(&["doctor", "--fix"]);
    assert!(ok(&home, &["list"]).out.contains("step 2 of 2"));
    assert!(ok(&home, &["status"]).out.contains("Step 2 of 2"));
}

#[test]
fn a_database_that_somebody_keeps_open_is_told() {
    let home = Sealed::new();
    library(&home);
    begun(&home);
    let held = cadet_state::Store::open(&home.state()).unwrap();
    run(&home, &["status"]).fails_with("HOST_PROFILE_BUSY", 31);
    drop(held);
    assert!(ok(&home, &["status"]).out.contains("Step 2 of 2"));
}

#[test]
fn a_lesson_open_elsewhere_is_told() {
    let home = Sealed::new();
    library(&home);
    begun(&home);
    let name = cadet_state::ProfileName::parse("cadet").unwrap();
    let held = cadet_state::LessonLock::take(&home.state(), &name, "tutorial rocket").unwrap();
    let told = run(&home, &["hint"]);
    told.fails_with("LESSON_OPEN", 11);
    assert!(told.err.contains("tutorial rocket, process"), "{told}");
    ok(&home, &["status"]);
    drop(held);
    ok(&home, &["hint", "--lesson", "rocket"]);
}

#[test]
fn cadets_own_lessons_are_sound() {
    let home = Sealed::new();
    let run = Run::of(&mut home.command(&["tutorial", "lint"]));
    assert_eq!(run.code, 0, "{run}");
}
