//! Rules for Services.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::network::is_cidr;
use super::{all, is_ip, labels, number, one_of, text};
use crate::field::Error;
use crate::json::{int_at, list_at, str_at};
use crate::names;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];
/// Longest time a client sticks to its pod: a day.
const AFFINITY_MAX: i64 = 86_400;
const BALANCER_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";

fn is_headless(object: &Value) -> bool {
    str_at(object, "/spec/clusterIP") == "None"
}

pub(super) fn spec(object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let kind = str_at(object, "/spec/type");
    let ports = list_at(object, "/spec/ports");
    if ports.is_empty() && !is_headless(object) && kind != "ExternalName" {
        e.push(Error::required("spec.ports", ""));
    }
    if is_headless(object) && matches!(kind, "NodePort" | "LoadBalancer") {
        let why = format!("may not be set to 'None' for {kind} services");
        e.push(Error::invalid("spec.clusterIPs[0]", "None", why));
    }
    match kind {
        "ExternalName" => external_name(e, object),
        _ => addresses(e, object),
    }
    self::ports(e, ports, kind);
    labels(e, "spec.selector", object, "/spec/selector");
    affinity(e, object);
    for (i, address) in list_at(object, "/spec/externalIPs").iter().enumerate() {
        external_ip(e, &format!("spec.externalIPs[{i}]"), address);
    }
    one_of(e, "spec.type", kind, &TYPES);
    balancer(e, object, kind);
    traffic(e, object, kind);
    errors
}

fn external_name(e: &mut Vec<Error>, object: &Value) {
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if object.pointer(&format!("/spec/{field}")).is_some() {
            let why = "may not be set for ExternalName services";
            e.push(Error::forbidden(&format!("spec.{field}"), why));
        }
    }
    let name = str_at(object, "/spec/externalName");
    match name.strip_suffix('.').unwrap_or(name) {
        "" => e.push(Error::required("spec.externalName", "")),
        name => text(e, "spec", "externalName", name, names::dns_subdomain(name)),
    }
}

/// Cluster addresses and their families. This cluster has one family, IPv4.
fn addresses(e: &mut Vec<Error>, object: &Value) {
    let path = "spec.clusterIPs";
    let one = str_at(object, "/spec/clusterIP");
    let list = list_at(object, "/spec/clusterIPs");
    match list.first() {
        Some(_) if one.is_empty() => {
            let why = "must be empty when `clusterIP` is not specified";
            e.push(Error::invalid(path, list.to_vec(), why));
        }
        Some(first) if first != one => {
            let why = "first value must match `clusterIP`";
            e.push(Error::invalid(path, list.to_vec(), why));
        }
        _ => {}
    }
    let families = list_at(object, "/spec/ipFamilies");
    for (i, family) in families.iter().enumerate() {
        let name = family.as_str().unwrap_or_default();
        let at = format!("spec.ipFamilies[{i}]");
        if !matches!(name, "IPv4" | "IPv6") {
            e.push(Error::not_supported(&at, name, &["IPv4", "IPv6"]));
        } else if families.iter().take(i).any(|other| other == family) {
            e.push(Error::duplicate(&at, name));
        } else if name == "IPv6" && !is_headless(object) {
            let why = "not configured on this cluster";
            e.push(Error::invalid(&at, families.to_vec(), why));
        }
    }
    let policy = str_at(object, "/spec/ipFamilyPolicy");
    let at = "spec.ipFamilyPolicy";
    let known = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if !policy.is_empty() && !known.contains(&policy) {
        e.push(Error::not_supported(at, policy, &known));
    }
    if policy == "RequireDualStack" && !is_headless(object) {
        let why = "this cluster is not configured for dual-stack services";
        e.push(Error::invalid(at, policy, why));
    }
    if list.len() > 1 && list.iter().any(|ip| ip == "None") {
        let why = "'None' must be the first and only value";
        e.push(Error::invalid(path, list.to_vec(), why));
        return;
    }
    for (i, ip) in list.iter().enumerate().filter(|(_, ip)| *ip != "None") {
        is_ip(e, &format!("{path}[{i}]"), ip);
    }
    if list.is_empty() && !matches!(one, "" | "None") {
        is_ip(e, &format!("{path}[0]"), &json!(one));
    }
    if list.len() > 2 {
        let why = "may only hold up to 2 values";
        e.push(Error::invalid(path, list.to_vec(), why));
    } else if list.len() == 2 {
        let why = "may specify no more than one IP for each IP family";
        e.push(Error::invalid(path, list.to_vec(), why));
    }
}

fn ports(e: &mut Vec<Error>, ports: &[Value], kind: &str) {
    let (mut seen_names, mut seen, mut open) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (i, p) in ports.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        let at = |field: &str| format!("{path}.{field}");
        let name = str_at(p, "/name");
        if !name.is_empty() {
            text(e, &path, "name", name, names::dns_label(name));
            if !seen_names.insert(name) {
                e.push(Error::duplicate(&at("name"), name));
            }
        } else if ports.len() > 1 {
            e.push(Error::required(&at("name"), ""));
        }
        let port = int_at(p, "/port").unwrap_or(0);
        number(e, &path, "port", port, names::port_number(port));
        let protocol = str_at(p, "/protocol");
        one_of(e, &at("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
        match p.get("targetPort") {
            Some(Value::String(name)) => {
                text(e, &path, "targetPort", name, names::port_name(name));
            }
            Some(v) => {
                let why = names::port_number(v.as_i64().unwrap_or(0));
                all(e, &at("targetPort"), v, why);
            }
            None => {}
        }
        if let Some(name) = p.get("appProtocol").and_then(Value::as_str) {
            text(e, &path, "appProtocol", name, names::qualified_name(name));
        }
        let node_port = int_at(p, "/nodePort").unwrap_or(0);
        if node_port != 0 {
            if matches!(kind, "ClusterIP" | "ExternalName") {
                let why = format!("may not be used when `type` is '{kind}'");
                e.push(Error::forbidden(&at("nodePort"), why));
            }
            if !open.insert((protocol, node_port)) {
                e.push(Error::duplicate(&at("nodePort"), node_port));
            }
        }
        if !seen.insert((protocol, port)) {
            let value = json!({"port": port, "protocol": protocol});
            e.push(Error::duplicate(&path, value));
        }
    }
}

fn affinity(e: &mut Vec<Error>, object: &Value) {
    let affinity = str_at(object, "/spec/sessionAffinity");
    one_of(e, "spec.sessionAffinity", affinity, &["ClientIP", "None"]);
    let seconds = int_at(
        object,
        "/spec/sessionAffinityConfig/clientIP/timeoutSeconds",
    );
    if let Some(n) = seconds
        && affinity == "ClientIP"
        && !(1..=AFFINITY_MAX).contains(&n)
    {
        let why = format!("must be greater than 0 and less than {AFFINITY_MAX}");
        let at = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        e.push(Error::invalid(at, n, why));
    }
}

/// An address outside the cluster that nodes answer for; not one that means something else.
pub(super) fn external_ip(e: &mut Vec<Error>, at: &str, address: &Value) {
    let text = address.as_str().unwrap_or_default();
    let Ok(ip) = text.parse::<std::net::IpAddr>() else {
        is_ip(e, at, address);
        return;
    };
    let (local, group) = match ip {
        std::net::IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(ip) => (
            ip.segments()[0] & 0xffc0 == 0xfe80,
            ip.segments()[0] & 0xff0f == 0xff02,
        ),
    };
    for (is, why) in [
        (
            ip.is_unspecified(),
            format!("may not be unspecified ({text})"),
        ),
        (
            ip.is_loopback(),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned(),
        ),
        (
            local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned(),
        ),
        (
            group,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned(),
        ),
    ] {
        if is {
            e.push(Error::invalid(at, text, why));
        }
    }
}

fn balancer(e: &mut Vec<Error>, object: &Value, kind: &str) {
    let is = kind == "LoadBalancer";
    let ranges = list_at(object, "/spec/loadBalancerSourceRanges");
    // Upstream's spelling.
    let at = "spec.LoadBalancerSourceRanges";
    if !ranges.is_empty() && !is {
        e.push(Error::forbidden(at, BALANCER_ONLY));
    }
    for (i, range) in ranges.iter().enumerate() {
        let text = range.as_str().unwrap_or_default().trim();
        if !is_cidr(text) {
            let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            e.push(Error::invalid(&format!("{at}[{i}]"), text, why));
        }
    }
    for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if !is && object.pointer(&format!("/spec/{field}")).is_some() {
            e.push(Error::forbidden(&format!("spec.{field}"), BALANCER_ONLY));
        }
    }
    if is && let Some(class) = object.pointer("/spec/loadBalancerClass") {
        let class = class.as_str().unwrap_or_default();
        let why = names::qualified_name(class);
        text(e, "spec", "loadBalancerClass", class, why);
    }
}

/// Which pods take what comes from outside, and from inside (KEP-2086, KEP-4444).
fn traffic(e: &mut Vec<Error>, object: &Value, kind: &str) {
    let outside = matches!(kind, "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && !list_at(object, "/spec/externalIPs").is_empty());
    let policy = str_at(object, "/spec/externalTrafficPolicy");
    let at = "spec.externalTrafficPolicy";
    if outside {
        one_of(e, at, policy, &POLICIES);
    } else if !policy.is_empty() {
        let why = "may only be set for externally-accessible services";
        e.push(Error::invalid(at, policy, why));
    }
    let health = int_at(object, "/spec/healthCheckNodePort").unwrap_or(0);
    // One that is needed and left open is given after this.
    if health != 0 {
        if kind == "LoadBalancer" && policy == "Local" {
            let why = names::port_number(health);
            number(e, "spec", "healthCheckNodePort", health, why);
        } else {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            e.push(Error::invalid("spec.healthCheckNodePort", health, why));
        }
    }
    if let Some(policy) = object.pointer("/spec/internalTrafficPolicy") {
        let policy = policy.as_str().unwrap_or_default();
        if !POLICIES.contains(&policy) {
            let at = "spec.internalTrafficPolicy";
            e.push(Error::not_supported(at, policy, &POLICIES));
        }
    }
    if let Some(wish) = object.pointer("/spec/trafficDistribution") {
        let wish = wish.as_str().unwrap_or_default();
        let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        if !known.contains(&wish) {
            e.push(Error::not_supported(
                "spec.trafficDistribution",
                wish,
                &known,
            ));
        }
    }
}

pub(super) fn update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let both = |kind: &str| str_at(new, "/spec/type") == kind && str_at(old, "/spec/type") == kind;
    let either =
        |kind: &str| str_at(new, "/spec/type") == kind || str_at(old, "/spec/type") == kind;
    let address = |o: &Value| str_at(o, "/spec/clusterIP").to_owned();
    let (now, before) = (address(new), address(old));
    if !before.is_empty() && now != before && !either("ExternalName") {
        let why = "may not change once set";
        errors.push(Error::invalid("spec.clusterIPs[0]", json!([now]), why));
    }
    if both("LoadBalancer") {
        let class = |o: &Value| o.pointer("/spec/loadBalancerClass").cloned();
        if class(new) != class(old) {
            let value = class(new).unwrap_or_default();
            let why = "may not change once set";
            errors.push(Error::invalid("spec.loadBalancerClass", value, why));
        }
        let probed = |o: &Value| str_at(o, "/spec/externalTrafficPolicy") == "Local";
        let port = |o: &Value| int_at(o, "/spec/healthCheckNodePort");
        if probed(new) && probed(old) && port(new) != port(old) {
            let at = "spec.healthCheckNodePort";
            errors.push(Error::forbidden(at, "field is immutable"));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(spec_: Value) -> String {
        let mut s = json!({"spec": spec_});
        crate::defaults::service::apply(&mut s);
        spec(&s)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn good_services_pass() {
        assert_eq!(
            words(json!({"ports": [{"port": 80, "targetPort": "http"}]})),
            ""
        );
        assert_eq!(words(json!({"clusterIP": "None"})), "");
        assert_eq!(
            words(json!({"type": "ExternalName", "externalName": "a.example.com"})),
            ""
        );
    }

    #[test]
    fn each_rule_speaks() {
        assert_eq!(words(json!({})), "spec.ports: Required value");
        let w = words(
            json!({"type": "Magic", "sessionAffinity": "Glue", "selector": {"a b": "c"}, "ports": [
            {"port": 80}, {"name": "x", "port": 0, "protocol": "ICMP"}, {"name": "x", "port": 80, "targetPort": 99999}]}),
        );
        for want in [
            "spec.type: Unsupported value: \"Magic\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
            "spec.sessionAffinity: Unsupported value: \"Glue\"",
            "spec.selector: Invalid value: \"a b\"",
            "spec.ports[0].name: Required value",
            "spec.ports[1].port: Invalid value: 0: must be between",
            "spec.ports[1].protocol: Unsupported value: \"ICMP\"",
            "spec.ports[2].name: Duplicate value: \"x\"",
            "spec.ports[2].targetPort: Invalid value: 99999",
            "spec.ports[2]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\"}",
        ] {
            assert!(w.contains(want), "{want}\n--\n{w}");
        }
    }

    #[test]
    fn the_address_is_for_life() {
        let old = json!({"spec": {"type": "ClusterIP", "clusterIP": "10.96.0.7"}});
        let new = json!({"spec": {"type": "ClusterIP", "clusterIP": "10.96.0.8"}});
        assert_eq!(
            update(&new, &old)[0].to_string(),
            "spec.clusterIPs[0]: Invalid value: [\"10.96.0.8\"]: may not change once set"
        );
        assert!(update(&old, &old).is_empty());
    }

    #[test]
    fn what_belongs_to_one_type_is_refused_to_others() {
        let port = json!([{"port": 80}]);
        for (wish, want) in [
            (
                json!({"type": "ExternalName", "externalName": "a.b", "clusterIPs": ["1.2.3.4"]}),
                "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
            ),
            (
                json!({"ports": port, "loadBalancerClass": "a/b"}),
                "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
            ),
            (
                json!({"ports": port, "allocateLoadBalancerNodePorts": true}),
                "spec.allocateLoadBalancerNodePorts: Forbidden",
            ),
            (
                json!({"ports": port, "loadBalancerSourceRanges": ["x"]}),
                "spec.LoadBalancerSourceRanges[0]: Invalid value: \"x\": must be a valid CIDR value",
            ),
            (
                json!({"ports": port, "externalTrafficPolicy": "Local"}),
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
            ),
            (
                json!({"ports": port, "type": "NodePort", "healthCheckNodePort": 30000}),
                "spec.healthCheckNodePort: Invalid value: 30000: may only be set when",
            ),
            (
                json!({"ports": port, "externalIPs": ["127.0.0.1"]}),
                "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ),
            (
                json!({"ports": port, "ipFamilies": ["IPv6"]}),
                "spec.ipFamilies[0]: Invalid value: [\"IPv6\"]: not configured on this cluster",
            ),
            (
                json!({"ports": port, "ipFamilyPolicy": "RequireDualStack"}),
                "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
            ),
            (
                json!({"ports": port, "clusterIP": "x"}),
                "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address",
            ),
            (
                json!({"ports": port, "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 90_000}}}),
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: must be greater than 0 and less than 86400",
            ),
            (
                json!({"ports": port, "internalTrafficPolicy": "Near"}),
                "spec.internalTrafficPolicy: Unsupported value: \"Near\": supported values: \"Cluster\", \"Local\"",
            ),
            (
                json!({"ports": port, "trafficDistribution": "Near"}),
                "spec.trafficDistribution: Unsupported value: \"Near\"",
            ),
        ] {
            let w = words(wish);
            assert!(w.contains(want), "{want}\n--\n{w}");
        }
        assert_eq!(
            words(
                json!({"ports": port, "externalIPs": ["1.2.3.4"], "externalTrafficPolicy": "Local"})
            ),
            ""
        );
    }
}
