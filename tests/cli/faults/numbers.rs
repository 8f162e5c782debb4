//! A real QEMU whose tiny guest counts, suspended and woken by commands that are killed at random
//! points: no number is lost, and none is said twice. `CADET_KILLS=100` plays a hundred points; a
//! few are played otherwise, each some seconds.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cadet_vm::{Arch, Emulator, HostOs, Machine, accel, overlay, qemu};

use super::{Bench, point, times};
use crate::support::eventually;
use crate::support::tiny::{counting, follows};

/// For a word of the guest, on a busy computer under emulation.
const PATIENCE: Duration = Duration::from_secs(120);
/// What `start` refuses less of.
const MEMORY: u64 = 768;

/// Ends QEMU whatever becomes of the test.
struct Counter {
    bench: Bench,
    _machine: Machine,
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.bench.run(&["delete", "--yes"]);
    }
}

impl Counter {
    /// Boots it as `cadet start` would.
    fn new() -> Self {
        let search = std::env::var_os("PATH");
        let emulator = Emulator::find(Arch::Amd64, search.as_deref()).expect("QEMU");
        let scratch = tempfile::tempdir().unwrap();
        let accel = accel::choose(&emulator, HostOs::current(), scratch.path());
        let accel = accel.unwrap().accel;
        let bench = Bench::new(accel, MEMORY);
        let base = bench.profile.base.clone().unwrap();
        let files = bench.files();
        std::fs::write(&base.kernel, counting()).unwrap();
        std::fs::write(files.seed(), vec![0_u8; 1 << 20]).unwrap();
        let img = qemu::find_program("qemu-img", search.as_deref()).unwrap();
        let made = Command::new(&img)
            .args(["create", "-q", "-f", "qcow2"])
            .arg(&base.disk)
            .arg("8M")
            .status();
        assert!(made.unwrap().success());
        overlay::create(&img, &base.disk, &files.disk(), 16 << 20).unwrap();
        let config = bench.config(accel);
        let machine = block_on(Machine::start(config, &emulator)).unwrap();
        Self {
            bench,
            _machine: machine,
        }
    }

    /// What this process of QEMU's guest has said.
    fn said(&self) -> Vec<u8> {
        std::fs::read(self.bench.files().serial_log()).unwrap_or_default()
    }

    #[track_caller]
    fn says_something(&self) -> Vec<u8> {
        eventually("the guest counts", PATIENCE, || {
            Some(self.said()).filter(|said| !said.is_empty())
        })
    }

    /// Nobody listens behind the keeper's socket in this guest; whoever waited would wait for
    /// long.
    fn hide_keeper(&self) {
        cadet_vm::process::remove(&self.bench.files().keeper()).unwrap();
    }

    /// Runs a command and kills it after `part` of `usual`.
    fn killed(&self, args: &[&str], usual: Duration, part: f64) {
        let mut child = self.begin(args);
        std::thread::sleep(usual.mul_f64(part));
        // It may have ended before.
        let _ = child.kill();
        child.wait().unwrap();
    }

    fn begin(&self, args: &[&str]) -> std::process::Child {
        let mut command = self.bench.command(args);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// Suspends it; the last number said, and how long it took.
    #[track_caller]
    fn stop(&self) -> (u8, Duration) {
        self.hide_keeper();
        let began = Instant::now();
        let stop = self.bench.ok(&["stop"]);
        assert!(stop.out.contains("uspended"), "{stop}");
        let last = *self.said().last().expect("it has counted");
        (last, began.elapsed())
    }

    /// Starts it until it counts; no ssh ever answers, so the command is then killed.
    #[track_caller]
    fn start(&self) -> (Vec<u8>, Duration) {
        let began = Instant::now();
        let mut child = self.begin(&["start"]);
        let said = self.says_something();
        let took = began.elapsed();
        child.kill().unwrap();
        child.wait().unwrap();
        (said, took)
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let threads = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    threads.unwrap().block_on(work)
}

#[test]
fn no_number_is_lost_whatever_is_killed() {
    let counter = Counter::new();
    follows(0x40, &counter.says_something());
    // Once undisturbed, to know how long it takes. The log of a start is emptied by the next.
    let (last, stopping) = counter.stop();
    std::fs::remove_file(counter.bench.files().serial_log()).unwrap();
    let (said, starting) = counter.start();
    follows(last, &said);
    for number in 0..times("CADET_KILLS", 3) {
        let part = point(number);
        counter.hide_keeper();
        counter.killed(&["stop"], stopping, part);
        let seen = counter.bench.is_understood();
        assert!(
            ["Running", "Paused", "Suspended"].contains(&seen.as_str()),
            "stop killed at {part}: {seen}"
        );
        let (last, _) = counter.stop();
        assert_eq!(counter.bench.is_understood(), "Suspended");
        std::fs::remove_file(counter.bench.files().serial_log()).unwrap();

        counter.killed(&["start"], starting, part);
        let seen = counter.bench.is_understood();
        assert!(
            ["Running", "Paused", "Suspended"].contains(&seen.as_str()),
            "start killed at {part}: {seen}"
        );
        let (said, _) = counter.start();
        follows(last, &said);
    }
    // Whatever was killed, nothing is left.
    counter.bench.ok(&["delete", "--yes"]);
    assert!(!counter.bench.files().dir().exists());
}
