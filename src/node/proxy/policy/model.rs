//! NetworkPolicies, pods and namespaces as the proxy keeps them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use cadet_api::selector::LabelSelector;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{Object, ResourceExt as _};
use serde::{Deserialize, Serialize};

use crate::services::{Range, port_number};
use crate::table::Protocol;

/// Labels of a pod or namespace.
pub type Labels = BTreeMap<String, String>;

/// What the watch of pods reads of each.
pub type PodObject = Object<PodSpec, PodStatus>;

/// Part of `PodSpec`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub node_name: String,
    pub host_network: bool,
    pub containers: Vec<PodContainer>,
    pub init_containers: Vec<PodContainer>,
}

/// Part of `Container`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PodContainer {
    pub ports: Vec<PodPort>,
}

/// Part of `ContainerPort`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodPort {
    pub name: Option<Box<str>>,
    pub container_port: i32,
    pub protocol: Option<String>,
}

/// Part of `PodStatus`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    pub phase: String,
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    pub container_statuses: Vec<ContainerStatus>,
}

/// Part of `ContainerStatus`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerStatus {
    pub state: ContainerState,
}

/// Part of `ContainerState`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    pub running: Option<serde_json::Value>,
}

impl PodStatus {
    /// Whether nothing of the pod runs any more and its address may be another's. One that is
    /// evicted has failed before its containers have ended.
    fn is_over(&self) -> bool {
        let mut containers = self.container_statuses.iter();
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
            && containers.all(|container| container.state.running.is_none())
    }
}

/// A pod with an address of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub labels: Arc<Labels>,
    pub ip: Ipv4Addr,
    /// Ports with a name.
    pub ports: Box<[(Box<str>, Protocol, u16)]>,
    /// On this node.
    pub local: bool,
}

impl Pod {
    /// Reads a pod as seen from `node`; nothing for pods on the host's network, and for
    /// those that have no address yet or no longer.
    #[must_use]
    pub fn read(object: &PodObject, node: &str) -> Option<Self> {
        let status = object.status.as_ref()?;
        if object.spec.host_network || status.is_over() {
            return None;
        }
        let containers = object.spec.containers.iter();
        let containers = containers.chain(&object.spec.init_containers);
        let ports = containers.flat_map(|c| &c.ports);
        Some(Self {
            labels: Arc::new(object.labels().clone()),
            ip: status.pod_ip.parse().ok()?,
            ports: ports
                .filter_map(|port| {
                    let protocol = Protocol::parse(port.protocol.as_deref())?;
                    Some((
                        port.name.clone()?,
                        protocol,
                        port_number(port.container_port)?,
                    ))
                })
                .collect(),
            local: object.spec.node_name == node,
        })
    }
}

impl Pod {
    /// What stands for the cluster's DNS: the labels and ports its pods have everywhere.
    #[must_use]
    pub fn dns(ip: Ipv4Addr) -> Self {
        let label = ("k8s-app".to_owned(), "kube-dns".to_owned());
        Self {
            labels: Arc::new(Labels::from([label])),
            ip,
            ports: [
                ("dns".into(), Protocol::Udp, 53),
                ("dns-tcp".into(), Protocol::Tcp, 53),
            ]
            .into(),
            local: false,
        }
    }
}

/// Which pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodMatch {
    pub namespaces: NamespaceMatch,
    pub pods: LabelSelector,
}

/// Which namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamespaceMatch {
    Is(Box<str>),
    Labels(LabelSelector),
}

/// One peer of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    Pods(PodMatch),
    Block { range: Range, except: Vec<Range> },
}

/// One port of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyPort {
    pub protocol: Protocol,
    pub numbers: Numbers,
}

/// Which ports of a protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Numbers {
    All,
    /// From first to last.
    Range(u16, u16),
    /// Of the pod that is connected to.
    Named(Box<str>),
}

/// One rule: what it allows. Nothing said is everything allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    pub peers: Option<Vec<Peer>>,
    pub ports: Option<Vec<PolicyPort>>,
}

/// A NetworkPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub namespace: Box<str>,
    pub pods: LabelSelector,
    /// Absent: the policy does not concern this direction.
    pub ingress: Option<Vec<Rule>>,
    pub egress: Option<Vec<Rule>>,
}

impl Policy {
    /// Reads a policy. The API server refuses selectors that cannot be read, so none is
    /// expected here; a policy with one selects nothing.
    #[must_use]
    pub fn read(object: &networking::NetworkPolicy) -> Option<Self> {
        let namespace: Box<str> = object.metadata.namespace.as_deref()?.into();
        let spec = object.spec.as_ref()?;
        let types = spec.policy_types.as_deref().unwrap_or_default();
        let concerns = |word: &str, default: bool| match types {
            [] => default,
            types => types.iter().any(|kind| kind == word),
        };
        let read = |peers: Option<&Vec<_>>, ports: Option<&Vec<_>>| {
            let peers = peers.filter(|list| !list.is_empty());
            let ports = ports.filter(|list| !list.is_empty());
            Rule {
                peers: peers.map(|list| {
                    let read = |peer| peer_of(peer, &namespace);
                    list.iter().filter_map(read).collect()
                }),
                ports: ports.map(|list| list.iter().filter_map(port_of).collect()),
            }
        };
        let ingress = spec.ingress.as_deref().unwrap_or_default().iter();
        let ingress = ingress.map(|rule| read(rule.from.as_ref(), rule.ports.as_ref()));
        let egress = spec.egress.as_deref().unwrap_or_default().iter();
        let egress = egress.map(|rule| read(rule.to.as_ref(), rule.ports.as_ref()));
        Some(Self {
            ingress: concerns("Ingress", true).then(|| ingress.collect()),
            egress: concerns("Egress", spec.egress.is_some()).then(|| egress.collect()),
            pods: selector(spec.pod_selector.as_ref())?,
            namespace,
        })
    }
}

/// An absent selector is the empty one here: whoever calls knows that there is a peer.
fn selector(object: Option<&meta::LabelSelector>) -> Option<LabelSelector> {
    let Some(object) = object else {
        return Some(LabelSelector::default());
    };
    let value = serde_json::to_value(object).ok()?;
    LabelSelector::from_object(&value).ok()
}

fn peer_of(object: &networking::NetworkPolicyPeer, namespace: &str) -> Option<Peer> {
    if let Some(block) = &object.ip_block {
        let except = block.except.as_deref().unwrap_or_default().iter();
        return Some(Peer::Block {
            range: Range::parse(&block.cidr)?,
            except: except.filter_map(|text| Range::parse(text)).collect(),
        });
    }
    let namespaces = match &object.namespace_selector {
        None => NamespaceMatch::Is(namespace.into()),
        Some(_) => NamespaceMatch::Labels(selector(object.namespace_selector.as_ref())?),
    };
    Some(Peer::Pods(PodMatch {
        namespaces,
        pods: selector(object.pod_selector.as_ref())?,
    }))
}

fn port_of(object: &networking::NetworkPolicyPort) -> Option<PolicyPort> {
    let numbers = match &object.port {
        None => Numbers::All,
        Some(IntOrString::Int(first)) => {
            let first = port_number(*first)?;
            Numbers::Range(
                first,
                object.end_port.and_then(port_number).unwrap_or(first),
            )
        }
        Some(IntOrString::String(name)) => Numbers::Named(name.as_str().into()),
    };
    Some(PolicyPort {
        protocol: Protocol::parse(object.protocol.as_deref())?,
        numbers,
    })
}
