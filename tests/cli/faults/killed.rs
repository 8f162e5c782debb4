//! kill -9 of the program: the next command finds a state it understands, and what was to be kept
//! is kept. `CADET_KILLS` says at how many points the random ones are killed.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cadet_state::Phase;
use cadet_vm::Accel;
use cadet_vm::process::{Identity, write_pid_file};

use super::qemu::Qemu;
use super::{Bench, point, times};
use crate::support::eventually;

/// At each word that `stop` says to QEMU, whether what QEMU was writing goes through or not.
#[test]
fn a_stop_that_is_killed_at_any_word_loses_no_memory() {
    for goes_through in [true, false] {
        for word in 0.. {
            let mut bench = Bench::new(Accel::Tcg, 16);
            let qemu = Qemu::new(&mut bench, "running");
            let killed = qemu.kills(&mut bench.command(&["stop"]), word, goes_through);
            let seen = bench.is_understood();
            assert!(
                ["Running", "Paused", "Suspended"].contains(&seen.as_str()),
                "word {word}: {seen}"
            );
            let again = bench.ok(&["stop"]);
            assert!(again.out.contains("uspended"), "word {word}: {again}");
            assert!(qemu.has_ended(), "word {word}: {again}");
            assert!(!qemu.heard("system_powerdown"), "word {word}");
            assert!(bench.files().suspended_note().exists(), "word {word}");
            assert_eq!(bench.is_understood(), "Suspended", "word {word}");
            assert_eq!(bench.record().unwrap().phase, Phase::Stopped);
            if !killed {
                // look, look, attach, pause, write, end: fewer would be another program.
                assert!(word > 8, "only {word} words were said");
                break;
            }
        }
    }
}

/// A machine that was shut down half way is shut down by the next command.
#[test]
fn a_poweroff_that_is_killed_at_any_word_is_done_by_the_next() {
    for word in 0.. {
        let mut bench = Bench::new(Accel::Tcg, 16);
        let qemu = Qemu::new(&mut bench, "paused");
        let stop = ["stop", "--poweroff", "--timeout", "2s"];
        let killed = qemu.kills(&mut bench.command(&stop), word, false);
        bench.is_understood();
        bench.ok(&stop);
        assert!(qemu.has_ended(), "word {word}");
        assert_eq!(bench.is_understood(), "Stopped", "word {word}");
        if !killed {
            assert!(word > 2, "only {word} words were said");
            break;
        }
    }
}

#[test]
fn a_delete_that_is_killed_at_any_word_is_done_by_the_next() {
    for word in 0.. {
        let mut bench = Bench::new(Accel::Tcg, 16);
        let qemu = Qemu::new(&mut bench, "running");
        let killed = qemu.kills(&mut bench.command(&["delete", "--yes"]), word, false);
        if killed {
            bench.is_understood();
            // What is half gone is not gone on with.
            if bench.record().unwrap().phase == Phase::Deleting {
                let run = bench.run(&["start"]);
                run.fails_with("HOST_PROFILE_BUSY", 31);
                assert!(run.err.contains("cadet delete"), "{run}");
            }
            bench.ok(&["delete", "--yes"]);
        }
        assert!(qemu.has_ended(), "word {word}");
        assert!(bench.record().is_none(), "word {word}");
        assert!(!bench.files().dir().exists(), "word {word}");
        if !killed {
            assert!(word > 0, "nothing was said");
            break;
        }
    }
}

/// A start that was killed while it made a template: who deletes all is left with no machine.
#[test]
fn what_is_in_the_making_goes_with_a_delete() {
    let bench = Bench::new(Accel::Tcg, 16);
    let making = bench.home.state().template("making").making();
    std::fs::create_dir_all(making.dir()).unwrap();
    let mut machine = Command::new("sleep")
        .arg("300")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let identity = Identity::of(machine.id()).unwrap();
    write_pid_file(&making.pid(), &identity).unwrap();
    bench.ok(&["delete", "--yes"]);
    let ended = eventually("its machine ends", Duration::from_secs(60), || {
        machine.try_wait().unwrap()
    });
    assert!(!ended.success(), "{ended}");
    assert!(!making.dir().exists());
}

/// Commands that need no machine, killed wherever they are.
#[test]
fn records_survive_commands_that_are_killed_at_random_points() {
    let bench = Bench::new(Accel::Tcg, 16);
    let commands: [&[&str]; 5] = [
        &["config", "set", "memory", "1g"],
        &["config", "unset", "memory"],
        &["profile", "cadet"],
        &["stop"],
        &["list"],
    ];
    let began = Instant::now();
    for command in &commands[..3] {
        bench.run(command);
    }
    let usual = began.elapsed() / 3;
    for number in 0..times("CADET_KILLS", 10) {
        let command = commands[number as usize % commands.len()];
        let mut child = bench
            .command(command)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(usual.mul_f64(point(number)));
        // It may have ended before.
        let _ = child.kill();
        child.wait().unwrap();
        let list = bench.ok(&["list"]);
        assert!(list.out.contains("cadet"), "after {command:?}: {list}");
        let set = bench.run(&["config", "view"]);
        assert!(set.code == 0, "after {command:?}: {set}");
        assert_eq!(bench.is_understood(), "Stopped", "after {command:?}");
    }
    bench.ok(&["delete", "--yes"]);
}

#[test]
fn a_delete_that_is_killed_at_random_points_is_done_by_the_next() {
    for number in 0..times("CADET_KILLS", 5) {
        let bench = Bench::new(Accel::Tcg, 16);
        let began = Instant::now();
        bench.run(&["status"]);
        // A delete takes longer than a look.
        let usual = began.elapsed() * 3;
        let mut child = bench
            .command(&["delete", "--yes"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(usual.mul_f64(point(number)));
        let _ = child.kill();
        child.wait().unwrap();
        let again = bench.run(&["delete", "--yes"]);
        if again.code != 0 {
            again.fails_with("GUEST_NOT_FOUND", 85);
        }
        assert!(bench.record().is_none());
        assert!(!bench.files().dir().exists());
        assert!(bench.ok(&["list"]).out.contains("No profiles"));
    }
}
