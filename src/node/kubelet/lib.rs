//! The node agent: it runs the pods the API server has bound to this node on Docker.
//!
//! ```text
//!            watch                      events
//!   API ───────────► pods ──► worker ◄────────── Docker
//!    ▲                          │ plan (pure)      ▲
//!    │   status (pure)          ├──────────────────┤ acts
//!    └──────────────────────────┘                  └──► network
//! ```
//!
//! Everything that decides is a pure function ([`plan`], [`status`], `spec`, `env`); the
//! engine behind [`runtime::Runtime`] is the only memory, so the agent can be killed at
//! any moment without a container noticing.
//!
//! Deliberately absent so far: gRPC and HTTPS probes,
//! service account tokens, persistent volumes, eviction, static pods.

mod acts;
mod api;
mod backoff;
mod conditions;
mod connect;
mod end;
pub mod env;
pub mod events;
pub mod images;
pub mod labels;
mod launch;
mod lease;
mod logs;
pub mod machine;
mod memory;
mod node;
pub mod observed;
mod pause;
mod payload;
mod plan;
mod pods;
mod probe_run;
mod probes;
mod projected;
mod reference;
mod resolv;
mod resources;
pub mod runtime;
mod server;
pub mod shared;
mod spec;
mod status;
mod stop;
pub mod streaming;
#[cfg(test)]
mod testing;
mod tmpfs;
mod tokens;
mod volumes;
mod worker;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

pub use pods::PodTable;
pub use runtime::docker::DockerRuntime;
pub use server::{Server, ServerError, ServerTls};

use api::ApiServer;
use events::EventSink;
use images::{Images, Lessons, LessonsError};
use machine::{Machine, MachineError};
use node::{Identity, NodeKeeper};
use pause::PauseImage;
use pods::{Pods, reserve_addresses};
use runtime::Runtime;
use shared::{PodNetwork, Shared};
use volumes::Volumes;

/// TCP port of the kubelet's server, upstream's.
pub const PORT: u16 = 10250;

/// What the agent must be told.
#[derive(Clone)]
pub struct Config {
    /// Name of the Node object.
    pub node_name: String,
    /// This machine's address towards the API server and other nodes.
    pub host_ip: Ipv4Addr,
    /// Range of this node's pod addresses, for the Node object.
    pub pod_cidr: String,
    /// Reported as the kubelet's version, e.g. `v1.36.0+cadet.0.1.0`.
    pub version: String,
    /// Directory for pod volumes; created with mode 0700.
    pub pods_dir: PathBuf,
    /// Directory with `lessons.json` and `lessons/`.
    pub lessons_dir: PathBuf,
    /// A static program that pauses when called with `pause`.
    pub pause_program: PathBuf,
    /// The node's resolver configuration with real servers in it.
    pub resolv_conf: PathBuf,
    /// Where the server listens; the port is reported in the Node.
    pub listen: SocketAddr,
    pub tls: ServerTls,
}

/// Why the agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Lessons(#[from] LessonsError),
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// Runs the agent until `shutdown`. Containers keep running afterwards.
///
/// # Errors
/// Only at start: certificates, port, lesson table. Later troubles with the engine or the
/// API server are waited out and shown in the Node's status.
pub async fn run(
    config: Config,
    client: Client,
    runtime: Arc<dyn Runtime>,
    network: Arc<dyn PodNetwork>,
    shutdown: CancellationToken,
) -> Result<(), KubeletError> {
    let machine = Machine::read()?;
    let lessons = Lessons::load(&config.lessons_dir)?;
    let table = PodTable::default();
    let server = Server::bind(config.listen, &config.tls, runtime.clone(), table.clone()).await?;
    let (events, notes) = EventSink::new();
    let api = Arc::new(ApiServer::new(client.clone()));
    let shared = Arc::new(Shared {
        runtime: runtime.clone(),
        network,
        api: api.clone(),
        config: api,
        events: events.clone(),
        images: Images::new(runtime.clone(), lessons, events.clone()),
        volumes: Volumes::new(config.pods_dir.clone()),
        pause: PauseImage::new(config.pause_program.clone(), &config.version),
        host_ip: config.host_ip.to_string(),
        node_memory: machine.memory,
        resolv_conf: config.resolv_conf.clone(),
    });
    let deliverer = tokio::spawn(events::deliver(
        client.clone(),
        config.node_name.clone(),
        notes,
    ));
    let identity = Identity {
        name: config.node_name.clone(),
        host_ip: config.host_ip.to_string(),
        pod_cidr: config.pod_cidr.clone(),
        version: config.version.clone(),
        port: config.listen.port(),
        machine,
    };
    let keeper = NodeKeeper::new(identity, client.clone(), runtime, events);
    let node = tokio::spawn(keeper.run(shutdown.clone()));
    let served = tokio::spawn(server.run(shutdown.clone()));
    if prepare(&shared, &shutdown).await {
        let selector = format!("spec.nodeName={}", config.node_name);
        let changes = watcher(
            Api::<Pod>::all(client),
            watcher::Config::default().fields(&selector),
        )
        .default_backoff();
        Pods::new(shared, table, shutdown).run(changes).await;
    }
    for (task, name) in [(node, "node"), (served, "server")] {
        if let Err(error) = task.await {
            tracing::error!(%error, name, "a task of the agent failed");
        }
    }
    // Events still queued are worth less than a quick stop.
    deliverer.abort();
    Ok(())
}

/// Waits for the engine and learns which addresses are in use; no pod may start before.
/// Returns false if the shutdown came first.
async fn prepare(shared: &Shared, shutdown: &CancellationToken) -> bool {
    loop {
        let ready = async {
            let containers = shared.runtime.all_containers().await?;
            reserve_addresses(shared, &containers);
            Ok::<_, runtime::RuntimeError>(())
        };
        match ready.await {
            Ok(()) => break,
            Err(error) => tracing::warn!(%error, "waiting for the container engine"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return false,
            () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
        }
    }
    // Built now, so that the first pod does not wait for it.
    if let Err(error) = shared.pause.ensure(shared.runtime.as_ref()).await {
        tracing::warn!(%error, "cannot build the pause image yet");
    }
    true
}
