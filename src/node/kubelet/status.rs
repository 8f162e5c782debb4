//! The pod's status: a pure function of its manifest, what the engine says and the
//! worker's memory. Reasons and messages are the ones users know from upstream.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodIP, PodSpec, PodStatus,
    ResourceRequirements, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::backoff::go_duration;
use crate::conditions;
use crate::lost;
use crate::manifest::{find_container, is_sidecar};
use crate::memory::Memory;
use crate::observed::Observed;
use crate::plan::initialized;
use crate::probes::Health;
use crate::resources;
use crate::restart::{RestartPolicy, restart_policy, restarts};
use crate::runtime::{ContainerInfo, Role, State};
use crate::spec;

/// Everything the status depends on.
pub struct Inputs<'a> {
    pub pod: &'a Pod,
    pub seen: &'a Observed,
    pub memory: &'a Memory,
    pub health: &'a Health,
    pub now: Timestamp,
    pub host_ip: &'a str,
    /// What containers wrote to their termination log, by container id.
    pub last_words: &'a HashMap<String, String>,
    /// The pod is being deleted: ended containers stay ended.
    pub terminating: bool,
}

/// Whether every container of a list is in one class; see [`phase`].
#[derive(Debug, Default)]
struct Tally {
    waiting: usize,
    running: usize,
    succeeded: usize,
    failed: usize,
}

/// The status as it should read now.
#[must_use]
pub fn compute(inputs: &Inputs<'_>) -> PodStatus {
    let pod = inputs.pod;
    let old = pod.status.clone().unwrap_or_default();
    let Some(spec) = &pod.spec else { return old };
    let is_initialized = initialized(spec, inputs.seen, inputs.memory);
    let mut init: Vec<ContainerStatus> = spec
        .init_containers
        .iter()
        .flatten()
        .map(|container| container_status(inputs, spec, container, Role::Init))
        .collect();
    let mut apps: Vec<ContainerStatus> = spec
        .containers
        .iter()
        .map(|container| container_status(inputs, spec, container, Role::App))
        .collect();
    let mut ephemeral: Vec<ContainerStatus> = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .filter_map(|container| find_container(pod, &container.name))
        .map(|container| container_status(inputs, spec, &container, Role::Ephemeral))
        .collect();
    let phase = phase(inputs, spec, &init, &apps, is_initialized);
    let terminal = matches!(phase, "Succeeded" | "Failed");
    // A pod that was turned away has no containers, so nothing is told of any.
    let rejected = terminal
        && inputs.seen.all().next().is_none()
        && old.container_statuses.as_ref().is_none_or(Vec::is_empty);
    if terminal {
        lost::settle(&mut init, &mut apps);
    }
    // Init containers stand in their order, all others in that of their names, as clients of
    // upstream know them.
    apps.sort_by(|a, b| a.name.cmp(&b.name));
    ephemeral.sort_by(|a, b| a.name.cmp(&b.name));
    let pod_ip = pod_address(inputs, spec, &old, phase);
    let mut status = PodStatus {
        phase: Some(phase.into()),
        host_ip: Some(inputs.host_ip.into()),
        host_ips: Some(vec![HostIP {
            ip: inputs.host_ip.into(),
        }]),
        pod_ips: pod_ip.clone().map(|ip| vec![PodIP { ip }]),
        pod_ip,
        start_time: old.start_time.clone().or(Some(Time(inputs.now))),
        init_container_statuses: (!init.is_empty() && !rejected).then_some(init),
        container_statuses: (!rejected).then_some(apps),
        ephemeral_container_statuses: (!ephemeral.is_empty()).then_some(ephemeral),
        qos_class: old
            .qos_class
            .clone()
            .or_else(|| Some(resources::class_name(spec).into())),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    };
    if let Some(over) = inputs.memory.over.as_ref().filter(|_| terminal) {
        status.reason = Some(over.reason.into());
        status.message = Some(over.message.clone());
    } else if old.phase.as_deref() == Some(phase) {
        // What was said once stands.
        status.reason = old.reason.clone();
        status.message = old.message.clone();
    }
    status.conditions = Some(conditions::compute(
        inputs,
        spec,
        &status,
        &old,
        is_initialized,
    ));
    status
}

/// The sandbox's address; a finished pod keeps the one it had.
fn pod_address(
    inputs: &Inputs<'_>,
    spec: &PodSpec,
    old: &PodStatus,
    phase: &str,
) -> Option<String> {
    if let Some(sandbox) = inputs.seen.sandbox() {
        let wired = is_wired(inputs, spec, old);
        return wired
            .then(|| sandbox_address(inputs, spec, sandbox))
            .flatten();
    }
    matches!(phase, "Succeeded" | "Failed")
        .then(|| old.pod_ip.clone())
        .flatten()
}

/// Whether the sandbox runs and its network stands. An agent that has just been started has not
/// looked yet: until then what was said of this address before stands, for nothing says otherwise.
pub(crate) fn is_wired(inputs: &Inputs<'_>, spec: &PodSpec, old: &PodStatus) -> bool {
    let Some(sandbox) = inputs.seen.sandbox() else {
        return false;
    };
    match inputs.memory.wired.as_deref() {
        Some(wired) => wired == sandbox.id,
        None => {
            inputs.memory.sandbox_trouble().is_none()
                && old.pod_ip.is_some()
                && old.pod_ip == sandbox_address(inputs, spec, sandbox)
        }
    }
}

fn sandbox_address(inputs: &Inputs<'_>, spec: &PodSpec, sandbox: &ContainerInfo) -> Option<String> {
    if spec.host_network == Some(true) {
        return Some(inputs.host_ip.to_owned());
    }
    sandbox.pod_ip().map(|ip| ip.to_string())
}

/// A pod is over once none of its containers runs any more, sidecars included: whoever sees
/// a terminal phase may count on that.
fn phase(
    inputs: &Inputs<'_>,
    spec: &PodSpec,
    init: &[ContainerStatus],
    apps: &[ContainerStatus],
    is_initialized: bool,
) -> &'static str {
    let old = inputs.pod.status.as_ref().and_then(|s| s.phase.as_deref());
    match old {
        Some("Succeeded") => return "Succeeded",
        Some("Failed") => return "Failed",
        _ => {}
    }
    let wanted = if inputs.memory.over.is_some() {
        "Failed"
    } else {
        by_containers(inputs, spec, init, apps, is_initialized)
    };
    if matches!(wanted, "Succeeded" | "Failed") && inputs.seen.running().next().is_some() {
        return match old {
            Some("Running") => "Running",
            _ => "Pending",
        };
    }
    wanted
}

fn by_containers(
    inputs: &Inputs<'_>,
    spec: &PodSpec,
    init: &[ContainerStatus],
    apps: &[ContainerStatus],
    is_initialized: bool,
) -> &'static str {
    let policy = restart_policy(spec);
    let tally = tally(apps);
    if inputs.terminating && tally.running == 0 {
        // What never ran did not succeed.
        return if tally.failed == 0 && tally.waiting == 0 {
            "Succeeded"
        } else {
            "Failed"
        };
    }
    if !is_initialized {
        let failed = init.iter().any(|status| {
            let ended = status.state.as_ref().and_then(|s| s.terminated.as_ref());
            ended.is_some_and(|ended| ended.exit_code != 0)
        });
        let over = failed && policy == RestartPolicy::Never;
        return if over { "Failed" } else { "Pending" };
    }
    if tally.waiting > 0 {
        return "Pending";
    }
    if tally.running > 0 {
        return "Running";
    }
    match policy {
        RestartPolicy::Always => "Running",
        _ if tally.failed == 0 => "Succeeded",
        RestartPolicy::Never => "Failed",
        RestartPolicy::OnFailure => "Running",
    }
}

fn tally(apps: &[ContainerStatus]) -> Tally {
    let mut tally = Tally::default();
    for status in apps {
        let state = status.state.as_ref();
        let ended = state.and_then(|s| s.terminated.as_ref());
        // A container waiting for its restart counts as what it was before.
        let before = status
            .last_state
            .as_ref()
            .and_then(|s| s.terminated.as_ref());
        let end = ended.or_else(|| state.and_then(|s| s.waiting.as_ref()).and(before));
        if state.is_some_and(|s| s.running.is_some()) {
            tally.running += 1;
        } else if let Some(end) = end {
            if end.exit_code == 0 {
                tally.succeeded += 1;
            } else {
                tally.failed += 1;
            }
        } else {
            tally.waiting += 1;
        }
    }
    tally
}

fn container_status(
    inputs: &Inputs<'_>,
    spec: &PodSpec,
    container: &Container,
    role: Role,
) -> ContainerStatus {
    let name = container.name.as_str();
    if !inputs.seen.containers.contains_key(name)
        && let Some(status) = lost::status(inputs, container, waiting_state(inputs, spec, name))
    {
        return status;
    }
    let latest = inputs
        .seen
        .latest(name)
        .filter(|info| info.state != State::Created);
    let previous = inputs.seen.previous(name);
    let state = match latest {
        Some(info) if info.state == State::Running => running(info),
        Some(info) => ended_state(inputs, spec, container, info, role),
        None => waiting_state(inputs, spec, name),
    };
    let last = match (&state.waiting, latest) {
        // Waiting for a restart: the end that led here is the last state.
        (Some(_), Some(info)) => Some(terminated(inputs, info)),
        _ => previous
            .filter(|info| info.state == State::Exited)
            .map(|info| terminated(inputs, info)),
    };
    let is_running = state.running.is_some();
    let id = latest.map(|info| info.id.as_str()).unwrap_or_default();
    let started = is_running && inputs.health.started(container, id);
    let ready = if role == Role::Ephemeral {
        false
    } else if role == Role::Init && !is_sidecar(container) {
        state
            .terminated
            .as_ref()
            .is_some_and(|ended| ended.exit_code == 0)
    } else {
        started && inputs.health.ready(container, id) && !inputs.terminating
    };
    let (allocated_resources, resources) = resources_of(inputs, container);
    ContainerStatus {
        name: name.to_owned(),
        state: Some(state),
        last_state: Some(
            last.map_or_else(ContainerState::default, |terminated| ContainerState {
                terminated: Some(terminated),
                ..ContainerState::default()
            }),
        ),
        ready,
        restart_count: latest.map_or_else(
            || lost::old_status(inputs.pod, name).map_or(0, |old| old.restart_count),
            ContainerInfo::attempt,
        ),
        image: latest.map_or_else(
            || container.image.clone().unwrap_or_default(),
            |info| info.image.clone(),
        ),
        image_id: latest.map(|info| info.image_id.clone()).unwrap_or_default(),
        container_id: latest.map(|info| format!("docker://{}", info.id)),
        started: Some(started),
        allocated_resources,
        resources: resources.filter(|_| latest.is_some()),
        stop_signal: spec::stop_signal(container).filter(|_| latest.is_some()),
        volume_mounts: mounts(container).filter(|_| latest.is_some()),
        ..ContainerStatus::default()
    }
}

type Amounts = BTreeMap<String, Quantity>;

/// What a container was promised and what it has: what its manifest asks for, unless that cannot
/// be given; then what it had before.
fn resources_of(
    inputs: &Inputs<'_>,
    container: &Container,
) -> (Option<Amounts>, Option<ResourceRequirements>) {
    let pending = inputs.memory.pending.as_ref();
    match pending.and_then(|_| lost::old_status(inputs.pod, &container.name)) {
        Some(old) => (old.allocated_resources.clone(), old.resources.clone()),
        None => {
            let asked = container.resources.as_ref();
            let requests = asked.and_then(|resources| resources.requests.clone());
            (requests, container.resources.clone())
        }
    }
}

/// What is mounted, and how. The engine makes all below a read-only mount read-only where the
/// kernel can, and promises it nowhere.
fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let all = container.volume_mounts.as_ref()?;
    let mounted = all.iter().map(|mount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: (mount.read_only == Some(true)).then(|| "Disabled".into()),
        ..VolumeMountStatus::default()
    });
    Some(mounted.collect())
}

fn running(info: &ContainerInfo) -> ContainerState {
    ContainerState {
        running: Some(ContainerStateRunning {
            started_at: info.started_at.map(Time),
        }),
        ..ContainerState::default()
    }
}

fn terminated(inputs: &Inputs<'_>, info: &ContainerInfo) -> ContainerStateTerminated {
    let reason = match (info.oom_killed, info.exit_code) {
        (true, _) => "OOMKilled",
        // The engine could not run its program at all.
        _ if info.started_at.is_none() => "StartError",
        (false, 0) => "Completed",
        _ => "Error",
    };
    let words = inputs.last_words.get(&info.id).cloned();
    ContainerStateTerminated {
        exit_code: info.exit_code,
        reason: Some(reason.into()),
        message: words.or_else(|| (!info.error.is_empty()).then(|| info.error.clone())),
        started_at: info.started_at.map(Time),
        finished_at: info.finished_at.map(Time),
        container_id: Some(format!("docker://{}", info.id)),
        signal: None,
    }
}

fn ended_state(
    inputs: &Inputs<'_>,
    spec: &PodSpec,
    container: &Container,
    info: &ContainerInfo,
    role: Role,
) -> ContainerState {
    let as_it_ended = || ContainerState {
        terminated: Some(terminated(inputs, info)),
        ..ContainerState::default()
    };
    let over = inputs.terminating || inputs.memory.over.is_some();
    if over || !restarts(spec, container, role, info.exit_code) {
        return as_it_ended();
    }
    if let Some(trouble) = inputs.memory.trouble(&container.name) {
        let (reason, message) = trouble.shown(inputs.now);
        return waiting(reason, message);
    }
    let backoff = inputs.memory.restarts.get(&container.name);
    let due = info
        .finished_at
        .and_then(|ended| backoff.and_then(|backoff| backoff.due(ended)));
    match due {
        Some((due, delay)) if due > inputs.now => waiting(
            "CrashLoopBackOff",
            &format!(
                "back-off {} restarting failed container={} pod={}",
                go_duration(delay),
                container.name,
                full_name(inputs.pod),
            ),
        ),
        _ => as_it_ended(),
    }
}

/// `name_namespace(uid)`, upstream's way of naming a pod in messages.
#[must_use]
pub fn full_name(pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!(
        "{}_{}({})",
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default(),
    )
}

fn waiting_state(inputs: &Inputs<'_>, spec: &PodSpec, name: &str) -> ContainerState {
    if let Some(trouble) = inputs.memory.trouble(name) {
        let (reason, message) = trouble.shown(inputs.now);
        return waiting(reason, message);
    }
    let has_init = spec
        .init_containers
        .as_ref()
        .is_some_and(|list| !list.is_empty());
    if has_init {
        return waiting("PodInitializing", "");
    }
    waiting("ContainerCreating", "")
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.into()),
            message: (!message.is_empty()).then(|| message.into()),
        }),
        ..ContainerState::default()
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
