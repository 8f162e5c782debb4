//! Notices nodes whose agent has gone silent, keeps new pods away from sick ones and drives
//! away those that are there; and notes on each what `node_ttl` says.
//!
//! ```text
//!   lease or condition changes ─▶ conditions Unknown after 50 s ─▶ taints: NoSchedule, and
//!                                     NoExecute as long as some other node is ready
//! ```
//! Lease and status are both signs of life, as upstream has it: an agent that comes back posts
//! its status first, and that very change wakes us. Silence is judged of node and lease as the
//! API has them at that moment, and said of that version of the node only: what an agent posts
//! meanwhile stands.
//!
//! If no node is ready, the fault is rather ours (a laptop that slept, a network that is
//! down) and there is nowhere to go: then nobody is driven away, as upstream has it. If most
//! nodes of a zone fail, nobody more is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::channel::mpsc;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use serde_json::json;
use tracing::{info, warn};

use crate::errors::{Error, again, overtaken};
use crate::node_facts::NodeFacts;
use crate::node_ttl::{self, TTL};
use crate::shared::{Complete as _, Shared, Store};
use crate::taints::{self, Eviction, nobody_else_is_ready};

/// Where node agents renew their leases.
const LEASES: &str = "kube-node-lease";
/// Silence after which a node counts as unreachable: upstream's figure since 1.32, a little more
/// than an agent needs to notice a dead connection.
const GRACE: Duration = Duration::from_secs(50);
/// The same for a node whose agent has not reported yet: it may be starting.
const START: Duration = Duration::from_secs(60);
/// Where eviction halts it is looked at again so soon: no change of the node itself may tell.
const HALT: Duration = Duration::from_secs(10);

struct Context {
    client: Client,
    nodes: Store<NodeFacts>,
    seen: Mutex<Seen>,
}

/// What an agent wrote last, by its own clock.
#[derive(Debug, Clone, Copy, Default)]
struct Signs {
    /// Its lease.
    renewed: Option<Timestamp>,
    /// How its node is.
    posted: Option<Timestamp>,
}

impl Signs {
    /// Takes over what is new; returns whether there was any. What is missing is no news: the
    /// lease was deleted, or the condition is our own word.
    fn learn(&mut self, now: Signs) -> bool {
        let renewed = now.renewed.is_some() && now.renewed != self.renewed;
        let posted = now.posted.is_some() && now.posted != self.posted;
        self.renewed = now.renewed.or(self.renewed);
        self.posted = now.posted.or(self.posted);
        renewed || posted
    }
}

/// When each agent's signs were last seen to change, on our own clock: the guest's time of day
/// may jump when a laptop wakes, and a server that has just started owes every agent a chance.
#[derive(Debug, Default)]
struct Seen {
    by_node: HashMap<String, (Signs, Instant)>,
}

impl Seen {
    /// Notes the signs as they are now; returns how long there has been no new one.
    fn silence(&mut self, node: &str, signs: Signs, now: Instant) -> Duration {
        let (known, since) = self.by_node.entry(node.to_owned()).or_insert((signs, now));
        if known.learn(signs) {
            *since = now;
        }
        now.saturating_duration_since(*since)
    }
}

/// Watches over nodes until the shutdown.
pub async fn run(shared: Shared) {
    let (client, shutdown) = (shared.client().clone(), shared.shutdown().clone());
    let facts: Store<NodeFacts> = shared.store();
    tokio::select! {
        () = shutdown.cancelled() => return,
        () = facts.complete() => {}
    }
    let turns = turns(&facts);
    let nodes: Api<Node> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASES);
    let context = Context {
        client,
        nodes: facts,
        seen: Mutex::default(),
    };
    Controller::new(nodes, watcher::Config::default())
        .watches(leases, watcher::Config::default(), |lease: Lease| {
            Some(ObjectRef::new(&lease.name_any()))
        })
        .reconcile_all_on(turns)
        .graceful_shutdown_on(async move { shutdown.cancelled().await })
        .run(reconcile, again, Arc::new(context))
        .for_each(|_| async {})
        .await;
}

/// Speaks whenever the last node stops being ready, or the first is ready again: then all
/// have to be looked at.
fn turns(nodes: &Store<NodeFacts>) -> mpsc::UnboundedReceiver<()> {
    let (turn, turns) = mpsc::unbounded();
    let all = nodes.clone();
    let before = AtomicBool::new(nobody_else_is_ready(&nodes.all(), ""));
    nodes.subscribe(move |old, new| {
        let same = old
            .zip(new)
            .is_some_and(|(old, new)| old.ready == new.ready && old.counted == new.counted);
        if same {
            return;
        }
        let none = nobody_else_is_ready(&all.all(), "");
        if before.swap(none, Ordering::SeqCst) == none {
            return;
        }
        match none {
            true => info!("no node is ready: nobody is evicted"),
            false => info!("a node is ready: pods of others may be evicted"),
        }
        // Nobody listens any more once the loop has ended.
        let _ = turn.unbounded_send(());
    });
    turns
}

async fn reconcile(node: Arc<Node>, context: Arc<Context>) -> Result<Action, Error> {
    context.look(node, &Instant::now).await
}

/// Silence after which this node counts as unreachable.
fn grace(node: &Node) -> Duration {
    match taints::has_reported(node) {
        true => GRACE,
        false => START,
    }
}

impl Context {
    /// Looks after one node. `copy` is our cache's and may be behind.
    async fn look(&self, copy: Arc<Node>, clock: &impl Fn() -> Instant) -> Result<Action, Error> {
        let name = copy.name_any();
        let nodes: Api<Node> = Api::all(self.client.clone());
        let now = Time(Timestamp::now());
        let mut node = copy;
        let mut silence = self.silence(&node, clock).await?;
        if silence >= grace(&node) && !taints::unknown(&node, &now).is_empty() {
            let newest = nodes.get_opt(&name).await.map_err(|source| Error::Read {
                what: format!("node {name}"),
                source,
            })?;
            let Some(newest) = newest else {
                return Ok(Action::await_change());
            };
            node = Arc::new(newest);
            // The lease after the node: an agent writes it last.
            silence = self.silence(&node, clock).await?;
            let conditions = taints::unknown(&node, &now);
            if silence >= grace(&node) && !conditions.is_empty() {
                // The resourceVersion makes this fail if the agent has spoken meanwhile.
                let patch = json!({
                    "metadata": {"resourceVersion": node.resource_version()},
                    "status": {"conditions": conditions},
                });
                let written = write(
                    nodes
                        .patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch))
                        .await,
                    &name,
                )?;
                if !written {
                    return Ok(Action::requeue(Duration::ZERO));
                }
                warn!(node = %name, silent_seconds = silence.as_secs(), "node agent is silent");
                // The change comes back to us and brings the taints.
                return Ok(Action::await_change());
            }
        }
        let mut halted = false;
        let eviction = || {
            let eviction = taints::eviction(&self.nodes.all(), &name);
            halted = eviction == Eviction::Halts;
            eviction
        };
        let taints = taints::wanted(&node, eviction, &now);
        let ttl = node.annotations().get(TTL).map(String::as_str);
        let ttl = node_ttl::wanted(ttl, self.nodes.all().len());
        if taints.is_some() || ttl.is_some() {
            // The resourceVersion makes this fail if somebody else changed the taints meanwhile;
            // then the watch wakes us with what they are.
            let mut patch = json!({"metadata": {"resourceVersion": node.resource_version()}});
            if let Some(taints) = taints {
                patch["spec"] = json!({"taints": taints});
            }
            if let Some(ttl) = ttl {
                patch["metadata"]["annotations"] = json!({TTL: ttl});
            }
            write(
                nodes
                    .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                    .await,
                &name,
            )?;
        }
        // Signs of life wake us; only silence needs a clock.
        let rest = grace(&node).saturating_sub(silence);
        Ok(if halted {
            Action::requeue(HALT)
        } else if rest.is_zero() {
            Action::await_change()
        } else {
            Action::requeue(rest)
        })
    }

    /// For how long the agent has given no sign of life: in its lease as the API has it now, and
    /// in this copy of its node.
    async fn silence(&self, node: &Node, clock: &impl Fn() -> Instant) -> Result<Duration, Error> {
        let name = node.name_any();
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), LEASES);
        let lease = leases.get_opt(&name).await.map_err(|source| Error::Read {
            what: format!("lease of node {name}"),
            source,
        })?;
        let renewed = lease.and_then(|l| l.spec).and_then(|s| s.renew_time);
        let signs = Signs {
            renewed: renewed.map(|time| time.0),
            posted: taints::posted(node),
        };
        // A poisoned lock holds times only; they are as good as before the panic.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(seen.silence(&name, signs, clock()))
    }
}

/// Whether it is written; if not, somebody else was faster.
fn write(result: Result<Node, kube::Error>, name: &str) -> Result<bool, Error> {
    match result {
        Ok(_) => Ok(true),
        Err(why) if overtaken(&why) => Ok(false),
        Err(source) => Err(Error::Write {
            what: format!("node {name}"),
            source,
        }),
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
