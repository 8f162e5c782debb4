//! Files of the home that were cut, emptied or filled with something else: each is told, or does
//! not matter, and none is changed by looking.

use std::path::PathBuf;

use cadet_vm::Accel;
use cadet_vm::process::{Identity, write_pid_file};

use super::Bench;
use crate::support::Run;

type Damage = (&'static str, fn(&[u8]) -> Vec<u8>);

const DAMAGES: [Damage; 3] = [
    ("emptied", |_| Vec::new()),
    ("cut", |bytes| bytes[..bytes.len() / 2].to_vec()),
    ("overwritten", |bytes| vec![0xff; bytes.len()]),
];

/// Commands that only look.
const LOOKS: [&[&str]; 7] = [
    &["status"],
    &["list"],
    &["node", "list"],
    &["snapshot", "list"],
    &["addons", "list"],
    &["config", "view"],
    &["profile"],
];

/// A profile that is suspended and has one of everything that is kept in a file.
fn full() -> (Bench, Vec<PathBuf>) {
    let bench = Bench::new(Accel::Tcg, 16);
    bench.ok(&["config", "set", "cpus", "1"]);
    bench.home.credentials("cadet");
    let files = bench.files();
    let first = files.snapshot(&cadet_state::ProfileName::parse("first").unwrap());
    std::fs::create_dir_all(first.dir()).unwrap();
    let mut gone = Identity::of(std::process::id()).unwrap();
    gone.started.push_str("of another time");
    write_pid_file(&files.pid(), &gone).unwrap();
    for (path, text) in [
        (files.key(), r#"{"qemu": "10.0.2", "shape": []}"#),
        (files.suspended(), "a state"),
        (files.suspended_note(), r#"{"saved": 1}"#),
        (files.clock(), r#"{"since": 1}"#),
        (files.addons(), r#"{"ingress": true}"#),
        (
            first.record(),
            r#"{"name": "first", "created": 1, "machines": []}"#,
        ),
    ] {
        std::fs::write(path, text).unwrap();
    }
    let all = vec![
        bench.home.state().settings(),
        files.record(),
        files.pid(),
        files.key(),
        files.suspended(),
        files.suspended_note(),
        files.clock(),
        files.addons(),
        files.kubeconfig(),
        first.record(),
    ];
    (bench, all)
}

/// Either it worked, or it says what is wrong and what to type.
#[track_caller]
fn is_told(what: &str, run: &Run) {
    assert!((0..=127).contains(&run.code), "{what}: {run}");
    assert!(!run.err.contains("panicked"), "{what}: {run}");
    // Up to here it is the bits of `status`.
    if run.code > 7 {
        assert!(run.err.contains("error "), "{what}: {run}");
        assert!(run.err.contains("  fix   "), "{what}: {run}");
    }
}

#[test]
fn damaged_files_are_told_and_left_as_they_are() {
    let (bench, all) = full();
    for look in LOOKS {
        is_told(&format!("{look:?} of a sound home"), &bench.run(look));
    }
    for path in &all {
        let sound = std::fs::read(path).unwrap();
        for (how, damage) in DAMAGES {
            let damaged = damage(&sound);
            std::fs::write(path, &damaged).unwrap();
            for look in LOOKS {
                let what = format!("{look:?} with {} {how}", path.display());
                is_told(&what, &bench.run(look));
            }
            assert_eq!(std::fs::read(path).unwrap(), damaged, "{path:?} {how}");
        }
        std::fs::write(path, sound).unwrap();
    }
}

#[test]
fn a_profile_whose_files_are_all_damaged_can_be_deleted() {
    for (how, damage) in DAMAGES {
        let (bench, all) = full();
        for path in all
            .iter()
            .filter(|path| path.starts_with(bench.files().dir()))
        {
            let sound = std::fs::read(path).unwrap();
            std::fs::write(path, damage(&sound)).unwrap();
        }
        bench.ok(&["delete", "--yes"]);
        assert!(!bench.files().dir().exists(), "{how}");
        assert!(bench.record().is_none(), "{how}");
    }
}
