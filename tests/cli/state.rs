//! Records, locks and kubeconfig as a user meets them.

use crate::support::{Run, Sealed};

#[test]
fn two_starts_at_once_do_not_meet() {
    let home = Sealed::new();
    let state = home.state();
    let name = cadet_state::ProfileName::parse("cadet").unwrap();
    let _held = cadet_state::ProfileLock::take(&state, &name, "start").unwrap();
    let run = home.run(&["start"]);
    run.fails_with("HOST_PROFILE_BUSY", 31);
    assert!(run.err.contains("cadet start, process"), "{run}");
}

#[test]
fn a_damaged_database_is_told_mended_and_nothing_is_lost() {
    let home = Sealed::new();
    home.profile("kept");
    for entry in std::fs::read_dir(home.state().database())
        .unwrap()
        .flatten()
    {
        if entry.path().is_file() {
            std::fs::write(entry.path(), "not a database").unwrap();
        }
    }
    let run = home.run(&["list"]);
    run.fails_with("HOST_STATE_CORRUPT", 38);
    assert!(run.err.contains("cadet doctor --fix"), "{run}");
    let fixed = home.run(&["doctor", "--fix"]);
    assert!(fixed.out.contains("kept"), "{fixed}");
    assert!(home.ok(&["list"]).out.contains("kept"));
}

#[test]
fn status_and_list_of_a_machine_that_is_off() {
    let home = Sealed::new();
    home.profile("cadet");
    let status = home.run(&["status"]);
    assert_eq!(status.code, 7, "machine, API and node bits: {status}");
    assert!(status.out.contains("Stopped"), "{status}");
    assert!(home.ok(&["list"]).out.contains("cadet"));
    let port = crate::support::free_port();
    for args in [
        &["ssh", "true"][..],
        &["logs"],
        &["pause"],
        &["unpause"],
        &["ip"],
        &["tunnel", "--port", &port],
        &["open", "pod/x"],
        &["service", "x"],
        &["docker-env"],
        &["image", "list", "--cluster"],
    ] {
        home.run(args).fails_with("GUEST_NOT_RUNNING", 83);
    }
}

#[test]
fn a_profile_of_several_machines_is_one_profile() {
    let home = Sealed::new();
    home.profile_of("cadet", &[2, 4]);
    let rows = home.ok(&["node", "list"]).out;
    let row = |name: &str| {
        let line = rows
            .lines()
            .find(|l| l.split_whitespace().next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{rows}"))
            .to_owned()
    };
    assert!(row("cadet").contains("control-plane"), "{rows}");
    let fourth = row("cadet-4");
    for part in ["worker", "Stopped", "10.89.0.4", "10.244.3.0/24"] {
        assert!(fourth.contains(part), "{part}: {rows}");
    }
    let listed: serde_json::Value =
        serde_json::from_str(&home.ok(&["list", "-o", "json"]).out).unwrap();
    assert_eq!(listed["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(listed["nodes"][1]["name"], "cadet-2");
    let status = home.run(&["status"]);
    assert_eq!(status.code, 7, "{status}");
    assert!(status.out.contains("cadet-4"), "{status}");
    // One fewer is not what start does.
    let run = home.run(&["start", "--nodes", "2"]);
    run.fails_with("RESOURCE_FIXED", 21);
    assert!(run.err.contains("node delete cadet-4"), "{run}");
    assert!(home.ok(&["stop"]).out.contains("cadet-2: was not running"));
    home.ok(&["delete", "--yes"]);
    assert!(!home.home().join("profiles/cadet").exists());
}

#[test]
fn a_suspended_machine_keeps_its_size() {
    let home = Sealed::new();
    home.profile("cadet");
    let name = cadet_state::ProfileName::parse("cadet").unwrap();
    let note = home.state().profile(&name).suspended_note();
    std::fs::write(&note, "{}").unwrap();
    let run = home.run(&["start", "--memory", "768m"]);
    run.fails_with("RESOURCE_FIXED", 21);
    assert!(run.err.contains("suspended machine"), "{run}");
    assert!(run.err.contains("cadet stop --poweroff"), "{run}");
    assert!(note.exists());
}

#[test]
fn a_dry_run_of_several_machines_names_each() {
    let home = Sealed::new();
    let run = home.ok(&[
        "start",
        "--dry-run",
        "--image=debian-13",
        "--nodes=2",
        "--memory=768m",
        "--cpus=1",
    ]);
    for part in ["workers", "join", "cadet-2", "768 MiB"] {
        assert!(run.out.contains(part), "{part}: {run}");
    }
    assert!(home.files().is_empty(), "{:?}", home.files());
}

#[test]
fn delete_removes_the_profile_its_files_and_its_context_only() {
    let home = Sealed::new();
    home.profile("cadet");
    std::fs::create_dir_all(home.kubeconfig().parent().unwrap()).unwrap();
    std::fs::write(
        home.kubeconfig(),
        "apiVersion: v1\nkind: Config\ncurrent-context: cadet\n\
         clusters:\n- {name: work, cluster: {server: 'https://work'}}\n- {name: cadet, cluster: {server: 'https://x'}}\n\
         users:\n- {name: work, user: {token: t}}\n- {name: cadet, user: {}}\n\
         contexts:\n- {name: work, context: {cluster: work, user: work}}\n- {name: cadet, context: {cluster: cadet, user: cadet}}\n",
    )
    .unwrap();
    home.ok(&["delete", "--yes"]);
    let text = std::fs::read_to_string(home.kubeconfig()).unwrap();
    assert!(text.contains("work") && !text.contains("cadet"), "{text}");
    assert!(!home.home().join("profiles/cadet").exists());
    home.run(&["status"]).fails_with("GUEST_NOT_FOUND", 85);
    home.profile("a");
    home.profile("b");
    home.ok(&["delete", "--all", "--purge", "--yes"]);
    assert!(home.files().is_empty(), "{:?}", home.files());
}

#[test]
fn a_restore_that_was_cut_off_is_finished_before_anything_runs() {
    let home = Sealed::new();
    home.profile("cadet");
    let folder = home.home().join("profiles/cadet");
    std::fs::write(folder.join("restoring"), "before").unwrap();
    std::fs::create_dir_all(folder.join("snapshots/before")).unwrap();
    home.run(&["snapshot", "delete", "before"])
        .fails_with("HOST_PROFILE_BUSY", 31);
    // Its record is gone: no disk is started from.
    let run = home.run(&["start"]);
    run.fails_with("SNAPSHOT_NOT_FOUND", 85);
    assert!(run.err.contains("did not finish"), "{run}");
    assert!(folder.join("restoring").exists());
}

#[test]
fn a_dry_run_tells_the_plan_and_writes_nothing() {
    let home = Sealed::new();
    let run = home.ok(&[
        "start",
        "--dry-run",
        "--image=debian-13",
        "--memory=1g",
        "--cpus=1",
    ]);
    for step in [
        "host", "image", "seed", "machine", "connect", "install", "ready", "kubectl",
    ] {
        assert!(run.out.contains(step), "{step}: {run}");
    }
    assert!(home.files().is_empty(), "{:?}", home.files());
}

#[test]
fn doctor_tells_what_it_looked_at() {
    let home = Sealed::new();
    let run = Run::of(&mut home.command(&["doctor"]));
    for subject in [
        "qemu",
        "accelerator",
        "memory",
        "disk",
        "kubectl",
        "routes",
        "proxy",
    ] {
        assert!(run.out.contains(subject), "{subject}: {run}");
    }
    assert!(home.files().is_empty(), "{:?}", home.files());
}
