//! Every state in which QEMU may be found is understood, and led on to the next command.

use std::process::Stdio;
use std::time::Duration;

use cadet_vm::Accel;

use super::Bench;
use super::qemu::Qemu;
use crate::support::eventually;

/// For what happens at once on a quiet computer.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn whatever_qemu_says_is_told_and_can_be_ended() {
    for (status, word, hears) in [
        ("running", "Running", true),
        ("paused", "Paused", true),
        // After a state was written; the moment before that.
        ("postmigrate", "Paused", true),
        ("finish-migrate", "Paused", true),
        ("io-error", "Paused", true),
        ("inmigrate", "Paused", false),
        ("internal-error", "Paused", false),
        ("a word of tomorrow", "Paused", false),
    ] {
        let mut bench = Bench::new(Accel::Tcg, 16);
        let qemu = Qemu::new(&mut bench, status);
        assert_eq!(bench.is_understood(), word, "{status}");
        let told = bench.run(&["status"]).out;
        assert!(told.contains("next: cadet "), "{status}: {told}");
        assert_eq!(told.contains("  why "), word == "Paused", "{told}");
        bench.ok(&["stop", "--poweroff", "--timeout", "1s"]);
        assert!(qemu.has_ended(), "{status}");
        // Only one that does not hear the power button is switched off.
        assert_eq!(qemu.heard("quit"), !hears, "{status}");
        assert_eq!(bench.is_understood(), "Stopped", "{status}");
    }
}

/// The host's disk is full: nothing is switched off, and the way out is told.
#[test]
fn a_guest_without_room_waits_for_it() {
    let mut bench = Bench::new(Accel::Tcg, 16);
    let qemu = Qemu::new(&mut bench, "io-error").has_no_room();
    let told = bench.run(&["status"]).out;
    assert!(told.contains("is the disk full?"), "{told}");
    for verb in ["start", "unpause"] {
        let run = bench.run(&[verb]);
        run.fails_with("HOST_DISK_FULL", 31);
        assert!(run.err.contains("cadet start"), "{run}");
    }
    assert!(!qemu.has_ended() && !qemu.heard("quit"));
    assert_eq!(qemu.status(), "io-error");
    // Whoever wants it off gets it off, without waiting for a guest that cannot hear.
    let stop = bench.ok(&["stop", "--timeout", "10m"]);
    assert!(qemu.has_ended(), "{stop}");
}

#[test]
fn a_guest_that_waited_for_room_goes_on_where_it_was() {
    for verb in ["start", "unpause"] {
        let mut bench = Bench::new(Accel::Tcg, 16);
        let qemu = Qemu::new(&mut bench, "io-error");
        // Nobody is behind its ssh port, so the command would wait for long.
        let mut child = bench
            .command(&[verb])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("it goes on", PATIENCE, || {
            (qemu.status() == "running").then_some(())
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!qemu.heard("quit"), "{verb}");
        assert_eq!(bench.is_understood(), "Running", "{verb}");
    }
}

/// A start was killed while it woke a suspended machine: what was suspended stays that.
#[test]
fn half_a_wake_is_none() {
    for status in ["inmigrate", "paused"] {
        let mut bench = Bench::new(Accel::Tcg, 16);
        let qemu = Qemu::new(&mut bench, status);
        std::fs::write(bench.files().suspended(), "a state").unwrap();
        std::fs::write(bench.files().suspended_note(), "{}").unwrap();
        let stop = bench.ok(&["stop"]);
        assert!(stop.out.contains("uspended"), "{status}: {stop}");
        assert!(qemu.has_ended() && !qemu.heard("cont"), "{status}");
        assert_eq!(bench.is_understood(), "Suspended", "{status}");
        assert_eq!(
            std::fs::read(bench.files().suspended()).unwrap(),
            b"a state"
        );
    }
}
