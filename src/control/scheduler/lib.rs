//! Chooses a node for each pod that has none.
//!
//! ```text
//!  watch pods, nodes ──▶ cache ──▶ pass: for each waiting pod, most important first
//!                         ▲          filter nodes ─┬─ some fit ─▶ score ─▶ bind
//!                         └── assumed pods ◀───────┘   none fits ─▶ say why, wait for a change
//! ```
//! Nothing is remembered that the API does not know, but for pods just bound whose change
//! has not come back yet ("assumed"). A pass looks at everything again, so a missed or
//! doubled event does no harm.

mod affinity;
mod cache;
mod filter;
mod node;
mod pod;
mod report;
mod score;

use std::pin::pin;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use futures::{FutureExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use cache::{Cache, Change};
use filter::Verdict;

/// `spec.schedulerName` of the pods that are ours.
pub const NAME: &str = "default-scheduler";

/// Wait after a failed request before the pod is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What kept a chosen pod from its node.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("binding pod {pod} to node {node}")]
    Bind {
        pod: String,
        node: String,
        source: kube::Error,
    },
}

/// Schedules until `shutdown`. Failed requests are retried; nothing ends the loop early.
pub async fn run(client: Client, shutdown: CancellationToken) {
    let config = watcher::Config::default();
    let pods = watcher(Api::<Pod>::all(client.clone()), config.clone())
        .default_backoff()
        .map_ok(|e| Change::Pod(Box::new(e)));
    let nodes = watcher(Api::<Node>::all(client.clone()), config)
        .default_backoff()
        .map_ok(|e| Change::Node(Box::new(e)));
    let mut changes = pin!(stream::select(pods, nodes));
    let mut scheduler = Scheduler {
        client,
        cache: Cache::default(),
    };
    let mut retry: Option<Instant> = None;
    info!("scheduler started");
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            change = changes.next() => match change {
                Some(change) => scheduler.take(change),
                None => break,
            },
            () = wait(retry) => {}
        }
        // What has already arrived is taken too, so that one pass serves many changes.
        while let Some(Some(change)) = changes.next().now_or_never() {
            scheduler.take(change);
        }
        retry = tokio::select! {
            () = shutdown.cancelled() => break,
            failed = scheduler.pass() => failed.then(|| Instant::now() + RETRY),
        };
    }
    info!("scheduler stopped");
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

struct Scheduler {
    client: Client,
    cache: Cache,
}

impl Scheduler {
    fn take(&mut self, change: Result<Change, watcher::Error>) {
        match change {
            Ok(change) => self.cache.apply(change),
            // The watcher starts over by itself, with a growing pause.
            Err(why) => warn!(error = %why, "watch interrupted"),
        }
    }

    /// Tries every waiting pod once. True if some request failed and must be retried.
    async fn pass(&mut self) -> bool {
        if !self.cache.is_complete() {
            return false;
        }
        let mut failed = false;
        for pod in self.cache.waiting() {
            let ask = pod::Ask::of(&pod);
            let nodes = self.cache.nodes();
            match filter::choose(&ask, &nodes) {
                Verdict::Fits(node) => {
                    if let Err(why) = self.bind(&pod, &node).await {
                        warn!(error = %why, source = ?std::error::Error::source(&why), "pod not bound");
                        failed = true;
                    }
                }
                Verdict::FitsNowhere(words) => {
                    failed |= !report::unschedulable(&self.client, &pod, &words).await;
                }
            }
        }
        failed
    }

    async fn bind(&mut self, pod: &Pod, node: &str) -> Result<(), Error> {
        let name = pod.name_any();
        let namespace = pod.namespace().unwrap_or_default();
        let full = format!("{namespace}/{name}");
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.clone()),
                // Binds this very pod, not a new one of the same name.
                uid: pod.uid(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Node".into()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        self.cache.assume(pod, node);
        let sent: Result<serde_json::Value, kube::Error> = pods
            .create_subresource("binding", &name, &PostParams::default(), &binding)
            .await;
        match sent {
            Ok(_) => {
                debug!(pod = %full, node, "bound");
                report::scheduled(&self.client, pod, node).await;
                Ok(())
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                // Gone, or bound by somebody else: the watch will tell.
                debug!(pod = %full, node, reason = %status.message, "binding refused");
                self.cache.forget(pod);
                Ok(())
            }
            Err(source) => {
                self.cache.forget(pod);
                Err(Error::Bind {
                    pod: full,
                    node: node.to_owned(),
                    source,
                })
            }
        }
    }
}
