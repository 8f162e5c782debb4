//! Events: what the kubelet tells users about their pods. Equal ones are counted, not
//! repeated. Sending happens in the background and never holds a pod up.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Event, EventSource, Node, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;

/// Events waiting to be sent; more are dropped with a warning in the log.
const QUEUE: usize = 1000;
/// Distinct events remembered for counting.
const REMEMBERED: usize = 2000;
/// Tries before an event is given up while the API server is away.
const TRIES: u32 = 5;
/// Longest message of an event with an exact time, in bytes; upstream's limit.
const EXACT_MAX: usize = 1024;
const COMPONENT: &str = "kubelet";

/// Colour of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Normal,
    Warning,
}

/// One thing to tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// What it is about.
    pub about: ObjectReference,
    pub severity: Severity,
    pub reason: &'static str,
    pub message: String,
    /// When it happened; sending may take its time.
    pub at: Timestamp,
}

/// Where workers drop what they have to tell.
#[derive(Debug, Clone)]
pub struct EventSink {
    queue: mpsc::Sender<Note>,
}

impl EventSink {
    /// A sink and the queue its notes arrive in.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Note>) {
        let (queue, notes) = mpsc::channel(QUEUE);
        (Self { queue }, notes)
    }

    /// Tells something about a pod, or about one container with `field_path`
    /// `spec.containers{name}`.
    pub fn pod(
        &self,
        pod: &Pod,
        field_path: Option<String>,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let meta = &pod.metadata;
        self.send(Note {
            about: ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: meta.name.clone(),
                namespace: meta.namespace.clone(),
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone(),
                field_path,
            },
            severity,
            reason,
            message: message.into(),
            at: Timestamp::now(),
        });
    }

    /// Tells something about the node itself.
    pub fn node(&self, node: &Node, severity: Severity, reason: &'static str, message: &str) {
        let name = node.metadata.name.clone();
        self.send(Note {
            about: ObjectReference {
                kind: Some("Node".into()),
                // Upstream's kubelet refers to its node by name here, and describe looks
                // events up so.
                uid: name.clone(),
                name,
                ..ObjectReference::default()
            },
            severity,
            reason,
            message: message.to_owned(),
            at: Timestamp::now(),
        });
    }

    fn send(&self, note: Note) {
        if let Err(error) = self.queue.try_send(note) {
            tracing::warn!(%error, "dropping an event");
        }
    }
}

/// Sends notes until all sinks are gone.
pub async fn deliver(client: kube::Client, node_name: String, mut notes: mpsc::Receiver<Note>) {
    let mut book = Book::default();
    while let Some(note) = notes.recv().await {
        let namespace = note
            .about
            .namespace
            .clone()
            .unwrap_or_else(|| "default".into());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let entry = book.enter(&note);
        for attempt in 0..TRIES {
            match send(&api, &node_name, &note, &entry).await {
                Ok(()) => break,
                Err(kube::Error::Api(status)) => {
                    // The namespace is going away, or the counted event expired.
                    if entry.count > 1 && status.code == 404 {
                        book.forget(&note);
                        let fresh = book.enter(&note);
                        if let Err(error) = send(&api, &node_name, &note, &fresh).await {
                            tracing::warn!(%error, "could not send an event");
                        }
                    } else {
                        tracing::warn!(%status, reason = note.reason, "event refused");
                    }
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, attempt, "could not send an event");
                    tokio::time::sleep(std::time::Duration::from_secs(1 << attempt)).await;
                }
            }
        }
    }
}

async fn send(api: &Api<Event>, node: &str, note: &Note, entry: &Entry) -> kube::Result<()> {
    let at = Time(note.at);
    if entry.count > 1 {
        let patch = json!({"count": entry.count, "lastTimestamp": at, "message": note.message});
        return api
            .patch(&entry.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(drop);
    }
    // Upstream's server takes no long message beside a time in microseconds, and wants an
    // action there.
    let exact = note.message.len() <= EXACT_MAX;
    let event = Event {
        metadata: ObjectMeta {
            name: Some(entry.name.clone()),
            namespace: Some(
                note.about
                    .namespace
                    .clone()
                    .unwrap_or_else(|| "default".into()),
            ),
            ..ObjectMeta::default()
        },
        involved_object: note.about.clone(),
        type_: Some(match note.severity {
            Severity::Normal => "Normal".into(),
            Severity::Warning => "Warning".into(),
        }),
        reason: Some(note.reason.into()),
        message: Some(note.message.clone()),
        count: Some(1),
        event_time: exact.then_some(MicroTime(note.at)),
        action: exact.then(|| note.reason.into()),
        first_timestamp: Some(at.clone()),
        last_timestamp: Some(at),
        source: Some(EventSource {
            component: Some(COMPONENT.into()),
            host: Some(node.to_owned()),
        }),
        reporting_component: Some(COMPONENT.into()),
        reporting_instance: Some(node.to_owned()),
        ..Event::default()
    };
    api.create(&PostParams::default(), &event).await.map(drop)
}

/// An event sent before: its object's name and how often it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    count: i32,
}

#[derive(Debug, Default)]
struct Book {
    entries: HashMap<String, Entry>,
}

impl Book {
    /// Counts `note` and says under which name it is kept.
    fn enter(&mut self, note: &Note) -> Entry {
        if self.entries.len() >= REMEMBERED {
            // Crude but bounded: counting starts over.
            self.entries.clear();
        }
        let entry = self.entries.entry(key(note)).or_insert_with(|| Entry {
            name: format!(
                "{}.{:x}",
                note.about.name.as_deref().unwrap_or("unknown"),
                Timestamp::now().as_nanosecond()
            ),
            count: 0,
        });
        entry.count += 1;
        entry.clone()
    }

    fn forget(&mut self, note: &Note) {
        self.entries.remove(&key(note));
    }
}

fn key(note: &Note) -> String {
    let about = &note.about;
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        part(&about.uid),
        part(&about.field_path),
        note.reason.to_owned(),
        note.message.clone(),
    ]
    .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn equal_events_are_counted_under_one_name_and_others_get_their_own() {
        let (sink, mut notes) = EventSink::new();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u-1"}
        }))
        .unwrap();
        let path = || Some("spec.containers{a}".to_owned());
        sink.pod(&pod, path(), Severity::Warning, "BackOff", "again");
        sink.pod(&pod, path(), Severity::Warning, "BackOff", "again");
        sink.pod(&pod, None, Severity::Warning, "BackOff", "again");
        let mut book = Book::default();
        let first = book.enter(&notes.recv().await.unwrap());
        let second = book.enter(&notes.recv().await.unwrap());
        let other = book.enter(&notes.recv().await.unwrap());
        assert_eq!((first.count, second.count, other.count), (1, 2, 1));
        assert_eq!(first.name, second.name);
        assert_ne!(first.name, other.name);
        assert!(first.name.starts_with("web."));
    }

    #[tokio::test]
    async fn a_full_queue_never_blocks_a_worker() {
        let (sink, _notes) = EventSink::new();
        for _ in 0..QUEUE + 10 {
            sink.pod(&Pod::default(), None, Severity::Normal, "Pulled", "x");
        }
    }
}
