//! Labels by which containers tell what they are: the kubelet's only memory.

use std::net::Ipv4Addr;

use cadet_network::{HostPort, Protocol};

use crate::runtime::{ContainerInfo, Role};

/// Labels with the conventional names, so that `docker ps --filter` recipes work.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const POD_UID: &str = "io.kubernetes.pod.uid";
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";

/// `sandbox`, `init`, `app` or `ephemeral`. Its presence marks a container as ours.
pub const ROLE: &str = "cadet.role";
/// How often the container (or sandbox) was made anew before: the restart count.
pub const ATTEMPT: &str = "cadet.attempt";
/// Id of the sandbox whose namespaces the container joined.
pub const SANDBOX: &str = "cadet.sandbox";
/// Image the manifest named, to notice when it changes.
pub const SPEC_IMAGE: &str = "cadet.spec-image";
/// The sandbox's pod address.
pub const POD_IP: &str = "cadet.pod-ip";
/// Ports of the machine that lead to a sandbox's pod: `tcp/8080/80/ADDRESS`, by commas.
pub const HOST_PORTS: &str = "cadet.host-ports";
/// What runs a sandbox and its pod's containers, if a RuntimeClass says so.
pub const RUNTIME: &str = "cadet.runtime";
/// Seconds the pod's containers get to stop, for pods deleted behind our back.
pub const GRACE: &str = "cadet.grace-seconds";
/// Limits the container was made with: CPU shares, CPU quota, memory.
pub const LIMITS: &str = "cadet.limits";
/// On images: digest of the build context they came from.
pub const CONTEXT: &str = "cadet.context";

impl ContainerInfo {
    /// What the container is for; `None` if its labels are damaged.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        match self.label(ROLE)? {
            "sandbox" => Some(Role::Sandbox),
            "init" => Some(Role::Init),
            "app" => Some(Role::App),
            "ephemeral" => Some(Role::Ephemeral),
            _ => None,
        }
    }

    /// Value of a label, if present.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    /// Name in the pod's manifest; empty for a sandbox.
    #[must_use]
    pub fn container_name(&self) -> &str {
        self.label(CONTAINER_NAME).unwrap_or_default()
    }

    /// Restart count this container was made with.
    #[must_use]
    pub fn attempt(&self) -> i32 {
        self.label(ATTEMPT)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    /// Address of a sandbox's pod; none for pods on the host's network.
    #[must_use]
    pub fn pod_ip(&self) -> Option<Ipv4Addr> {
        self.label(POD_IP)?.parse().ok()
    }
}

/// The value of [`HOST_PORTS`].
#[must_use]
pub fn host_ports_value(ports: &[HostPort]) -> String {
    let one = |port: &HostPort| {
        let ip = port.host_ip.map_or(String::new(), |ip| ip.to_string());
        let HostPort {
            protocol,
            host_port,
            container_port,
            ..
        } = port;
        format!("{protocol}/{host_port}/{container_port}/{ip}")
    };
    ports.iter().map(one).collect::<Vec<_>>().join(",")
}

/// Reads what [`host_ports_value`] wrote; what is damaged is left out.
#[must_use]
pub fn parse_host_ports(text: &str) -> Vec<HostPort> {
    let one = |text: &str| {
        let mut parts = text.split('/');
        Some(HostPort {
            protocol: match parts.next()? {
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                "sctp" => Protocol::Sctp,
                _ => return None,
            },
            host_port: parts.next()?.parse().ok()?,
            container_port: parts.next()?.parse().ok()?,
            host_ip: parts.next().and_then(|ip| ip.parse().ok()),
        })
    };
    text.split(',').filter_map(one).collect()
}

/// The value of [`ROLE`].
#[must_use]
pub fn role_value(role: Role) -> &'static str {
    match role {
        Role::Sandbox => "sandbox",
        Role::Init => "init",
        Role::App => "app",
        Role::Ephemeral => "ephemeral",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_survive_their_label() {
        let port = |protocol, host_ip| HostPort {
            protocol,
            host_ip,
            host_port: 8080,
            container_port: 80,
        };
        let all = vec![
            port(Protocol::Tcp, None),
            port(Protocol::Udp, Some(Ipv4Addr::LOCALHOST)),
        ];
        assert_eq!(parse_host_ports(&host_ports_value(&all)), all);
        assert!(parse_host_ports("").is_empty() && parse_host_ports("x/1/2/").is_empty());
    }
}
