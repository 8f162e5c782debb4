//! Who hears of which change: a window of recent changes and an index of watchers.
//!
//! Each watcher stands in exactly one place of the index, the narrowest its request
//! allows, so a change costs only those who may care. Queues are bounded; a watcher
//! that does not keep up is cut and must list again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use cadet_api::resource::Resource;
use cadet_store::{Revision, RevisionError};
use tokio::sync::mpsc;

use super::change::Change;
use crate::object::Object;

/// So many of the newest changes keep their encodings: what a queue of watchers that keep
/// up can lag behind.
const FRESH: usize = 256;

/// Most bytes the window keeps alive that nothing else does: a few large objects written
/// often would otherwise fill the memory with their past.
const PAST: usize = 64 << 20;

/// What a watch asks for, as far as the index can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    kind: super::KindKey,
    place: Where,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Where {
    Everywhere,
    Namespace(String),
    /// Namespace ("" = any) and name.
    Name(String, String),
    /// Pods of a node.
    Node(String),
}

impl Scope {
    /// The narrowest scope: by name, else by node, else by namespace, else the whole kind.
    pub fn new(
        resource: &'static Resource,
        namespace: Option<&str>,
        name: Option<&str>,
        node: Option<&str>,
    ) -> Scope {
        let namespace = namespace.filter(|_| resource.namespaced);
        let place = match (name, node, namespace) {
            (Some(name), _, ns) => Where::Name(ns.unwrap_or("").to_owned(), name.to_owned()),
            (None, Some(node), _) if resource.plural == "pods" && !node.is_empty() => {
                Where::Node(node.to_owned())
            }
            (None, _, Some(ns)) => Where::Namespace(ns.to_owned()),
            (None, _, None) => Where::Everywhere,
        };
        Scope {
            kind: super::kind_key(resource),
            place,
        }
    }

    /// Whether a change is in it.
    fn covers(&self, change: &Change) -> bool {
        let Some(object) = change.current.as_ref().or(change.previous.as_ref()) else {
            return false;
        };
        if super::kind_key(object.resource) != self.kind {
            return false;
        }
        let (namespace, name) = (object.namespace(), object.name());
        match &self.place {
            Where::Everywhere => true,
            Where::Namespace(wanted) => object.resource.namespaced && namespace == wanted,
            Where::Name(inside, wanted) => {
                name == wanted && (inside.is_empty() || namespace == inside)
            }
            Where::Node(wanted) => nodes(change).into_iter().flatten().any(|n| n == wanted),
        }
    }
}

/// The nodes a change of a pod is about: where it is, and where it was before.
fn nodes(change: &Change) -> [Option<&str>; 2] {
    let before = node(change.previous.as_ref());
    let after = node(change.current.as_ref());
    [after, before.filter(|_| before != after)]
}

fn node(side: Option<&Arc<Object>>) -> Option<&str> {
    side?.node()
}

type Sender = mpsc::Sender<Arc<Change>>;

/// Who watches a kind, by the narrowest place each asked for. Found by what stands in the
/// object, without a copy of it.
#[derive(Default)]
struct Watchers {
    everywhere: Vec<Sender>,
    by_namespace: HashMap<String, Vec<Sender>>,
    /// By name, then by namespace ("" = any).
    by_name: HashMap<String, HashMap<String, Vec<Sender>>>,
    by_node: HashMap<String, Vec<Sender>>,
}

impl Watchers {
    fn at(&mut self, place: Where) -> &mut Vec<Sender> {
        match place {
            Where::Everywhere => &mut self.everywhere,
            Where::Namespace(namespace) => self.by_namespace.entry(namespace).or_default(),
            Where::Name(namespace, name) => {
                let named = self.by_name.entry(name).or_default();
                named.entry(namespace).or_default()
            }
            Where::Node(node) => self.by_node.entry(node).or_default(),
        }
    }

    fn is_empty(&self) -> bool {
        self.everywhere.is_empty()
            && self.by_namespace.is_empty()
            && self.by_name.is_empty()
            && self.by_node.is_empty()
    }

    /// Brings a change to all whose place it is in.
    fn tell(&mut self, change: &Arc<Change>, object: &Object) {
        tell(&mut self.everywhere, change);
        let (namespace, name) = (object.namespace(), object.name());
        if object.resource.namespaced {
            tell_at(&mut self.by_namespace, namespace, change);
        }
        if let Some(named) = self.by_name.get_mut(name) {
            tell_at(named, "", change);
            if object.resource.namespaced {
                tell_at(named, namespace, change);
            }
            if named.is_empty() {
                self.by_name.remove(name);
            }
        }
        for node in nodes(change).into_iter().flatten() {
            tell_at(&mut self.by_node, node, change);
        }
    }
}

fn tell_at(watchers: &mut HashMap<String, Vec<Sender>>, place: &str, change: &Arc<Change>) {
    if let Some(there) = watchers.get_mut(place) {
        tell(there, change);
        if there.is_empty() {
            watchers.remove(place);
        }
    }
}

fn tell(watchers: &mut Vec<Sender>, change: &Arc<Change>) {
    // Full: too slow. Closed: gone. Either way it leaves; dropping the sender ends the
    // stream of a slow one.
    watchers.retain(|watcher| watcher.try_send(Arc::clone(change)).is_ok());
}

/// The watcher fell behind and was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut;

/// One watcher's stream of changes.
#[derive(Debug)]
pub struct Subscription {
    backlog: VecDeque<Arc<Change>>,
    live: mpsc::Receiver<Arc<Change>>,
}

impl Subscription {
    /// The next change in scope; waits for one. Safe to drop while waiting.
    pub async fn next(&mut self) -> Result<Arc<Change>, Cut> {
        match self.backlog.pop_front() {
            Some(change) => Ok(change),
            None => self.live.recv().await.ok_or(Cut),
        }
    }

    /// A change that waits already.
    pub fn try_next(&mut self) -> Option<Arc<Change>> {
        self.backlog
            .pop_front()
            .or_else(|| self.live.try_recv().ok())
    }
}

pub(super) struct Hub {
    /// Revision after which the window begins.
    oldest: Revision,
    newest: Revision,
    window: VecDeque<Arc<Change>>,
    /// Bytes of what the changes in the window replaced.
    past: usize,
    capacity: usize,
    buffer: usize,
    watchers: HashMap<super::KindKey, Watchers>,
}

impl Hub {
    pub(super) fn new(revision: Revision, capacity: usize, buffer: usize) -> Hub {
        Hub {
            oldest: revision,
            newest: revision,
            window: VecDeque::new(),
            past: 0,
            capacity: capacity.max(1),
            buffer: buffer.max(1),
            watchers: HashMap::new(),
        }
    }

    /// What it was made with: the window and the room of each watcher.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.capacity, self.buffer)
    }

    pub(super) fn publish(&mut self, change: Arc<Change>) {
        if let Some(object) = change.current.as_ref().or(change.previous.as_ref()) {
            let kind = super::kind_key(object.resource);
            if let Some(watchers) = self.watchers.get_mut(&kind) {
                watchers.tell(&change, object);
                if watchers.is_empty() {
                    self.watchers.remove(&kind);
                }
            }
        }
        self.newest = change.revision;
        self.past += replaced(&change);
        self.window.push_back(change);
        if let Some(at) = self.window.len().checked_sub(FRESH + 1)
            && let Some(aged) = self.window.get(at)
        {
            aged.age();
        }
        while (self.window.len() > self.capacity || self.past > PAST)
            && let Some(gone) = self.window.pop_front()
        {
            self.past -= replaced(&gone);
            self.oldest = gone.revision;
        }
    }

    /// The changes in the window after a revision.
    pub(super) fn after(&self, revision: Revision) -> Vec<Arc<Change>> {
        let known = |change: &Arc<Change>| change.revision <= revision;
        let start = self.window.partition_point(known);
        self.window.range(start..).cloned().collect()
    }

    /// A revision that nobody can see (its record could not be read).
    pub(super) fn skip(&mut self, revision: Revision) {
        self.newest = revision;
    }

    pub(super) fn subscribe(
        &mut self,
        scope: Scope,
        from: Revision,
    ) -> Result<Subscription, RevisionError> {
        if from > self.newest {
            return Err(RevisionError::Future {
                asked: from,
                newest: self.newest,
            });
        }
        if from < self.oldest {
            return Err(RevisionError::TooOld {
                asked: from,
                oldest: self.oldest,
            });
        }
        let start = self
            .window
            .partition_point(|change| change.revision <= from);
        let backlog = self
            .window
            .range(start..)
            .filter(|change| scope.covers(change))
            .cloned()
            .collect();
        let (sender, live) = mpsc::channel(self.buffer);
        let watchers = self.watchers.entry(scope.kind).or_default();
        let watchers = watchers.at(scope.place);
        // Watchers that left are only noticed when something is sent; a quiet scope must
        // not collect them.
        watchers.retain(|watcher| !watcher.is_closed());
        watchers.push(sender);
        Ok(Subscription { backlog, live })
    }
}

/// Bytes of an object that only its last change still holds.
fn replaced(change: &Change) -> usize {
    change.previous.as_ref().map_or(0, |object| object.size())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{key_of, to_stored};
    use cadet_api::resource;
    use cadet_store::Entry;
    use serde_json::json;

    fn pods() -> &'static Resource {
        resource::find("", "v1", "pods").expect("pods")
    }

    fn pod(revision: Revision, namespace: &str, name: &str, node: Option<&str>) -> Arc<Object> {
        let value = json!({"metadata": {"name": name, "namespace": namespace},
            "spec": {"nodeName": node}});
        let entry = Entry {
            key: key_of(pods(), namespace, name).into(),
            value: to_stored(pods(), &value),
            created: 1,
            modified: revision,
        };
        Arc::new(Object::from_entry(&entry, &crate::kinds::Kinds::default()).expect("readable"))
    }

    fn change(
        revision: Revision,
        current: Option<Arc<Object>>,
        previous: Option<Arc<Object>>,
    ) -> Arc<Change> {
        Arc::new(Change::new(revision, current, previous))
    }

    async fn drain(mut subscription: Subscription) -> Vec<Revision> {
        let mut seen = vec![];
        while let Ok(change) = subscription.next().await {
            seen.push(change.revision);
        }
        seen
    }

    /// A pod is born, scheduled, moved and deleted; another appears elsewhere.
    fn story() -> Vec<Arc<Change>> {
        let born = pod(1, "a", "x", None);
        let on_one = pod(2, "a", "x", Some("n1"));
        let on_two = pod(3, "a", "x", Some("n2"));
        vec![
            change(1, Some(born.clone()), None),
            change(2, Some(on_one.clone()), Some(born)),
            change(3, Some(on_two.clone()), Some(on_one)),
            change(4, Some(pod(4, "b", "x", Some("n1"))), None),
            change(5, None, Some(on_two)),
        ]
    }

    #[tokio::test]
    async fn every_scope_hears_its_own_changes_live_and_from_the_window() {
        let expected: Vec<(Scope, Vec<Revision>)> = vec![
            (Scope::new(pods(), None, None, None), vec![1, 2, 3, 4, 5]),
            (Scope::new(pods(), Some("a"), None, None), vec![1, 2, 3, 5]),
            (Scope::new(pods(), Some("b"), None, None), vec![4]),
            (
                Scope::new(pods(), Some("a"), Some("x"), None),
                vec![1, 2, 3, 5],
            ),
            (
                Scope::new(pods(), None, Some("x"), None),
                vec![1, 2, 3, 4, 5],
            ),
            (Scope::new(pods(), None, Some("y"), None), vec![]),
            (Scope::new(pods(), None, None, Some("n1")), vec![2, 3, 4]),
            (Scope::new(pods(), None, None, Some("n2")), vec![3, 5]),
        ];
        let mut hub = Hub::new(0, 100, 100);
        let live: Vec<_> = expected
            .iter()
            .map(|(s, _)| hub.subscribe(s.clone(), 0).expect("now"))
            .collect();
        for change in story() {
            hub.publish(change);
        }
        let late: Vec<_> = expected
            .iter()
            .map(|(s, _)| hub.subscribe(s.clone(), 0).expect("kept"))
            .collect();
        drop(hub);
        for (((scope, want), live), late) in expected.into_iter().zip(live).zip(late) {
            assert_eq!(drain(live).await, want, "live {scope:?}");
            assert_eq!(drain(late).await, want, "late {scope:?}");
        }
    }

    #[tokio::test]
    async fn a_slow_watcher_is_cut_after_what_it_had_room_for() {
        let mut hub = Hub::new(0, 100, 2);
        let slow = hub
            .subscribe(Scope::new(pods(), None, None, None), 0)
            .expect("now");
        for change in story() {
            hub.publish(change);
        }
        assert_eq!(drain(slow).await, [1, 2]);
        assert!(hub.watchers.is_empty());
    }

    #[test]
    fn the_window_forgets_large_objects_sooner() {
        let large = |revision| {
            let value = json!({"metadata": {"name": "x", "namespace": "a",
                "annotations": {"filler": "y".repeat(1 << 20)}}});
            let entry = Entry {
                key: key_of(pods(), "a", "x").into(),
                value: to_stored(pods(), &value),
                created: 1,
                modified: revision,
            };
            let kinds = crate::kinds::Kinds::default();
            Arc::new(Object::from_entry(&entry, &kinds).expect("readable"))
        };
        let mut hub = Hub::new(0, 1_000, 2);
        for revision in 1..=200 {
            let previous = (revision > 1).then(|| large(revision - 1));
            hub.publish(change(revision, Some(large(revision)), previous));
        }
        assert!(
            (60..=64).contains(&hub.window.len()),
            "{}",
            hub.window.len()
        );
        assert_eq!(hub.oldest, 200 - hub.window.len() as u64);
        assert!(hub.past <= PAST);
    }

    #[test]
    fn the_window_forgets_and_says_from_where() {
        let mut hub = Hub::new(0, 3, 2);
        for change in story() {
            hub.publish(change);
        }
        let all = || Scope::new(pods(), None, None, None);
        assert_eq!(
            hub.subscribe(all(), 1).err(),
            Some(RevisionError::TooOld {
                asked: 1,
                oldest: 2
            })
        );
        assert!(hub.subscribe(all(), 2).is_ok());
        assert_eq!(
            hub.subscribe(all(), 6).err(),
            Some(RevisionError::Future {
                asked: 6,
                newest: 5
            })
        );
    }
}
