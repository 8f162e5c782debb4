//! Events: what controllers tell users about their objects, as upstream's recorder does.
//!
//! ```text
//!   say ──▶ book: equal within its window? ── yes ─▶ patch count and time
//!            │ no: more than 10 alike in 10 min? ─▶ "(combined from similar events): …"
//!            │ more than 25, then one per 5 min, about one object? ─▶ dropped
//!            └────────────────────────────────────────────▶ create
//! ```
//! Sending happens in the background and never holds a controller up.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Waiting to be sent; more are dropped.
const QUEUE: usize = 1000;
/// Objects and messages remembered (upstream: 4096).
const REMEMBERED: usize = 4096;
/// So many alike, with different messages, within `ALIKE_WINDOW` are then combined.
const ALIKE: u32 = 10;
const ALIKE_WINDOW: Duration = Duration::from_secs(600);
/// So many about one object at once, and one more per `REFILL`.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);

/// Something to tell.
#[derive(Debug, Clone)]
pub(super) struct Note {
    component: &'static str,
    about: ObjectReference,
    kind: &'static str,
    reason: &'static str,
    message: String,
}

pub(super) type Sender = mpsc::Sender<Note>;

pub(super) fn channel() -> (Sender, mpsc::Receiver<Note>) {
    mpsc::channel(QUEUE)
}

/// Where one controller tells what it did. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    component: &'static str,
    queue: Sender,
}

impl Events {
    pub(super) fn new(component: &'static str, queue: Sender) -> Events {
        Events { component, queue }
    }

    pub fn normal(&self, about: ObjectReference, reason: &'static str, message: String) {
        self.say(about, "Normal", reason, message);
    }

    pub fn warning(&self, about: ObjectReference, reason: &'static str, message: String) {
        self.say(about, "Warning", reason, message);
    }

    fn say(
        &self,
        about: ObjectReference,
        kind: &'static str,
        reason: &'static str,
        message: String,
    ) {
        let component = self.component;
        let note = Note {
            component,
            about,
            kind,
            reason,
            message,
        };
        if let Err(error) = self.queue.try_send(note) {
            debug!(%error, component, "dropping an event");
        }
    }
}

/// A reference to an object for its events.
pub fn regarding<K>(object: &K) -> ObjectReference
where
    K: k8s_openapi::Metadata<Ty = ObjectMeta>,
{
    let meta = object.metadata();
    ObjectReference {
        api_version: Some(K::API_VERSION.to_owned()),
        kind: Some(K::KIND.to_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// Sends notes until the shutdown or the end of all senders.
pub(super) async fn deliver(
    client: Client,
    mut notes: mpsc::Receiver<Note>,
    shutdown: CancellationToken,
) {
    let mut book = Book::default();
    loop {
        let note = tokio::select! {
            () = shutdown.cancelled() => return,
            note = notes.recv() => note,
        };
        let Some(note) = note else { return };
        let Some(entry) = book.enter(&note, Instant::now()) else {
            continue;
        };
        if let Err(error) = send(&client, &note, &entry).await {
            // An event that is lost is lost, as upstream's after its retries; the next
            // equal one is new.
            warn!(%error, reason = note.reason, "event not recorded");
            book.forget(&note);
        }
    }
}

async fn send(client: &Client, note: &Note, entry: &Entry) -> kube::Result<()> {
    let namespace = note.about.namespace.as_deref().unwrap_or("default");
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let now = Time(Timestamp::now());
    if entry.count > 1 {
        let patch = json!({"count": entry.count, "lastTimestamp": now, "message": entry.message});
        let patched = api
            .patch(&entry.name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        match patched {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => return other.map(drop),
        }
    }
    let event = Event {
        metadata: ObjectMeta {
            name: Some(entry.name.clone()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: note.about.clone(),
        reason: Some(note.reason.to_owned()),
        message: Some(entry.message.clone()),
        type_: Some(note.kind.to_owned()),
        source: Some(EventSource {
            component: Some(note.component.to_owned()),
            host: None,
        }),
        reporting_component: Some(note.component.to_owned()),
        reporting_instance: Some(String::new()),
        count: Some(entry.count),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        ..Event::default()
    };
    match api.create(&PostParams::default(), &event).await {
        Ok(_) => Ok(()),
        // The namespace is going away: nobody will read it.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => {
            debug!(%status, "event refused");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// What an event is sent as.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    name: String,
    message: String,
    count: i32,
}

/// (component, uid, kind, reason)
type Alike = (&'static str, String, &'static str, &'static str);

#[derive(Debug, Default)]
struct Book {
    alike: HashMap<Alike, Seen>,
    sent: HashMap<(Alike, String), Entry>,
    budgets: HashMap<(&'static str, String), (f64, Instant)>,
    made: u64,
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    messages: std::collections::HashSet<String>,
}

impl Book {
    /// How to send the note, or `None` if too much was said about its object.
    fn enter(&mut self, note: &Note, now: Instant) -> Option<Entry> {
        let uid = note.about.uid.clone().unwrap_or_default();
        let about = (note.component, uid.clone());
        let budget = self.budgets.entry(about).or_insert((BURST, now));
        let refilled = (now - budget.1).as_secs_f64() / REFILL.as_secs_f64();
        *budget = ((budget.0 + refilled).min(BURST), now);
        let alike = (note.component, uid, note.kind, note.reason);
        let seen = self.alike.entry(alike.clone()).or_insert_with(|| Seen {
            since: now,
            messages: Default::default(),
        });
        if now - seen.since > ALIKE_WINDOW {
            seen.since = now;
            seen.messages.clear();
        }
        let combined =
            seen.messages.len() >= ALIKE as usize && !seen.messages.contains(&note.message);
        let (key, message) = match combined {
            true => {
                let message = format!("(combined from similar events): {}", note.message);
                (String::new(), message)
            }
            false => {
                seen.messages.insert(note.message.clone());
                (note.message.clone(), note.message.clone())
            }
        };
        if budget.0 < 1.0 {
            return None;
        }
        budget.0 -= 1.0;
        self.made += 1;
        let name = note.about.name.as_deref().unwrap_or_default();
        let name = format!("{name}.{:x}", unique(self.made));
        let entry = self.sent.entry((alike, key)).or_insert(Entry {
            name,
            message: String::new(),
            count: 0,
        });
        entry.count += 1;
        entry.message = message;
        let entry = entry.clone();
        self.trim();
        Some(entry)
    }

    fn forget(&mut self, note: &Note) {
        let uid = note.about.uid.clone().unwrap_or_default();
        let alike = (note.component, uid, note.kind, note.reason);
        self.sent.remove(&(alike, note.message.clone()));
    }

    /// Memory stays bounded; what is forgotten is only counted anew.
    fn trim(&mut self) {
        if self.sent.len() > REMEMBERED {
            self.sent.clear();
            self.alike.clear();
        }
        if self.budgets.len() > REMEMBERED {
            self.budgets.clear();
        }
    }
}

/// Nanoseconds since 1970, made unique by a running number: upstream's names of events.
fn unique(made: u64) -> u64 {
    let nanos = Timestamp::now().as_nanosecond();
    u64::try_from(nanos).unwrap_or(0).wrapping_add(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(message: &str) -> Note {
        Note {
            component: "replicaset-controller",
            about: ObjectReference {
                name: Some("web".into()),
                uid: Some("u".into()),
                ..ObjectReference::default()
            },
            kind: "Normal",
            reason: "SuccessfulCreate",
            message: message.to_owned(),
        }
    }

    #[test]
    fn equal_events_are_counted() {
        let (mut book, now) = (Book::default(), Instant::now());
        let first = book.enter(&note("a"), now).unwrap();
        let second = book.enter(&note("a"), now).unwrap();
        assert_eq!((first.count, second.count), (1, 2));
        assert_eq!(first.name, second.name);
        assert_ne!(book.enter(&note("b"), now).unwrap().name, first.name);
    }

    #[test]
    fn many_alike_are_combined_and_too_many_dropped() {
        let (mut book, now) = (Book::default(), Instant::now());
        let sent: Vec<Entry> = (0..40)
            .filter_map(|n| book.enter(&note(&format!("Created pod: web-{n}")), now))
            .collect();
        assert_eq!(sent.len(), 25);
        assert_eq!(sent[9].message, "Created pod: web-9");
        assert_eq!(
            sent[10].message,
            "(combined from similar events): Created pod: web-10"
        );
        assert_eq!((sent[10].count, sent[24].count), (1, 15));
        let later = now + REFILL;
        assert!(book.enter(&note("x"), later).is_some());
        assert!(book.enter(&note("y"), later).is_none());
    }
}
