//! Notices nodes whose agent has gone silent, keeps new pods away from sick ones and drives
//! away those that are there; and notes on each what `node_ttl` says.
//!
//! ```text
//!   lease or condition changes ─▶ conditions Unknown after 50 s ─▶ taints: NoSchedule, and
//!                                     NoExecute as long as some other node is ready
//! ```
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

/// When each lease was last seen to change, on our own clock: the guest's time of day may
/// jump when a laptop wakes, and a server that has just started owes every agent a chance.
#[derive(Debug, Default)]
struct Seen {
    by_node: HashMap<String, (String, Instant)>,
}

impl Seen {
    /// Notes the lease as it is now; returns how long it has stayed like this.
    fn silence(&mut self, node: &str, lease: &str, now: Instant) -> Duration {
        let entry = self
            .by_node
            .entry(node.to_owned())
            .or_insert_with(|| (lease.to_owned(), now));
        if entry.0 != lease {
            *entry = (lease.to_owned(), now);
        }
        now.saturating_duration_since(entry.1)
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
    let name = node.name_any();
    let leases: Api<Lease> = Api::namespaced(context.client.clone(), LEASES);
    let lease = leases.get_opt(&name).await.map_err(|source| Error::Read {
        what: format!("lease of node {name}"),
        source,
    })?;
    let renewed = lease
        .and_then(|l| l.spec)
        .and_then(|s| s.renew_time)
        .map(|t| t.0.to_string())
        .unwrap_or_default();
    // A poisoned lock holds times only; they are as good as before the panic.
    let silence = context
        .seen
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .silence(&name, &renewed, Instant::now());
    let now = Time(Timestamp::now());
    let grace = match taints::has_reported(&node) {
        true => GRACE,
        false => START,
    };
    if silence >= grace {
        let conditions = taints::unknown(&node, &now);
        if !conditions.is_empty() {
            warn!(node = %name, silent_seconds = silence.as_secs(), "node agent is silent");
            let patch = json!({"status": {"conditions": conditions}});
            let nodes: Api<Node> = Api::all(context.client.clone());
            write(
                nodes
                    .patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch))
                    .await,
                &name,
            )?;
            // The change comes back to us and brings the taints.
            return Ok(Action::await_change());
        }
    }
    let mut halted = false;
    let eviction = || {
        let eviction = taints::eviction(&context.nodes.all(), &name);
        halted = eviction == Eviction::Halts;
        eviction
    };
    let taints = taints::wanted(&node, eviction, &now);
    let ttl = node.annotations().get(TTL).map(String::as_str);
    let ttl = node_ttl::wanted(ttl, context.nodes.all().len());
    if taints.is_some() || ttl.is_some() {
        // The resourceVersion makes this fail if somebody else changed the taints meanwhile.
        let mut patch = json!({"metadata": {"resourceVersion": node.resource_version()}});
        if let Some(taints) = taints {
            patch["spec"] = json!({"taints": taints});
        }
        if let Some(ttl) = ttl {
            patch["metadata"]["annotations"] = json!({TTL: ttl});
        }
        let nodes: Api<Node> = Api::all(context.client.clone());
        write(
            nodes
                .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await,
            &name,
        )?;
    }
    // Renewals wake us; only silence needs a clock.
    let rest = grace.saturating_sub(silence);
    Ok(if halted {
        Action::requeue(HALT)
    } else if rest.is_zero() {
        Action::await_change()
    } else {
        Action::requeue(rest)
    })
}

fn write(result: Result<Node, kube::Error>, name: &str) -> Result<(), Error> {
    match result {
        Ok(_) => Ok(()),
        Err(why) if overtaken(&why) => Ok(()),
        Err(source) => Err(Error::Write {
            what: format!("node {name}"),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_from_the_last_change_we_saw() {
        let mut seen = Seen::default();
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(
            seen.silence("n", "t1", at(0)),
            Duration::ZERO,
            "a chance after our own start"
        );
        assert_eq!(seen.silence("n", "t1", at(39)), Duration::from_secs(39));
        assert_eq!(seen.silence("n", "t2", at(40)), Duration::ZERO);
        assert_eq!(seen.silence("m", "", at(40)), Duration::ZERO);
        assert_eq!(seen.silence("n", "t2", at(90)), GRACE);
        assert_eq!(
            seen.silence("n", "t2", at(1)),
            Duration::ZERO,
            "clocks never run backwards here"
        );
    }
}
