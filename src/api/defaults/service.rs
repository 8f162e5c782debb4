//! Defaults of a Service, and the values its cluster IP brings along.

use serde_json::{Map, Value, json};

use crate::json::{child, default, int_at, list_at, str_at};

/// Seconds a client sticks to its pod under `sessionAffinity: ClientIP` (upstream: 3 h).
const AFFINITY_SECONDS: i64 = 10_800;

/// Fills in what the client left open.
pub fn apply(object: &mut Value) {
    let Some(root) = object.as_object_mut() else {
        return;
    };
    let spec = child(root, "spec");
    default(spec, "sessionAffinity", "None");
    default(spec, "type", "ClusterIP");
    if spec["sessionAffinity"] == "ClientIP" {
        let config = child(child(spec, "sessionAffinityConfig"), "clientIP");
        default(config, "timeoutSeconds", AFFINITY_SECONDS);
    } else {
        spec.remove("sessionAffinityConfig");
    }
    for port in spec
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(p) = port.as_object_mut() {
            port_defaults(p);
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if kind != "ExternalName" {
        default(spec, "internalTrafficPolicy", "Cluster");
    }
    let named = spec.get("externalIPs").and_then(Value::as_array);
    let outside = named.is_some_and(|list| !list.is_empty()) && kind == "ClusterIP";
    if outside || kind == "NodePort" || kind == "LoadBalancer" {
        default(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn port_defaults(p: &mut Map<String, Value>) {
    default(p, "protocol", "TCP");
    let unset = match p.get("targetPort") {
        None | Some(Value::Null) => true,
        Some(Value::String(s)) => s.is_empty(),
        Some(v) => v.as_i64() == Some(0),
    };
    if unset {
        let port = p.get("port").cloned().unwrap_or(json!(0));
        p.insert("targetPort".into(), port);
    }
}

/// Writes the address given to a Service; `None` makes it headless. IPv4 only, like the
/// service range; but whose endpoints are written by hand may have both families even here.
pub fn set_cluster_ip(object: &mut Value, ip: Option<&str>) {
    let Some(root) = object.as_object_mut() else {
        return;
    };
    let spec = child(root, "spec");
    let ip = ip.unwrap_or("None");
    spec.insert("clusterIP".into(), json!(ip));
    spec.insert("clusterIPs".into(), json!([ip]));
    default(spec, "ipFamilies", json!(["IPv4"]));
    let selector = spec.get("selector").and_then(Value::as_object);
    let by_hand = ip == "None" && selector.is_none_or(Map::is_empty);
    if !by_hand {
        default(spec, "ipFamilyPolicy", "SingleStack");
        return;
    }
    default(spec, "ipFamilyPolicy", "RequireDualStack");
    let single = spec["ipFamilyPolicy"] == "SingleStack";
    if let Some([first]) = spec["ipFamilies"].as_array().map(Vec::as_slice)
        && !single
    {
        let other = if first == "IPv4" { "IPv6" } else { "IPv4" };
        spec.insert("ipFamilies".into(), json!([first, other]));
    }
}

/// Keeps, on update, what was allocated at birth and the client left out: `kubectl
/// replace` with a manifest that has no cluster IP must not lose it.
pub fn keep_allocated(new: &mut Value, old: &Value) {
    let wants_ip = str_at(new, "/spec/type") != "ExternalName";
    let had_ip = str_at(old, "/spec/type") != "ExternalName";
    let Some(root) = new.as_object_mut() else {
        return;
    };
    let spec = child(root, "spec");
    keep_ports(spec, old);
    drop_with_type(spec, old);
    if !(wants_ip && had_ip) {
        return;
    }
    let left_out = spec
        .get("clusterIP")
        .and_then(Value::as_str)
        .is_none_or(str::is_empty);
    if left_out {
        for key in ["clusterIP", "clusterIPs"] {
            if let Some(v) = old.pointer(&format!("/spec/{key}")) {
                spec.insert(key.into(), v.clone());
            }
        }
    } else if !spec.contains_key("clusterIPs") {
        let ip = spec["clusterIP"].clone();
        spec.insert("clusterIPs".into(), json!([ip]));
    }
    for key in ["ipFamilies", "ipFamilyPolicy"] {
        if let (false, Some(v)) = (spec.contains_key(key), old.pointer(&format!("/spec/{key}"))) {
            spec.insert(key.into(), v.clone());
        }
    }
}

/// What only the old type had a use for goes with it, if the client left it as it was.
fn drop_with_type(spec: &mut Map<String, Value>, old: &Value) {
    let before = str_at(old, "/spec/type");
    let now = spec.get("type").and_then(Value::as_str).unwrap_or_default();
    let useless: &[&str] = match (before, now) {
        (before, "ExternalName") if before != "ExternalName" => {
            &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]
        }
        _ => &[],
    };
    let balanced: &[&str] = match (before, now) {
        ("LoadBalancer", now) if now != "LoadBalancer" => {
            &["allocateLoadBalancerNodePorts", "loadBalancerClass"]
        }
        _ => &[],
    };
    for key in useless.iter().chain(balanced) {
        if spec.get(*key) == old.pointer(&format!("/spec/{key}")) {
            spec.remove(*key);
        }
    }
}

/// Node ports stay with their Service while it has a use for them, and go with the type
/// that needed them.
fn keep_ports(spec: &mut Map<String, Value>, old: &Value) {
    let open = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or_default();
    let (now, before) = (open(kind), open(str_at(old, "/spec/type")));
    let probed = |kind: &str, policy: &str| kind == "LoadBalancer" && policy == "Local";
    let policy = spec.get("externalTrafficPolicy").and_then(Value::as_str);
    let probed_now = probed(kind, policy.unwrap_or_default());
    if !before {
        return;
    }
    let had = list_at(old, "/spec/ports");
    let port_of = |port: &Value| {
        let protocol = match str_at(port, "/protocol") {
            "" => "TCP",
            protocol => protocol,
        };
        (int_at(port, "/port"), protocol.to_owned())
    };
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        let wanted = port_of(port);
        let Some(held) = had
            .iter()
            .find(|p| port_of(p) == wanted)
            .and_then(|p| int_at(p, "/nodePort"))
        else {
            continue;
        };
        let asked = int_at(port, "/nodePort").unwrap_or(0);
        let Some(port) = port.as_object_mut() else {
            continue;
        };
        if now && asked == 0 {
            port.insert("nodePort".into(), json!(held));
        } else if !now && asked == held {
            port.remove("nodePort");
        }
    }
    let same = |spec: &Map<String, Value>, key: &str| {
        spec.contains_key(key) && spec.get(key) == old.pointer(&format!("/spec/{key}"))
    };
    if !now && same(spec, "externalTrafficPolicy") {
        spec.remove("externalTrafficPolicy");
    }
    if let Some(port) = old.pointer("/spec/healthCheckNodePort") {
        if probed_now {
            default(spec, "healthCheckNodePort", port.clone());
        } else if same(spec, "healthCheckNodePort") {
            spec.remove("healthCheckNodePort");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_takes_along_what_only_it_had_a_use_for() {
        let old = json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
            "loadBalancerClass": "a/b", "allocateLoadBalancerNodePorts": true}});
        let mut new = old.clone();
        new["spec"]["type"] = json!("ClusterIP");
        keep_allocated(&mut new, &old);
        let address =
            json!({"type": "ClusterIP", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"]});
        assert_eq!(new["spec"], address);
        new["spec"]["type"] = json!("ExternalName");
        keep_allocated(&mut new, &json!({"spec": address}));
        assert_eq!(new["spec"], json!({"type": "ExternalName"}));
    }

    #[test]
    fn endpoints_written_by_hand_may_have_both_families() {
        let families = |spec: Value, ip: Option<&str>| {
            let mut service = json!({"spec": spec});
            set_cluster_ip(&mut service, ip);
            let spec = &service["spec"];
            (spec["ipFamilies"].clone(), spec["ipFamilyPolicy"].clone())
        };
        let one = (json!(["IPv4"]), json!("SingleStack"));
        assert_eq!(families(json!({}), Some("10.96.0.7")), one);
        assert_eq!(families(json!({"selector": {"a": "b"}}), None), one);
        assert_eq!(
            families(json!({"ipFamilyPolicy": "SingleStack"}), None),
            one
        );
        let both = (json!(["IPv4", "IPv6"]), json!("RequireDualStack"));
        assert_eq!(families(json!({"selector": {}}), None), both);
        let both = (json!(["IPv6", "IPv4"]), json!("RequireDualStack"));
        assert_eq!(families(json!({"ipFamilies": ["IPv6"]}), None), both);
    }

    #[test]
    fn node_ports_stay_with_their_type() {
        let old = json!({"spec": {"type": "NodePort", "externalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}});
        let mut new =
            json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80}, {"port": 81}]}});
        keep_allocated(&mut new, &old);
        assert_eq!(
            new["spec"]["ports"],
            json!([{"port": 80, "nodePort": 30080}, {"port": 81}])
        );
        let mut new = old.clone();
        new["spec"]["type"] = json!("ClusterIP");
        keep_allocated(&mut new, &old);
        assert_eq!(
            new["spec"],
            json!({"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP"}]})
        );
    }

    #[test]
    fn a_plain_service_is_completed() {
        let mut s = json!({"spec": {"ports": [{"port": 80}, {"port": 81, "targetPort": "web",
            "protocol": "UDP"}], "selector": {"a": "b"}}});
        apply(&mut s);
        assert_eq!(
            s["spec"],
            json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                "selector": {"a": "b"}, "ports": [
                    {"port": 80, "protocol": "TCP", "targetPort": 80},
                    {"port": 81, "protocol": "UDP", "targetPort": "web"}]})
        );
    }

    #[test]
    fn sticky_sessions_last_three_hours() {
        let mut s = json!({"spec": {"sessionAffinity": "ClientIP", "type": "NodePort"}});
        apply(&mut s);
        assert_eq!(
            s["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"],
            10800
        );
        assert_eq!(s["spec"]["externalTrafficPolicy"], "Cluster");
    }

    #[test]
    fn a_replace_without_address_keeps_it() {
        let mut old = json!({"spec": {"type": "ClusterIP"}});
        set_cluster_ip(&mut old, Some("10.96.0.7"));
        let mut new = json!({"spec": {"type": "ClusterIP", "ports": []}});
        keep_allocated(&mut new, &old);
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.96.0.7"]));
        assert_eq!(new["spec"]["ipFamilies"], json!(["IPv4"]));
        set_cluster_ip(&mut new, None);
        assert_eq!(new["spec"]["clusterIP"], "None");
    }
}
