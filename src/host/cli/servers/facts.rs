//! What a server is and has: a script that looks, and what may be made of its answers.
//!
//! The script runs as the user who signs in, changes nothing, and prints lines of a key, a
//! tab and a value. All judging is done here, over all servers, before any is touched.

use std::net::Ipv4Addr;

use cadet_tunnel::exec::quote;

use crate::error::CliError;

/// Port of the API server and port of a node's agent, as everywhere.
const API: u16 = 6443;
const AGENT: u16 = 10250;
/// Ports of visitors of Ingresses.
const VISITORS: [u16; 2] = [80, 443];
/// Least memory in MiB: what Linux tells of a machine that has 768.
const LEAST_MEMORY: u64 = 640;
/// Least free space in MiB: Docker, the program, the first images.
const LEAST_DISK: u64 = 2048;
/// Where a profile leaves its mark.
pub const MARK: &str = "/etc/cadet/mark";

/// Nothing here may ask or wait: `sudo -n` refuses instead of asking for a password.
const LOOK: &str = r#"
LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL PATH
say() { printf '%s\t%s\n' "$1" "$2"; }
say uid "$(id -u)"
if sudo -n true >/dev/null 2>&1; then say sudo yes; fi
(
    . /etc/os-release
    say id "${ID:-}"
    say like "${ID_LIKE:-}"
    say system "${PRETTY_NAME:-}"
) 2>/dev/null
say machine "$(uname -m)"
say cpus "$(nproc)"
say memory "$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo)"
say disk "$(df -Pk /var/lib | awk 'NR == 2 { print $4 }')"
if [ -d /run/systemd/system ]; then say systemd yes; fi
if command -v apt-get >/dev/null; then say apt yes; fi
if command -v dockerd >/dev/null; then say docker yes; fi
if [ -r /etc/cadet/mark ]; then say mark "$(head -n 1 /etc/cadet/mark)"; fi
for file in /etc/cadet/node.json /usr/local/bin/cadet-node \
    /etc/systemd/system/cadet-server.service /etc/systemd/system/cadet-agent.service; do
    if [ -e "$file" ]; then say cadet "$file"; fi
done
for file in /etc/kubernetes/kubelet.conf /etc/kubernetes/admin.conf /etc/rancher/k3s \
    /etc/rancher/rke2 /var/snap/microk8s /var/lib/k0s; do
    if [ -e "$file" ]; then say other "$file"; fi
done
ss -Hltn 2>/dev/null | awk '{ n = split($4, part, ":"); print "port\t" part[n] }' | sort -u
ip -4 -o addr show 2>/dev/null | awk '{ print "card\t" $4 }'
say source "$(ip -4 route get 192.0.2.1 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p')"
set -- ${SSH_CONNECTION:-}
say called "${3:-}"
"#;

/// The line that looks, whatever the user's own shell is.
pub fn look() -> String {
    format!("exec sh -c {}", quote(LOOK))
}

/// An address of a server with the network it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Card {
    pub address: Ipv4Addr,
    pub prefix: u8,
}

impl Card {
    /// Whether another address is reached without a router in between.
    pub fn reaches(&self, other: Ipv4Addr) -> bool {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(self.prefix))
            .unwrap_or(0);
        u32::from(self.address) & mask == u32::from(other) & mask
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub root: bool,
    pub sudo: bool,
    /// ID and ID_LIKE of os-release(5).
    pub ids: Vec<String>,
    pub system: String,
    pub machine: String,
    pub cpus: u32,
    pub memory_mib: u64,
    pub disk_mib: u64,
    pub systemd: bool,
    pub apt: bool,
    pub docker: bool,
    pub mark: Option<String>,
    /// Files of a Cadet's.
    pub cadet: Vec<String>,
    /// Files of another Kubernetes.
    pub other: Vec<String>,
    /// TCP ports somebody listens on.
    pub ports: Vec<u16>,
    /// Its address among other nodes.
    pub card: Option<Card>,
}

/// Reads what the script said; what it did not say is as if it were not there.
pub fn read(text: &str) -> Facts {
    let mut facts = Facts::default();
    let (mut cards, mut called, mut source) = (Vec::new(), None, None);
    for line in text.lines() {
        let Some((key, value)) = line.split_once('\t') else {
            continue;
        };
        let value = value.trim();
        let number = || value.parse::<u64>().unwrap_or_default();
        match key {
            "uid" => facts.root = value == "0",
            "sudo" => facts.sudo = true,
            "id" | "like" => facts
                .ids
                .extend(value.split_whitespace().map(str::to_owned)),
            "system" => facts.system = shown(value),
            "machine" => facts.machine = shown(value),
            "cpus" => facts.cpus = u32::try_from(number()).unwrap_or_default(),
            "memory" => facts.memory_mib = number() / 1024,
            "disk" => facts.disk_mib = number() / 1024,
            "systemd" => facts.systemd = true,
            "apt" => facts.apt = true,
            "docker" => facts.docker = true,
            "mark" => facts.mark = Some(value.to_owned()),
            "cadet" => facts.cadet.push(shown(value)),
            "other" => facts.other.push(shown(value)),
            "port" => facts.ports.extend(value.parse::<u16>()),
            "card" => cards.extend(card(value)),
            "called" => called = value.parse::<Ipv4Addr>().ok(),
            "source" => source = value.parse::<Ipv4Addr>().ok(),
            _ => {}
        }
    }
    // The address at which we reached it, unless somebody translated it on the way; else the one
    // by which it reaches others.
    let of = |address: Option<Ipv4Addr>| cards.iter().find(|c| Some(c.address) == address);
    let usable = |card: &&Card| !card.address.is_loopback();
    facts.card = of(called).filter(usable).or(of(source)).copied();
    facts
}

fn card(text: &str) -> Option<Card> {
    let (address, prefix) = text.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    Some(Card {
        address: address.parse().ok()?,
        prefix,
    })
}

/// What a server says of itself goes to a terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

/// How a server stands to the profile that wants it.
pub struct Wanted<'a> {
    /// As the user names it: `ann@box`.
    pub name: &'a str,
    /// The profile's mark.
    pub mark: &'a str,
    /// Whether it is to run the control plane.
    pub is_first: bool,
    /// What `cadet-node` here is made for, as `uname -m` says it.
    pub program: &'a str,
}

/// What keeps a server from becoming a node: the first of it, with the next command.
///
/// # Errors
/// SERVER_SUDO, SERVER_SYSTEM, SERVER_ARCH, SERVER_SMALL, SERVER_TAKEN, SERVER_ADDRESS.
pub fn judge(facts: &Facts, wanted: &Wanted<'_>) -> Result<(), CliError> {
    let name = wanted.name;
    let again = "then repeat the command";
    if !facts.root && !facts.sudo {
        return Err(CliError::new(
            "SERVER_SUDO",
            format!("{name} may not become root without a password"),
        )
        .why("Cadet installs services there; it asks nobody for a password, and keeps none")
        .fix(format!(
            "ssh -t {} \"echo \\\"\\$(id -un) ALL=(ALL) NOPASSWD:ALL\\\" | sudo tee /etc/sudoers.d/90-cadet-user\"      {again}\nor name root@… if root may sign in",
            ssh_words(name)
        )));
    }
    let is_known = |id: &String| ["debian", "ubuntu"].contains(&id.as_str());
    if !facts.ids.iter().any(is_known) || !facts.apt || !facts.systemd {
        let system = match facts.system.as_str() {
            "" => "an unknown system",
            system => system,
        };
        let missing = match (facts.apt, facts.systemd) {
            (true, true) => "",
            (false, _) => ", without apt-get",
            (true, false) => ", without systemd",
        };
        return Err(CliError::new(
            "SERVER_SYSTEM",
            format!("{name} runs {system}{missing}"),
        )
        .why("servers are set up with apt and systemd, on Debian and Ubuntu and what is made of them")
        .fix("cadet start      a machine on this computer needs no server"));
    }
    if facts.machine != wanted.program {
        return Err(CliError::new(
            "SERVER_ARCH",
            format!("{name} has a processor of kind {}", facts.machine),
        )
        .why(format!(
            "the cadet-node here is made for {}; CADET_NODE_BINARY names another",
            wanted.program
        ))
        .fix("CADET_NODE_BINARY=/path/to/its/cadet-node cadet start …"));
    }
    // A node of ours may fill its disk; it is one nevertheless.
    let is_small = facts.memory_mib < LEAST_MEMORY || facts.disk_mib < LEAST_DISK;
    if is_small && !is_ours(facts, wanted) {
        return Err(CliError::new(
            "SERVER_SMALL",
            format!(
                "{name} has {} MiB of memory and {} MiB free in /var/lib",
                facts.memory_mib, facts.disk_mib
            ),
        )
        .why("a node needs a machine of 768 MiB, and 2 GiB of disk for Docker and images")
        .fix(format!("ssh {} df -h /var/lib", ssh_words(name))));
    }
    taken(facts, wanted)?;
    if facts.card.is_none() {
        return Err(CliError::new(
            "SERVER_ADDRESS",
            format!("{name} has no IPv4 address towards others"),
        )
        .why("a node is reached by its IPv4 address; `ip -4 addr` there shows none that fits")
        .fix(format!("ssh {} ip -4 addr", ssh_words(name))));
    }
    Ok(())
}

fn is_ours(facts: &Facts, wanted: &Wanted<'_>) -> bool {
    facts.mark.as_deref() == Some(wanted.mark)
}

/// Refuses a server with a cluster of somebody else's.
fn taken(facts: &Facts, wanted: &Wanted<'_>) -> Result<(), CliError> {
    let name = wanted.name;
    if is_ours(facts, wanted) {
        return Ok(());
    }
    let (why, fix) = if let Some(file) = facts.cadet.first() {
        let of = match &facts.mark {
            Some(mark) => format!("it belongs to the profile {}", whose(mark)),
            None => "it was not put there by this profile".into(),
        };
        let fix = format!(
            "cadet delete -p NAME      where that profile is\nssh -t {} 'sudo cadet-node down --purge; sudo rm -rf /etc/cadet /usr/local/bin/cadet-node'      if nobody wants it any more",
            ssh_words(name)
        );
        (format!("{file} is there, and {of}"), fix)
    } else if let Some(mark) = &facts.mark {
        let fix = format!("ssh -t {} sudo rm {MARK}", ssh_words(name));
        (format!("{MARK} is of the profile {}", whose(mark)), fix)
    } else if let Some(file) = facts.other.first() {
        let fix = format!("ssh {} ls -d {file}", ssh_words(name));
        (format!("{file} is of another Kubernetes"), fix)
    } else {
        let needed = [API, AGENT];
        let needed = if wanted.is_first {
            &needed[..]
        } else {
            &needed[1..]
        };
        let Some(port) = needed.iter().find(|port| facts.ports.contains(port)) else {
            return Ok(());
        };
        let fix = format!("ssh -t {} sudo ss -ltnp", ssh_words(name));
        (format!("somebody listens on its port {port}"), fix)
    };
    Err(
        CliError::new("SERVER_TAKEN", format!("{name} has a cluster already"))
            .why(why)
            .fix(fix),
    )
}

/// The profile's name in a mark, for people.
pub fn whose(mark: &str) -> String {
    shown(mark.split_whitespace().next().unwrap_or_default())
}

/// What works, but in part.
pub fn warnings(facts: &Facts, wanted: &Wanted<'_>) -> Vec<String> {
    let ours = is_ours(facts, wanted);
    let mut taken: Vec<_> = VISITORS.to_vec();
    taken.retain(|port| wanted.is_first && !ours && facts.ports.contains(port));
    taken
        .iter()
        .map(|port| {
            format!(
                "{}: its port {port} is another program's; Ingresses are served there when it is free",
                wanted.name
            )
        })
        .collect()
}

/// Refuses servers that cannot lead to each other's pods; `cards` are names and addresses, the
/// first server first.
///
/// # Errors
/// SERVER_APART.
pub fn together(cards: &[(String, Card)]) -> Result<(), CliError> {
    for (index, (name, card)) in cards.iter().enumerate() {
        for (other, their) in &cards[..index] {
            if card.address == their.address {
                return Err(CliError::new(
                    "SERVER_APART",
                    format!("{other} and {name} both have the address {}", card.address),
                )
                .why("either they are one server, or each is in a network of its own")
                .fix(format!("ssh {} ip -4 addr", ssh_words(name))));
            }
            if !card.reaches(their.address) || !their.reaches(card.address) {
                return Err(CliError::new(
                    "SERVER_APART",
                    format!("{other} and {name} are not in one network"),
                )
                .why(format!(
                    "pods of other nodes are reached by plain routes; {} ({}/{}) and {} ({}/{}) have a router between them",
                    other, their.address, their.prefix, name, card.address, card.prefix
                ))
                .fix("name the servers by their addresses in a network they share"));
            }
        }
    }
    Ok(())
}

/// `ann@box:2222` as ssh(1) takes it.
pub fn ssh_words(name: &str) -> String {
    match name.parse::<super::Address>() {
        Ok(address) if address.port != 22 => {
            format!("-p {} {}@{}", address.port, address.user, address.host)
        }
        Ok(address) => format!("{}@{}", address.user, address.host),
        Err(_) => name.to_owned(),
    }
}

/// What a Linux program is made for, as `uname -m` says it (elf(5), `e_machine`).
pub fn program_machine(head: &[u8]) -> Option<&'static str> {
    let machine = head.get(18..20)?;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    match (machine[0], machine[1]) {
        (62, 0) => Some("x86_64"),
        (183, 0) => Some("aarch64"),
        _ => None,
    }
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
