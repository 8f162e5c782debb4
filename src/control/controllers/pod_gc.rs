//! Removes pods nobody looks after: those of a node that no longer exists, those told to go on a
//! node that somebody says is off (KEP-2268), and the oldest of too many that have ended.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::info;

use crate::errors::Error;
use crate::shared::{
    Complete, Key, PodInfo, Queue, Record, Shared, Store, delete, patch_pod_status, work,
};

/// How long a node must be missing before its pods go: it may be registering again.
const QUARANTINE: Duration = Duration::from_secs(40);
/// So many pods that have ended are kept (upstream's `--terminated-pod-gc-threshold`).
const ENDED: usize = 12_500;
/// A taint that people put on a node that is off for good, so that its pods need not wait for
/// it to confirm their end.
const OFF: &str = "node.kubernetes.io/out-of-service";
/// Of the queue: what has ended, wherever. No node has this name.
const ALL_ENDED: &str = "/ended";

struct Context {
    shared: Shared,
    pods: Store<PodInfo>,
    nodes: Store<Node>,
    queue: Queue,
    missing: Arc<Missing>,
}

/// Since when nodes have been missing that once were there, or that pods name.
#[derive(Default)]
struct Missing(Mutex<HashMap<String, Instant>>);

impl Missing {
    fn since(&self, node: &str) -> Instant {
        *self
            .nodes()
            .entry(node.to_owned())
            .or_insert_with(Instant::now)
    }

    fn is_back(&self, node: &str) {
        self.nodes().remove(node);
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        // A poisoned lock holds times only; they are as good as before the panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Collects pods until the shutdown.
pub async fn run(shared: Shared) {
    let context = Context {
        pods: shared.store(),
        nodes: shared.store(),
        queue: Queue::default(),
        missing: Arc::default(),
        shared,
    };
    let (queue, missing) = (context.queue.clone(), Arc::clone(&context.missing));
    context.nodes.subscribe(move |old, new| match (old, new) {
        (old, Some(node)) => {
            missing.is_back(node.meta().name);
            if is_off(node) && !old.is_some_and(is_off) {
                queue.add(Key::of(node));
            }
        }
        (Some(node), None) => {
            missing.since(node.meta().name);
            queue.add_after(Key::of(node), QUARANTINE);
        }
        (None, None) => {}
    });
    let (queue, nodes, ended) = (
        context.queue.clone(),
        context.nodes.clone(),
        AtomicUsize::new(0),
    );
    context.pods.subscribe(move |old, new| {
        if let Some(pod) = new
            && !pod.node.is_empty()
            && old.is_none_or(|old| old.node != pod.node)
            && nodes.get("", &pod.node).is_none()
        {
            queue.add_after(Key::new("", &pod.node), QUARANTINE);
        }
        if let Some(pod) = new
            && pod.deletion.is_some()
            && old.is_none_or(|old| old.deletion.is_none())
            && nodes.get("", &pod.node).is_some_and(|node| is_off(&node))
        {
            queue.add(Key::new("", &pod.node));
        }
        let had = old.is_some_and(PodInfo::has_ended);
        let has = new.is_some_and(PodInfo::has_ended);
        let count = match (had, has) {
            (false, true) => ended.fetch_add(1, Ordering::Relaxed) + 1,
            (true, false) => ended.fetch_sub(1, Ordering::Relaxed) - 1,
            _ => return,
        };
        if count > ENDED {
            queue.add(Key::new("", ALL_ENDED));
        }
    });
    let caches: [&dyn Complete; 2] = [&context.pods, &context.nodes];
    let reconcile = |key| reconcile(&context, key);
    work(&context.shared, &context.queue, &caches, 1, reconcile).await;
}

async fn reconcile(context: &Context, key: Key) -> Result<(), Error> {
    if &*key.name == ALL_ENDED {
        for pod in surplus(context.pods.all(), ENDED) {
            remove(context, &pod).await?;
        }
        return Ok(());
    }
    if let Some(node) = context.nodes.get("", &key.name) {
        return match is_off(&node) {
            true => clear(context, &key.name).await,
            false => Ok(()),
        };
    }
    let missing = context.missing.since(&key.name).elapsed();
    // Pods may have come before the nodes were known: the count begins when we know.
    if missing < QUARANTINE {
        context.queue.add_after(key, QUARANTINE - missing);
        return Ok(());
    }
    for pod in context.pods.on_node(&key.name) {
        orphaned(context, &pod).await?;
    }
    context.missing.is_back(&key.name);
    Ok(())
}

/// Those that ended beyond `limit`, the oldest first; evicted ones before all others.
fn surplus(mut pods: Vec<Arc<PodInfo>>, limit: usize) -> Vec<Arc<PodInfo>> {
    pods.retain(|pod| pod.has_ended());
    let many = pods.len().saturating_sub(limit);
    pods.sort_by_key(|pod| (pod.reason != "Evicted", pod.created));
    pods.truncate(many);
    pods
}

/// Whether a node is not ready, and somebody says that it will not be.
fn is_off(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    taints.into_iter().flatten().any(|taint| taint.key == OFF)
        && !conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Removes the pods of a node that were told to go.
async fn clear(context: &Context, node: &str) -> Result<(), Error> {
    for pod in context.pods.on_node(node) {
        if pod.deletion.is_some() {
            fail(context, &pod, None).await?;
            info!(pod = %Key::of(&*pod), node, "removed: its node is out of service");
        }
    }
    Ok(())
}

/// Says why it goes, for who asks its Job or its owner, and removes it.
async fn orphaned(context: &Context, pod: &PodInfo) -> Result<(), Error> {
    let why = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
        "message": "PodGC: node no longer exists", "lastTransitionTime": now()});
    fail(context, pod, Some(why)).await?;
    info!(pod = %Key::of(pod), node = %pod.node, "removed: its node no longer exists");
    Ok(())
}

/// Lets a pod fail that has not ended, with this condition, and removes it.
async fn fail(context: &Context, pod: &PodInfo, condition: Option<Value>) -> Result<(), Error> {
    if !pod.has_ended() {
        let mut failed = json!({"status": {"phase": "Failed"}});
        if let Some(condition) = condition {
            failed["status"]["conditions"] = json!([condition]);
        }
        let client = context.shared.client();
        match patch_pod_status(client, &context.pods, pod, &failed).await {
            Ok(()) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(source) => {
                let what = format!("status of pod {}", Key::of(pod));
                return Err(Error::Write { what, source });
            }
        }
    }
    remove(context, pod).await
}

fn now() -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now())
}

/// Deletes this very pod without waiting for a node to confirm.
async fn remove(context: &Context, pod: &PodInfo) -> Result<(), Error> {
    let at_once = json!({"gracePeriodSeconds": 0});
    delete(context.shared.client(), &context.pods, pod, at_once)
        .await
        .map_err(|source| Error::Delete {
            what: format!("pod {}", Key::of(pod)),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_off_when_it_is_said_to_be_and_is_not_ready() {
        let node = |taint: &str, ready: &str| -> Node {
            let node = json!({"metadata": {"name": "n"},
                "spec": {"taints": [{"key": taint, "effect": "NoExecute"}]},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            serde_json::from_value(node).unwrap()
        };
        assert!(is_off(&node(OFF, "Unknown")));
        assert!(is_off(&node(OFF, "False")));
        assert!(!is_off(&node(OFF, "True")));
        assert!(!is_off(&node("node.kubernetes.io/unreachable", "Unknown")));
    }

    #[test]
    fn the_oldest_that_ended_go_and_evicted_ones_first() {
        let pod = |name: &str, phase: &str, reason: &str, day: u8| {
            let pod = json!({"metadata": {"name": name, "creationTimestamp": format!("2026-01-0{day}T00:00:00Z")},
                "status": {"phase": phase, "reason": reason}});
            Arc::new(PodInfo::of(serde_json::from_value(pod).unwrap()))
        };
        let pods = vec![
            pod("young", "Failed", "", 3),
            pod("old", "Succeeded", "", 1),
            pod("evicted", "Failed", "Evicted", 4),
            pod("alive", "Running", "", 1),
        ];
        let gone = surplus(pods.clone(), 1);
        let gone: Vec<&str> = gone.iter().map(|pod| pod.name.as_str()).collect();
        assert_eq!(gone, ["evicted", "old"]);
        assert!(surplus(pods, 3).is_empty());
    }
}
