//! Finding a container in a pod's manifest, whichever list it stands in.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use cadet_network::{HostPort, Protocol};
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod};

use crate::runtime::Role;

/// The container of that name; an ephemeral one in the form of the others.
#[must_use]
pub fn find_container<'a>(pod: &'a Pod, name: &str) -> Option<Cow<'a, Container>> {
    let spec = pod.spec.as_ref()?;
    let init = spec.init_containers.iter().flatten();
    if let Some(found) = init.chain(&spec.containers).find(|c| c.name == name) {
        return Some(Cow::Borrowed(found));
    }
    ephemeral(pod, name).map(|found| Cow::Owned(as_container(found)))
}

/// The ephemeral container of that name.
#[must_use]
pub fn ephemeral<'a>(pod: &'a Pod, name: &str) -> Option<&'a EphemeralContainer> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.ephemeral_containers.iter().flatten();
    all.find(|container| container.name == name)
}

/// What a container of that name is for.
#[must_use]
pub fn role_of(pod: &Pod, name: &str) -> Role {
    let spec = pod.spec.as_ref();
    let mut init = spec
        .into_iter()
        .flat_map(|s| s.init_containers.iter().flatten());
    if init.any(|container| container.name == name) {
        Role::Init
    } else if ephemeral(pod, name).is_some() {
        Role::Ephemeral
    } else {
        Role::App
    }
}

/// Where events about a container point to, e.g. `spec.initContainers{setup}`.
#[must_use]
pub fn field_path(pod: &Pod, name: &str) -> String {
    let list = match role_of(pod, name) {
        Role::Init => "initContainers",
        Role::Ephemeral => "ephemeralContainers",
        Role::App | Role::Sandbox => "containers",
    };
    format!("spec.{list}{{{name}}}")
}

/// Whether an init container is a sidecar: it stays and does not hold the others up.
#[must_use]
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether a container of that name is one of the pod's sidecars.
#[must_use]
pub fn names_sidecar(pod: &Pod, name: &str) -> bool {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| spec.init_containers.iter().flatten())
        .any(|container| container.name == name && is_sidecar(container))
}

/// Ports of the machine the pod's containers and sidecars ask for.
#[must_use]
pub fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = pod.spec.as_ref().filter(|s| s.host_network != Some(true)) else {
        return Vec::new();
    };
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| is_sidecar(container));
    let ports = sidecars
        .chain(&spec.containers)
        .flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(HostPort {
                protocol: match port.protocol.as_deref() {
                    Some("UDP") => Protocol::Udp,
                    Some("SCTP") => Protocol::Sctp,
                    _ => Protocol::Tcp,
                },
                host_ip: match port.host_ip.as_deref().unwrap_or_default() {
                    "" => None,
                    // An address of IPv6 is none of ours, and does not mean all of them.
                    ip => Some(ip.parse::<Ipv4Addr>().ok()?).filter(|ip| !ip.is_unspecified()),
                },
                host_port: u16::try_from(port.host_port?)
                    .ok()
                    .filter(|port| *port > 0)?,
                container_port: u16::try_from(port.container_port).ok()?,
            })
        })
        .collect()
}

/// The same fields under the type all others have.
fn as_container(from: &EphemeralContainer) -> Container {
    let from = from.clone();
    Container {
        args: from.args,
        command: from.command,
        env: from.env,
        env_from: from.env_from,
        image: from.image,
        image_pull_policy: from.image_pull_policy,
        name: from.name,
        resources: from.resources,
        security_context: from.security_context,
        stdin: from.stdin,
        stdin_once: from.stdin_once,
        termination_message_path: from.termination_message_path,
        termination_message_policy: from.termination_message_policy,
        tty: from.tty,
        volume_devices: from.volume_devices,
        volume_mounts: from.volume_mounts,
        working_dir: from.working_dir,
        // Probes, ports and hooks are forbidden to them.
        ..Container::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::pod;

    #[test]
    fn every_list_is_searched_and_named_in_events() {
        let pod = pod(json!({
            "initContainers": [{"name": "setup"}, {"name": "proxy", "restartPolicy": "Always"}],
            "containers": [{"name": "app"}],
            "ephemeralContainers": [{"name": "debug", "image": "busybox", "tty": true,
                "targetContainerName": "app"}],
        }));
        let found = find_container(&pod, "debug").unwrap();
        assert_eq!(found.image.as_deref(), Some("busybox"));
        assert_eq!(found.tty, Some(true));
        assert_eq!(field_path(&pod, "setup"), "spec.initContainers{setup}");
        assert_eq!(field_path(&pod, "app"), "spec.containers{app}");
        let debug = "spec.ephemeralContainers{debug}";
        assert_eq!(field_path(&pod, "debug"), debug);
        assert!(names_sidecar(&pod, "proxy") && !names_sidecar(&pod, "setup"));
        assert!(find_container(&pod, "nobody").is_none());
    }

    #[test]
    fn a_host_port_at_an_address_of_ipv6_is_open_nowhere_else() {
        let at = |ip: &str| {
            let port = json!({"containerPort": 80, "hostPort": 8080, "hostIP": ip});
            host_ports(&pod(
                json!({"containers": [{"name": "app", "ports": [port]}]}),
            ))
        };
        assert_eq!(at("")[0].host_ip, None);
        assert_eq!(at("0.0.0.0")[0].host_ip, None);
        assert_eq!(at("127.0.0.1")[0].host_ip, Some(Ipv4Addr::LOCALHOST));
        assert!(at("::").is_empty() && at("::1").is_empty());
    }
}
