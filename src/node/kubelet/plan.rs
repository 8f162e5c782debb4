//! What to do next for a pod: a pure function of its manifest, what the engine says and
//! the worker's memory.
//!
//! ```text
//!   no sandbox ──► clear leftovers ──► create sandbox ──► wire network
//!                                                             │
//!        ┌────────────────────────────────────────────────────┘
//!        ▼
//!   init 1 ──► … ──► init n ──► every app container: missing or ended ──► start
//!                                                  (back-off permitting)
//!   nothing left that may ever run again ──► done
//! ```
//!
//! One step at a time: the worker takes it, looks again and asks again, so a step that
//! was cut off by a crash is simply found half done.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::jiff::Timestamp;

use crate::labels;
use crate::memory::Memory;
use crate::observed::Observed;
use crate::runtime::{ContainerInfo, Role, State};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// The sandbox is gone: end what still runs in its namespaces and remove its remains.
    ClearSandbox,
    /// Make and start a sandbox.
    CreateSandbox { attempt: i32 },
    /// Connect the sandbox to the pod network.
    Wire { sandbox: String },
    /// Remove a container that was made but never started.
    Discard { id: String },
    /// Make and start a container.
    Start {
        name: String,
        role: Role,
        attempt: i32,
    },
    /// End one container, which will then be started anew if its policy says so.
    Kill {
        id: String,
        name: String,
        why: KillReason,
    },
}

/// Why a running container is ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KillReason {
    /// The manifest names another image now.
    Changed,
    /// A probe gave up; its words.
    Unhealthy(String),
}

/// The answer of [`next`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Do(Act),
    /// Nothing to do before something changes, or before this moment.
    Wait(Option<Timestamp>),
    /// No container of the pod may ever run again.
    Done,
}

/// How a container is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

/// The pod's restart policy.
#[must_use]
pub fn restart_policy(spec: &PodSpec) -> RestartPolicy {
    match spec.restart_policy.as_deref() {
        Some("OnFailure") => RestartPolicy::OnFailure,
        Some("Never") => RestartPolicy::Never,
        _ => RestartPolicy::Always,
    }
}

/// Whether an init container is a sidecar: it stays and does not hold the others up.
#[must_use]
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether a container that ended so may be started again.
#[must_use]
pub fn restarts(policy: RestartPolicy, exit_code: i32) -> bool {
    match policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => exit_code != 0,
        RestartPolicy::Never => false,
    }
}

/// Whether the pod's init containers have all done their work.
#[must_use]
pub fn initialized(spec: &PodSpec, seen: &Observed) -> bool {
    let Some(sandbox) = seen.sandboxes.first() else {
        // Remains of a finished pod: its containers tell.
        return spec
            .containers
            .iter()
            .any(|c| seen.latest(&c.name).is_some())
            || spec.init_containers.iter().flatten().next().is_none();
    };
    let here = |info: &&ContainerInfo| info.label(labels::SANDBOX) == Some(sandbox.id.as_str());
    // Their containers may have been pruned; an app container proves they went well.
    let app_was_here = spec
        .containers
        .iter()
        .filter_map(|container| seen.latest(&container.name))
        .any(|info| here(&info));
    app_was_here
        || spec.init_containers.iter().flatten().all(|container| {
            seen.latest(&container.name)
                .filter(here)
                .is_some_and(|info| {
                    if is_sidecar(container) {
                        info.state == State::Running
                    } else {
                        info.state == State::Exited && info.exit_code == 0
                    }
                })
        })
}

/// See the file's head.
#[must_use]
pub fn next(pod: &Pod, seen: &Observed, memory: &Memory, now: Timestamp) -> Next {
    let Some(spec) = &pod.spec else {
        return Next::Wait(None);
    };
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) || finished(spec, seen) {
        return Next::Done;
    }
    if let Some(info) = seen
        .containers
        .values()
        .flatten()
        .find(|info| info.state == State::Created)
    {
        return Next::Do(Act::Discard {
            id: info.id.clone(),
        });
    }
    let Some(sandbox) = seen.sandbox() else {
        return without_sandbox(seen, memory, now);
    };
    if let Some(trouble) = memory.sandbox_trouble().filter(|t| t.retry_at > now) {
        return Next::Wait(Some(trouble.retry_at));
    }
    if memory.wired.as_deref() != Some(sandbox.id.as_str()) {
        return Next::Do(Act::Wire {
            sandbox: sandbox.id.clone(),
        });
    }
    if let Some(kill) = to_kill(spec, seen, memory) {
        return Next::Do(kill);
    }
    let mut gate = Gate {
        memory,
        now,
        until: None,
    };
    if !initialized(spec, seen) {
        let policy = restart_policy(spec);
        for container in spec.init_containers.iter().flatten() {
            let latest = seen
                .latest(&container.name)
                .filter(|info| info.label(labels::SANDBOX) == Some(sandbox.id.as_str()));
            match latest {
                Some(info) if info.state == State::Running && is_sidecar(container) => {}
                Some(info) if info.state == State::Running => return Next::Wait(gate.until),
                Some(info) if info.exit_code == 0 && !is_sidecar(container) => {}
                Some(info) if policy == RestartPolicy::Never && !is_sidecar(container) => {
                    debug_assert!(info.exit_code != 0);
                    return Next::Done;
                }
                ended => return gate.start(pod, container, Role::Init, ended, seen),
            }
        }
    }
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| is_sidecar(container))
        .map(|container| (container, Role::Init, RestartPolicy::Always));
    let apps = spec
        .containers
        .iter()
        .map(|container| (container, Role::App, restart_policy(spec)));
    for (container, role, policy) in sidecars.chain(apps) {
        let latest = seen.latest(&container.name);
        match latest {
            Some(info) if info.state == State::Running => {}
            Some(info) if !restarts(policy, info.exit_code) => {}
            ended => match gate.start(pod, container, role, ended, seen) {
                Next::Wait(_) => {}
                act => return act,
            },
        }
    }
    Next::Wait(gate.until)
}

fn without_sandbox(seen: &Observed, memory: &Memory, now: Timestamp) -> Next {
    if !seen.sandboxes.is_empty() || seen.running().next().is_some() {
        return Next::Do(Act::ClearSandbox);
    }
    if let Some(trouble) = memory.sandbox_trouble().filter(|t| t.retry_at > now) {
        return Next::Wait(Some(trouble.retry_at));
    }
    // Containers outlive their sandbox, so theirs tells how many there were.
    let attempt = seen
        .containers
        .values()
        .flatten()
        .filter_map(|info| info.label(labels::SANDBOX))
        .collect::<std::collections::HashSet<_>>()
        .len();
    Next::Do(Act::CreateSandbox {
        attempt: i32::try_from(attempt).unwrap_or(i32::MAX),
    })
}

fn to_kill(spec: &PodSpec, seen: &Observed, memory: &Memory) -> Option<Act> {
    let all = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers);
    for container in all {
        let Some(info) = seen.latest(&container.name) else {
            continue;
        };
        if info.state != State::Running {
            continue;
        }
        let kill = |why| {
            Some(Act::Kill {
                id: info.id.clone(),
                name: container.name.clone(),
                why,
            })
        };
        if let Some(words) = memory.unhealthy.get(&info.id) {
            return kill(KillReason::Unhealthy(words.clone()));
        }
        let image = container.image.as_deref().unwrap_or_default();
        if info
            .label(labels::SPEC_IMAGE)
            .is_some_and(|made_from| made_from != image)
        {
            return kill(KillReason::Changed);
        }
    }
    None
}

/// Whether nothing of the pod may ever run again.
fn finished(spec: &PodSpec, seen: &Observed) -> bool {
    let policy = restart_policy(spec);
    let init_failed = policy == RestartPolicy::Never
        && spec
            .init_containers
            .iter()
            .flatten()
            .filter(|container| !is_sidecar(container))
            .filter_map(|container| seen.latest(&container.name))
            .any(|info| info.state == State::Exited && info.exit_code != 0);
    init_failed
        || spec.containers.iter().all(|container| {
            seen.latest(&container.name).is_some_and(|info| {
                info.state == State::Exited && !restarts(policy, info.exit_code)
            })
        })
}

/// Decides whether a start may happen now and collects when it may.
struct Gate<'a> {
    memory: &'a Memory,
    now: Timestamp,
    until: Option<Timestamp>,
}

impl Gate<'_> {
    fn start(
        &mut self,
        pod: &Pod,
        container: &Container,
        role: Role,
        ended: Option<&ContainerInfo>,
        seen: &Observed,
    ) -> Next {
        if let Some(trouble) = self
            .memory
            .trouble(&container.name)
            .filter(|t| t.retry_at > self.now)
        {
            return self.wait(trouble.wakes_at(self.now));
        }
        if let Some(due) = restart_due(self.memory, ended).filter(|due| *due > self.now) {
            return self.wait(due);
        }
        let attempt = match seen.latest(&container.name) {
            Some(info) => info.attempt() + 1,
            None => attempt_from_status(pod, &container.name),
        };
        Next::Do(Act::Start {
            name: container.name.clone(),
            role,
            attempt,
        })
    }

    fn wait(&mut self, at: Timestamp) -> Next {
        let until = self.until.map_or(at, |until| until.min(at));
        self.until = Some(until);
        Next::Wait(self.until)
    }
}

/// When an ended container may be started again; `None` means at once.
#[must_use]
pub fn restart_due(memory: &Memory, ended: Option<&ContainerInfo>) -> Option<Timestamp> {
    let info = ended?;
    let backoff = memory.restarts.get(info.container_name())?;
    backoff.due(info.finished_at?).map(|(due, _)| due)
}

/// The engine lost the container (someone pruned it): the API still knows its count.
fn attempt_from_status(pod: &Pod, name: &str) -> i32 {
    let status = pod.status.as_ref();
    let lists = status
        .and_then(|s| s.container_statuses.as_ref())
        .into_iter()
        .chain(status.and_then(|s| s.init_container_statuses.as_ref()));
    lists
        .flatten()
        .find(|status| status.name == name && status.container_id.is_some())
        .map_or(0, |status| status.restart_count + 1)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
