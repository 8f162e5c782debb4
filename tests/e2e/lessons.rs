//! Every lesson, played from its first step to its last in Cadet's machine, with every mistake
//! its author foresaw.
//!
//! `CADET_LESSONS_PLAY` names lessons to play (`telescope flask`), `none` plays none; without it
//! all are. `CADET_MISTAKES=0` leaves the mistakes out.

use std::process::Stdio;

use crate::support::{Run, Sealed};
use crate::voyage::shared_cache;

/// The lesson that has machines of its own, three of 768 MiB.
const THREE: &str = "hello-hapi-three-nodes";

/// The lessons that are wanted, by name; none where all are.
fn wanted() -> Option<Vec<String>> {
    let named = std::env::var("CADET_LESSONS_PLAY").ok()?;
    let names = named.split([' ', ',']).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    (!names.is_empty()).then_some(names)
}

/// Plays lessons in the running cluster of `home`; all must pass.
fn played(home: &Sealed, which: &[&str]) {
    let mut args = [&["tutorial", "play", "--timeout", "15m"], which].concat();
    if std::env::var("CADET_MISTAKES").as_deref() != Ok("0") {
        args.push("--mistakes");
    }
    // Its lines are the report, and come while it plays.
    let mut command = home.command(&args);
    let status = command
        .stdin(Stdio::null())
        .status()
        .unwrap_or_else(|e| panic!("{args:?}: {e}"));
    assert!(status.success(), "cadet {args:?}: {status}");
}

/// Removes the machines, however it ended.
struct Machines(Sealed);

impl Drop for Machines {
    fn drop(&mut self) {
        self.0.run(&["delete", "--yes"]);
    }
}

#[test]
fn the_lesson_of_three_machines() {
    if wanted().is_some_and(|names| !names.iter().any(|name| name == THREE)) {
        return;
    }
    let mut home = Sealed::new();
    home.cache = Some(shared_cache());
    let machines = Machines(home);
    let size = ["start", "--nodes=3", "--memory=768m"];
    let image = ["--image=debian-13", "--wait-timeout=20m"];
    machines.0.ok(&[&size[..], &image].concat());
    played(&machines.0, &[THREE]);
}

/// Plays them in the running cluster of `home`; all must pass.
pub fn play(home: &Sealed, tell: impl Fn(&str)) {
    let wanted = wanted();
    let names: Vec<&str> = match &wanted {
        None => vec!["--all"],
        Some(names) => names.iter().map(String::as_str).collect(),
    };
    if names == ["none"] {
        return;
    }
    let names: Vec<&str> = names.into_iter().filter(|name| *name != THREE).collect();
    if !names.is_empty() {
        tell("the lessons");
        played(home, &names);
    }
    let list = home.ok(&["tutorial", "list", "-o", "json"]).out;
    assert!(
        !list.contains("\"begun\"") && !list.contains("\"done\""),
        "playing is nobody's progress: {list}"
    );
    learner(home, &tell);
    crate::class::hold(home, &tell);
}

/// A learner with a pipe in place of a terminal: begins, asks for a hint, runs, goes on, leaves
/// and comes back to where they were.
fn learner(home: &Sealed, tell: impl Fn(&str)) {
    tell("a learner begins a lesson, leaves and comes back");
    let list = home.ok(&["tutorial", "list", "-o", "json"]).out;
    let first = list.lines().find_map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_first = row["needs"].as_array().is_some_and(Vec::is_empty);
        let name = row["lesson"].as_str()?.to_owned();
        is_first.then_some(name)
    });
    let Some(name) = first else {
        panic!("no lesson can be begun with: {list}");
    };
    let begun = Run::fed(
        &mut home.command(&["tutorial", &name, "--plain"]),
        "h\nw\nq\n",
    );
    assert_eq!(begun.code, 0, "{begun}");
    assert!(begun.out.contains("Step 1 of"), "{begun}");
    assert!(begun.out.contains("tutorial"), "{begun}");
    let solved = home.ok(&["tutorial", "solve"]);
    assert!(solved.out.contains("Step 1 of"), "{solved}");
    let status = home.ok(&["tutorial", "status"]).out;
    assert!(status.contains("Step 2 of"), "{status}");
    let back = Run::fed(&mut home.command(&["tutorial", &name, "--plain"]), "q\n");
    assert!(back.code == 0 && back.out.contains("step 2 of"), "{back}");
    home.ok(&["tutorial", "reset"]);
    let status = home.ok(&["tutorial", "status"]).out;
    assert!(status.contains("Step 1 of"), "{status}");
}
