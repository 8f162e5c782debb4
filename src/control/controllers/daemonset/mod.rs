//! DaemonSets: one pod on every node that suits.
//!
//! ```text
//!   look ─▶ revisions (history.rs) ─▶ needs (place.rs) ─▶ rollout ─▶ status ─▶ prune
//! ```

mod failures;
mod fit;
mod node;
mod place;
mod rollout;
mod status;
mod template;
#[cfg(test)]
mod testing;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cadet_api::selector::LabelSelector;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::jiff::Timestamp;
use kube::Client;

use crate::batches::{all_at_once, slow_start};
use crate::errors::Error;
use crate::history::{self, History};
use crate::shared::{
    Complete, Events, Key, Phase, PodInfo, Queue, Record, Shared, Store, claim_pods, create_pod,
    delete_pod, is_namespace_ending, regarding, selector, words, work,
};
use crate::statuses::write_status;
use failures::Failures;
use node::NodeInfo;
use place::{Pod, Wishes, needs, places, target};
use rollout::rollout;
use status::{next_available, status};
use template::{HASH, on_node};

const WORKERS: usize = 2;
/// Most pods made in one go.
const AT_ONCE: usize = 250;
/// So many pods of a set add a millisecond to the pause after which one of them is looked at,
/// so that a thousand that become ready are not counted a thousand times.
const PODS_PER_MILLISECOND: i32 = 20;
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

struct Context {
    client: Client,
    sets: Store<DaemonSet>,
    nodes: Store<NodeInfo>,
    pods: Store<PodInfo>,
    revisions: Store<ControllerRevision>,
    queue: Queue,
    events: Events,
    /// By uid of the set.
    failures: Mutex<HashMap<String, Failures>>,
}

/// Runs DaemonSets until the shutdown.
pub async fn run(shared: Shared) {
    let context = Arc::new(Context {
        client: shared.client().clone(),
        sets: shared.store(),
        nodes: shared.store(),
        pods: shared.store(),
        revisions: shared.store(),
        queue: Queue::default(),
        events: shared.events("daemonset-controller"),
        failures: Mutex::default(),
    });
    listen(&context);
    let caches: [&dyn Complete; 4] = [
        &context.sets,
        &context.nodes,
        &context.pods,
        &context.revisions,
    ];
    work(&shared, &context.queue, &caches, WORKERS, |key| {
        reconcile(&context, key)
    })
    .await;
}

/// What the caches call holds the context weakly: the caches are part of it.
fn listen(context: &Arc<Context>) {
    context.sets.subscribe({
        let context = Arc::downgrade(context);
        move |old: Option<&DaemonSet>, new| {
            let (Some(context), Some(set)) = (context.upgrade(), new.or(old)) else {
                return;
            };
            context.queue.add(Key::of(set));
            if new.is_none() {
                context.failures().remove(set.meta().uid);
            }
        }
    });
    context.nodes.subscribe({
        let (queue, sets) = (context.queue.clone(), context.sets.clone());
        move |old: Option<&NodeInfo>, new: Option<&NodeInfo>| {
            if let (Some(old), Some(new)) = (old, new)
                && old.is_like(new)
            {
                return;
            }
            for set in sets.all() {
                queue.add(Key::of(&*set));
            }
        }
    });
    context.pods.subscribe({
        let (queue, sets) = (context.queue.clone(), context.sets.clone());
        move |old, new| heard(&queue, &sets, old, new)
    });
}

/// Wakes the sets that a change of a pod concerns.
fn heard(queue: &Queue, sets: &Store<DaemonSet>, old: Option<&PodInfo>, new: Option<&PodInfo>) {
    let lost = old.is_some_and(PodInfo::is_active) && !new.is_some_and(PodInfo::is_active);
    for pod in [old, new].into_iter().flatten() {
        if let Some(owner) = pod.owned_by("DaemonSet") {
            let key = Key::new(&pod.namespace, &owner.name);
            let pause = match sets.get(&pod.namespace, &owner.name) {
                Some(set) if !lost => {
                    let pods = set
                        .status
                        .as_ref()
                        .map_or(0, |s| s.desired_number_scheduled);
                    let pause = u64::try_from(pods / PODS_PER_MILLISECOND).unwrap_or(0);
                    Duration::from_millis(pause).min(LONGEST_PAUSE)
                }
                _ => Duration::ZERO,
            };
            queue.add_after(key, pause);
        } else if pod.controller.is_none() {
            for set in sets.in_namespace(&pod.namespace) {
                if wanted(&set).is_some_and(|wanted| wanted.matches(&pod.labels)) {
                    queue.add(Key::of(&*set));
                }
            }
        }
    }
}

impl Context {
    /// A poisoned lock holds times only.
    fn failures(&self) -> MutexGuard<'_, HashMap<String, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wanted(set: &DaemonSet) -> Option<LabelSelector> {
    selector(set.spec.as_ref().map(|spec| &spec.selector))
}

async fn reconcile(context: &Context, key: Key) -> Result<(), Error> {
    let Some(set) = context.sets.get(&key.namespace, &key.name) else {
        return Ok(());
    };
    let (Some(wanted), false) = (wanted(&set), set.is_deleting()) else {
        return Ok(());
    };
    let uid = set.meta().uid;
    let history = History {
        client: &context.client,
        store: &context.revisions,
        label: HASH,
    };
    let all = history.of(&*set, &wanted).await?;
    let before = set.status.clone().unwrap_or_default();
    let mut collisions = before.collision_count.unwrap_or(0);
    let current = current(&history, &set, &all, &mut collisions).await?;
    let hash = hash_of(&current).to_owned();
    let wishes = Wishes::of(&set, &hash);

    let pods = claim_pods(&context.client, &context.pods, &*set, &wanted).await;
    let pods = pods.map_err(|source| Error::Write {
        what: format!("pods of daemon set {key}"),
        source,
    })?;
    let nodes = context.nodes.all();
    let round = Round {
        context,
        set: &set,
        hash: &hash,
    };
    let acted = round.fill(&wishes, &nodes, &pods).await;
    let acted = match acted {
        Ok(()) if wishes.rolls() => {
            // The cache shows what was just done.
            let pods = context.pods.owned(uid);
            let places = places(&wishes, &nodes, &pods);
            let rollout = rollout(&wishes, &places, Timestamp::now());
            round.act(&rollout.create, &rollout.delete).await
        }
        other => other,
    };

    let (pods, now) = (context.pods.owned(uid), Timestamp::now());
    let places = places(&wishes, &nodes, &pods);
    let after = status(&set, &wishes, &places, collisions, now);
    write_status(&context.client, &context.sets, &*set, &before, &after).await?;
    let seconds = next_available(&wishes, &places, now);
    if let Some(seconds) = seconds.and_then(|seconds| u64::try_from(seconds).ok()) {
        context.queue.add_after(key, Duration::from_secs(seconds));
    }
    prune(&history, &set, &all, &current, &pods).await?;
    acted
}

/// The revision of the set as it is now, made or renumbered if it is not the last.
async fn current(
    history: &History<'_>,
    set: &DaemonSet,
    all: &[Arc<ControllerRevision>],
    collisions: &mut i32,
) -> Result<Arc<ControllerRevision>, Error> {
    let empty = Default::default();
    let template = set.spec.as_ref().map_or(&empty, |spec| &spec.template);
    let state = history::state_of(template)?;
    let found = all.iter().rfind(|r| history::holds(r, &state));
    let others = all.iter().filter(|r| !history::holds(r, &state));
    let number = others.map(|r| r.revision).max().unwrap_or(0) + 1;
    match found {
        Some(found) if found.revision >= number => Ok(Arc::clone(found)),
        Some(found) => history.renumber(found, number).await,
        None => history.keep(set, template, number, collisions).await,
    }
}

fn hash_of(revision: &ControllerRevision) -> &str {
    let labels = revision.metadata.labels.as_ref();
    let hash = labels.and_then(|labels| labels.get(HASH));
    hash.map_or_else(|| history::name(revision), String::as_str)
}

/// Deletes what is older than the set wants to remember and no pod is of.
async fn prune(
    history: &History<'_>,
    set: &DaemonSet,
    all: &[Arc<ControllerRevision>],
    current: &ControllerRevision,
    pods: &[Pod],
) -> Result<(), Error> {
    let live: HashSet<&str> = pods
        .iter()
        .filter_map(|pod| pod.labels.get(HASH).map(String::as_str))
        .collect();
    let limit = set
        .spec
        .as_ref()
        .and_then(|spec| spec.revision_history_limit);
    let limit = limit
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(10);
    let is_current = |r: &ControllerRevision| r.metadata.uid == current.metadata.uid;
    let old: Vec<_> = all.iter().filter(|r| !is_current(r)).cloned().collect();
    let surplus = old.len().saturating_sub(limit);
    let dead = old.into_iter().filter(|r| !live.contains(hash_of(r)));
    history.prune(dead.take(surplus).collect()).await
}

fn count<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}

/// One look at one set.
struct Round<'a> {
    context: &'a Context,
    set: &'a DaemonSet,
    hash: &'a str,
}

impl Round<'_> {
    /// Gives every node its pod and takes away what is too much.
    async fn fill(
        &self,
        wishes: &Wishes<'_>,
        nodes: &[Arc<NodeInfo>],
        pods: &[Pod],
    ) -> Result<(), Error> {
        let now = Timestamp::now();
        let uid = self.set.meta().uid;
        let failures = self.context.failures().get(uid).cloned();
        let places = places(wishes, nodes, pods);
        let needs = needs(wishes, &places, pods, &failures.unwrap_or_default(), now);
        if let Some(again) = needs.again {
            self.context.queue.add_after(Key::of(self.set), again);
        }
        for pod in &needs.ended {
            self.tell_end(pod);
            if pod.phase == Phase::Failed {
                let mut failures = self.context.failures();
                let failures = failures.entry(uid.to_owned()).or_default();
                failures.add(target(pod), now);
            }
        }
        self.act(&needs.create, &needs.delete).await
    }

    fn tell_end(&self, pod: &PodInfo) {
        let about = regarding(self.set);
        let (space, name, node) = (&pod.namespace, &pod.name, target(pod));
        if pod.phase == Phase::Failed {
            let message = format!(
                "Found failed daemon pod {space}/{name} on node {node}, will try to kill it"
            );
            self.context
                .events
                .warning(about, "FailedDaemonPod", message);
        } else {
            let message = format!(
                "Found succeeded daemon pod {space}/{name} on node {node}, will try to delete it"
            );
            self.context
                .events
                .normal(about, "SucceededDaemonPod", message);
        }
    }

    async fn act(&self, create: &[&str], delete: &[&Pod]) -> Result<(), Error> {
        let pod = template::pod(self.set, self.hash).map_err(|error| Error::Write {
            what: "a pod's template".to_owned(),
            source: kube::Error::SerdeError(error),
        })?;
        let now: Vec<&str> = create.iter().take(AT_ONCE).copied().collect();
        if now.len() < create.len() {
            self.context.queue.add(Key::of(self.set));
        }
        let made = slow_start(now, |node| {
            self.make(on_node(pod.clone(), node).to_string())
        })
        .await;
        let removed = all_at_once(delete.to_vec(), |pod| self.remove(pod)).await;
        made.and(removed)
    }

    async fn make(&self, body: String) -> Result<(), Error> {
        let (client, pods) = (&self.context.client, &self.context.pods);
        let about = regarding(self.set);
        match create_pod(client, pods, self.set.meta().namespace, body.as_bytes()).await {
            Ok(pod) => {
                let message = format!("Created pod: {}", pod.name);
                self.context
                    .events
                    .normal(about, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) if is_namespace_ending(&error) => Ok(()),
            Err(source) => {
                let message = format!("Error creating: {}", words(&source));
                self.context.events.warning(about, "FailedCreate", message);
                let what = format!("a pod of daemon set {}", Key::of(self.set));
                Err(Error::Write { what, source })
            }
        }
    }

    async fn remove(&self, pod: &PodInfo) -> Result<(), Error> {
        let about = regarding(self.set);
        match delete_pod(&self.context.client, &self.context.pods, pod).await {
            Ok(()) => {
                let message = format!("Deleted pod: {}", pod.name);
                self.context
                    .events
                    .normal(about, "SuccessfulDelete", message);
                Ok(())
            }
            Err(source) => {
                let message = format!("Error deleting: {}", words(&source));
                self.context.events.warning(about, "FailedDelete", message);
                let what = format!("pod {}/{}", pod.namespace, pod.name);
                Err(Error::Delete { what, source })
            }
        }
    }
}
