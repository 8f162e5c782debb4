//! The same Services as kube-proxy's nftables mode writes them (KEP-3866): a chain for each
//! Service, a chain for each of its endpoints, and between them a map of verdicts in a rule,
//! which is written anew with every change. Names, hooks and priorities as in upstream's
//! `pkg/proxy/nftables/proxier.go`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::services::{PODS, PORT, TARGET, cluster_ip, endpoint};

pub const TABLE: &str = "ip kube-proxy-bench";

const SETS: &[(&str, &str, &str)] = &[
    ("set", "cluster-ips", "type ipv4_addr"),
    ("set", "nodeport-ips", "type ipv4_addr"),
    ("map", "service-ips", BY_ADDRESS),
    ("map", "service-nodeports", BY_PORT),
    ("map", "no-endpoint-services", BY_ADDRESS),
    ("map", "no-endpoint-nodeports", BY_PORT),
    ("map", "firewall-ips", BY_ADDRESS),
];
const BY_ADDRESS: &str = "type ipv4_addr . inet_proto . inet_service : verdict";
const BY_PORT: &str = "type inet_proto . inet_service : verdict";

/// Name, hook, and rules.
const CHAINS: &[(&str, &str, &[&str])] = &[
    (
        "mark-for-masquerade",
        "",
        &["meta mark set meta mark or 0x4000"],
    ),
    ("reject-chain", "", &["reject"]),
    (
        "services",
        "",
        &[
            "ip daddr . meta l4proto . th dport vmap @service-ips",
            "ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports",
        ],
    ),
    (
        "service-endpoints-check",
        "",
        &["ip daddr . meta l4proto . th dport vmap @no-endpoint-services"],
    ),
    (
        "nodeport-endpoints-check",
        "",
        &["ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports"],
    ),
    (
        "firewall-check",
        "",
        &["ip daddr . meta l4proto . th dport vmap @firewall-ips"],
    ),
    (
        "cluster-ips-check",
        "",
        &["ip daddr @cluster-ips reject", "ip daddr 10.96.0.0/12 drop"],
    ),
    (
        "masquerading",
        "",
        &[
            "meta mark and 0x4000 == 0 return",
            "meta mark set meta mark xor 0x4000",
            "masquerade fully-random",
        ],
    ),
    (
        "filter-prerouting",
        "filter hook prerouting priority -110",
        &["ct state new jump firewall-check"],
    ),
    (
        "filter-input",
        "filter hook input priority -110",
        &[
            "ct state new jump nodeport-endpoints-check",
            "ct state new jump service-endpoints-check",
        ],
    ),
    (
        "filter-forward",
        "filter hook forward priority -110",
        &[
            "ct state new jump service-endpoints-check",
            "ct state new jump cluster-ips-check",
        ],
    ),
    (
        "filter-output",
        "filter hook output priority -110",
        &[
            "ct state new jump service-endpoints-check",
            "ct state new jump firewall-check",
        ],
    ),
    (
        "filter-output-post-dnat",
        "filter hook output priority -90",
        &["ct state new jump cluster-ips-check"],
    ),
    (
        "nat-prerouting",
        "nat hook prerouting priority -100",
        &["jump services"],
    ),
    (
        "nat-output",
        "nat hook output priority -100",
        &["jump services"],
    ),
    (
        "nat-postrouting",
        "nat hook postrouting priority 100",
        &["jump masquerading"],
    ),
];

/// Statements that make the table anew, in place of whatever was there.
pub fn ruleset() -> String {
    let mut text = format!("add table {TABLE}\ndelete table {TABLE}\nadd table {TABLE}\n");
    // Writing to a String cannot fail.
    for (kind, name, declaration) in SETS {
        let _ = writeln!(text, "add {kind} {TABLE} {name} {{ {declaration}; }}");
    }
    for (name, hook, _) in CHAINS {
        let _ = match *hook {
            "" => writeln!(text, "add chain {TABLE} {name}"),
            hook => writeln!(text, "add chain {TABLE} {name} {{ type {hook}; }}"),
        };
    }
    for (name, _, rules) in CHAINS {
        for rule in *rules {
            let _ = writeln!(text, "add rule {TABLE} {name} {rule}");
        }
    }
    text
}

/// Statements for a Service whose endpoints were `old` and are `new`; one without endpoints
/// so far is a new one. Chains of endpoints that are gone are empty afterwards.
pub fn change(service: usize, old: &[usize], new: &[usize]) -> String {
    let (before, now): (BTreeSet<_>, BTreeSet<_>) = (old.iter().collect(), new.iter().collect());
    let (own, ip) = (service_chain(service), cluster_ip(service));
    let is_new = old.is_empty();
    let mut text = String::new();
    // Writing to a String cannot fail.
    for number in now.difference(&before) {
        let chain = endpoint_chain(service, **number);
        let _ = writeln!(text, "add chain {TABLE} {chain}");
    }
    let verb = if is_new { "add" } else { "flush" };
    let _ = writeln!(text, "{verb} chain {TABLE} {own}");
    for number in now.difference(&before) {
        let (chain, at) = (endpoint_chain(service, **number), endpoint(**number));
        let _ = writeln!(
            text,
            "add rule {TABLE} {chain} ip saddr {at} jump mark-for-masquerade\n\
             add rule {TABLE} {chain} meta l4proto tcp dnat to {at}:{TARGET}"
        );
    }
    let _ = writeln!(
        text,
        "add rule {TABLE} {own} ip daddr {ip} tcp dport {PORT} ip saddr != {PODS} jump \
         mark-for-masquerade"
    );
    let verdicts: Vec<String> = new
        .iter()
        .enumerate()
        .map(|(slot, number)| format!("{slot} : goto {}", endpoint_chain(service, *number)))
        .collect();
    let (count, verdicts) = (new.len(), verdicts.join(", "));
    let _ = writeln!(
        text,
        "add rule {TABLE} {own} numgen random mod {count} vmap {{ {verdicts} }}"
    );
    if is_new {
        let _ = writeln!(
            text,
            "add element {TABLE} cluster-ips {{ {ip} }}\n\
             add element {TABLE} service-ips {{ {ip} . tcp . {PORT} : goto {own} }}"
        );
    }
    for number in before.difference(&now) {
        let chain = endpoint_chain(service, **number);
        let _ = writeln!(text, "flush chain {TABLE} {chain}");
    }
    text
}

/// Statements that take the empty chains away, which is not urgent.
pub fn tidy(service: usize, old: &[usize], new: &[usize]) -> String {
    let now: BTreeSet<_> = new.iter().collect();
    let gone = old.iter().filter(|number| !now.contains(number));
    gone.map(|number| {
        let chain = endpoint_chain(service, *number);
        format!("delete chain {TABLE} {chain}\n")
    })
    .collect()
}

/// A name as long as upstream's, which has eight characters of a hash here.
fn service_chain(service: usize) -> String {
    format!("service-{service:08X}-default/web-{service}/tcp/")
}

fn endpoint_chain(service: usize, number: usize) -> String {
    let at = endpoint(number);
    format!("endpoint-{number:08X}-default/web-{service}/tcp/__{at}/{TARGET}")
}
