//! The garbage collector: what is owned goes with its last owner, before it or not at all,
//! as whoever deletes the owner wishes.
//!
//! ```text
//!   every kind ══ watch ══▶ graph ──▶ queue ─┬─ check ──▶ verdict: stay, disown, go
//!                                            │            held for nothing: let it go
//!                                            └─ orphan ─▶ dependents forget it, let it go
//! ```
//! The graph is as old as the watch; nothing is deleted before the object itself has been
//! read again, and an owner counts as gone only if it was asked for and is not there.

mod acts;
mod feeds;
mod graph;
mod kinds;
mod verdict;
mod wire;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;

use graph::{Graph, KindNumber, Place, Uid, Work};
use kinds::Kind;
pub use kinds::{Definition, built_in};
use verdict::{Verdict, verdict};
use wire::{FOREGROUND, ORPHAN, Seen};

use crate::errors::Error;
use crate::shared::{Complete, Events, Key, PodInfo, Queue, Shared, Store, work};
use crate::wire::{get, is_gone, reading};

/// How many objects are looked at at a time; upstream's figure.
const WORKERS: usize = 20;
/// So many owners are remembered as gone; upstream's figure.
const ABSENT: usize = 500;
/// Keys of the queue: what is to be done, then the uid.
const CHECK: &str = "check";
const RELEASE: &str = "orphan";

struct Collector {
    client: Client,
    graph: Mutex<Graph>,
    /// By number; custom kinds are added at the end and stay.
    kinds: Mutex<Vec<Arc<Kind>>>,
    /// Owners that were asked for and are not there.
    absent: Mutex<HashSet<Uid>>,
    queue: Queue,
    events: Events,
    /// How many kinds have still to be listed at the start.
    unlisted: watch::Sender<usize>,
}

/// All kinds of the start have been listed.
struct Listed<'a>(&'a Collector);

impl Complete for Listed<'_> {
    fn complete(&self) -> BoxFuture<'_, ()> {
        let mut unlisted = self.0.unlisted.subscribe();
        Box::pin(async move {
            // It cannot fail: the sender lives as long as we.
            let _listed = unlisted.wait_for(|left| *left == 0).await.is_ok();
        })
    }
}

/// Collects until the shutdown.
pub async fn run(shared: Shared) {
    let kinds: Vec<Arc<Kind>> = built_in().into_iter().map(Arc::new).collect();
    // Pods come from the cache that all share.
    let pods: Store<PodInfo> = shared.store();
    let watched = kinds.iter().filter(|kind| !is_pod(kind)).count();
    let collector = Arc::new(Collector {
        client: shared.client().clone(),
        graph: Mutex::default(),
        kinds: Mutex::new(kinds.clone()),
        absent: Mutex::default(),
        queue: Queue::default(),
        events: shared.events("garbage-collector-controller"),
        unlisted: watch::Sender::new(watched),
    });
    let mut tasks = JoinSet::new();
    for (number, kind) in (0..).zip(&kinds) {
        match is_pod(kind) {
            true => collector.listen_to_pods(&pods, number),
            false => collector.feed(&mut tasks, number, true, shared.shutdown().clone()),
        }
    }
    let caches: [&dyn Complete; 2] = [&pods, &Listed(&collector)];
    let act = |key: Key| {
        let collector = &collector;
        async move {
            let uid = Uid::of(&key.name);
            match &*key.namespace {
                RELEASE => collector.orphan(uid).await,
                _ => collector.check(uid).await,
            }
        }
    };
    tokio::join!(
        work(&shared, &collector.queue, &caches, WORKERS, act),
        feeds::custom(&collector, &shared),
    );
    tasks.shutdown().await;
}

fn is_pod(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "pods"
}

impl Collector {
    fn kind(&self, number: KindNumber) -> Arc<Kind> {
        Arc::clone(&lock(&self.kinds)[usize::from(number)])
    }

    fn ask(&self, todo: Vec<Work>) {
        for work in todo {
            let (act, uid) = match work {
                Work::Check(uid) => (CHECK, uid),
                Work::Orphan(uid) => (RELEASE, uid),
            };
            self.queue.add(Key::new(act, &format!("{:032x}", uid.0)));
        }
    }

    /// Whether an object stays: see the module's opening.
    async fn check(&self, uid: Uid) -> Result<(), Error> {
        let (place, foreground) = {
            let graph = lock(&self.graph);
            let Some(node) = graph.get(uid) else {
                return Ok(());
            };
            if node.foreground {
                let blockers = graph.blockers(uid);
                let held = !blockers.is_empty();
                let idle = |uid: &Uid| graph.get(*uid).is_some_and(|node| !node.deleting);
                let todo = blockers.into_iter().filter(idle).map(Work::Check).collect();
                if held {
                    drop(graph);
                    self.ask(todo);
                    return Ok(());
                }
            } else if node.deleting || graph.is_settled(node) {
                return Ok(());
            }
            (node.place.clone(), node.foreground)
        };
        if foreground {
            return self.release(&place, uid, FOREGROUND).await;
        }
        let Some(object) = self.read(&place, uid).await? else {
            return Ok(());
        };
        if object.is_deleting() {
            return Ok(());
        }
        let mut standings = Vec::new();
        for owner in &object.metadata.owner_references {
            standings.push(self.standing(&place, &object, owner).await?);
        }
        let dependents = lock(&self.graph).dependents(uid);
        match verdict(&object, &standings, !dependents.is_empty()) {
            Verdict::Stay => Ok(()),
            Verdict::Disown(owners) => self.disown(&place, &object, &owners).await,
            Verdict::Follow => {
                let circular = {
                    let graph = lock(&self.graph);
                    let waits = |uid: &Uid| graph.get(*uid).is_some_and(|node| node.foreground);
                    dependents.iter().any(waits)
                };
                // Owners in a circle would wait for each other for ever.
                match circular {
                    true => self.unblock(&place, &object).await,
                    false => self.delete(&place, &object, "Foreground").await,
                }
            }
            Verdict::Go(policy) => self.delete(&place, &object, policy).await,
        }
    }

    /// Lets go of what an object owns, and then of it.
    async fn orphan(&self, uid: Uid) -> Result<(), Error> {
        let (place, dependents) = {
            let graph = lock(&self.graph);
            let Some(node) = graph.get(uid).filter(|node| node.orphaning) else {
                return Ok(());
            };
            let dependents = graph.dependents(uid).into_iter();
            let placed = dependents.filter_map(|uid| Some((uid, graph.get(uid)?.place.clone())));
            (node.place.clone(), placed.collect::<Vec<_>>())
        };
        for (dependent, place) in dependents {
            if let Some(object) = self.read(&place, dependent).await? {
                let owners = object.metadata.owner_references.iter();
                let ours = owners.filter(|owner| Uid::of(&owner.uid) == uid);
                let ours: Vec<String> = ours.map(|owner| owner.uid.clone()).collect();
                self.disown(&place, &object, &ours).await?;
            }
        }
        self.release(&place, uid, ORPHAN).await
    }

    /// The object as it is now; what is gone is forgotten.
    async fn read(&self, place: &Place, uid: Uid) -> Result<Option<Seen>, Error> {
        let path = self.path(place);
        match get::<Seen>(&self.client, &path).await {
            Ok(object) if Uid::of(&object.metadata.uid) == uid => return Ok(Some(object)),
            Ok(_) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(reading(path)(error)),
        }
        let todo = lock(&self.graph).remove(uid);
        self.ask(todo);
        Ok(None)
    }

    fn path(&self, place: &Place) -> String {
        self.kind(place.kind).path_of(&place.namespace, &place.name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Replaced in single steps, so a poisoned lock is still sound.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
