//! What the endpoint loops keep of Services, pods and slices: the few fields that decide,
//! read straight from the wire, so that 30,000 pods fit.

use std::collections::BTreeMap;

use cadet_api::meta::Meta;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::shared::PodInfo;

pub type Labels = BTreeMap<String, String>;

/// `discovery.k8s.io/v1` and its labels.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub const HEADLESS: &str = "service.kubernetes.io/headless";
pub const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
/// When what caused the newest change happened; for who measures how fast it spreads.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Null counts as absent.
pub fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    IPv4,
    IPv6,
}

impl Family {
    pub fn of(address: &str) -> Family {
        match address.contains(':') {
            true => Family::IPv6,
            false => Family::IPv4,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Family::IPv4 => "IPv4",
            Family::IPv6 => "IPv6",
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    pub metadata: Meta,
    pub spec: ServiceSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    pub selector: Option<Labels>,
    pub ports: Vec<ServicePort>,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    pub ip_families: Vec<String>,
    pub publish_not_ready_addresses: bool,
    #[serde(rename = "type")]
    pub kind: String,
    /// Whose endpoints clients should get: those of their node or zone.
    pub traffic_distribution: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    pub name: String,
    pub protocol: String,
    pub port: i64,
    /// A number, or the name of a container's port.
    pub target_port: Value,
    pub app_protocol: Option<String>,
}

impl Service {
    /// The selector of a Service whose endpoints these loops keep; `None` if its endpoints
    /// are made by hand, or it has none.
    pub fn selects(&self) -> Option<&Labels> {
        self.spec
            .selector
            .as_ref()
            .filter(|labels| !labels.is_empty() && self.spec.kind != "ExternalName")
    }

    pub fn is_headless(&self) -> bool {
        matches!(self.spec.cluster_ip.as_str(), "None" | "")
    }

    /// Families its slices are made for.
    pub fn families(&self) -> Vec<Family> {
        if !self.spec.ip_families.is_empty() {
            let of = |name: &String| match name.as_str() {
                "IPv6" => Family::IPv6,
                _ => Family::IPv4,
            };
            return self.spec.ip_families.iter().map(of).collect();
        }
        match self.spec.cluster_ip.as_str() {
            "" | "None" => vec![Family::IPv4, Family::IPv6],
            address => vec![Family::of(address)],
        }
    }
}

/// Whether a pod has the labels a Service asks for.
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

/// The name DNS gives a pod within the Service, if it asks for one.
pub fn hostname_in<'a>(service: &Service, pod: &'a PodInfo) -> Option<&'a str> {
    let outside = &pod.outside;
    let named = !outside.hostname.is_empty()
        && outside.subdomain == service.metadata.name
        && *pod.namespace == *service.metadata.namespace;
    named.then_some(outside.hostname.as_str())
}

/// The number of the container port a Service's port leads to.
pub fn port_of(port: &ServicePort, pod: &PodInfo) -> Option<u16> {
    match &port.target_port {
        Value::String(name) => (pod.outside.ports.iter())
            .find(|p| p.name == *name && or_tcp(&p.protocol) == or_tcp(&port.protocol))
            .map(|p| p.container_port),
        Value::Number(number) if number.as_i64() != Some(0) => {
            number.as_u64().and_then(|n| u16::try_from(n).ok())
        }
        _ => u16::try_from(port.port).ok(),
    }
}

pub fn or_tcp(protocol: &str) -> &str {
    match protocol {
        "" => "TCP",
        protocol => protocol,
    }
}

/// A port of a slice or of a subset.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub protocol: String,
    /// `None`: all ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conditions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating: Option<bool>,
}

/// What an address belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetRef {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

impl TargetRef {
    pub fn of(pod: &PodInfo) -> TargetRef {
        TargetRef {
            kind: "Pod".to_owned(),
            namespace: pod.namespace.to_string(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
        }
    }
}

/// One endpoint of a slice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    pub addresses: Vec<String>,
    pub conditions: Conditions,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<Box<TargetRef>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hints: Option<Box<Hints>>,
}

/// For whom an endpoint is meant, as service proxies take it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hints {
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub for_zones: Vec<Hint>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub for_nodes: Vec<Hint>,
}

/// The zone or node of a hint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hint {
    pub name: String,
}

/// An EndpointSlice. `name` is "" for one that is not there yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub terminating: bool,
    /// Uid of the controlling owner.
    pub owner: String,
    pub labels: Labels,
    pub annotations: Labels,
    /// As on the wire: other owners than ours may stand there.
    pub owners: Value,
    pub family: Family,
    pub ports: Vec<Port>,
    pub endpoints: Vec<Endpoint>,
}
