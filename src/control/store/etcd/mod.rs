//! The store of several servers: etcd keeps it, and each server an index of it in memory.
//!
//! ```text
//!   commit ──▶ transaction: compare, put, mark the head ──▶ etcd ──watch──▶ index + history
//!                   └── returns once its revision has come back that way ◀───┘      │
//!                                                                       watches ◀───┘
//!   fresh  ──▶ last change of the head (one question for all who wait)
//! ```
//! Keys, all below one prefix:
//! - `objects/…` what the store holds;
//! - `head` written with every change, so that its own revision is that of the newest
//!   change: etcd's counter also counts what others write, and its notices of progress
//!   overtake events before 3.4.25 and 3.5.8;
//! - `guards/…` written by every decision under that guard;
//! - `agreed/…` what the servers must have in common;
//! - `compaction` who forgets the past, and up to where.

mod client;
mod compaction;
mod follow;
mod fresh;
mod load;
mod waiting;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use crate::index::Index;
use crate::local::Options;
use crate::{
    Change, CommitError, Entry, Event, Guard, Listing, OpenError, Revision, RevisionError, Store,
    Unfresh, Watch,
};
pub use client::Tls;
use client::{CallError, Client};
use fresh::Asking;
use waiting::Waiting;
use wire::{Compare, RangeRequest, RequestOp, TxnRequest};

/// How often the past is forgotten; as kube-apiserver, which leaves clients at least as much.
const COMPACT_EVERY: Duration = Duration::from_secs(300);

/// Where etcd is, and how to use it.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// `host:port` of each member.
    pub endpoints: Vec<String>,
    /// Without it connections are plain.
    pub tls: Option<Tls>,
    /// What all our keys begin with; ends in a slash.
    pub prefix: String,
    /// The sizes of the index.
    pub sizes: Options,
    /// How often the past is forgotten, by one of all servers; `None` leaves it to etcd.
    pub compact_every: Option<Duration>,
}

impl EtcdOptions {
    /// Reads `etcd://host:port[,host:port…]`; the error says what is wrong with it.
    pub fn parse(address: &str) -> Result<EtcdOptions, String> {
        let rest = address
            .strip_prefix("etcd://")
            .ok_or("it does not begin with etcd://")?;
        let endpoints: Vec<String> = rest
            .trim_end_matches('/')
            .split(',')
            .map(|endpoint| match endpoint.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                    Ok(endpoint.to_owned())
                }
                _ => Err(format!("{endpoint:?} is not host:port")),
            })
            .collect::<Result<_, _>>()?;
        Ok(EtcdOptions {
            endpoints,
            tls: None,
            prefix: "/cadet/".to_owned(),
            sizes: Options::default(),
            compact_every: Some(COMPACT_EVERY),
        })
    }
}

/// Our keys in etcd.
#[derive(Debug)]
struct Names {
    /// A key of the store, which begins with a slash, follows at once.
    objects: String,
    head: String,
    guards: String,
    agreed: String,
    compaction: String,
}

impl Names {
    fn below(prefix: &str) -> Names {
        Names {
            objects: format!("{prefix}objects"),
            head: format!("{prefix}head"),
            guards: format!("{prefix}guards/"),
            agreed: format!("{prefix}agreed/"),
            compaction: format!("{prefix}compaction"),
        }
    }

    fn object(&self, key: &str) -> String {
        format!("{}{key}", self.objects)
    }

    fn guard(&self, name: &str) -> String {
        format!("{}{name}", self.guards)
    }

    /// First key of the store, and the first after its last.
    fn range(&self) -> (Vec<u8>, Vec<u8>) {
        let end = format!("{}0", self.objects);
        (self.object("/").into_bytes(), end.into_bytes())
    }
}

struct State {
    index: Index,
    /// Another one from each new beginning on.
    events: broadcast::Sender<Arc<Event>>,
}

struct Shared {
    client: Client,
    names: Names,
    sizes: Options,
    /// Which etcd it is; another one under the same address has another past.
    cluster: AtomicU64,
    state: RwLock<State>,
    /// Who waits for a change to come back.
    waiting: Waiting,
    asking: Asking,
    /// Why changes of others do not arrive, while they do not.
    fault: RwLock<Option<String>>,
}

impl Shared {
    // Nothing is left half-changed under these locks, so a poisoned one is still sound.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn revision(&self) -> Revision {
        self.read().index.revision()
    }

    fn fault(&self) -> Option<String> {
        let fault = self.fault.read().unwrap_or_else(PoisonError::into_inner);
        fault.clone()
    }

    fn set_fault(&self, reason: Option<String>) {
        *self.fault.write().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// The revision of the newest change, as all of etcd agrees on it.
    async fn head(&self) -> Result<Head, CallError> {
        let request = RangeRequest {
            key: self.names.head.clone().into_bytes(),
            ..RangeRequest::default()
        };
        let answer = self.client.range(request).await?;
        let kv = answer.kvs.first();
        Ok(Head {
            revision: kv.map_or(0, |kv| kv.mod_revision.cast_unsigned()),
            cluster: answer.header.map_or(0, |header| header.cluster_id),
        })
    }

    /// Waits until a change can be read in the index.
    async fn reach(&self, revision: Revision) {
        self.waiting.reach(revision, || self.revision()).await;
    }

    fn is_another_cluster(&self, cluster: u64) -> bool {
        self.cluster.load(Ordering::Relaxed) != cluster
    }
}

/// See [`Shared::head`].
struct Head {
    revision: Revision,
    cluster: u64,
}

/// A [`Store`] that several servers share. Dropping it ends its background work.
pub struct EtcdStore {
    shared: Arc<Shared>,
    /// Aborted when dropped.
    _tasks: JoinSet<()>,
}

impl EtcdStore {
    /// Takes in everything etcd has and starts following it. Needs a tokio runtime.
    pub async fn open(options: EtcdOptions) -> Result<EtcdStore, OpenError> {
        let failed = |reason: String| OpenError::Etcd {
            endpoints: options.endpoints.join(","),
            reason,
        };
        let client = Client::new(&options.endpoints, options.tls.as_ref()).map_err(failed)?;
        let names = Names::below(&options.prefix);
        let version = client.version().await.map_err(|e| failed(e.to_string()))?;
        let loaded = load::load(&client, &names)
            .await
            .map_err(|e| failed(e.to_string()))?;
        tracing::info!(version, objects = loaded.entries.len(), "etcd answers");
        let (events, _) = broadcast::channel(options.sizes.watch_buffer.max(1));
        let index = Index::new(loaded.revision, loaded.entries, options.sizes.history);
        let shared = Arc::new(Shared {
            client,
            names,
            sizes: options.sizes,
            cluster: AtomicU64::new(loaded.cluster),
            state: RwLock::new(State { index, events }),
            waiting: Waiting::default(),
            asking: Asking::default(),
            fault: RwLock::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(follow::run(Arc::clone(&shared), loaded.at + 1));
        tasks.spawn(fresh::run(Arc::clone(&shared)));
        if let Some(every) = options.compact_every {
            tasks.spawn(compaction::run(Arc::clone(&shared), every));
        }
        Ok(EtcdStore {
            shared,
            _tasks: tasks,
        })
    }

    /// What all servers must have in common, by name: the first one's value stays, and
    /// everybody is told that.
    pub async fn agree(&self, name: &str, value: Bytes) -> Result<Bytes, Unfresh> {
        let key = format!("{}{name}", self.shared.names.agreed);
        let request = TxnRequest {
            compare: vec![Compare::version(&key, 0)],
            success: vec![RequestOp::put(&key, value.clone())],
            failure: vec![RequestOp::get(&key)],
        };
        let answer = self.shared.client.txn(request).await.map_err(unfresh)?;
        let kept = answer.found(0).map(|kv| Bytes::copy_from_slice(&kv.value));
        Ok(kept.unwrap_or(value))
    }

    /// What was agreed on, if anything was.
    pub async fn agreed(&self, name: &str) -> Result<Option<Bytes>, Unfresh> {
        let request = RangeRequest {
            key: format!("{}{name}", self.shared.names.agreed).into_bytes(),
            ..RangeRequest::default()
        };
        let answer = self.shared.client.range(request).await.map_err(unfresh)?;
        let found = answer.kvs.first();
        Ok(found.map(|kv| Bytes::copy_from_slice(&kv.value)))
    }
}

fn unfresh(error: CallError) -> Unfresh {
    Unfresh {
        reason: error.to_string(),
    }
}

#[async_trait]
impl Store for EtcdStore {
    fn revision(&self) -> Revision {
        self.shared.revision()
    }

    fn fault(&self) -> Option<String> {
        self.shared.fault()
    }

    fn get(&self, key: &str) -> Option<Entry> {
        self.shared.read().index.get(key).cloned()
    }

    fn list(&self, prefix: &str, at: Option<Revision>) -> Result<Listing, RevisionError> {
        self.shared.read().index.list(prefix, at)
    }

    async fn commit(&self, key: &str, change: Change) -> Result<Revision, CommitError> {
        self.commit_guarded(key, change, &[]).await
    }

    fn watch(&self, from: Revision) -> Result<Watch, RevisionError> {
        // Under the lock: events are published by who holds it for writing.
        let state = self.shared.read();
        let backlog = state.index.since(from)?;
        Ok(Watch {
            backlog,
            live: state.events.subscribe(),
        })
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn fresh(&self) -> Result<Revision, Unfresh> {
        match self.shared.fault() {
            Some(reason) => Err(Unfresh { reason }),
            None => self.shared.asking.ask().await,
        }
    }

    async fn guard(&self, name: &str) -> Result<Guard, Unfresh> {
        let names = &self.shared.names;
        let request = TxnRequest {
            compare: vec![],
            success: vec![
                RequestOp::look(&names.guard(name)),
                RequestOp::look(&names.head),
            ],
            failure: vec![],
        };
        let answer = self.shared.client.txn(request).await.map_err(unfresh)?;
        Ok(Guard {
            name: name.into(),
            seen: answer.modified(0),
            newest: answer.modified(1),
        })
    }

    async fn commit_guarded(
        &self,
        key: &str,
        change: Change,
        guards: &[&Guard],
    ) -> Result<Revision, CommitError> {
        let (shared, names) = (&*self.shared, &self.shared.names);
        let key: Arc<str> = key.into();
        let object = names.object(&key);
        let (expect, act) = match change {
            Change::Create(value) => (0, RequestOp::put(&object, value)),
            Change::Update { value, expect } => (expect, RequestOp::put(&object, value)),
            Change::Delete { expect } => (expect, RequestOp::delete(&object)),
        };
        let mut request = TxnRequest {
            compare: vec![Compare::modified(&object, expect)],
            success: vec![act, RequestOp::put(&names.head, Bytes::new())],
            failure: vec![RequestOp::look(&object), RequestOp::look(&names.head)],
        };
        for guard in guards {
            let name = names.guard(&guard.name);
            request.compare.push(Compare::modified(&name, guard.seen));
            request.success.push(RequestOp::put(&name, Bytes::new()));
        }
        let answer = shared.client.txn(request).await;
        let answer = answer.map_err(|error| refusal(&key, error))?;
        if answer.succeeded {
            let revision = answer.revision();
            shared.reach(revision).await;
            return Ok(revision);
        }
        // Who was refused can read here why.
        shared.reach(answer.modified(1)).await;
        let found = answer.modified(0);
        Err(match (expect, found) {
            _ if found == expect => CommitError::Overtaken {
                key,
                guard: guards.first().map_or_else(|| "".into(), |g| g.name.clone()),
            },
            (0, modified) => CommitError::Exists { key, modified },
            (_, 0) => CommitError::Missing { key },
            (expected, found) => CommitError::Conflict {
                key,
                expected,
                found,
            },
        })
    }
}

fn refusal(key: &Arc<str>, error: CallError) -> CommitError {
    let (key, reason) = (Arc::clone(key), error.to_string());
    match error {
        CallError::Unreachable(_) => CommitError::Unreachable { key, reason },
        CallError::Unanswered(_) => CommitError::Unanswered { key, reason },
        CallError::Refused { .. } => CommitError::Refused { key, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_odd_ones_refused_in_words() {
        let options = EtcdOptions::parse("etcd://10.0.0.1:2379,[::1]:2380/").expect("fine");
        assert_eq!(options.endpoints, ["10.0.0.1:2379", "[::1]:2380"]);
        for odd in [
            "http://a:1",
            "etcd://",
            "etcd://a",
            "etcd://a:1,",
            "etcd://:1",
            "etcd://a:x",
        ] {
            assert!(EtcdOptions::parse(odd).is_err(), "{odd}");
        }
    }
}
