//! Rules for the small kinds: ConfigMap, Secret, Node, Event, Lease, Endpoints.

use serde_json::{Value, json};

use super::{all, one_of};
use crate::field::{Error, key};
use crate::json::{bool_at, int_at, list_at, map_at, str_at};
use crate::names;

/// Most bytes of data in one ConfigMap or Secret (upstream: 1 MiB).
const DATA_MAX: usize = 1024 * 1024;

pub(super) fn config_map(object: &Value) -> Vec<Error> {
    let mut e = Vec::new();
    let mut bytes = 0;
    for (part, binary) in [("data", false), ("binaryData", true)] {
        for (name, value) in map_at(object, &format!("/{part}")).into_iter().flatten() {
            let at = key(part, name);
            all(&mut e, &at, &json!(name), names::config_key(name));
            let other = if binary { "data" } else { "binaryData" };
            if !binary && object.get(other).and_then(|o| o.get(name)).is_some() {
                let why = format!("duplicate of key present in {other}");
                e.push(Error::invalid(&at, name.as_str(), why));
            }
            let text = value.as_str().unwrap_or_default();
            bytes += if binary {
                text.len() / 4 * 3
            } else {
                text.len()
            };
        }
    }
    if bytes > DATA_MAX {
        // Upstream reports the whole object here, and writes its empty path so.
        e.push(Error::too_long("[]", DATA_MAX));
    }
    e
}

pub(super) fn secret(object: &Value) -> Vec<Error> {
    let mut e = Vec::new();
    let mut bytes = 0;
    for (name, value) in map_at(object, "/data").into_iter().flatten() {
        all(
            &mut e,
            &key("data", name),
            &json!(name),
            names::config_key(name),
        );
        bytes += value.as_str().unwrap_or_default().len() / 4 * 3;
    }
    if bytes > DATA_MAX {
        e.push(Error::too_long("data", DATA_MAX));
    }
    let has = |name: &str| object.get("data").and_then(|d| d.get(name)).is_some();
    let need: &[&str] = match str_at(object, "/type") {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            &["username", "password"]
        }
        "kubernetes.io/service-account-token" => {
            let owner = "kubernetes.io/service-account.name";
            let at = map_at(object, "/metadata/annotations").and_then(|a| a.get(owner));
            if at.and_then(Value::as_str).is_none_or(str::is_empty) {
                e.push(Error::required(&key("metadata.annotations", owner), ""));
            }
            &[]
        }
        _ => &[],
    };
    for name in need.iter().filter(|n| !has(n)) {
        e.push(Error::required(&key("data", name), ""));
    }
    // What a registry's credentials are is JSON, and its faults must not show them.
    for name in [".dockerconfigjson", ".dockercfg"]
        .iter()
        .filter(|n| need.contains(n))
    {
        let text = object
            .get("data")
            .and_then(|d| d.get(*name))
            .and_then(Value::as_str);
        let Some(bytes) = text.and_then(|text| crate::json::base64_decode(text).ok()) else {
            continue;
        };
        if let Err(why) = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes) {
            let at = key("data", name);
            let why = match why.is_eof() {
                true => "unexpected end of JSON input".to_owned(),
                false => "invalid character in JSON input".to_owned(),
            };
            e.push(Error::invalid(&at, "<secret contents redacted>", why));
        }
    }
    e
}

/// Immutable data stays; the type of a Secret stays in any case.
pub(super) fn data_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut e = Vec::new();
    if old.get("type").is_some() && new.get("type") != old.get("type") {
        e.push(Error::invalid(
            "type",
            str_at(new, "/type"),
            "field is immutable",
        ));
    }
    if bool_at(old, "/immutable") {
        if !bool_at(new, "/immutable") {
            e.push(Error::forbidden(
                "immutable",
                "field is immutable when `immutable` is set",
            ));
        }
        for part in ["data", "binaryData"] {
            if new.get(part) != old.get(part) {
                e.push(Error::forbidden(
                    part,
                    "field is immutable when `immutable` is set",
                ));
            }
        }
    }
    e
}

pub(super) fn node(object: &Value) -> Vec<Error> {
    let mut e = Vec::new();
    let mut seen = Vec::new();
    for (i, t) in list_at(object, "/spec/taints").iter().enumerate() {
        let at = |field: &str| format!("spec.taints[{i}].{field}");
        let (name, effect) = (str_at(t, "/key"), str_at(t, "/effect"));
        all(
            &mut e,
            &at("key"),
            &json!(name),
            names::qualified_name(name),
        );
        let value = str_at(t, "/value");
        all(
            &mut e,
            &at("value"),
            &json!(value),
            names::label_value(value),
        );
        one_of(
            &mut e,
            &at("effect"),
            effect,
            &["NoSchedule", "PreferNoSchedule", "NoExecute"],
        );
        if seen.contains(&(name, effect)) {
            let mut d = Error::duplicate(&format!("spec.taints[{i}]"), t.clone());
            d.detail = "taints must be unique by key and effect pair".into();
            e.push(d);
        }
        seen.push((name, effect));
    }
    for part in ["capacity", "allocatable"] {
        for (name, value) in map_at(object, &format!("/status/{part}"))
            .into_iter()
            .flatten()
        {
            let parsed = value
                .as_str()
                .unwrap_or_default()
                .parse::<crate::quantity::Quantity>();
            if let Err(why) = parsed {
                let at = key(&format!("status.{part}"), name);
                e.push(Error::invalid(&at, value.clone(), why.to_string()));
            }
        }
    }
    e
}

pub(super) fn node_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut e = Vec::new();
    let (now, before) = (
        list_at(new, "/spec/podCIDRs"),
        list_at(old, "/spec/podCIDRs"),
    );
    let (one, was) = (str_at(new, "/spec/podCIDR"), str_at(old, "/spec/podCIDR"));
    let moved = !before.is_empty() && now != before;
    if moved || (!was.is_empty() && one != was) {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        e.push(Error::forbidden("spec.podCIDRs", why));
    }
    let (one, was) = (
        str_at(new, "/spec/providerID"),
        str_at(old, "/spec/providerID"),
    );
    if !was.is_empty() && one != was {
        let why = "node updates may not change providerID except from \"\" to valid";
        e.push(Error::forbidden("spec.providerID", why));
    }
    // Whatever else there is in the spec stays as it is.
    let rest = |node: &Value| {
        let mut spec = node.get("spec").cloned().unwrap_or_default();
        for field in [
            "unschedulable",
            "taints",
            "podCIDR",
            "podCIDRs",
            "providerID",
        ] {
            if let Some(members) = spec.as_object_mut() {
                members.remove(field);
            }
        }
        spec
    };
    let (now, before) = (rest(new), rest(old));
    let bare = |spec: &Value| spec.as_object().is_none_or(serde_json::Map::is_empty);
    if now != before && !(bare(&now) && bare(&before)) {
        let why = "node updates may only change labels, taints, or capacity (or configSource, if the DynamicKubeletConfig feature gate is enabled)";
        e.push(Error::forbidden("[]", why));
    }
    e
}

pub(super) fn event(object: &Value) -> Vec<Error> {
    let own = str_at(object, "/metadata/namespace");
    let about = str_at(object, "/involvedObject/namespace");
    // Events about things without a namespace live in `default`.
    if about == own || (about.is_empty() && (own == "default" || own == "kube-system")) {
        return Vec::new();
    }
    vec![Error::invalid(
        "involvedObject.namespace",
        about,
        "does not match event.namespace",
    )]
}

pub(super) fn lease(object: &Value) -> Vec<Error> {
    let mut e = Vec::new();
    if object
        .pointer("/spec/holderIdentity")
        .and_then(Value::as_str)
        == Some("")
    {
        e.push(Error::invalid(
            "spec.holderIdentity",
            "",
            "must not be empty",
        ));
    }
    for field in ["leaseDurationSeconds", "leaseTransitions"] {
        let least = i64::from(field == "leaseDurationSeconds");
        if let Some(n) = int_at(object, &format!("/spec/{field}"))
            && n < least
        {
            let why = if least == 1 {
                "must be greater than 0"
            } else {
                "must be greater than or equal to 0"
            };
            e.push(Error::invalid(&format!("spec.{field}"), n, why));
        }
    }
    e
}

pub(super) fn endpoints(object: &Value) -> Vec<Error> {
    let mut e = Vec::new();
    for (i, subset) in list_at(object, "/subsets").iter().enumerate() {
        let path = format!("subsets[{i}]");
        let ready = list_at(subset, "/addresses");
        if ready.is_empty() && list_at(subset, "/notReadyAddresses").is_empty() {
            e.push(Error::required(
                &path,
                "must specify `addresses` or `notReadyAddresses`",
            ));
        }
        for part in ["addresses", "notReadyAddresses"] {
            for (j, a) in list_at(subset, &format!("/{part}")).iter().enumerate() {
                let ip = a.get("ip").unwrap_or(&Value::Null);
                let at = format!("{path}.{part}[{j}]");
                super::service::external_ip(&mut e, &format!("{at}.ip"), ip);
                let host = str_at(a, "/hostname");
                if !host.is_empty() {
                    super::text(&mut e, &at, "hostname", host, names::dns_label(host));
                }
            }
        }
        let ports = list_at(subset, "/ports");
        for (j, p) in ports.iter().enumerate() {
            let at = |field: &str| format!("{path}.ports[{j}].{field}");
            if ports.len() > 1 && str_at(p, "/name").is_empty() {
                e.push(Error::required(&at("name"), ""));
            }
            let port = int_at(p, "/port").unwrap_or(0);
            all(&mut e, &at("port"), &json!(port), names::port_number(port));
        }
    }
    e
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
    fn keys_and_sizes_of_data() {
        let w = words(&config_map(
            &json!({"data": {"a/b": "x", "k": "1"}, "binaryData": {"k": "AAAA"}}),
        ));
        assert!(w.contains("data[a/b]: Invalid value: \"a/b\": a valid config key must"));
        assert!(
            w.contains("data[k]: Invalid value: \"k\": duplicate of key present in binaryData")
        );
        let big = config_map(&json!({"data": {"k": "x".repeat(DATA_MAX + 1)}}));
        assert_eq!(
            big[0].to_string(),
            "[]: Too long: may not be more than 1048576 bytes"
        );
        assert_eq!(
            words(&secret(
                &json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "ew=="}})
            )),
            "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": unexpected end of JSON input"
        );
        assert_eq!(
            words(&secret(
                &json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "AAAA"}})
            )),
            "data[tls.key]: Required value"
        );
    }

    #[test]
    fn immutable_data_stays() {
        let old = json!({"type": "Opaque", "immutable": true, "data": {"a": "AAAA"}});
        let new = json!({"type": "Other", "data": {"a": "BBBB"}});
        assert_eq!(data_update(&new, &old).len(), 3);
        assert!(data_update(&old, &old).is_empty());
    }

    #[test]
    fn taints_are_unique_by_key_and_effect() {
        let t = json!({"key": "k", "effect": "NoSchedule"});
        let w = words(&node(
            &json!({"spec": {"taints": [t, t, {"key": "k", "effect": "Never"}]}}),
        ));
        assert!(w.contains("spec.taints[1]: Duplicate value"));
        assert!(w.contains("spec.taints[2].effect: Unsupported value: \"Never\""));
        let set = json!({"spec": {"podCIDR": "10.244.0.0/24"}});
        assert!(node_update(&set, &json!({})).is_empty());
        assert_eq!(node_update(&json!({}), &set).len(), 1);
    }

    #[test]
    fn events_live_beside_what_they_tell_of() {
        let e = |own: &str, about: &str| {
            event(&json!({"metadata": {"namespace": own}, "involvedObject": {"namespace": about}}))
                .len()
        };
        assert_eq!(
            (e("a", "a"), e("default", ""), e("a", ""), e("a", "b")),
            (0, 0, 1, 1)
        );
    }

    #[test]
    fn a_node_keeps_what_it_was_given() {
        let node = |spec: Value| json!({"spec": spec});
        let old =
            node(json!({"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"], "providerID": "p"}));
        let said = |new: Value, old: &Value| words(&node_update(&node(new), old));
        let change = json!({"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24"], "providerID": "q",
            "unschedulable": true, "externalID": "x"});
        let w = said(change.clone(), &old);
        for part in [
            "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
            "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
            "[]: Forbidden: node updates may only change labels, taints, or capacity",
        ] {
            assert!(w.contains(part), "{w}");
        }
        let mut first = change;
        first.as_object_mut().unwrap().remove("externalID");
        assert_eq!(said(first, &node(json!({}))), "");
    }

    #[test]
    fn leases_and_endpoints() {
        assert_eq!(
            lease(&json!({"spec": {"holderIdentity": "", "leaseDurationSeconds": 0}})).len(),
            2
        );
        let w = words(&endpoints(
            &json!({"subsets": [{"addresses": [{"ip": "x"}], "ports": [{"port": 0}]}, {}]}),
        ));
        assert!(w.contains("subsets[0].addresses[0].ip: Invalid value: \"x\""));
        assert!(w.contains("subsets[0].ports[0].port: Invalid value: 0"));
        assert!(w.contains("subsets[1]: Required value"));
    }
}
