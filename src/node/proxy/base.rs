//! What the table holds whatever Services there are: the hooks, and the maps they look
//! connections up in.
//!
//! ```text
//! packet of a new connection
//!  │ firewall-ips          source not allowed at this load balancer  → drop
//!  │ services              service-ips, service-nodeports            → chain → dnat
//!  │ (routing)
//!  │ without-endpoints     no-endpoint-services, no-endpoint-nodeports → reject or drop
//!  │ cluster-ips           cluster IP without such a port             → reject
//!  ▼ nat-postrouting       hairpin, marked                           → masquerade
//! ```
//!
//! Established connections meet none of this but one look at their state. The hooks and
//! their priorities are kube-proxy's (nftables mode, KEP-3866).

use std::fmt::Write as _;

use crate::Config;
use crate::table::TABLE;

/// The bit of the packet mark that asks for masquerading; kube-proxy's.
pub const MASQUERADE_MARK: &str = "0x4000";

/// Address, protocol and port to a verdict.
pub const SERVICE_IPS: &str = "service-ips";
/// Protocol and node port to a verdict.
pub const SERVICE_NODEPORTS: &str = "service-nodeports";
/// Where nobody answers, by address.
pub const NO_ENDPOINT_SERVICES: &str = "no-endpoint-services";
/// Where nobody answers, by node port.
pub const NO_ENDPOINT_NODEPORTS: &str = "no-endpoint-nodeports";
/// Load balancers with a list of allowed sources.
pub const FIREWALL_IPS: &str = "firewall-ips";
/// All cluster IPs.
pub const CLUSTER_IPS: &str = "cluster-ips";
/// Pairs of the same address: a pod of this node that reached itself.
pub const HAIRPIN: &str = "hairpin";
/// Chain that answers with ICMP port unreachable.
pub const REJECT: &str = "reject-connection";

/// Name and declaration of the sets and maps the hooks look into.
const SETS: &[(&str, &str, &str)] = &[
    ("map", SERVICE_IPS, BY_ADDRESS),
    ("map", SERVICE_NODEPORTS, BY_PORT),
    ("map", NO_ENDPOINT_SERVICES, BY_ADDRESS),
    ("map", NO_ENDPOINT_NODEPORTS, BY_PORT),
    ("map", FIREWALL_IPS, BY_ADDRESS),
    ("set", CLUSTER_IPS, "type ipv4_addr"),
    ("set", HAIRPIN, "type ipv4_addr . ipv4_addr"),
];
const BY_ADDRESS: &str = "type ipv4_addr . inet_proto . inet_service : verdict";
const BY_PORT: &str = "type inet_proto . inet_service : verdict";

/// Statements that make the table anew, in place of whatever was there.
#[must_use]
pub fn ruleset(config: &Config) -> String {
    let mut text = format!("add table {TABLE}\ndelete table {TABLE}\nadd table {TABLE}\n");
    // Writing to a String cannot fail.
    for (kind, name, declaration) in SETS {
        let _ = writeln!(text, "add {kind} {TABLE} {name} {{ {declaration}; }}");
    }
    let chains = chains(config);
    for (name, hook, _) in &chains {
        let _ = match hook {
            Some(hook) => writeln!(text, "add chain {TABLE} {name} {{ type {hook}; }}"),
            None => writeln!(text, "add chain {TABLE} {name}"),
        };
    }
    for (name, _, rules) in &chains {
        for rule in rules {
            let _ = writeln!(text, "add rule {TABLE} {name} {rule}");
        }
    }
    text.push_str(&config.pod_rules);
    text
}

type BaseChain = (&'static str, Option<&'static str>, Vec<String>);

fn chains(config: &Config) -> Vec<BaseChain> {
    let (services, pods) = (&config.service_cidr, &config.cluster_cidr);
    let mark = MASQUERADE_MARK;
    let jump = |to: &str| vec![format!("jump {to}")];
    let new = |to: &str| format!("ct state new jump {to}");
    let by_address = |map: &str| format!("ip daddr . meta l4proto . th dport vmap @{map}");
    let by_port = |map: &str| format!("meta l4proto . th dport vmap @{map}");
    // Loopback is left out: answers to it would have to leave the node with its address.
    let to_this_node = |then: &str| format!("ip daddr != 127.0.0.0/8 fib daddr type local {then}");
    vec![
        (REJECT, None, vec!["reject".into()]),
        (
            "services",
            None,
            vec![
                format!("ip daddr {services} ip saddr != {pods} meta mark set meta mark | {mark}"),
                by_address(SERVICE_IPS),
                to_this_node(&by_port(SERVICE_NODEPORTS)),
            ],
        ),
        ("firewall", None, vec![by_address(FIREWALL_IPS)]),
        (
            "without-endpoints",
            None,
            vec![
                by_address(NO_ENDPOINT_SERVICES),
                to_this_node(&by_port(NO_ENDPOINT_NODEPORTS)),
            ],
        ),
        (
            "cluster-ip-ports",
            None,
            vec![
                format!("ip daddr @{CLUSTER_IPS} reject"),
                format!("ip daddr {services} drop"),
            ],
        ),
        (
            "filter-prerouting",
            Some("filter hook prerouting priority dstnat - 10; policy accept"),
            vec![new("firewall")],
        ),
        (
            "filter-output-early",
            Some("filter hook output priority -110; policy accept"),
            vec![new("firewall")],
        ),
        (
            "nat-prerouting",
            Some("nat hook prerouting priority dstnat; policy accept"),
            jump("services"),
        ),
        (
            "nat-output",
            Some("nat hook output priority -100; policy accept"),
            jump("services"),
        ),
        (
            "filter-input",
            Some("filter hook input priority -10; policy accept"),
            vec![new("without-endpoints")],
        ),
        (
            "filter-forward",
            Some("filter hook forward priority -10; policy accept"),
            vec![new("without-endpoints"), new("cluster-ip-ports")],
        ),
        (
            "filter-output",
            Some("filter hook output priority -10; policy accept"),
            vec![new("without-endpoints"), new("cluster-ip-ports")],
        ),
        (
            "nat-postrouting",
            Some("nat hook postrouting priority srcnat; policy accept"),
            vec![
                format!("ct status dnat ip saddr . ip daddr @{HAIRPIN} masquerade fully-random"),
                format!("meta mark & {mark} == 0 return"),
                format!("meta mark set meta mark ^ {mark}"),
                "masquerade fully-random".into(),
            ],
        ),
    ]
}
