//! Keeps the `status` of every ResourceQuota true: what it allows, and how much is used.
//!
//! ```text
//!   a quota, or an object that some quota counts, changes
//!        └─▶ its namespace is noted ─▶ counted ─▶ status written, if it differs
//! ```
//! Kinds are followed only while a quota counts them, so a cluster without quotas pays
//! nothing. Changes that come while a namespace is counted are taken together.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cadet_api::json;
use cadet_api::quota::{self, Quota};
use cadet_api::resource::{self, Resource};
use cadet_api::status::Status;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admission;
use crate::app::App;
use crate::object::Object;
use crate::world::Scope;
use crate::writing::{self, Proposal};

/// How often everything is counted again while there are quotas, as upstream does: a pod
/// whose time to end is over is not counted any more, though nobody has said that it ended.
const RESYNC: Duration = Duration::from_secs(300);

/// Namespaces in which something has changed since they were last counted.
#[derive(Default)]
struct Changed {
    namespaces: Mutex<BTreeSet<String>>,
    woken: Notify,
}

impl Changed {
    fn add(&self, namespace: &str) {
        let mut namespaces = self.lock();
        if !namespaces.contains(namespace) {
            namespaces.insert(namespace.to_owned());
        }
        self.woken.notify_one();
    }

    fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts until `shutdown`.
pub async fn run(app: App, shutdown: CancellationToken) {
    let Ok(quotas) = admission::find("resourcequotas") else {
        return;
    };
    let changed = Arc::new(Changed::default());
    let mut of_quotas = JoinSet::new();
    of_quotas.spawn(follow(app.clone(), quotas, quotas, Arc::clone(&changed)));
    let mut of_counted = JoinSet::new();
    let mut followed: HashSet<(&str, &str)> = HashSet::new();
    loop {
        let resync = async {
            match followed.is_empty() {
                true => std::future::pending().await,
                false => tokio::time::sleep(RESYNC).await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = changed.woken.notified() => {}
            () = resync => {
                for quota in app.world.list(quotas, None).objects {
                    changed.add(quota.namespace());
                }
            }
        }
        for namespace in changed.take() {
            for quota in app.world.list(quotas, Some(&namespace)).objects {
                let limits = Quota::of(&quota.value());
                let kinds = counted(&app, &limits);
                for kind in &kinds {
                    if followed.insert(kind.id()) && kind.id() != quotas.id() {
                        of_counted.spawn(follow(app.clone(), kind, quotas, Arc::clone(&changed)));
                    }
                }
                let written = settle(&app, &quota, &limits, &kinds).await;
                if let Err(status) = written
                    && status.code != 404
                {
                    tracing::warn!(%status, namespace, quota = limits.name, "cannot write what is used");
                }
            }
        }
        if !followed.is_empty() && app.world.list(quotas, None).objects.is_empty() {
            of_counted.shutdown().await;
            followed.clear();
        }
    }
}

/// Notes the namespace of each change of a kind; at first, and after it fell behind, all
/// that have quotas.
async fn follow(
    app: App,
    kind: &'static Resource,
    quotas: &'static Resource,
    changed: Arc<Changed>,
) {
    loop {
        let Ok(mut changes) = app.world.watch(Scope::new(kind, None, None, None), None) else {
            return;
        };
        for quota in app.world.list(quotas, None).objects {
            changed.add(quota.namespace());
        }
        while let Ok(change) = changes.next().await {
            if let Some(object) = change.current.as_ref().or(change.previous.as_ref()) {
                changed.add(object.namespace());
            }
        }
        if app.stopping.is_cancelled() {
            return;
        }
    }
}

/// The kinds a quota counts.
fn counted(app: &App, limits: &Quota) -> Vec<&'static Resource> {
    let names: BTreeSet<(&str, &str)> = limits
        .hard
        .keys()
        .filter_map(|name| quota::counts(name))
        .collect();
    let kind = |(group, plural): (&str, &str)| {
        let built_in = ["v1", "v2"]
            .iter()
            .find_map(|version| resource::find(group, version, plural));
        let custom = || app.world.kinds().stored(&format!("{plural}.{group}"));
        built_in.map(Resource::stored_as).or_else(custom)
    };
    names.into_iter().filter_map(kind).collect()
}

async fn settle(
    app: &App,
    quota: &Object,
    limits: &Quota,
    kinds: &[&'static Resource],
) -> Result<(), Status> {
    let (namespace, name) = (quota.namespace(), quota.name());
    let used = admission::quota_used(app, namespace, limits, kinds).await;
    let status = json!({
        "hard": Value::Object(json::map_at(&quota.value(), "/spec/hard").cloned().unwrap_or_default()),
        "used": quota::to_value(&used),
    });
    let propose = |old: &Value| {
        let mut value = old.clone();
        value["status"] = status.clone();
        Ok(Proposal {
            value,
            conditional: false,
            warnings: vec![],
        })
    };
    writing::change(app, quota.resource, namespace, name, false, propose)
        .await
        .map(|_| ())
}
