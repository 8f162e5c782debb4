//! The `Endpoints` object of a Service: the old notation, one object however many pods. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::model::{
    HEADLESS, Labels, Port, Service, TRIGGER_TIME, TargetRef, hostname_in, or_tcp, port_of,
};
use crate::shared::{PodInfo, Record as _};

/// Most addresses of one object; upstream's limit (KEP-752).
pub const CAPACITY: usize = 1000;
/// Says that not all addresses are there.
pub const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const TRUNCATED: &str = "truncated";
/// Whose the object is.
pub const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
pub const CONTROLLER: &str = "endpoint-controller";

/// One address of a subset.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Address {
    pub ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
}

/// Addresses that share their ports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_ready_addresses: Vec<Address>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "unnamed")]
    pub ports: Vec<Port>,
}

/// Here, unlike in slices, a port without a name has no member for it.
fn unnamed<S: serde::Serializer>(ports: &[Port], to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Shown<'a> {
        #[serde(skip_serializing_if = "str::is_empty")]
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        protocol: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        app_protocol: Option<&'a str>,
    }
    to.collect_seq(ports.iter().map(|port| Shown {
        name: &port.name,
        port: port.port,
        protocol: &port.protocol,
        app_protocol: port.app_protocol.as_deref(),
    }))
}

/// An Endpoints object as far as it is ours.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Endpoints {
    pub labels: Labels,
    pub annotations: Labels,
    pub subsets: Vec<Subset>,
}

impl Endpoints {
    /// Whether the other says the same, but for when it was written.
    pub fn says_as(&self, other: &Endpoints) -> bool {
        let timeless = |annotations: &Labels| {
            let mut rest = annotations.clone();
            rest.remove(TRIGGER_TIME);
            rest
        };
        self.labels == other.labels
            && self.subsets == other.subsets
            && timeless(&self.annotations) == timeless(&other.annotations)
    }
}

/// What the object of a Service with a selector should be; `pods` are those it selects,
/// `now` the object as it is.
pub fn wanted<'a>(
    service: &Service,
    pods: impl Iterator<Item = &'a PodInfo>,
    now: Option<&Endpoints>,
    trigger: Option<&str>,
) -> Endpoints {
    let spec = &service.spec;
    let mut by_ports: BTreeMap<BTreeSet<Port>, (BTreeSet<Address>, BTreeSet<Address>)> =
        BTreeMap::new();
    for pod in pods {
        let leaving = pod.is_deleting() && !spec.publish_not_ready_addresses;
        let Some(ip) = pod.ips.first().filter(|_| !pod.has_ended() && !leaving) else {
            continue;
        };
        let ports: BTreeSet<Port> = spec
            .ports
            .iter()
            .filter_map(|port| {
                Some(Port {
                    name: port.name.clone(),
                    protocol: or_tcp(&port.protocol).to_owned(),
                    port: Some(port_of(port, pod)?),
                    app_protocol: port.app_protocol.clone(),
                })
            })
            .collect();
        // A headless Service may do without ports; otherwise who has none of them is not there.
        if ports.is_empty() && !(spec.ports.is_empty() && spec.cluster_ip == "None") {
            continue;
        }
        let address = Address {
            ip: ip.clone(),
            hostname: hostname_in(service, pod).map(str::to_owned),
            node_name: Some(pod.node.to_string()).filter(|node| !node.is_empty()),
            target_ref: Some(TargetRef::of(pod)),
        };
        let (ready, not_ready) = by_ports.entry(ports).or_default();
        match pod.is_ready() || spec.publish_not_ready_addresses {
            true => ready.insert(address),
            false => not_ready.insert(address),
        };
    }
    let subsets = by_ports
        .into_iter()
        .map(|(ports, (ready, not_ready))| Subset {
            addresses: ready.into_iter().collect(),
            not_ready_addresses: not_ready.into_iter().collect(),
            ports: ports.into_iter().collect(),
        });
    let mut subsets: Vec<Subset> = subsets.collect();
    let truncated = truncate(&mut subsets);

    let mut labels = service.metadata.labels.clone();
    labels.remove(HEADLESS);
    if service.is_headless() {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    let mut annotations = now.map(|now| now.annotations.clone()).unwrap_or_default();
    annotations.remove(TRIGGER_TIME);
    annotations.remove(OVER_CAPACITY);
    if let Some(at) = trigger {
        annotations.insert(TRIGGER_TIME.to_owned(), at.to_owned());
    }
    if truncated {
        annotations.insert(OVER_CAPACITY.to_owned(), TRUNCATED.to_owned());
    }
    Endpoints {
        labels,
        annotations,
        subsets,
    }
}

/// Cuts to [`CAPACITY`]: those that are ready stay before those that are not, and subsets
/// lose in proportion. True if something was cut.
fn truncate(subsets: &mut Vec<Subset>) -> bool {
    let ready: usize = subsets.iter().map(|s| s.addresses.len()).sum();
    let other: usize = subsets.iter().map(|s| s.not_ready_addresses.len()).sum();
    if ready + other <= CAPACITY {
        return false;
    }
    let keep_ready = ready.min(CAPACITY);
    let keep_other = CAPACITY - keep_ready;
    share(
        subsets.iter_mut().map(|s| &mut s.addresses).collect(),
        ready,
        keep_ready,
    );
    share(
        subsets
            .iter_mut()
            .map(|s| &mut s.not_ready_addresses)
            .collect(),
        other,
        keep_other,
    );
    subsets.retain(|s| !s.addresses.is_empty() || !s.not_ready_addresses.is_empty());
    true
}

/// Cuts lists of `total` addresses together to `keep`, each in proportion.
fn share(lists: Vec<&mut Vec<Address>>, total: usize, keep: usize) {
    if total <= keep {
        return;
    }
    let mut left = keep;
    let last = lists.len().saturating_sub(1);
    for (at, list) in lists.into_iter().enumerate() {
        let part = (list.len() * keep).div_ceil(total);
        let part = if at == last { left } else { part.min(left) };
        list.truncate(part);
        left -= list.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(spec: serde_json::Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "d",
            "labels": {"app": "web"}}, "spec": spec}))
        .unwrap()
    }

    fn pod(n: usize, ready: bool) -> PodInfo {
        let status = if ready { "True" } else { "False" };
        let ip = format!("10.{}.{}.{}", n / 60_000, n / 250, n % 250);
        PodInfo::of(
            serde_json::from_value(json!({
                "metadata": {"namespace": "d", "name": format!("p{n}"), "uid": format!("u{n}")},
                "spec": {"nodeName": "n1"},
                "status": {"podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": status}]},
            }))
            .unwrap(),
        )
    }

    fn plain() -> Service {
        service(json!({"clusterIP": "10.0.0.1", "selector": {"a": "b"},
            "ports": [{"port": 80}, {"name": "m", "port": 81, "targetPort": "m"}]}))
    }

    #[test]
    fn ready_and_not_ready_stand_side_by_side() {
        let pods = [pod(2, true), pod(1, true), pod(3, false)];
        let made = wanted(&plain(), pods.iter(), None, Some("2026-01-01T00:00:00Z"));
        let value = serde_json::to_value(&made.subsets).unwrap();
        assert_eq!(value.as_array().unwrap().len(), 1);
        let ip = |at: &str| value.pointer(at).and_then(|v| v.as_str());
        assert_eq!(ip("/0/addresses/0/ip"), Some("10.0.0.1"));
        assert_eq!(ip("/0/addresses/1/ip"), Some("10.0.0.2"));
        assert_eq!(ip("/0/notReadyAddresses/0/ip"), Some("10.0.0.3"));
        assert_eq!(ip("/0/addresses/0/targetRef/name"), Some("p1"));
        assert_eq!(value[0]["ports"], json!([{"port": 80, "protocol": "TCP"}]));
        assert_eq!(made.labels[MANAGED_BY], CONTROLLER);
        assert!(made.says_as(&wanted(&plain(), pods.iter(), Some(&made), None)));
    }

    #[test]
    fn who_leaves_is_not_listed_unless_asked_for() {
        let leaving = pod(1, true).deleting();
        let mut svc = plain();
        assert!(
            wanted(&svc, [&leaving].into_iter(), None, None)
                .subsets
                .is_empty()
        );
        svc.spec.publish_not_ready_addresses = true;
        let made = wanted(&svc, [&leaving].into_iter(), None, None);
        assert_eq!(made.subsets[0].addresses.len(), 1);
    }

    #[test]
    fn a_headless_service_needs_no_ports() {
        let svc = service(json!({"clusterIP": "None", "selector": {"a": "b"}}));
        let pods = [pod(1, true)];
        let made = wanted(&svc, pods.iter(), None, None);
        assert_eq!(made.subsets[0].ports, []);
        assert_eq!(made.labels[HEADLESS], "");
    }

    #[test]
    fn a_thousand_addresses_are_enough_and_the_ready_come_first() {
        let pods: Vec<PodInfo> = (0..1200).map(|n| pod(n, n % 2 == 0)).collect();
        let made = wanted(&plain(), pods.iter(), None, None);
        assert_eq!(made.annotations[OVER_CAPACITY], "truncated");
        let subset = &made.subsets[0];
        assert_eq!(
            (subset.addresses.len(), subset.not_ready_addresses.len()),
            (600, 400)
        );
        let again = wanted(&plain(), pods[..10].iter(), Some(&made), None);
        assert!(!again.annotations.contains_key(OVER_CAPACITY));
    }
}
