//! Deployments: which template their pods have, and how one replaces another.
//!
//! ```text
//!   sets of the Deployment ── template new? ──▶ a new ReplicaSet, one revision higher
//!        ├─ wanted number changed, or paused ──▶ scale: all sets in proportion
//!        ├─ RollingUpdate ─▶ new up within maxSurge, old down within maxUnavailable
//!        ├─ Recreate ──────▶ old to 0, wait for their pods to be gone, new up
//!        ├─ done ──────────▶ old sets beyond revisionHistoryLimit go
//!        └────────────────▶ status: figures, Available, Progressing, ReplicaFailure
//! ```
//! What is decided is in `rollout`, `scaling`, `revision` and `status`, which are pure.

pub mod amounts;
pub mod hash;
mod revision;
mod rollout;
#[cfg(test)]
mod rollout_tests;
mod scaling;
mod sets;
mod status;
#[cfg(test)]
mod status_tests;
mod sync;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use crate::shared::{Complete, Events, Key, PodInfo, Queue, Record, Shared, Store, selector, work};

/// Deployments looked after at a time (upstream: 5).
const WORKERS: usize = 5;

struct Context {
    shared: Shared,
    deployments: Store<Deployment>,
    sets: Store<ReplicaSet>,
    pods: Store<PodInfo>,
    queue: Queue,
    events: Events,
}

/// Looks after Deployments until the shutdown.
pub async fn run(shared: Shared) {
    let context = Context {
        deployments: shared.store::<Deployment>(),
        sets: shared.store::<ReplicaSet>(),
        pods: shared.store::<PodInfo>(),
        queue: Queue::default(),
        events: shared.events("deployment-controller"),
        shared,
    };
    let (queue, deployments) = (&context.queue, &context.deployments);
    deployments.feed(queue, |deployment| Some(Key::of(deployment)));
    context.sets.subscribe({
        let (queue, deployments) = (queue.clone(), deployments.clone());
        move |old, new| heard_set(&deployments, &queue, old, new)
    });
    context.pods.subscribe({
        let (queue, deployments) = (queue.clone(), deployments.clone());
        let sets = context.sets.clone();
        move |old, new| {
            // Recreate waits for the last pod of the old sets.
            let ended = |pod: &PodInfo| pod.has_ended();
            if let Some(pod) = old
                && !ended(pod)
                && new.is_none_or(ended)
                && let Some(set) = pod.owned_by("ReplicaSet")
                && let Some(set) = sets.get(&pod.namespace, &set.name)
                && let Some(deployment) = owner(&deployments, &set)
                && rollout::recreates(&deployment)
            {
                queue.add(Key::of(&*deployment));
            }
        }
    });
    let caches: [&dyn Complete; 3] = [&context.deployments, &context.sets, &context.pods];
    let reconcile = |key| sync::reconcile(&context, key);
    work(&context.shared, &context.queue, &caches, WORKERS, reconcile).await;
}

/// Wakes the Deployments that a change of a ReplicaSet concerns.
fn heard_set(
    deployments: &Store<Deployment>,
    queue: &Queue,
    old: Option<&ReplicaSet>,
    new: Option<&ReplicaSet>,
) {
    for set in [old, new].into_iter().flatten() {
        if let Some(deployment) = owner(deployments, set) {
            queue.add(Key::of(&*deployment));
        }
    }
    // An orphan may be adopted by who selects it.
    if let Some(set) = new
        && set.meta().controller.is_none()
        && old.is_none_or(|old| {
            old.meta().controller.is_some() || old.metadata.labels != set.metadata.labels
        })
    {
        let labels = set.metadata.labels.clone().unwrap_or_default();
        for deployment in deployments.in_namespace(set.meta().namespace) {
            let wanted = deployment.spec.as_ref().map(|spec| &spec.selector);
            if selector(wanted).is_some_and(|selector| selector.matches(&labels)) {
                queue.add(Key::of(&*deployment));
            }
        }
    }
}

/// The Deployment that controls the set, if it is still that very one.
fn owner(deployments: &Store<Deployment>, set: &ReplicaSet) -> Option<std::sync::Arc<Deployment>> {
    let owners = set.metadata.owner_references.iter().flatten();
    let mut owners = owners.filter(|owner| owner.controller == Some(true));
    let owner = owners.next().filter(|owner| owner.kind == "Deployment")?;
    let deployment = deployments.get(set.meta().namespace, &owner.name)?;
    (deployment.meta().uid == owner.uid).then_some(deployment)
}
