//! Rules for Services.

use serde_json::{Value, json};

use super::{all, labels, one_of};
use crate::field::Error;
use crate::json::{int_at, list_at, str_at};
use crate::names;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

pub(super) fn spec(object: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let kind = str_at(object, "/spec/type");
    let headless = str_at(object, "/spec/clusterIP") == "None";
    let ports = list_at(object, "/spec/ports");
    one_of(e, "spec.type", kind, &TYPES);
    one_of(
        e,
        "spec.sessionAffinity",
        str_at(object, "/spec/sessionAffinity"),
        &["ClientIP", "None"],
    );
    if ports.is_empty() && !headless && kind != "ExternalName" {
        e.push(Error::required("spec.ports", ""));
    }
    if kind == "ExternalName" {
        let name = str_at(object, "/spec/externalName").trim_end_matches('.');
        if name.is_empty() {
            e.push(Error::required("spec.externalName", ""));
        } else {
            all(
                e,
                "spec.externalName",
                &json!(name),
                names::dns_subdomain(name),
            );
        }
    }
    if headless && matches!(kind, "NodePort" | "LoadBalancer") {
        let why = format!("may not be set to 'None' for {kind} services");
        e.push(Error::invalid("spec.clusterIPs[0]", "None", why));
    }
    labels(e, "spec.selector", object, "/spec/selector");
    let mut seen_names = Vec::new();
    let mut seen_ports = Vec::new();
    for (i, p) in ports.iter().enumerate() {
        let at = |field: &str| format!("spec.ports[{i}].{field}");
        let name = str_at(p, "/name");
        if name.is_empty() {
            if ports.len() > 1 {
                e.push(Error::required(&at("name"), ""));
            }
        } else if seen_names.contains(&name) {
            e.push(Error::duplicate(&at("name"), name));
        } else {
            all(e, &at("name"), &json!(name), names::dns_label(name));
            seen_names.push(name);
        }
        let port = int_at(p, "/port").unwrap_or(0);
        all(e, &at("port"), &json!(port), names::port_number(port));
        let protocol = str_at(p, "/protocol");
        one_of(e, &at("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
        match p.get("targetPort") {
            Some(Value::String(s)) => all(e, &at("targetPort"), &json!(s), names::port_name(s)),
            Some(v) => {
                all(
                    e,
                    &at("targetPort"),
                    v,
                    names::port_number(v.as_i64().unwrap_or(0)),
                );
            }
            None => {}
        }
        if int_at(p, "/nodePort").unwrap_or(0) != 0 && matches!(kind, "ClusterIP" | "ExternalName")
        {
            let why = format!("may not be used when `type` is '{kind}'");
            e.push(Error::forbidden(&at("nodePort"), why));
        }
        if seen_ports.contains(&(port, protocol)) {
            let value = json!({"port": port, "protocol": protocol});
            e.push(Error::duplicate(&format!("spec.ports[{i}]"), value));
        }
        seen_ports.push((port, protocol));
    }
    errors
}

pub(super) fn update(new: &Value, old: &Value) -> Vec<Error> {
    let (now, before) = (
        str_at(new, "/spec/clusterIP"),
        str_at(old, "/spec/clusterIP"),
    );
    let external =
        str_at(new, "/spec/type") == "ExternalName" || str_at(old, "/spec/type") == "ExternalName";
    if before.is_empty() || now == before || external {
        return Vec::new();
    }
    vec![Error::invalid(
        "spec.clusterIPs[0]",
        json!([now]),
        "may not change once set",
    )]
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
}
