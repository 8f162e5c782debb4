//! All Services and their endpoints, and which of them have rules to be made anew.

mod categorize;
mod chains;
mod model;
mod rules;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

pub use chains::short_hash;
pub use model::{
    HEADLESS_LABEL, ObjectName, PROXY_NAME_LABEL, Place, Range, SERVICE_NAME_LABEL, Service,
    ServicePort, Slice, SliceEndpoint, ZONE_LABEL, flag, port_number,
};
pub use rules::Front;

use categorize::Endpoints;
use rules::{Outcome, Subject};

use crate::table::{Backend, Fragment, Protocol, Table};

/// One Service, as far as it has been heard of: slices may come first.
#[derive(Debug, Default)]
struct Record {
    service: Option<Service>,
    slices: BTreeMap<Box<str>, Slice>,
    outcome: Outcome,
    /// What answers by UDP, for the kernel's memory of connections.
    answers: BTreeMap<Front, HashSet<Backend>>,
    fronts: BTreeSet<Front>,
}

/// What must be done beside the table.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Consequences {
    /// Maps of session affinity that may name endpoints that are gone, with those that
    /// are not.
    pub sticky: BTreeMap<String, BTreeSet<Backend>>,
    /// Whether UDP connections may be tied to endpoints that are gone.
    pub udp: bool,
    /// Fronts by which UDP was answered and no longer is: their Service or port is gone.
    pub closed: BTreeSet<Front>,
    /// Whether [`Services::health`] has changed.
    pub health: bool,
}

/// How a Service is found healthy by its load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// Number of ready endpoints on this node.
    pub local: usize,
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct Services {
    pods: String,
    records: HashMap<ObjectName, Record>,
    /// The Service of each slice, by the slice's name.
    slices: HashMap<ObjectName, Box<str>>,
    /// Who wants a front; the first gets it.
    claims: HashMap<Front, BTreeSet<ObjectName>>,
    health: BTreeMap<u16, Health>,
    dirty: BTreeSet<ObjectName>,
}

impl Services {
    /// `pods` is the range of all pods of the cluster.
    #[must_use]
    pub fn new(pods: &str) -> Self {
        Self {
            pods: pods.to_owned(),
            ..Self::default()
        }
    }

    /// A Service is so now, or is gone or of no concern.
    pub fn set_service(&mut self, name: &ObjectName, service: Option<Service>) {
        if service.is_none() && !self.records.contains_key(name) {
            return;
        }
        let record = self.records.entry(name.clone()).or_default();
        if record.service == service {
            return;
        }
        record.service = service;
        let fronts = record
            .service
            .as_ref()
            .map(rules::fronts)
            .unwrap_or_default();
        let before = std::mem::replace(&mut record.fronts, fronts.clone());
        for front in before.difference(&fronts) {
            if let Some(claims) = self.claims.get_mut(front) {
                claims.remove(name);
                // The next in line gets it.
                self.dirty.extend(claims.first().cloned());
                if claims.is_empty() {
                    self.claims.remove(front);
                }
            }
        }
        for front in fronts.difference(&before) {
            let claims = self.claims.entry(*front).or_default();
            self.dirty.extend(claims.first().cloned());
            claims.insert(name.clone());
        }
        self.dirty.insert(name.clone());
    }

    /// An EndpointSlice is so now and belongs to the Service `owner`, or is gone.
    pub fn set_slice(&mut self, name: &ObjectName, slice: Option<(Box<str>, Slice)>) {
        let (namespace, own) = name;
        let owner = slice.as_ref().map(|(owner, _)| owner.clone());
        let before = match &owner {
            Some(owner) => self.slices.insert(name.clone(), owner.clone()),
            None => self.slices.remove(name),
        };
        if let Some(before) = before.filter(|before| Some(before) != owner.as_ref()) {
            let service = (namespace.clone(), before);
            if let Some(record) = self.records.get_mut(&service) {
                record.slices.remove(own);
                self.dirty.insert(service);
            }
        }
        if let Some((owner, slice)) = slice {
            let service = (namespace.clone(), owner);
            let record = self.records.entry(service.clone()).or_default();
            if record.slices.get(own) != Some(&slice) {
                record.slices.insert(own.clone(), slice);
                self.dirty.insert(service);
            }
        }
    }

    /// Names of all Services with rules.
    pub fn service_names(&self) -> impl Iterator<Item = &ObjectName> {
        let known = self.records.iter();
        known.filter_map(|(name, record)| record.service.as_ref().map(|_| name))
    }

    /// Names of all slices.
    pub fn slice_names(&self) -> impl Iterator<Item = &ObjectName> {
        self.slices.keys()
    }

    /// The Services with a port for health checks, by that port.
    #[must_use]
    pub fn health(&self) -> &BTreeMap<u16, Health> {
        &self.health
    }

    /// Maps of session affinity, each with the endpoints that may stand in it.
    pub fn sticky(&self) -> impl Iterator<Item = (&String, &BTreeSet<Backend>)> {
        let records = self.records.values();
        records.flat_map(|record| &record.outcome.sticky)
    }

    /// Which endpoints answer UDP by each front.
    pub fn udp(&self) -> impl Iterator<Item = (&Front, &HashSet<Backend>)> {
        self.records.values().flat_map(|record| &record.answers)
    }

    /// Brings the table up to date with all that was set.
    pub fn refresh(&mut self, table: &mut Table) -> Consequences {
        let mut consequences = Consequences::default();
        let mut before = Vec::new();
        for name in std::mem::take(&mut self.dirty) {
            let old = self.refresh_one(&name, table, &mut consequences);
            before.extend(old.map(|old| (name, old)));
        }
        for (name, old) in before {
            // Who is gone wants nothing.
            if let Some(record) = self.records.get(&name) {
                table.claim(&old, &record.outcome.fragment);
            }
        }
        consequences
    }

    /// Returns what the Service had in the table so far; what it shall have is still to be
    /// put in.
    fn refresh_one(
        &mut self,
        name: &ObjectName,
        table: &mut Table,
        todo: &mut Consequences,
    ) -> Option<Fragment> {
        let mut record = self.records.remove(name)?;
        let all: Vec<Vec<(Backend, u8)>> = match &record.service {
            Some(service) => {
                let ports = service.ports.iter();
                ports.map(|port| candidates(port, &record.slices)).collect()
            }
            None => Vec::new(),
        };
        let new = match &record.service {
            Some(service) => {
                let chosen: Vec<Endpoints> = all.iter().map(|all| Endpoints::choose(all)).collect();
                let owns =
                    |front: &Front| self.claims.get(front).and_then(BTreeSet::first) == Some(name);
                let subject = Subject {
                    name,
                    service,
                    endpoints: &chosen,
                    pods: &self.pods,
                    owns: &owns,
                };
                rules::outcome(&subject, &record.outcome.orders)
            }
            None => Outcome::default(),
        };
        table.release(&record.outcome.fragment, &new.fragment);
        for (map, known) in &new.sticky {
            let before = record.outcome.sticky.get(map);
            if before.is_some_and(|before| !before.is_subset(known)) {
                todo.sticky.insert(map.clone(), known.clone());
            }
        }
        let old = std::mem::replace(&mut record.outcome, new);
        let answers = udp_answers(&record, &all);
        todo.udp |= record.answers.iter().any(|(front, before)| {
            let now = answers.get(front);
            // Without endpoints so far, packets went nowhere and are remembered so.
            before.is_empty() || now.is_none_or(|now| !before.is_subset(now))
        });
        todo.udp |= answers
            .keys()
            .any(|front| !record.answers.contains_key(front));
        let known = record.answers.keys();
        todo.closed
            .extend(known.filter(|front| !answers.contains_key(*front)));
        record.answers = answers;
        todo.health |= self.note_health(name, &record, &all);
        if record.service.is_some() || !record.slices.is_empty() {
            self.records.insert(name.clone(), record);
        }
        Some(old.fragment)
    }

    fn note_health(
        &mut self,
        name: &ObjectName,
        record: &Record,
        all: &[Vec<(Backend, u8)>],
    ) -> bool {
        let port = record.service.as_ref().and_then(|s| s.health_port);
        let here: BTreeSet<Ipv4Addr> = all
            .iter()
            .flatten()
            .filter(|(_, flags)| flags & (flag::LOCAL | flag::READY) == flag::LOCAL | flag::READY)
            .map(|(backend, _)| backend.ip)
            .collect();
        let before = self.health.clone();
        self.health
            .retain(|_, h| (&h.namespace, &h.name) != (&name.0, &name.1));
        if let Some(port) = port {
            let health = Health {
                namespace: name.0.clone(),
                name: name.1.clone(),
                local: here.len(),
            };
            self.health.insert(port, health);
        }
        self.health != before
    }
}

/// All endpoints of a port, each once, with their flags.
fn candidates(port: &ServicePort, slices: &BTreeMap<Box<str>, Slice>) -> Vec<(Backend, u8)> {
    let mut all: BTreeMap<Backend, u8> = BTreeMap::new();
    for slice in slices.values() {
        let numbers = slice
            .ports
            .iter()
            .filter(|(name, protocol, _)| *name == port.name && *protocol == port.protocol);
        for (_, _, number) in numbers {
            for SliceEndpoint { ip, flags } in &slice.endpoints {
                let backend = Backend {
                    ip: *ip,
                    port: *number,
                };
                // While an endpoint moves between slices it is in both; the ready one counts.
                let known = all.entry(backend).or_insert(*flags);
                if flags & flag::READY != 0 {
                    *known = *flags;
                }
            }
        }
    }
    all.into_iter().collect()
}

/// What may answer by UDP: everything that serves, chosen now or not.
fn udp_answers(record: &Record, all: &[Vec<(Backend, u8)>]) -> BTreeMap<Front, HashSet<Backend>> {
    let mut answers = BTreeMap::new();
    let Some(service) = &record.service else {
        return answers;
    };
    for (port, all) in service.ports.iter().zip(all) {
        if port.protocol != Protocol::Udp {
            continue;
        }
        let serving: HashSet<Backend> = all
            .iter()
            .filter(|(_, flags)| flags & flag::SERVING != 0)
            .map(|(backend, _)| *backend)
            .collect();
        for front in rules::fronts_of(service, port) {
            answers.insert(front, serving.clone());
        }
    }
    answers
}
