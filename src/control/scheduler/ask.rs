//! What a pod asks of its place. Pods of one template ask the same, and share it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PodAffinityTerm, Toleration as ApiToleration};

use crate::amounts::{Amounts, Quantities};
use crate::labels::{Labels, NodeTerm, Op, Requirement, Selector};
use crate::wire;

/// What a container without requests is taken to use when nodes are compared, so that many
/// of them still spread: thousandths of a CPU, and bytes (upstream's figures).
const ASSUMED_CPU: i64 = 100;
const ASSUMED_MEMORY: i64 = 200 * 1024 * 1024;

/// A port taken on the node itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// "" means every address.
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    /// Whether two pods cannot both have their port.
    pub fn clashes(&self, other: &HostPort) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip.is_empty() || other.ip.is_empty() || self.ip == other.ip)
    }
}

/// A taint a pod does not mind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Toleration {
    key: String,
    /// `None`: any value.
    value: Option<String>,
    /// "" means every effect.
    pub effect: String,
}

impl Toleration {
    fn of(given: &ApiToleration) -> Option<Toleration> {
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let (key, value) = (text(&given.key), text(&given.value));
        let value = match given.operator.as_deref().unwrap_or_default() {
            "Exists" => None,
            "" | "Equal" if !key.is_empty() => Some(value),
            _ => return None,
        };
        Some(Toleration {
            key,
            value,
            effect: text(&given.effect),
        })
    }

    /// Whether it covers a taint.
    pub fn covers(&self, taint: &wire::Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && self
                .value
                .as_deref()
                .is_none_or(|v| v == taint.value.as_deref().unwrap_or_default())
    }
}

/// Pods in some namespaces, and what makes their nodes near.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Term {
    pub namespaces: Vec<String>,
    /// More namespaces, by their labels.
    pub by_label: Option<Selector>,
    pub pods: Selector,
    pub topology: String,
}

impl Term {
    fn of(given: &PodAffinityTerm, namespace: &str, labels: &Labels) -> Term {
        let mut namespaces = given.namespaces.clone().unwrap_or_default();
        let by_label = given
            .namespace_selector
            .as_ref()
            .map(|s| Selector::of(Some(s)));
        if namespaces.is_empty() && by_label.is_none() {
            namespaces.push(namespace.to_owned());
        }
        namespaces.sort_unstable();
        let same = own_values(given.match_label_keys.as_deref(), labels, Op::In);
        let other = own_values(given.mismatch_label_keys.as_deref(), labels, Op::NotIn);
        Term {
            namespaces,
            by_label,
            pods: Selector::of(given.label_selector.as_ref()).with(same.chain(other)),
            topology: given.topology_key.clone(),
        }
    }

    /// Whether it means a pod of these labels in a namespace of those.
    pub fn means(&self, namespace: &str, of_namespace: Option<&Labels>, labels: &Labels) -> bool {
        let inside = self.namespaces.iter().any(|n| n == namespace)
            || self.by_label.as_ref().is_some_and(|s| {
                s.is_everything() || of_namespace.is_some_and(|labels| s.matches(labels))
            });
        inside && self.pods.matches(labels)
    }
}

/// The pod's own values of these labels, as requirements; labels it does not have are
/// left out.
fn own_values<'a>(
    keys: Option<&'a [String]>,
    labels: &'a Labels,
    op: Op,
) -> impl Iterator<Item = Requirement> {
    keys.unwrap_or_default().iter().filter_map(move |key| {
        Some(Requirement {
            op,
            ..Requirement::equals(key, labels.get(key)?)
        })
    })
}

/// How evenly pods shall spread.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spread {
    pub topology: String,
    pub most: i32,
    pub least_domains: i32,
    pub pods: Selector,
    /// Without evenness no place; otherwise only a wish.
    pub required: bool,
    /// Only nodes the pod's node affinity admits count.
    pub honors_affinity: bool,
    /// Only nodes whose taints the pod tolerates count.
    pub honors_taints: bool,
}

/// A claim a pod mounts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mounted {
    pub claim: String,
    /// Made for this pod by a controller.
    pub ephemeral: bool,
}

/// Whose pod it is, as far as that tells which pods are its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OwnerKind {
    ReplicationController,
    ReplicaSet,
    StatefulSet,
}

/// See the file's head.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Ask {
    pub namespace: String,
    pub labels: Labels,
    pub priority: i32,
    /// Its preemption policy is Never.
    pub is_meek: bool,
    pub requests: Amounts,
    /// CPU and memory as they count when nodes are compared.
    pub weighed: [i64; 2],
    pub host_ports: Vec<HostPort>,
    pub tolerations: Vec<Toleration>,
    pub node_labels: Vec<(String, String)>,
    /// One of these, if there are any.
    pub node_terms: Option<Vec<NodeTerm>>,
    pub node_wishes: Vec<(i32, NodeTerm)>,
    pub near: Vec<Arc<Term>>,
    pub apart: Vec<Arc<Term>>,
    /// Positive weights draw near, negative ones keep apart.
    pub wishes: Vec<(i32, Arc<Term>)>,
    pub spread: Vec<Spread>,
    pub mounts: Vec<Mounted>,
    /// Images of the containers, with a tag or digest, init containers first.
    pub images: Vec<String>,
    pub owner: Option<(OwnerKind, String)>,
}

impl Ask {
    /// Reads a pod.
    pub fn of(pod: &wire::Pod) -> Ask {
        let spec = &pod.spec;
        let held = held(pod);
        let asked = held.as_ref().unwrap_or(spec);
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let mut ask = Ask {
            priority: spec.priority.unwrap_or(0),
            is_meek: spec.preemption_policy.as_deref() == Some("Never"),
            requests: requests(asked, Weight::Real),
            host_ports: host_ports(spec),
            tolerations: spec
                .tolerations
                .iter()
                .flatten()
                .filter_map(Toleration::of)
                .collect(),
            node_labels: spec.node_selector.clone().into_iter().flatten().collect(),
            mounts: mounts(pod),
            images: images(spec),
            owner: owner(pod),
            ..Ask::default()
        };
        let weighed = requests(asked, Weight::Assumed);
        ask.weighed = [weighed.cpu, weighed.memory];
        if let Some(affinity) = &spec.affinity {
            ask.take_affinity(affinity, &namespace, &labels);
        }
        let constraints = spec.topology_spread_constraints.iter().flatten();
        ask.spread = constraints
            .map(|c| Spread {
                topology: c.topology_key.clone(),
                most: c.max_skew,
                least_domains: c.min_domains.unwrap_or(1),
                pods: Selector::of(c.label_selector.as_ref()).with(own_values(
                    c.match_label_keys.as_deref(),
                    &labels,
                    Op::In,
                )),
                required: c.when_unsatisfiable == "DoNotSchedule",
                honors_affinity: c.node_affinity_policy.as_deref() != Some("Ignore"),
                honors_taints: c.node_taints_policy.as_deref() == Some("Honor"),
            })
            .collect();
        ask.labels = labels;
        ask.namespace = namespace;
        ask
    }

    fn take_affinity(
        &mut self,
        affinity: &k8s_openapi::api::core::v1::Affinity,
        namespace: &str,
        labels: &Labels,
    ) {
        if let Some(node) = &affinity.node_affinity {
            self.node_terms = node
                .required_during_scheduling_ignored_during_execution
                .as_ref()
                .map(|r| r.node_selector_terms.iter().map(NodeTerm::of).collect());
            self.node_wishes = node
                .preferred_during_scheduling_ignored_during_execution
                .iter()
                .flatten()
                .map(|p| (p.weight, NodeTerm::of(&p.preference)))
                .collect();
        }
        let term = |t: &PodAffinityTerm| Arc::new(Term::of(t, namespace, labels));
        if let Some(pods) = &affinity.pod_affinity {
            let required = pods
                .required_during_scheduling_ignored_during_execution
                .iter();
            self.near = required.flatten().map(term).collect();
            let wished = pods
                .preferred_during_scheduling_ignored_during_execution
                .iter();
            self.wishes = wished
                .flatten()
                .map(|w| (w.weight, term(&w.pod_affinity_term)))
                .collect();
        }
        if let Some(pods) = &affinity.pod_anti_affinity {
            let required = pods
                .required_during_scheduling_ignored_during_execution
                .iter();
            self.apart = required.flatten().map(term).collect();
            let wished = pods
                .preferred_during_scheduling_ignored_during_execution
                .iter();
            self.wishes.extend(
                wished
                    .flatten()
                    .map(|w| (-w.weight, term(&w.pod_affinity_term))),
            );
        }
    }

    /// Whether the pod may stand on a node of this name and these labels.
    pub fn admits(&self, name: &str, labels: &Labels) -> bool {
        self.node_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self
                .node_terms
                .as_ref()
                .is_none_or(|terms| terms.iter().any(|t| t.matches(name, labels)))
    }

    /// The names of the only nodes the pod's affinity can match, if it names them, as that
    /// of a DaemonSet's pod does.
    pub fn only_nodes(&self) -> Option<Vec<&str>> {
        let terms = self.node_terms.as_ref()?;
        let mut names = Vec::new();
        for term in terms {
            names.extend(term.only_names()?.iter().map(String::as_str));
        }
        (!terms.is_empty()).then_some(names)
    }

    /// Whether a taint keeps the pod out.
    pub fn minds(&self, taint: &wire::Taint) -> bool {
        !self.tolerations.iter().any(|t| t.covers(taint))
    }
}

/// Whether containers without requests count as nothing or as upstream's assumption.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    Real,
    Assumed,
}

/// What a pod has been given that asks for more than its node will ever have, as a manifest of
/// its own; `None` for all others (KEP-1287).
fn held(pod: &wire::Pod) -> Option<wire::PodSpec> {
    let mut conditions = pod.status.conditions.iter().flatten();
    conditions.find(|condition| {
        condition.type_ == "PodResizePending" && condition.reason.as_deref() == Some("Infeasible")
    })?;
    let mut spec = pod.spec.clone();
    let status = &pod.status;
    let statuses = status.container_statuses.iter();
    let statuses = statuses.chain(&status.init_container_statuses).flatten();
    let given: HashMap<&str, &Quantities> = statuses
        .filter_map(|one| Some((one.name.as_str(), one.allocated_resources.as_ref()?)))
        .collect();
    let containers = spec.containers.iter_mut();
    for container in containers.chain(&mut spec.init_containers).flatten() {
        if let Some(given) = given.get(container.name.as_str()) {
            container.resources = Some(wire::Resources {
                requests: Some((*given).clone()),
            });
        }
    }
    Some(spec)
}

/// What a pod's containers need at the same time: all ordinary containers and sidecars
/// together, or the neediest init container with the sidecars started before it.
fn requests(spec: &wire::PodSpec, weight: Weight) -> Amounts {
    let mut sum = Amounts::default();
    for c in spec.containers.iter().flatten() {
        sum.add(&of_container(c, weight));
    }
    let mut sidecars = Amounts::default();
    let mut peak = Amounts::default();
    for c in spec.init_containers.iter().flatten() {
        let own = of_container(c, weight);
        if c.restart_policy.as_deref() == Some("Always") {
            sum.add(&own);
            sidecars.add(&own);
            peak.most(&sidecars);
        } else {
            let mut now = sidecars.clone();
            now.add(&own);
            peak.most(&now);
        }
    }
    sum.most(&peak);
    // What is asked for the pod as a whole stands instead of its containers' sums.
    let whole = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
    for (name, amount) in Amounts::of(whole).asked() {
        sum.set(name, amount);
    }
    sum.add(&Amounts::of(spec.overhead.as_ref()));
    sum
}

fn of_container(c: &wire::Container, weight: Weight) -> Amounts {
    let given = c.resources.as_ref().and_then(|r| r.requests.as_ref());
    let mut amounts = Amounts::of(given);
    let says = |name: &str| given.is_some_and(|all| all.contains_key(name));
    if weight == Weight::Assumed {
        if !says("cpu") {
            amounts.cpu = ASSUMED_CPU;
        }
        if !says("memory") {
            amounts.memory = ASSUMED_MEMORY;
        }
    }
    amounts
}

fn host_ports(spec: &wire::PodSpec) -> Vec<HostPort> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let all = spec.containers.iter().flatten().chain(sidecars);
    all.flat_map(|c| c.ports.iter().flatten())
        .filter_map(|p| {
            let ip = p.host_ip.clone().unwrap_or_default();
            Some(HostPort {
                port: p.host_port.filter(|n| *n > 0)?,
                ip: if ip == "0.0.0.0" { String::new() } else { ip },
                protocol: p.protocol.clone().unwrap_or_else(|| "TCP".into()),
            })
        })
        .collect()
}

fn mounts(pod: &wire::Pod) -> Vec<Mounted> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.volumes.iter().flatten();
    volumes
        .filter_map(|v| match (&v.persistent_volume_claim, &v.ephemeral) {
            (Some(source), _) => Some(Mounted {
                claim: source.claim_name.clone(),
                ephemeral: false,
            }),
            (None, Some(_)) => Some(Mounted {
                claim: format!("{name}-{}", v.name),
                ephemeral: true,
            }),
            (None, None) => None,
        })
        .collect()
}

fn images(spec: &wire::PodSpec) -> Vec<String> {
    let init = spec.init_containers.iter().flatten();
    init.chain(spec.containers.iter().flatten())
        .filter_map(|c| c.image.as_deref().map(normalized))
        .collect()
}

/// An image's name as nodes report it: with a tag.
fn normalized(image: &str) -> String {
    let last = image.rfind('/').map_or(0, |at| at + 1);
    if image[last..].contains([':', '@']) {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

fn owner(pod: &wire::Pod) -> Option<(OwnerKind, String)> {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    let controller = owners.find(|o| o.controller == Some(true))?;
    let kind = match (controller.api_version.as_str(), controller.kind.as_str()) {
        ("v1", "ReplicationController") => OwnerKind::ReplicationController,
        ("apps/v1", "ReplicaSet") => OwnerKind::ReplicaSet,
        ("apps/v1", "StatefulSet") => OwnerKind::StatefulSet,
        _ => return None,
    };
    Some((kind, controller.name.clone()))
}

/// Gives equal asks one memory.
#[derive(Debug, Default)]
pub struct Asks {
    known: HashSet<Arc<Ask>>,
    /// How many there may be before those nobody uses are let go.
    limit: usize,
}

impl Asks {
    /// The one ask that is equal to this one.
    pub fn share(&mut self, ask: Ask) -> Arc<Ask> {
        if let Some(known) = self.known.get(&ask) {
            return known.clone();
        }
        if self.known.len() >= self.limit {
            self.known.retain(|ask| Arc::strong_count(ask) > 1);
            self.limit = self.known.len() * 2 + 64;
        }
        let ask = Arc::new(ask);
        self.known.insert(ask.clone());
        ask
    }
}

#[cfg(test)]
#[path = "ask_tests.rs"]
mod tests;
