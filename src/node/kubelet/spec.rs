//! From a manifest to a container description. Pure.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::env::{ConfigError, Variables};
use crate::labels;
use crate::manifest::host_ports;
use crate::resources;
use crate::runtime::{BindMount, ContainerSpec, Device, Limits, Namespaces, Role};
use crate::security;

pub(crate) use crate::security::asks_for_the_images_user;

/// Longest label of a DNS name.
const HOSTNAME_BYTES: usize = 63;
/// Longest name the kernel accepts (`HOST_NAME_MAX`).
const KERNEL_NAME_BYTES: usize = 64;

/// What a container needs beyond its manifest.
pub struct Parts<'a> {
    pub role: Role,
    pub attempt: i32,
    pub sandbox: &'a str,
    /// Reference to run; not the manifest's if a lesson image stands in.
    pub image: String,
    pub variables: &'a Variables,
    pub mounts: Vec<BindMount>,
    pub devices: Vec<Device>,
    /// Bytes of memory of this machine.
    pub node_memory: i64,
    /// User of the image, if [`asks_for_the_images_user`].
    pub image_user: Option<&'a str>,
    /// Container whose processes a debugger is to see.
    pub target: Option<&'a str>,
    /// Directory of the node's seccomp profiles.
    pub seccomp_dir: &'a Path,
}

/// The name a pod has only for itself, unknown to the cluster's DNS.
fn own_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.hostname_override.as_deref()
}

/// The pod's host name.
#[must_use]
pub fn hostname(pod: &Pod) -> String {
    if let Some(own) = own_name(pod) {
        return own.to_owned();
    }
    let spec = pod.spec.as_ref();
    let name = spec
        .and_then(|spec| spec.hostname.as_deref())
        .filter(|name| !name.is_empty())
        .or(pod.metadata.name.as_deref())
        .unwrap_or_default();
    let cut = name.get(..HOSTNAME_BYTES).unwrap_or(name);
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The pod's name in the cluster's DNS, if it has a subdomain.
#[must_use]
pub fn domain_name(pod: &Pod, cluster_domain: &str) -> Option<String> {
    if own_name(pod).is_some() {
        return None;
    }
    let subdomain = pod.spec.as_ref()?.subdomain.as_deref()?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let host = hostname(pod);
    (!subdomain.is_empty()).then(|| format!("{host}.{subdomain}.{namespace}.svc.{cluster_domain}"))
}

/// What the kernel of the pod is told as its name: the long one if asked for.
///
/// # Errors
/// In upstream's words if that is longer than the kernel allows.
pub fn kernel_name(pod: &Pod, cluster_domain: &str) -> Result<String, ConfigError> {
    let long = pod.spec.as_ref().and_then(|s| s.set_hostname_as_fqdn) == Some(true);
    match domain_name(pod, cluster_domain).filter(|_| long) {
        Some(name) if name.len() > KERNEL_NAME_BYTES => Err(ConfigError::Hostname(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {name} is too \
             long ({KERNEL_NAME_BYTES} characters is the max, {} characters requested)",
            name.len()
        ))),
        Some(name) => Ok(name),
        None => Ok(hostname(pod)),
    }
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

/// The container that holds the pod's namespaces; `name` is its host name.
#[must_use]
pub fn sandbox(
    pod: &Pod,
    image: &str,
    attempt: i32,
    pod_ip: Option<&str>,
    name: String,
) -> ContainerSpec {
    let spec = pod.spec.as_ref();
    let flag = |pick: fn(&PodSpec) -> Option<bool>| spec.and_then(pick) == Some(true);
    let host_network = flag(|spec| spec.host_network);
    let mut labels = pod_labels(pod, Role::Sandbox, attempt);
    if let Some(ip) = pod_ip {
        labels.insert(labels::POD_IP.into(), ip.into());
    }
    let ports = host_ports(pod);
    if !ports.is_empty() {
        let value = labels::host_ports_value(&ports);
        labels.insert(labels::HOST_PORTS.into(), value);
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
        hostname: (!host_network).then_some(name),
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
    let user = security::user(pod, container, parts.image_user)?;
    let security_opt = security::options(pod, container, parts.seccomp_dir)?;
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
    let limits = resources::limits(spec, container, parts.node_memory);
    labels.insert(labels::LIMITS.into(), resources::label(&limits));
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
        stop_signal: stop_signal(container),
        hostname: None,
        user,
        groups,
        namespaces: Namespaces {
            network: joined.clone(),
            ipc: if spec.host_ipc == Some(true) {
                "host".into()
            } else {
                joined.clone()
            },
            pid: match (spec.host_pid, spec.share_process_namespace, parts.target) {
                (Some(true), _, _) => "host".into(),
                (_, Some(true), _) => joined,
                (_, _, Some(target)) => format!("container:{target}"),
                _ => String::new(),
            },
        },
        mounts: parts.mounts,
        devices: parts.devices,
        limits,
        privileged,
        read_only_root: security.read_only_root_filesystem == Some(true),
        no_new_privileges: security.allow_privilege_escalation == Some(false) && !privileged,
        security_opt,
        unmasked_proc: security.proc_mount.as_deref() == Some("Unmasked"),
        cap_add: capabilities.add.unwrap_or_default(),
        cap_drop: capabilities.drop.unwrap_or_default(),
        sysctls: HashMap::new(),
        runtime: None,
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        keep_log: true,
    })
}

/// The signal a container wants in place of its image's (KEP-4960).
#[must_use]
pub fn stop_signal(container: &Container) -> Option<String> {
    let lifecycle = container.lifecycle.as_ref()?;
    lifecycle.stop_signal.clone()
}

/// The hosts file of the pod.
#[must_use]
pub fn hosts_file(pod: &Pod, pod_ip: &str, cluster_domain: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    let name = hostname(pod);
    match domain_name(pod, cluster_domain) {
        Some(long) => text.push_str(&format!("{pod_ip}\t{long}\t{name}\n")),
        None => text.push_str(&format!("{pod_ip}\t{name}\n")),
    }
    text.push_str(&aliases(pod));
    text
}

/// The hosts file of a pod on the host's network: the node's own text, and the pod's
/// aliases.
#[must_use]
pub fn hosts_file_of_the_node(pod: &Pod, own: &str) -> String {
    let head = "# Kubernetes-managed hosts file (host network).\n";
    format!("{head}{own}{}", aliases(pod))
}

fn aliases(pod: &Pod) -> String {
    let mut text = String::new();
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
