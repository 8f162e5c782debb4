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
const LINK: &str = "uplink";

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

    /// The link carries so much, loses some of it and delivers some of it early. All of it with
    /// what most kernels have: netem is missing in many.
    fn shape(&self, options: &Options) -> Result<()> {
        let rate = format!("{}mbit", options.mbit);
        // Segments as a card would send them; a lost one would be forty of them otherwise.
        batch(
            Some(SPACE),
            &format!("link set dev {LINK} gso_max_segs 1\n"),
        )?;
        let on_link = |kind: &str, words: &str| {
            let words = words.replace("RATE", &rate);
            let all = [kind, "add", "dev", LINK].into_iter();
            tc(&all.chain(words.split(' ')).collect::<Vec<_>>())
        };
        on_link("qdisc", "root handle 1: htb default 10")?;
        on_link(
            "class",
            "parent 1: classid 1:1 htb rate RATE ceil RATE burst 64kb",
        )?;
        // What waits: some 60 ms at 100 Mbit/s. What is in the second class overtakes it.
        for (class, share) in [("1:10", 90), ("1:20", 10)] {
            // In kilobits, a percentage of megabits; the second always gets its share.
            let own = options.mbit * share * 10;
            let words =
                format!("parent 1:1 classid {class} htb rate {own}kbit ceil RATE burst 64kb");
            on_link("class", &words)?;
            on_link("qdisc", &format!("parent {class} pfifo limit 500"))?;
        }
        nft(
            SPACE,
            &format!(
                "table inet disorder {{ chain out {{\n\
                 type filter hook postrouting priority 0;\n\
                 oifname \"{LINK}\" numgen random mod 100 < 1 meta priority set 1:20\n}}\n}}\n"
            ),
        )?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few percent
        let lost = (options.loss * 1000.0).round() as u32;
        if lost == 0 {
            return Ok(());
        }
        nft(
            SWITCH,
            &format!(
                "table netdev loss {{ chain in {{\n\
                 type filter hook ingress device \"{LINK}\" priority 0;\n\
                 numgen random mod 100000 < {lost} drop\n}}\n}}\n"
            ),
        )
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

fn nft(space: &str, rules: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", space, "nft", "-f", "-"]);
    fed(command, rules).map_err(|error| format!("nft in {space}: {error}").into())
}

fn batch(space: Option<&str>, lines: &str) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(space) = space {
        command.args(["-n", space]);
    }
    command.args(["-batch", "-"]);
    fed(command, lines).map_err(|error| format!("ip -batch in {space:?}: {error}").into())
}

/// Runs a command with `lines` as its input.
fn fed(mut command: Command, lines: &str) -> Result<()> {
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().ok_or("ip takes no input")?;
    input.write_all(lines.as_bytes())?;
    drop(input);
    if child.wait()?.success() {
        return Ok(());
    }
    Err("it failed, as it says above".into())
}
