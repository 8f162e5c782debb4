//! What to do next for a pod: a pure function of its manifest, what the engine says and
//! the worker's memory.
//!
//! ```text
//!   no sandbox ──► clear leftovers ──► volumes ──► create sandbox ──► wire network
//!                                                                          │
//!        ┌─────────────────────────────────────────────────────────────────┘
//!        ▼
//!   init 1 ──► … ──► init n ──► every app container: missing or ended ──► start
//!   (ended well; sidecars: started)                (back-off permitting)
//!   nothing left that may ever run again ──► done
//! ```
//!
//! One step at a time: the worker takes it, looks again and asks again, so a step that
//! was cut off by a crash is simply found half done.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::jiff::Timestamp;

use crate::labels;
use crate::lost;
use crate::manifest::{find_container, is_sidecar};
use crate::memory::Memory;
use crate::observed::Observed;
use crate::resources;
use crate::restart::restarts;
use crate::runtime::{ContainerInfo, Role, State};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// The sandbox is gone: end what still runs in its namespaces and remove its remains.
    ClearSandbox,
    /// Make the pod's volumes.
    Mount,
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
    /// Give a running container the limits its manifest has now.
    Resize { id: String, name: String },
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
    /// Its limits are to change, and not while it runs.
    Resized,
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

/// Whether the pod's init containers have all done their work and its sidecars have started.
#[must_use]
pub fn initialized(spec: &PodSpec, seen: &Observed, memory: &Memory) -> bool {
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
                        info.state == State::Running && !memory.starting.contains(&info.id)
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
    let over = memory.over.is_some() || matches!(phase, Some("Succeeded" | "Failed"));
    if over || finished(spec, seen) {
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
    if let Some(change) = to_change(spec, seen, memory) {
        return Next::Do(change);
    }
    let mut gate = Gate {
        memory,
        now,
        until: None,
    };
    if !initialized(spec, seen, memory) {
        for container in spec.init_containers.iter().flatten() {
            let latest = seen
                .latest(&container.name)
                .filter(|info| info.label(labels::SANDBOX) == Some(sandbox.id.as_str()));
            match latest {
                Some(info) if info.state == State::Running => {
                    if !is_sidecar(container) || memory.starting.contains(&info.id) {
                        return Next::Wait(gate.until);
                    }
                }
                Some(info) if info.exit_code == 0 && !is_sidecar(container) => {}
                Some(info) if !restarts(spec, container, Role::Init, info.exit_code) => {
                    debug_assert!(info.exit_code != 0);
                    return Next::Done;
                }
                ended => return gate.start(pod, container, Role::Init, ended, seen),
            }
        }
    }
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| is_sidecar(container));
    let sidecars = sidecars.map(|container| (container, Role::Init));
    let apps = spec.containers.iter().map(|c| (c, Role::App));
    for (container, role) in sidecars.chain(apps) {
        match seen.latest(&container.name) {
            Some(info) if info.state == State::Running => {}
            Some(info) if !restarts(spec, container, role, info.exit_code) => {}
            // The engine lost it, and it is not to run a second time.
            None if lost::exit_code(pod, &container.name)
                .is_some_and(|code| !restarts(spec, container, role, code)) => {}
            ended => match gate.start(pod, container, role, ended, seen) {
                Next::Wait(_) => {}
                act => return act,
            },
        }
    }
    for ephemeral in spec.ephemeral_containers.iter().flatten() {
        let name = &ephemeral.name;
        // One that ever ran here does not run again, even if the engine lost it.
        if seen.latest(name).is_none()
            && lost::attempts(pod, name) == 0
            && let Some(container) = find_container(pod, name)
        {
            match gate.start(pod, &container, Role::Ephemeral, None, seen) {
                Next::Wait(_) => {}
                act => return act,
            }
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
    if let Some(step) = mounting(memory, now) {
        return step;
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

/// Volumes come before anything that could use them.
fn mounting(memory: &Memory, now: Timestamp) -> Option<Next> {
    if memory.places.is_some() {
        return None;
    }
    Some(match memory.mount_trouble().filter(|t| t.retry_at > now) {
        Some(trouble) => Next::Wait(Some(trouble.retry_at)),
        None => Next::Do(Act::Mount),
    })
}

/// What a running container needs: its end, or other limits.
fn to_change(spec: &PodSpec, seen: &Observed, memory: &Memory) -> Option<Act> {
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
        if memory.pending.is_some() {
            continue;
        }
        if let Some((has, wanted)) = other_limits(spec, container, info, memory) {
            let (has, wanted) = (has.as_str(), wanted.as_str());
            if resources::restarts_for(container, has, wanted) {
                return kill(KillReason::Resized);
            }
            return Some(Act::Resize {
                id: info.id.clone(),
                name: container.name.clone(),
            });
        }
    }
    None
}

/// The limits a container has and those its manifest asks for now, if they differ.
fn other_limits(
    spec: &PodSpec,
    container: &Container,
    info: &ContainerInfo,
    memory: &Memory,
) -> Option<(String, String)> {
    // Of no importance here: the machine's memory only sets the score.
    let wanted = resources::label(&resources::limits(spec, container, 1));
    let made = info.label(labels::LIMITS);
    let has = memory.resized.get(&info.id).map(String::as_str).or(made)?;
    (has != wanted).then(|| (has.to_owned(), wanted))
}

/// Whether a running container of the pod is to get other limits than it has.
#[must_use]
pub fn wants_resize(spec: &PodSpec, seen: &Observed, memory: &Memory) -> bool {
    let init = spec.init_containers.iter().flatten();
    init.chain(&spec.containers).any(|container| {
        seen.latest(&container.name)
            .filter(|info| info.state == State::Running)
            .is_some_and(|info| other_limits(spec, container, info, memory).is_some())
    })
}

/// Whether nothing of the pod may ever run again.
fn finished(spec: &PodSpec, seen: &Observed) -> bool {
    let over = |container: &Container, role| {
        seen.latest(&container.name).is_some_and(|info| {
            info.state == State::Exited && !restarts(spec, container, role, info.exit_code)
        })
    };
    let init_failed = spec.init_containers.iter().flatten().any(|container| {
        over(container, Role::Init)
            && seen
                .latest(&container.name)
                .is_some_and(|info| info.exit_code != 0)
    });
    init_failed
        || spec
            .containers
            .iter()
            .all(|container| over(container, Role::App))
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
        if let Some(step) = mounting(self.memory, self.now) {
            return match step {
                Next::Wait(Some(at)) => self.wait(at),
                step => step,
            };
        }
        let attempt = match seen.latest(&container.name) {
            Some(info) => info.attempt() + 1,
            // Somebody pruned it: the API still knows its count.
            None => lost::attempts(pod, &container.name),
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

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
