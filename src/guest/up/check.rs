//! What a machine must have before it can be a node, and what each thing is for.
//!
//! [`super::facts`] looks, this judges; so everything missing is said at once, and in words
//! that teach.

use std::net::Ipv4Addr;
use std::path::Path;

use cadet_api::install::NodeConfig;
use cadet_network::Cidr;

use super::trouble::Trouble;

/// What was found on the machine.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The kernel's release, e.g. `6.1.0-18-amd64`.
    pub kernel: String,
    pub docker: Docker,
    pub nft: Program,
    pub iptables: Program,
    pub forwarding: Forwarding,
    pub cgroup: Cgroup,
    /// Ports that are needed and in use.
    pub taken: Vec<Taken>,
    /// Ranges that lead somewhere already.
    pub routes: Vec<Route>,
    /// This machine's address towards others, or why there is none.
    pub address: Result<Ipv4Addr, String>,
}

/// Docker Engine as seen from its socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Docker {
    /// Its version.
    Answers(String),
    /// Nothing is at the socket's path.
    NoSocket { installed: bool },
    /// The socket is there and nobody listens.
    NobodyListens,
    /// Something else, in its own words.
    Silent(String),
}

/// A program of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// What it says when asked for its version.
    Works(String),
    Missing,
    /// It is there and does not do its work; its words.
    Fails(String),
}

/// Whether packets are passed on between links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forwarding {
    On,
    /// Off, and the agent can switch it on.
    Off,
    /// Off, and this process may not change it; the kernel's words.
    Locked(String),
}

/// Which control groups containers are limited by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cgroup {
    V2,
    V1,
    Missing,
}

/// A port somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub port: u16,
    /// Process id and name.
    pub holder: Option<(u32, String)>,
}

/// A range and the link it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub range: Cidr,
    pub link: String,
}

/// Everything that is in the way of `config` on this machine.
#[must_use]
pub fn judge(facts: &Facts, config: &NodeConfig, socket: &Path) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    troubles.extend(docker(&facts.docker, socket));
    troubles.extend(program(&facts.nft, &NFT));
    troubles.extend(program(&facts.iptables, &IPTABLES));
    if let Forwarding::Locked(words) = &facts.forwarding {
        let what = "packets are not passed on between links, and this process may not change that";
        troubles.push(
            Trouble::new("HOST_FORWARDING", 37, what)
                .why(format!("pods reach each other and the outside through this machine, which must route for them (net.ipv4.ip_forward); {words}"))
                .fix("sysctl -w net.ipv4.ip_forward=1    (outside this container)"),
        );
    }
    if facts.cgroup == Cgroup::Missing {
        let what = "the kernel's control groups for memory are not mounted";
        troubles.push(
            Trouble::new("HOST_CGROUP_MISSING", 36, what)
                .why("limits of containers are kept by control groups, below /sys/fs/cgroup")
                .fix("mount -t cgroup2 none /sys/fs/cgroup    (or boot without cgroup_disable=memory)"),
        );
    }
    let needed = |taken: &&Taken| visitors(taken.port, config).is_none();
    troubles.extend(facts.taken.iter().filter(needed).map(taken));
    if let Err(words) = &facts.address {
        let what = "this machine has no IPv4 address towards others";
        troubles.push(
            Trouble::new("NETWORK_NO_ROUTE", 79, what)
                .why(format!(
                    "the node's address is the one it uses for its default route; {words}"
                ))
                .fix("ip route add default via GATEWAY"),
        );
    }
    for (flag, range) in [
        ("pod-cidr", &config.cluster_cidr),
        ("service-cidr", &config.service_cidr),
    ] {
        troubles.extend(leads_elsewhere(flag, range, &facts.routes));
    }
    troubles
}

/// What works, but not as well as it could, or in part.
#[must_use]
pub fn warnings(facts: &Facts, config: &NodeConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if facts.cgroup == Cgroup::V1 {
        let words = "control groups are of version 1; memory is limited less exactly than with 2";
        warnings.push(words.to_owned());
    }
    // A web server of the machine's own has the older right.
    warnings.extend(facts.taken.iter().filter_map(|taken| {
        let (scheme, flag) = visitors(taken.port, config)?;
        let suggested = taken.port.checked_add(8000).unwrap_or(8080);
        Some(format!(
            "{}: no Ingress is reached by {scheme} until it is free; or choose another: cadet-node up --{flag} {suggested}",
            said(taken)
        ))
    }));
    warnings
}

/// By what an Ingress is visited at a port, and the flag that chooses another.
fn visitors(port: u16, config: &NodeConfig) -> Option<(&'static str, &'static str)> {
    if port == config.ingress.http {
        return Some(("http", "ingress-http-port"));
    }
    (port == config.ingress.https).then_some(("https", "ingress-https-port"))
}

/// One line about a machine that has everything.
#[must_use]
pub fn summary(facts: &Facts) -> String {
    let version = |program: &Program| match program {
        Program::Works(version) => version.clone(),
        Program::Missing | Program::Fails(_) => String::new(),
    };
    let docker = match &facts.docker {
        Docker::Answers(version) => version.as_str(),
        _ => "",
    };
    let cgroup = match facts.cgroup {
        Cgroup::V2 => "2",
        _ => "1",
    };
    let kernel = facts.kernel.split('-').next().unwrap_or_default();
    let nft = version(&facts.nft);
    format!("Linux {kernel}, Docker {docker}, cgroup {cgroup}, {nft}")
}

fn docker(found: &Docker, socket: &Path) -> Option<Trouble> {
    let socket = socket.display();
    let why = "Docker Engine runs the containers of pods; cadet-node talks to its socket";
    Some(match found {
        Docker::Answers(_) => return None,
        Docker::NoSocket { installed: false } => {
            Trouble::new("HOST_DOCKER_MISSING", 35, "Docker Engine is not installed")
                .why(format!(
                    "{why}; {socket} does not exist and neither does the program dockerd"
                ))
                .fix("apt-get install docker.io    (or see https://docs.docker.com/engine/install)")
        }
        Docker::NoSocket { installed: true } => {
            let what = format!("Docker Engine has no socket at {socket}");
            Trouble::new("HOST_DOCKER_DOWN", 39, what)
                .why(format!("{why}; it is installed and does not run, or listens elsewhere"))
                .fix("systemctl start docker    (or: cadet-node up --docker-host unix:///path/to/docker.sock)")
        }
        Docker::NobodyListens => {
            let what = format!("nobody answers at Docker's socket {socket}");
            Trouble::new("HOST_DOCKER_DOWN", 39, what)
                .why(format!("{why}; the engine that made this socket has ended"))
                .fix("systemctl restart docker")
                .log("journalctl -u docker")
        }
        Docker::Silent(words) => {
            let what = format!("Docker does not answer at {socket}");
            Trouble::new("HOST_DOCKER_DOWN", 39, what)
                .why(format!("{why}; {words}"))
                .fix("systemctl restart docker")
                .log("journalctl -u docker")
        }
    })
}

/// A program and what we need it for.
struct Need {
    name: &'static str,
    missing: &'static str,
    package: &'static str,
    why: &'static str,
}

const NFT: Need = Need {
    name: "nft",
    missing: "HOST_NFT_MISSING",
    package: "nftables",
    why: "addresses of Services are rewritten to those of pods by nftables, in the kernel",
};

const IPTABLES: Need = Need {
    name: "iptables",
    missing: "HOST_IPTABLES_MISSING",
    package: "iptables",
    why: "Docker closes the way between links with iptables, and pods' packets need an exception there",
};

fn program(found: &Program, need: &Need) -> Option<Trouble> {
    Some(match found {
        Program::Works(_) => return None,
        Program::Missing => {
            let what = format!("the program {} is not on the path", need.name);
            Trouble::new(need.missing, 35, what)
                .why(need.why)
                .fix(format!("apt-get install {}", need.package))
        }
        Program::Fails(words) => {
            let what = format!("{} cannot list the kernel's rules", need.name);
            Trouble::new("HOST_RULES_REFUSED", 36, what)
                .why(format!("{}; {words}", need.why))
                .fix("modprobe nf_tables    (in a container: give it NET_ADMIN)")
        }
    })
}

/// Which port is taken, and by whom if that is known.
fn said(taken: &Taken) -> String {
    let port = taken.port;
    match &taken.holder {
        Some((pid, name)) => format!("port {port} is taken by {name} (process {pid})"),
        None => format!("port {port} is taken"),
    }
}

fn taken(taken: &Taken) -> Trouble {
    let port = taken.port;
    let purpose = match port {
        cadet_kubelet::PORT => "the node agent answers kubectl logs and exec there",
        _ => "the API server listens there, and everybody expects it there",
    };
    let fix = match &taken.holder {
        // Another Kubernetes: two on one machine would fight over more than a port.
        Some((_, name)) if name.starts_with("k3s") => "/usr/local/bin/k3s-killall.sh".to_owned(),
        Some((_, name)) if name.starts_with("kube") => "kubeadm reset".to_owned(),
        // It listens for a service that starts when somebody comes.
        Some((1, _)) => format!("systemctl list-sockets | grep {port}"),
        Some((pid, _)) => format!("kill {pid}    (if it is yours)"),
        None => format!("ss -ltnp 'sport = :{port}'"),
    };
    Trouble::new("HOST_PORT_TAKEN", 31, said(taken))
        .why(purpose)
        .fix(fix)
}

fn leads_elsewhere(flag: &str, range: &str, routes: &[Route]) -> Option<Trouble> {
    let wanted: Cidr = range.parse().ok()?;
    let other = routes.iter().find(|route| route.range.overlaps(wanted))?;
    let what = format!(
        "{range} leads elsewhere already: {} is behind {}",
        other.range, other.link
    );
    let whose = if flag == "pod-cidr" {
        "pods"
    } else {
        "Services"
    };
    let free = free_range(wanted, routes);
    Some(
        Trouble::new("NETWORK_RANGE_TAKEN", 71, what)
            .why(format!(
                "packets to {whose} would go astray, or this machine would lose its own network"
            ))
            .fix(format!("cadet-node up --{flag} {free}")),
    )
}

/// A range as large as `wanted` that collides with nothing known.
fn free_range(wanted: Cidr, routes: &[Route]) -> String {
    let prefix = wanted.prefix().max(16);
    let candidates = (1..=254).map(|second| format!("10.{second}.0.0/{prefix}"));
    let is_free = |text: &String| {
        text.parse::<Cidr>().is_ok_and(|range| {
            !range.overlaps(wanted) && !routes.iter().any(|route| route.range.overlaps(range))
        })
    };
    // From the top: the low ones are what people give their own networks.
    candidates
        .rev()
        .find(is_free)
        .unwrap_or_else(|| "172.30.0.0/16".into())
}

#[cfg(test)]
mod tests;
