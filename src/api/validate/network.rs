//! Rules for ingresses, network policies and endpoint slices.

use serde_json::{Value, json};

use super::selector::{immutable, label_selector};
use super::{all, one_of};
use crate::field::{Error, index};
use crate::json::{int_at, list_at, str_at};
use crate::names;

pub(super) fn ingress(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let rules = list_at(o, "/spec/rules");
    let fallback = o.pointer("/spec/defaultBackend");
    if rules.is_empty() && fallback.is_none() {
        e.push(Error::invalid(
            "spec",
            o.get("spec").cloned().unwrap_or_default(),
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    if let Some(found) = fallback {
        backend(e, "spec.defaultBackend", found);
    }
    for (i, tls) in list_at(o, "/spec/tls").iter().enumerate() {
        for (j, name) in list_at(tls, "/hosts").iter().enumerate() {
            let at = format!("spec.tls[{i}].hosts[{j}]");
            host(e, &at, name.as_str().unwrap_or_default());
        }
    }
    for (i, rule) in rules.iter().enumerate() {
        let path = index("spec.rules", i);
        let name = str_at(rule, "/host");
        if !name.is_empty() {
            host(e, &format!("{path}.host"), name);
        }
        let Some(http) = rule.get("http") else {
            continue;
        };
        let paths = list_at(http, "/paths");
        if paths.is_empty() {
            e.push(Error::required(&format!("{path}.http.paths"), ""));
        }
        for (j, entry) in paths.iter().enumerate() {
            let at = format!("{path}.http.paths[{j}]");
            http_path(e, &at, entry);
        }
    }
    if let Some(class) = o.pointer("/spec/ingressClassName").and_then(Value::as_str) {
        all(
            e,
            "spec.ingressClassName",
            &json!(class),
            names::dns_subdomain(class),
        );
    }
    errors
}

fn host(e: &mut Vec<Error>, at: &str, name: &str) {
    if name.parse::<std::net::IpAddr>().is_ok() {
        e.push(Error::invalid(
            at,
            name,
            "must be a DNS name, not an IP address",
        ));
        return;
    }
    let plain = name.strip_prefix("*.").unwrap_or(name);
    all(e, at, &json!(name), names::dns_subdomain(plain));
}

fn http_path(e: &mut Vec<Error>, at: &str, entry: &Value) {
    let path = str_at(entry, "/path");
    match entry.get("pathType").and_then(Value::as_str) {
        None | Some("") => e.push(Error::required(
            &format!("{at}.pathType"),
            "pathType must be specified",
        )),
        Some("Exact" | "Prefix") => {
            if !path.starts_with('/') {
                e.push(Error::invalid(
                    &format!("{at}.path"),
                    path,
                    "must be an absolute path",
                ));
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                if path.contains(bad) {
                    let why = format!("must not contain '{bad}'");
                    e.push(Error::invalid(&format!("{at}.path"), path, why));
                }
            }
            for bad in ["/..", "/."] {
                if path.ends_with(bad) {
                    let why = format!("cannot end with '{bad}'");
                    e.push(Error::invalid(&format!("{at}.path"), path, why));
                }
            }
        }
        Some("ImplementationSpecific") => {
            if !path.is_empty() && !path.starts_with('/') {
                e.push(Error::invalid(
                    &format!("{at}.path"),
                    path,
                    "must be an absolute path",
                ));
            }
        }
        Some(other) => e.push(Error::not_supported(
            &format!("{at}.pathType"),
            other,
            &["Exact", "ImplementationSpecific", "Prefix"],
        )),
    }
    match entry.get("backend") {
        Some(found) => backend(e, &format!("{at}.backend"), found),
        None => e.push(Error::required(&format!("{at}.backend"), "")),
    }
}

fn backend(e: &mut Vec<Error>, at: &str, found: &Value) {
    let (service, resource) = (found.get("service"), found.get("resource"));
    match (service, resource) {
        (Some(_), Some(_)) => e.push(Error::invalid(
            at,
            "",
            "cannot set both resource and service backends",
        )),
        (None, None) => e.push(Error::required(
            &format!("{at}.service"),
            "service or resource backend is required",
        )),
        (None, Some(_)) => {}
        (Some(service), None) => {
            let name = str_at(service, "/name");
            let place = format!("{at}.service.name");
            if name.is_empty() {
                e.push(Error::required(&place, ""));
            } else {
                all(e, &place, &json!(name), names::dns1035_label(name));
            }
            let number = int_at(service, "/port/number").unwrap_or(0);
            let port = str_at(service, "/port/name");
            match (number, port) {
                (0, "") => e.push(Error::required(
                    &format!("{at}.service.port"),
                    "port name or number is required",
                )),
                (0, port) => all(
                    e,
                    &format!("{at}.service.port.name"),
                    &json!(port),
                    names::port_name(port),
                ),
                (n, "") => all(
                    e,
                    &format!("{at}.service.port.number"),
                    &json!(n),
                    names::port_number(n),
                ),
                (_, _) => e.push(Error::invalid(
                    &format!("{at}.service.port"),
                    service["port"].clone(),
                    "cannot set both port name & port number",
                )),
            }
        }
    }
}

pub(super) fn ingress_class(o: &Value) -> Vec<Error> {
    let controller = str_at(o, "/spec/controller");
    if controller.is_empty() || !controller.contains('/') {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return vec![Error::invalid("spec.controller", controller, why)];
    }
    Vec::new()
}

pub(super) fn ingress_class_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    immutable(&mut errors, "spec.controller", new, old);
    errors
}

pub(super) fn policy(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    label_selector(e, "spec.podSelector", o, "/spec/podSelector");
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        let list = list_at(o, &format!("/spec/{rules}"));
        for (i, rule) in list.iter().enumerate() {
            let path = index(&format!("spec.{rules}"), i);
            for (j, port) in list_at(rule, "/ports").iter().enumerate() {
                policy_port(e, &index(&format!("{path}.ports"), j), port);
            }
            for (j, peer) in list_at(rule, &format!("/{peers}")).iter().enumerate() {
                policy_peer(e, &index(&format!("{path}.{peers}"), j), peer);
            }
        }
    }
    let types = list_at(o, "/spec/policyTypes");
    if types.len() > 2 {
        e.push(Error::invalid(
            "spec.policyTypes",
            json!(types),
            "may not specify more than two policyTypes",
        ));
    }
    for (i, kind) in types.iter().enumerate() {
        let kind = kind.as_str().unwrap_or_default();
        one_of(
            e,
            &index("spec.policyTypes", i),
            kind,
            &["Egress", "Ingress"],
        );
    }
    errors
}

fn policy_port(e: &mut Vec<Error>, at: &str, port: &Value) {
    one_of(
        e,
        &format!("{at}.protocol"),
        str_at(port, "/protocol"),
        &["SCTP", "TCP", "UDP"],
    );
    match port.get("port") {
        Some(Value::String(name)) => {
            all(
                e,
                &format!("{at}.port"),
                &json!(name),
                names::port_name(name),
            );
            if let Some(end) = int_at(port, "/endPort") {
                let why = "may not be specified when `port` is non-numeric";
                e.push(Error::invalid(&format!("{at}.endPort"), end, why));
            }
        }
        Some(value) => {
            let n = value.as_i64().unwrap_or(0);
            all(e, &format!("{at}.port"), value, names::port_number(n));
            if let Some(end) = int_at(port, "/endPort") {
                super::number(e, at, "endPort", end, names::port_number(end));
            }
            if let Some(end) = int_at(port, "/endPort")
                && end < n
            {
                e.push(Error::invalid(
                    &format!("{at}.endPort"),
                    end,
                    "must be greater than or equal to `port`",
                ));
            }
        }
        None if port.get("endPort").is_some() => e.push(Error::required(
            &format!("{at}.port"),
            "must be specified when `endPort` is specified",
        )),
        None => {}
    }
}

fn policy_peer(e: &mut Vec<Error>, at: &str, peer: &Value) {
    let mut kinds = 0;
    for key in ["podSelector", "namespaceSelector"] {
        if peer.get(key).is_some() {
            kinds += 1;
            label_selector(e, &format!("{at}.{key}"), peer, &format!("/{key}"));
        }
    }
    if let Some(block) = peer.get("ipBlock") {
        if kinds > 0 {
            e.push(Error::forbidden(
                at,
                "may not specify both ipBlock and another peer",
            ));
        }
        kinds += 1;
        let cidr = str_at(block, "/cidr");
        let place = format!("{at}.ipBlock.cidr");
        if cidr.is_empty() {
            e.push(Error::required(&place, ""));
        } else if !is_cidr(cidr) {
            e.push(Error::invalid(
                &place,
                cidr,
                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            ));
        }
    }
    let block = peer.get("ipBlock").unwrap_or(&Value::Null);
    for (i, part) in list_at(block, "/except").iter().enumerate() {
        let part = part.as_str().unwrap_or_default();
        let at = format!("{at}.ipBlock.except[{i}]");
        if !is_cidr(part) {
            let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            e.push(Error::invalid(&at, part, why));
        } else if !is_part_of(part, str_at(block, "/cidr")) {
            e.push(Error::invalid(
                &at,
                part,
                "must be a strict subset of `cidr`",
            ));
        }
    }
    if kinds == 0 {
        e.push(Error::required(at, "must specify a peer"));
    }
}

/// First address, as a number, and prefix length, of 32 or 128 bits.
fn block(cidr: &str) -> Option<(u128, u32, u32)> {
    let (address, length) = cidr.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    let (number, bits): (u128, u32) = match address.parse().ok()? {
        std::net::IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32),
        std::net::IpAddr::V6(ip) => (u128::from(ip), 128),
    };
    let host = bits.checked_sub(length)?;
    let mask = u128::MAX.checked_shl(host).unwrap_or(0);
    Some((number & mask, length, bits))
}

/// Whether one block of addresses lies in another, and is smaller.
fn is_part_of(part: &str, whole: &str) -> bool {
    let (Some((first, length, bits)), Some((start, outer, of))) = (block(part), block(whole))
    else {
        return false;
    };
    let mask = u128::MAX.checked_shl(of - outer).unwrap_or(0);
    bits == of && length > outer && first & mask == start
}

/// Address and prefix length, of either family.
pub(super) fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let Ok(length) = length.parse::<u8>() else {
        return false;
    };
    match address.parse() {
        Ok(std::net::IpAddr::V4(_)) => length <= 32,
        Ok(std::net::IpAddr::V6(_)) => length <= 128,
        Err(_) => false,
    }
}

/// Most endpoints of a slice, addresses of an endpoint and ports of a slice (KEP-752).
const SLICE_ENDPOINTS: usize = 1000;
const SLICE_ADDRESSES: usize = 100;
const SLICE_PORTS: usize = 100;

pub(super) fn slice(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let endpoints = list_at(o, "/endpoints").len();
    if endpoints > SLICE_ENDPOINTS {
        e.push(Error::too_many("endpoints", endpoints, SLICE_ENDPOINTS));
    }
    let kind = str_at(o, "/addressType");
    one_of(e, "addressType", kind, &["FQDN", "IPv4", "IPv6"]);
    for (i, endpoint) in list_at(o, "/endpoints").iter().enumerate() {
        let addresses = list_at(endpoint, "/addresses");
        let at = format!("endpoints[{i}].addresses");
        if addresses.len() > SLICE_ADDRESSES {
            e.push(Error::too_many(&at, addresses.len(), SLICE_ADDRESSES));
        }
        for (field, rule) in [
            ("hostname", names::dns_label as fn(&str) -> Vec<String>),
            ("nodeName", names::dns_subdomain),
        ] {
            if let Some(name) = endpoint.get(field).and_then(Value::as_str) {
                super::text(e, &format!("endpoints[{i}]"), field, name, rule(name));
            }
        }
        if addresses.is_empty() {
            e.push(Error::required(&at, "must contain at least 1 address"));
        }
        for (j, address) in addresses.iter().enumerate() {
            let text = address.as_str().unwrap_or_default();
            let good = match kind {
                "IPv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
                "IPv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
                _ => {
                    super::texts(e, &format!("{at}[{j}]"), text, names::dns_subdomain(text));
                    continue;
                }
            };
            if good {
                super::service::external_ip(e, &format!("{at}[{j}]"), address);
            } else {
                let why = format!("must be a valid {kind} address");
                e.push(Error::invalid(&format!("{at}[{j}]"), text, why));
            }
        }
    }
    let ports = list_at(o, "/ports");
    if ports.len() > SLICE_PORTS {
        e.push(Error::too_many("ports", ports.len(), SLICE_PORTS));
    }
    for (i, port) in ports.iter().enumerate() {
        let name = str_at(port, "/name");
        let at = format!("ports[{i}].name");
        if ports
            .iter()
            .take(i)
            .any(|other| str_at(other, "/name") == name)
        {
            e.push(Error::duplicate(&at, name));
        }
        if !name.is_empty() {
            super::texts(e, &at, name, names::dns_label(name));
        }
        if let Some(name) = port.get("appProtocol").and_then(Value::as_str) {
            let why = names::qualified_name(name);
            super::text(e, &format!("ports[{i}]"), "appProtocol", name, why);
        }
        if let Some(n) = int_at(port, "/port") {
            all(
                e,
                &format!("ports[{i}].port"),
                &json!(n),
                names::port_number(n),
            );
        }
    }
    errors
}

pub(super) fn slice_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    immutable(&mut errors, "addressType", new, old);
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(errors: &[Error]) -> String {
        errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn blocks_are_cut_out_of_larger_ones() {
        let policy = |cidr: &str, except: &str| {
            words(&super::policy(
                &json!({"spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": cidr, "except": [except]}}]}]}}),
            ))
        };
        assert_eq!(policy("10.0.0.0/8", "10.1.0.0/16"), "");
        assert_eq!(policy("0.0.0.0/0", "10.1.0.0/16"), "");
        assert_eq!(policy("::/0", "fd00::/8"), "");
        for except in ["10.0.0.0/8", "11.0.0.0/16", "fd00::/8"] {
            assert!(
                policy("10.0.0.0/8", except).contains("must be a strict subset of `cidr`"),
                "{except}"
            );
        }
        assert!(
            policy("10.0.0.0/8", "x")
                .contains("ipBlock.except[0]: Invalid value: \"x\": must be a valid CIDR value")
        );
    }

    #[test]
    fn slices_are_bounded_and_plain() {
        let w = words(&slice(
            &json!({"addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"], "hostname": "A"}, {"addresses": ["::1"]}],
            "ports": [{"name": "a", "port": 1}, {"name": "a", "port": 0}]}),
        ));
        for want in [
            "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range",
            "endpoints[0].hostname: Invalid value: \"A\"",
            "endpoints[1].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address",
            "ports[1].name: Duplicate value: \"a\"",
            "ports[1].port: Invalid value: 0",
        ] {
            assert!(w.contains(want), "{want}\n--\n{w}");
        }
        let many = vec![json!({"addresses": ["10.0.0.1"]}); 1001];
        let w = words(&slice(&json!({"addressType": "IPv4", "endpoints": many})));
        assert_eq!(w, "endpoints: Too many: 1001: must have at most 1000 items");
    }
}
