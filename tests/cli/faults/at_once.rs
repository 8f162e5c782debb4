//! Two commands at once on one profile.

use std::process::Stdio;

use cadet_state::{ProfileLock, ProfileName};
use cadet_vm::Accel;

use super::Bench;
use super::qemu::Qemu;
use crate::support::{Run, Sealed};

#[test]
fn while_one_works_no_other_changes_anything_and_all_may_look() {
    let home = Sealed::new();
    home.profile_of("cadet", &[2]);
    let name = ProfileName::parse("cadet").unwrap();
    let record = home.state().profile(&name).record();
    let before = std::fs::read_to_string(&record).unwrap();
    let lock = ProfileLock::take(&home.state(), &name, "snapshot create").unwrap();
    for args in [
        &["start"][..],
        &["stop"],
        &["stop", "--poweroff"],
        &["pause"],
        &["unpause"],
        &["delete", "--yes"],
        &["snapshot", "create"],
        &["snapshot", "delete", "first"],
        &["node", "add"],
        &["node", "start", "cadet-2"],
        &["node", "stop", "cadet-2"],
    ] {
        let run = home.run(args);
        run.fails_with("HOST_PROFILE_BUSY", 31);
        assert!(run.err.contains("cadet snapshot create, process"), "{run}");
        assert!(run.err.contains("  fix   "), "{run}");
    }
    assert_eq!(home.run(&["status"]).code, 7);
    assert!(home.ok(&["list"]).out.contains("cadet"));
    home.ok(&["node", "list"]);
    home.ok(&["snapshot", "list"]);
    assert_eq!(std::fs::read_to_string(&record).unwrap(), before);
    drop(lock);
    home.ok(&["stop"]);
}

/// Begun in the same moment, whoever is first.
#[test]
fn of_two_commands_one_does_it_and_the_other_says_why_not() {
    for args in [&["stop"][..], &["stop", "--poweroff"], &["delete", "--yes"]] {
        let mut bench = Bench::new(Accel::Tcg, 16);
        let qemu = Qemu::new(&mut bench, "running");
        let both: Vec<_> = (0..2)
            .map(|_| {
                bench
                    .command(args)
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let mut done = 0;
        for child in both {
            let output = child.wait_with_output().unwrap();
            let run = Run {
                code: output.status.code().unwrap_or(-1),
                out: String::from_utf8_lossy(&output.stdout).into_owned(),
                err: String::from_utf8_lossy(&output.stderr).into_owned(),
            };
            match run.code {
                0 => done += 1,
                // Deleted meanwhile.
                85 => {
                    run.fails_with("GUEST_NOT_FOUND", 85);
                }
                _ => {
                    run.fails_with("HOST_PROFILE_BUSY", 31);
                }
            }
        }
        assert!(done > 0, "{args:?}: none did it");
        assert!(qemu.has_ended(), "{args:?}");
        if args[0] == "delete" {
            assert!(bench.record().is_none());
            assert!(!bench.files().dir().exists());
        } else {
            let word = if args.len() == 1 {
                "Suspended"
            } else {
                "Stopped"
            };
            assert_eq!(bench.is_understood(), word, "{args:?}");
        }
    }
}
