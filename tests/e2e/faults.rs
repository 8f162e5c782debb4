//! What may befall a machine with all that runs in it, played at the end of `frozen`: commands are
//! killed (`CADET_KILLS` points, 3 unless said), the power fails under load (`CADET_CUTS` times, 1
//! unless said), clocks jump by a year, QEMU is another one after a stop, the guest's disk fills
//! up.

use std::process::Stdio;
use std::time::{Duration, Instant};

use cadet_state::{ProfileName, ProfilePaths};
use cadet_vm::process::read_pid_file;
use cadet_vm::{Arch, Emulator};

use crate::areas::load::{self, After};
use crate::frozen::{Frozen, MINUTES};
use crate::support::{Run, eventually};
use crate::upgraded::upgraded;

/// Plays all of it on a running profile of one machine, in which the counting pod runs.
pub fn play(f: &Frozen, profile: &str) {
    let stage = Stage { f, profile };
    stage.commands_are_killed();
    stage.the_power_fails();
    stage.clocks_jump();
    stage.qemu_is_another();
    // Last: a node whose disk is full drives its pods away.
    stage.the_disk_fills_up();
}

struct Stage<'a> {
    f: &'a Frozen,
    profile: &'a str,
}

impl Stage<'_> {
    fn words<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        [&["-p", self.profile][..], args].concat()
    }

    #[track_caller]
    fn timed(&self, args: &[&str]) -> Run {
        self.f.timed(&self.words(args))
    }

    fn files(&self) -> ProfilePaths {
        let name = ProfileName::parse(self.profile).expect("a name");
        self.f.home.state().profile(&name)
    }

    /// What `status` says must be something it knows.
    #[track_caller]
    fn is_understood(&self) -> Run {
        let status = self.f.home.run(&self.words(&["status"]));
        assert!((0..=7).contains(&status.code), "{status}");
        assert!(!status.err.contains("panicked"), "{status}");
        status
    }

    /// kill -9 of the program; the next command goes on from there, and what ran still runs.
    fn commands_are_killed(&self) {
        let kills = times("CADET_KILLS", 3);
        self.f.tell(&format!("{kills} commands are killed"));
        self.timed(&["snapshot", "create", "kept"]);
        let commands: [&[&str]; 6] = [
            &["stop"],
            &["start"],
            &["snapshot", "create", "cut"],
            &["pause"],
            &["snapshot", "restore", "kept", "--yes"],
            &["stop", "--poweroff"],
        ];
        for number in 0..kills {
            let command = commands[number as usize % commands.len()];
            let (container, _) = self.f.container(self.profile);
            let counted = self.f.counted(self.profile);
            if command[0] == "start" {
                self.timed(&["stop"]);
            }
            // From before its first step to after its last.
            let after = Duration::from_secs(4).mul_f64(point(number));
            let began = Instant::now();
            let mut child = self
                .f
                .home
                .command(&self.words(command))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("cadet runs");
            std::thread::sleep(after.saturating_sub(began.elapsed()));
            // It may have ended before.
            let _ = child.kill();
            child.wait().expect("it ended");
            let status = self.is_understood();
            self.f
                .tell(&format!("{command:?} killed after {after:?}:\n{status}"));
            if command.contains(&"--poweroff") {
                // A guest that was told to shut down does so, whoever still waits for it.
                self.timed(command);
            }
            self.timed(&["start"]);
            let (now, _) = self.f.container(self.profile);
            // Those two end what runs, as they should.
            if !command.contains(&"restore") && !command.contains(&"--poweroff") {
                assert_eq!(now, container, "{command:?} killed after {after:?}");
                assert!(self.f.counted(self.profile) >= counted, "{command:?}");
            }
            // Half a snapshot is none, and its name is free.
            if command.contains(&"cut") {
                let cut = self.f.home.run(&self.words(&["snapshot", "delete", "cut"]));
                assert!([0, 85].contains(&cut.code), "{cut}");
                self.timed(&["snapshot", "create", "cut"]);
                self.timed(&["snapshot", "delete", "cut"]);
            }
        }
        self.timed(&["snapshot", "delete", "kept"]);
    }

    /// The host's power fails while somebody writes: QEMU is gone from one instruction to the
    /// next. What was acknowledged is there after the next start.
    fn the_power_fails(&self) {
        let cuts = times("CADET_CUTS", 1);
        self.f.tell(&format!("the power fails {cuts} times"));
        let kubeconfig = self.files().kubeconfig();
        for number in 0..cuts {
            let death = || {
                let qemu = read_pid_file(&self.files().pid()).expect("a process");
                qemu.expect("QEMU runs").kill();
            };
            let round = format!("cut-{number}");
            let kept = load::under_load(&kubeconfig, &round, After::Ends, death);
            eventually("status notices", MINUTES, || {
                let status = self.is_understood();
                (status.code == 7 && status.out.contains("why")).then_some(())
            });
            self.timed(&["start"]);
            load::nothing_is_lost(&kubeconfig, &kept);
            self.f.container(self.profile);
            let maps = ["delete", "configmaps", "--all"];
            let gone = self.f.kubectl(self.profile, &maps);
            assert!(gone.code == 0, "{gone}");
        }
    }

    /// The machine's clock is a year ahead, then a year behind; its keeper puts it right by the
    /// board's, which follows this computer's.
    fn clocks_jump(&self) {
        self.f
            .tell("the clock jumps by a year, forwards and backwards");
        let (container, restarts) = self.f.container(self.profile);
        for jump in ["+1 year", "-1 year"] {
            self.f.inside(self.profile, &format!("date -s '{jump}'"));
            eventually("the clock is right again", MINUTES, || {
                (self.f.clock_off(self.profile) <= 3).then_some(())
            });
            eventually("the node is ready", MINUTES, || {
                let path = "jsonpath={.items[0].status.conditions[?(@.type=='Ready')].status}";
                let node = self.f.kubectl(self.profile, &["get", "nodes", "-o", path]);
                (node.out == "True").then_some(())
            });
        }
        let told = self.is_understood().out;
        assert!(told.contains("clock put back"), "{told}");
        assert_eq!(self.f.container(self.profile), (container, restarts));
        // What is written now is of now.
        let made = self
            .f
            .kubectl(self.profile, &["create", "configmap", "of-now"]);
        assert!(made.code == 0, "{made}");
    }

    /// Not a block is free in the machine; what was acknowledged meanwhile is kept, and all goes
    /// on when there is room again.
    fn the_disk_fills_up(&self) {
        self.f.tell("the machine's disk is full");
        // Most of it at once, the rest block by block.
        let fill = "fallocate -l $(($(stat -f -c %f /) * $(stat -f -c %S /) / 100 * 99)) /fill; \
                    dd if=/dev/zero of=/rest bs=64k 2>/dev/null; sync; true";
        self.f.inside(self.profile, fill);
        let mut acknowledged = Vec::new();
        for number in 0..10 {
            let name = format!("full-{number}");
            let made = self.f.kubectl(
                self.profile,
                &["create", "configmap", &name, "--request-timeout=20s"],
            );
            if made.code == 0 {
                acknowledged.push(name);
            }
        }
        self.is_understood();
        self.f.tell(&format!(
            "{} of 10 writes were acknowledged with a full disk",
            acknowledged.len()
        ));
        self.f.inside(self.profile, "rm /fill /rest; sync");
        eventually("writes go through again", MINUTES, || {
            let made = self
                .f
                .kubectl(self.profile, &["create", "configmap", "room"]);
            (made.code == 0 || made.err.contains("AlreadyExists")).then_some(())
        });
        // And they are on the disk, not in somebody's memory.
        self.f
            .inside(self.profile, "systemctl kill -s KILL cadet-server");
        for name in acknowledged.iter().map(String::as_str).chain(["room"]) {
            eventually("the server is back", MINUTES, || {
                let found = self.f.kubectl(self.profile, &["get", "configmap", name]);
                assert!(!found.err.contains("NotFound"), "{name}: {found}");
                (found.code == 0).then_some(())
            });
        }
    }

    /// QEMU was upgraded between stop and start: the state is of another, the disk boots.
    fn qemu_is_another(&self) {
        self.f.tell("QEMU is another one after a stop");
        let (container, _) = self.f.container(self.profile);
        self.timed(&["stop"]);
        let arch = Arch::host().expect("a guest");
        let path = std::env::var("PATH").unwrap_or_default();
        let real = Emulator::find(arch, Some(path.as_ref())).expect("QEMU");
        let bin = self.f.home.dir.path().join("upgraded");
        upgraded(&real, "7.2.99", &bin);
        let path = format!("{}:{path}", bin.display());
        let mut start = self.f.home.command(&self.words(&["start"]));
        let start = Run::of(start.env("PATH", &path));
        self.f.tell(&start.to_string());
        assert_eq!(start.code, 0);
        let said = format!("{}{}", start.out, start.err);
        assert!(said.contains("cannot be woken"), "{start}");
        assert!(said.contains("7.2.99"), "{start}");
        eventually("the counter was started anew", MINUTES, || {
            (self.f.container(self.profile).0 != container).then_some(())
        });
        // And back again, while it runs: it is not suspended under another name.
        let stop = self.timed(&["stop"]);
        let said = format!("{}{}", stop.out, stop.err);
        assert!(said.contains("7.2.99"), "{stop}");
        assert!(said.contains("shutting down instead"), "{stop}");
        self.timed(&["start"]);
        self.f.container(self.profile);
    }
}

/// How often something is played; a few times unless the environment says more.
fn times(variable: &str, few: u32) -> u32 {
    let said = std::env::var(variable).ok();
    said.map_or(few, |n| n.parse().expect("a number of times"))
}

/// Points between 0 and 1, spread evenly however many there are (the golden ratio's multiples).
fn point(number: u32) -> f64 {
    (f64::from(number + 1) * 0.618_033_988_75).fract()
}
