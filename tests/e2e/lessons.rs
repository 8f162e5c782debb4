//! Every lesson, played from its first step to its last in Cadet's machine, with every mistake
//! its author foresaw.
//!
//! `CADET_LESSONS_PLAY` names lessons to play (`telescope flask`), `none` plays none; without it
//! all are. `CADET_MISTAKES=0` leaves the mistakes out.

use std::process::Stdio;

use crate::support::{Run, Sealed};

/// Plays them in the running cluster of `home`; all must pass.
pub fn play(home: &Sealed, tell: impl Fn(&str)) {
    let named = std::env::var("CADET_LESSONS_PLAY").unwrap_or_default();
    if named.trim() == "none" {
        return;
    }
    let mut args = vec!["tutorial", "play", "--timeout", "15m"];
    let names: Vec<&str> = named.split([' ', ',']).filter(|n| !n.is_empty()).collect();
    if names.is_empty() {
        args.push("--all");
    }
    args.extend(names);
    if std::env::var("CADET_MISTAKES").is_ok_and(|set| set == "0") {
        tell("the lessons, without their mistakes");
    } else {
        tell("the lessons, with the mistakes their authors foresaw");
        args.push("--mistakes");
    }
    // Its lines are the report, and come while it plays.
    let mut command = home.command(&args);
    let status = command
        .stdin(Stdio::null())
        .status()
        .unwrap_or_else(|e| panic!("{args:?}: {e}"));
    assert!(status.success(), "cadet {args:?}: {status}");
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
