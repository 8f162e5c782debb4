//! Services and EndpointSlices as the proxy keeps them: a few bytes an endpoint.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;

use crate::table::Protocol;

/// Takes a Service or EndpointSlice away from the cluster's proxy.
pub const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";
/// Set by controllers on objects of headless Services.
pub const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
/// Names the Service of an EndpointSlice.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Zone of a node.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Default of `sessionAffinityConfig.clientIP.timeoutSeconds`.
const AFFINITY_SECONDS: i32 = 10_800;

/// Namespace and name.
pub type ObjectName = (Box<str>, Box<str>);

/// A Service with a cluster IP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub cluster_ip: Ipv4Addr,
    pub ports: Vec<ServicePort>,
    pub external_ips: Vec<Ipv4Addr>,
    pub balancer_ips: Vec<Ipv4Addr>,
    /// Who may use the load balancer's addresses; empty: everybody.
    pub source_ranges: Vec<Box<str>>,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
    /// `externalTrafficPolicy: Local`, for a Service that has such traffic.
    pub external_local: bool,
    /// `sessionAffinity: ClientIP`, with its timeout in seconds.
    pub affinity: Option<u32>,
    pub health_port: Option<u16>,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    pub name: Box<str>,
    pub protocol: Protocol,
    pub port: u16,
    pub node_port: Option<u16>,
}

impl Service {
    /// Reads a Service; nothing for those that have no rules: headless ones, external
    /// names, and those of another proxy.
    #[must_use]
    pub fn read(object: &core::Service) -> Option<Self> {
        let labels = object.metadata.labels.as_ref();
        if labels
            .is_some_and(|l| l.contains_key(PROXY_NAME_LABEL) || l.contains_key(HEADLESS_LABEL))
        {
            return None;
        }
        let spec = object.spec.as_ref()?;
        let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
        if kind == "ExternalName" {
            return None;
        }
        let cluster_ip = address_of(spec)?;
        let balancer = kind == "LoadBalancer";
        let outside = balancer || kind == "NodePort";
        let external_ips = parse_all(spec.external_ips.as_deref().unwrap_or_default());
        let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
            let seconds = spec
                .session_affinity_config
                .as_ref()
                .and_then(|config| config.client_ip.as_ref())
                .and_then(|client| client.timeout_seconds)
                .unwrap_or(AFFINITY_SECONDS);
            u32::try_from(seconds).unwrap_or(1).max(1)
        });
        let local = |policy: &Option<String>| policy.as_deref() == Some("Local");
        let external_local =
            local(&spec.external_traffic_policy) && (outside || !external_ips.is_empty());
        Some(Self {
            cluster_ip,
            ports: ports(spec, outside),
            balancer_ips: if balancer {
                balancer_ips(object)
            } else {
                Vec::new()
            },
            source_ranges: source_ranges(spec, balancer),
            internal_local: local(&spec.internal_traffic_policy),
            health_port: spec
                .health_check_node_port
                .filter(|_| balancer && external_local)
                .and_then(port_number),
            external_local,
            external_ips,
            affinity,
        })
    }
}

fn address_of(spec: &core::ServiceSpec) -> Option<Ipv4Addr> {
    let all = spec.cluster_ips.as_deref().unwrap_or_default();
    let mut given = all.iter().chain(spec.cluster_ip.as_ref());
    given.find_map(|text| text.parse().ok())
}

fn ports(spec: &core::ServiceSpec, outside: bool) -> Vec<ServicePort> {
    let given = spec.ports.as_deref().unwrap_or_default();
    let read = |port: &core::ServicePort| {
        Some(ServicePort {
            name: port.name.as_deref().unwrap_or_default().into(),
            protocol: Protocol::parse(port.protocol.as_deref())?,
            port: port_number(port.port)?,
            node_port: port.node_port.filter(|_| outside).and_then(port_number),
        })
    };
    given.iter().filter_map(read).collect()
}

fn balancer_ips(object: &core::Service) -> Vec<Ipv4Addr> {
    let status = object
        .status
        .as_ref()
        .and_then(|s| s.load_balancer.as_ref());
    let given = status
        .and_then(|s| s.ingress.as_deref())
        .unwrap_or_default();
    given
        .iter()
        // A balancer of mode Proxy wants to see every packet itself (KEP-1860).
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|ingress| ingress.ip.as_deref()?.parse().ok())
        .collect()
}

fn source_ranges(spec: &core::ServiceSpec, balancer: bool) -> Vec<Box<str>> {
    let given = spec
        .load_balancer_source_ranges
        .as_deref()
        .unwrap_or_default();
    let own = given.iter().filter(|_| balancer);
    own.filter_map(|text| Range::parse(text.trim()))
        .map(|range| range.to_string().into())
        .collect()
}

fn parse_all(texts: &[String]) -> Vec<Ipv4Addr> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// A port number in its range.
#[must_use]
pub fn port_number(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port != 0)
}

/// An IPv4 range without bits behind its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Range {
    base: u32,
    prefix: u8,
}

impl Range {
    /// Reads `a.b.c.d/n`; bits behind the prefix are dropped, as upstream does.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        Some(Self {
            base: u32::from(address) & mask,
            prefix,
        })
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

/// What is asked of an endpoint, one bit each.
pub mod flag {
    pub const READY: u8 = 1;
    pub const SERVING: u8 = 1 << 1;
    pub const TERMINATING: u8 = 1 << 2;
    /// On this node.
    pub const LOCAL: u8 = 1 << 3;
    /// Has hints for zones; for ours.
    pub const ZONE_HINT: u8 = 1 << 4;
    pub const OUR_ZONE: u8 = 1 << 5;
    /// Has hints for nodes; for ours.
    pub const NODE_HINT: u8 = 1 << 6;
    pub const OUR_NODE: u8 = 1 << 7;
}

/// One endpoint of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceEndpoint {
    pub ip: Ipv4Addr,
    /// Bits of [`flag`].
    pub flags: u8,
}

/// An EndpointSlice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slice {
    pub ports: Vec<(Box<str>, Protocol, u16)>,
    pub endpoints: Box<[SliceEndpoint]>,
}

/// Where the proxy runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    pub node: String,
    /// Value of [`ZONE_LABEL`] on the node.
    pub zone: Option<String>,
}

impl Slice {
    /// Reads an EndpointSlice as seen from `place`; nothing for those without rules.
    #[must_use]
    pub fn read(object: &discovery::EndpointSlice, place: &Place) -> Option<Self> {
        let labels = object.metadata.labels.as_ref();
        if object.address_type != "IPv4"
            || labels
                .is_some_and(|l| l.contains_key(PROXY_NAME_LABEL) || l.contains_key(HEADLESS_LABEL))
        {
            return None;
        }
        let ports = object.ports.as_deref().unwrap_or_default().iter();
        let ports = ports
            .filter_map(|port| {
                Some((
                    port.name.as_deref().unwrap_or_default().into(),
                    Protocol::parse(port.protocol.as_deref())?,
                    port_number(port.port?)?,
                ))
            })
            .collect();
        let endpoints = object.endpoints.as_deref().unwrap_or_default().iter();
        let endpoints = endpoints.filter_map(|e| endpoint(e, place)).collect();
        Some(Self { ports, endpoints })
    }
}

fn endpoint(object: &discovery::Endpoint, place: &Place) -> Option<SliceEndpoint> {
    // All addresses of an endpoint are the same pod; upstream uses the first as well.
    let ip = object.addresses.first()?.parse().ok()?;
    let conditions = object.conditions.as_ref();
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
    let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
    let mut flags = 0;
    let mut put = |set: bool, bit: u8| flags |= if set { bit } else { 0 };
    put(ready, flag::READY);
    put(serving, flag::SERVING);
    put(terminating, flag::TERMINATING);
    put(
        object.node_name.as_deref() == Some(place.node.as_str()),
        flag::LOCAL,
    );
    let hints = object.hints.as_ref();
    let zones = hints
        .and_then(|h| h.for_zones.as_deref())
        .unwrap_or_default();
    let nodes = hints
        .and_then(|h| h.for_nodes.as_deref())
        .unwrap_or_default();
    put(!zones.is_empty(), flag::ZONE_HINT);
    put(
        zones.iter().any(|z| Some(&z.name) == place.zone.as_ref()),
        flag::OUR_ZONE,
    );
    put(!nodes.is_empty(), flag::NODE_HINT);
    put(nodes.iter().any(|n| n.name == place.node), flag::OUR_NODE);
    Some(SliceEndpoint { ip, flags })
}
