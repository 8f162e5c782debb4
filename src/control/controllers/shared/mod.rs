//! What all controllers of the process share: one cache per kind, queues and events.
//!
//! ```text
//!   API ══ list, watch ══▶ informer ──▶ Store ──▶ subscribers ──▶ Queue ──▶ reconcile(key)
//!    ▲                        (one per kind)  ▲                                   │
//!    │                                        └───── written, deleted ────────────┤
//!    └────────────────────────────── create, update, delete ──────────────────────┘
//! ```
//! **A cache shows what its controllers wrote.** What a write answered is put into the [`Store`]
//! (`written`, `deleted`) at once; older news of the watch does not undo it, so a controller
//! never acts twice on a state that is past, and needs no "expectations".
//!
//! A controller subscribes, waits until its caches are complete, and reconciles keys:
//! ```ignore
//! pub async fn run(shared: Shared) {
//!     let sets = shared.store::<ReplicaSet>();
//!     let pods = shared.store::<PodInfo>();
//!     let queue = Queue::default();
//!     sets.feed(&queue, |set| Some(Key::of(set)));
//!     pods.subscribe({
//!         let (queue, sets) = (queue.clone(), sets.clone());
//!         move |old, new| {
//!             for pod in [old, new].into_iter().flatten() {
//!                 if let Some(owner) = pod.owned_by("ReplicaSet") {
//!                     queue.add(Key::new(&pod.namespace, &owner.name));
//!                 }
//!             }
//!         }
//!     });
//!     let events = shared.events("replicaset-controller");
//!     let caches: [&dyn Complete; 2] = [&sets, &pods];
//!     work(&shared, &queue, &caches, WORKERS, |key| reconcile(&context, key)).await;
//! }
//! ```
//! `reconcile` looks at everything again and takes nothing from the event but the key; an
//! error puts the key back after a growing pause, `queue.add_after` asks for another look.
//! Register it in `lib.rs`. Nothing may write to an object the cache gave out: clone it.

mod claim;
mod events;
mod informer;
mod outside;
mod pod;
mod queue;
mod record;
mod store;
#[cfg(test)]
mod store_tests;
mod template;
mod wire;
mod work;

pub use claim::{
    Claim, adoption, claim_active_pods, claim_pods, claim_pods_if, decide, is_alive, release_of,
};
pub use events::{Events, regarding};
pub use informer::{Sink, follow};
pub use outside::Toleration;
pub use pod::{Exit, Owner, Phase, PodInfo};
pub use queue::{Key, Queue};
pub use record::{Meta, Record, version};
pub use store::{Complete, Store};
pub use template::{controller_ref, pod_of, selector};
pub use wire::{
    Kept, Merge, create, create_pod, delete, delete_pod, difference, is_namespace_ending, patch,
    patch_pod, patch_pod_status, words,
};
pub use work::work;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Caches, client and end of one run of the controllers. Cheap to clone.
#[derive(Clone)]
pub struct Shared(Arc<Inner>);

struct Inner {
    client: Client,
    shutdown: CancellationToken,
    stores: Mutex<HashMap<TypeId, Box<dyn Any + Send + Sync>>>,
    tasks: Mutex<JoinSet<()>>,
    notes: events::Sender,
}

impl Shared {
    /// Starts with empty hands: a kind is watched from when its store is first asked for.
    pub fn new(client: Client, shutdown: CancellationToken) -> Shared {
        let (notes, queue) = events::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(events::deliver(client.clone(), queue, shutdown.clone()));
        Shared(Arc::new(Inner {
            client,
            shutdown,
            stores: Mutex::default(),
            tasks: Mutex::new(tasks),
            notes,
        }))
    }

    pub fn client(&self) -> &Client {
        &self.0.client
    }

    pub fn shutdown(&self) -> &CancellationToken {
        &self.0.shutdown
    }

    /// The cache of all objects of a kind, one for the whole process.
    pub fn store<R: Record>(&self) -> Store<R> {
        let mut stores = lock(&self.0.stores);
        let kept = stores
            .get(&TypeId::of::<R>())
            .and_then(|store| store.downcast_ref::<Store<R>>());
        if let Some(store) = kept {
            return store.clone();
        }
        let store = Store::<R>::default();
        stores.insert(TypeId::of::<R>(), Box::new(store.clone()));
        let (client, shutdown) = (self.0.client.clone(), self.0.shutdown.clone());
        let informer = informer::run(client, store.clone(), shutdown);
        lock(&self.0.tasks).spawn(informer);
        store
    }

    /// Where a controller of this name (`deployment-controller`) tells what it did.
    pub fn events(&self, component: &'static str) -> Events {
        Events::new(component, self.0.notes.clone())
    }

    /// Waits for the informers and the events still to be sent, after the shutdown.
    pub async fn ended(self) {
        let mut tasks = std::mem::take(&mut *lock(&self.0.tasks));
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "an informer failed");
            }
        }
    }
}

/// A lock that outlives a panic elsewhere: what it guards is replaced whole, never half.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
