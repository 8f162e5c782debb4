//! The room: namespaces of the server, of the switch and of each learner, and what they are
//! joined by. All of it goes when it is dropped.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::{Options, Result};

/// Address of the server.
pub const SERVER: &str = "10.77.0.1";
const SWITCH: &str = "cadet-bc-switch";
pub const SPACE: &str = "cadet-bc-server";
/// The server's end of the link.
const LINK: &str = "up";

pub struct Room(());

/// Name of a learner's namespace.
pub fn learner(n: usize) -> String {
    format!("cadet-bc-{n}")
}

impl Room {
    pub fn new(options: &Options) -> Result<Self> {
        clear();
        let room = Self(());
        let mut all = format!("netns add {SPACE}\nnetns add {SWITCH}\n");
        for n in 0..options.learners {
            // Writing to a String cannot fail.
            let _ = writeln!(all, "netns add {}", learner(n));
        }
        batch(None, &all)?;
        let server = format!(
            "link set lo up\nlink add {LINK} type veth peer name {LINK} netns {SWITCH}\n\
             addr add {SERVER}/16 dev {LINK}\nlink set {LINK} up\n"
        );
        batch(Some(SPACE), &server)?;
        let mut switch = format!(
            "link add room type bridge\nlink set room up\n\
             link set {LINK} master room\nlink set {LINK} up\n"
        );
        for n in 0..options.learners {
            let name = learner(n);
            let _ = writeln!(
                switch,
                "link add l{n} type veth peer name eth0 netns {name}"
            );
            let _ = writeln!(switch, "link set l{n} master room\nlink set l{n} up");
        }
        batch(Some(SWITCH), &switch)?;
        for n in 0..options.learners {
            let address = format!("10.77.{}.{}", 1 + n / 250, 1 + n % 250);
            let own = format!("addr add {address}/16 dev eth0\nlink set eth0 up\n");
            batch(Some(&learner(n)), &own)?;
        }
        room.shape(options)?;
        Ok(room)
    }

    /// The link carries so much, loses some of it and delivers some of it late.
    fn shape(&self, options: &Options) -> Result<()> {
        let rate = format!("{}mbit", options.mbit);
        tc(&[
            "qdisc", "add", "dev", LINK, "root", "handle", "1:", "tbf", "rate", &rate, "burst",
            "128kb", "latency", "60ms",
        ])?;
        let loss = format!("{}%", options.loss);
        tc(&[
            "qdisc", "add", "dev", LINK, "parent", "1:1", "handle", "10:", "netem", "delay", "4ms",
            "loss", &loss, "reorder", "1%", "25%", "limit", "2000",
        ])
    }

    /// Cuts the link, or mends it: both ways, and nobody is told.
    pub fn cut(&self, cut: bool) -> Result<()> {
        let line = if cut {
            format!("link set {LINK} nomaster\n")
        } else {
            format!("link set {LINK} master room\n")
        };
        batch(Some(SWITCH), &line)
    }

    /// Bytes that have left the server.
    pub fn sent(&self) -> Result<u64> {
        let out = Command::new("ip")
            .args(["-n", SPACE, "-s", "-j", "link", "show", "dev", LINK])
            .output()?;
        let read: serde_json::Value = serde_json::from_slice(&out.stdout)?;
        read[0]["stats64"]["tx"]["bytes"]
            .as_u64()
            .ok_or_else(|| format!("ip does not tell: {read}").into())
    }
}

fn clear() {
    for name in (0..200).map(learner).chain([SPACE.into(), SWITCH.into()]) {
        // Most of them are not there.
        let _ = Command::new("ip")
            .args(["netns", "del", &name])
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        clear();
    }
}

fn tc(arguments: &[&str]) -> Result<()> {
    let done = Command::new("tc")
        .args(["-n", SPACE])
        .args(arguments)
        .output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    Err(format!("tc {arguments:?}: {said}").into())
}

fn batch(space: Option<&str>, lines: &str) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(space) = space {
        command.args(["-n", space]);
    }
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().ok_or("ip takes no input")?;
    input.write_all(lines.as_bytes())?;
    drop(input);
    if child.wait()?.success() {
        return Ok(());
    }
    Err(format!("ip -batch failed in {space:?}").into())
}
