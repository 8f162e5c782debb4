//! What all pod workers of the node share, and the seams tests put fakes into.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cadet_network::{HostPort, Network, NetworkError};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::admission::Room;
use crate::env::{ConfigSource, Facts};
use crate::events::EventSink;
use crate::images::Images;
use crate::pause::PauseImage;
use crate::pods::PodTable;
use crate::resolv::{ClusterDns, DEFAULT_DOMAIN};
use crate::runtime::Runtime;
use crate::volumes::Volumes;

/// The node's pod network, as far as workers need it. `key` names a sandbox.
#[async_trait]
pub trait PodNetwork: Send + Sync + 'static {
    fn allocate(&self) -> Result<Ipv4Addr, NetworkError>;
    fn reserve(&self, address: Ipv4Addr) -> Result<(), NetworkError>;
    fn release(&self, address: Ipv4Addr);
    async fn is_attached(&self, key: &str) -> Result<bool, NetworkError>;
    async fn attach(&self, key: &str, pid: u32, address: Ipv4Addr) -> Result<(), NetworkError>;
    async fn detach(&self, key: &str) -> Result<(), NetworkError>;
    /// Puts bridge and rules back if something took them away.
    async fn ensure(&self) -> Result<(), NetworkError>;
    /// Makes ports of the machine lead to the pod. A network without a machine has none.
    async fn publish(
        &self,
        _key: &str,
        _address: Ipv4Addr,
        _ports: Vec<HostPort>,
    ) -> Result<(), NetworkError> {
        Ok(())
    }
    /// Takes note of ports published before this program started.
    async fn keep_published(&self, _key: &str, _address: Ipv4Addr, _ports: Vec<HostPort>) {}
    /// Takes a pod's ports back.
    async fn unpublish(&self, _key: &str) -> Result<(), NetworkError> {
        Ok(())
    }
}

#[async_trait]
impl PodNetwork for Network {
    fn allocate(&self) -> Result<Ipv4Addr, NetworkError> {
        Network::allocate(self)
    }

    fn reserve(&self, address: Ipv4Addr) -> Result<(), NetworkError> {
        Network::reserve(self, address)
    }

    fn release(&self, address: Ipv4Addr) {
        Network::release(self, address);
    }

    async fn is_attached(&self, key: &str) -> Result<bool, NetworkError> {
        Network::is_attached(self, key).await
    }

    async fn attach(&self, key: &str, pid: u32, address: Ipv4Addr) -> Result<(), NetworkError> {
        Network::attach(self, key, pid, address).await
    }

    async fn detach(&self, key: &str) -> Result<(), NetworkError> {
        Network::detach(self, key).await
    }

    async fn ensure(&self) -> Result<(), NetworkError> {
        Network::ensure(self).await
    }

    async fn publish(
        &self,
        key: &str,
        address: Ipv4Addr,
        ports: Vec<HostPort>,
    ) -> Result<(), NetworkError> {
        Network::publish(self, key, address, ports).await
    }

    async fn keep_published(&self, key: &str, address: Ipv4Addr, ports: Vec<HostPort>) {
        Network::keep_published(self, key, address, ports).await;
    }

    async fn unpublish(&self, key: &str) -> Result<(), NetworkError> {
        Network::unpublish(self, key).await
    }
}

/// Why the API server did not take what a worker had to say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiFailure {
    /// The pod is gone, or another one has its name.
    #[error("the pod is gone")]
    Gone,
    /// Anything else; worth another try.
    #[error("{0}")]
    Other(String),
}

/// The number of the change that made this state of a pod.
pub(crate) fn version(pod: &Pod) -> Option<u64> {
    pod.metadata.resource_version.as_deref()?.parse().ok()
}

/// A worker's words to the API server.
#[async_trait]
pub trait PodApi: Send + Sync + 'static {
    /// Sends a merge patch of the pod's status. Returns the resourceVersion it made, if there is
    /// one that can be compared (KEP-5504).
    async fn publish(&self, pod: &Pod, patch: Value) -> Result<Option<u64>, ApiFailure>;
    /// Says that nothing of the pod is left, so that its object can go.
    async fn confirm_deleted(&self, pod: &Pod) -> Result<(), ApiFailure>;
    /// Makes the object that shows a static pod.
    async fn mirror(&self, pod: &Pod) -> Result<(), ApiFailure>;
}

/// See the file's head.
pub struct Shared {
    pub runtime: Arc<dyn Runtime>,
    pub network: Arc<dyn PodNetwork>,
    pub api: Arc<dyn PodApi>,
    pub config: Arc<dyn ConfigSource>,
    pub events: EventSink,
    pub images: Images,
    pub volumes: Volumes,
    pub pause: PauseImage,
    /// This machine's address on the outside.
    pub host_ip: String,
    /// Bytes of memory of this machine.
    pub node_memory: i64,
    /// The node's resolver configuration, copied for every pod.
    pub resolv_conf: PathBuf,
    /// The cluster's own name server, if there is one.
    pub dns: Option<ClusterDns>,
    /// All pods of the node.
    pub pods: PodTable,
    /// What this node has to give.
    pub room: Room,
    /// Directory of `localhostProfile`s.
    pub seccomp_dir: PathBuf,
}

impl Shared {
    /// The cluster's domain.
    #[must_use]
    pub fn domain(&self) -> &str {
        let own = self.dns.as_ref().map(|dns| dns.domain.as_str());
        own.unwrap_or(DEFAULT_DOMAIN)
    }

    /// What the node adds to a container of a pod with that address.
    #[must_use]
    pub fn facts(&self, pod_ip: String) -> Facts {
        Facts {
            pod_ip,
            host_ip: self.host_ip.clone(),
            cpu_millis: self.room.cpu_millis,
            memory: self.room.memory,
        }
    }
}
