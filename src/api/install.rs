//! What the host tells a guest node at installation: the one document both programs read.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// Where a node keeps the folders of volumes that were made on it: the control plane names
/// them, the node's agent makes and removes them.
pub const LOCAL_VOLUMES: &str = "/var/lib/cadet/volumes";

/// TCP port of the dashboard on the loopback of the server's machine, unless the server is told
/// another.
pub const DASHBOARD_PORT: u16 = 10270;

/// Configuration of one node, carried as `node.json` on the seed disk and kept in
/// the guest as `/etc/cadet/node.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeConfig {
    /// Name of the Node object; a DNS label. The host uses the profile name.
    pub node_name: String,
    /// Name of the cluster as clients see it (kubeconfig cluster and context).
    pub cluster_name: String,
    /// Range all pod addresses come from, e.g. `10.244.0.0/16`.
    pub cluster_cidr: String,
    /// Slice of `cluster_cidr` that belongs to this node, e.g. `10.244.0.0/24`.
    pub pod_cidr: String,
    /// Range of Service cluster IPs, e.g. `10.96.0.0/12`.
    pub service_cidr: String,
    /// Range of the addresses Services of type LoadBalancer get, e.g. `10.112.0.0/24`; without
    /// one they get an address of a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer_cidr: Option<String>,
    /// TCP port of the API server in the guest; 6443 as everywhere.
    pub api_port: u16,
    /// Further DNS names or addresses the API server's certificate must carry.
    #[serde(default)]
    pub api_sans: Vec<String>,
    /// Names older manifests use for images that Cadet can stand in for.
    #[serde(default = "default_lessons_dir")]
    pub lessons_dir: String,
    /// Whether the machine itself asks the cluster's DNS first, so that what runs outside
    /// pods (and the tunnel) knows Services by name. The agent then writes itself into
    /// `/etc/resolv.conf`.
    #[serde(default)]
    pub host_dns: bool,
    /// Where the server serves Ingresses.
    #[serde(default)]
    pub ingress: IngressPorts,
    /// The network between the cluster's nodes, where they have one of their own; without it, and
    /// without `address`, a node's address is the one by which it reaches the outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_network: Option<NodeNetwork>,
    /// The node's address in a network it has anyway, by which the other nodes reach it and its
    /// pods; the card is left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Host and port of the API server, e.g. `10.89.0.1:6443`, for a node that runs an agent
    /// only; without it the server runs on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// What the server has besides its core.
    #[serde(default, skip_serializing_if = "Features::are_usual")]
    pub features: Features,
}

/// A node's card in the network between nodes. The agent gives it its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeNetwork {
    /// Hardware address of the card, `02:ca:de:00:00:01`.
    pub mac: String,
    /// The node's address: its InternalIP.
    pub address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix: u8,
}

/// TCP ports for visitors of Ingresses, on all addresses of the server; 0 means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngressPorts {
    pub http: u16,
    pub https: u16,
}

impl Default for IngressPorts {
    fn default() -> Self {
        Self {
            http: 80,
            https: 443,
        }
    }
}

/// Parts of the server that can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Features {
    /// The dashboard is served.
    pub dashboard: bool,
    /// `metrics.k8s.io` is answered.
    pub metrics: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            dashboard: true,
            metrics: true,
        }
    }
}

impl Features {
    /// Whether nothing is switched off. Then the document says nothing of it, so that a node of
    /// an older version reads it.
    pub fn are_usual(&self) -> bool {
        *self == Self::default()
    }
}

fn default_lessons_dir() -> String {
    "/usr/lib/cadet".into()
}

/// One image name that lessons use and how a node may serve it, from `lessons.json`.
///
/// A manifest written in 2015 names images that no longer exist or no longer accept
/// its flags, and on a train no registry answers. The agent consults this table and reports
/// in an event what it ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LessonImage {
    /// Normalised repository, e.g. `docker.io/library/mongo` or `docker.io/meteorhacks/telescope`.
    pub repository: String,
    /// Tags the entry applies to; untagged names count as `latest`.
    pub tags: Vec<String>,
    /// If not empty, the entry applies only to containers whose command or args hold one of these.
    #[serde(default)]
    pub when_args: Vec<String>,
    /// Reference to pull instead when the registry answers, e.g. `docker.io/library/mongo:4.0`.
    #[serde(default)]
    pub pull_instead: Option<String>,
    /// Name of the build context (`lessons/<name>.tar`) used when nothing can be pulled, or
    /// always if `always` or `own` is set.
    pub context: String,
    /// True: never ask the registry, the stand-in is what the lesson wants.
    #[serde(default)]
    pub always: bool,
    /// True: the name is Cadet's own. No registry is asked; the image is built under the name
    /// itself, unless somebody else has built one of that name.
    #[serde(default)]
    pub own: bool,
    /// Arguments of the build; `{tag}` in a value stands for the tag that was asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub build_args: BTreeMap<String, String>,
    /// One sentence for the event: what was run in place of what, and why.
    pub says: String,
}
