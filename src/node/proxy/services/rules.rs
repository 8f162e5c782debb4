//! What one Service puts into the table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::categorize::Endpoints;
use super::chains::{Entrance, LARGE, List, Sticky, edge, firewall, masquerade, pick, short_hash};
use super::model::{ObjectName, Service, ServicePort};
use crate::base;
use crate::table::{Backend, Fragment, Item, Key, Protocol, arrange};

/// Where connections to a Service arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Front {
    Address(Ipv4Addr, Protocol, u16),
    NodePort(Protocol, u16),
}

/// The endpoints of a port in the order the kernel has them, by port name and whether the
/// list is the local one.
pub type Orders = BTreeMap<(Box<str>, Protocol, bool), Vec<Backend>>;

/// All that is known when rules are made for a Service.
pub struct Subject<'a> {
    pub name: &'a ObjectName,
    pub service: &'a Service,
    /// Of each port of the Service, in its order.
    pub endpoints: &'a [Endpoints],
    /// Addresses of all pods of the cluster.
    pub pods: &'a str,
    /// Whether this Service is the one that gets a front; another may have it already.
    pub owns: &'a dyn Fn(&Front) -> bool,
}

/// What a Service wants of the table and of others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub fragment: Fragment,
    pub orders: Orders,
    /// Maps of session affinity, each with the endpoints that may stand in it.
    pub sticky: BTreeMap<String, BTreeSet<Backend>>,
}

/// All fronts a Service has or would have.
#[must_use]
pub fn fronts(service: &Service) -> BTreeSet<Front> {
    let ports = service.ports.iter();
    ports.flat_map(|port| fronts_of(service, port)).collect()
}

/// The fronts of one port.
pub fn fronts_of(service: &Service, port: &ServicePort) -> impl Iterator<Item = Front> {
    let (protocol, number) = (port.protocol, port.port);
    addresses(service)
        .map(move |ip| Front::Address(ip, protocol, number))
        .chain(port.node_port.map(|port| Front::NodePort(protocol, port)))
}

fn addresses(service: &Service) -> impl Iterator<Item = Ipv4Addr> {
    std::iter::once(service.cluster_ip).chain(outside(service))
}

fn outside(service: &Service) -> impl Iterator<Item = Ipv4Addr> {
    let external = service.external_ips.iter();
    external.chain(&service.balancer_ips).copied()
}

/// The rules of a Service. `before` is how its endpoints stood so far.
#[must_use]
pub fn outcome(subject: &Subject<'_>, before: &Orders) -> Outcome {
    let mut out = Outcome::default();
    let service = subject.service;
    let cluster_ip = Item::member(base::CLUSTER_IPS, Key::Ip(service.cluster_ip));
    out.fragment.items.insert(cluster_ip);
    for (port, endpoints) in service.ports.iter().zip(subject.endpoints) {
        Port {
            subject,
            port,
            endpoints,
            lists: [false, true].map(|local| lists(subject, port, endpoints, local, before)),
        }
        .write(&mut out);
    }
    out
}

/// A list of endpoints, and its memory of clients if it has one.
struct Ordered {
    local: bool,
    backends: Vec<Backend>,
    sticky: Option<Sticky>,
    /// The name of a large one.
    alone: Option<String>,
}

fn lists(
    subject: &Subject<'_>,
    port: &ServicePort,
    endpoints: &Endpoints,
    local: bool,
    before: &Orders,
) -> Ordered {
    let wanted = if local {
        &endpoints.local
    } else {
        &endpoints.cluster
    };
    let key = (port.name.clone(), port.protocol, local);
    let old = before.get(&key).map_or(&[][..], Vec::as_slice);
    let affinity = subject.service.affinity;
    // With affinity an endpoint is a chain, whose text would be as long as ever.
    let is_alone = wanted.len() >= LARGE && affinity.is_none();
    Ordered {
        local,
        backends: arrange(old, wanted),
        sticky: affinity.map(|timeout| Sticky::new(subject.name, &port.name, local, timeout)),
        alone: is_alone.then(|| short_hash(&(subject.name, &key))),
    }
}

struct Port<'a> {
    subject: &'a Subject<'a>,
    port: &'a ServicePort,
    endpoints: &'a Endpoints,
    lists: [Ordered; 2],
}

impl Port<'_> {
    fn write(self, out: &mut Outcome) {
        self.cluster_ip(out);
        let firewall = self.firewall(out);
        for ip in outside(self.subject.service) {
            let front = Front::Address(ip, self.port.protocol, self.port.port);
            if (self.subject.owns)(&front) {
                self.outsiders(out, front);
                let guarded = self.subject.service.balancer_ips.contains(&ip);
                if let Some(chain) = firewall.as_ref().filter(|_| guarded) {
                    let verdict = format!("goto {chain}");
                    put(out, base::FIREWALL_IPS, key(front), &verdict);
                }
            }
        }
        if let Some(number) = self.port.node_port {
            let front = Front::NodePort(self.port.protocol, number);
            if (self.subject.owns)(&front) {
                self.outsiders(out, front);
            }
        }
        for near in &self.endpoints.near {
            let pair = Key::Text(format!("{0} . {0}", near.ip).into());
            out.fragment.items.insert(Item::member(base::HAIRPIN, pair));
        }
        for list in self.lists {
            // A list nothing leads to has no map either.
            let sticky = list.sticky;
            let sticky = sticky.filter(|sticky| out.fragment.items.contains(&sticky.set()));
            if let Some(sticky) = sticky {
                let known = list.backends.iter().copied().collect();
                out.sticky.insert(sticky.map, known);
            }
            let key = (self.port.name.clone(), self.port.protocol, list.local);
            out.orders.insert(key, list.backends);
        }
    }

    fn cluster_ip(&self, out: &mut Outcome) {
        let Service {
            cluster_ip,
            internal_local,
            ..
        } = *self.subject.service;
        let front = Front::Address(cluster_ip, self.port.protocol, self.port.port);
        if !(self.subject.owns)(&front) {
            return;
        }
        let list = &self.lists[usize::from(internal_local)];
        if list.backends.is_empty() {
            self.unanswered(out, front);
            return;
        }
        // One list only stands under this front, so it need not be told from another.
        let chain = self.pick(out, front, list, false);
        put(out, base::SERVICE_IPS, key(front), &format!("goto {chain}"));
    }

    fn outsiders(&self, out: &mut Outcome, front: Front) {
        let [any, local] = &self.lists;
        let restricted = self.subject.service.external_local;
        // Whoever may get local traffic may get any, so then there is no local one either.
        if any.backends.is_empty() {
            self.unanswered(out, front);
            return;
        }
        let map = match front {
            Front::Address(..) => base::SERVICE_IPS,
            Front::NodePort(..) => base::SERVICE_NODEPORTS,
        };
        let to_any = self.pick(out, front, any, false);
        let chain = if restricted {
            let here = (!local.backends.is_empty()).then(|| self.pick(out, front, local, true));
            if here.is_none() {
                // What the chain lets through.
                self.unanswered(out, front);
            }
            edge(
                &mut out.fragment,
                self.subject.pods,
                &to_any,
                here.as_deref(),
            )
        } else {
            masquerade(&mut out.fragment, &to_any)
        };
        put(out, map, key(front), &format!("goto {chain}"));
    }

    fn pick(&self, out: &mut Outcome, front: Front, list: &Ordered, beside: bool) -> String {
        let (entrance, start) = match front {
            Front::Address(ip, _, port) => (Entrance::Address, format!("{ip} . {port}")),
            Front::NodePort(_, port) => (Entrance::NodePort, port.to_string()),
        };
        let list = List {
            protocol: self.port.protocol,
            backends: &list.backends,
            local: beside,
            sticky: list.sticky.as_ref(),
            alone: list.alone.as_deref(),
        };
        pick(&mut out.fragment, entrance, &start, &list)
    }

    /// Nobody at all: refused at once. Nobody here, but elsewhere: dropped, because the
    /// policy asked for it and a balancer will find the other node.
    fn unanswered(&self, out: &mut Outcome, front: Front) {
        let nobody = self.lists.iter().all(|list| list.backends.is_empty());
        let verdict = if nobody {
            format!("goto {}", base::REJECT)
        } else {
            "drop".into()
        };
        let map = match front {
            Front::Address(..) => base::NO_ENDPOINT_SERVICES,
            Front::NodePort(..) => base::NO_ENDPOINT_NODEPORTS,
        };
        put(out, map, key(front), &verdict);
    }

    fn firewall(&self, out: &mut Outcome) -> Option<String> {
        let service = self.subject.service;
        if service.source_ranges.is_empty() || service.balancer_ips.is_empty() {
            return None;
        }
        let (ranges, own) = (&service.source_ranges, &service.balancer_ips);
        Some(firewall(&mut out.fragment, ranges, own))
    }
}

fn key(front: Front) -> String {
    match front {
        Front::Address(ip, protocol, port) => format!("{ip} . {protocol} . {port}"),
        Front::NodePort(protocol, port) => format!("{protocol} . {port}"),
    }
}

fn put(out: &mut Outcome, map: &str, key: String, value: &str) {
    out.fragment.items.insert(Item::entry(map, key, value));
}
