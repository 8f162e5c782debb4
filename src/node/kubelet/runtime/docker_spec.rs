//! Translation between our container description and Docker's. Pure.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, ContainerUpdateBody,
    DeviceMapping, HostConfig, HostConfigLogConfig, RestartPolicy, RestartPolicyNameEnum,
};
use k8s_openapi::jiff::Timestamp;

use super::{BindMount, ContainerInfo, ContainerSpec, Device, Limits, State};

/// Length of the CFS period in microseconds, the kernel's and upstream's default.
const CPU_PERIOD: i64 = 100_000;

/// Files a container's log is kept in: the one written to and older ones.
pub(super) const LOG_FILES: usize = 5;

/// Exit code shown for a program that could not be run at all, as CRI runtimes do.
const START_ERROR: i32 = 128;

/// Docker's form of `spec`.
pub(super) fn create_body(spec: &ContainerSpec) -> ContainerCreateBody {
    let namespaces = &spec.namespaces;
    let limits = &spec.limits;
    let host_config = HostConfig {
        network_mode: Some(namespaces.network.clone()),
        ipc_mode: non_empty(&namespaces.ipc),
        pid_mode: non_empty(&namespaces.pid),
        runtime: spec.runtime.clone(),
        binds: Some(spec.mounts.iter().map(bind).collect()),
        devices: (!spec.devices.is_empty()).then(|| spec.devices.iter().map(device).collect()),
        cpu_shares: positive(limits.cpu_shares),
        cpu_quota: positive(limits.cpu_quota),
        cpu_period: positive(limits.cpu_quota).map(|_| CPU_PERIOD),
        memory: positive(limits.memory),
        // Equal to memory: no swap on top.
        memory_swap: positive(limits.memory),
        oom_score_adj: Some(limits.oom_score_adj),
        privileged: Some(spec.privileged),
        readonly_rootfs: Some(spec.read_only_root),
        cap_add: Some(spec.cap_add.clone()),
        cap_drop: Some(spec.cap_drop.clone()),
        group_add: Some(spec.groups.clone()),
        sysctls: Some(spec.sysctls.clone()),
        security_opt: Some(security_options(spec)),
        masked_paths: spec.unmasked_proc.then(Vec::new),
        readonly_paths: spec.unmasked_proc.then(Vec::new),
        // The kubelet restarts containers; Docker must not do so behind its back.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        log_config: Some(log_config(spec.keep_log)),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        hostname: spec.hostname.clone(),
        user: spec.user.clone(),
        env: Some(spec.env.clone()),
        entrypoint: spec.entrypoint.clone(),
        cmd: spec.args.clone(),
        image: Some(spec.image.clone()),
        working_dir: spec.working_dir.clone(),
        stop_signal: spec.stop_signal.clone(),
        labels: Some(spec.labels.clone()),
        open_stdin: Some(spec.stdin),
        stdin_once: Some(spec.stdin_once),
        tty: Some(spec.tty),
        host_config: Some(host_config),
        ..ContainerCreateBody::default()
    }
}

/// Other limits for a container that runs; zero takes one away.
pub(super) fn update_body(limits: &Limits) -> ContainerUpdateBody {
    ContainerUpdateBody {
        cpu_shares: positive(limits.cpu_shares),
        // -1 is Docker's word for no limit.
        cpu_quota: Some(positive(limits.cpu_quota).unwrap_or(-1)),
        cpu_period: positive(limits.cpu_quota).map(|_| CPU_PERIOD),
        memory: positive(limits.memory),
        memory_swap: Some(positive(limits.memory).unwrap_or(-1)),
        ..ContainerUpdateBody::default()
    }
}

fn security_options(spec: &ContainerSpec) -> Vec<String> {
    let mut options = spec.security_opt.clone();
    if spec.no_new_privileges {
        options.push("no-new-privileges".into());
    }
    options
}

/// `json-file` whatever the daemon's default, since `kubectl logs` reads it back;
/// rotated as upstream does (10 MiB, five files).
fn log_config(keep: bool) -> HostConfigLogConfig {
    if !keep {
        return HostConfigLogConfig {
            typ: Some("none".into()),
            config: None,
        };
    }
    HostConfigLogConfig {
        typ: Some("json-file".into()),
        config: Some(HashMap::from([
            ("max-size".into(), "10m".into()),
            ("max-file".into(), LOG_FILES.to_string()),
        ])),
    }
}

fn bind(mount: &BindMount) -> String {
    let mut options = vec![if mount.read_only { "ro" } else { "rw" }];
    options.extend(mount.propagation);
    format!(
        "{}:{}:{}",
        mount.host_path,
        mount.container_path,
        options.join(",")
    )
}

fn device(device: &Device) -> DeviceMapping {
    DeviceMapping {
        path_on_host: Some(device.host_path.clone()),
        path_in_container: Some(device.container_path.clone()),
        // To read, to write, to make a node of it (cgroup-v2.rst, device controller).
        cgroup_permissions: Some(if device.read_only { "r" } else { "rwm" }.into()),
    }
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn positive(number: i64) -> Option<i64> {
    (number > 0).then_some(number)
}

/// Our form of Docker's answer; `image_id` is filled in by the caller.
pub(super) fn container_info(found: ContainerInspectResponse) -> ContainerInfo {
    let state = found.state.unwrap_or_default();
    let config = found.config.unwrap_or_default();
    let started_at = state.started_at.as_deref().and_then(timestamp);
    let refused = state.error.as_ref().is_some_and(|error| !error.is_empty());
    let life = match state.status {
        Some(
            ContainerStateStatusEnum::RUNNING
            | ContainerStateStatusEnum::PAUSED
            | ContainerStateStatusEnum::RESTARTING,
        ) => State::Running,
        // What Docker could not start has ended as far as its pod is concerned.
        _ if started_at.is_none() && refused => State::Exited,
        Some(ContainerStateStatusEnum::CREATED) => State::Created,
        // A failed first start leaves "exited" or "dead" without a start time.
        _ if started_at.is_none() => State::Created,
        _ => State::Exited,
    };
    let created_at = found.created.as_deref().and_then(timestamp);
    let finished_at = state.finished_at.as_deref().and_then(timestamp);
    ContainerInfo {
        id: found.id.unwrap_or_default(),
        labels: config.labels.unwrap_or_default(),
        state: life,
        pid: state
            .pid
            .and_then(|pid| u32::try_from(pid).ok())
            .unwrap_or(0),
        exit_code: if refused && started_at.is_none() {
            START_ERROR
        } else {
            let code = state.exit_code.and_then(|code| i32::try_from(code).ok());
            code.unwrap_or(0)
        },
        oom_killed: state.oom_killed.unwrap_or(false),
        error: state.error.unwrap_or_default(),
        created_at,
        started_at,
        // It ended when it was made.
        finished_at: finished_at.or(created_at.filter(|_| refused)),
        image: config.image.unwrap_or_default(),
        image_id: found.image.unwrap_or_default(),
    }
}

/// Docker writes `0001-01-01T00:00:00Z` for "never".
fn timestamp(text: &str) -> Option<Timestamp> {
    let parsed: Timestamp = text.parse().ok()?;
    (parsed > Timestamp::UNIX_EPOCH).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerConfig, ContainerState};

    use super::*;
    use crate::runtime::Namespaces;

    #[test]
    fn limits_namespaces_and_mounts_reach_docker() {
        let spec = ContainerSpec {
            name: "x".into(),
            image: "mongo:4.0".into(),
            args: Some(vec!["--smallfiles".into()]),
            namespaces: Namespaces {
                network: "container:abc".into(),
                ipc: "container:abc".into(),
                pid: String::new(),
            },
            mounts: vec![BindMount {
                host_path: "/a".into(),
                container_path: "/b".into(),
                read_only: true,
                propagation: Some("rslave"),
            }],
            devices: vec![Device {
                host_path: "/dev/loop0".into(),
                container_path: "/dev/xvda".into(),
                read_only: true,
            }],
            limits: Limits {
                cpu_shares: 102,
                cpu_quota: 50_000,
                memory: 64 << 20,
                oom_score_adj: 1000,
            },
            keep_log: true,
            ..ContainerSpec::default()
        };
        let body = create_body(&spec);
        assert_eq!(body.entrypoint, None, "the image's entrypoint is kept");
        assert_eq!(body.cmd.unwrap(), ["--smallfiles"]);
        let host = body.host_config.unwrap();
        assert_eq!(host.network_mode.unwrap(), "container:abc");
        assert_eq!(host.pid_mode, None);
        assert_eq!(host.binds.unwrap(), ["/a:/b:ro,rslave"]);
        let device = host.devices.unwrap().remove(0);
        assert_eq!(device.path_in_container.unwrap(), "/dev/xvda");
        assert_eq!(device.cgroup_permissions.unwrap(), "r");
        assert_eq!(
            (host.cpu_quota, host.cpu_period),
            (Some(50_000), Some(100_000))
        );
        assert_eq!(host.memory, host.memory_swap);
        assert_eq!(
            host.restart_policy.unwrap().name,
            Some(RestartPolicyNameEnum::NO)
        );
    }

    #[test]
    fn no_limits_means_docker_is_told_of_none() {
        let host = create_body(&ContainerSpec::default()).host_config.unwrap();
        assert_eq!((host.memory, host.memory_swap), (None, None));
        assert_eq!((host.cpu_quota, host.cpu_period), (None, None));
        assert_eq!(host.runtime, None, "the engine's own");
        assert_eq!(host.log_config.unwrap().typ.unwrap(), "none");
    }

    fn inspected(status: ContainerStateStatusEnum, started: &str) -> ContainerInfo {
        container_info(ContainerInspectResponse {
            id: Some("abc".into()),
            state: Some(ContainerState {
                status: Some(status),
                started_at: Some(started.into()),
                finished_at: Some("0001-01-01T00:00:00Z".into()),
                pid: Some(77),
                ..ContainerState::default()
            }),
            config: Some(ContainerConfig::default()),
            ..ContainerInspectResponse::default()
        })
    }

    #[test]
    fn what_docker_refused_to_start_has_ended() {
        let info = container_info(ContainerInspectResponse {
            id: Some("abc".into()),
            created: Some("2026-11-20T20:16:00Z".into()),
            state: Some(ContainerState {
                status: Some(ContainerStateStatusEnum::CREATED),
                started_at: Some("0001-01-01T00:00:00Z".into()),
                exit_code: Some(127),
                error: Some("exec: \"nope\": not found".into()),
                ..ContainerState::default()
            }),
            ..ContainerInspectResponse::default()
        });
        assert_eq!((info.state, info.exit_code), (State::Exited, 128));
        assert_eq!(info.finished_at, info.created_at);
    }

    #[test]
    fn a_container_that_never_started_is_created_whatever_docker_calls_it() {
        let never = "0001-01-01T00:00:00Z";
        let info = inspected(ContainerStateStatusEnum::EXITED, never);
        assert_eq!((info.state, info.started_at), (State::Created, None));
        let info = inspected(ContainerStateStatusEnum::CREATED, never);
        assert_eq!(info.state, State::Created);
        let info = inspected(
            ContainerStateStatusEnum::EXITED,
            "2026-11-20T20:16:00.123456789Z",
        );
        assert_eq!(info.state, State::Exited);
        assert!(info.started_at.is_some());
        assert_eq!(info.finished_at, None);
        let info = inspected(ContainerStateStatusEnum::RUNNING, "2026-11-20T20:16:00Z");
        assert_eq!((info.state, info.pid), (State::Running, 77));
    }
}
