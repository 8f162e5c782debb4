//! The Node object: registration, heartbeat, conditions.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus,
    Taint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::events::{EventSink, Severity};
use crate::housekeeping::Housekeeper;
use crate::lease::NodeLease;
use crate::machine::{Machine, go_arch};
use crate::pressure::Pressure;
use crate::runtime::{EngineInfo, Runtime};

/// Between renewals of the lease, upstream's figure; the node counts as lost after
/// [`crate::lease::SECONDS`].
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Between attempts while the API server or the engine is not there yet.
const IMPATIENT: Duration = Duration::from_secs(1);
/// An unchanged status is sent again after this long.
const REPORT: SignedDuration = SignedDuration::from_mins(5);
const NOT_READY_TAINT: &str = "node.kubernetes.io/not-ready";

/// What the Node says about itself that does not come from the engine.
#[derive(Debug, Clone)]
pub struct Identity {
    pub name: String,
    pub host_ip: String,
    pub pod_cidr: String,
    /// E.g. `v1.36.0+cadet.0.1.0`.
    pub version: String,
    /// Port of the kubelet's server.
    pub port: u16,
    pub machine: Machine,
}

/// Keeps the Node object true until the shutdown.
pub struct NodeKeeper {
    identity: Identity,
    client: Client,
    runtime: Arc<dyn Runtime>,
    events: EventSink,
    /// What was sent last, and when.
    sent: Option<(NodeStatus, Timestamp)>,
    lease: NodeLease,
    untainted: bool,
    housekeeper: Housekeeper,
}

/// Whether the API shows another state of a condition than ours: the node controller may call a
/// node silent once more just after it has come back.
fn contradicted(shown: Option<&NodeStatus>, own: &NodeStatus) -> bool {
    let shown: Vec<&NodeCondition> = shown
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .collect();
    let same = |own: &NodeCondition| {
        let mut of_type = shown.iter().filter(|one| one.type_ == own.type_);
        of_type.any(|one| one.status == own.status)
    };
    own.conditions.iter().flatten().any(|one| !same(one))
}

impl NodeKeeper {
    #[must_use]
    pub fn new(
        identity: Identity,
        client: Client,
        runtime: Arc<dyn Runtime>,
        events: EventSink,
        housekeeper: Housekeeper,
    ) -> Self {
        let lease = NodeLease::new(client.clone(), identity.name.clone());
        Self {
            identity,
            client,
            runtime,
            events,
            sent: None,
            lease,
            untainted: false,
            housekeeper,
        }
    }

    /// See the type.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut next = phase(&self.identity.name);
        loop {
            let pause = match self.beat().await {
                Ok(true) => std::mem::replace(&mut next, HEARTBEAT),
                Ok(false) => IMPATIENT,
                Err(error) => {
                    tracing::warn!(%error, "cannot report this node");
                    IMPATIENT
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One heartbeat; returns whether the node is ready.
    async fn beat(&mut self) -> kube::Result<bool> {
        let engine = self.runtime.info().await.map_err(|error| error.to_string());
        let now = Timestamp::now();
        let node = self.registered(&engine, now).await?;
        if let Ok(info) = &engine {
            let root = info.root_dir.clone();
            for shortage in self.housekeeper.look(&root, now).await {
                let words = format!("Attempting to reclaim {}", shortage.resource.word());
                self.events
                    .node(&node, Severity::Warning, "EvictionThresholdMet", &words);
            }
        }
        let status = self.status(&engine, node.status.as_ref(), now);
        self.tell_changes(&node, &status);
        let due = match &self.sent {
            Some((sent, at)) => {
                differs(sent, &status)
                    || contradicted(node.status.as_ref(), &status)
                    || now.duration_since(*at) >= REPORT
            }
            None => true,
        };
        let api: Api<Node> = Api::all(self.client.clone());
        if due {
            let patch = json!({"status": status});
            api.patch_status(
                &self.identity.name,
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await?;
            self.sent = Some((status, now));
        }
        let ready = engine.is_ok();
        if ready && !self.untainted {
            self.remove_taint(&api).await?;
            self.untainted = true;
        }
        self.lease.renew(&node, now).await?;
        Ok(ready)
    }

    /// Says which conditions have changed since they were last sent, all at the start.
    fn tell_changes(&self, node: &Node, status: &NodeStatus) {
        if self.sent.is_none() {
            self.events
                .node(node, Severity::Normal, "Starting", "Starting kubelet.");
            let boot = &self.identity.machine.boot_id;
            if rebooted(node, boot) {
                let name = &self.identity.name;
                let words = format!("Node {name} has been rebooted, boot id: {boot}");
                self.events
                    .node(node, Severity::Warning, "Rebooted", &words);
            }
        }
        let sent = self.sent.iter();
        let before: Vec<&NodeCondition> = sent
            .flat_map(|(status, _)| status.conditions.iter().flatten())
            .collect();
        for condition in status.conditions.iter().flatten() {
            let same = before
                .iter()
                .any(|old| old.type_ == condition.type_ && old.status == condition.status);
            if same {
                continue;
            }
            let reason = match (condition.type_.as_str(), condition.status.as_str()) {
                ("Ready", "True") => "NodeReady",
                ("Ready", _) => "NodeNotReady",
                ("MemoryPressure", "True") => "NodeHasInsufficientMemory",
                ("MemoryPressure", _) => "NodeHasSufficientMemory",
                ("DiskPressure", "True") => "NodeHasDiskPressure",
                ("DiskPressure", _) => "NodeHasNoDiskPressure",
                ("PIDPressure", "True") => "NodeHasInsufficientPID",
                ("PIDPressure", _) => "NodeHasSufficientPID",
                _ => continue,
            };
            let words = format!("Node {} status is now: {reason}", self.identity.name);
            self.events.node(node, Severity::Normal, reason, &words);
        }
    }

    /// The Node object, made if it does not exist.
    async fn registered(
        &mut self,
        engine: &Result<EngineInfo, String>,
        now: Timestamp,
    ) -> kube::Result<Node> {
        let api: Api<Node> = Api::all(self.client.clone());
        if let Some(node) = api.get_opt(&self.identity.name).await? {
            return Ok(node);
        }
        self.sent = None;
        self.untainted = false;
        let node = Node {
            metadata: ObjectMeta {
                name: Some(self.identity.name.clone()),
                labels: Some(labels(&self.identity.name)),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                pod_cidr: Some(self.identity.pod_cidr.clone()),
                pod_cidrs: Some(vec![self.identity.pod_cidr.clone()]),
                // Pods wait until the first status says the engine works.
                taints: Some(vec![Taint {
                    key: NOT_READY_TAINT.into(),
                    effect: "NoSchedule".into(),
                    ..Taint::default()
                }]),
                ..NodeSpec::default()
            }),
            status: Some(self.status(engine, None, now)),
        };
        let made = api.create(&PostParams::default(), &node).await?;
        tracing::info!(node = self.identity.name, "registered this node");
        Ok(made)
    }

    async fn remove_taint(&self, api: &Api<Node>) -> kube::Result<()> {
        let node = api.get(&self.identity.name).await?;
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let kept: Vec<&Taint> = taints
            .iter()
            .filter(|taint| !(taint.key == NOT_READY_TAINT && taint.effect == "NoSchedule"))
            .collect();
        if kept.len() == taints.len() {
            return Ok(());
        }
        // The resource version guards against a taint added in between.
        let patch = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"taints": kept},
        });
        api.patch(
            &self.identity.name,
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await
        .map(drop)
    }

    fn status(
        &self,
        engine: &Result<EngineInfo, String>,
        old: Option<&NodeStatus>,
        now: Timestamp,
    ) -> NodeStatus {
        let identity = &self.identity;
        let root = engine
            .as_ref()
            .map_or_else(|_| "/".to_owned(), |info| info.root_dir.clone());
        let root = Path::new(&root);
        let capacity = identity.machine.capacity(root);
        let version = engine.as_ref().map_or_else(
            |_| {
                // Keep what was known while the engine is away.
                let known = old.and_then(|s| s.node_info.as_ref());
                let name = known.map(|info| info.container_runtime_version.clone());
                name.and_then(|name| name.strip_prefix("docker://").map(str::to_owned))
                    .unwrap_or_default()
            },
            |info| info.version.clone(),
        );
        NodeStatus {
            addresses: Some(vec![
                NodeAddress {
                    type_: "InternalIP".into(),
                    address: identity.host_ip.clone(),
                },
                NodeAddress {
                    type_: "Hostname".into(),
                    address: identity.name.clone(),
                },
            ]),
            allocatable: Some(identity.machine.allocatable(&capacity, root)),
            capacity: Some(capacity),
            conditions: Some(conditions(engine, &self.housekeeper.pressure, old, now)),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint {
                    port: i32::from(identity.port),
                }),
            }),
            images: Some(self.housekeeper.images.clone()),
            node_info: Some(identity.machine.node_info(&identity.version, &version)),
            ..NodeStatus::default()
        }
    }
}

/// The labels every node of ours has.
#[must_use]
pub(crate) fn labels(name: &str) -> BTreeMap<String, String> {
    [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", go_arch(std::env::consts::ARCH)),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", go_arch(std::env::consts::ARCH)),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn conditions(
    engine: &Result<EngineInfo, String>,
    short: &Pressure,
    old: Option<&NodeStatus>,
    now: Timestamp,
) -> Vec<NodeCondition> {
    let ready = match engine {
        Ok(_) => (
            "Ready",
            "True",
            "KubeletReady",
            "kubelet is posting ready status".to_owned(),
        ),
        Err(why) => (
            "Ready",
            "False",
            "KubeletNotReady",
            format!("container runtime is down: {why}"),
        ),
    };
    [
        if short.memory(now) {
            let words = "kubelet has insufficient memory available";
            (
                "MemoryPressure",
                "True",
                "KubeletHasInsufficientMemory",
                words.to_owned(),
            )
        } else {
            let words = "kubelet has sufficient memory available";
            (
                "MemoryPressure",
                "False",
                "KubeletHasSufficientMemory",
                words.to_owned(),
            )
        },
        if short.disk(now) {
            let words = "kubelet has disk pressure";
            (
                "DiskPressure",
                "True",
                "KubeletHasDiskPressure",
                words.to_owned(),
            )
        } else {
            let words = "kubelet has no disk pressure";
            (
                "DiskPressure",
                "False",
                "KubeletHasNoDiskPressure",
                words.to_owned(),
            )
        },
        if short.pids(now) {
            let words = "kubelet has insufficient PID available";
            (
                "PIDPressure",
                "True",
                "KubeletHasInsufficientPID",
                words.to_owned(),
            )
        } else {
            let words = "kubelet has sufficient PID available";
            (
                "PIDPressure",
                "False",
                "KubeletHasSufficientPID",
                words.to_owned(),
            )
        },
        ready,
    ]
    .into_iter()
    .map(|(type_, value, reason, message)| {
        let before = old
            .and_then(|status| status.conditions.as_ref())
            .into_iter()
            .flatten()
            .find(|condition| condition.type_ == type_ && condition.status == value);
        NodeCondition {
            type_: type_.into(),
            status: value.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: before
                .and_then(|condition| condition.last_transition_time.clone())
                .or(Some(Time(now))),
        }
    })
    .collect()
}

/// Whether the machine has been started anew since its Node was last written.
fn rebooted(node: &Node, boot_id: &str) -> bool {
    let status = node.status.as_ref();
    let known = status.and_then(|status| status.node_info.as_ref());
    known.is_some_and(|info| {
        !info.boot_id.is_empty() && !boot_id.is_empty() && info.boot_id != boot_id
    })
}

/// When the second beat comes: agents that start together must not all beat together.
fn phase(name: &str) -> Duration {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let part = u32::try_from(hasher.finish() % 1000).unwrap_or(0);
    HEARTBEAT * part / 1000
}

/// Whether two statuses say different things, heartbeat times aside.
fn differs(a: &NodeStatus, b: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
            condition.last_transition_time = None;
        }
        status
    };
    still(a) != still(b)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::NodeSystemInfo;

    use super::*;
    use crate::pressure::{Resource, Shortage};

    fn engine() -> Result<EngineInfo, String> {
        Ok(EngineInfo {
            version: "26.1.5".into(),
            root_dir: "/".into(),
        })
    }

    fn ready(conditions: &[NodeCondition]) -> &NodeCondition {
        conditions
            .iter()
            .find(|condition| condition.type_ == "Ready")
            .unwrap()
    }

    #[test]
    fn ready_keeps_its_time_until_it_changes() {
        let t0: Timestamp = "2026-11-20T20:00:00Z".parse().unwrap();
        let t1 = t0 + SignedDuration::from_secs(60);
        let first = conditions(&engine(), &Pressure::default(), None, t0);
        assert_eq!(
            ready(&first).message.as_deref(),
            Some("kubelet is posting ready status")
        );
        let status = NodeStatus {
            conditions: Some(first),
            ..NodeStatus::default()
        };
        let same = conditions(&engine(), &Pressure::default(), Some(&status), t1);
        assert_eq!(ready(&same).last_transition_time, Some(Time(t0)));
        assert_eq!(ready(&same).last_heartbeat_time, Some(Time(t1)));
        let down = conditions(
            &Err("Docker does not answer".into()),
            &Pressure::default(),
            Some(&status),
            t1,
        );
        assert_eq!(ready(&down).status, "False");
        assert_eq!(ready(&down).last_transition_time, Some(Time(t1)));
        assert!(
            ready(&down)
                .message
                .as_deref()
                .unwrap()
                .contains("Docker does not answer")
        );
    }

    #[test]
    fn what_is_short_is_said_in_upstreams_words() {
        let now: Timestamp = "2026-11-20T20:00:00Z".parse().unwrap();
        let told = |short: &Pressure| -> Vec<String> {
            let all = conditions(&engine(), short, None, now).into_iter();
            all.map(|c| {
                let (reason, message) = (c.reason.unwrap(), c.message.unwrap());
                format!("{} {} {reason} {message}", c.type_, c.status)
            })
            .collect()
        };
        assert_eq!(
            told(&Pressure::default()),
            [
                "MemoryPressure False KubeletHasSufficientMemory kubelet has sufficient memory \
                 available",
                "DiskPressure False KubeletHasNoDiskPressure kubelet has no disk pressure",
                "PIDPressure False KubeletHasSufficientPID kubelet has sufficient PID available",
                "Ready True KubeletReady kubelet is posting ready status",
            ]
        );
        let mut short = Pressure::default();
        let all = [Resource::Memory, Resource::Disk, Resource::Pids];
        let all = all.map(|resource| Shortage {
            resource,
            threshold: 2,
            available: 1,
        });
        short.observe(&all, now);
        assert_eq!(
            told(&short)[..3],
            [
                "MemoryPressure True KubeletHasInsufficientMemory kubelet has insufficient \
                 memory available",
                "DiskPressure True KubeletHasDiskPressure kubelet has disk pressure",
                "PIDPressure True KubeletHasInsufficientPID kubelet has insufficient PID \
                 available",
            ]
        );
    }

    #[test]
    fn a_new_boot_is_noticed_and_a_first_one_is_none() {
        let mut node = Node::default();
        assert!(!rebooted(&node, "b-1"));
        let info = NodeSystemInfo {
            boot_id: "b-1".into(),
            ..NodeSystemInfo::default()
        };
        node.status = Some(NodeStatus {
            node_info: Some(info),
            ..NodeStatus::default()
        });
        assert!(!rebooted(&node, "b-1") && !rebooted(&node, ""));
        assert!(rebooted(&node, "b-2"));
    }

    #[test]
    fn nodes_beat_at_different_times() {
        assert!(phase("hollow-1") < HEARTBEAT && phase("hollow-2") < HEARTBEAT);
        assert_ne!(phase("hollow-1"), phase("hollow-2"));
        assert_eq!(phase("hollow-1"), phase("hollow-1"));
    }

    #[test]
    fn who_is_called_silent_while_it_is_here_says_so_again() {
        let t0: Timestamp = "2026-11-28T02:26:59Z".parse().unwrap();
        let t1 = t0 + SignedDuration::from_secs(10);
        let status = |engine: &Result<EngineInfo, String>, at| NodeStatus {
            conditions: Some(conditions(engine, &Pressure::default(), None, at)),
            ..NodeStatus::default()
        };
        let own = status(&engine(), t1);
        assert!(!contradicted(Some(&status(&engine(), t0)), &own));
        let calls = |type_: &str, value: &str| {
            let mut shown = status(&engine(), t0);
            for condition in shown.conditions.iter_mut().flatten() {
                if condition.type_ == type_ {
                    condition.status = value.to_owned();
                }
            }
            shown
        };
        for value in ["Unknown", "False"] {
            assert!(contradicted(Some(&calls("Ready", value)), &own), "{value}");
        }
        assert!(contradicted(Some(&calls("DiskPressure", "Unknown")), &own));
        // An engine that is down is another matter than an agent that is.
        let down = status(&Err("Docker does not answer".into()), t1);
        assert!(contradicted(Some(&calls("Ready", "Unknown")), &down));
        assert!(!contradicted(Some(&calls("Ready", "False")), &down));
        // What others say of the node is theirs; what is not shown at all was never heard.
        let mut others = status(&engine(), t0);
        let network = NodeCondition {
            type_: "NetworkUnavailable".into(),
            status: "Unknown".into(),
            ..NodeCondition::default()
        };
        others.conditions.get_or_insert_default().push(network);
        assert!(!contradicted(Some(&others), &own));
        assert!(contradicted(Some(&NodeStatus::default()), &own));
        assert!(contradicted(None, &own));
    }

    #[test]
    fn a_heartbeat_alone_is_no_difference() {
        let t0: Timestamp = "2026-11-20T20:00:00Z".parse().unwrap();
        let status = |engine: &Result<EngineInfo, String>, at| NodeStatus {
            conditions: Some(conditions(engine, &Pressure::default(), None, at)),
            ..NodeStatus::default()
        };
        let later = t0 + SignedDuration::from_secs(10);
        assert!(!differs(&status(&engine(), t0), &status(&engine(), later)));
        assert!(differs(
            &status(&engine(), t0),
            &status(&Err("gone".into()), later)
        ));
    }
}
