//! The cache of one kind: by name, by owner, by node, never older than what was written here.
//!
//! Every object carries its version, the cache the version up to which the watch has been
//! heard. News older than what is kept is dropped; a write's answer that the watch has
//! overtaken is dropped too, so nothing comes back from the dead.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::queue::{Key, Queue};
use super::record::Record;

type Subscriber<R> = Arc<dyn Fn(Option<&R>, Option<&R>) + Send + Sync>;
/// Names within a namespace.
type Named<R> = BTreeMap<Arc<str>, Arc<R>>;
/// What is in a place: with a controller, on a node.
type Index<R> = HashMap<Box<str>, BTreeMap<Key, Arc<R>>>;

/// See the module's opening. Cheap to clone; all clones are one cache.
pub struct Store<R>(Arc<Shared<R>>);

struct Shared<R> {
    world: Mutex<World<R>>,
    subscribers: RwLock<Vec<Subscriber<R>>>,
    complete: watch::Sender<bool>,
}

struct World<R> {
    objects: HashMap<Arc<str>, Named<R>>,
    /// By uid of the controller; what has none is under `/` and its namespace.
    owned: Index<R>,
    placed: Index<R>,
    /// Uids whose deletion was accepted but not yet heard of.
    doomed: HashSet<Box<str>>,
    /// The watch has been heard up to here.
    heard: u64,
}

/// What became of one object: old and new, one of them at least.
type Change<R> = (Option<Arc<R>>, Option<Arc<R>>);

impl<R> Clone for Store<R> {
    fn clone(&self) -> Self {
        Store(Arc::clone(&self.0))
    }
}

impl<R> Default for Store<R> {
    fn default() -> Self {
        Store(Arc::new(Shared {
            world: Mutex::new(World {
                objects: HashMap::new(),
                owned: HashMap::new(),
                placed: HashMap::new(),
                doomed: HashSet::new(),
                heard: 0,
            }),
            subscribers: RwLock::default(),
            complete: watch::Sender::new(false),
        }))
    }
}

/// A cache that can be waited for.
pub trait Complete: Sync {
    /// Resolves when the first list is in.
    fn complete(&self) -> BoxFuture<'_, ()>;
}

impl<R: Record> Complete for Store<R> {
    fn complete(&self) -> BoxFuture<'_, ()> {
        let mut heard = self.0.complete.subscribe();
        Box::pin(async move {
            // It cannot fail: the sender lives as long as we.
            let _complete = heard.wait_for(|complete| *complete).await.is_ok();
        })
    }
}

impl<R: Record> Store<R> {
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<R>> {
        self.world().objects.get(namespace)?.get(name).cloned()
    }

    /// All in a namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<R>> {
        let world = self.world();
        let named = world.objects.get(namespace);
        named.into_iter().flat_map(Named::values).cloned().collect()
    }

    /// All there are, for kinds of which there are few.
    pub fn all(&self) -> Vec<Arc<R>> {
        let world = self.world();
        world
            .objects
            .values()
            .flat_map(Named::values)
            .cloned()
            .collect()
    }

    /// Those whose controller has this uid.
    pub fn owned(&self, uid: &str) -> Vec<Arc<R>> {
        let world = self.world();
        all(&world.owned, uid)
    }

    /// Those in a namespace that nobody controls.
    pub fn orphans(&self, namespace: &str) -> Vec<Arc<R>> {
        let world = self.world();
        all(&world.owned, &orphanage(namespace))
    }

    /// Those on a node.
    pub fn on_node(&self, node: &str) -> Vec<Arc<R>> {
        let world = self.world();
        all(&world.placed, node)
    }

    /// Calls `f` with old and new of every change from now on, and at once with all there is
    /// as new. It must be quick, and not write to this cache.
    pub fn subscribe(&self, f: impl Fn(Option<&R>, Option<&R>) + Send + Sync + 'static) {
        let f: Subscriber<R> = Arc::new(f);
        let mut subscribers = self
            .0
            .subscribers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        subscribers.push(Arc::clone(&f));
        drop(subscribers);
        for object in self.all() {
            f(None, Some(&object));
        }
    }

    /// Adds what `key` says of every changed object to the queue.
    pub fn feed(&self, queue: &Queue, key: impl Fn(&R) -> Option<Key> + Send + Sync + 'static) {
        let queue = queue.clone();
        self.subscribe(move |old, new| {
            for key in [old, new].into_iter().flatten().filter_map(&key) {
                queue.add(key);
            }
        });
    }

    /// Takes in the answer of a create, update or patch of ours.
    pub fn written(&self, object: R) {
        let change = {
            let mut world = self.world();
            if object.meta().version <= world.heard {
                return;
            }
            world.put(object)
        };
        self.tell(change);
    }

    /// Takes in that a deletion of ours was accepted, or that the object was found gone.
    pub fn deleted(&self, namespace: &str, name: &str, uid: &str) {
        let change = {
            let mut world = self.world();
            let kept = world
                .objects
                .get(namespace)
                .and_then(|named| named.get(name))
                .cloned();
            match kept {
                Some(kept) if kept.meta().uid == uid && !kept.is_deleting() => {
                    world.doomed.insert(uid.into());
                    let doomed = kept.deleting();
                    world.swap(Some(kept), Some(Arc::new(doomed)))
                }
                _ => return,
            }
        };
        self.tell(Some(change));
    }

    /// The watch says it was added or changed.
    pub(super) fn heard(&self, object: R) {
        let change = {
            let mut world = self.world();
            world.heard = world.heard.max(object.meta().version);
            world.put(object)
        };
        self.tell(change);
    }

    /// The watch says it is gone.
    pub(super) fn heard_end(&self, object: &R) {
        let meta = object.meta();
        let change = {
            let mut world = self.world();
            world.heard = world.heard.max(meta.version);
            world.doomed.remove(meta.uid);
            let named = world.objects.get(meta.namespace);
            match named.and_then(|named| named.get(meta.name)).cloned() {
                Some(kept) if kept.meta().uid == meta.uid => world.swap(Some(kept), None),
                _ => return,
            }
        };
        self.tell(Some(change));
    }

    /// The watch says that it has nothing older than this to tell.
    pub(super) fn heard_up_to(&self, version: u64) {
        let mut world = self.world();
        world.heard = world.heard.max(version);
    }

    /// A list as of `version` has come in whole.
    pub(super) fn heard_all(&self, objects: Vec<R>, version: u64) {
        let changes: Vec<Change<R>> = {
            let mut world = self.world();
            let listed: HashSet<&str> = objects.iter().map(|o| o.meta().uid).collect();
            let gone: Vec<Arc<R>> = (world.objects.values().flat_map(Named::values))
                .filter(|o| o.meta().version <= version && !listed.contains(o.meta().uid))
                .cloned()
                .collect();
            world.doomed.retain(|uid| listed.contains(&**uid));
            world.heard = world.heard.max(version);
            let gone = gone.into_iter().map(|old| world.swap(Some(old), None));
            let mut changes: Vec<_> = gone.collect();
            changes.extend(objects.into_iter().filter_map(|object| world.put(object)));
            changes
        };
        for change in changes {
            self.tell(Some(change));
        }
        self.0.complete.send_replace(true);
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World<R>> {
        super::lock(&self.0.world)
    }

    fn tell(&self, change: Option<Change<R>>) {
        let Some((old, new)) = change else { return };
        let subscribers = self
            .0
            .subscribers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        for f in subscribers.iter() {
            f(old.as_deref(), new.as_deref());
        }
    }
}

impl<R: Record> World<R> {
    /// Keeps the object unless something newer of that name is there.
    fn put(&mut self, object: R) -> Option<Change<R>> {
        let meta = object.meta();
        let named = self.objects.get(meta.namespace);
        let old = named.and_then(|named| named.get(meta.name)).cloned();
        if old
            .as_ref()
            .is_some_and(|old| old.meta().version >= meta.version)
        {
            return None;
        }
        let object = match object.is_deleting() {
            true => {
                self.doomed.remove(object.meta().uid);
                object
            }
            // Sent before our deletion: that still holds.
            false if self.doomed.contains(meta.uid) => object.deleting(),
            false => object,
        };
        Some(self.swap(old, Some(Arc::new(object))))
    }

    /// Replaces `old`, which is what is kept, by `new` of the same name, in all indexes.
    fn swap(&mut self, old: Option<Arc<R>>, new: Option<Arc<R>>) -> Change<R> {
        let Some(key) = new.as_ref().or(old.as_ref()).map(|object| self.key(object)) else {
            return (old, new);
        };
        if let Some(old) = &old {
            let (owner, node) = places(&**old);
            withdraw(&mut self.owned, &owner, &key);
            withdraw(&mut self.placed, node, &key);
        }
        let named = self.objects.entry(Arc::clone(&key.namespace)).or_default();
        let Some(new) = new else {
            named.remove(&key.name);
            if named.is_empty() {
                self.objects.remove(&key.namespace);
            }
            return (old, None);
        };
        named.insert(Arc::clone(&key.name), Arc::clone(&new));
        let (owner, node) = places(&*new);
        if !node.is_empty() {
            enter(&mut self.placed, node, key.clone(), &new);
        }
        enter(&mut self.owned, &owner, key, &new);
        (old, Some(new))
    }

    /// The key of an object, sharing the letters of names already kept.
    fn key(&self, object: &R) -> Key {
        let meta = object.meta();
        let Some((namespace, named)) = self.objects.get_key_value(meta.namespace) else {
            return key_of(object);
        };
        let name = named
            .get_key_value(meta.name)
            .map(|(name, _)| Arc::clone(name));
        Key {
            namespace: Arc::clone(namespace),
            name: name.unwrap_or_else(|| meta.name.into()),
        }
    }
}

fn key_of<R: Record>(object: &R) -> Key {
    let meta = object.meta();
    Key::new(meta.namespace, meta.name)
}

/// Where what nobody controls is indexed; no uid looks like that.
fn orphanage(namespace: &str) -> String {
    format!("/{namespace}")
}

/// Where an object is indexed: by its controller, or among the orphans, and by its node.
fn places<R: Record>(object: &R) -> (Cow<'_, str>, &str) {
    let meta = object.meta();
    let owner = match meta.controller {
        Some(uid) => Cow::Borrowed(uid),
        None => Cow::Owned(orphanage(meta.namespace)),
    };
    (owner, object.node())
}

fn all<R>(index: &Index<R>, place: &str) -> Vec<Arc<R>> {
    let found = index.get(place).into_iter();
    found.flat_map(BTreeMap::values).cloned().collect()
}

fn enter<R>(index: &mut Index<R>, place: &str, key: Key, object: &Arc<R>) {
    let object = Arc::clone(object);
    match index.get_mut(place) {
        Some(here) => {
            here.insert(key, object);
        }
        None => {
            index.insert(place.into(), BTreeMap::from([(key, object)]));
        }
    }
}

fn withdraw<R>(index: &mut Index<R>, place: &str, key: &Key) {
    if let Some(here) = index.get_mut(place) {
        here.remove(key);
        if here.is_empty() {
            index.remove(place);
        }
    }
}
