//! Probes: one task per running container and kind, and what they found.
//!
//! ```text
//!   started ──(startup probe succeeds, or there is none)──► readiness + liveness
//!   startup or liveness fails `failureThreshold` times ──► worker kills the container
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::events::{EventSink, Severity};
use crate::manifest::{field_path, is_sidecar};
use crate::observed::Observed;
use crate::probe_run::{Check, Passed};
use crate::runtime::{ContainerInfo, Runtime, State};

/// Upstream's three kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Readiness => "Readiness",
            Kind::Liveness => "Liveness",
        }
    }

    fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Kind::Startup => container.startup_probe.as_ref(),
            Kind::Readiness => container.readiness_probe.as_ref(),
            Kind::Liveness => container.liveness_probe.as_ref(),
        }
    }
}

/// A verdict that stands: the thresholds have been passed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad(String),
}

/// What the probes say now, by container id.
#[derive(Debug, Clone, Default)]
pub struct Health {
    verdicts: HashMap<(String, Kind), Verdict>,
    /// Ready and started as the API last knew them, for the time before the first
    /// probe after a restart of the agent.
    known: HashMap<String, (bool, bool)>,
}

impl Health {
    /// Whether the container's startup probe has succeeded.
    #[must_use]
    pub fn started(&self, container: &Container, id: &str) -> bool {
        container.startup_probe.is_none() || self.verdict(id, Kind::Startup, |(_, started)| started)
    }

    /// Whether the container's readiness probe succeeds.
    #[must_use]
    pub fn ready(&self, container: &Container, id: &str) -> bool {
        container.readiness_probe.is_none() || self.verdict(id, Kind::Readiness, |(ready, _)| ready)
    }

    fn verdict(&self, id: &str, kind: Kind, known: impl Fn((bool, bool)) -> bool) -> bool {
        match self.verdicts.get(&(id.to_owned(), kind)) {
            Some(verdict) => *verdict == Verdict::Good,
            None => self.known.get(id).copied().is_some_and(known),
        }
    }

    /// Containers a startup or liveness probe has given up on, with the words.
    pub fn hopeless(&self) -> impl Iterator<Item = (&str, String)> {
        self.verdicts
            .iter()
            .filter_map(|((id, kind), verdict)| match (kind, verdict) {
                (Kind::Startup | Kind::Liveness, Verdict::Bad(_)) => {
                    Some((id.as_str(), kind.word().to_lowercase()))
                }
                _ => None,
            })
    }
}

type Shared = Arc<Mutex<HashMap<(String, Kind), Verdict>>>;

/// The probe tasks of one pod.
pub struct Probes {
    runtime: Arc<dyn Runtime>,
    events: EventSink,
    changed: Arc<Notify>,
    verdicts: Shared,
    tasks: HashMap<(String, Kind), AbortHandle>,
    known: HashMap<String, (bool, bool)>,
}

impl Probes {
    /// `changed` is told whenever a verdict changes.
    #[must_use]
    pub fn new(
        pod: &Pod,
        runtime: Arc<dyn Runtime>,
        events: EventSink,
        changed: Arc<Notify>,
    ) -> Self {
        Self {
            runtime,
            events,
            changed,
            verdicts: Shared::default(),
            tasks: HashMap::new(),
            known: known(pod),
        }
    }

    /// What is known now.
    #[must_use]
    pub fn health(&self) -> Health {
        Health {
            verdicts: lock(&self.verdicts).clone(),
            known: self.known.clone(),
        }
    }

    /// Starts the tasks that should run and stops the others.
    pub fn reconcile(&mut self, pod: &Pod, seen: &Observed, pod_ip: &str) {
        let Some(spec) = &pod.spec else { return };
        let health = self.health();
        let mut wanted = HashSet::new();
        let sidecars = spec
            .init_containers
            .iter()
            .flatten()
            .filter(|c| is_sidecar(c));
        for container in sidecars.chain(&spec.containers) {
            let Some(info) = seen
                .latest(&container.name)
                .filter(|i| i.state == State::Running)
            else {
                continue;
            };
            let kinds: &[Kind] = if health.started(container, &info.id) {
                &[Kind::Readiness, Kind::Liveness]
            } else {
                &[Kind::Startup]
            };
            for kind in kinds {
                if let Some(probe) = kind.of(container) {
                    let key = (info.id.clone(), *kind);
                    wanted.insert(key.clone());
                    if !self.tasks.contains_key(&key) {
                        self.spawn(pod, container, probe, info, key, pod_ip);
                    }
                }
            }
        }
        self.tasks.retain(|key, task| {
            let keep = wanted.contains(key);
            if !keep {
                task.abort();
            }
            keep
        });
        lock(&self.verdicts).retain(|(id, kind), _| {
            // The startup verdict outlives its task.
            wanted.iter().any(|(wanted_id, _)| wanted_id == id)
                || (*kind == Kind::Startup && seen.running().any(|info| info.id == *id))
        });
    }

    fn spawn(
        &mut self,
        pod: &Pod,
        container: &Container,
        probe: &Probe,
        info: &ContainerInfo,
        key: (String, Kind),
        pod_ip: &str,
    ) {
        let kind = key.1;
        let path = field_path(pod, &container.name);
        let check = match (
            Check::bad_port(probe, container),
            Check::new(probe, container, pod_ip),
        ) {
            (Some(why), _) => Err(why),
            (None, Ok(check)) => Ok(check),
            (None, Err(why)) => {
                let note = format!("{} probe is ignored: {why}", kind.word());
                self.events
                    .pod(pod, Some(path), Severity::Warning, "ProbeIgnored", note);
                lock(&self.verdicts).insert(key.clone(), Verdict::Good);
                let done = tokio::spawn(async {}).abort_handle();
                self.tasks.insert(key, done);
                self.changed.notify_one();
                return;
            }
        };
        let task = Task {
            check,
            timing: Timing::new(probe, kind),
            running_for: running_for(info),
            key: key.clone(),
            runtime: self.runtime.clone(),
            verdicts: self.verdicts.clone(),
            changed: self.changed.clone(),
            events: self.events.clone(),
            pod: pod.clone(),
            path,
        };
        self.tasks
            .insert(key, tokio::spawn(task.run()).abort_handle());
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn known(pod: &Pod) -> HashMap<String, (bool, bool)> {
    let status = pod.status.as_ref();
    let lists = status
        .and_then(|s| s.container_statuses.as_ref())
        .into_iter()
        .chain(status.and_then(|s| s.init_container_statuses.as_ref()));
    lists
        .flatten()
        .filter_map(|status| {
            let id = status.container_id.as_deref()?.strip_prefix("docker://")?;
            Some((
                id.to_owned(),
                (status.ready, status.started.unwrap_or(false)),
            ))
        })
        .collect()
}

fn running_for(info: &ContainerInfo) -> Duration {
    info.started_at
        .map(|at| Timestamp::now().duration_since(at))
        .and_then(|age| Duration::try_from(age).ok())
        .unwrap_or_default()
}

/// A probe's numbers with upstream's defaults.
#[derive(Debug, Clone, Copy)]
struct Timing {
    delay: Duration,
    period: Duration,
    timeout: Duration,
    successes: u32,
    failures: u32,
}

impl Timing {
    fn new(probe: &Probe, kind: Kind) -> Self {
        let number = |value: Option<i32>, default: u32| {
            value
                .and_then(|n| u32::try_from(n).ok())
                .filter(|n| *n > 0)
                .unwrap_or(default)
        };
        let seconds = |value, default| Duration::from_secs(number(value, default).into());
        Self {
            delay: Duration::from_secs(
                probe
                    .initial_delay_seconds
                    .and_then(|n| u64::try_from(n).ok())
                    .unwrap_or(0),
            ),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            successes: if kind == Kind::Readiness {
                number(probe.success_threshold, 1)
            } else {
                1
            },
            failures: number(probe.failure_threshold, 3),
        }
    }
}

struct Task {
    /// What to do, or why there is nothing to do.
    check: Result<Check, String>,
    timing: Timing,
    running_for: Duration,
    key: (String, Kind),
    runtime: Arc<dyn Runtime>,
    verdicts: Shared,
    changed: Arc<Notify>,
    events: EventSink,
    pod: Pod,
    path: String,
}

impl Task {
    async fn run(self) {
        tokio::time::sleep(self.timing.delay.saturating_sub(self.running_for)).await;
        let mut ticks = tokio::time::interval(self.timing.period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut good, mut bad) = (0, 0);
        loop {
            ticks.tick().await;
            let check = match &self.check {
                Ok(check) => check,
                Err(why) => {
                    // No verdict, as with upstream: who waits for a first success goes on
                    // waiting, and nobody is killed.
                    let kind = self.key.1.word();
                    self.unhealthy(format!(
                        "{kind} probe errored and resulted in unknown state: {why}"
                    ));
                    continue;
                }
            };
            let result = check
                .run(self.runtime.as_ref(), &self.key.0, self.timing.timeout)
                .await;
            match result {
                Ok(passed) => {
                    if passed == Passed::Redirected {
                        let kind = self.key.1.word();
                        let words = format!("{kind} probe warning: Probe terminated redirects");
                        self.tell("ProbeWarning", words);
                    }
                    (good, bad) = (good + 1, 0);
                    if good >= self.timing.successes {
                        self.conclude(Verdict::Good);
                    }
                }
                Err(words) => {
                    (good, bad) = (0, bad + 1);
                    self.unhealthy(format!("{} probe failed: {words}", self.key.1.word()));
                    if bad >= self.timing.failures {
                        self.conclude(Verdict::Bad(words));
                    }
                }
            }
        }
    }

    fn unhealthy(&self, words: String) {
        self.tell("Unhealthy", words);
    }

    fn tell(&self, reason: &'static str, words: String) {
        let path = Some(self.path.clone());
        self.events
            .pod(&self.pod, path, Severity::Warning, reason, words);
    }

    fn conclude(&self, verdict: Verdict) {
        let mut verdicts = lock(&self.verdicts);
        if verdicts.get(&self.key) != Some(&verdict) {
            verdicts.insert(self.key.clone(), verdict);
            self.changed.notify_one();
        }
    }
}

#[cfg(test)]
#[path = "probes_tests.rs"]
mod tests;
