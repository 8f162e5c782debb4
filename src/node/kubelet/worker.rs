//! One task per pod: it looks at the engine, takes the next step, tells the API server,
//! and waits for a reason to look again.
//!
//! ```text
//!             ┌────────────► look ──► plan ──► publish status
//!             │                         │
//!   a step ◄──┴── Do(act) ◄─────────────┤
//!                                       ├──► Wait ──► pod changed · container event ·
//!                                       │             probe verdict · timer ──► look
//!                                       └──► Done ──► clean up, keep the logs ──► Wait
//!
//!   deleted, or vanished from the API ──► end (see end.rs): stop, remove, confirm
//! ```
//!
//! Nothing here is needed to continue after a crash: the engine's containers carry it all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::conditions::OWN_CONDITIONS;
use crate::events::Severity;
use crate::memory::Memory;
use crate::observed::Observed;
use crate::plan::{self, Next};
use crate::probes::Probes;
use crate::runtime::{RuntimeError, State};
use crate::shared::{ApiFailure, Shared};
use crate::status::{self, full_name};

/// A look without any reason, in case an event was lost.
const RESYNC: Duration = Duration::from_secs(90);
/// Wait after the engine or the API server failed.
pub(crate) const RETRY: SignedDuration = SignedDuration::from_secs(5);
/// Longest wait for the API server to take a status.
const PUBLISH: Duration = Duration::from_secs(10);
/// Steps taken before the worker pauses, should a plan ever fail to converge.
const STEPS: usize = 200;

/// What the API says about the pod.
#[derive(Debug, Clone)]
pub struct Desired {
    pub pod: Arc<Pod>,
    /// The object no longer exists.
    pub gone: bool,
}

impl Desired {
    /// Whether the pod must stop.
    #[must_use]
    pub fn ending(&self) -> bool {
        self.gone || self.pod.metadata.deletion_timestamp.is_some()
    }
}

/// See the file's head.
pub struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) desired: watch::Receiver<Desired>,
    wake: Arc<Notify>,
    pub(crate) memory: Memory,
    pub(crate) probes: Option<Probes>,
    /// The status the API server last accepted from us.
    published: Option<PodStatus>,
}

impl Worker {
    /// `wake` is told when one of the pod's containers changes.
    #[must_use]
    pub fn new(shared: Arc<Shared>, desired: watch::Receiver<Desired>, wake: Arc<Notify>) -> Self {
        let probes = {
            let desired = desired.borrow();
            Probes::new(
                &desired.pod,
                shared.runtime.clone(),
                shared.events.clone(),
                wake.clone(),
            )
        };
        Self {
            shared,
            desired,
            wake,
            memory: Memory::default(),
            probes: Some(probes),
            published: None,
        }
    }

    /// Runs until the pod has ended, or until `shutdown`, which leaves its containers
    /// running.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let desired = self.desired.borrow_and_update().clone();
            if desired.ending() {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = self.end() => {}
                }
                return;
            }
            let mut ending = self.desired.clone();
            let until = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                // A pull may take minutes; a deleted pod does not wait for it.
                _ = ending.wait_for(Desired::ending) => continue,
                until = self.sync(&desired.pod) => until,
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = self.desired.changed() => if changed.is_err() { return },
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause_until(until)) => {}
            }
        }
    }

    /// Takes steps until there is nothing to do; returns when to look again.
    pub(crate) async fn sync(&mut self, pod: &Pod) -> Option<Timestamp> {
        for _ in 0..STEPS {
            let seen = match self.look(pod).await {
                Ok(seen) => seen,
                Err(error) => {
                    tracing::warn!(pod = full_name(pod), %error, "cannot look at the containers");
                    return Some(Timestamp::now() + RETRY);
                }
            };
            self.follow_probes(pod, &seen);
            let now = Timestamp::now();
            let next = plan::next(pod, &seen, &self.memory, now);
            self.tell_waits(pod, &seen, now);
            let retry = self.publish(pod, &seen, false).await;
            match next {
                Next::Do(act) => {
                    tracing::debug!(pod = full_name(pod), ?act, "step");
                    if let Err(error) = self.act(pod, &seen, act).await {
                        tracing::warn!(pod = full_name(pod), %error, "step failed");
                        return Some(Timestamp::now() + RETRY);
                    }
                }
                Next::Wait(until) => {
                    self.refresh_volumes(pod, &seen).await;
                    return earlier(until, retry);
                }
                Next::Done => return self.finish(pod, &seen).await,
            }
        }
        tracing::error!(pod = full_name(pod), "the plan does not converge");
        Some(Timestamp::now() + RETRY)
    }

    pub(crate) async fn look(&self, pod: &Pod) -> Result<Observed, RuntimeError> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        Ok(Observed::new(
            self.shared.runtime.pod_containers(uid).await?,
        ))
    }

    fn follow_probes(&mut self, pod: &Pod, seen: &Observed) {
        let Some(probes) = &mut self.probes else {
            return;
        };
        let spec_host = pod
            .spec
            .as_ref()
            .is_some_and(|s| s.host_network == Some(true));
        let address = match seen.sandbox().and_then(|sandbox| sandbox.pod_ip()) {
            Some(ip) => ip.to_string(),
            None if spec_host => self.shared.host_ip.clone(),
            None => return,
        };
        probes.reconcile(pod, seen, &address);
        let hopeless: Vec<(String, String)> = probes
            .health()
            .hopeless()
            .map(|(id, word)| (id.to_owned(), word))
            .collect();
        self.memory.unhealthy = hopeless.into_iter().collect();
    }

    /// Says once per attempt that a container or image is backing off.
    fn tell_waits(&mut self, pod: &Pod, seen: &Observed, now: Timestamp) {
        let Some(spec) = &pod.spec else { return };
        for container in spec
            .init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
        {
            let name = &container.name;
            let path = || Some(format!("spec.containers{{{name}}}"));
            if let Some(trouble) = self.memory.trouble(name).cloned() {
                let (reason, message) = trouble.shown(now);
                if reason == "ImagePullBackOff"
                    && self
                        .memory
                        .tell_once(format!("{name} {reason} {}", trouble.since))
                {
                    let events = &self.shared.events;
                    events.pod(pod, path(), Severity::Normal, "BackOff", message);
                    let error = format!("Error: {reason}");
                    events.pod(pod, path(), Severity::Warning, "Failed", error);
                }
                continue;
            }
            let Some(info) = seen.latest(name).filter(|info| info.state == State::Exited) else {
                continue;
            };
            let waits = plan::restart_due(&self.memory, Some(info)).is_some_and(|due| due > now)
                && plan::restarts(plan::restart_policy(spec), info.exit_code);
            if waits && self.memory.tell_once(format!("{name} crash {}", info.id)) {
                let words = format!(
                    "Back-off restarting failed container {name} in pod {}",
                    full_name(pod)
                );
                self.shared
                    .events
                    .pod(pod, path(), Severity::Warning, "BackOff", words);
            }
        }
    }

    /// Sends the status if it differs from what was sent last. Returns when to try again
    /// if that failed.
    pub(crate) async fn publish(
        &mut self,
        pod: &Pod,
        seen: &Observed,
        terminating: bool,
    ) -> Option<Timestamp> {
        let known = self.with_published_status(pod);
        let health = self.probes.as_ref().map(Probes::health).unwrap_or_default();
        let last_words = self.last_words(pod, seen);
        let status = status::compute(&status::Inputs {
            pod: &known,
            seen,
            memory: &self.memory,
            health: &health,
            now: Timestamp::now(),
            host_ip: &self.shared.host_ip,
            last_words: &last_words,
            terminating,
        });
        let as_json = |status: &PodStatus| serde_json::to_value(status).unwrap_or_default();
        let new = as_json(&status);
        let old = self.published.as_ref().or(pod.status.as_ref()).map(as_json);
        if old.as_ref() == Some(&new) {
            return None;
        }
        let patch = patch(pod, new);
        match tokio::time::timeout(PUBLISH, self.shared.api.publish(pod, patch)).await {
            Ok(Ok(())) => {
                self.published = Some(status);
                None
            }
            // The watch will say so too.
            Ok(Err(ApiFailure::Gone)) => None,
            Ok(Err(ApiFailure::Other(reason))) => {
                tracing::warn!(pod = full_name(pod), reason, "cannot publish the status");
                Some(Timestamp::now() + RETRY)
            }
            Err(_) => {
                tracing::warn!(
                    pod = full_name(pod),
                    "the API server is slow to take the status"
                );
                Some(Timestamp::now() + RETRY)
            }
        }
    }

    /// The pod as the API would show it had its watch delivered our last status already;
    /// otherwise times of change would flicker.
    fn with_published_status(&self, pod: &Pod) -> Pod {
        let mut known = pod.clone();
        if let Some(published) = &self.published {
            let foreign = pod
                .status
                .iter()
                .flat_map(|status| status.conditions.iter().flatten())
                .filter(|condition| !OWN_CONDITIONS.contains(&condition.type_.as_str()));
            let own = published.conditions.iter().flatten();
            let own = own.filter(|condition| OWN_CONDITIONS.contains(&condition.type_.as_str()));
            let mut status = published.clone();
            status.conditions = Some(foreign.chain(own).cloned().collect());
            known.status = Some(status);
        }
        known
    }

    fn last_words(&self, pod: &Pod, seen: &Observed) -> HashMap<String, String> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let ended = seen
            .containers
            .values()
            .flatten()
            .filter(|info| info.state == State::Exited);
        ended
            .filter_map(|info| {
                let volumes = &self.shared.volumes;
                let words = volumes.last_words(uid, info.container_name(), info.attempt())?;
                Some((info.id.clone(), words))
            })
            .collect()
    }
}

/// A merge patch; fields the status no longer has are cleared.
fn patch(pod: &Pod, mut status: Value) -> Value {
    if let Some(fields) = status.as_object_mut() {
        for name in [
            "podIP",
            "podIPs",
            "message",
            "reason",
            "initContainerStatuses",
        ] {
            fields.entry(name).or_insert(Value::Null);
        }
    }
    json!({"metadata": {"uid": pod.metadata.uid}, "status": status})
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn pause_until(until: Option<Timestamp>) -> Duration {
    let Some(until) = until else { return RESYNC };
    let wait = until.duration_since(Timestamp::now());
    Duration::try_from(wait).unwrap_or_default().min(RESYNC)
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
