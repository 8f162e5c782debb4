//! Keeps one cache true: lists once, then watches, and lists again only if the server has
//! forgotten where we were.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use http::Request;
use kube::Client;
use kube::core::WatchEvent;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::record::{Record, version};
use super::store::Store;

/// Objects per page of a list, which bounds the memory a list takes.
const PAGE: usize = 500;
/// Seconds a watch lasts before it is opened anew, so that a dead connection is noticed.
const WATCH_SECONDS: u32 = 290;
/// First and longest pause after a failed request (upstream's reflector).
const PAUSE: (Duration, Duration) = (Duration::from_millis(800), Duration::from_secs(30));

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<W> {
    metadata: PageMeta,
    items: Vec<W>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMeta {
    resource_version: Option<String>,
    #[serde(rename = "continue")]
    rest: Option<String>,
}

/// How a watch ended.
enum End {
    /// To be opened again from this version.
    Resume(u64),
    /// The server no longer knows that version.
    TooOld,
}

/// What takes in a list and the changes after it.
pub trait Sink: Sync {
    type Wire: DeserializeOwned + Clone + Send + 'static;
    /// What is kept of an object.
    type Kept: Send;
    fn keep(wire: Self::Wire) -> Self::Kept;
    /// All there is, as of this version.
    fn all(&self, objects: Vec<Self::Kept>, version: u64);
    /// Added or changed; gives its version.
    fn put(&self, object: Self::Kept) -> u64;
    /// Gone; gives the version of its end.
    fn end(&self, object: Self::Kept) -> u64;
    /// Nothing older than this is still to come.
    fn up_to(&self, _version: u64) {}
}

impl<R: Record> Sink for Store<R> {
    type Wire = R::Wire;
    type Kept = R;

    fn keep(wire: R::Wire) -> R {
        R::of(wire)
    }

    fn all(&self, objects: Vec<R>, version: u64) {
        self.heard_all(objects, version);
    }

    fn put(&self, object: R) -> u64 {
        let version = object.meta().version;
        self.heard(object);
        version
    }

    fn end(&self, object: R) -> u64 {
        self.heard_end(&object);
        object.meta().version
    }

    fn up_to(&self, version: u64) {
        self.heard_up_to(version);
    }
}

/// Fills the store and keeps it true until `shutdown`.
pub(super) async fn run<R: Record>(client: Client, store: Store<R>, shutdown: CancellationToken) {
    follow(&client, &R::path(), &store, &shutdown).await;
}

/// Tells `sink` of the collection at `path` until `shutdown`.
pub async fn follow<S: Sink>(client: &Client, path: &str, sink: &S, shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = repeat(client, path, sink) => {}
    }
}

async fn repeat<S: Sink>(client: &Client, path: &str, sink: &S) {
    let mut from: Option<u64> = None;
    let mut pause = PAUSE.0;
    loop {
        let step = match from {
            None => list(client, path, sink).await.map(End::Resume),
            Some(at) => watch(client, path, sink, at).await,
        };
        match step {
            Ok(End::Resume(at)) => {
                from = Some(at);
                pause = PAUSE.0;
            }
            Ok(End::TooOld) => from = None,
            Err(error) => {
                warn!(path, %error, "informer interrupted");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// Replaces what the sink holds; gives the version of the list.
async fn list<S: Sink>(client: &Client, path: &str, sink: &S) -> kube::Result<u64> {
    let mut objects = Vec::new();
    let mut rest = String::new();
    loop {
        let uri = format!("{path}?limit={PAGE}{rest}");
        let request = Request::get(uri)
            .body(vec![])
            .map_err(kube::Error::HttpError)?;
        let page: Page<S::Wire> = client.request(request).await?;
        objects.extend(page.items.into_iter().map(S::keep));
        match page.metadata.rest.filter(|rest| !rest.is_empty()) {
            Some(token) => rest = format!("&continue={}", escaped(&token)),
            None => {
                let at = version(page.metadata.resource_version.as_deref());
                sink.all(objects, at);
                return Ok(at);
            }
        }
    }
}

/// A token as part of a query; those of upstream and ours are base64.
fn escaped(token: &str) -> String {
    let mut out = String::with_capacity(token.len());
    for byte in token.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

async fn watch<S: Sink>(client: &Client, path: &str, sink: &S, from: u64) -> kube::Result<End> {
    let uri = format!(
        "{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={from}"
    );
    let request = Request::get(uri)
        .body(vec![])
        .map_err(kube::Error::HttpError)?;
    let events = match client.request_events::<S::Wire>(request).await {
        Ok(events) => events,
        Err(kube::Error::Api(status)) if status.code == 410 => return Ok(End::TooOld),
        Err(error) => return Err(error),
    };
    let mut events = pin!(events);
    let mut at = from;
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                at = at.max(sink.put(S::keep(object)));
            }
            WatchEvent::Deleted(object) => at = at.max(sink.end(S::keep(object))),
            WatchEvent::Bookmark(mark) => {
                at = at.max(version(Some(&mark.metadata.resource_version)));
                sink.up_to(at);
            }
            WatchEvent::Error(status) if status.code == 410 => return Ok(End::TooOld),
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        }
    }
    Ok(End::Resume(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_a_query() {
        assert_eq!(escaped("aZ09-_.~"), "aZ09-_.~");
        assert_eq!(escaped("a+b/c="), "a%2Bb%2Fc%3D");
    }
}
