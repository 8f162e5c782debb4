//! What the engine says about one pod, sorted.

use std::collections::HashMap;

use crate::runtime::{ContainerInfo, Role, State};

/// The containers of one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Newest first.
    pub sandboxes: Vec<ContainerInfo>,
    /// By name in the manifest, newest attempt first.
    pub containers: HashMap<String, Vec<ContainerInfo>>,
}

impl Observed {
    /// Sorts the engine's answer. Containers with damaged labels are left out.
    #[must_use]
    pub fn new(mut all: Vec<ContainerInfo>) -> Self {
        all.sort_by_key(|info| std::cmp::Reverse((info.attempt(), info.created_at)));
        let mut observed = Self::default();
        for info in all {
            match info.role() {
                Some(Role::Sandbox) => observed.sandboxes.push(info),
                Some(_) => observed
                    .containers
                    .entry(info.container_name().to_owned())
                    .or_default()
                    .push(info),
                None => tracing::warn!(id = info.id, "a container with our label has no role"),
            }
        }
        observed
    }

    /// The sandbox that holds the pod's namespaces now.
    #[must_use]
    pub fn sandbox(&self) -> Option<&ContainerInfo> {
        self.sandboxes
            .first()
            .filter(|sandbox| sandbox.state == State::Running)
    }

    /// The newest container of that name.
    #[must_use]
    pub fn latest(&self, name: &str) -> Option<&ContainerInfo> {
        self.containers.get(name).and_then(|list| list.first())
    }

    /// The one before the newest.
    #[must_use]
    pub fn previous(&self, name: &str) -> Option<&ContainerInfo> {
        self.containers.get(name).and_then(|list| list.get(1))
    }

    /// Every container that runs, sandboxes excluded.
    pub fn running(&self) -> impl Iterator<Item = &ContainerInfo> {
        self.containers
            .values()
            .flatten()
            .filter(|info| info.state == State::Running)
    }

    /// Everything, sandboxes last.
    pub fn all(&self) -> impl Iterator<Item = &ContainerInfo> {
        self.containers.values().flatten().chain(&self.sandboxes)
    }
}
