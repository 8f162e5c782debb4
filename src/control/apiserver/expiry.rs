//! Events are news, not state: they go when they are old, or a cluster that runs for
//! weeks would be made of them.

use std::time::Duration;

use cadet_api::{clock, json};
use serde_json::Value;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::admission;
use crate::app::App;
use crate::writing::{self, Fault};

/// How long an Event is kept after it last happened; upstream's default.
const EVENT_LIFE: time::Duration = time::Duration::hours(1);
/// How often old Events are looked for. A few minutes more of life harm nobody.
const SWEEP_EVERY: Duration = Duration::from_secs(300);

/// Removes old Events until `shutdown`.
pub async fn run(app: App, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        let removed = sweep(&app, OffsetDateTime::now_utc()).await;
        tracing::debug!(removed, "old events swept");
    }
}

/// Removes every Event that is too old at `now`; how many it were.
pub async fn sweep(app: &App, now: OffsetDateTime) -> usize {
    let Ok(events) = admission::find("events") else {
        return 0;
    };
    let mut removed = 0;
    for event in app.world.list(events, None).objects {
        if last_seen(&event.value()).is_none_or(|seen| now - seen <= EVENT_LIFE) {
            continue;
        }
        match writing::remove(app, &event).await {
            Ok(_) => removed += 1,
            // It happened again just now, or somebody else removed it.
            Err(Fault::Conflict(_) | Fault::Overtaken | Fault::Missing | Fault::Exists) => {}
            Err(Fault::Broken(status)) => {
                tracing::warn!(%status, "cannot remove old events");
                return removed;
            }
        }
    }
    removed
}

/// When an Event last happened, whichever of its generations of fields says so.
fn last_seen(event: &Value) -> Option<OffsetDateTime> {
    [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ]
    .iter()
    .filter_map(|path| clock::parse(json::str_at(event, path)))
    .max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::handlers::store_new;
    use cadet_store::{LocalStore, MemoryDisk, Options};
    use serde_json::json;
    use std::sync::Arc;

    #[tokio::test]
    async fn only_old_news_goes() {
        let store = LocalStore::open(MemoryDisk, Options::default()).expect("store");
        let config = Config::new("10.96.0.0/12", "127.0.0.1:6443".parse().expect("address"));
        let app = App::start(config, Arc::new(store)).await.expect("start");
        let events = admission::find("events").expect("events");
        for (name, last) in [
            ("old", "2020-01-01T00:00:00Z"),
            ("again", "2999-01-01T00:00:00Z"),
        ] {
            let event = json!({"metadata": {"name": name, "namespace": "default"},
                "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
                "reason": "X", "type": "Normal", "lastTimestamp": last});
            store_new(
                &admission::Request::server(&app, events, "default"),
                event,
                &crate::ownership::Manager::server(),
            )
            .await
            .expect("stored");
        }
        // Both were born just now, which counts as having happened.
        assert_eq!(sweep(&app, OffsetDateTime::now_utc()).await, 0);
        let later = OffsetDateTime::now_utc() + time::Duration::hours(2);
        assert_eq!(sweep(&app, later).await, 1);
        assert!(app.world.get(events, "default", "old").is_none());
        assert!(app.world.get(events, "default", "again").is_some());
    }
}
