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
//! Deliberately absent: volumes that are not on the node (CSI, network, cloud) or are images,
//! swap, user namespaces, dynamic resource allocation, a control group per pod (every container
//! has its own).

mod acts;
pub mod admission;
mod api;
mod backoff;
mod block;
mod claims;
pub mod clear;
mod conditions;
mod configs;
mod connect;
mod credentials;
mod end;
pub mod env;
mod env_file;
pub mod events;
mod eviction;
pub mod hollow;
mod hooks;
mod host_path;
mod housekeeping;
mod image_garbage;
pub mod images;
pub mod labels;
mod launch;
mod lease;
pub mod lessons;
mod local_volumes;
mod logs;
mod lost;
pub mod machine;
mod making;
pub mod manifest;
mod memory;
mod mirrors;
mod node;
pub mod observed;
mod overfull;
mod pause;
mod payload;
mod plan;
mod pods;
mod pressure;
mod probe_grpc;
mod probe_http;
mod probe_run;
mod probe_tls;
mod probes;
mod projected;
mod reference;
mod resolv;
mod resources;
mod restart;
pub mod runtime;
mod security;
mod server;
pub mod services;
pub mod shared;
mod spec;
mod static_pods;
mod stats;
mod status;
pub mod stock;
mod stop;
pub mod streaming;
#[cfg(test)]
mod testing;
mod tmpfs;
mod tokens;
mod verdict;
mod volumes;
mod worker;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use pause::{PauseError, PauseImage};
pub use pods::PodTable;
pub use resolv::ClusterDns;
pub use runtime::docker::DockerRuntime;
pub use server::{Server, ServerError, ServerTls};

use admission::Room;
use api::ApiServer;
use events::EventSink;
use housekeeping::Housekeeper;
use images::Images;
use lessons::{Lessons, LessonsError};
use machine::{Machine, MachineError};
use node::{Identity, NodeKeeper};
use pods::{Pods, reserve_addresses};
use runtime::Runtime;
use shared::{PodNetwork, Shared};
use stats::Stats;
use volumes::Volumes;

/// TCP port of the kubelet's server, upstream's.
pub const PORT: u16 = 10250;

/// Where `localhostProfile`s lie, as on nodes of upstream.
const SECCOMP_DIR: &str = "/var/lib/kubelet/seccomp";

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
    /// Directory for pod volumes; created with mode 0700. `None` for a hollow node, whose
    /// pods read no files.
    pub pods_dir: Option<PathBuf>,
    /// Directory with `lessons.json` and `lessons/`.
    pub lessons_dir: PathBuf,
    /// A static program that pauses when called with `pause`.
    pub pause_program: PathBuf,
    /// The node's resolver configuration with real servers in it.
    pub resolv_conf: PathBuf,
    /// The cluster's name server, for pods that want it.
    pub dns: Option<ClusterDns>,
    /// Where the server listens; the port is reported in the Node.
    pub listen: SocketAddr,
    /// `None` for a hollow node, which serves nothing.
    pub tls: Option<ServerTls>,
    /// What the Node says of its machine; `None` asks this one.
    pub machine: Option<Machine>,
    /// Folder of manifests to run without the API server's leave.
    pub static_pods: Option<PathBuf>,
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
    let machine = match config.machine {
        Some(machine) => machine,
        None => Machine::read()?,
    };
    let lessons = Lessons::load(&config.lessons_dir)?;
    let table = PodTable::default();
    let volumes = config.pods_dir.map_or_else(Volumes::hollow, Volumes::new);
    let stats = Arc::new(Stats::new(&config.node_name, volumes.root().to_owned()));
    let server = match &config.tls {
        Some(tls) => {
            let bound = Server::bind(config.listen, tls, runtime.clone(), table.clone());
            Some(bound.await?.with_stats(stats.clone()))
        }
        None => None,
    };
    let (events, notes) = EventSink::new();
    let api = Arc::new(ApiServer::new(client.clone(), table.clone()));
    let shared = Arc::new(Shared {
        runtime: runtime.clone(),
        network,
        api: api.clone(),
        config: api.clone(),
        events: events.clone(),
        images: Images::new(runtime.clone(), api, lessons, events.clone()),
        volumes: volumes.clone(),
        pause: PauseImage::new(config.pause_program.clone(), &config.version),
        host_ip: config.host_ip.to_string(),
        node_memory: machine.memory,
        resolv_conf: config.resolv_conf.clone(),
        dns: config.dns.clone(),
        pods: table.clone(),
        room: room(&machine, &config.node_name),
        seccomp_dir: SECCOMP_DIR.into(),
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
    let housekeeper = Housekeeper::new(runtime.clone(), table.clone(), volumes, stats);
    let keeper = NodeKeeper::new(identity, client.clone(), runtime, events, housekeeper);
    let node = tokio::spawn(keeper.run(shutdown.clone()));
    let served = tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            if let Some(server) = server {
                server.run(shutdown).await;
            }
        }
    });
    if prepare(&shared, &shutdown).await {
        let selector = format!("spec.nodeName={}", config.node_name);
        let changes = watcher(
            Api::<Pod>::all(client),
            watcher::Config::default().fields(&selector),
        )
        .default_backoff();
        let (sender, folder) = mpsc::channel(1);
        let follower = config.static_pods.map(|path| {
            let name = config.node_name.clone();
            tokio::spawn(static_pods::follow(path, name, sender))
        });
        Pods::new(shared, table, shutdown)
            .run(changes, folder)
            .await;
        if let Some(follower) = follower {
            follower.abort();
            if let Ok(Err(error)) = follower.await {
                tracing::warn!(%error, "the folder of static pods was not followed");
            }
        }
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

/// What pods of this node may ask for.
fn room(machine: &Machine, node_name: &str) -> Room {
    Room {
        cpu_millis: i64::try_from(machine.cpus)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000),
        memory: machine.allocatable_memory(),
        pods: usize::try_from(machine::MAX_PODS).unwrap_or(usize::MAX),
        labels: node::labels(node_name),
    }
}

/// Waits for the engine and learns which addresses are in use; no pod may start before.
/// Returns false if the shutdown came first.
async fn prepare(shared: &Shared, shutdown: &CancellationToken) -> bool {
    loop {
        let ready = async {
            let containers = shared.runtime.all_containers().await?;
            reserve_addresses(shared, &containers).await;
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
