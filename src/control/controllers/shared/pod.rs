//! A pod as controllers see it: some hundred bytes instead of ten thousand.
//!
//! What a controller needs beyond this, it may add here (a field of [`PodInfo`], read from
//! [`PodWire`]); what it needs of few pods, it asks the API for.

mod outcome;

pub use outcome::{Exit, Outcome};

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use cadet_api::meta::OwnerReference;
use cadet_api::quantity::Quantity;
use k8s_openapi::api::core::v1::NodeSelectorRequirement;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

use super::outside::{ContainerPort, Outside, Toleration, WireSidecar, WireVolume, outside};
use super::record::{Meta, Record, version};

type Labels = BTreeMap<String, String>;

/// The annotations that are kept.
const KEPT: [&str; 4] = [
    "controller.kubernetes.io/pod-deletion-cost",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/job-index-failure-count",
    "batch.kubernetes.io/job-index-ignored-failure-count",
];

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    #[default]
    Pending,
    Unknown,
    Running,
    Succeeded,
    Failed,
}

/// The owner with `controller: true`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
}

/// See the module's opening.
#[derive(Debug, Clone, PartialEq)]
pub struct PodInfo {
    pub namespace: Arc<str>,
    pub name: String,
    pub uid: String,
    pub version: u64,
    /// Shared by pods with the same labels.
    pub labels: Arc<Labels>,
    /// Of a few kinds only, see the source.
    pub annotations: Labels,
    pub finalizers: Vec<String>,
    pub controller: Option<Arc<Owner>>,
    /// All of them; shared by pods of one controller.
    pub owners: Arc<[OwnerReference]>,
    pub created: Timestamp,
    /// When it shall be gone, once it is on its way out.
    pub deletion: Option<Timestamp>,
    /// "" before it is placed.
    pub node: Arc<str>,
    pub phase: Phase,
    /// Since when its condition Ready has been True.
    pub ready_since: Option<Timestamp>,
    /// `status.reason`: `Evicted`, `NodeLost` …
    pub reason: String,
    /// Of the container restarted most.
    pub restarts: i32,
    /// `status.podIPs`.
    pub ips: Vec<String>,
    /// Sums over its containers: millicores and bytes; `None` if one names none.
    pub requests: (Option<i64>, Option<i64>),
    /// Of pods that Jobs control.
    pub outcome: Option<Box<Outcome>>,
    /// The only node that its affinity names; "" if it names none or several.
    pub meant_for: Arc<str>,
    /// Shared by pods of the same template.
    pub outside: Arc<Outside>,
}

impl PodInfo {
    /// Neither ended nor on its way out.
    pub fn is_active(&self) -> bool {
        !self.has_ended() && self.deletion.is_none()
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    pub fn is_ready(&self) -> bool {
        self.ready_since.is_some()
    }

    /// Whether it has been ready for `seconds`, and if not yet, how many are missing.
    ///
    /// # Errors
    /// `Some(seconds)` until it is, or `None` if it is not ready.
    pub fn is_available(&self, seconds: i32, now: Timestamp) -> Result<(), Option<i64>> {
        let since = self.ready_since.ok_or(None)?;
        let missing = i64::from(seconds) - (now.as_second() - since.as_second());
        match seconds > 0 && missing > 0 {
            true => Err(Some(missing)),
            false => Ok(()),
        }
    }

    /// Its controller, if that is of this kind.
    pub fn owned_by(&self, kind: &str) -> Option<&Owner> {
        self.controller
            .as_deref()
            .filter(|owner| owner.kind == kind)
    }
}

/// The parts of a pod that are decoded; the rest is skipped over.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodWire {
    metadata: WireMeta,
    #[serde(default)]
    spec: WireSpec,
    #[serde(default)]
    status: WireStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireMeta {
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
    labels: Option<Labels>,
    annotations: Option<Labels>,
    finalizers: Option<Vec<String>>,
    owner_references: Option<Vec<OwnerReference>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireSpec {
    node_name: Option<String>,
    containers: Vec<WireContainer>,
    affinity: Option<WireAffinity>,
    init_containers: Vec<WireSidecar>,
    hostname: String,
    subdomain: String,
    tolerations: Vec<Toleration>,
    volumes: Vec<WireVolume>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireAffinity {
    node_affinity: Option<WireNodeAffinity>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WireNodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Option<WireNodeSelector>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireNodeSelector {
    node_selector_terms: Vec<WireTerm>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireTerm {
    match_fields: Option<Vec<NodeSelectorRequirement>>,
}

impl WireSpec {
    /// The node named by the terms that a DaemonSet gives its pods.
    fn meant_for(&self) -> Option<&str> {
        let affinity = self.affinity.as_ref()?.node_affinity.as_ref()?;
        let [term] = affinity.required.as_ref()?.node_selector_terms.as_slice() else {
            return None;
        };
        let [field] = term.match_fields.as_deref()? else {
            return None;
        };
        let [name] = field.values.as_deref()? else {
            return None;
        };
        (field.key == "metadata.name" && field.operator == "In").then_some(name.as_str())
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireContainer {
    resources: WireResources,
    ports: Vec<ContainerPort>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireResources {
    requests: Option<Labels>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireStatus {
    phase: String,
    reason: String,
    conditions: Option<Vec<WireCondition>>,
    container_statuses: Option<Vec<WireContainerStatus>>,
    init_container_statuses: Option<Vec<WireContainerStatus>>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<WireIp>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireCondition {
    r#type: String,
    status: String,
    last_transition_time: Option<Time>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireContainerStatus {
    name: String,
    restart_count: i32,
    state: WireState,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WireState {
    terminated: Option<WireEnd>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireEnd {
    exit_code: i32,
    finished_at: Option<Time>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WireIp {
    ip: String,
}

impl Record for PodInfo {
    type Wire = PodWire;

    fn path() -> String {
        "/api/v1/pods".to_owned()
    }

    fn of(wire: PodWire) -> PodInfo {
        let PodWire {
            metadata: meta,
            spec,
            status,
        } = wire;
        let created = meta
            .creation_timestamp
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let mut owners = meta.owner_references.iter().flatten();
        let of_job = owners.any(|owner| owner.controller && owner.kind == "Job");
        let outcome = of_job.then(|| Box::new(outcome::of(&meta, &status, created)));
        let owners = meta.owner_references.unwrap_or_default();
        let controller = owners.iter().find(|owner| owner.controller).cloned();
        let controller = controller.map(|owner| Owner {
            api_version: owner.api_version,
            kind: owner.kind,
            name: owner.name,
            uid: owner.uid,
        });
        let mut annotations = meta.annotations.unwrap_or_default();
        annotations.retain(|key, _| KEPT.contains(&key.as_str()));
        let ready = status.conditions.iter().flatten();
        let mut ready = ready
            .filter(|c| c.r#type == "Ready" && c.status == "True")
            .map(|c| {
                c.last_transition_time
                    .as_ref()
                    .map_or(created, |time| time.0)
            });
        let restarts = status
            .container_statuses
            .iter()
            .flatten()
            .map(|c| c.restart_count);
        let ips = status.pod_ips.into_iter().flatten();
        PodInfo {
            namespace: SHARED.text(&meta.namespace),
            name: meta.name,
            uid: meta.uid,
            version: version(Some(&meta.resource_version)),
            labels: SHARED.labels(meta.labels.unwrap_or_default()),
            annotations,
            finalizers: meta.finalizers.unwrap_or_default(),
            controller: controller.map(|owner| SHARED.owner(owner)),
            owners: SHARED.owners(owners),
            created,
            deletion: meta.deletion_timestamp.map(|time| time.0),
            meant_for: SHARED.text(spec.meant_for().unwrap_or_default()),
            node: SHARED.text(&spec.node_name.unwrap_or_default()),
            phase: match status.phase.as_str() {
                "Running" => Phase::Running,
                "Succeeded" => Phase::Succeeded,
                "Failed" => Phase::Failed,
                "Unknown" => Phase::Unknown,
                _ => Phase::Pending,
            },
            ready_since: ready.next_back(),
            reason: status.reason,
            restarts: restarts.max().unwrap_or(0),
            ips: ips.map(|ip| ip.ip).collect(),
            requests: requests(&spec.containers),
            outcome,
            outside: {
                let ports = spec.containers.into_iter().flat_map(|c| c.ports);
                let seen = outside(ports, spec.init_containers, spec.tolerations, spec.volumes);
                SHARED.outside(Outside {
                    hostname: spec.hostname,
                    subdomain: spec.subdomain,
                    ..seen
                })
            },
        }
    }

    fn meta(&self) -> Meta<'_> {
        Meta {
            namespace: &self.namespace,
            name: &self.name,
            uid: &self.uid,
            version: self.version,
            controller: self.controller.as_ref().map(|owner| owner.uid.as_str()),
        }
    }

    fn deleting(&self) -> PodInfo {
        let mut copy = self.clone();
        copy.deletion.get_or_insert_with(Timestamp::now);
        copy
    }

    fn is_deleting(&self) -> bool {
        self.deletion.is_some()
    }

    fn node(&self) -> &str {
        &self.node
    }
}

fn requests(containers: &[WireContainer]) -> (Option<i64>, Option<i64>) {
    let amount = |name: &str| {
        let mut amounts = containers.iter().map(|c| {
            let amount = c.resources.requests.as_ref()?.get(name)?;
            amount.parse::<Quantity>().ok()
        });
        amounts.try_fold(Quantity::units(0), |sum, amount| Some(sum + amount?))
    };
    let (cpu, memory) = (amount("cpu"), amount("memory"));
    (cpu.map(|q| q.millis()), memory.map(|q| q.value()))
}

/// What many pods have in common, kept once: a thousand pods of one ReplicaSet have one set
/// of labels and one owner, a node's pods one name of it.
static SHARED: Common = Common {
    labels: Mutex::new(None),
    owners: Mutex::new(None),
    texts: Mutex::new(None),
    outsides: Mutex::new(None),
    lines: Mutex::new(None),
};

struct Common {
    labels: Mutex<Option<Pool<Labels>>>,
    owners: Mutex<Option<Pool<Owner>>>,
    texts: Mutex<Option<Pool<str>>>,
    outsides: Mutex<Option<Pool<Outside>>>,
    lines: Mutex<Option<Pool<[OwnerReference]>>>,
}

struct Pool<T: ?Sized> {
    kept: HashSet<Arc<T>>,
    /// What nobody else holds is dropped when so many are kept.
    sweep_at: usize,
}

impl Common {
    fn labels(&self, labels: Labels) -> Arc<Labels> {
        let mut pool = super::lock(&self.labels);
        let pool = pool.get_or_insert_with(Pool::new);
        match pool.kept.get(&labels) {
            Some(kept) => Arc::clone(kept),
            None => pool.keep(Arc::new(labels)),
        }
    }

    fn owner(&self, owner: Owner) -> Arc<Owner> {
        let mut pool = super::lock(&self.owners);
        let pool = pool.get_or_insert_with(Pool::new);
        match pool.kept.get(&owner) {
            Some(kept) => Arc::clone(kept),
            None => pool.keep(Arc::new(owner)),
        }
    }

    fn owners(&self, owners: Vec<OwnerReference>) -> Arc<[OwnerReference]> {
        let mut pool = super::lock(&self.lines);
        let pool = pool.get_or_insert_with(Pool::new);
        match pool.kept.get(owners.as_slice()) {
            Some(kept) => Arc::clone(kept),
            None => pool.keep(owners.into()),
        }
    }

    fn outside(&self, outside: Outside) -> Arc<Outside> {
        let mut pool = super::lock(&self.outsides);
        let pool = pool.get_or_insert_with(Pool::new);
        match pool.kept.get(&outside) {
            Some(kept) => Arc::clone(kept),
            None => pool.keep(Arc::new(outside)),
        }
    }

    fn text(&self, text: &str) -> Arc<str> {
        let mut pool = super::lock(&self.texts);
        let pool = pool.get_or_insert_with(Pool::new);
        match pool.kept.get(text) {
            Some(kept) => Arc::clone(kept),
            None => pool.keep(text.into()),
        }
    }
}

impl<T: ?Sized + std::hash::Hash + Eq> Pool<T> {
    fn new() -> Pool<T> {
        Pool {
            kept: HashSet::new(),
            sweep_at: 256,
        }
    }

    fn keep(&mut self, value: Arc<T>) -> Arc<T> {
        if self.kept.len() >= self.sweep_at {
            self.kept.retain(|kept| Arc::strong_count(kept) > 1);
            self.sweep_at = (2 * self.kept.len()).max(256);
        }
        self.kept.insert(Arc::clone(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(json: serde_json::Value) -> PodInfo {
        PodInfo::of(serde_json::from_value(json).unwrap())
    }

    #[test]
    fn a_pod_is_seen_without_what_nobody_asks_for() {
        let seen = pod(json!({
            "metadata": {"namespace": "d", "name": "web-1", "uid": "u", "resourceVersion": "7",
                "labels": {"app": "web"}, "annotations": {"other": "x"}, "managedFields": [{"fieldsV1": {}}],
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{"apiVersion": "v1", "kind": "Other", "name": "o", "uid": "1"},
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "2", "controller": true}]},
            "spec": {"nodeName": "n", "containers": [
                {"name": "a", "image": "i", "resources": {"requests": {"cpu": "100m", "memory": "1Mi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}],
                "containerStatuses": [{"restartCount": 2}, {"restartCount": 1}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}]},
        }));
        assert_eq!(seen.meta().version, 7);
        assert_eq!(seen.meta().controller, Some("2"));
        assert_eq!(
            seen.owned_by("ReplicaSet").map(|o| o.name.as_str()),
            Some("web")
        );
        assert_eq!(seen.owned_by("Other"), None);
        assert_eq!((seen.restarts, seen.node()), (2, "n"));
        assert_eq!(seen.requests, (Some(1100), None));
        assert!(seen.is_ready() && seen.is_active() && seen.annotations.is_empty());
        let at = |s: &str| s.parse::<Timestamp>().unwrap();
        assert_eq!(seen.is_available(0, at("2026-01-01T00:00:10Z")), Ok(()));
        assert_eq!(
            seen.is_available(5, at("2026-01-01T00:00:12Z")),
            Err(Some(3))
        );
        assert_eq!(seen.is_available(5, at("2026-01-01T00:00:15Z")), Ok(()));
        let doomed = seen.deleting();
        assert!(doomed.is_deleting() && !doomed.is_active());
    }

    #[test]
    fn what_pods_have_in_common_is_kept_once() {
        let one =
            || pod(json!({"metadata": {"name": "a", "namespace": "n", "labels": {"a": "b"}}}));
        let (a, b) = (one(), one());
        assert!(Arc::ptr_eq(&a.labels, &b.labels));
        assert!(Arc::ptr_eq(&a.namespace, &b.namespace));
    }
}
