//! What the cluster's names stand for: Services and EndpointSlices, indexed by name, and the
//! answers of the Kubernetes DNS specification 1.1 (kubernetes/dns, docs/specification.md).
//! Pure: objects in, answers out.
//!
//! ```text
//!   SERVICE.NS.svc.DOMAIN                A AAAA SRV   cluster addresses; headless: endpoints
//!   HOST.SERVICE.NS.svc.DOMAIN           A AAAA SRV   one endpoint, by hostname or 10-244-0-7
//!   _PORT._PROTO.SERVICE.NS.svc.DOMAIN   SRV
//!   10-244-0-7.NS.pod.DOMAIN             A AAAA       whatever the address, as CoreDNS's "insecure"
//!   dns-version.DOMAIN                   TXT
//!   7.0.244.10.in-addr.arpa              PTR
//! ```
//! `SERVICE.NS` is one piece of text in every question about a Service, so the index is asked
//! with that piece of the question itself.

mod index;
mod lookup;
mod reverse;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use index::{Part, Zone, ZoneConfig, ZoneError};

/// Seconds an answer may be kept. CoreDNS's plugin says 5 unless told otherwise; the manifests
/// that clusters are made with (kubeadm's among them) tell it 30, which is what learners see.
pub const TTL: u32 = 30;
/// Version of the specification the records follow.
pub const VERSION: &str = "1.1.0";

/// A Service as far as names need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub kind: Kind,
    pub ports: Box<[Port]>,
    /// Endpoints that are not ready are published as well.
    pub publish_not_ready: bool,
}

/// What a Service's name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// To its own addresses.
    ClusterIp(Vec<IpAddr>),
    /// To its endpoints.
    Headless,
    /// To another name.
    External(Box<str>),
}

/// A port of a Service, or of a slice's endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// "" where it has none.
    pub name: Box<str>,
    pub protocol: Protocol,
    pub number: u16,
}

/// A port's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// From a label of a question, e.g. `_tcp`.
    fn of_label(label: &str) -> Option<Protocol> {
        match label {
            "_tcp" => Some(Protocol::Tcp),
            "_udp" => Some(Protocol::Udp),
            "_sctp" => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub address: IpAddr,
    pub hostname: Option<Box<str>>,
    pub ready: bool,
}

/// An EndpointSlice as far as names need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// In the order of addresses.
    endpoints: Box<[Endpoint]>,
    /// Hostnames and whose they are, in the order of names.
    hostnames: Box<[(Box<str>, u32)]>,
    ports: Box<[Port]>,
}

impl Slice {
    /// A slice of endpoints that all have these ports.
    #[must_use]
    pub fn new(mut endpoints: Vec<Endpoint>, ports: Box<[Port]>) -> Slice {
        endpoints.sort_by_key(|endpoint| endpoint.address);
        let mut hostnames: Vec<(Box<str>, u32)> = (0u32..)
            .zip(&endpoints)
            .filter_map(|(n, endpoint)| Some((endpoint.hostname.clone()?, n)))
            .collect();
        hostnames.sort();
        Slice {
            endpoints: endpoints.into(),
            hostnames: hostnames.into(),
            ports,
        }
    }

    /// In the order of addresses.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Endpoints with this hostname, or, where an endpoint has none, with this address
    /// written as a label.
    fn called<'a, 'b>(
        &'a self,
        label: &'b str,
    ) -> impl Iterator<Item = &'a Endpoint> + use<'a, 'b> {
        let from = self.hostnames.partition_point(|(name, _)| &**name < label);
        let named = self.hostnames[from..]
            .iter()
            .take_while(move |(name, _)| &**name == label)
            .filter_map(|(_, n)| self.endpoints.get(*n as usize));
        let address = address_of(label);
        let from = address.map_or(self.endpoints.len(), |address| {
            self.endpoints.partition_point(|e| e.address < address)
        });
        let plain = self.endpoints[from..]
            .iter()
            .take_while(move |e| Some(e.address) == address)
            .filter(|e| e.hostname.is_none());
        named.chain(plain)
    }
}

/// An address written as a label: `10-244-0-7`, `fd00--7`.
fn address_of(label: &str) -> Option<IpAddr> {
    if !label.contains('-') {
        return None;
    }
    let four = label.bytes().filter(|byte| *byte == b'-').count() == 3 && !label.contains("--");
    let text = label.replace('-', if four { "." } else { ":" });
    text.parse().ok()
}

/// The label of an endpoint, as [`Slice::called`] reads it.
fn label_of(endpoint: &Endpoint) -> String {
    match (&endpoint.hostname, endpoint.address) {
        (Some(name), _) => name.to_string(),
        (None, IpAddr::V4(address)) => address.to_string().replace('.', "-"),
        (None, IpAddr::V6(address)) => {
            let text = address.to_string().replace(':', "-");
            // A label ends in a letter or digit (RFC 1123).
            if text.ends_with('-') {
                text + "0"
            } else {
                text
            }
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    A,
    Aaaa,
    Srv,
    Ptr,
    Txt,
    Soa,
    Ns,
    /// CNAME, and types that nothing here has records of.
    Other,
    Any,
}

impl Asked {
    fn wants(self, kind: Asked) -> bool {
        self == kind || self == Asked::Any
    }

    /// Whether an address of this family is wanted.
    fn wants_address(self, address: &IpAddr) -> bool {
        self.wants(if address.is_ipv4() {
            Asked::A
        } else {
            Asked::Aaaa
        })
    }
}

/// What stands behind the owner of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    Address(IpAddr),
    /// Priority is always 0.
    Service {
        weight: u16,
        port: u16,
        target: String,
    },
    Pointer(String),
    Text(&'static str),
    NameServer(String),
    Start,
}

/// Where a negative answer's SOA stands, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The cluster's own domain.
    Cluster,
    /// `in-addr.arpa`.
    Reverse4,
    /// `ip6.arpa`.
    Reverse6,
}

/// The answer to a question about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Records of the name asked for, and addresses of names they mention.
    Found {
        records: Vec<Data>,
        extra: Vec<(String, IpAddr)>,
    },
    /// The name is another one's alias.
    Alias(String),
    /// The name exists, and has no such record (NOERROR without an answer).
    NoData(Origin),
    /// NXDOMAIN.
    NoSuchName(Origin),
    /// Somebody else's name.
    Elsewhere,
    /// A name of the cluster, which is not known yet.
    NotYet,
}
