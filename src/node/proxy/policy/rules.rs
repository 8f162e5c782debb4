//! One policy's rules as text.
//!
//! ```text
//! forwarded packet of a new connection
//!  │ here         from or to a pod of this node that is not known yet → drop
//!  │ policy-out   source is a pod with egress policies → its chain
//!  │                its policies, each:  match → goto policy-ingress;  none: drop
//!  ▼ policy-in    destination is a pod with ingress policies → its chain
//!                   its policies, each:  match → accept;               none: drop
//! ```
//!
//! What this node itself sends to its pods (probes among it) is never forwarded, so no
//! policy can keep it out.
//!
//! A pod may run before the API says what it is. Until then it is cut off: what policies
//! forbid must hold from its first moment, what they allow may follow (documentation of
//! NetworkPolicy, "Pod lifecycle and NetworkPolicies").

use super::group::Group;
use super::model::{NamespaceMatch, Numbers, Peer, PodMatch, Policy, PolicyPort, Rule};
use crate::services::short_hash;
use crate::table::{Fragment, Item, Protocol};

/// Pods with ingress policies, to their chains.
pub const POLICY_IN: &str = "policy-in";
/// Pods with egress policies, to their chains.
pub const POLICY_OUT: &str = "policy-out";
/// The bridge that this node's pods are attached to; the pod network's name for it.
const BRIDGE: &str = "cadet0";

/// A direction of traffic, as seen from the pod a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    fn word(self) -> &'static str {
        match self {
            Self::Ingress => "in",
            Self::Egress => "out",
        }
    }

    /// The peer's address.
    fn peer(self) -> &'static str {
        match self {
            Self::Ingress => "ip saddr",
            Self::Egress => "ip daddr",
        }
    }

    fn map(self) -> &'static str {
        match self {
            Self::Ingress => POLICY_IN,
            Self::Egress => POLICY_OUT,
        }
    }

    fn verdict(self) -> &'static str {
        match self {
            Self::Ingress => "accept",
            Self::Egress => "goto policy-ingress",
        }
    }
}

/// What a policy allows in one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    chain: String,
    rules: String,
    /// The groups of pods its rules name.
    pub groups: Vec<Group>,
}

impl Allowed {
    /// The rules of `policy`, if it is about this direction.
    #[must_use]
    pub fn by(policy: &Policy, direction: Direction) -> Option<Self> {
        let rules = match direction {
            Direction::Ingress => policy.ingress.as_ref()?,
            Direction::Egress => policy.egress.as_ref()?,
        };
        let mut writer = Writer {
            policy,
            direction,
            lines: Vec::new(),
            groups: Vec::new(),
        };
        for rule in rules {
            writer.rule(rule);
        }
        let rules = writer.lines.join("\n");
        Some(Self {
            chain: format!("policy-{}-{}", direction.word(), short_hash(&rules)),
            rules,
            groups: writer.groups,
        })
    }
}

struct Writer<'a> {
    policy: &'a Policy,
    direction: Direction,
    lines: Vec<String>,
    groups: Vec<Group>,
}

impl Writer<'_> {
    fn rule(&mut self, rule: &Rule) {
        let plain = match &rule.ports {
            None => vec![String::new()],
            Some(ports) => numbered(ports),
        };
        let named: Vec<(&str, Protocol)> = named(rule).collect();
        // On the way out, groups of pods with the port stand for the peers.
        let by_peer = !plain.is_empty() || self.direction == Direction::Ingress;
        let peers = match &rule.peers {
            None => vec![String::new()],
            Some(peers) if by_peer => peers.iter().map(|peer| self.peer(peer)).collect(),
            Some(_) => Vec::new(),
        };
        for peer in &peers {
            for ports in &plain {
                self.line(peer, ports);
            }
        }
        for (name, protocol) in named {
            self.named(rule.peers.as_deref(), name, protocol, &peers);
        }
    }

    /// The named port belongs to the pod that is connected to: ours on the way in, the
    /// peer on the way out.
    fn named(
        &mut self,
        peers: Option<&[Peer]>,
        name: &str,
        protocol: Protocol,
        peer_texts: &[String],
    ) {
        let port = Some((name.into(), protocol));
        let by_port = |set: &str| format!("ip daddr . meta l4proto . th dport @{set}");
        if self.direction == Direction::Ingress {
            let set = self.group(Group {
                pods: Some(PodMatch {
                    namespaces: NamespaceMatch::Is(self.policy.namespace.clone()),
                    pods: self.policy.pods.clone(),
                }),
                port,
                local: true,
            });
            for peer in peer_texts {
                self.line(peer, &by_port(&set));
            }
            return;
        }
        let groups: Vec<Option<PodMatch>> = match peers {
            None => vec![None],
            // What is no pod has no named ports.
            Some(peers) => peers
                .iter()
                .filter_map(|peer| match peer {
                    Peer::Pods(pods) => Some(Some(pods.clone())),
                    Peer::Block { .. } => None,
                })
                .collect(),
        };
        for pods in groups {
            let set = self.group(Group {
                pods,
                port: port.clone(),
                local: false,
            });
            self.line("", &by_port(&set));
        }
    }

    fn peer(&mut self, peer: &Peer) -> String {
        let address = self.direction.peer();
        match peer {
            Peer::Pods(pods) => {
                let set = self.group(Group {
                    pods: Some(pods.clone()),
                    port: None,
                    local: false,
                });
                format!("{address} @{set}")
            }
            Peer::Block { range, except } => {
                let mut text = format!("{address} {range}");
                // One comparison each: overlapping ranges cannot stand in one anonymous set.
                for except in except {
                    text.push_str(&format!(" {address} != {except}"));
                }
                text
            }
        }
    }

    fn group(&mut self, group: Group) -> String {
        let set = group.set();
        if !self.groups.contains(&group) {
            self.groups.push(group);
        }
        set
    }

    fn line(&mut self, peer: &str, ports: &str) {
        let parts = [peer, ports, self.direction.verdict()];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        self.lines.push(parts.join(" "));
    }
}

fn named(rule: &Rule) -> impl Iterator<Item = (&str, Protocol)> {
    let ports = rule.ports.as_deref().unwrap_or_default().iter();
    ports.filter_map(|port| match &port.numbers {
        Numbers::Named(name) => Some((&**name, port.protocol)),
        _ => None,
    })
}

/// One match for each protocol with numbered ports.
fn numbered(ports: &[PolicyPort]) -> Vec<String> {
    let mut texts = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        let own: Vec<&Numbers> = ports
            .iter()
            .filter(|port| port.protocol == protocol)
            .map(|port| &port.numbers)
            .collect();
        if own.contains(&&Numbers::All) {
            texts.push(format!("meta l4proto {protocol}"));
            continue;
        }
        let mut ranges: Vec<(u16, u16)> = own
            .iter()
            .filter_map(|numbers| match numbers {
                Numbers::Range(first, last) => Some((*first, *last)),
                _ => None,
            })
            .collect();
        ranges.sort_unstable();
        let texts_of: Vec<String> = merge(&ranges)
            .into_iter()
            .map(|(first, last)| match last {
                last if last == first => first.to_string(),
                last => format!("{first}-{last}"),
            })
            .collect();
        if !texts_of.is_empty() {
            texts.push(format!("{protocol} dport {{ {} }}", texts_of.join(", ")));
        }
    }
    texts
}

/// Joins ranges that overlap; `ranges` is sorted.
fn merge(ranges: &[(u16, u16)]) -> Vec<(u16, u16)> {
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for &(first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// Puts a pod's own chain into `into`: what its policies allow passes, the rest does not.
/// A pod always reaches itself.
pub fn isolate(into: &mut Fragment, ip: std::net::Ipv4Addr, direction: Direction, by: &[&Allowed]) {
    let mut rules = vec![format!("{} {ip} accept", direction.peer())];
    for allowed in by {
        into.items
            .insert(Item::chain(&allowed.chain, &allowed.rules));
        into.items
            .extend(allowed.groups.iter().map(Group::declaration));
        rules.push(format!("jump {}", allowed.chain));
    }
    rules.push("drop".into());
    let rules = rules.join("\n");
    let chain = format!("pod-{}-{}", direction.word(), short_hash(&rules));
    into.items.insert(Item::chain(&chain, &rules));
    let entry = Item::entry(direction.map(), ip.to_string(), &format!("goto {chain}"));
    into.items.insert(entry);
}

/// What must stand while there is any policy in the cluster: the next pod of this node may be
/// one that it is for. Without any, packets meet none of it.
#[must_use]
pub fn hooks() -> Fragment {
    const KNOWN: &str = "ct state established,related accept";
    let hook = |name: &str, at: &str, rules: String| Item::Chain {
        name: name.into(),
        hook: Some(format!("type filter hook {at} priority filter; policy accept").into()),
        rules: rules.into(),
    };
    let here = Group::HERE.set();
    let from_here = format!(
        "iifname \"{BRIDGE}\" ip saddr != @{here} drop\n\
         ip saddr vmap @{POLICY_OUT}"
    );
    let to_here = format!("oifname \"{BRIDGE}\" ip daddr != @{here} drop");
    let items = [
        Group::HERE.declaration(),
        Item::set(POLICY_IN, "type ipv4_addr : verdict"),
        Item::set(POLICY_OUT, "type ipv4_addr : verdict"),
        Item::chain(
            "policy-ingress",
            &format!("ip daddr vmap @{POLICY_IN}\naccept"),
        ),
        hook(
            "policy-forward",
            "forward",
            format!("{KNOWN}\n{to_here}\n{from_here}\ngoto policy-ingress"),
        ),
        hook("policy-input", "input", format!("{KNOWN}\n{from_here}")),
    ];
    Fragment {
        items: items.into(),
        ..Fragment::default()
    }
}
