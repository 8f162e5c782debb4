//! Removes pods whose node no longer exists: nobody is left to confirm their end.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Preconditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::errors::overtaken;
use crate::mirror::Mirror;

/// How long a node must be missing before its pods go: it may be registering again.
const QUARANTINE: Duration = Duration::from_secs(40);
/// Wait after a failed deletion.
const RETRY: Duration = Duration::from_secs(5);

enum Change {
    Pod(Box<watcher::Event<Pod>>),
    Node(Box<watcher::Event<Node>>),
}

/// What is kept of a pod.
struct Placed {
    namespace: String,
    name: String,
    uid: String,
    /// "" before it is scheduled.
    node: String,
}

impl Placed {
    fn of(pod: Pod) -> Placed {
        Placed {
            namespace: pod.metadata.namespace.unwrap_or_default(),
            name: pod.metadata.name.unwrap_or_default(),
            uid: pod.metadata.uid.unwrap_or_default(),
            node: pod.spec.and_then(|s| s.node_name).unwrap_or_default(),
        }
    }
}

#[derive(Default)]
struct World {
    pods: Mirror<Placed>,
    /// Names.
    nodes: Mirror<String>,
    /// Since when a node that pods name has been missing.
    missing: HashMap<String, Instant>,
}

/// What a look at the world asks for.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    /// namespace, name and uid of pods to delete now.
    delete: Vec<(String, String, String)>,
    /// When to look again without being woken.
    look_again: Option<Instant>,
}

/// Collects orphaned pods until `shutdown`.
pub async fn run(client: Client, shutdown: CancellationToken) {
    let config = watcher::Config::default();
    let pods = watcher(Api::<Pod>::all(client.clone()), config.clone())
        .default_backoff()
        .map_ok(|e| Change::Pod(Box::new(e)));
    let nodes = watcher(Api::<Node>::all(client.clone()), config)
        .default_backoff()
        .map_ok(|e| Change::Node(Box::new(e)));
    let mut changes = pin!(stream::select(pods, nodes));
    let mut world = World::default();
    let mut again: Option<Instant> = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            change = changes.next() => match change {
                Some(change) => world.take(change),
                None => return,
            },
            () = wait(again) => {}
        }
        while let Some(Some(change)) = changes.next().now_or_never() {
            world.take(change);
        }
        let plan = world.plan(Instant::now());
        again = plan.look_again;
        for (namespace, name, uid) in plan.delete {
            let deleted = tokio::select! {
                () = shutdown.cancelled() => return,
                deleted = force_delete(&client, &namespace, &name, uid) => deleted,
            };
            if !deleted {
                again = Some(Instant::now() + RETRY);
            }
        }
    }
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Deletes this very pod without waiting for a node to confirm. False if it failed.
async fn force_delete(client: &Client, namespace: &str, name: &str, uid: String) -> bool {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: Some(uid),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match pods.delete(name, &params).await {
        Ok(_) => {
            info!(pod = %format!("{namespace}/{name}"), "removed: its node no longer exists");
            true
        }
        Err(why) if overtaken(&why) => true,
        Err(error) => {
            warn!(pod = %format!("{namespace}/{name}"), %error, "orphaned pod not removed");
            false
        }
    }
}

impl World {
    fn take(&mut self, change: Result<Change, watcher::Error>) {
        match change {
            Ok(Change::Pod(e)) => self.pods.apply(*e, Placed::of),
            Ok(Change::Node(e)) => self.nodes.apply(*e, |node| node.name_any()),
            // The watcher starts over by itself, with a growing pause.
            Err(why) => warn!(error = %why, "watch interrupted"),
        }
    }

    fn plan(&mut self, now: Instant) -> Plan {
        // Before both lists are here, every node seems to be missing.
        if !(self.pods.is_complete() && self.nodes.is_complete()) {
            return Plan::default();
        }
        let nodes: HashSet<&String> = self.nodes.iter().collect();
        let mut plan = Plan::default();
        let mut missing = HashMap::new();
        for pod in self.pods.iter() {
            if pod.node.is_empty() || nodes.contains(&pod.node) {
                continue;
            }
            let node = pod.node.clone();
            let since = *self.missing.get(&node).unwrap_or(&now);
            missing.insert(node, since);
            let due = since + QUARANTINE;
            if due <= now {
                let (namespace, name) = (pod.namespace.clone(), pod.name.clone());
                plan.delete.push((namespace, name, pod.uid.clone()));
            } else {
                plan.look_again = Some(plan.look_again.map_or(due, |at| at.min(due)));
            }
        }
        // A node that came back starts a new count.
        self.missing = missing;
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use watcher::Event;

    fn pod(name: &str, node: &str) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": name, "namespace": "d", "uid": name},
            "spec": {"nodeName": node, "containers": []}}),
        )
        .unwrap()
    }

    fn node(name: &str) -> Node {
        serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
    }

    #[test]
    fn pods_of_a_lost_node_go_after_the_quarantine() {
        let mut w = World::default();
        let start = Instant::now();
        w.take(Ok(Change::Pod(Box::new(Event::Init))));
        for p in [pod("a", "lost"), pod("b", "here"), pod("c", "")] {
            w.take(Ok(Change::Pod(Box::new(Event::InitApply(p)))));
        }
        w.take(Ok(Change::Pod(Box::new(Event::InitDone))));
        assert_eq!(w.plan(start), Plan::default(), "nodes are not known yet");
        for e in [Event::Init, Event::InitApply(node("here")), Event::InitDone] {
            w.take(Ok(Change::Node(Box::new(e))));
        }
        let due = start + QUARANTINE;
        assert_eq!(
            w.plan(start),
            Plan {
                delete: vec![],
                look_again: Some(due)
            }
        );
        let p = w.plan(due);
        assert_eq!(p.delete, [("d".to_owned(), "a".to_owned(), "a".to_owned())]);
        w.take(Ok(Change::Node(Box::new(Event::Apply(node("lost"))))));
        assert_eq!(w.plan(due), Plan::default());
        w.take(Ok(Change::Node(Box::new(Event::Delete(node("lost"))))));
        assert_eq!(
            w.plan(due).look_again,
            Some(due + QUARANTINE),
            "the count starts anew"
        );
    }
}
