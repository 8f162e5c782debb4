//! Endpoints made by hand, for Services without a selector, as slices too: who reads slices
//! only (the proxy, DNS) need not know the old notation. Pure.

use std::collections::BTreeMap;

use super::model::{
    Conditions, Endpoint, Family, Labels, MANAGED_BY, SERVICE_NAME, SKIP_MIRROR, Service, Slice,
    TRIGGER_TIME,
};
use super::records::EndpointsRecord;
use super::slices::{Demand, Owner, Plan, plan_for};
use super::subsets::Address;

/// Who keeps such slices.
pub const CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
/// An Endpoints object with it is a lock of the past, not a list of addresses.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Most addresses of a subset that are mirrored.
const MAX_PER_SUBSET: usize = 1000;

/// Whether slices are to be made from these Endpoints.
pub fn is_mirrored(endpoints: &EndpointsRecord, service: Option<&Service>) -> bool {
    let said = &endpoints.said;
    said.labels
        .get(SKIP_MIRROR)
        .is_none_or(|skip| skip != "true")
        && !said.annotations.contains_key(LEADER)
        && !endpoints.terminating
        && service.is_some_and(|service| service.spec.selector.is_none())
}

/// The slices these Endpoints need; `existing` are those made from them before.
pub fn plan(endpoints: &EndpointsRecord, existing: &[&Slice]) -> Plan {
    let said = &endpoints.said;
    let mut labels = said.labels.clone();
    labels.insert(SERVICE_NAME.to_owned(), endpoints.name.clone());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    let copied =
        |(key, _): &(&String, &String)| !matches!(key.as_str(), LAST_APPLIED | TRIGGER_TIME);
    let annotations = said.annotations.iter().filter(copied);
    let annotations: Labels = annotations
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let owner = Owner {
        namespace: endpoints.namespace.clone(),
        uid: endpoints.uid.clone(),
        labels,
        annotations,
    };
    let mut demands: BTreeMap<Family, Demand> = BTreeMap::new();
    for subset in &said.subsets {
        let ready = subset.addresses.iter().map(|a| (a, true));
        let other = subset.not_ready_addresses.iter().map(|a| (a, false));
        for (address, ready) in ready.chain(other).take(MAX_PER_SUBSET) {
            let demand = demands.entry(Family::of(&address.ip)).or_default();
            demand.add(&subset.ports, endpoint_of(address, ready));
        }
    }
    let mut plan = Plan::default();
    for family in [Family::IPv4, Family::IPv6] {
        let demand = demands.remove(&family).unwrap_or_default();
        let of_family = existing.iter().filter(|slice| slice.family == family);
        let of_family: Vec<&Slice> = of_family.copied().collect();
        let part = plan_for(&owner, family, demand, &of_family);
        plan.create.extend(part.create);
        plan.update.extend(part.update);
        plan.delete.extend(part.delete);
    }
    plan
}

fn endpoint_of(address: &Address, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Conditions {
            ready: Some(ready),
            ..Conditions::default()
        },
        hostname: address.hostname.clone(),
        target_ref: address.target_ref.clone().map(Box::new),
        node_name: address.node_name.clone(),
        zone: None,
        hints: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Record as _;
    use serde_json::json;

    fn endpoints(labels: serde_json::Value) -> EndpointsRecord {
        EndpointsRecord::of(
            serde_json::from_value(json!({
                "metadata": {"name": "db", "namespace": "d", "uid": "e", "labels": labels},
                "subsets": [{"addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}],
                    "notReadyAddresses": [{"ip": "192.0.2.2"}],
                    "ports": [{"port": 5432, "protocol": "TCP"}]}],
            }))
            .unwrap(),
        )
    }

    fn service(selector: serde_json::Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "db", "namespace": "d"},
            "spec": {"selector": selector}}))
        .unwrap()
    }

    #[test]
    fn only_what_is_made_by_hand_is_mirrored() {
        let plain = endpoints(json!({}));
        assert!(is_mirrored(&plain, Some(&service(json!(null)))));
        assert!(!is_mirrored(&plain, Some(&service(json!({"a": "b"})))));
        assert!(!is_mirrored(&plain, None));
        let skipped = endpoints(json!({SKIP_MIRROR: "true"}));
        assert!(!is_mirrored(&skipped, Some(&service(json!(null)))));
    }

    #[test]
    fn families_stand_in_slices_of_their_own() {
        let made = plan(&endpoints(json!({"tier": "back"})), &[]);
        assert_eq!(made.create.len(), 2);
        let (four, six) = (&made.create[0], &made.create[1]);
        assert_eq!((four.family, six.family), (Family::IPv4, Family::IPv6));
        let ready: Vec<_> = four.endpoints.iter().map(|e| e.conditions.ready).collect();
        assert_eq!(ready, [Some(true), Some(false)]);
        assert_eq!(four.labels[SERVICE_NAME], "db");
        assert_eq!(four.labels[MANAGED_BY], CONTROLLER);
        assert_eq!(four.labels["tier"], "back");
        assert_eq!(four.ports[0].port, Some(5432));
    }
}
