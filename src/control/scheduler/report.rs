//! What people are told: events, as upstream's scheduler writes them.
//!
//! As upstream's recorder, the scheduler does not wait for them: they queue, and a few at a
//! time are sent while decisions go on. Where pods come by the thousand, binding goes first
//! and the news of it follow.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use http::Method;
use kube::Client;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tracing::warn;

use crate::NAME;
use crate::requests::{Target, send_bytes};

/// Annotation of an event: why the scheduler decided so.
const WHY: &str = "cadet.dev/why";
/// Longest note the server takes, bytes.
const NOTE_MAX: usize = 1024;
/// Events on their way at the same time.
const AT_ONCE: usize = 4;
/// Events that may wait, some 30 MB of them; what is told beyond is lost, as it is to upstream's
/// recorder when a thousand wait.
const WAITING: usize = 32_768;
/// How long events that still wait may hold up the scheduler's end.
pub const LAST_WORDS: Duration = Duration::from_secs(2);

/// One thing to tell.
#[derive(Debug, Clone)]
pub struct News<'a> {
    pub is_warning: bool,
    pub reason: &'static str,
    pub action: &'static str,
    pub note: String,
    /// Another pod that has to do with it.
    pub related: Option<&'a Target>,
    /// What upstream's note does not say; kept beside it, as the annotation [`WHY`].
    pub why: Option<String>,
}

/// Who says so: the scheduler of this host.
pub fn instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{NAME}-{}", host.trim())
}

fn reference(pod: &Target) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name,
        "namespace": pod.namespace, "uid": pod.uid})
}

fn event(pod: &Target, news: &News<'_>, instance: &str, now: OffsetDateTime) -> Value {
    let mut note = news.note.as_str();
    if note.len() > NOTE_MAX {
        let cut = (0..=NOTE_MAX).rev().find(|at| note.is_char_boundary(*at));
        note = &note[..cut.unwrap_or(0)];
    }
    let name = format!("{}.{:x}", pod.name, now.unix_timestamp_nanos());
    let mut event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": pod.namespace},
        "involvedObject": reference(pod),
        "type": if news.is_warning { "Warning" } else { "Normal" },
        "reason": news.reason,
        "action": news.action,
        "message": note,
        "source": {},
        "reportingComponent": NAME,
        "reportingInstance": instance,
        "eventTime": cadet_api::clock::rfc3339_micro(now),
    });
    if let Some(why) = &news.why {
        event["metadata"]["annotations"] = json!({WHY: why});
    }
    if let Some(related) = news.related {
        event["related"] = reference(related);
    }
    event
}

/// An event that waits to be sent.
struct Told {
    pod: String,
    reason: &'static str,
    path: String,
    body: Vec<u8>,
}

/// Where the scheduler tells what it did. Cheap to clone.
#[derive(Clone)]
pub struct Teller {
    instance: Arc<str>,
    queue: mpsc::Sender<Told>,
}

impl Teller {
    /// One for this instance of the scheduler, and what sends its events: that ends when
    /// everything is told after the last clone is gone.
    pub fn open(client: Client, instance: &str) -> (Teller, impl Future<Output = ()> + use<>) {
        let (queue, told) = mpsc::channel(WAITING);
        let teller = Teller {
            instance: instance.into(),
            queue,
        };
        (teller, deliver(client, told))
    }

    /// Puts an event in line. Events are news, not state: a lost one is logged, not retried.
    pub fn tell(&self, pod: &Target, news: &News<'_>) {
        let event = event(pod, news, &self.instance, OffsetDateTime::now_utc());
        let told = Told {
            pod: pod.full_name(),
            reason: news.reason,
            path: format!("/api/v1/namespaces/{}/events", pod.namespace),
            body: event.to_string().into_bytes(),
        };
        if let Err(error) = self.queue.try_send(told) {
            warn!(pod = pod.full_name(), news.reason, %error, "event not written");
        }
    }
}

async fn deliver(client: Client, mut told: mpsc::Receiver<Told>) {
    let (client, told) = (&client, futures::stream::poll_fn(|cx| told.poll_recv(cx)));
    told.for_each_concurrent(AT_ONCE, |told| async move {
        match send_bytes(
            client,
            Method::POST,
            told.path,
            "application/json",
            told.body,
        )
        .await
        {
            Ok(()) => {}
            // The namespace is being emptied.
            Err(error) if matches!(error.code(), Some(403 | 404)) => {}
            Err(error) => warn!(pod = told.pod, told.reason, %error, "event not written"),
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadet_api::resource::find;
    use cadet_api::{fieldcheck, strategy};
    use time::macros::datetime;

    #[test]
    fn an_event_passes_our_own_server() {
        let pod = Target {
            namespace: "d".into(),
            name: "web".into(),
            uid: "u".into(),
        };
        let news = News {
            is_warning: true,
            reason: "FailedScheduling",
            action: "Scheduling",
            note: "ü".repeat(NOTE_MAX),
            related: Some(&pod),
            why: Some("the only one of 3 that fits".into()),
        };
        let mut e = event(&pod, &news, "s-h", datetime!(2026-11-20 20:00:00.5 UTC));
        let events = find("", "v1", "events").unwrap();
        assert_eq!(fieldcheck::check(events, &e).unwrap(), Vec::<String>::new());
        strategy::prepare_create(events, &mut e).unwrap();
        assert_eq!(e["message"].as_str().unwrap().len(), NOTE_MAX);
        assert_eq!(
            e["metadata"]["annotations"][WHY],
            "the only one of 3 that fits"
        );
        assert_eq!(e["eventTime"], "2026-11-20T20:00:00.500000Z");
    }
}
