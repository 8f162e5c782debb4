//! From a manifest to a container description. Pure.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::env::{ConfigError, Variables};
use crate::labels;
use crate::resources;
use crate::runtime::{BindMount, ContainerSpec, Limits, Namespaces, Role};

/// Longest host name the kernel accepts is 64 bytes; DNS labels end at 63.
const HOSTNAME_BYTES: usize = 63;

/// What a container needs beyond its manifest.
pub struct Parts<'a> {
    pub role: Role,
    pub attempt: i32,
    pub sandbox: &'a str,
    /// Reference to run; not the manifest's if a lesson image stands in.
    pub image: String,
    pub variables: &'a Variables,
    pub mounts: Vec<BindMount>,
    /// Bytes of memory of this machine.
    pub node_memory: i64,
}

/// The pod's host name.
#[must_use]
pub fn hostname(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    let name = spec
        .and_then(|spec| spec.hostname.as_deref())
        .filter(|name| !name.is_empty())
        .or(pod.metadata.name.as_deref())
        .unwrap_or_default();
    let cut = name.get(..HOSTNAME_BYTES).unwrap_or(name);
    cut.trim_end_matches(['-', '.']).to_owned()
}

fn pod_labels(pod: &Pod, role: Role, attempt: i32) -> HashMap<String, String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let meta = &pod.metadata;
    HashMap::from([
        (labels::POD_NAME.into(), text(&meta.name)),
        (labels::POD_NAMESPACE.into(), text(&meta.namespace)),
        (labels::POD_UID.into(), text(&meta.uid)),
        (labels::ROLE.into(), labels::role_value(role).into()),
        (labels::ATTEMPT.into(), attempt.to_string()),
        (labels::GRACE.into(), grace(pod).to_string()),
    ])
}

/// Seconds the pod's containers get to stop by themselves.
#[must_use]
pub fn grace(pod: &Pod) -> i64 {
    let asked = pod.metadata.deletion_grace_period_seconds;
    let given = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.termination_grace_period_seconds);
    asked.or(given).unwrap_or(30).max(0)
}

/// The engine's name for a container of this pod.
fn engine_name(pod: &Pod, container: &str, attempt: i32) -> String {
    let meta = &pod.metadata;
    format!(
        "cadet_{container}_{}_{}_{}_{attempt}",
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default(),
    )
}

/// The container that holds the pod's namespaces.
#[must_use]
pub fn sandbox(pod: &Pod, image: &str, attempt: i32, pod_ip: Option<&str>) -> ContainerSpec {
    let spec = pod.spec.as_ref();
    let flag = |pick: fn(&PodSpec) -> Option<bool>| spec.and_then(pick) == Some(true);
    let host_network = flag(|spec| spec.host_network);
    let mut labels = pod_labels(pod, Role::Sandbox, attempt);
    if let Some(ip) = pod_ip {
        labels.insert(labels::POD_IP.into(), ip.into());
    }
    let mut sysctls: HashMap<String, String> = spec
        .and_then(|spec| spec.security_context.as_ref())
        .and_then(|context| context.sysctls.as_ref())
        .into_iter()
        .flatten()
        .map(|sysctl| (sysctl.name.clone(), sysctl.value.clone()))
        .collect();
    if !host_network {
        // As every CRI runtime does: images that listen on port 80 as a plain user work.
        sysctls
            .entry("net.ipv4.ip_unprivileged_port_start".into())
            .or_insert_with(|| "0".into());
    }
    ContainerSpec {
        name: engine_name(pod, "POD", attempt),
        image: image.into(),
        labels,
        // With the host's network Docker insists on the host's name.
        hostname: (!host_network).then(|| hostname(pod)),
        namespaces: Namespaces {
            network: if host_network { "host" } else { "none" }.into(),
            ipc: if flag(|spec| spec.host_ipc) {
                "host"
            } else {
                "shareable"
            }
            .into(),
            pid: if flag(|spec| spec.host_pid) {
                "host"
            } else {
                ""
            }
            .into(),
        },
        limits: Limits {
            cpu_shares: 2,
            oom_score_adj: resources::SANDBOX_SCORE,
            ..Limits::default()
        },
        read_only_root: true,
        no_new_privileges: true,
        cap_drop: vec!["ALL".into()],
        sysctls,
        ..ContainerSpec::default()
    }
}

/// One container of the pod.
///
/// # Errors
/// On settings this version does not serve; none is dropped silently.
pub fn container(
    pod: &Pod,
    container: &Container,
    parts: Parts<'_>,
) -> Result<ContainerSpec, ConfigError> {
    let default_spec = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&default_spec);
    let pod_security = spec.security_context.clone().unwrap_or_default();
    let security = container.security_context.clone().unwrap_or_default();
    let user = security.run_as_user.or(pod_security.run_as_user);
    let group = security.run_as_group.or(pod_security.run_as_group);
    let must_not_be_root = security.run_as_non_root.or(pod_security.run_as_non_root) == Some(true);
    if must_not_be_root && user == Some(0) {
        return Err(ConfigError::NotServed(
            "runAsUser 0 together with runAsNonRoot: they exclude each other".into(),
        ));
    }
    if must_not_be_root && user.is_none() {
        return Err(ConfigError::NotServed(
            "runAsNonRoot without runAsUser (the image's user is not looked at)".into(),
        ));
    }
    let mut groups: Vec<String> = pod_security
        .supplemental_groups
        .iter()
        .flatten()
        .map(i64::to_string)
        .collect();
    groups.extend(pod_security.fs_group.map(|group| group.to_string()));
    let mut labels = pod_labels(pod, parts.role, parts.attempt);
    labels.insert(labels::CONTAINER_NAME.into(), container.name.clone());
    labels.insert(labels::SANDBOX.into(), parts.sandbox.into());
    labels.insert(
        labels::SPEC_IMAGE.into(),
        container.image.clone().unwrap_or_default(),
    );
    let expand = |words: &Option<Vec<String>>| {
        words
            .as_ref()
            .filter(|words| !words.is_empty())
            .map(|words| {
                words
                    .iter()
                    .map(|word| parts.variables.expand(word))
                    .collect()
            })
    };
    let joined = format!("container:{}", parts.sandbox);
    let capabilities = security.capabilities.unwrap_or_default();
    let privileged = security.privileged == Some(true);
    Ok(ContainerSpec {
        name: engine_name(pod, &container.name, parts.attempt),
        image: parts.image,
        labels,
        entrypoint: expand(&container.command),
        args: expand(&container.args),
        env: parts.variables.assignments(),
        working_dir: container.working_dir.clone().filter(|dir| !dir.is_empty()),
        hostname: None,
        user: match (user, group) {
            (Some(user), Some(group)) => Some(format!("{user}:{group}")),
            (Some(user), None) => Some(user.to_string()),
            // Docker wants a user before a group; root is what it would have been.
            (None, Some(group)) => Some(format!("0:{group}")),
            (None, None) => None,
        },
        groups,
        namespaces: Namespaces {
            network: joined.clone(),
            ipc: if spec.host_ipc == Some(true) {
                "host".into()
            } else {
                joined.clone()
            },
            pid: match (spec.host_pid, spec.share_process_namespace) {
                (Some(true), _) => "host".into(),
                (_, Some(true)) => joined,
                _ => String::new(),
            },
        },
        mounts: parts.mounts,
        limits: resources::limits(spec, container, parts.node_memory),
        privileged,
        read_only_root: security.read_only_root_filesystem == Some(true),
        no_new_privileges: security.allow_privilege_escalation == Some(false) && !privileged,
        cap_add: capabilities.add.unwrap_or_default(),
        cap_drop: capabilities.drop.unwrap_or_default(),
        sysctls: HashMap::new(),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        keep_log: true,
    })
}

/// The hosts file of the pod.
#[must_use]
pub fn hosts_file(pod: &Pod, pod_ip: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    text.push_str(&format!("{pod_ip}\t{}\n", hostname(pod)));
    let aliases = pod
        .spec
        .iter()
        .flat_map(|spec| spec.host_aliases.iter().flatten());
    let mut by_ip: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for alias in aliases {
        by_ip
            .entry(&alias.ip)
            .or_default()
            .extend(alias.hostnames.iter().flatten().map(String::as_str));
    }
    if !by_ip.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for (ip, names) in by_ip {
        text.push_str(&format!("{ip}\t{}\n", names.join("\t")));
    }
    text
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
