//! What the fate of a node means to its pods, and is told of it: the pods of a node that is
//! not ready are not ready either, whether or not anybody is left there to say so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use serde_json::json;

use crate::errors::Error;
use crate::eviction::{about, now_text};
use crate::node_facts::NodeFacts;
use crate::shared::{Complete, Events, Key, PodInfo, Queue, Shared, Store, patch_pod_status, work};
use crate::wire::{is_gone, written};

const WORKERS: usize = 4;

struct Context {
    client: Client,
    pods: Store<PodInfo>,
    nodes: Store<NodeFacts>,
    queue: Queue,
    events: Events,
    /// Nodes that were told of: uid, and whether they were ready when last looked at.
    known: Mutex<HashMap<Key, (String, bool)>>,
}

/// Looks after the pods of nodes until the shutdown.
pub async fn run(shared: Shared) {
    let context = Arc::new(Context {
        client: shared.client().clone(),
        pods: shared.store(),
        nodes: shared.store(),
        queue: Queue::default(),
        events: shared.events("node-controller"),
        known: Mutex::default(),
    });
    let queue = context.queue.clone();
    context.nodes.subscribe(move |old, new| {
        let same = old
            .zip(new)
            .is_some_and(|(old, new)| old.ready == new.ready && old.uid == new.uid);
        if let Some(node) = new.or(old).filter(|_| !same) {
            queue.add(Key::of(node));
        }
    });
    let (queue, nodes) = (context.queue.clone(), context.nodes.clone());
    context.pods.subscribe(move |old, new| {
        // It may have become ready on a node that has just fallen silent.
        let turned = new.filter(|new| new.is_ready() && old.is_none_or(|old| !old.is_ready()));
        let node = turned.and_then(|pod| nodes.get("", &pod.node));
        if let Some(node) = node.filter(|node| node.ready == "Unknown") {
            queue.add(Key::of(&*node));
        }
    });
    let caches: [&dyn Complete; 2] = [&context.pods, &context.nodes];
    let look = |key: Key| {
        let context = &context;
        async move { context.look(&key).await }
    };
    work(&shared, &context.queue, &caches, WORKERS, look).await;
}

impl Context {
    async fn look(&self, key: &Key) -> Result<(), Error> {
        let node = self.nodes.get("", &key.name);
        let before = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            match &node {
                Some(node) => known.insert(key.clone(), (node.uid.clone(), node.ready == "True")),
                None => known.remove(key),
            }
        };
        let name = &*key.name;
        let tell = |uid: &str, reason: &'static str, message: String| {
            let node = ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(name.to_owned()),
                uid: Some(uid.to_owned()),
                ..ObjectReference::default()
            };
            self.events.normal(node, reason, message);
        };
        let Some(node) = node else {
            if let Some((uid, _)) = before {
                let message = format!("Node {name} event: Removing Node {name} from Controller");
                tell(&uid, "RemovingNode", message);
            }
            return Ok(());
        };
        let known = before.filter(|(uid, _)| *uid == node.uid);
        if known.is_none() {
            let message = format!("Node {name} event: Registered Node {name} in Controller");
            tell(&node.uid, "RegisteredNode", message);
        }
        // A node that has never been ready has no pods that are.
        if matches!(node.ready.as_str(), "True" | "") {
            return Ok(());
        }
        if known.is_some_and(|(_, was_ready)| was_ready) {
            let message = format!("Node {name} status is now: NodeNotReady");
            tell(&node.uid, "NodeNotReady", message);
        }
        for pod in self.pods.on_node(name) {
            // Its agent may be back by now, and the rest of its pods is its word again.
            let now = self.nodes.get("", name).filter(|now| now.uid == node.uid);
            if now.is_none_or(|now| now.ready == "True") {
                break;
            }
            if pod.is_ready() && !pod.has_ended() {
                self.mark(&pod).await?;
            }
        }
        Ok(())
    }

    async fn mark(&self, pod: &PodInfo) -> Result<(), Error> {
        let condition = json!({
            "type": "Ready",
            "status": "False",
            "lastTransitionTime": now_text(),
        });
        let patch = json!({"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}});
        match patch_pod_status(&self.client, &self.pods, pod, &patch).await {
            Ok(()) => {}
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => {
                let what = format!("pod {}/{}", pod.namespace, pod.name);
                return Err(written(what)(error));
            }
        }
        let message = "Node is not ready".to_owned();
        self.events.warning(about(pod), "NodeNotReady", message);
        Ok(())
    }
}
