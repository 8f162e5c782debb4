//! Rows of the core kinds other than pods, and of leases.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{AGE, Column, NAME, NONE, age, column, name, number, or, pairs, wide};
use crate::clock;
use crate::json::{bool_at, int_at, list_at, map_at, str_at};

pub(super) const NODE: &[Column] = &[
    NAME,
    column("Status", "Whether the node takes and runs pods."),
    column("Roles", "What the node is for."),
    AGE,
    column("Version", "Version of the node agent."),
    wide("Internal-IP", "Address inside the cluster."),
    wide("External-IP", "Address from outside."),
    wide("OS-Image", "Operating system."),
    wide("Kernel-Version", "Kernel."),
    wide("Container-Runtime", "What runs the containers."),
];
pub(super) const NAMESPACE: &[Column] = &[
    NAME,
    column("Status", "Active, or Terminating while being emptied."),
    AGE,
];
pub(super) const SERVICE: &[Column] = &[
    NAME,
    column("Type", "How the service is reached."),
    column("Cluster-IP", "Address inside the cluster."),
    column("External-IP", "Address from outside."),
    column("Port(s)", "Ports and their protocols."),
    AGE,
    wide("Selector", "Labels of the pods behind it."),
];
pub(super) const ENDPOINTS: &[Column] = &[
    NAME,
    column("Endpoints", "Addresses and ports behind the service."),
    AGE,
];
pub(super) const CONFIG_MAP: &[Column] = &[NAME, number("Data", "How many keys."), AGE];
pub(super) const SECRET: &[Column] = &[
    NAME,
    column("Type", "What the secret is for."),
    number("Data", "How many keys."),
    AGE,
];
pub(super) const SERVICE_ACCOUNT: &[Column] = &[NAME, AGE];
pub(super) const LEASE: &[Column] = &[NAME, column("Holder", "Who holds the lease."), AGE];
pub(super) const EVENT: &[Column] = &[
    column("Last Seen", "Time since it last happened."),
    column("Type", "Normal or Warning."),
    column("Reason", "One word for machines."),
    column("Object", "What the event is about."),
    wide("Subobject", "Which part of it."),
    wide("Source", "Who reported it."),
    column("Message", "One sentence for people."),
    wide("First Seen", "Time since it first happened."),
    Column {
        kind: "integer",
        ..wide("Count", "How often it happened.")
    },
    Column {
        format: "name",
        ..wide("Name", "Name of the event itself.")
    },
];

pub(super) fn node(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let ready = list_at(o, "/status/conditions")
        .iter()
        .find(|c| str_at(c, "/type") == "Ready");
    let mut status = match ready.map(|c| str_at(c, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if bool_at(o, "/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in map_at(o, "/metadata/labels").into_iter().flatten() {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/") {
            if !role.is_empty() {
                roles.push(role);
            }
        } else if key == "kubernetes.io/role" {
            roles.extend(value.as_str().filter(|r| !r.is_empty()));
        }
    }
    roles.sort_unstable();
    roles.dedup();
    let address = |kind: &str| {
        list_at(o, "/status/addresses")
            .iter()
            .find(|a| str_at(a, "/type") == kind)
            .map_or(NONE, |a| str_at(a, "/address"))
    };
    let info = |key: &str| or(str_at(o, &format!("/status/nodeInfo/{key}")), "<unknown>");
    vec![
        name(o),
        json!(status),
        json!(or(&roles.join(","), NONE)),
        age(o, now),
        json!(str_at(o, "/status/nodeInfo/kubeletVersion")),
        json!(address("InternalIP")),
        json!(address("ExternalIP")),
        json!(info("osImage")),
        json!(info("kernelVersion")),
        json!(info("containerRuntimeVersion")),
    ]
}

pub(super) fn namespace(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    vec![name(o), json!(str_at(o, "/status/phase")), age(o, now)]
}

pub(super) fn service(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let kind = str_at(o, "/spec/type");
    let ip = or(str_at(o, "/spec/clusterIP"), NONE);
    let external = list_at(o, "/spec/externalIPs")
        .iter()
        .filter_map(Value::as_str);
    let balancers = balancers(o);
    let outside = match kind {
        "ExternalName" => str_at(o, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let all: Vec<&str> = balancers.into_iter().chain(external).collect();
            or(&all.join(","), "<pending>").to_owned()
        }
        _ => or(&external.collect::<Vec<_>>().join(","), NONE).to_owned(),
    };
    let ports: Vec<String> = list_at(o, "/spec/ports")
        .iter()
        .map(|p| {
            let port = int_at(p, "/port").unwrap_or(0);
            let protocol = str_at(p, "/protocol");
            match int_at(p, "/nodePort").unwrap_or(0) {
                0 => format!("{port}/{protocol}"),
                node => format!("{port}:{node}/{protocol}"),
            }
        })
        .collect();
    vec![
        name(o),
        json!(kind),
        json!(ip),
        json!(outside),
        json!(or(&ports.join(","), NONE)),
        age(o, now),
        pairs(o, "/spec/selector"),
    ]
}

/// Where a load balancer is reached: addresses and names, each once, in order.
pub(super) fn balancers(o: &Value) -> BTreeSet<&str> {
    list_at(o, "/status/loadBalancer/ingress")
        .iter()
        .map(|i| or(str_at(i, "/ip"), str_at(i, "/hostname")))
        .filter(|place| !place.is_empty())
        .collect()
}

pub(super) fn endpoints(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    /// More addresses than these are only counted.
    const SHOWN: usize = 3;
    let subsets = list_at(o, "/subsets");
    let mut all = Vec::new();
    for subset in subsets {
        let ports = list_at(subset, "/ports");
        let ips = || {
            list_at(subset, "/addresses")
                .iter()
                .map(|address| str_at(address, "/ip"))
        };
        if ports.is_empty() {
            all.extend(ips().map(str::to_owned));
        }
        // All addresses of one port, then those of the next.
        for port in ports {
            let port = int_at(port, "/port").unwrap_or(0);
            all.extend(ips().map(|ip| match ip.contains(':') {
                true => format!("[{ip}]:{port}"),
                false => format!("{ip}:{port}"),
            }));
        }
    }
    let shown = all[..all.len().min(SHOWN)].join(",");
    let text = match all.len() {
        // Subsets whose addresses are not ready show nothing at all.
        0 if subsets.is_empty() => NONE.to_owned(),
        n if n > SHOWN => format!("{shown} + {} more...", n - SHOWN),
        _ => shown,
    };
    vec![name(o), json!(text), age(o, now)]
}

fn count(o: &Value, part: &str) -> usize {
    map_at(o, part).map_or(0, |m| m.len())
}

pub(super) fn config_map(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    vec![
        name(o),
        json!(count(o, "/data") + count(o, "/binaryData")),
        age(o, now),
    ]
}

pub(super) fn secret(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    vec![
        name(o),
        json!(str_at(o, "/type")),
        json!(count(o, "/data")),
        age(o, now),
    ]
}

pub(super) fn service_account(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    vec![name(o), age(o, now)]
}

pub(super) fn lease(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    vec![
        name(o),
        json!(str_at(o, "/spec/holderIdentity")),
        age(o, now),
    ]
}

pub(super) fn event(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let first = or(str_at(o, "/firstTimestamp"), str_at(o, "/eventTime"));
    let mut last = or(str_at(o, "/lastTimestamp"), first);
    let mut times = int_at(o, "/count").unwrap_or(0).max(1);
    if o.get("series").is_some_and(Value::is_object) {
        last = str_at(o, "/series/lastObservedTime");
        times = int_at(o, "/series/count").unwrap_or(times);
    }
    let kind = str_at(o, "/involvedObject/kind").to_lowercase();
    let about = match str_at(o, "/involvedObject/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let component = or(
        str_at(o, "/source/component"),
        str_at(o, "/reportingComponent"),
    );
    let host = or(str_at(o, "/source/host"), str_at(o, "/reportingInstance"));
    let source = if host.is_empty() {
        component.to_owned()
    } else {
        format!("{component}, {host}")
    };
    vec![
        json!(clock::age(last, now)),
        json!(str_at(o, "/type")),
        json!(str_at(o, "/reason")),
        json!(about),
        json!(str_at(o, "/involvedObject/fieldPath")),
        json!(source),
        json!(str_at(o, "/message").trim()),
        json!(clock::age(first, now)),
        json!(times),
        name(o),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-20 20:00:00 UTC);

    #[test]
    fn nodes() {
        let o = json!({"metadata": {"name": "n", "creationTimestamp": "2026-11-20T19:00:00Z",
                "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "a"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.2.15"}],
                "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian"}}});
        let c = node(&o, NOW);
        assert_eq!(
            c,
            [
                "n",
                "Ready,SchedulingDisabled",
                "a,control-plane",
                "60m",
                "v1.36.0",
                "10.0.2.15",
                "<none>",
                "Debian",
                "<unknown>",
                "<unknown>"
            ]
        );
        assert_eq!(
            node(
                &json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}),
                NOW
            )[1],
            "NotReady"
        );
    }

    #[test]
    fn services() {
        let row =
            |spec: Value, status: Value| service(&json!({"spec": spec, "status": status}), NOW);
        let c = row(
            json!({"type": "NodePort", "clusterIP": "10.96.0.7", "selector": {"c": "d", "a": "b"},
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}),
            json!({}),
        );
        assert_eq!(
            c[1..5],
            ["NodePort", "10.96.0.7", "<none>", "80:30080/TCP,53/UDP"]
        );
        assert_eq!(c[6], "a=b,c=d");
        assert_eq!(
            row(json!({"type": "LoadBalancer"}), json!({}))[3],
            "<pending>"
        );
        let lb = json!({"loadBalancer": {"ingress": [{"hostname": "x.y"}, {"ip": "1.2.3.4"}, {"ip": "1.2.3.4"}]}});
        assert_eq!(row(json!({"type": "LoadBalancer"}), lb)[3], "1.2.3.4,x.y");
        assert_eq!(
            row(
                json!({"type": "ExternalName", "externalName": "e"}),
                json!({})
            )[2..5],
            ["<none>", "e", "<none>"]
        );
    }

    #[test]
    fn endpoints_beyond_three_are_counted() {
        let ips: Vec<Value> = (1..=5)
            .map(|i| json!({"ip": format!("10.0.0.{i}")}))
            .collect();
        let c = endpoints(
            &json!({"subsets": [{"addresses": ips, "ports": [{"port": 80}]}]}),
            NOW,
        );
        assert_eq!(c[1], "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...");
    }

    #[test]
    fn endpoints_go_by_port_and_hide_what_is_not_ready() {
        let two = json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]);
        for (subsets, shown) in [
            (json!([]), "<none>"),
            (
                json!([{"notReadyAddresses": two, "ports": [{"port": 80}]}]),
                "",
            ),
            (json!([{"addresses": two}]), "10.0.0.1,10.0.0.2"),
            (
                json!([{"addresses": two, "ports": [{"port": 80}, {"port": 443}]}]),
                "10.0.0.1:80,10.0.0.2:80,10.0.0.1:443 + 1 more...",
            ),
        ] {
            assert_eq!(endpoints(&json!({"subsets": subsets}), NOW)[1], shown);
        }
    }

    #[test]
    fn events_of_both_generations() {
        let old = json!({"metadata": {"name": "e"}, "type": "Normal", "reason": "Pulled", "message": " done\n",
            "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"},
            "source": {"component": "kubelet", "host": "n"}, "count": 4,
            "firstTimestamp": "2026-11-20T19:59:00Z", "lastTimestamp": "2026-11-20T19:59:30Z"});
        assert_eq!(
            event(&old, NOW),
            vec![
                json!("30s"),
                json!("Normal"),
                json!("Pulled"),
                json!("pod/p"),
                json!("spec.containers{c}"),
                json!("kubelet, n"),
                json!("done"),
                json!("60s"),
                json!(4),
                json!("e")
            ]
        );
        let new = json!({"eventTime": "2026-11-20T19:59:00.000001Z", "reportingComponent": "s",
            "involvedObject": {"kind": "Node"}, "firstTimestamp": null});
        let c = event(&new, NOW);
        assert_eq!(
            (&c[0], &c[3], &c[5], &c[8]),
            (&json!("59s"), &json!("node"), &json!("s"), &json!(1))
        );
    }
}
