//! StatefulSets: pods with names, storage and an order.
//!
//! ```text
//!   look ─▶ revisions (history.rs) ─▶ plan (plan.rs) ─▶ act (act.rs) ─▶ status ─▶ prune
//! ```

mod act;
mod plan;
#[cfg(test)]
mod plan_tests;
mod storage;
mod template;
#[cfg(test)]
mod testing;
mod wishes;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cadet_api::selector::LabelSelector;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::jiff::Timestamp;
use kube::Client;

use crate::errors::Error;
use crate::history::{self, History};
use crate::shared::{
    Complete, Events, Key, PodInfo, Queue, Shared, Store, claim_pods_if, selector, work,
};
use crate::statuses::write_status;
use act::Round;
use plan::{Revisions, plan, status};
use wishes::{Wishes, revision};

const WORKERS: usize = 5;
/// Label of a revision.
const HASH: &str = "controller.kubernetes.io/hash";

struct Context {
    client: Client,
    sets: Store<StatefulSet>,
    pods: Store<PodInfo>,
    claims: Store<PersistentVolumeClaim>,
    revisions: Store<ControllerRevision>,
    queue: Queue,
    events: Events,
}

/// Runs StatefulSets until the shutdown.
pub async fn run(shared: Shared) {
    let context = Arc::new(Context {
        client: shared.client().clone(),
        sets: shared.store(),
        pods: shared.store(),
        claims: shared.store(),
        revisions: shared.store(),
        queue: Queue::default(),
        events: shared.events("statefulset-controller"),
    });
    listen(&context);
    let caches: [&dyn Complete; 4] = [
        &context.sets,
        &context.pods,
        &context.claims,
        &context.revisions,
    ];
    work(&shared, &context.queue, &caches, WORKERS, |key| {
        reconcile(&context, key)
    })
    .await;
}

fn listen(context: &Arc<Context>) {
    let (queue, sets) = (&context.queue, &context.sets);
    sets.feed(queue, |set| Some(Key::of(set)));
    context.pods.subscribe({
        let (queue, sets) = (queue.clone(), sets.clone());
        move |old: Option<&PodInfo>, new| {
            for pod in [old, new].into_iter().flatten() {
                for key in interested(&sets, pod) {
                    queue.add(key);
                }
            }
        }
    });
    // A pod may wait for a claim of its predecessor to go.
    context.claims.subscribe({
        let (queue, sets) = (queue.clone(), sets.clone());
        move |old: Option<&PersistentVolumeClaim>, new| {
            let Some(claim) = old.filter(|_| new.is_none()) else {
                return;
            };
            let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            for set in sets.in_namespace(namespace) {
                let mut templates = storage::templates(&set).iter();
                let is_its = templates.any(|template| {
                    let template = template.metadata.name.as_deref().unwrap_or_default();
                    let set = set.metadata.name.as_deref().unwrap_or_default();
                    name.starts_with(&format!("{template}-{set}-"))
                });
                if is_its {
                    queue.add(Key::of(&*set));
                }
            }
        }
    });
}

/// The sets to which a pod matters: its own, or those that may adopt it.
fn interested(sets: &Store<StatefulSet>, pod: &PodInfo) -> Vec<Key> {
    if let Some(owner) = &pod.controller {
        let mine = pod.owned_by("StatefulSet").is_some();
        return match mine {
            true => vec![Key::new(&pod.namespace, &owner.name)],
            false => vec![],
        };
    }
    let sets = sets.in_namespace(&pod.namespace);
    let adopting = sets.iter().filter(|set| {
        let fits = || wanted(set).is_some_and(|wanted| wanted.matches(&pod.labels));
        Wishes::of(set).ordinal(pod).is_some() && fits()
    });
    adopting.map(|set| Key::of(&**set)).collect()
}

fn wanted(set: &StatefulSet) -> Option<LabelSelector> {
    selector(set.spec.as_ref().map(|spec| &spec.selector))
}

async fn reconcile(context: &Context, key: Key) -> Result<(), Error> {
    let Some(set) = context.sets.get(&key.namespace, &key.name) else {
        return Ok(());
    };
    let Some(wanted) = wanted(&set) else {
        return Ok(());
    };
    let history = History {
        client: &context.client,
        store: &context.revisions,
        label: HASH,
    };
    let all = history.of(&*set, &wanted).await?;
    let before = set.status.clone().unwrap_or_default();
    let mut collisions = before.collision_count.unwrap_or(0);
    let update = newest(&history, &set, &all, &mut collisions).await?;
    let named = before.current_revision.as_deref();
    let current = all.iter().find(|r| Some(history::name(r)) == named);
    let current = Arc::clone(current.unwrap_or(&update));
    let names = Revisions {
        current: history::name(&current),
        update: history::name(&update),
    };

    let wishes = Wishes::of(&set);
    let suits = |pod: &PodInfo| wishes.ordinal(pod).is_some();
    let pods = claim_pods_if(&context.client, &context.pods, &*set, &wanted, suits).await;
    let pods = pods.map_err(|source| Error::Write {
        what: format!("pods of stateful set {key}"),
        source,
    })?;
    let plan = plan(&set, &pods, names, Timestamp::now());
    let round = Round {
        context,
        set: &set,
        current: &current,
        update: &update,
    };
    let acted = round.act(plan.steps, wishes.ordered).await;

    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let pods = context.pods.owned(uid);
    let after = status(&set, &pods, names, collisions, Timestamp::now());
    write_status(&context.client, &context.sets, &*set, &before, &after).await?;
    let mut live: HashSet<&str> = pods.iter().map(|pod| revision(pod)).collect();
    live.extend([names.current, names.update]);
    let mut all = context.revisions.owned(uid);
    history::sort(&mut all);
    let limit = set
        .spec
        .as_ref()
        .and_then(|spec| spec.revision_history_limit);
    let surplus = history::beyond(&all, limit, |r| live.contains(history::name(r)));
    history.prune(surplus).await?;
    if let Some(seconds) = plan.again.and_then(|seconds| u64::try_from(seconds).ok()) {
        context.queue.add_after(key, Duration::from_secs(seconds));
    }
    acted
}

/// The revision of the set as it is now, made or renumbered if it is not the last.
async fn newest(
    history: &History<'_>,
    set: &StatefulSet,
    all: &[Arc<ControllerRevision>],
    collisions: &mut i32,
) -> Result<Arc<ControllerRevision>, Error> {
    let empty = Default::default();
    let template = set.spec.as_ref().map_or(&empty, |spec| &spec.template);
    let state = history::state_of(template)?;
    let number = all.last().map_or(1, |last| last.revision + 1);
    let equal = all.iter().rposition(|r| history::holds(r, &state));
    match equal {
        Some(at) if at + 1 == all.len() => Ok(Arc::clone(&all[at])),
        Some(at) => history.renumber(&all[at], number).await,
        None => history.keep(set, template, number, collisions).await,
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}
