//! Which slices a Service needs, and how to get there from those it has while touching as
//! few as possible: every change of a slice travels to every node. Pure.
//!
//! ```text
//!  for each family and each set of ports:
//!    1 drop from every slice what is not wanted, refresh what has changed
//!    2 fill up the slices that change anyway, the fullest first
//!    3 what is left goes whole into one untouched slice with room, else into new ones
//!  a slice to delete becomes one to create where both are there
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::model::{
    Conditions, Endpoint, Family, HEADLESS, Hint, Hints, Labels, MANAGED_BY, Port, SERVICE_NAME,
    Service, Slice, TRIGGER_TIME, TargetRef, hostname_in, or_tcp, port_of,
};
use crate::shared::{PodInfo, Record as _};

/// Most endpoints of one slice; upstream's default.
pub const MAX_ENDPOINTS: usize = 100;
/// Who keeps the slices of Services with a selector.
pub const CONTROLLER: &str = "endpointslice-controller.k8s.io";

/// What is to be written.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub create: Vec<Slice>,
    pub update: Vec<Slice>,
    /// Names.
    pub delete: Vec<String>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.delete.is_empty()
    }
}

/// For whom slices are made: their labels and the uid of their owner.
#[derive(Debug, Clone)]
pub struct Owner {
    pub namespace: String,
    pub uid: String,
    pub labels: Labels,
    pub annotations: Labels,
}

/// What tells endpoints apart.
type Key = (Vec<String>, Option<String>, Option<(String, String)>);
/// Endpoints that share their ports.
type Wanted = BTreeMap<Key, Endpoint>;

fn key_of(endpoint: &Endpoint) -> Key {
    let mut addresses = endpoint.addresses.clone();
    addresses.sort();
    let target = endpoint.target_ref.as_ref();
    let target = target.map(|t| (t.namespace.clone(), t.name.clone()));
    (addresses, endpoint.hostname.clone(), target)
}

/// The labels of the slices of a Service: its own, and whose they are.
pub fn labels_of(service: &Service) -> Labels {
    let mut labels = service.metadata.labels.clone();
    labels.remove(HEADLESS);
    if service.is_headless() {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    labels
}

/// The ports of a Service as this pod has them; a port it does not have is left out.
fn ports_of(service: &Service, pod: &PodInfo) -> Vec<Port> {
    let ports = service.spec.ports.iter();
    ports
        .filter_map(|port| {
            Some(Port {
                name: port.name.clone(),
                protocol: or_tcp(&port.protocol).to_owned(),
                port: Some(port_of(port, pod)?),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

fn endpoint_of(
    service: &Service,
    pod: &PodInfo,
    zone: Option<&str>,
    family: Family,
) -> Option<Endpoint> {
    let addresses = pod.ips.iter();
    let addresses: Vec<String> = addresses
        .filter(|address| Family::of(address) == family)
        .cloned()
        .collect();
    if addresses.is_empty() {
        return None;
    }
    let ready = service.spec.publish_not_ready_addresses || (pod.is_ready() && !pod.is_deleting());
    Some(Endpoint {
        addresses,
        conditions: Conditions {
            ready: Some(ready),
            serving: Some(pod.is_ready()),
            terminating: Some(pod.is_deleting()),
        },
        hostname: hostname_in(service, pod).map(str::to_owned),
        target_ref: Some(Box::new(TargetRef::of(pod))),
        node_name: Some(pod.node.to_string()).filter(|node| !node.is_empty()),
        zone: zone.map(str::to_owned),
        hints: hints_of(service, pod, zone).filter(|_| ready),
    })
}

/// With a traffic distribution, an endpoint is meant for its own zone, and with the nearest
/// one for its own node as well (KEP-4444, KEP-3015).
fn hints_of(service: &Service, pod: &PodInfo, zone: Option<&str>) -> Option<Box<Hints>> {
    let of_node = match service.spec.traffic_distribution.as_deref()? {
        "PreferSameNode" => true,
        "PreferSameZone" | "PreferClose" => false,
        _ => return None,
    };
    let only = |name: &str| Hint {
        name: name.to_owned(),
    };
    let node = Some(&*pod.node).filter(|node| of_node && !node.is_empty());
    let hints = Hints {
        for_zones: zone.map(only).into_iter().collect(),
        for_nodes: node.map(only).into_iter().collect(),
    };
    (hints != Hints::default()).then(|| Box::new(hints))
}

/// The slices a Service with a selector needs. `pods` are those it selects, `existing` the
/// slices that are kept for it by this loop; `trigger` as [`TRIGGER_TIME`] is to say. `zone_of`
/// knows the zone of each node, "" if it says none, `None` for a node that is not there.
pub fn plan<'a>(
    service: &Service,
    pods: impl Iterator<Item = &'a PodInfo> + Clone,
    zone_of: &dyn Fn(&str) -> Option<String>,
    existing: &[&Slice],
    trigger: Option<&str>,
) -> Plan {
    let owner = Owner {
        namespace: service.metadata.namespace.clone(),
        uid: service.metadata.uid.clone(),
        labels: labels_of(service),
        annotations: trigger
            .map(|at| Labels::from([(TRIGGER_TIME.to_owned(), at.to_owned())]))
            .unwrap_or_default(),
    };
    let families: BTreeSet<Family> = service.families().into_iter().collect();
    let unwanted = existing.iter().filter(|s| !families.contains(&s.family));
    let mut plan = Plan {
        delete: unwanted.map(|s| s.name.clone()).collect(),
        ..Plan::default()
    };
    for family in families {
        let mut wanted: BTreeMap<Vec<Port>, (Vec<Port>, Wanted)> = BTreeMap::new();
        for pod in pods.clone() {
            if pod.has_ended() || pod.ips.is_empty() {
                continue;
            }
            let zone = zone_of(&pod.node);
            // Its node is gone, and so will the pod be.
            if zone.is_none() && !service.spec.publish_not_ready_addresses {
                continue;
            }
            let zone = zone.as_deref().filter(|zone| !zone.is_empty());
            let ports = ports_of(service, pod);
            let (_, endpoints) = wanted
                .entry(sorted(&ports))
                .or_insert_with(|| (ports, Wanted::new()));
            if let Some(endpoint) = endpoint_of(service, pod, zone, family) {
                endpoints.insert(key_of(&endpoint), endpoint);
            }
        }
        let of_family = existing.iter().filter(|s| s.family == family);
        let of_family: Vec<&Slice> = of_family.copied().collect();
        let part = reconcile(&owner, family, wanted, &of_family, true);
        plan.create.extend(part.create);
        plan.update.extend(part.update);
        plan.delete.extend(part.delete);
    }
    plan
}

fn sorted(ports: &[Port]) -> Vec<Port> {
    let mut ports = ports.to_vec();
    ports.sort();
    ports
}

/// Endpoints to be put into slices, by ports.
#[derive(Debug, Default)]
pub struct Demand(BTreeMap<Vec<Port>, (Vec<Port>, Wanted)>);

impl Demand {
    pub fn add(&mut self, ports: &[Port], endpoint: Endpoint) {
        let (_, endpoints) = self
            .0
            .entry(sorted(ports))
            .or_insert_with(|| (ports.to_vec(), Wanted::new()));
        endpoints.insert(key_of(&endpoint), endpoint);
    }
}

/// As [`plan`], for one family and endpoints that do not come from pods; no slice stands
/// for nothing.
pub fn plan_for(owner: &Owner, family: Family, demand: Demand, existing: &[&Slice]) -> Plan {
    reconcile(owner, family, demand.0, existing, false)
}

fn reconcile(
    owner: &Owner,
    family: Family,
    wanted: BTreeMap<Vec<Port>, (Vec<Port>, Wanted)>,
    existing: &[&Slice],
    placeholder: bool,
) -> Plan {
    let mut by_ports: BTreeMap<Vec<Port>, Vec<&Slice>> = BTreeMap::new();
    for slice in existing {
        by_ports
            .entry(sorted(&slice.ports))
            .or_default()
            .push(slice);
    }
    let mut plan = Plan::default();
    let mut gone: Vec<&Slice> = Vec::new();
    for (key, (ports, endpoints)) in wanted {
        let slices = by_ports.remove(&key).unwrap_or_default();
        let empty = Slice {
            namespace: owner.namespace.clone(),
            name: String::new(),
            uid: String::new(),
            resource_version: String::new(),
            terminating: false,
            owner: owner.uid.clone(),
            labels: owner.labels.clone(),
            annotations: owner.annotations.clone(),
            owners: serde_json::Value::Null,
            family,
            ports,
            endpoints: vec![],
        };
        distribute(owner, &empty, endpoints, &slices, &mut plan, &mut gone);
    }
    gone.extend(by_ports.into_values().flatten());
    if placeholder && existing.len() == gone.len() && plan.create.is_empty() {
        let stays = matches!(gone.as_slice(), [only] if only.endpoints.is_empty()
            && only.ports.is_empty() && only.labels == owner.labels && only.owner == owner.uid);
        match stays {
            true => gone.clear(),
            false => plan.create.push(Slice {
                namespace: owner.namespace.clone(),
                name: String::new(),
                uid: String::new(),
                resource_version: String::new(),
                terminating: false,
                owner: owner.uid.clone(),
                labels: owner.labels.clone(),
                annotations: owner.annotations.clone(),
                owners: serde_json::Value::Null,
                family,
                ports: vec![],
                endpoints: vec![],
            }),
        }
    }
    for slice in gone {
        let new = match slice.owner == owner.uid {
            true => plan.create.pop(),
            false => None,
        };
        match new {
            Some(new) => plan.update.push(Slice {
                name: slice.name.clone(),
                uid: slice.uid.clone(),
                resource_version: slice.resource_version.clone(),
                owners: slice.owners.clone(),
                ..new
            }),
            None => plan.delete.push(slice.name.clone()),
        }
    }
    plan
}

/// The three steps for endpoints that share their ports; `empty` is what a new slice for
/// them looks like.
fn distribute<'a>(
    owner: &Owner,
    empty: &Slice,
    mut wanted: Wanted,
    existing: &[&'a Slice],
    plan: &mut Plan,
    gone: &mut Vec<&'a Slice>,
) {
    let mut unchanged: Vec<&Slice> = Vec::new();
    let mut changed: Vec<Slice> = Vec::new();
    for slice in existing {
        let mut kept = Vec::with_capacity(slice.endpoints.len());
        let mut fresh = true;
        for endpoint in &slice.endpoints {
            if let Some(now) = wanted.remove(&key_of(endpoint)) {
                fresh &= now == *endpoint;
                kept.push(now);
            }
        }
        let same = fresh && kept.len() == slice.endpoints.len();
        if same && has_labels(slice, owner) {
            unchanged.push(slice);
        } else if kept.is_empty() && !slice.endpoints.is_empty() {
            gone.push(slice);
        } else {
            changed.push(Slice {
                endpoints: kept,
                ..rewritten(slice, owner)
            });
        }
    }
    changed.sort_by_key(|slice| std::cmp::Reverse(slice.endpoints.len()));
    for slice in &mut changed {
        fill(slice, &mut wanted);
    }
    while !wanted.is_empty() {
        if let Some(at) = roomiest(&unchanged, wanted.len()) {
            let mut slice = rewritten(unchanged.swap_remove(at), owner);
            fill(&mut slice, &mut wanted);
            changed.push(slice);
        } else {
            let mut slice = empty.clone();
            fill(&mut slice, &mut wanted);
            plan.create.push(slice);
        }
    }
    plan.update.extend(changed);
}

/// The slice as it is to be written again.
fn rewritten(slice: &Slice, owner: &Owner) -> Slice {
    let mut annotations = slice.annotations.clone();
    annotations.remove(TRIGGER_TIME);
    annotations.extend(owner.annotations.clone());
    Slice {
        annotations,
        labels: owner.labels.clone(),
        ..slice.clone()
    }
}

fn has_labels(slice: &Slice, owner: &Owner) -> bool {
    slice.labels == owner.labels
}

fn fill(slice: &mut Slice, wanted: &mut Wanted) {
    while slice.endpoints.len() < MAX_ENDPOINTS
        && let Some((_, endpoint)) = wanted.pop_first()
    {
        slice.endpoints.push(endpoint);
    }
}

/// The slice that `more` endpoints would fill best; `None` if they fit into none.
fn roomiest(slices: &[&Slice], more: usize) -> Option<usize> {
    let room = |slice: &Slice| MAX_ENDPOINTS.checked_sub(slice.endpoints.len() + more);
    let fits = slices.iter().enumerate();
    let fits = fits.filter_map(|(at, slice)| Some((room(slice)?, at)));
    // A full slice more is cheaper than two slices changed.
    if more >= MAX_ENDPOINTS {
        return None;
    }
    fits.min().map(|(_, at)| at)
}

#[cfg(test)]
#[path = "slices_tests.rs"]
mod tests;
