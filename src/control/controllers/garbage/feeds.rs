//! What the graph hears: every kind of the table, custom kinds as their definitions come and
//! go, and pods from the cache that all share.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::graph::{Facts, KindNumber, Uid};
use super::kinds::{Definition, Kind};
use super::wire::{FOREGROUND, ORPHAN, Seen};
use super::{Collector, lock};
use crate::shared::{PodInfo, Shared, Sink, Store, follow, version};

/// One kind's news for the graph.
struct Feed {
    collector: Arc<Collector>,
    kind: KindNumber,
    /// The start waits for its first list.
    awaited: AtomicBool,
}

impl Sink for Feed {
    type Wire = Seen;
    type Kept = Seen;

    fn keep(wire: Seen) -> Seen {
        wire
    }

    fn all(&self, objects: Vec<Seen>, _: u64) {
        let listed: BTreeSet<Uid> = objects.iter().map(|o| Uid::of(&o.metadata.uid)).collect();
        let mut todo = Vec::new();
        {
            let mut graph = lock(&self.collector.graph);
            for object in &objects {
                todo.extend(graph.put(self.kind, facts_of(object)));
            }
            todo.extend(graph.keep_only(self.kind, &listed));
        }
        self.collector.ask(todo);
        if self.awaited.swap(false, Ordering::Relaxed) {
            self.collector.unlisted.send_modify(|left| *left -= 1);
        }
    }

    fn put(&self, object: Seen) -> u64 {
        let todo = lock(&self.collector.graph).put(self.kind, facts_of(&object));
        self.collector.ask(todo);
        version(Some(&object.metadata.resource_version))
    }

    fn end(&self, object: Seen) -> u64 {
        let todo = lock(&self.collector.graph).remove(Uid::of(&object.metadata.uid));
        self.collector.ask(todo);
        version(Some(&object.metadata.resource_version))
    }
}

fn facts_of(object: &Seen) -> Facts<'_> {
    let meta = &object.metadata;
    Facts {
        uid: &meta.uid,
        namespace: &meta.namespace,
        name: &meta.name,
        owners: &meta.owner_references,
        deleting: object.is_deleting(),
        foreground: object.is_held_by(FOREGROUND),
        orphan: object.is_held_by(ORPHAN),
    }
}

/// Follows custom kinds as their definitions come and go.
pub(super) async fn custom(collector: &Arc<Collector>, shared: &Shared) {
    let (sender, mut definitions) = mpsc::unbounded_channel::<(Option<Kind>, Option<Kind>)>();
    let store: Store<Definition> = shared.store();
    store.subscribe(move |old, new| {
        let kind = |definition: Option<&Definition>| definition.and_then(|d| d.kind.clone());
        let (before, now) = (kind(old), kind(new));
        if before != now && sender.send((before, now)).is_err() {
            debug!("a definition came after the end");
        }
    });
    let mut feeds = JoinSet::new();
    let mut running: HashMap<String, CancellationToken> = HashMap::new();
    loop {
        let (before, now) = tokio::select! {
            () = shared.shutdown().cancelled() => break,
            change = definitions.recv() => match change {
                Some(change) => change,
                None => break,
            },
        };
        if let Some(stop) = before.and_then(|kind| running.remove(&kind.path())) {
            stop.cancel();
        }
        if let Some(kind) = now {
            let stop = shared.shutdown().child_token();
            running.insert(kind.path(), stop.clone());
            let number = collector.number(kind);
            collector.feed(&mut feeds, number, false, stop);
        }
    }
    feeds.shutdown().await;
}

impl Collector {
    pub(super) fn feed(
        self: &Arc<Collector>,
        feeds: &mut JoinSet<()>,
        kind: KindNumber,
        awaited: bool,
        shutdown: CancellationToken,
    ) {
        let (client, path) = (self.client.clone(), self.kind(kind).path());
        let feed = Feed {
            collector: Arc::clone(self),
            kind,
            awaited: AtomicBool::new(awaited),
        };
        feeds.spawn(async move { follow(&client, &path, &feed, &shutdown).await });
    }

    pub(super) fn listen_to_pods(self: &Arc<Collector>, pods: &Store<PodInfo>, kind: KindNumber) {
        let collector = Arc::clone(self);
        pods.subscribe(move |old, new| {
            let mut todo = Vec::new();
            {
                let mut graph = lock(&collector.graph);
                if let Some(old) = old.filter(|old| new.is_none_or(|new| new.uid != old.uid)) {
                    todo.extend(graph.remove(Uid::of(&old.uid)));
                }
                if let Some(pod) = new {
                    let held = |by: &str| pod.finalizers.iter().any(|f| f == by);
                    let facts = Facts {
                        uid: &pod.uid,
                        namespace: &pod.namespace,
                        name: &pod.name,
                        owners: &pod.owners,
                        deleting: pod.deletion.is_some(),
                        foreground: held(FOREGROUND),
                        orphan: held(ORPHAN),
                    };
                    todo.extend(graph.put(kind, facts));
                }
            }
            collector.ask(todo);
        });
    }

    /// The number of a custom kind; a new one for one not seen before.
    fn number(&self, kind: Kind) -> KindNumber {
        let mut kinds = lock(&self.kinds);
        let same = |known: &Arc<Kind>| known.group == kind.group && known.plural == kind.plural;
        let at = match kinds.iter().position(same) {
            Some(at) => {
                kinds[at] = Arc::new(kind);
                at
            }
            None => {
                kinds.push(Arc::new(kind));
                kinds.len() - 1
            }
        };
        KindNumber::try_from(at).unwrap_or(KindNumber::MAX)
    }
}
