//! The Node object: registration, heartbeat, conditions.

use std::path::PathBuf;
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
use crate::lease::NodeLease;
use crate::machine::{Machine, go_arch};
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
    greeted: bool,
}

impl NodeKeeper {
    #[must_use]
    pub fn new(
        identity: Identity,
        client: Client,
        runtime: Arc<dyn Runtime>,
        events: EventSink,
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
            greeted: false,
        }
    }

    /// See the type.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let pause = match self.beat().await {
                Ok(true) => HEARTBEAT,
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
        let status = self.status(&engine, node.status.as_ref(), now);
        let due = match &self.sent {
            Some((sent, at)) => differs(sent, &status) || now.duration_since(*at) >= REPORT,
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
        if ready && !self.greeted {
            self.greeted = true;
            let words = format!("Node {} status is now: NodeReady", self.identity.name);
            self.events
                .node(&node, Severity::Normal, "NodeReady", &words);
        }
        self.lease.renew(&node, now).await?;
        Ok(ready)
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
                labels: Some(
                    [
                        ("kubernetes.io/hostname", self.identity.name.as_str()),
                        ("kubernetes.io/os", "linux"),
                        ("kubernetes.io/arch", go_arch(std::env::consts::ARCH)),
                        ("beta.kubernetes.io/os", "linux"),
                        ("beta.kubernetes.io/arch", go_arch(std::env::consts::ARCH)),
                    ]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
                ),
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
        let capacity = identity.machine.capacity(&PathBuf::from(root));
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
            allocatable: Some(capacity.clone()),
            capacity: Some(capacity),
            conditions: Some(conditions(engine, old, now)),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint {
                    port: i32::from(identity.port),
                }),
            }),
            node_info: Some(identity.machine.node_info(&identity.version, &version)),
            ..NodeStatus::default()
        }
    }
}

fn conditions(
    engine: &Result<EngineInfo, String>,
    old: Option<&NodeStatus>,
    now: Timestamp,
) -> Vec<NodeCondition> {
    let pressure = |type_: &'static str, reason: &'static str, message: &'static str| {
        (type_, "False", reason, message.to_owned())
    };
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
        pressure(
            "MemoryPressure",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        pressure(
            "DiskPressure",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        ),
        pressure(
            "PIDPressure",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ),
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
    use super::*;

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
        let first = conditions(&engine(), None, t0);
        assert_eq!(
            ready(&first).message.as_deref(),
            Some("kubelet is posting ready status")
        );
        let status = NodeStatus {
            conditions: Some(first),
            ..NodeStatus::default()
        };
        let same = conditions(&engine(), Some(&status), t1);
        assert_eq!(ready(&same).last_transition_time, Some(Time(t0)));
        assert_eq!(ready(&same).last_heartbeat_time, Some(Time(t1)));
        let down = conditions(&Err("Docker does not answer".into()), Some(&status), t1);
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
    fn a_heartbeat_alone_is_no_difference() {
        let t0: Timestamp = "2026-11-20T20:00:00Z".parse().unwrap();
        let status = |engine: &Result<EngineInfo, String>, at| NodeStatus {
            conditions: Some(conditions(engine, None, at)),
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
