//! The chains that pick an endpoint. What they do depends only on how many endpoints there
//! are and where the connection came in, so Services share them, and a Service is nothing
//! but elements of maps:
//!
//! ```text
//! service-ips        10.96.0.10 . udp . 53      : goto pick-udp-2
//! chain pick-udp-2   dnat ip to ip daddr . udp dport . numgen random mod 2 map @endpoints-udp
//! endpoints-udp      10.96.0.10 . 53 . 0        : 10.244.0.5 . 53
//!                    10.96.0.10 . 53 . 1        : 10.244.1.7 . 53
//! ```

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::base::MASQUERADE_MARK;
use crate::table::{Backend, Fragment, Item, PoolKey, Protocol};

/// How a connection came in, which is also what the keys of its endpoints begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// By an address of the Service.
    Address,
    /// By a node port.
    NodePort,
}

/// A list of endpoints and what is special about it.
#[derive(Debug, Clone, Copy)]
pub struct List<'a> {
    pub protocol: Protocol,
    pub backends: &'a [Backend],
    /// Only those of this node: beside the other list, not in place of it.
    pub local: bool,
    pub sticky: Option<&'a Sticky>,
}

/// Clients that come back are sent where they were before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    /// Name of the map from clients to endpoints.
    pub map: String,
    /// Seconds of absence after which a client is forgotten.
    pub timeout: u32,
}

impl Sticky {
    /// Of one port of a Service; `local` ones remember only endpoints of this node.
    #[must_use]
    pub fn new(owner: &impl Hash, port: &str, local: bool, timeout: u32) -> Self {
        let name = short_hash(&(owner, port, local, timeout));
        Self {
            map: format!("affinity-{name}"),
            timeout,
        }
    }

    /// The map itself.
    #[must_use]
    pub fn set(&self) -> Item {
        let timeout = self.timeout;
        let declaration = format!(
            "type ipv4_addr : ipv4_addr . inet_service; flags dynamic,timeout; timeout {timeout}s"
        );
        Item::set(&self.map, &declaration)
    }
}

/// Sixteen hex digits; the same in every run of one build, and the table is made anew at
/// every start.
#[must_use]
pub fn short_hash(of: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Puts the list into `into` for connections whose key begins with `front`, and returns
/// the chain that picks from it.
pub fn pick(into: &mut Fragment, entrance: Entrance, front: &str, list: &List<'_>) -> String {
    let List {
        protocol,
        backends,
        local,
        sticky,
    } = *list;
    let (from, expression) = match entrance {
        Entrance::Address => ("", format!("ip daddr . {protocol} dport")),
        Entrance::NodePort => ("node-", format!("{protocol} dport")),
    };
    let from = format!("{from}{}", if local { "local-" } else { "" });
    let count = backends.len();
    let slot = format!("{expression} . numgen random mod");
    let Some(sticky) = sticky else {
        let map = format!("{from}endpoints-{protocol}");
        let chain = format!("{from}pick-{protocol}-{count}");
        into.items.insert(Item::set(
            &map,
            &format!("typeof {slot} 2 : ip daddr . {protocol} dport"),
        ));
        let rule = format!("dnat ip to {slot} {count} map @{map}");
        into.items.insert(Item::chain(&chain, &rule));
        let key = PoolKey {
            map: map.into(),
            front: front.into(),
        };
        into.pools.insert(key, backends.to_vec());
        return chain;
    };
    let map = format!("{from}sticky-{protocol}");
    let chain = format!("{from}pick-sticky-{protocol}-{count}");
    into.items
        .insert(Item::set(&map, &format!("typeof {slot} 2 : verdict")));
    let rule = format!("{slot} {count} vmap @{map}");
    into.items.insert(Item::chain(&chain, &rule));
    for (slot, backend) in backends.iter().enumerate() {
        let to = remember(into, sticky, protocol, *backend);
        let (key, value) = (format!("{front} . {slot}"), format!("goto {to}"));
        into.items.insert(Item::entry(&map, key, &value));
    }
    chain
}

/// The chain of one endpoint of a Service with session affinity. A client that is known
/// keeps its endpoint and its entry becomes young again; a new one gets this endpoint.
fn remember(into: &mut Fragment, sticky: &Sticky, protocol: Protocol, to: Backend) -> String {
    let map = &sticky.map;
    let Backend { ip, port } = to;
    into.items.insert(sticky.set());
    let chain = format!("{map}-{ip}-{port}");
    // The last rule is for a map that is full.
    let rules = format!(
        "update @{map} {{ ip saddr : {ip} . {port} }}\n\
         meta l4proto {protocol} dnat ip to ip saddr map @{map}\n\
         meta l4proto {protocol} dnat to {ip}:{port}"
    );
    into.items.insert(Item::chain(&chain, &rules));
    chain
}

/// The chain that masquerades and goes on to `chain`.
pub fn masquerade(into: &mut Fragment, chain: &str) -> String {
    let name = format!("masquerade-{chain}");
    let rules = format!("meta mark set meta mark | {MASQUERADE_MARK}\ngoto {chain}");
    into.items.insert(Item::chain(&name, &rules));
    name
}

/// The chain of `externalTrafficPolicy: Local`. Pods and this node itself may go anywhere,
/// as if they had asked the cluster IP; others only to this node's endpoints, with their
/// own address, or nowhere.
pub fn edge(into: &mut Fragment, pods: &str, any: &str, local: Option<&str>) -> String {
    let name = format!("edge-{any}-{}", local.unwrap_or("none"));
    let masqueraded = masquerade(into, any);
    let mut rules = format!("ip saddr {pods} goto {any}\nfib saddr type local goto {masqueraded}");
    if let Some(local) = local {
        rules.push_str("\ngoto ");
        rules.push_str(local);
    }
    into.items.insert(Item::chain(&name, &rules));
    name
}

/// The chain that keeps out whoever is in none of `ranges`; a node that reaches itself by
/// the balancer's own address is let in.
pub fn firewall(into: &mut Fragment, ranges: &[Box<str>], own: &[std::net::Ipv4Addr]) -> String {
    let mut allowed: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    allowed.extend(own.iter().map(ToString::to_string));
    allowed.sort_unstable();
    allowed.dedup();
    let name = format!("firewall-{}", short_hash(&allowed));
    // One rule each: overlapping ranges cannot stand in one anonymous set.
    let rules: Vec<String> = allowed
        .iter()
        .map(|range| format!("ip saddr {range} return"))
        .chain(["drop".into()])
        .collect();
    into.items.insert(Item::chain(&name, &rules.join("\n")));
    name
}
