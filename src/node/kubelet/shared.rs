//! What all pod workers of the node share, and the seams tests put fakes into.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cadet_network::{Network, NetworkError};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::env::ConfigSource;
use crate::events::EventSink;
use crate::images::Images;
use crate::pause::PauseImage;
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

/// A worker's words to the API server.
#[async_trait]
pub trait PodApi: Send + Sync + 'static {
    /// Sends a merge patch of the pod's status.
    async fn publish(&self, pod: &Pod, patch: Value) -> Result<(), ApiFailure>;
    /// Says that nothing of the pod is left, so that its object can go.
    async fn confirm_deleted(&self, pod: &Pod) -> Result<(), ApiFailure>;
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
}
