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

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::admission::{admit, resize, withstands};
use crate::conditions::OWN_CONDITIONS;
use crate::events::Severity;
use crate::manifest::{field_path, find_container, is_sidecar, role_of};
use crate::memory::Memory;
use crate::observed::Observed;
use crate::plan::{self, Next};
use crate::probes::Probes;
use crate::restart::restarts;
use crate::runtime::{LogQuery, RuntimeError, State};
use crate::shared::{ApiFailure, Shared, version};
use crate::static_pods::is_static;
use crate::status::{self, full_name};
use crate::verdict::{Over, REJECTED};

/// A look without any reason, in case an event was lost.
const RESYNC: Duration = Duration::from_secs(10 * 60);
/// What of a log stands in for last words, upstream's figures.
const LOG_LINES: i64 = 80;
const LOG_BYTES: usize = 2048;
/// Wait after the engine or the API server failed.
pub(crate) const RETRY: SignedDuration = SignedDuration::from_secs(5);
/// Between two contradictions: while the node still counts as silent, its controller says no again.
const INSIST: SignedDuration = SignedDuration::from_secs(2);
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
    /// How often the mirror of a static pod was made: it then knows no status.
    pub mirror: u64,
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
    /// The change that made it.
    published_at: Option<u64>,
    /// When we last said again what somebody had overruled.
    insisted: Option<Timestamp>,
    mirror: u64,
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
            published_at: None,
            insisted: None,
            mirror: 0,
        }
    }

    /// Runs until the pod has ended, or until `shutdown`, which leaves its containers
    /// running.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let desired = self.desired.borrow_and_update().clone();
            if desired.mirror != self.mirror {
                self.mirror = desired.mirror;
                self.published = None;
            }
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
            self.collect_last_words(pod, &seen).await;
            let now = Timestamp::now();
            let deadline = self.judge(pod, &seen, now);
            let weighed = self.weigh(pod, &seen, now);
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
                    let renewal = self.refresh_volumes(pod, &seen).await;
                    let other = earlier(earlier(deadline, renewal), weighed);
                    return earlier(earlier(until, retry), other);
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

    /// Whether the pod is over for a reason outside its containers. Returns when it will
    /// have been active for too long.
    fn judge(&mut self, pod: &Pod, seen: &Observed, now: Timestamp) -> Option<Timestamp> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let changes = self.shared.pods.changes(uid);
        if changes != self.memory.noticed {
            self.memory.noticed = changes;
            self.memory.config_changed();
        }
        let status = self.published.as_ref().or(pod.status.as_ref());
        let deadline = deadline(pod, status);
        let phase = status.and_then(|s| s.phase.as_deref());
        if self.memory.over.is_some() || matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        let untouched = seen.all().next().is_none() && !self.memory.admitted;
        self.memory.admitted = true;
        let mut over = self.shared.pods.sentence(uid);
        if over.is_none() && deadline.is_some_and(|at| at <= now) {
            over = Some(Over::deadline());
        }
        if over.is_none() && untouched {
            let pods = &self.shared.pods;
            let fits = withstands(pod, &pods.pressures())
                .and_then(|()| admit(pod, &pods.pods(), &self.shared.room));
            over = fits.err();
        }
        if let Some(over) = over {
            let severity = match over.reason {
                "DeadlineExceeded" => Severity::Normal,
                _ => Severity::Warning,
            };
            let words = over.message.trim_start_matches(REJECTED);
            self.shared
                .events
                .pod(pod, None, severity, over.reason, words);
            self.memory.over = Some(over);
        }
        deadline
    }

    /// Whether the pod can have other resources, if it asks for some. Returns when to look again
    /// whether others have left it theirs.
    fn weigh(&mut self, pod: &Pod, seen: &Observed, now: Timestamp) -> Option<Timestamp> {
        let spec = pod.spec.as_ref();
        let asked = spec.is_some_and(|spec| plan::wants_resize(spec, seen, &self.memory));
        let refused = || resize(pod, &self.shared.pods.pods(), &self.shared.room).err();
        self.memory.pending = if asked { refused() } else { None };
        let pending = self.memory.pending.as_ref();
        pending
            .filter(|pending| pending.reason == "Deferred")
            .map(|_| now + RETRY)
    }

    /// The end of a failed container's log becomes its last words if it wrote none and
    /// its manifest asks for that.
    async fn collect_last_words(&mut self, pod: &Pod, seen: &Observed) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        for (name, runs) in &seen.containers {
            let Some(info) = runs.first().filter(|info| info.state == State::Exited) else {
                continue;
            };
            let wanted = info.exit_code != 0
                && find_container(pod, name).is_some_and(|container| {
                    container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError")
                });
            if !wanted || !self.memory.tell_once(format!("words {}", info.id)) {
                continue;
            }
            let volumes = &self.shared.volumes;
            if volumes.last_words(uid, name, info.attempt()).is_some() {
                continue;
            }
            let kept = match self.end_of_log(&info.id).await {
                Ok(text) => volumes
                    .write_last_words(uid, name, info.attempt(), &text)
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = kept {
                tracing::warn!(pod = full_name(pod), error, "cannot keep the end of a log");
            }
        }
    }

    async fn end_of_log(&self, id: &str) -> Result<Vec<u8>, RuntimeError> {
        let query = LogQuery {
            tail: Some(LOG_LINES),
            ..LogQuery::default()
        };
        let mut parts = self.shared.runtime.logs(id, &query).await?;
        let mut text = Vec::new();
        while let Some(part) = parts.try_next().await? {
            text.extend_from_slice(&part);
        }
        Ok(text.split_off(text.len().saturating_sub(LOG_BYTES)))
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
        let health = probes.health();
        self.memory.unhealthy = health
            .hopeless()
            .map(|(id, word)| (id.to_owned(), word))
            .collect();
        let sidecars = pod
            .spec
            .iter()
            .flat_map(|spec| spec.init_containers.iter().flatten())
            .filter(|container| is_sidecar(container));
        self.memory.starting = sidecars
            .filter_map(|container| Some((container, seen.latest(&container.name)?)))
            .filter(|(container, info)| !health.started(container, &info.id))
            .map(|(_, info)| info.id.clone())
            .collect();
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
            let path = || Some(field_path(pod, name));
            if let Some(trouble) = self.memory.trouble(name).cloned() {
                let (reason, _) = trouble.shown(now);
                if reason == "ImagePullBackOff"
                    && self
                        .memory
                        .tell_once(format!("{name} {reason} {}", trouble.since))
                {
                    let events = &self.shared.events;
                    // The cause is in the status; the event counts, so its words are fixed.
                    let image = container.image.as_deref().unwrap_or_default();
                    let words = format!("Back-off pulling image \"{image}\"");
                    events.pod(pod, path(), Severity::Normal, "BackOff", words);
                    let error = format!("Error: {reason}");
                    events.pod(pod, path(), Severity::Warning, "Failed", error);
                }
                continue;
            }
            let Some(info) = seen.latest(name).filter(|info| info.state == State::Exited) else {
                continue;
            };
            let waits = plan::restart_due(&self.memory, Some(info)).is_some_and(|due| due > now)
                && restarts(spec, container, role_of(pod, name), info.exit_code);
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

    /// Sends the status if it differs from what was sent last, or if somebody has said otherwise
    /// since. Returns when to try again if that failed.
    pub(crate) async fn publish(
        &mut self,
        pod: &Pod,
        seen: &Observed,
        terminating: bool,
    ) -> Option<Timestamp> {
        if self.contradicted(pod) {
            let now = Timestamp::now();
            let again = self.insisted.map(|at| at + INSIST);
            if let Some(again) = again.filter(|again| *again > now) {
                return Some(again);
            }
            self.insisted = Some(now);
            self.published = None;
        }
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
            Ok(Ok(at)) => {
                self.published = Some(status);
                self.published_at = at;
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

    /// Whether somebody changed what only we know after we had said it: the node controller does
    /// where a node was silent, and may do so once more when its agent is back already.
    fn contradicted(&self, pod: &Pod) -> bool {
        let (Some(published), Some(at)) = (&self.published, self.published_at) else {
            return false;
        };
        let said = |status: &PodStatus| -> BTreeMap<String, String> {
            let all = status.conditions.iter().flatten();
            let own = all.filter(|condition| OWN_CONDITIONS.contains(&condition.type_.as_str()));
            own.map(|condition| (condition.type_.clone(), condition.status.clone()))
                .collect()
        };
        version(pod).is_some_and(|seen| seen > at)
            && pod.status.as_ref().map(said) != Some(said(published))
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
            "containerStatuses",
            "initContainerStatuses",
            "ephemeralContainerStatuses",
        ] {
            fields.entry(name).or_insert(Value::Null);
        }
    }
    if is_static(pod) {
        // Its mirror has a UID of its own.
        return json!({"status": status});
    }
    json!({"metadata": {"uid": pod.metadata.uid}, "status": status})
}

/// When the pod will have been active for as long as it may.
fn deadline(pod: &Pod, status: Option<&PodStatus>) -> Option<Timestamp> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    let begun = status?.start_time.as_ref()?.0;
    begun.checked_add(SignedDuration::from_secs(seconds)).ok()
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
