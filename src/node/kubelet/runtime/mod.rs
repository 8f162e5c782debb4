//! What the kubelet needs from a container engine. Docker is the one served; the fake
//! plays it in tests and on hollow nodes.

pub mod docker;
mod docker_images;
mod docker_spec;
mod docker_streams;
pub mod fake;
mod oom;
mod streams;

pub use streams::{Attached, ExecRequest, Input, Output, Streams, Terminal};

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use k8s_openapi::jiff::Timestamp;
use tokio::net::TcpStream;

/// A failed act of the engine.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine cannot be reached at all.
    #[error("Docker does not answer at {socket}: {reason}")]
    Unreachable { socket: String, reason: String },
    /// The engine refused or failed a request; its words.
    #[error("Error response from daemon: {message}")]
    Refused { status: u16, message: String },
    /// A request broke off.
    #[error("could not {act}: {reason}")]
    Failed { act: &'static str, reason: String },
    /// The registry did not answer within the time given, or stopped sending.
    #[error("the registry of {reference} did not answer for {seconds} s")]
    RegistrySilent { reference: String, seconds: u64 },
}

impl RuntimeError {
    /// Whether the thing asked for does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, RuntimeError::Refused { status: 404, .. })
    }
}

/// Result of an engine call.
pub type Result<T> = std::result::Result<T, RuntimeError>;

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Holds the pod's namespaces (the pause process).
    Sandbox,
    /// Runs to completion before the others.
    Init,
    /// One of the pod's own.
    App,
    /// Put into a running pod to look around (`kubectl debug`).
    Ephemeral,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made, never started.
    Created,
    /// Running, or on its way up or down.
    Running,
    /// Ended.
    Exited,
}

/// A container of ours as the engine describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerInfo {
    /// The engine's id (64 hex digits).
    pub id: String,
    /// Labels as given at creation; see [`crate::labels`].
    pub labels: HashMap<String, String>,
    pub state: State,
    /// Host process id of the main process; 0 when not running.
    pub pid: u32,
    pub exit_code: i32,
    pub oom_killed: bool,
    /// The engine's own word about a failed start.
    pub error: String,
    pub created_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// Reference the container was made from.
    pub image: String,
    /// Identity of that image: `repository@sha256:…` if it came from a registry.
    pub image_id: String,
}

/// One bind mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindMount {
    pub host_path: String,
    pub container_path: String,
    pub read_only: bool,
    /// `private`, `rslave` or `rshared`.
    pub propagation: Option<&'static str>,
}

/// One raw device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub host_path: String,
    pub container_path: String,
    pub read_only: bool,
}

/// Namespaces a container uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// `none`, `host` or `container:ID`.
    pub network: String,
    /// `shareable`, `host` or `container:ID`.
    pub ipc: String,
    /// Empty (own), `host` or `container:ID`.
    pub pid: String,
}

/// Limits for the container's cgroup; zero means none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Relative weight, 1024 per CPU.
    pub cpu_shares: i64,
    /// Microseconds per 100 ms period.
    pub cpu_quota: i64,
    /// Bytes; swap is not given on top.
    pub memory: i64,
    pub oom_score_adj: i64,
}

/// All that is needed to make a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerSpec {
    /// The engine's name for it; unique.
    pub name: String,
    pub image: String,
    pub labels: HashMap<String, String>,
    /// `None` keeps the image's.
    pub entrypoint: Option<Vec<String>>,
    /// `None` keeps the image's, unless `entrypoint` is given.
    pub args: Option<Vec<String>>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub working_dir: Option<String>,
    /// E.g. `SIGUSR1`; `None` keeps the image's.
    pub stop_signal: Option<String>,
    pub hostname: Option<String>,
    /// `uid` or `uid:gid`.
    pub user: Option<String>,
    pub groups: Vec<String>,
    /// One of the engine's programs to run containers with; `None` is its usual one.
    pub runtime: Option<String>,
    pub namespaces: Namespaces,
    pub mounts: Vec<BindMount>,
    pub devices: Vec<Device>,
    pub limits: Limits,
    pub privileged: bool,
    pub read_only_root: bool,
    pub no_new_privileges: bool,
    /// `seccomp=…` and `apparmor=…`, in the engine's words.
    pub security_opt: Vec<String>,
    /// True: nothing of /proc is hidden or read-only.
    pub unmasked_proc: bool,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub sysctls: HashMap<String, String>,
    pub stdin: bool,
    pub stdin_once: bool,
    pub tty: bool,
    /// False: the engine keeps no log (the pause process says nothing).
    pub keep_log: bool,
}

/// An image the engine holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageInfo {
    /// `sha256:…` of the configuration.
    pub id: String,
    /// Bytes on disk.
    pub size: i64,
    pub labels: HashMap<String, String>,
    /// User the image's program runs as: `uid`, `name`, `uid:gid` or empty.
    pub user: String,
    /// `repository:tag` and `repository@digest`.
    pub names: Vec<String>,
    /// When it was built.
    pub created_at: Option<Timestamp>,
}

/// Name and password for a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
    /// In place of both.
    pub identity_token: String,
    /// Host the registry is known by, e.g. `index.docker.io`.
    pub server: String,
}

/// One of a container's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    Stdout,
    Stderr,
}

/// Which part of a container's log is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    pub follow: bool,
    pub timestamps: bool,
    /// Lines from the end; `None` means all.
    pub tail: Option<i64>,
    pub since: Option<Timestamp>,
    /// `None` means both outputs.
    pub only: Option<LogSource>,
}

/// Facts about the engine for the Node object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// E.g. `26.1.5`.
    pub version: String,
    /// Directory the images and containers live in.
    pub root_dir: String,
}

/// How a command run inside a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutcome {
    pub exit_code: i64,
    /// Both streams, cut to a readable length.
    pub output: String,
}

/// Something happened to a container of this pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEvent {
    pub pod_uid: String,
}

/// A container engine.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Facts about the engine; fails when it is down, so it doubles as health check.
    async fn info(&self) -> Result<EngineInfo>;
    /// Every container that carries our labels.
    async fn all_containers(&self) -> Result<Vec<ContainerInfo>>;
    /// The containers of one pod.
    async fn pod_containers(&self, uid: &str) -> Result<Vec<ContainerInfo>>;
    /// Makes a container and returns its id.
    async fn create(&self, spec: &ContainerSpec) -> Result<String>;
    /// Starts a container made before.
    async fn start(&self, id: &str) -> Result<()>;
    /// Sends the stop signal of the container or its image (SIGTERM if neither names one).
    async fn ask_to_stop(&self, id: &str) -> Result<()>;
    /// Kills a container; one that has ended is no error.
    async fn kill(&self, id: &str) -> Result<()>;
    /// Returns when the container does not run (any more), or is gone.
    async fn wait(&self, id: &str) -> Result<()>;
    /// Removes an ended container with its anonymous volumes; a missing one is no error.
    async fn remove(&self, id: &str) -> Result<()>;
    /// The image under this reference, if the engine has it.
    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>>;
    /// Fetches an image. `patience_seconds` bounds the wait for the registry's first word.
    async fn pull(&self, reference: &str, patience_seconds: u64) -> Result<()>;
    /// Whether its containers live on this machine and so use its memory and disk.
    fn shares_machine(&self) -> bool {
        false
    }
    /// As [`Runtime::pull`], from a registry that wants to know who asks, telling how far
    /// it is: bytes there and bytes in all, as far as they are known. An engine without
    /// private registries takes every one for public.
    async fn pull_as(
        &self,
        reference: &str,
        patience_seconds: u64,
        _credentials: Option<&Credentials>,
        _progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<()> {
        self.pull(reference, patience_seconds).await
    }
    /// Every image, to find those nobody uses; an engine that cannot run out of space has
    /// none to show.
    async fn images(&self) -> Result<Vec<ImageInfo>> {
        Ok(Vec::new())
    }
    /// Removes an image under all its names; one in use is an error, a missing one none.
    async fn remove_image(&self, _id: &str) -> Result<()> {
        Ok(())
    }
    /// Gives a running container other limits. An engine that limits nothing has done so.
    async fn update(&self, _id: &str, _limits: &Limits) -> Result<()> {
        Ok(())
    }
    /// Bytes a container has written into its own file system and its log; none on an engine
    /// whose containers do not live on this machine.
    async fn written(&self, _id: &str) -> Result<u64> {
        Ok(0)
    }
    /// Builds an image from a tar archive holding a Dockerfile.
    async fn build(&self, tag: &str, context: Bytes, labels: HashMap<String, String>)
    -> Result<()>;
    /// As [`Runtime::build`], with arguments for the Dockerfile. An engine whose images are
    /// not made of anything needs none.
    async fn build_with(
        &self,
        tag: &str,
        context: Bytes,
        labels: HashMap<String, String>,
        _arguments: &BTreeMap<String, String>,
    ) -> Result<()> {
        self.build(tag, context, labels).await
    }
    /// Gives an image one more name: a repository in full, and a tag.
    async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<()>;
    /// Changes of our containers. The stream ends or yields an error when the engine
    /// goes away; whoever listens must then look at everything again.
    async fn events(&self) -> Result<BoxStream<'static, Result<RuntimeEvent>>>;
    /// The container's output, both streams interleaved.
    async fn logs(&self, id: &str, query: &LogQuery) -> Result<BoxStream<'static, Result<Bytes>>>;
    /// Starts a command in a running container with its streams attached. The exec's id
    /// names it from then on.
    async fn start_exec(&self, id: &str, request: &ExecRequest) -> Result<(String, Attached)>;
    /// Exit code of an exec whose streams have ended.
    async fn exec_exit_code(&self, exec: &str) -> Result<i64>;
    /// Attaches to the main process of a running container, from now on.
    async fn attach(&self, id: &str, streams: Streams) -> Result<Attached>;
    /// Tells a terminal its size.
    async fn resize(&self, terminal: &Terminal, width: u16, height: u16) -> Result<()>;
    /// Connects to a port on the loopback of the network namespace of process `pid`.
    async fn dial(&self, pid: u32, port: u16) -> std::io::Result<TcpStream> {
        cadet_network::dial(pid, port).await
    }
    /// Runs a command in a running container and waits for it.
    async fn exec(&self, id: &str, command: &[String]) -> Result<ExecOutcome>;
}
