//! The index: put objects in and take them out, in time that depends on the object alone.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use super::{Kind, Service, Slice};

/// What a zone must be told.
#[derive(Debug, Clone)]
pub struct ZoneConfig {
    /// The cluster's domain, e.g. `cluster.local`.
    pub domain: String,
    /// Address of the DNS server, for `ns.dns.DOMAIN`.
    pub server: Ipv4Addr,
    /// Ranges (`10.96.0.0/12`) whose addresses nobody else can name: what is unknown there
    /// does not exist.
    pub ranges: Vec<String>,
}

/// Why a zone cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    #[error("{0:?} is no IPv4 range such as 10.96.0.0/12")]
    Range(String),
}

/// Of which kind a list has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Namespaces,
    Services,
    Slices,
}

/// The names of one cluster.
#[derive(Debug)]
pub struct Zone {
    pub(super) domain: String,
    pub(super) server: Ipv4Addr,
    ranges: Vec<(u32, u32)>,
    pub(super) namespaces: HashSet<Box<str>>,
    /// By `SERVICE.NS`.
    pub(super) services: HashMap<Box<str>, Entry>,
    /// `SLICE.NS` to `SERVICE.NS`.
    slice_of: HashMap<Box<str>, Box<str>>,
    pub(super) pointers: HashMap<IpAddr, Vec<Pointer>>,
    serial: u32,
    known: [bool; 3],
}

/// A Service and its slices, whichever came first.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) service: Option<Service>,
    pub(super) slices: Vec<(Box<str>, Slice)>,
}

/// What an address is called.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    /// `SERVICE.NS`.
    pub(super) service: Box<str>,
    /// Name of the slice and hostname in it; `None` for a Service's own address.
    pub(super) endpoint: Option<(Box<str>, Box<str>)>,
    pub(super) ready: bool,
}

fn key(name: &str, namespace: &str) -> Box<str> {
    format!("{name}.{namespace}").into()
}

impl Zone {
    /// An empty zone, about which nothing is known yet.
    ///
    /// # Errors
    /// [`ZoneError`].
    pub fn new(config: &ZoneConfig) -> Result<Zone, ZoneError> {
        let ranges: Result<_, _> = config.ranges.iter().map(|text| range(text)).collect();
        Ok(Zone {
            domain: config.domain.trim_end_matches('.').to_ascii_lowercase(),
            server: config.server,
            ranges: ranges?,
            namespaces: HashSet::new(),
            services: HashMap::new(),
            slice_of: HashMap::new(),
            pointers: HashMap::new(),
            serial: 1,
            known: [false; 3],
        })
    }

    /// Without a dot at the end.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Grows with every change.
    #[must_use]
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Says that everything of one kind is here.
    pub fn complete(&mut self, part: Part) {
        self.known[part as usize] = true;
    }

    /// Whether everything is here, so that a missing name is one that does not exist.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.known.iter().all(|known| *known)
    }

    pub fn set_namespace(&mut self, name: &str) {
        self.touch();
        self.namespaces.insert(name.into());
    }

    pub fn remove_namespace(&mut self, name: &str) {
        self.touch();
        self.namespaces.remove(name);
    }

    pub fn set_service(&mut self, namespace: &str, name: &str, service: Service) {
        self.remove_service(namespace, name);
        let key = key(name, namespace);
        for address in own_addresses(&service) {
            self.pointers.entry(address).or_default().push(Pointer {
                service: key.clone(),
                endpoint: None,
                ready: true,
            });
        }
        self.services.entry(key).or_default().service = Some(service);
    }

    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        self.touch();
        let key = key(name, namespace);
        let Some(entry) = self.services.get_mut(&key) else {
            return;
        };
        let Some(service) = entry.service.take() else {
            return;
        };
        if entry.slices.is_empty() {
            self.services.remove(&key);
        }
        for address in own_addresses(&service) {
            self.drop_pointers(address, |p| p.endpoint.is_none() && p.service == key);
        }
    }

    pub fn set_slice(&mut self, namespace: &str, name: &str, service: &str, slice: Slice) {
        self.remove_slice(namespace, name);
        let service = key(service, namespace);
        for (hostname, n) in &slice.hostnames {
            if let Some(endpoint) = slice.endpoints.get(*n as usize) {
                let list = self.pointers.entry(endpoint.address).or_default();
                list.push(Pointer {
                    service: service.clone(),
                    endpoint: Some((name.into(), hostname.clone())),
                    ready: endpoint.ready,
                });
            }
        }
        self.slice_of.insert(key(name, namespace), service.clone());
        let entry = self.services.entry(service).or_default();
        entry.slices.push((name.into(), slice));
    }

    pub fn remove_slice(&mut self, namespace: &str, name: &str) {
        self.touch();
        let Some(service) = self.slice_of.remove(&key(name, namespace)) else {
            return;
        };
        let Some(entry) = self.services.get_mut(&service) else {
            return;
        };
        let at = entry.slices.iter().position(|(slice, _)| &**slice == name);
        let Some((_, slice)) = at.map(|at| entry.slices.swap_remove(at)) else {
            return;
        };
        if entry.slices.is_empty() && entry.service.is_none() {
            self.services.remove(&service);
        }
        for (_, n) in &slice.hostnames {
            if let Some(endpoint) = slice.endpoints.get(*n as usize) {
                self.drop_pointers(endpoint.address, |p| {
                    p.service == service && p.endpoint.as_ref().is_some_and(|(s, _)| &**s == name)
                });
            }
        }
    }

    fn drop_pointers(&mut self, address: IpAddr, gone: impl Fn(&Pointer) -> bool) {
        if let Some(list) = self.pointers.get_mut(&address) {
            list.retain(|pointer| !gone(pointer));
            if list.is_empty() {
                self.pointers.remove(&address);
            }
        }
    }

    /// Whether an address belongs to the cluster, so that nobody else can name it.
    pub(super) fn owns(&self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else {
            return false;
        };
        let address = u32::from(address);
        let mut ranges = self.ranges.iter();
        ranges.any(|(base, mask)| address & mask == *base)
    }

    fn touch(&mut self) {
        self.serial = self.serial.wrapping_add(1);
    }
}

fn own_addresses(service: &Service) -> Vec<IpAddr> {
    match &service.kind {
        Kind::ClusterIp(addresses) => addresses.clone(),
        Kind::Headless | Kind::External(_) => Vec::new(),
    }
}

fn range(text: &str) -> Result<(u32, u32), ZoneError> {
    let bad = || ZoneError::Range(text.to_owned());
    let (base, bits) = text.split_once('/').ok_or_else(bad)?;
    let base: Ipv4Addr = base.parse().map_err(|_| bad())?;
    let bits: u32 = bits.parse().map_err(|_| bad())?;
    if !(1..=32).contains(&bits) {
        return Err(bad());
    }
    let mask = u32::MAX << (32 - bits);
    Ok((u32::from(base) & mask, mask))
}
