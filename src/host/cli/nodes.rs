//! The machines of a profile: numbers, names, addresses, and what QEMU is told of each.
//!
//! ```text
//!  cadet     1   10.89.0.1   pods 10.244.0.0/24   control plane and agent
//!  cadet-2   2   10.89.0.2   pods 10.244.1.0/24   agent
//!  cadet-3   3   10.89.0.3   pods 10.244.2.0/24   agent
//! ```

use std::net::Ipv4Addr;

use cadet_api::install::NodeNetwork;
use cadet_state::{Base, Card, Profile, ProfilePaths, Spec, TemplateUse};
use cadet_vm::{Forward, Segment, config::segment_mac};

use crate::Context;
use crate::error::{CliError, Result};
use crate::machine::{self, GUEST_API, GUEST_SSH};

/// Most machines of a profile; the guest's image knows the cards of so many
/// (`images/guest/files/nodes.network`).
pub const MOST: u8 = 9;
/// Length of the prefix of the network between machines.
const PREFIX: u8 = 24;

/// One machine of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// 1 for the first, which runs the control plane.
    pub number: u8,
    /// Name of the node and of the host.
    pub name: String,
}

/// What is remembered of a machine, whichever it is.
pub struct Kept<'a> {
    pub spec: &'a Spec,
    pub base: Option<&'a Base>,
    pub accelerator: Option<&'a str>,
    /// The template its disk was copied from, if it was.
    pub template: Option<&'a TemplateUse>,
    /// Ports of the laptop that lead into it; `None` before they are chosen.
    pub forwards: Option<Vec<Forward>>,
    /// Its card in the network between machines, if it has one.
    pub segment: Option<Segment>,
}

impl Node {
    /// The first machine of a profile of this name.
    pub fn first(profile: &str) -> Self {
        Self::new(profile, 1)
    }

    /// The machine with this number.
    pub fn new(profile: &str, number: u8) -> Self {
        let name = if number == 1 {
            profile.to_owned()
        } else {
            format!("{profile}-{number}")
        };
        Self { number, name }
    }

    /// True for the machine with the control plane.
    pub fn is_first(&self) -> bool {
        self.number == 1
    }

    /// Its address in the network between machines.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 89, 0, self.number)
    }

    /// Range of its pods, a slice of [`PODS`](crate::ranges::PODS).
    pub fn pod_cidr(&self) -> String {
        format!("10.244.{}.0/24", self.number.saturating_sub(1))
    }

    /// What its agent is told of the network between machines.
    pub fn network(&self) -> NodeNetwork {
        NodeNetwork {
            mac: segment_mac(self.number),
            address: self.address(),
            prefix: PREFIX,
        }
    }

    /// Its files, given those of the profile.
    pub fn files(&self, profile: &ProfilePaths) -> ProfilePaths {
        if self.is_first() {
            profile.clone()
        } else {
            profile.node(self.number)
        }
    }

    /// What the record says of it; `None` for a number nobody has.
    pub fn kept<'a>(&self, profile: &'a Profile) -> Option<Kept<'a>> {
        let wire = profile.wire.map(|wire| Segment {
            group: wire.group,
            port: wire.port,
            mac: segment_mac(self.number),
        });
        let to = |host_port, guest_port| Forward {
            host_port,
            guest_port,
        };
        if self.is_first() {
            // A server's ports are not forwarded by anybody.
            let ports = profile.ports.filter(|_| profile.server.is_none());
            return Some(Kept {
                spec: &profile.spec,
                base: profile.base.as_ref(),
                accelerator: profile.accelerator.as_deref(),
                template: profile.template.as_ref(),
                forwards: ports.map(|p| vec![to(p.ssh, GUEST_SSH), to(p.api, GUEST_API)]),
                segment: wire.filter(|_| profile.card == Card::Present),
            });
        }
        let worker = profile.worker(self.number)?;
        Some(Kept {
            spec: &worker.spec,
            base: worker.base.as_ref(),
            accelerator: worker.accelerator.as_deref(),
            template: worker.template.as_ref(),
            forwards: worker.ssh.map(|ssh| vec![to(ssh, GUEST_SSH)]),
            segment: wire,
        })
    }

    /// Whether it is the copy of a template that has not become this machine: it is nobody, and
    /// holds nothing.
    pub fn is_unsettled(&self, profile: &Profile) -> bool {
        let kept = self.kept(profile);
        kept.and_then(|kept| kept.template)
            .is_some_and(|used| !used.settled)
    }

    /// The command that starts it.
    pub fn start_command(&self, cx: &Context) -> String {
        if self.is_first() {
            machine::again(cx, "start")
        } else {
            machine::again(cx, &format!("node start {}", self.name))
        }
    }

    /// The command that shows its console.
    pub fn console_command(&self, cx: &Context) -> String {
        if self.is_first() {
            machine::again(cx, "logs --machine")
        } else {
            machine::again(cx, &format!("logs --machine --node {}", self.name))
        }
    }
}

/// All machines of a profile, the first one first.
pub fn all(profile: &Profile) -> Vec<Node> {
    std::iter::once(1)
        .chain(profile.workers.iter().map(|w| w.number))
        .map(|number| Node::new(&profile.name, number))
        .collect()
}

/// The machines beside the first.
pub fn workers(profile: &Profile) -> Vec<Node> {
    all(profile).split_off(1)
}

/// The lowest numbers that are free, so that a machine that was deleted is followed by one of
/// its name.
pub fn free_numbers(profile: &Profile, count: usize) -> Vec<u8> {
    (2..=MOST)
        .filter(|number| profile.worker(*number).is_none())
        .take(count)
        .collect()
}

/// The machine called `name`.
///
/// # Errors
/// GUEST_NODE_NOT_FOUND with the names there are.
pub fn find(cx: &Context, profile: &Profile, name: &str) -> Result<Node> {
    let all = all(profile);
    let names: Vec<&str> = all.iter().map(|n| n.name.as_str()).collect();
    all.iter()
        .find(|node| node.name == name)
        .cloned()
        .ok_or_else(|| {
            CliError::new(
                "GUEST_NODE_NOT_FOUND",
                format!("profile {} has no machine {name:?}", profile.name),
            )
            .why(format!("there is {}", names.join(", ")))
            .fix(machine::again(cx, "node list"))
        })
}

/// The machine called `name`, which must not be the first: `act` is what the first cannot
/// undergo alone, `whole` the command that does it to the whole profile.
///
/// # Errors
/// GUEST_FIRST_NODE, GUEST_NODE_NOT_FOUND.
pub fn find_worker(
    cx: &Context,
    profile: &Profile,
    name: &str,
    act: &str,
    whole: &str,
) -> Result<Node> {
    let node = find(cx, profile, name)?;
    if !node.is_first() {
        return Ok(node);
    }
    Err(CliError::new(
        "GUEST_FIRST_NODE",
        format!("{name} cannot be {act} as a single node"),
    )
    .why("it runs the control plane and keeps the cluster's data: without it there is no cluster")
    .fix(format!(
        "{}      the whole profile",
        machine::again(cx, whole)
    )))
}

/// Names for a sentence.
pub fn names(nodes: &[Node]) -> String {
    let names: Vec<_> = nodes.iter().map(|n| n.name.as_str()).collect();
    names.join(", ")
}

/// Refuses a number of machines that cannot be.
///
/// # Errors
/// RESOURCE_NODES.
pub fn check_count(cx: &Context, count: u64) -> Result<()> {
    if (1..=u64::from(MOST)).contains(&count) {
        return Ok(());
    }
    Err(
        CliError::new("RESOURCE_NODES", format!("{count} nodes are not possible"))
            .why(format!(
                "a profile has at least 1 and at most {MOST} machines"
            ))
            .fix(machine::again(cx, "start --nodes 3")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadet_state::{Ports, Wire, Worker};

    fn profile() -> Profile {
        serde_json::from_value(serde_json::json!({
            "name": "cadet", "created": 1, "phase": "running",
            "spec": {"cpus": 2, "memoryMib": 768, "diskGib": 20, "image": "auto"},
        }))
        .unwrap()
    }

    #[test]
    fn machines_have_names_addresses_and_ranges_by_their_numbers() {
        let mut profile = profile();
        for number in [2, 3] {
            let worker = Worker::new(number, profile.spec.clone());
            profile.workers.push(worker);
        }
        let seen: Vec<_> = all(&profile)
            .iter()
            .map(|n| format!("{} {} {}", n.name, n.address(), n.pod_cidr()))
            .collect();
        assert_eq!(
            seen,
            [
                "cadet 10.89.0.1 10.244.0.0/24",
                "cadet-2 10.89.0.2 10.244.1.0/24",
                "cadet-3 10.89.0.3 10.244.2.0/24",
            ]
        );
        assert_eq!(names(&workers(&profile)), "cadet-2, cadet-3");
    }

    #[test]
    fn freed_numbers_are_given_again_and_there_is_an_end() {
        let mut profile = profile();
        assert_eq!(free_numbers(&profile, 2), [2, 3]);
        for number in [2, 4] {
            let worker = Worker::new(number, profile.spec.clone());
            profile.workers.push(worker);
        }
        assert_eq!(free_numbers(&profile, 2), [3, 5]);
        assert_eq!(free_numbers(&profile, 99).len(), usize::from(MOST) - 3);
    }

    #[test]
    fn the_images_file_lists_the_card_of_every_machine() {
        let listed: Vec<_> = cadet_seed::NODES_NETWORK
            .lines()
            .filter_map(|line| line.strip_prefix("MACAddress="))
            .collect();
        let cards: Vec<_> = (1..=MOST).map(segment_mac).collect();
        assert_eq!(listed, cards);
    }

    #[test]
    fn only_machines_that_know_their_card_get_it() {
        let mut profile = profile();
        profile.ports = Some(Ports { ssh: 40, api: 41 });
        profile.wire = Some(Wire {
            group: Ipv4Addr::new(239, 192, 0, 1),
            port: 4000,
        });
        let mut worker = Worker::new(2, profile.spec.clone());
        worker.ssh = Some(42);
        profile.workers.push(worker);
        let (first, second) = (Node::new("cadet", 1), Node::new("cadet", 2));
        assert_eq!(first.kept(&profile).unwrap().segment, None);
        profile.card = Card::Present;
        let cards = [&first, &second].map(|n| n.kept(&profile).unwrap().segment.unwrap().mac);
        assert_eq!(cards, ["02:ca:de:00:00:01", "02:ca:de:00:00:02"]);
        // Only the first has an API server to lead to.
        let ports = [&first, &second].map(|n| n.kept(&profile).unwrap().forwards.unwrap().len());
        assert_eq!(ports, [2, 1]);
        assert!(Node::new("cadet", 3).kept(&profile).is_none());
    }
}
