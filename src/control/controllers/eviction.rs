//! Drives pods away from nodes with NoExecute taints, each after the time it tolerates them.
//!
//! ```text
//!   node gets a taint ─▶ its pods ─┬─ tolerate it for ever ──▶ stay
//!                                  ├─ for so many seconds ───▶ wait ─▶ look again ─▶ go
//!                                  └─ not ───────────────────▶ go
//! ```
//! The count starts when the taint is seen and is kept while it stays; a taint that goes in
//! time is forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde_json::json;
use tokio::time::Instant;
use tracing::info;

use crate::errors::Error;
use crate::node_facts::{NodeFacts, NodeTaint};
use crate::shared::{
    Complete, Events, Key, PodInfo, Queue, Shared, Store, Toleration, delete_pod, patch_pod_status,
    work,
};
use crate::wire::{is_gone, written};

/// How many pods are worked on at a time.
const WORKERS: usize = 8;
const REASON: &str = "TaintManagerEviction";

/// How long a pod bears the taints of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Forever,
    For(Duration),
}

/// As upstream's taint manager decides: each taint is borne by the first toleration that fits
/// it; one that none fits ends it at once, else the shortest time of those counts.
fn patience(taints: &[NodeTaint], tolerations: &[Toleration]) -> Patience {
    let mut shortest: Option<i64> = None;
    for taint in taints {
        let Some(toleration) = tolerations.iter().find(|t| tolerates(t, taint)) else {
            return Patience::For(Duration::ZERO);
        };
        let seconds = toleration.toleration_seconds.map(|seconds| seconds.max(0));
        shortest = shortest.into_iter().chain(seconds).min();
    }
    match shortest {
        None => Patience::Forever,
        Some(seconds) => Patience::For(Duration::from_secs(seconds.unsigned_abs())),
    }
}

fn tolerates(toleration: &Toleration, taint: &NodeTaint) -> bool {
    if !toleration.effect.is_empty() && toleration.effect != taint.effect {
        return false;
    }
    let everything = toleration.key.is_empty() && toleration.operator == "Exists";
    if !everything && toleration.key != taint.key {
        return false;
    }
    match toleration.operator.as_str() {
        "Exists" => true,
        "" | "Equal" => toleration.value == taint.value,
        _ => false,
    }
}

struct Context {
    client: Client,
    pods: Store<PodInfo>,
    nodes: Store<NodeFacts>,
    queue: Queue,
    events: Events,
    /// Pods whose time runs: their uid and since when.
    counting: Mutex<HashMap<Key, (String, Instant)>>,
}

/// Evicts until the shutdown.
pub async fn run(shared: Shared) {
    let context = Arc::new(Context {
        client: shared.client().clone(),
        pods: shared.store(),
        nodes: shared.store(),
        queue: Queue::default(),
        events: shared.events("taint-eviction-controller"),
        counting: Mutex::default(),
    });
    context.listen();
    let caches: [&dyn Complete; 2] = [&context.pods, &context.nodes];
    let look = |key: Key| {
        let context = &context;
        async move { context.look(&key).await }
    };
    work(&shared, &context.queue, &caches, WORKERS, look).await;
}

impl Context {
    fn listen(self: &Arc<Context>) {
        let context = Arc::clone(self);
        self.nodes.subscribe(move |old, new| {
            let taints = |node: Option<&NodeFacts>| node.map(|n| n.evicting.clone());
            let (before, now) = (
                taints(old).unwrap_or_default(),
                taints(new).unwrap_or_default(),
            );
            let Some(node) = new.filter(|_| before != now) else {
                return;
            };
            for pod in context.pods.on_node(&node.name) {
                context.queue.add(Key::of(&*pod));
            }
        });
        let context = Arc::clone(self);
        self.pods.subscribe(move |old, new| {
            let Some(pod) = new.or(old) else { return };
            let same = old.zip(new).is_some_and(|(old, new)| {
                old.uid == new.uid
                    && old.node == new.node
                    && old.deletion.is_some() == new.deletion.is_some()
                    && old.outside.tolerations == new.outside.tolerations
            });
            if same || pod.node.is_empty() {
                return;
            }
            let key = Key::of(pod);
            let node = context.nodes.get("", &pod.node);
            // Before the nodes are known, those with taints will name their pods.
            let tainted = node.is_some_and(|node| !node.evicting.is_empty());
            if tainted || context.lock().contains_key(&key) {
                context.queue.add(key);
            }
        });
    }

    async fn look(&self, key: &Key) -> Result<(), Error> {
        let pod = self.pods.get(&key.namespace, &key.name);
        let Some(pod) = pod.filter(|pod| pod.deletion.is_none() && !pod.has_ended()) else {
            self.lock().remove(key);
            return Ok(());
        };
        let node = self.nodes.get("", &pod.node);
        let taints = node.map(|node| node.evicting.clone()).unwrap_or_default();
        let wait = match patience(&taints, &pod.outside.tolerations) {
            Patience::For(wait) if !taints.is_empty() => wait,
            _ => {
                if self.lock().remove(key).is_some() {
                    let message = format!("Cancelling deletion of Pod {key}");
                    self.events.normal(about(&pod), REASON, message);
                }
                return Ok(());
            }
        };
        let now = Instant::now();
        let since = {
            let mut counting = self.lock();
            let entry = counting
                .entry(key.clone())
                .or_insert_with(|| (pod.uid.clone(), now));
            if entry.0 != pod.uid {
                *entry = (pod.uid.clone(), now);
            }
            entry.1
        };
        let due = since + wait;
        if due > now {
            self.queue.add_after(key.clone(), due - now);
            return Ok(());
        }
        self.evict(key, &pod).await
    }

    async fn evict(&self, key: &Key, pod: &PodInfo) -> Result<(), Error> {
        info!(pod = %key, node = %pod.node, "evicted: it does not tolerate a taint of its node");
        let message = format!("Marking for deletion Pod {key}");
        self.events.normal(about(pod), REASON, message);
        let what = || format!("pod {key}");
        let condition = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": now_text(),
        });
        let patch = json!({"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}});
        match patch_pod_status(&self.client, &self.pods, pod, &patch).await {
            Ok(()) => {}
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(written(what())(error)),
        }
        delete_pod(&self.client, &self.pods, pod)
            .await
            .map_err(|source| Error::Delete {
                what: what(),
                source,
            })?;
        self.lock().remove(key);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, (String, Instant)>> {
        // Changed in single steps, so a poisoned lock is still sound.
        self.counting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Now as conditions have it: to the second.
pub fn now_text() -> String {
    let now = Timestamp::from_second(Timestamp::now().as_second());
    now.unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// A pod for its events.
pub fn about(pod: &PodInfo) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.namespace.to_string()),
        name: Some(pod.name.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str) -> NodeTaint {
        NodeTaint {
            key: key.into(),
            value: value.into(),
            effect: "NoExecute".into(),
        }
    }

    fn toleration(key: &str, operator: &str, value: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: key.into(),
            operator: operator.into(),
            value: value.into(),
            effect: "NoExecute".into(),
            toleration_seconds: seconds,
        }
    }

    fn seconds(n: u64) -> Patience {
        Patience::For(Duration::from_secs(n))
    }

    #[test]
    fn what_is_not_tolerated_drives_away_at_once() {
        let taints = [taint("a", "1"), taint("b", "")];
        assert_eq!(patience(&taints, &[]), seconds(0));
        let some = [toleration("a", "Exists", "", Some(30))];
        assert_eq!(
            patience(&taints, &some),
            seconds(0),
            "the other is not borne"
        );
        assert_eq!(patience(&taints[..1], &some), seconds(30));
        let other = [toleration("a", "Equal", "2", None)];
        assert_eq!(patience(&taints[..1], &other), seconds(0));
        let plain = [toleration("a", "", "1", None)];
        assert_eq!(patience(&taints[..1], &plain), Patience::Forever);
    }

    #[test]
    fn the_shortest_time_counts() {
        let taints = [taint("a", "1"), taint("b", "")];
        let all = [
            toleration("b", "Exists", "", Some(20)),
            toleration("", "Exists", "", Some(300)),
            toleration("a", "Exists", "", None),
        ];
        assert_eq!(patience(&taints, &all), seconds(20));
        assert_eq!(
            patience(&taints, &all[1..]),
            seconds(300),
            "the first that fits"
        );
        assert_eq!(
            patience(&taints, &[toleration("", "Exists", "", None)]),
            Patience::Forever
        );
        assert_eq!(
            patience(&taints, &[toleration("", "Exists", "", Some(-5))]),
            seconds(0)
        );
    }
}
