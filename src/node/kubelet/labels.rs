//! Labels by which containers tell what they are: the kubelet's only memory.

use std::net::Ipv4Addr;

use crate::runtime::{ContainerInfo, Role};

/// Labels with the conventional names, so that `docker ps --filter` recipes work.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const POD_UID: &str = "io.kubernetes.pod.uid";
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";

/// `sandbox`, `init` or `app`. Its presence marks a container as ours.
pub const ROLE: &str = "cadet.role";
/// How often the container (or sandbox) was made anew before: the restart count.
pub const ATTEMPT: &str = "cadet.attempt";
/// Id of the sandbox whose namespaces the container joined.
pub const SANDBOX: &str = "cadet.sandbox";
/// Image the manifest named, to notice when it changes.
pub const SPEC_IMAGE: &str = "cadet.spec-image";
/// The sandbox's pod address.
pub const POD_IP: &str = "cadet.pod-ip";
/// Seconds the pod's containers get to stop, for pods deleted behind our back.
pub const GRACE: &str = "cadet.grace-seconds";
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

/// The value of [`ROLE`].
#[must_use]
pub fn role_value(role: Role) -> &'static str {
    match role {
        Role::Sandbox => "sandbox",
        Role::Init => "init",
        Role::App => "app",
    }
}
