//! Removes pods nobody looks after: those of a node that no longer exists, and the oldest of
//! too many that have ended.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
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
        (_, Some(node)) => missing.is_back(node.meta().name),
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
    if context.nodes.get("", &key.name).is_some() {
        return Ok(());
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

/// Says why it goes, for who asks its Job or its owner, and removes it.
async fn orphaned(context: &Context, pod: &PodInfo) -> Result<(), Error> {
    if !pod.has_ended() {
        let failed = json!({"status": {"phase": "Failed", "conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists", "lastTransitionTime": now()}]}});
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
    remove(context, pod).await?;
    info!(pod = %Key::of(pod), node = %pod.node, "removed: its node no longer exists");
    Ok(())
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
