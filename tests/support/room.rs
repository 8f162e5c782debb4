//! A room and nothing else: the networks of a teacher's and of a learner's laptop, joined by an
//! access point that can keep its clients apart. They reach each other and nobody else, and no
//! multicast gets through, as in school networks: a code is enough, nothing is discovered.
//!
//! ```text
//!  teacher: wlan0 10.99.0.1 ── bridge, isolated or not ── wlan0 10.99.0.2 :learner
//! ```
//! Network namespaces: as root, or else in a user namespace of their own.
#![allow(dead_code)] // each suite uses its part

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The teacher's address in the room.
pub const TEACHER: &str = "10.99.0.1";
/// The learner's.
pub const LEARNER: &str = "10.99.0.2";

/// One computer's network. It is there as long as a process lives in it, which ends with this.
pub struct Laptop {
    child: Child,
    as_root: bool,
}

impl Laptop {
    /// A network with nothing in it.
    pub fn alone() -> Self {
        let as_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let mut command = Command::new("unshare");
        command.arg(if as_root { "-n" } else { "-rn" });
        Self::hold(command, as_root)
    }

    /// Another one of the same user namespace, so that cables can go from one to the other.
    fn beside(other: &Self) -> Self {
        if other.as_root {
            return Self::alone();
        }
        let mut command = Command::new("nsenter");
        command.args(["-t", &other.id().to_string()]);
        command.args(["-U", "--preserve-credentials", "--", "unshare", "-n"]);
        Self::hold(command, false)
    }

    fn hold(mut command: Command, as_root: bool) -> Self {
        // It says that it is there, and lives until its input ends.
        command.args(["sh", "-c", "echo; exec cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "\n", "this kernel makes no network namespaces");
        Self { child, as_root }
    }

    /// Process that lives in it: `/proc/ID/ns/net` is the namespace.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn nsenter(&self) -> Command {
        let mut command = Command::new(nsenter());
        command.args(["-t", &self.id().to_string(), "-n"]);
        if !self.as_root {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.arg("--");
        command
    }

    /// The same command in this network.
    pub fn enter(&self, inner: &Command) -> Command {
        let mut command = self.nsenter();
        command.arg(inner.get_program()).args(inner.get_args());
        command.env_clear().stdin(Stdio::null());
        for (name, value) in inner.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command
    }

    /// A script in this network; what it says.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let mut command = self.nsenter();
        let ran = command.args(["sh", "-eu", "-c", script]).output().unwrap();
        let err = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{script}: {err}");
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }
}

/// Where nsenter is. A command is looked for in the PATH it is given, and a learner's may have
/// QEMU in it and nothing else.
fn nsenter() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join("nsenter"));
    let found = places.find(|place| place.is_file());
    found.expect("nsenter, of util-linux")
}

impl Drop for Laptop {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// See the module's opening.
pub struct Room {
    air: Laptop,
    pub teacher: Laptop,
    pub learner: Laptop,
}

impl Room {
    pub fn new() -> Self {
        let air = Laptop::alone();
        let (teacher, learner) = (Laptop::beside(&air), Laptop::beside(&air));
        air.sh("ip link add air type bridge; ip link set air up");
        for (port, laptop, address) in [
            ("teacher", &teacher, TEACHER),
            ("learner", &learner, LEARNER),
        ] {
            air.sh(&format!(
                "ip link add {port} type veth peer name wlan0 netns {}
                 ip link set {port} master air; ip link set {port} up",
                laptop.id()
            ));
            laptop.sh(&format!(
                "ip link set lo up; ip addr add {address}/24 dev wlan0
                 ip link set wlan0 multicast off; ip link set wlan0 up"
            ));
        }
        Self {
            air,
            teacher,
            learner,
        }
    }

    /// Whether the access point keeps its clients apart, as those of guest networks do.
    pub fn isolates(&self, on: bool) {
        let on = if on { "on" } else { "off" };
        for port in ["teacher", "learner"] {
            let set = format!("ip link set {port} type bridge_slave isolated {on}");
            self.air.sh(&set);
        }
    }
}
