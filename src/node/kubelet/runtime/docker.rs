//! Docker through its socket.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error as DockerError;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::{
    CreateContainerOptions, EventsOptions, InspectContainerOptions, KillContainerOptions,
    ListContainersOptions, LogsOptions, RemoveContainerOptions,
};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::{Mutex, OnceCell};

use super::docker_spec::{LOG_FILES, container_info, create_body, update_body};
use super::oom;
use super::{
    Attached, ContainerInfo, ContainerSpec, Credentials, EngineInfo, ExecOutcome, ExecRequest,
    ImageInfo, Limits, LogQuery, LogSource, Result, Runtime, RuntimeError, RuntimeEvent, State,
    Streams, Terminal,
};
use crate::labels;

/// Seconds a plain request may take. Creating a container on a machine without
/// hardware virtualisation takes several.
const REQUEST_SECONDS: u64 = 120;
/// Exit code of a process that SIGKILL ended: 128 and its number.
const KILLED: i32 = 137;
/// Output of a probe's command that is kept for its event.
const EXEC_OUTPUT_BYTES: usize = 10 * 1024;
/// Stop signal of images that name none.
const DEFAULT_STOP_SIGNAL: &str = "SIGTERM";
/// The kernel's lowest `oom_score_adj`.
const LOWEST_SCORE: i64 = -1000;
/// Number of the capability (capability.h).
const CAP_SYS_RESOURCE: u32 = 24;

/// The Docker engine behind a unix socket. Connects at first use and survives
/// restarts of the engine.
pub struct DockerRuntime {
    socket: String,
    client: OnceCell<Docker>,
    /// Image id to the name shown in statuses; images never change under an id.
    image_names: Mutex<HashMap<String, String>>,
    /// The lowest `oom_score_adj` that may be asked for on this machine.
    least_score: i64,
}

impl DockerRuntime {
    /// `socket` is a path such as `/var/run/docker.sock`. Does not connect yet.
    #[must_use]
    pub fn new(socket: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            socket: socket.into(),
            client: OnceCell::new(),
            image_names: Mutex::new(HashMap::new()),
            least_score: least_score(),
        })
    }

    pub(super) async fn client(&self) -> Result<&Docker> {
        self.client
            .get_or_try_init(|| async {
                let docker = Docker::connect_with_unix(
                    &self.socket,
                    REQUEST_SECONDS,
                    bollard::API_DEFAULT_VERSION,
                )
                .map_err(|error| self.unreachable(&error))?;
                docker
                    .negotiate_version()
                    .await
                    .map_err(|error| self.unreachable(&error))
            })
            .await
    }

    /// Without `CAP_SYS_RESOURCE` no process may be made safer from the kernel's
    /// out-of-memory killer than its parent is; Docker would fail.
    fn possible<'a>(&self, spec: &'a ContainerSpec) -> Cow<'a, ContainerSpec> {
        if spec.limits.oom_score_adj >= self.least_score {
            return Cow::Borrowed(spec);
        }
        let mut spec = spec.clone();
        spec.limits.oom_score_adj = self.least_score;
        Cow::Owned(spec)
    }

    fn unreachable(&self, error: &DockerError) -> RuntimeError {
        RuntimeError::Unreachable {
            socket: self.socket.clone(),
            reason: with_causes(error),
        }
    }

    pub(super) fn failed(&self, act: &'static str) -> impl Fn(DockerError) -> RuntimeError + '_ {
        move |error| match error {
            DockerError::DockerResponseServerError {
                status_code,
                message,
            } => RuntimeError::Refused {
                status: status_code,
                message: message.trim_end().to_owned(),
            },
            error
            @ (DockerError::HyperLegacyError { .. } | DockerError::SocketNotFoundError(_)) => {
                self.unreachable(&error)
            }
            DockerError::DockerStreamError { error } => RuntimeError::Refused {
                status: 500,
                message: error,
            },
            error => RuntimeError::Failed {
                act,
                reason: with_causes(&error),
            },
        }
    }

    async fn containers(&self, filter: String) -> Result<Vec<ContainerInfo>> {
        let docker = self.client().await?;
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), vec![filter])])),
            ..ListContainersOptions::default()
        };
        let listed = docker
            .list_containers(Some(options))
            .await
            .map_err(self.failed("list the containers"))?;
        let mut found = Vec::with_capacity(listed.len());
        for summary in listed {
            let Some(id) = summary.id else { continue };
            match docker.inspect_container(&id, None).await {
                Ok(answer) => {
                    let limit = answer.host_config.as_ref().and_then(|host| host.memory);
                    let mut info = container_info(answer);
                    info.oom_killed |= was_limited(&info, limit) && oom::killed(&info.id);
                    info.image_id = self.image_name(&info.image_id).await?;
                    found.push(info);
                }
                // Removed between the two calls.
                Err(DockerError::DockerResponseServerError {
                    status_code: 404, ..
                }) => {}
                Err(error) => return Err(self.failed("inspect a container")(error)),
            }
        }
        Ok(found)
    }

    /// `repository@digest` for images from a registry, else `docker://ID`.
    async fn image_name(&self, id: &str) -> Result<String> {
        if let Some(name) = self.image_names.lock().await.get(id) {
            return Ok(name.clone());
        }
        let name = match self.client().await?.inspect_image(id).await {
            Ok(image) => image
                .repo_digests
                .and_then(|digests| digests.into_iter().next())
                .unwrap_or_else(|| format!("docker://{id}")),
            // The image was removed while its container lives on.
            Err(DockerError::DockerResponseServerError {
                status_code: 404, ..
            }) => format!("docker://{id}"),
            Err(error) => return Err(self.failed("inspect an image")(error)),
        };
        self.image_names
            .lock()
            .await
            .insert(id.to_owned(), name.clone());
        Ok(name)
    }

    async fn signal(&self, id: &str, signal: &str) -> Result<()> {
        let options = KillContainerOptions {
            signal: signal.to_owned(),
        };
        match self.client().await?.kill_container(id, Some(options)).await {
            // 409: it is not running any more; 404: it is gone.
            Err(DockerError::DockerResponseServerError {
                status_code: 404 | 409,
                ..
            }) => Ok(()),
            other => other.map_err(self.failed("signal a container")),
        }
    }
}

/// Whether a container with this memory limit, bytes, ended as one that the kernel has killed.
fn was_limited(info: &ContainerInfo, limit: Option<i64>) -> bool {
    let is_limited = limit.is_some_and(|bytes| bytes > 0);
    is_limited && !info.oom_killed && info.state == State::Exited && info.exit_code == KILLED
}

/// Bytes of a log and of the older files beside it: `PATH.1` and so on.
fn log_size(path: &str) -> u64 {
    let older = (1..LOG_FILES).map(|number| format!("{path}.{number}"));
    let all = std::iter::once(path.to_owned()).chain(older);
    all.filter_map(|file| std::fs::metadata(file).ok())
        .map(|found| found.len())
        .sum()
}

/// The lowest score this machine lets its processes have: the kernel's lowest, or our own
/// where the capability for less is missing (proc_pid_oom_score_adj(5)).
fn least_score() -> i64 {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    if may_lower_scores(&read("/proc/self/status")) {
        return LOWEST_SCORE;
    }
    read("/proc/self/oom_score_adj").trim().parse().unwrap_or(0)
}

fn may_lower_scores(status: &str) -> bool {
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bounding = bounding.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    // Nothing to read means nothing is known to be missing.
    bounding.is_none_or(|bits| bits & (1 << CAP_SYS_RESOURCE) != 0)
}

/// An error with its chain: bollard's outermost text alone says "Error in the hyper
/// legacy client".
pub(super) fn with_causes(error: &DockerError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn info(&self) -> Result<EngineInfo> {
        let info = self
            .client()
            .await?
            .info()
            .await
            .map_err(self.failed("ask Docker about itself"))?;
        Ok(EngineInfo {
            version: info.server_version.unwrap_or_default(),
            root_dir: info
                .docker_root_dir
                .unwrap_or_else(|| "/var/lib/docker".into()),
        })
    }

    async fn all_containers(&self) -> Result<Vec<ContainerInfo>> {
        self.containers(labels::ROLE.to_owned()).await
    }

    async fn pod_containers(&self, uid: &str) -> Result<Vec<ContainerInfo>> {
        self.containers(format!("{}={uid}", labels::POD_UID)).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String> {
        let options = CreateContainerOptions {
            name: Some(spec.name.clone()),
            ..CreateContainerOptions::default()
        };
        let made = self
            .client()
            .await?
            .create_container(Some(options), create_body(&self.possible(spec)))
            .await
            .map_err(self.failed("create a container"))?;
        for warning in made.warnings {
            tracing::warn!(container = spec.name, "Docker: {warning}");
        }
        Ok(made.id)
    }

    async fn start(&self, id: &str) -> Result<()> {
        self.client()
            .await?
            .start_container(id, None)
            .await
            .map_err(self.failed("start a container"))
    }

    async fn ask_to_stop(&self, id: &str) -> Result<()> {
        let found = match self.client().await?.inspect_container(id, None).await {
            Err(DockerError::DockerResponseServerError {
                status_code: 404, ..
            }) => return Ok(()),
            other => other.map_err(self.failed("inspect a container"))?,
        };
        let signal = found
            .config
            .and_then(|config| config.stop_signal)
            .filter(|signal| !signal.is_empty());
        self.signal(id, signal.as_deref().unwrap_or(DEFAULT_STOP_SIGNAL))
            .await
    }

    async fn kill(&self, id: &str) -> Result<()> {
        self.signal(id, "SIGKILL").await
    }

    async fn wait(&self, id: &str) -> Result<()> {
        let docker = self.client().await?;
        let mut ended = std::pin::pin!(docker.wait_container(id, None));
        match ended.next().await {
            // An exit code other than zero comes as an error.
            None | Some(Ok(_) | Err(DockerError::DockerContainerWaitError { .. })) => Ok(()),
            Some(Err(error)) => match self.failed("wait for a container")(error) {
                error if error.is_not_found() => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn remove(&self, id: &str) -> Result<()> {
        let options = RemoveContainerOptions {
            v: true,
            force: true,
            link: false,
        };
        match self
            .client()
            .await?
            .remove_container(id, Some(options))
            .await
        {
            // 409: "removal is already in progress".
            Err(DockerError::DockerResponseServerError {
                status_code: 404 | 409,
                ..
            }) => Ok(()),
            other => other.map_err(self.failed("remove a container")),
        }
    }

    async fn written(&self, id: &str) -> Result<u64> {
        let options = InspectContainerOptions { size: true };
        let inspected = self.client().await?.inspect_container(id, Some(options));
        match inspected.await {
            Ok(found) => {
                let layer = found.size_rw.and_then(|bytes| u64::try_from(bytes).ok());
                let log = found.log_path.as_deref().map_or(0, log_size);
                Ok(layer.unwrap_or(0).saturating_add(log))
            }
            Err(error) => match self.failed("measure a container")(error) {
                error if error.is_not_found() => Ok(0),
                error => Err(error),
            },
        }
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>> {
        self.find_image(reference).await
    }

    async fn pull(&self, reference: &str, patience_seconds: u64) -> Result<()> {
        self.pull_as(reference, patience_seconds, None, &|_, _| {})
            .await
    }

    fn shares_machine(&self) -> bool {
        true
    }

    async fn pull_as(
        &self,
        reference: &str,
        patience_seconds: u64,
        credentials: Option<&Credentials>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<()> {
        let patience = Duration::from_secs(patience_seconds);
        self.pull_image(reference, patience, credentials, progress)
            .await
    }

    async fn images(&self) -> Result<Vec<ImageInfo>> {
        self.list_images().await
    }

    async fn remove_image(&self, id: &str) -> Result<()> {
        self.remove_every_name(id).await
    }

    async fn update(&self, id: &str, limits: &Limits) -> Result<()> {
        let body = update_body(limits);
        let updated = self.client().await?.update_container(id, body).await;
        updated.map_err(self.failed("give a container other limits"))
    }

    async fn build(
        &self,
        tag: &str,
        context: Bytes,
        labels: HashMap<String, String>,
    ) -> Result<()> {
        self.build_image(tag, context, labels, &BTreeMap::new())
            .await
    }

    async fn build_with(
        &self,
        tag: &str,
        context: Bytes,
        labels: HashMap<String, String>,
        arguments: &BTreeMap<String, String>,
    ) -> Result<()> {
        self.build_image(tag, context, labels, arguments).await
    }

    async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<()> {
        self.tag_image(image, repository, tag).await
    }

    async fn events(&self) -> Result<BoxStream<'static, Result<RuntimeEvent>>> {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let options = EventsOptions {
            filters: Some(HashMap::from([
                ("type".to_owned(), words(&["container"])),
                ("event".to_owned(), words(&["start", "die", "destroy"])),
                ("label".to_owned(), words(&[labels::ROLE])),
            ])),
            ..EventsOptions::default()
        };
        let docker = self.client().await?.clone();
        // Fails early when the engine is down, before anyone relies on the stream.
        docker.ping().await.map_err(self.failed("reach Docker"))?;
        let socket = self.socket.clone();
        let stream = docker.events(Some(options)).filter_map(move |item| {
            let item = match item {
                Ok(message) => message
                    .actor
                    .and_then(|actor| actor.attributes)
                    .and_then(|mut attributes| attributes.remove(labels::POD_UID))
                    .map(|pod_uid| Ok(RuntimeEvent { pod_uid })),
                Err(error) => Some(Err(RuntimeError::Unreachable {
                    socket: socket.clone(),
                    reason: with_causes(&error),
                })),
            };
            futures::future::ready(item)
        });
        Ok(stream.boxed())
    }

    async fn logs(&self, id: &str, query: &LogQuery) -> Result<BoxStream<'static, Result<Bytes>>> {
        let options = LogsOptions {
            follow: query.follow,
            stdout: query.only != Some(LogSource::Stderr),
            stderr: query.only != Some(LogSource::Stdout),
            timestamps: query.timestamps,
            tail: query
                .tail
                .map_or_else(|| "all".to_owned(), |lines| lines.to_string()),
            since: query
                .since
                .map_or(0, |at| i32::try_from(at.as_second()).unwrap_or(i32::MAX)),
            ..LogsOptions::default()
        };
        let docker = self.client().await?.clone();
        let stream = docker.logs(id, Some(options));
        Ok(stream
            .map_ok(LogOutput::into_bytes)
            .map_err(|error| RuntimeError::Failed {
                act: "read the log",
                reason: with_causes(&error),
            })
            .boxed())
    }

    async fn start_exec(&self, id: &str, request: &ExecRequest) -> Result<(String, Attached)> {
        self.open_exec(id, request).await
    }

    async fn exec_exit_code(&self, exec: &str) -> Result<i64> {
        self.exit_code_of(exec).await
    }

    async fn attach(&self, id: &str, streams: Streams) -> Result<Attached> {
        self.open_attach(id, streams).await
    }

    async fn resize(&self, terminal: &Terminal, width: u16, height: u16) -> Result<()> {
        self.resize_terminal(terminal, width, height).await
    }

    async fn exec(&self, id: &str, command: &[String]) -> Result<ExecOutcome> {
        let docker = self.client().await?;
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..CreateExecOptions::default()
        };
        let failed = self.failed("run a command in a container");
        let exec = docker.create_exec(id, options).await.map_err(&failed)?;
        let started = docker
            .start_exec(&exec.id, None::<StartExecOptions>)
            .await
            .map_err(&failed)?;
        let mut text = Vec::new();
        if let StartExecResults::Attached { mut output, .. } = started {
            while let Some(part) = output.next().await {
                let part = part.map_err(&failed)?.into_bytes();
                let room = EXEC_OUTPUT_BYTES.saturating_sub(text.len());
                text.extend_from_slice(&part[..part.len().min(room)]);
            }
        }
        let ended = docker.inspect_exec(&exec.id).await.map_err(&failed)?;
        Ok(ExecOutcome {
            exit_code: ended.exit_code.unwrap_or(-1),
            output: String::from_utf8_lossy(&text).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_capability_is_seen() {
        assert!(may_lower_scores("Name:\tx\nCapBnd:\t000001ffffffffff\n"));
        assert!(!may_lower_scores("CapBnd:\t000001fffeffffff\n"));
        assert!(may_lower_scores(""));
    }
}
