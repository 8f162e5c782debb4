//! The HorizontalPodAutoscaler: looks every 15 s at what the pods of a target use and sets
//! how many there are.
//!
//! ```text
//!   every 15 s: scale of the target ─▶ metrics.k8s.io ─▶ replicas::propose, the largest
//!                    ▲                                        │
//!                    └───── new size, if it differs ◀── pace::History::settle
//! ```
//! Without autoscalers nothing is asked.

mod figures;
mod measure;
mod model;
mod pace;
mod refusal;
mod replicas;
mod report;
mod rivals;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{debug, info};

use model::Autoscaler;
use pace::{History, Range};
use report::Report;
use rivals::Selectors;

use crate::errors::Error;
use crate::eviction::now_text;
use crate::garbage::Definition;
use crate::shared::{Complete, Events, Key, PodInfo, Queue, Shared, Store, words, work};
use crate::wire::{get, merge};

/// How often each is looked at; upstream's figure.
const PERIOD: Duration = Duration::from_secs(15);
const WORKERS: usize = 5;

/// `autoscaling/v1` Scale.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Scale {
    spec: Replicas,
    status: ScaleStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Replicas {
    replicas: i32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ScaleStatus {
    selector: String,
}

struct Context {
    client: Client,
    autoscalers: Store<Autoscaler>,
    definitions: Store<Definition>,
    pods: Store<PodInfo>,
    queue: Queue,
    events: Events,
    histories: Mutex<HashMap<Key, History>>,
    selectors: Selectors,
}

/// Scales until the shutdown.
pub async fn run(shared: Shared) {
    let context = Context {
        client: shared.client().clone(),
        autoscalers: shared.store(),
        definitions: shared.store(),
        pods: shared.store(),
        queue: Queue::default(),
        events: shared.events("horizontal-pod-autoscaler"),
        histories: Mutex::default(),
        selectors: Selectors::default(),
    };
    let queue = context.queue.clone();
    context.autoscalers.subscribe(move |old, new| {
        // Our own status is no news; a new one or another spec is looked at soon.
        let same = old.zip(new).is_some_and(|(old, new)| old.spec == new.spec);
        if let Some(one) = new.or(old).filter(|_| !same) {
            queue.add(Key::of(one));
        }
    });
    let caches: [&dyn Complete; 3] = [&context.autoscalers, &context.definitions, &context.pods];
    let look = |key: Key| {
        let context = &context;
        async move {
            let Some(one) = context.autoscalers.get(&key.namespace, &key.name) else {
                context.lock().remove(&key);
                context.selectors.forget(&key);
                return Ok(());
            };
            context.queue.add_after(key.clone(), PERIOD);
            let looked = context.look(&key, &one).await;
            if let Err(error) = &looked {
                // It is looked at again anyway; trying at once would only be louder.
                debug!(%key, %error, "not scaled");
            }
            Ok(())
        }
    };
    work(&shared, &context.queue, &caches, WORKERS, look).await;
}

impl Context {
    async fn look(&self, key: &Key, one: &Autoscaler) -> Result<(), Error> {
        let mut status = Report::of(one);
        let target = &one.spec.scale_target_ref;
        let path = self.scale_path(key, one);
        let scale = match &path {
            Some(path) => get::<Scale>(&self.client, path)
                .await
                .map_err(|e| words(&e)),
            None => Err(format!(
                "no matches for kind {:?} in group {:?}",
                target.kind,
                target
                    .api_version
                    .rsplit_once('/')
                    .map_or("", |(group, _)| group)
            )),
        };
        let (path, scale) = match (path, scale) {
            (Some(path), Ok(scale)) => (path, scale),
            (_, scale) => {
                let why = scale.err().unwrap_or_default();
                self.events
                    .warning(about(one), "FailedGetScale", why.clone());
                let message = format!(
                    "the HPA controller was unable to get the target's current scale: {why}"
                );
                status.set("AbleToScale", false, "FailedGetScale", message);
                return self.write(one, status).await;
            }
        };
        let message = "the HPA controller was able to get the target's current scale";
        status.set("AbleToScale", true, "SucceededGetScale", message);
        let now = Timestamp::now();
        let current = scale.spec.replicas;
        self.lock()
            .entry(key.clone())
            .or_default()
            .begin(current, now);
        status.current = current;
        // What was measured before says nothing if nothing is measured now.
        status.metrics = Value::Null;
        let range = Range {
            min: one.spec.min_replicas.unwrap_or(1),
            max: one.spec.max_replicas,
        };
        let (desired, reason) = if current == 0 && range.min != 0 {
            let message = "scaling is disabled since the replica count of the target is zero";
            status.set("ScalingActive", false, "ScalingDisabled", message);
            (0, String::new())
        } else if current > range.max {
            (
                range.max,
                "Current number of replicas above Spec.MaxReplicas".to_owned(),
            )
        } else if current < range.min {
            (
                range.min,
                "Current number of replicas below Spec.MinReplicas".to_owned(),
            )
        } else {
            let wanted = match self.measure(key, one, &scale, current, &mut status).await {
                Ok(wanted) => wanted,
                Err(why) => {
                    self.events
                        .warning(about(one), "FailedComputeMetricsReplicas", why);
                    return self.write(one, status).await;
                }
            };
            if let Some(why) = &wanted.incomplete {
                debug!(%key, %why, "some metrics are left out");
            }
            let reason = match wanted.replicas.cmp(&current) {
                std::cmp::Ordering::Greater => format!("{} above target", wanted.name),
                std::cmp::Ordering::Less => "All metrics below target".to_owned(),
                std::cmp::Ordering::Equal => String::new(),
            };
            let size = {
                let mut histories = self.lock();
                let history = histories.entry(key.clone()).or_default();
                let behavior = one.spec.behavior.as_ref();
                history.settle(current, wanted.replicas, range, behavior, now)
            };
            status.set("AbleToScale", true, size.able.reason, size.able.message);
            status.set(
                "ScalingLimited",
                size.limited,
                size.limit.reason,
                size.limit.message,
            );
            (size.replicas, reason)
        };
        status.desired = desired;
        if desired == current {
            return self.write(one, status).await;
        }
        let patch = json!({"spec": {"replicas": desired}});
        match merge::<Value>(&self.client, &path, &patch).await {
            Ok(_) => {
                let message =
                    format!("the HPA controller was able to update the target scale to {desired}");
                status.set("AbleToScale", true, "SucceededRescale", message);
                let message = format!("New size: {desired}; reason: {reason}");
                info!(%key, from = current, to = desired, %reason, "scaled");
                self.events.normal(about(one), "SuccessfulRescale", message);
                let mut histories = self.lock();
                let history = histories.entry(key.clone()).or_default();
                history.scaled(current, desired, now);
                drop(histories);
                status.scaled = Some(now_text());
            }
            Err(error) => {
                let error = words(&error);
                let message = format!("New size: {desired}; reason: {reason}; error: {error}");
                self.events.warning(about(one), "FailedRescale", message);
                let message =
                    format!("the HPA controller was unable to update the target scale: {error}");
                status.set("AbleToScale", false, "FailedUpdateScale", message);
                status.desired = one.status.desired_replicas;
            }
        }
        self.write(one, status).await
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, History>> {
        // Changed in single steps, so a poisoned lock is still sound.
        self.histories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn about(one: &Autoscaler) -> ObjectReference {
    let meta = &one.metadata;
    ObjectReference {
        api_version: Some("autoscaling/v2".to_owned()),
        kind: Some("HorizontalPodAutoscaler".to_owned()),
        namespace: Some(meta.namespace.clone()),
        name: Some(meta.name.clone()),
        uid: Some(meta.uid.clone()),
        resource_version: Some(meta.resource_version.clone()),
        ..ObjectReference::default()
    }
}
