//! From a question to its answer. Only what exists is looked at: a name that a search path made
//! up costs one failed look into a hash map.

use std::net::IpAddr;

use super::index::Entry;
use super::{
    Answer, Asked, Data, Endpoint, Kind, Origin, Port, Protocol, Service, Slice, VERSION, Zone,
    address_of, label_of, reverse,
};

/// Weight of all SRV records of an answer together.
const WEIGHT: usize = 100;

impl Zone {
    /// Answers a question. `name` is in small letters and without the dot at the end.
    #[must_use]
    pub fn answer(&self, name: &str, asked: Asked) -> Answer {
        if let Some(rest) = name.strip_suffix(self.domain()) {
            if rest.is_empty() {
                return self.own(asked);
            }
            if let Some(rest) = rest.strip_suffix('.') {
                return match self.is_complete() {
                    true => self.inside(rest, asked),
                    false => Answer::NotYet,
                };
            }
        }
        self.reverse(name, asked)
    }

    /// The domain itself.
    fn own(&self, asked: Asked) -> Answer {
        let mut records = Vec::new();
        if asked.wants(Asked::Soa) {
            records.push(Data::Start);
        }
        if asked.wants(Asked::Ns) {
            records.push(Data::NameServer(self.server_name()));
        }
        found(records)
    }

    fn server_name(&self) -> String {
        format!("ns.dns.{}", self.domain())
    }

    fn inside(&self, rest: &str, asked: Asked) -> Answer {
        let labels = rest.rsplit_once('.');
        match (labels, rest) {
            (None, "dns-version") => match asked.wants(Asked::Txt) {
                true => found(vec![Data::Text(VERSION)]),
                false => no_data(),
            },
            // They are there because of what is below them (RFC 8020).
            (None, "svc" | "pod" | "dns") => no_data(),
            (Some(("ns", "dns")), _) => addresses([IpAddr::V4(self.server)], asked),
            (Some((rest, "svc")), _) => self.service(rest, asked),
            (Some((rest, "pod")), _) => self.pod(rest, asked),
            _ => nothing(),
        }
    }

    /// `rest` is a namespace, or a label in front of one.
    fn pod(&self, rest: &str, asked: Asked) -> Answer {
        let (label, namespace) = match rest.split_once('.') {
            Some((label, namespace)) => (Some(label), namespace),
            None => (None, rest),
        };
        match (self.namespaces.contains(namespace), label) {
            (false, _) => nothing(),
            (true, None) => no_data(),
            (true, Some(label)) => match address_of(label) {
                Some(address) => addresses([address], asked),
                None => nothing(),
            },
        }
    }

    fn service(&self, rest: &str, asked: Asked) -> Answer {
        let Some(dot) = rest.rfind('.') else {
            return match self.namespaces.contains(rest) {
                true => no_data(),
                false => nothing(),
            };
        };
        // The last two labels are the key, the rest stands before them.
        let (before, key) = match rest[..dot].rfind('.') {
            Some(dot) => (&rest[..dot], &rest[dot + 1..]),
            None => ("", rest),
        };
        let Some(Entry {
            service: Some(service),
            slices,
        }) = self.services.get(key)
        else {
            return nothing();
        };
        let seen = Seen {
            zone: self,
            key,
            service,
            slices,
        };
        match (before.split_once('.'), before) {
            (None, "") => seen.whole(asked),
            (None, label) => seen.part(label, asked),
            (Some((port, protocol)), _) => seen.port(port, protocol, asked),
        }
    }

    fn reverse(&self, name: &str, asked: Asked) -> Answer {
        let Some((address, origin)) = reverse::address_of(name) else {
            return Answer::Elsewhere;
        };
        if !self.is_complete() {
            return match self.owns(address) {
                true => Answer::NotYet,
                false => Answer::Elsewhere,
            };
        }
        let pointers = self.pointers.get(&address).map_or(&[][..], Vec::as_slice);
        let own = pointers.iter().find(|p| p.endpoint.is_none());
        let names: Vec<Data> = match own {
            Some(service) => vec![self.pointer(&service.service, None)],
            None => pointers
                .iter()
                .filter(|p| p.ready || self.publishes_all(&p.service))
                .filter_map(|p| Some((p, p.endpoint.as_ref()?)))
                .map(|(p, (_, hostname))| self.pointer(&p.service, Some(hostname)))
                .collect(),
        };
        match (names.is_empty(), self.owns(address)) {
            (false, _) if asked.wants(Asked::Ptr) => found(names),
            (false, _) => Answer::NoData(origin),
            (true, true) => Answer::NoSuchName(origin),
            (true, false) => Answer::Elsewhere,
        }
    }

    fn pointer(&self, service: &str, hostname: Option<&str>) -> Data {
        let domain = self.domain();
        Data::Pointer(match hostname {
            Some(hostname) => format!("{hostname}.{service}.svc.{domain}"),
            None => format!("{service}.svc.{domain}"),
        })
    }

    fn publishes_all(&self, key: &str) -> bool {
        let service = self.services.get(key).and_then(|e| e.service.as_ref());
        service.is_some_and(|service| service.publish_not_ready)
    }
}

/// A Service that a question is about.
struct Seen<'a> {
    zone: &'a Zone,
    key: &'a str,
    service: &'a Service,
    slices: &'a [(Box<str>, Slice)],
}

impl<'a> Seen<'a> {
    /// `SERVICE.NS`.
    fn whole(&self, asked: Asked) -> Answer {
        match &self.service.kind {
            // An address for a name would be a name that looks like an address.
            Kind::External(name) if name.parse::<IpAddr>().is_ok() || name.is_empty() => nothing(),
            Kind::External(name) => Answer::Alias(name.trim_end_matches('.').to_ascii_lowercase()),
            Kind::ClusterIp(own) => match asked {
                Asked::Srv => self.own_ports(own, |_| true),
                _ => addresses(own.iter().copied(), asked),
            },
            // No endpoint that is ready: such a name does not exist (specification, 2.4.1).
            Kind::Headless => self.of_endpoints(self.published(), asked),
        }
    }

    /// One label in front of the Service: an endpoint, or the middle of a port's name.
    fn part(&self, label: &str, asked: Asked) -> Answer {
        if let Some(protocol) = Protocol::of_label(label) {
            let named = |ports: &[Port]| {
                let mut ports = ports.iter();
                ports.any(|port| port.protocol == protocol && !port.name.is_empty())
            };
            let there = match self.service.kind {
                Kind::ClusterIp(_) => named(&self.service.ports),
                Kind::Headless => self.published().any(|(_, slice)| named(&slice.ports)),
                Kind::External(_) => false,
            };
            return if there { no_data() } else { nothing() };
        }
        if matches!(self.service.kind, Kind::External(_)) {
            return nothing();
        }
        let all = self.service.publish_not_ready;
        let called = self.slices.iter().flat_map(|(_, slice)| {
            let called = slice.called(label).filter(|e| e.ready || all);
            called.map(move |endpoint| (endpoint, slice))
        });
        self.of_endpoints(called, asked)
    }

    /// `_PORT._PROTOCOL` in front of the Service.
    fn port(&self, port: &str, protocol: &str, asked: Asked) -> Answer {
        let (Some(name), Some(protocol)) = (port.strip_prefix('_'), Protocol::of_label(protocol))
        else {
            return nothing();
        };
        if name.is_empty() {
            return nothing();
        }
        let fits = |port: &Port| &*port.name == name && port.protocol == protocol;
        let answer = match &self.service.kind {
            Kind::ClusterIp(own) => self.own_ports(own, fits),
            Kind::Headless => self.endpoint_ports(self.published(), fits),
            Kind::External(_) => nothing(),
        };
        match answer {
            Answer::Found { .. } if !asked.wants(Asked::Srv) => no_data(),
            Answer::NoData(_) => nothing(),
            answer => answer,
        }
    }

    /// Endpoints that may be shown, each with its slice.
    fn published(&self) -> impl Iterator<Item = (&'a Endpoint, &'a Slice)> + use<'a> {
        let all = self.service.publish_not_ready;
        self.slices.iter().flat_map(move |(_, slice)| {
            let shown = slice.endpoints.iter().filter(move |e| e.ready || all);
            shown.map(move |endpoint| (endpoint, slice))
        })
    }

    fn of_endpoints(
        &self,
        endpoints: impl Iterator<Item = (&'a Endpoint, &'a Slice)>,
        asked: Asked,
    ) -> Answer {
        let mut endpoints = endpoints.peekable();
        if endpoints.peek().is_none() {
            return nothing();
        }
        match asked {
            Asked::Srv => self.endpoint_ports(endpoints, |_| true),
            _ => {
                // An endpoint on its way from slice to slice is in both for a moment.
                let mut all: Vec<_> = endpoints.map(|(endpoint, _)| endpoint.address).collect();
                all.sort_unstable();
                all.dedup();
                addresses(all, asked)
            }
        }
    }

    fn name(&self) -> String {
        format!("{}.svc.{}", self.key, self.zone.domain())
    }

    fn own_ports(&self, own: &[IpAddr], fits: impl Fn(&Port) -> bool) -> Answer {
        let numbers = self.service.ports.iter().filter(|port| fits(port));
        let targets: Vec<_> = numbers.map(|port| (port.number, self.name())).collect();
        let extra = own.iter().map(|address| (self.name(), *address));
        services(targets, extra.collect())
    }

    fn endpoint_ports(
        &self,
        endpoints: impl Iterator<Item = (&'a Endpoint, &'a Slice)>,
        fits: impl Fn(&Port) -> bool,
    ) -> Answer {
        let (mut targets, mut extra) = (Vec::new(), Vec::new());
        for (endpoint, slice) in endpoints {
            let mut ports = slice.ports.iter().filter(|port| fits(port)).peekable();
            if ports.peek().is_none() {
                continue;
            }
            let target = format!("{}.{}", label_of(endpoint), self.name());
            extra.push((target.clone(), endpoint.address));
            targets.extend(ports.map(|port| (port.number, target.clone())));
        }
        services(targets, extra)
    }
}

fn services(mut targets: Vec<(u16, String)>, extra: Vec<(String, IpAddr)>) -> Answer {
    // The two families of one Service share their names.
    targets.sort();
    targets.dedup();
    let weight = (WEIGHT / targets.len().max(1)).max(1);
    let weight = u16::try_from(weight).unwrap_or(1);
    let records = targets.into_iter().map(|(port, target)| Data::Service {
        weight,
        port,
        target,
    });
    let records: Vec<Data> = records.collect();
    match records.is_empty() {
        true => no_data(),
        false => Answer::Found { records, extra },
    }
}

fn addresses(all: impl IntoIterator<Item = IpAddr>, asked: Asked) -> Answer {
    let wanted = all
        .into_iter()
        .filter(|address| asked.wants_address(address));
    found(wanted.map(Data::Address).collect())
}

fn found(records: Vec<Data>) -> Answer {
    match records.is_empty() {
        true => no_data(),
        false => Answer::Found {
            records,
            extra: Vec::new(),
        },
    }
}

fn no_data() -> Answer {
    Answer::NoData(Origin::Cluster)
}

fn nothing() -> Answer {
    Answer::NoSuchName(Origin::Cluster)
}
