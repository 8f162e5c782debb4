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
//!
//! A large list has a map of its own, and then a chain, which all entrances lead to:
//!
//! ```text
//! service-ips            10.96.0.10 . tcp . 80 : goto pick-HASH-8080-500
//! chain pick-HASH-8080-500
//!                        dnat ip to numgen random mod 500 map @endpoints-HASH-8080 : 8080
//! endpoints-HASH-8080    0 : 10.244.0.5, 1 : 10.244.1.7, …
//! ```

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::base::MASQUERADE_MARK;
use crate::table::{Backend, Fragment, Item, PoolKey, Protocol, Slots};

/// From so many endpoints on a list is a large one. What takes time in a transaction is
/// that `nft` reads it, number by number, and a map of their own spares endpoints three of
/// the five numbers of an element. For a short list another map and chain would cost more.
pub const LARGE: usize = 128;

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
    /// By which a list has a map of its own.
    pub alone: Option<&'a str>,
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
        alone,
    } = *list;
    if let Some(name) = alone {
        return pick_alone(into, name, protocol, backends);
    }
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
            slots: Slots::After(front.into()),
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

/// As [`pick`] from a map of the list's own. Where all endpoints have the same port, and
/// that is the rule, it stands in the chain and not in every element.
fn pick_alone(into: &mut Fragment, name: &str, protocol: Protocol, backends: &[Backend]) -> String {
    let first = backends.first().map(|backend| backend.port);
    let common = first.filter(|port| backends.iter().all(|backend| backend.port == *port));
    let (slots, name, value, port) = match common {
        Some(port) => (
            Slots::Addresses,
            format!("{name}-{port}"),
            "ip daddr".to_owned(),
            format!(" : {port}"),
        ),
        None => (
            Slots::Backends,
            name.to_owned(),
            format!("ip daddr . {protocol} dport"),
            String::new(),
        ),
    };
    let count = backends.len();
    let (map, chain) = (format!("endpoints-{name}"), format!("pick-{name}-{count}"));
    let declaration = format!("typeof numgen random mod 2 : {value}");
    into.items.insert(Item::set(&map, &declaration));
    // nft wants to be told of a transport protocol before it takes a port.
    let rule =
        format!("meta l4proto {protocol} dnat ip to numgen random mod {count} map @{map}{port}");
    into.items.insert(Item::chain(&chain, &rule));
    let key = PoolKey {
        map: map.into(),
        slots,
    };
    into.pools.insert(key, backends.to_vec());
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
