//! The store of one server: an index in memory, one writer thread, one disk.
//!
//! Writers queue; the thread takes all that wait, checks each against the index and the
//! batch so far, makes the batch durable with one barrier, and only then shows it to
//! readers, watches and the writers themselves.
//!
//! A writer alone is served at once. Where writers come in crowds the thread lets the crowd
//! gather for a moment: a commit costs about as much for thirty writes as for three, and who
//! sleeps need not be woken for each of them. It waits for no more writers than there were
//! before, and about as long as a commit takes: while a batch is written those left out come.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::disk::{Disk, Record};
use crate::index::Index;
use crate::{
    Change, CommitError, Entry, Event, Listing, OpenError, Revision, RevisionError, Store, Watch,
};

/// Sizes of a [`LocalStore`].
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many changes can be watched from or listed at; older ones are compacted away.
    pub history: usize,
    /// How many events a watch may fall behind before it is cut.
    pub watch_buffer: usize,
    /// Most writes that share one disk barrier.
    pub batch: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            history: 10_000,
            watch_buffer: 4096,
            batch: 512,
        }
    }
}

/// So many writes in one batch are a crowd: more of them will come.
const CROWD: usize = 4;
/// A crowd gathers for as long as the last commit took, but at least and at most so long.
const GATHERING: [Duration; 2] = [Duration::from_micros(500), Duration::from_millis(2)];
/// Between two looks at whether it still grows.
const LOOK: Duration = Duration::from_micros(250);

struct Job {
    key: Arc<str>,
    change: Change,
    reply: oneshot::Sender<Result<Revision, CommitError>>,
}

struct Shared {
    index: RwLock<Index>,
    /// Set once, when the disk has failed.
    fault: OnceLock<String>,
    events: broadcast::Sender<Arc<Event>>,
}

impl Shared {
    /// The index holds plain data that is never left half-changed, so a panic elsewhere
    /// while the lock was held does not spoil it.
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A [`Store`] over one [`Disk`]. Dropping it ends the writer thread after the writes that
/// were already queued.
pub struct LocalStore {
    shared: Arc<Shared>,
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl LocalStore {
    /// Loads the disk and starts the writer.
    pub fn open(mut disk: impl Disk, options: Options) -> Result<Self, OpenError> {
        let stored = disk.load()?;
        let (events, _) = broadcast::channel(options.watch_buffer.max(1));
        let index = Index::new(stored.revision, stored.entries, options.history);
        let shared = Arc::new(Shared {
            index: RwLock::new(index),
            fault: OnceLock::new(),
            events,
        });
        let (jobs, queue) = mpsc::channel(options.batch.max(1));
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || write_loop(&shared, disk, queue, options.batch.max(1))
            })
            .map_err(|source| OpenError::Io {
                path: "writer thread".into(),
                source,
            })?;
        Ok(LocalStore {
            shared,
            jobs: Some(jobs),
            writer: Some(writer),
        })
    }
}

impl Drop for LocalStore {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // A panicked writer has already failed every commit; nothing is left to report.
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for LocalStore {
    fn revision(&self) -> Revision {
        self.shared.read().revision()
    }

    fn fault(&self) -> Option<String> {
        self.shared.fault.get().cloned()
    }

    fn get(&self, key: &str) -> Option<Entry> {
        self.shared.read().get(key).cloned()
    }

    fn list(&self, prefix: &str, at: Option<Revision>) -> Result<Listing, RevisionError> {
        self.shared.read().list(prefix, at)
    }

    async fn commit(&self, key: &str, change: Change) -> Result<Revision, CommitError> {
        let key: Arc<str> = key.into();
        let closed = || CommitError::Closed { key: key.clone() };
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(closed)?;
        let job = Job {
            key: key.clone(),
            change,
            reply,
        };
        jobs.send(job).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    fn watch(&self, from: Revision) -> Result<Watch, RevisionError> {
        // Under the lock: the writer publishes while it holds it for writing, so no event
        // falls between the backlog and the live stream, and none is in both.
        let index = self.shared.read();
        let backlog = index.since(from)?;
        Ok(Watch {
            backlog,
            live: self.shared.events.subscribe(),
        })
    }
}

fn write_loop(
    shared: &Shared,
    mut disk: impl Disk,
    mut queue: mpsc::Receiver<Job>,
    batch_size: usize,
) {
    let mut jobs = Vec::new();
    let mut before: Option<Before> = None;
    while queue.blocking_recv_many(&mut jobs, batch_size) > 0 {
        if let Some(before) = before {
            before.gather(&mut queue, &mut jobs, batch_size);
        }
        let (writes, began) = (jobs.len(), Instant::now());
        write(shared, &mut disk, jobs.drain(..));
        before = Some(Before {
            writes,
            took: began.elapsed(),
            ended: Instant::now(),
        });
    }
}

/// Decides, writes and shows one batch.
fn write(shared: &Shared, disk: &mut impl Disk, jobs: impl Iterator<Item = Job>) {
    let batch = prepare(shared, jobs);
    if batch.events.is_empty() {
        batch.answer(None);
        return;
    }
    let records: Vec<Record> = batch
        .events
        .iter()
        .map(|event| Record {
            key: event.key().clone(),
            entry: event.current.clone(),
            previous: event.previous.clone(),
        })
        .collect();
    let revision = batch.events.last().map_or(0, |event| event.revision);
    if let Err(reason) = disk.append(revision, &records) {
        tracing::error!(%reason, "the store could not write and stops taking writes");
        batch.answer(Some(&reason));
        let _ = shared.fault.set(reason);
        return;
    }
    {
        let mut index = shared.index.write().unwrap_or_else(PoisonError::into_inner);
        for event in &batch.events {
            index.apply(Arc::clone(event));
            // An error only says that nobody watches.
            let _ = shared.events.send(Arc::clone(event));
        }
    }
    batch.answer(None);
}

/// The batch before: what tells whether others will come.
#[derive(Debug, Clone, Copy)]
struct Before {
    writes: usize,
    took: Duration,
    ended: Instant,
}

impl Before {
    /// Takes in whoever else comes, for as long as somebody does, until there are as many as
    /// before: then those who wait for each answer are all here.
    fn gather(self, queue: &mut mpsc::Receiver<Job>, jobs: &mut Vec<Job>, most: usize) {
        let [least, longest] = GATHERING;
        let patience = self.took.clamp(least, longest);
        let began = Instant::now();
        // What comes long after a crowd is not a part of it.
        if self.writes < CROWD || began.saturating_duration_since(self.ended) > patience {
            return;
        }
        let enough = self.writes.min(most);
        let mut waiting = queue.len();
        while jobs.len() + waiting < enough && began.elapsed() < patience {
            std::thread::sleep(LOOK);
            let now = queue.len();
            if now == waiting {
                break;
            }
            waiting = now;
        }
        while jobs.len() < most
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
    }
}

type Reply = oneshot::Sender<Result<Revision, CommitError>>;

/// Checked changes that will share a barrier, and who waits for which outcome.
#[derive(Default)]
struct Batch {
    events: Vec<Arc<Event>>,
    replies: Vec<(Arc<str>, Result<Revision, CommitError>, Reply)>,
}

impl Batch {
    /// Tells every writer; a writer that has gone away is no error, its change stands.
    fn answer(self, disk_error: Option<&str>) {
        for (key, outcome, reply) in self.replies {
            let outcome = match disk_error {
                Some(reason) => outcome.and(Err(CommitError::Disk {
                    key,
                    reason: reason.to_owned(),
                })),
                None => outcome,
            };
            let _ = reply.send(outcome);
        }
    }
}

/// Decides each job in order, as if those before it in the batch were already done.
fn prepare(shared: &Shared, jobs: impl Iterator<Item = Job>) -> Batch {
    let index = shared.read();
    let mut revision = index.revision();
    let mut ahead: BTreeMap<Arc<str>, Option<Entry>> = BTreeMap::new();
    let mut batch = Batch::default();
    for Job { key, change, reply } in jobs {
        if let Some(reason) = shared.fault.get() {
            let error = CommitError::Disk {
                key: key.clone(),
                reason: reason.clone(),
            };
            batch.replies.push((key, Err(error), reply));
            continue;
        }
        let previous = match ahead.get(&key) {
            Some(entry) => entry.clone(),
            None => index.get(&key).cloned(),
        };
        let outcome = decide(&key, change, previous.as_ref(), revision + 1).map(|current| {
            revision += 1;
            ahead.insert(key.clone(), current.clone());
            batch.events.push(Arc::new(Event {
                revision,
                current,
                previous,
            }));
            revision
        });
        batch.replies.push((key, outcome, reply));
    }
    batch
}

/// The state of a key after a change, if the change is allowed.
fn decide(
    key: &Arc<str>,
    change: Change,
    previous: Option<&Entry>,
    next: Revision,
) -> Result<Option<Entry>, CommitError> {
    let expected = |expect: Revision| match previous {
        None => Err(CommitError::Missing { key: key.clone() }),
        Some(entry) if entry.modified != expect => Err(CommitError::Conflict {
            key: key.clone(),
            expected: expect,
            found: entry.modified,
        }),
        Some(entry) => Ok(entry.created),
    };
    match change {
        Change::Create(value) => match previous {
            Some(entry) => Err(CommitError::Exists {
                key: key.clone(),
                modified: entry.modified,
            }),
            None => Ok(Some(Entry {
                key: key.clone(),
                value,
                created: next,
                modified: next,
            })),
        },
        Change::Update { value, expect } => {
            let created = expected(expect)?;
            Ok(Some(Entry {
                key: key.clone(),
                value,
                created,
                modified: next,
            }))
        }
        Change::Delete { expect } => expected(expect).map(|_| None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            key: "/a".into(),
            change: Change::Delete { expect: 1 },
            reply: oneshot::channel().0,
        }
    }

    /// How many are in a batch that one began and `waiting` stand in line for, twelve at most.
    fn gathered(before: Before, waiting: usize) -> usize {
        let (line, mut queue) = mpsc::channel(32);
        for _ in 0..waiting {
            assert!(line.try_send(job()).is_ok());
        }
        let mut jobs = vec![job()];
        before.gather(&mut queue, &mut jobs, 12);
        assert_eq!(queue.len(), waiting + 1 - jobs.len(), "nobody is lost");
        jobs.len()
    }

    #[test]
    fn a_crowd_gathers_and_a_lone_writer_waits_for_nobody() {
        // In the future, so that however slow the test is, they have only just been here.
        let crowd = Before {
            writes: CROWD,
            took: Duration::ZERO,
            ended: Instant::now() + Duration::from_secs(600),
        };
        assert_eq!(gathered(crowd, 0), 1, "nobody comes");
        assert_eq!(gathered(crowd, 6), 7);
        assert_eq!(gathered(crowd, 20), 12, "no more than fit into a batch");
        let few = Before {
            writes: CROWD - 1,
            ..crowd
        };
        assert_eq!(gathered(few, 6), 1);
        let past = Before {
            ended: Instant::now()
                .checked_sub(Duration::from_secs(1))
                .expect("the machine runs for longer than that"),
            ..crowd
        };
        assert_eq!(gathered(past, 6), 1);
    }
}
