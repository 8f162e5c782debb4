//! Keeps so many copies of a pod: ReplicaSets and ReplicationControllers, one engine for both.
//!
//! ```text
//!   pods of the set ── too few ──▶ create, in batches of 1, 2, 4 … while all goes well
//!        │              too many ─▶ delete those that are missed least (rank)
//!        └────────────▶ status
//! ```

mod kinds;
mod manage;
mod rank;
mod status;

use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use crate::errors::Error;
use crate::shared::{
    Complete, Events, Key, Merge, PodInfo, Queue, Shared, Store, claim_active_pods, difference,
    patch, work,
};
use kinds::Replicated;
use status::Figures;

/// Sets looked after at a time (upstream: 5).
const WORKERS: usize = 5;
/// A set of this many pods waits a millisecond before it is looked at again because of one of
/// them, so that a thousand pods that become ready are not counted a thousand times.
const PODS_PER_MILLISECOND: i32 = 20;
const LONGEST_WAIT: Duration = Duration::from_millis(200);

struct Context<S> {
    shared: Shared,
    sets: Store<S>,
    pods: Store<PodInfo>,
    queue: Queue,
    events: Events,
}

/// Looks after ReplicaSets until the shutdown.
pub async fn run_sets(shared: Shared) {
    run::<ReplicaSet>(shared).await;
}

/// Looks after ReplicationControllers until the shutdown.
pub async fn run_controllers(shared: Shared) {
    run::<ReplicationController>(shared).await;
}

async fn run<S: Replicated>(shared: Shared) {
    let context = Context {
        sets: shared.store::<S>(),
        pods: shared.store::<PodInfo>(),
        queue: Queue::default(),
        events: shared.events(S::COMPONENT),
        shared,
    };
    let queue = context.queue.clone();
    context.sets.subscribe(move |old, new| {
        let Some(set) = new.or(old) else { return };
        // Our own status comes back, too: that may wait.
        let pause = match (old, new) {
            (Some(old), Some(new)) if asks_the_same(old, new) => LONGEST_WAIT,
            _ => Duration::ZERO,
        };
        queue.add_after(Key::of(set), pause);
    });
    let (sets, queue) = (context.sets.clone(), context.queue.clone());
    context
        .pods
        .subscribe(move |old, new| heard(&sets, &queue, old, new));
    let caches: [&dyn Complete; 2] = [&context.sets, &context.pods];
    let reconcile = |key| reconcile(&context, key);
    work(&context.shared, &context.queue, &caches, WORKERS, reconcile).await;
}

/// Whether a change touched nothing but the status.
fn asks_the_same<S: Replicated>(old: &S, new: &S) -> bool {
    old.meta().uid == new.meta().uid
        && old.metadata().generation == new.metadata().generation
        && old.is_deleting() == new.is_deleting()
}

/// Wakes the sets that a change of a pod concerns.
fn heard<S: Replicated>(
    sets: &Store<S>,
    queue: &Queue,
    old: Option<&PodInfo>,
    new: Option<&PodInfo>,
) {
    if let (Some(old), Some(new)) = (old, new)
        && !matters(old, new)
    {
        return;
    }
    // A lost pod is replaced at once; what others do is counted when it has calmed down.
    let lost = old.is_some_and(PodInfo::is_active) && !new.is_some_and(PodInfo::is_active);
    let owner = |pod: &PodInfo| pod.owned_by(S::KIND).map(|owner| owner.uid.clone());
    let (before, after) = (old.and_then(owner), new.and_then(owner));
    let given_up = if before != after { old } else { None };
    for pod in [given_up, new.or(old)].into_iter().flatten() {
        let Some(owner) = pod.owned_by(S::KIND) else {
            continue;
        };
        let Some(set) = sets.get(&pod.namespace, &owner.name) else {
            continue;
        };
        if set.meta().uid != owner.uid {
            continue;
        }
        let pause = match lost || given_up.is_some() {
            true => Duration::ZERO,
            false => Duration::from_millis(
                u64::try_from(set.replicas() / PODS_PER_MILLISECOND).unwrap_or(0),
            ),
        };
        queue.add_after(Key::of(&*set), pause.min(LONGEST_WAIT));
    }
    // An orphan may be adopted by who selects it, once it is new, freed or labelled anew.
    if let Some(pod) = new
        && pod.controller.is_none()
        && old.is_none_or(|old| old.controller.is_some() || old.labels != pod.labels)
    {
        for set in sets.in_namespace(&pod.namespace) {
            if set
                .selector()
                .is_some_and(|selector| selector.matches(&pod.labels))
            {
                queue.add(Key::of(&*set));
            }
        }
    }
}

/// Whether a set can tell the two apart.
fn matters(old: &PodInfo, new: &PodInfo) -> bool {
    old.phase != new.phase && (old.has_ended() || new.has_ended())
        || old.ready_since != new.ready_since
        || old.deletion.is_some() != new.deletion.is_some()
        || old.labels != new.labels
        || old.controller != new.controller
        || old.uid != new.uid
}

async fn reconcile<S: Replicated>(context: &Context<S>, key: Key) -> Result<(), Error> {
    let Some(set) = context.sets.get(&key.namespace, &key.name) else {
        return Ok(());
    };
    // Validation has let none through that is missing or makes no sense.
    let Some(selector) = set.selector() else {
        return Ok(());
    };
    let client = context.shared.client();
    let what = || format!("pods of {} {key}", S::KIND);
    let claimed = claim_active_pods(client, &context.pods, &*set, &selector).await;
    let active = claimed.map_err(|source| Error::Write {
        what: what(),
        source,
    })?;
    let had = active.len();
    let managed = match set.is_deleting() {
        true => Ok(()),
        false => manage::manage(context, &set, active).await,
    };
    // The cache shows what was written, so one status says it all.
    let mut pods = context.pods.owned(set.meta().uid);
    pods.retain(|pod| selector.matches(&pod.labels));
    let now = Timestamp::now();
    let failure = managed.as_ref().err();
    let figures = Figures::of(&*set, &pods, now);
    write_status(context, &set, &figures, failure, had, now)
        .await
        .map_err(|source| Error::Write {
            what: format!("status of {} {key}", S::KIND),
            source,
        })?;
    if let Some(seconds) = figures.available_in {
        let pause = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        context.queue.add_after(key.clone(), pause);
    }
    managed.map_err(|source| Error::Write {
        what: what(),
        source,
    })
}

async fn write_status<S: Replicated>(
    context: &Context<S>,
    set: &S,
    figures: &Figures,
    failure: Option<&kube::Error>,
    had: usize,
    now: Timestamp,
) -> kube::Result<()> {
    let old = set.status().map_err(kube::Error::SerdeError)?;
    let new = status::next(&old, set, figures, failure, had, now);
    let Some(change) = difference(&old, &new) else {
        return Ok(());
    };
    let change = json!({"status": change});
    let client = context.shared.client();
    match patch(client, &context.sets, set, "/status", Merge::Plain, &change).await {
        // It is gone: there is nothing to say of it.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}
