//! The world: every object in memory at one revision, kept by following the store.
//!
//! ```text
//!   store ──watch──▶ follow() ──▶ objects (by kind, namespace, name)
//!                          └────▶ Hub (window of changes, indexed watchers)
//! ```
//! Writers go to the store and then wait here until their revision has arrived, so a
//! client always reads its own writes.

mod announced;
mod change;
mod hub;
mod named;
mod past;
mod shared;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak};

use bytes::Bytes;
use cadet_api::resource::Resource;
use cadet_store::{Revision, RevisionError, Store, WatchEnd};
use tokio::sync::{Notify, oneshot};

pub use change::{Change, What, line_of};
pub use hub::{Scope, Subscription};

use crate::kept::Parts;
use crate::kinds::Kinds;
use crate::object::{BadRecord, Object, prefix_of};
use announced::{Announced, Announcement};
use hub::Hub;
use named::Named;

/// Where definitions of custom kinds lie.
const DEFINITIONS: &str = "/customresourcedefinitions.apiextensions.k8s.io/";

/// What keys of roles and bindings hold: their group.
const RULES: &str = ".rbac.authorization.k8s.io/";

/// What keys of webhook configurations hold: their group.
const HOOKS: &str = ".admissionregistration.k8s.io/";

/// The objects of a kind by namespace ("" at cluster scope) and name, found without a copy of
/// either.
type Placed = BTreeMap<String, BTreeSet<Named>>;

/// Objects of a kind at one revision, in order of namespace and name.
#[derive(Debug)]
pub struct Listing {
    pub revision: Revision,
    pub objects: Vec<Arc<Object>>,
}

struct State {
    revision: Revision,
    kinds: HashMap<KindKey, Placed>,
    hub: Hub,
}

/// See the module's opening.
pub struct World {
    store: Arc<dyn Store>,
    state: RwLock<State>,
    /// Who waits for which revision to arrive. Each is woken once, at its own: with one
    /// signal for all, a hundred writers would wake each other for every change.
    waiting: Mutex<BTreeMap<Revision, Vec<oneshot::Sender<()>>>>,
    /// Goes up with every change of a role or binding.
    rules_changed: AtomicU64,
    /// Goes up with every change of a webhook configuration.
    hooks_changed: AtomicU64,
    kinds: Kinds,
    announced: Announced,
    /// Told of every change.
    arrived: Notify,
}

/// Group and plural of a stored kind.
type KindKey = (&'static str, &'static str);

fn kind_key(resource: &'static Resource) -> KindKey {
    let stored = resource.stored_as();
    (stored.gv.group, stored.plural)
}

impl World {
    /// Takes in everything the store has. `window` is how many changes a watch may resume
    /// over, `buffer` how many it may fall behind.
    pub fn load(store: Arc<dyn Store>, window: usize, buffer: usize) -> Result<World, BadRecord> {
        let listing = store.list("/", None).map_err(|e| BadRecord {
            key: "/".into(),
            reason: e.to_string(),
        })?;
        let mut state = State {
            revision: listing.revision,
            kinds: HashMap::new(),
            hub: Hub::new(listing.revision, window, buffer),
        };
        let kinds = Kinds::default();
        // Definitions first: the objects they define cannot be read without them.
        for entry in &listing.entries {
            if entry.key.starts_with(DEFINITIONS) {
                kinds.define(&Object::from_entry(entry, &kinds)?.value());
            }
        }
        for entry in &listing.entries {
            state.put(Arc::new(Object::from_entry(entry, &kinds)?));
        }
        Ok(World {
            store,
            state: RwLock::new(state),
            waiting: Mutex::default(),
            rules_changed: AtomicU64::new(0),
            hooks_changed: AtomicU64::new(0),
            kinds,
            announced: Announced::default(),
            arrived: Notify::new(),
        })
    }

    /// Says what the writer of `bytes` knows of them, so that they need not be read again
    /// when they come back from the store. Keep what is returned until then.
    pub fn announce(&self, bytes: &Bytes, parts: Option<Parts>) -> Option<Announcement<'_>> {
        Some(self.announced.put(bytes, parts?))
    }

    /// Follows the store until it closes, which it does when the world is dropped; begins
    /// anew if the store had to. Run once, by the server.
    pub async fn follow(world: Weak<World>) {
        while let Some(now) = world.upgrade() {
            let watch = now.store.watch(now.revision());
            drop(now);
            let mut events = match watch {
                Ok(events) => events,
                Err(error) => {
                    tracing::warn!(%error, "changes of the store were missed");
                    if let Some(world) = world.upgrade() {
                        world.reload();
                    }
                    continue;
                }
            };
            loop {
                match (events.next().await, world.upgrade()) {
                    (Ok(event), Some(world)) => world.take(&event),
                    // The store keeps a longer window than its buffer: take it up again.
                    (Err(WatchEnd::Lagged { .. } | WatchEnd::Closed), Some(_)) => break,
                    (_, None) => return,
                }
            }
        }
    }

    fn take(&self, event: &cadet_store::Event) {
        let read = |entry: &Option<cadet_store::Entry>| {
            entry
                .as_ref()
                .and_then(|entry| match self.announced.read(entry, &self.kinds) {
                    Ok(object) => Some(Arc::new(object)),
                    Err(error) => {
                        tracing::error!(%error, "a record is left out");
                        None
                    }
                })
        };
        let current = read(&event.current);
        if event.key().starts_with(DEFINITIONS) {
            match (&current, &event.previous) {
                (Some(object), _) => self.kinds.define(&object.value()),
                (None, Some(gone)) => {
                    let name = gone.key.strip_prefix(DEFINITIONS);
                    self.kinds.forget(name.unwrap_or_default());
                }
                (None, None) => {}
            }
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let previous = match (&current, &event.previous) {
            (Some(object), _) => state.put(Arc::clone(object)),
            (None, Some(_)) => read(&event.previous).and_then(|object| state.remove(&object)),
            (None, None) => None,
        };
        state.revision = event.revision;
        if current.is_some() || previous.is_some() {
            state
                .hub
                .publish(Arc::new(Change::new(event.revision, current, previous)));
        } else {
            state.hub.skip(event.revision);
        }
        // Before anybody can see the revision: who has waited for it decides by what it brought.
        if event.key().contains(RULES) {
            self.rules_changed.fetch_add(1, Ordering::Release);
        }
        if event.key().contains(HOOKS) {
            self.hooks_changed.fetch_add(1, Ordering::Release);
        }
        drop(state);
        self.wake(event.revision);
        self.arrived.notify_waiters();
    }

    /// What this server serves.
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// A number that goes up with every change of a role or binding.
    pub fn rules_changed(&self) -> &AtomicU64 {
        &self.rules_changed
    }

    /// A number that goes up with every change of a webhook configuration.
    pub fn hooks_changed(&self) -> &AtomicU64 {
        &self.hooks_changed
    }

    fn wake(&self, reached: Revision) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(first) = waiting.first_entry().filter(|e| *e.key() <= reached) {
            for waiter in first.remove() {
                // A writer that has gone away waits no more.
                let _ = waiter.send(());
            }
        }
    }

    /// Waits until `revision` can be read here.
    pub async fn reach(&self, revision: Revision) {
        let arrival = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            // Looked at under the lock, which `wake` takes after it has moved on.
            if self.revision() >= revision {
                return;
            }
            let (waiter, arrival) = oneshot::channel();
            waiting.entry(revision).or_default().push(waiter);
            arrival
        };
        // The sender lives in `self`, so waiting cannot fail.
        let _ = arrival.await;
    }

    pub fn revision(&self) -> Revision {
        self.read().revision
    }

    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    pub fn get(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Object>> {
        let namespace = if resource.namespaced { namespace } else { "" };
        let state = self.read();
        let named = state.kind(resource)?.get(namespace)?.get(name)?;
        Some(Arc::clone(&named.0))
    }

    /// All objects of a kind, in one namespace or in all, now.
    pub fn list(&self, resource: &'static Resource, namespace: Option<&str>) -> Listing {
        let state = self.read();
        let objects = state.kind(resource).map(|kind| match namespace {
            Some(namespace) if resource.namespaced => {
                let named = kind.get(namespace).into_iter();
                named.flatten().map(|named| Arc::clone(&named.0)).collect()
            }
            _ => all(kind).map(Arc::clone).collect(),
        });
        Listing {
            revision: state.revision,
            objects: objects.unwrap_or_default(),
        }
    }

    /// As [`World::list`], at an earlier revision, as long as the store remembers it.
    pub fn list_at(
        &self,
        resource: &'static Resource,
        namespace: Option<&str>,
        revision: Revision,
    ) -> Result<Listing, RevisionError> {
        let now = self.list(resource, namespace);
        if now.revision == revision {
            return Ok(now);
        }
        let listing = self
            .store
            .list(&prefix_of(resource, namespace), Some(revision))?;
        let objects = listing
            .entries
            .iter()
            .filter_map(|entry| Object::from_entry(entry, &self.kinds).ok().map(Arc::new))
            .collect();
        Ok(Listing { revision, objects })
    }

    /// Whether any object says that the one with this uid owns it.
    pub fn is_owner(&self, uid: &str) -> bool {
        let state = self.read();
        state.kinds.values().flat_map(all).any(|o| {
            let mut owners = o.owner_references().iter();
            owners.any(|owner| owner.uid == uid)
        })
    }

    /// How many objects of each kind there are: (plural, number).
    pub fn counts(&self) -> Vec<(&'static str, usize)> {
        let state = self.read();
        let kinds = state.kinds.iter();
        let mut counts: Vec<_> = kinds
            .map(|(key, kind)| (key.1, kind.values().map(BTreeSet::len).sum::<usize>()))
            .collect();
        counts.sort_unstable();
        counts
    }

    /// Watches a scope from `from` on (exclusive), or from now together with a listing.
    pub fn watch(
        &self,
        scope: Scope,
        from: Option<Revision>,
    ) -> Result<Subscription, RevisionError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let from = from.unwrap_or(state.revision);
        state.hub.subscribe(scope, from)
    }

    /// A listing and the changes after it, without a gap between them.
    pub fn list_and_watch(
        &self,
        resource: &'static Resource,
        namespace: Option<&str>,
        scope: Scope,
    ) -> Result<(Listing, Subscription), RevisionError> {
        let subscription = self.watch(scope, None)?;
        // The listing may already hold changes that the subscription will bring as well;
        // the reader drops those by their revision.
        Ok((self.list(resource, namespace), subscription))
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // No writer leaves the state half-changed, so a poisoned lock is still sound.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All objects of a kind, in order of namespace and name.
fn all(kind: &Placed) -> impl Iterator<Item = &Arc<Object>> {
    kind.values().flatten().map(|named| &named.0)
}

impl State {
    fn kind(&self, resource: &'static Resource) -> Option<&Placed> {
        self.kinds.get(&kind_key(resource))
    }

    fn put(&mut self, object: Arc<Object>) -> Option<Arc<Object>> {
        let kind = self.kinds.entry(kind_key(object.resource)).or_default();
        match kind.get_mut(object.namespace()) {
            Some(named) => named.replace(Named(object)).map(|before| before.0),
            None => {
                let namespace = object.namespace().to_owned();
                kind.insert(namespace, BTreeSet::from([Named(object)]));
                None
            }
        }
    }

    fn remove(&mut self, object: &Object) -> Option<Arc<Object>> {
        let kind = self.kinds.get_mut(&kind_key(object.resource))?;
        // What is made late in an object is no part of its name, by which it lies here.
        #[allow(clippy::mutable_key_type)]
        let named = kind.get_mut(object.namespace())?;
        let removed = named.take(object.name()).map(|gone| gone.0);
        if named.is_empty() {
            kind.remove(object.namespace());
        }
        removed
    }
}
