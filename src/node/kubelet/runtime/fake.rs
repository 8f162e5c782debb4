//! An engine made of a table, for tests and hollow nodes: it remembers what it was asked
//! and does nothing by itself.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast};

use super::{
    Attached, ContainerInfo, ContainerSpec, EngineInfo, ExecOutcome, ExecRequest, ImageInfo,
    LogQuery, Result, Runtime, RuntimeError, RuntimeEvent, State, Streams, Terminal,
};
use crate::labels;

#[derive(Default)]
struct Table {
    containers: Vec<ContainerInfo>,
    specs: HashMap<String, ContainerSpec>,
    images: HashMap<String, ImageInfo>,
    registry: HashSet<String>,
    pulls: Vec<String>,
    builds: usize,
    /// Arguments of builds, by the image's name.
    arguments: HashMap<String, BTreeMap<String, String>>,
    made: usize,
    deaf: HashSet<String>,
    refuses_start: HashSet<String>,
    calls: Vec<String>,
    hollow: bool,
}

/// Ends that a reader may be behind; who is further behind is told that some were missed.
const BEHIND: usize = 64;

/// See the file's head.
pub struct FakeRuntime {
    table: Mutex<Table>,
    ended: Notify,
    told: broadcast::Sender<RuntimeEvent>,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        Self {
            table: Mutex::default(),
            ended: Notify::new(),
            told: broadcast::Sender::new(BEHIND),
        }
    }
}

impl FakeRuntime {
    /// The engine of a hollow node: every registry has every image, the pause image is
    /// there, and nothing is kept of what was asked, so that it may run for long.
    #[must_use]
    pub fn hollow() -> Self {
        let runtime = Self::default();
        runtime.table().hollow = true;
        runtime
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the registry answer for this full reference.
    pub fn offer(&self, reference: &str) {
        self.table().registry.insert(reference.to_owned());
    }

    /// Puts an image into the engine.
    pub fn load(&self, reference: &str) {
        self.table()
            .images
            .insert(reference.to_owned(), ImageInfo::default());
    }

    pub fn forget_images(&self) {
        self.table().images.clear();
    }

    /// A container of that name in the manifest ignores polite requests to stop.
    pub fn make_deaf(&self, container: &str) {
        self.table().deaf.insert(container.to_owned());
    }

    /// Containers of that name cannot be started.
    pub fn refuse_start(&self, container: &str) {
        self.table().refuses_start.insert(container.to_owned());
    }

    pub fn builds(&self) -> usize {
        self.table().builds
    }

    /// Arguments the image of this name was last built with.
    pub fn arguments(&self, tag: &str) -> BTreeMap<String, String> {
        self.table().arguments.get(tag).cloned().unwrap_or_default()
    }

    pub fn pulls(&self) -> Vec<String> {
        self.table().pulls.clone()
    }

    /// Everything that changed something, in order: `start web`, `kill web` …
    pub fn calls(&self) -> Vec<String> {
        self.table().calls.clone()
    }

    /// All containers, newest last.
    pub fn containers(&self) -> Vec<ContainerInfo> {
        self.table().containers.clone()
    }

    /// What a container was made from; nothing is kept on a hollow node.
    pub fn spec(&self, id: &str) -> ContainerSpec {
        self.table().specs.get(id).cloned().unwrap_or_default()
    }

    /// The newest container of that name in the manifest (empty: the sandbox).
    #[cfg(test)]
    pub fn newest(&self, name: &str) -> ContainerInfo {
        let found = self
            .containers()
            .into_iter()
            .rev()
            .find(|info| info.container_name() == name);
        found.unwrap_or_else(|| panic!("no container {name:?}"))
    }

    /// Lets the newest container of that name end by itself.
    pub fn exit(&self, name: &str, code: i32) {
        self.exit_where(|info| info.container_name() == name, code);
    }

    /// Lets the newest running container of that name in that pod end by itself. Whether
    /// there was one.
    pub fn exit_in(&self, namespace: &str, pod: &str, container: &str, code: i32) -> bool {
        self.exit_where(
            |info| {
                info.container_name() == container
                    && info.state == State::Running
                    && info.label(labels::POD_NAMESPACE) == Some(namespace)
                    && info.label(labels::POD_NAME) == Some(pod)
            },
            code,
        )
    }

    fn exit_where(&self, is_it: impl Fn(&ContainerInfo) -> bool, code: i32) -> bool {
        let found = {
            let table = self.table();
            let mut newest_first = table.containers.iter().rev();
            newest_first
                .find(|info| is_it(info))
                .map(|info| info.id.clone())
        };
        let Some(id) = found else { return false };
        self.finish(&id, code);
        true
    }

    /// The machine was restarted: everything has ended.
    pub fn reboot(&self) {
        for info in self.containers() {
            if info.state == State::Running {
                self.finish(&info.id, 255);
            }
        }
    }

    fn finish(&self, id: &str, code: i32) {
        let mut table = self.table();
        let mut pod_uid = None;
        if let Some(info) = table.containers.iter_mut().find(|info| info.id == id) {
            info.state = State::Exited;
            info.pid = 0;
            info.exit_code = code;
            info.finished_at = Some(Timestamp::now());
            pod_uid = info.label(labels::POD_UID).map(str::to_owned);
        }
        drop(table);
        self.ended.notify_waiters();
        if let Some(pod_uid) = pod_uid {
            // Nobody may be listening.
            let _ = self.told.send(RuntimeEvent { pod_uid });
        }
    }

    fn note(&self, verb: &str, id: &str) -> String {
        let mut table = self.table();
        let name = table
            .containers
            .iter()
            .find(|info| info.id == id)
            .map(|info| {
                let name = info.container_name();
                if name.is_empty() {
                    "sandbox".to_owned()
                } else {
                    name.to_owned()
                }
            });
        let name = name.unwrap_or_default();
        if !table.hollow {
            table.calls.push(format!("{verb} {name}"));
        }
        name
    }

    fn runs(&self, id: &str) -> bool {
        let table = self.table();
        table
            .containers
            .iter()
            .any(|info| info.id == id && info.state == State::Running)
    }
}

/// Streams are tested with real processes, in the API server's tests.
fn nothing_runs() -> RuntimeError {
    RuntimeError::Refused {
        status: 409,
        message: "a table runs nothing".into(),
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn info(&self) -> Result<EngineInfo> {
        Ok(EngineInfo {
            version: "26.1.5".into(),
            root_dir: "/".into(),
        })
    }

    async fn all_containers(&self) -> Result<Vec<ContainerInfo>> {
        Ok(self.containers())
    }

    async fn pod_containers(&self, uid: &str) -> Result<Vec<ContainerInfo>> {
        let table = self.table();
        let of_pod = table
            .containers
            .iter()
            .filter(|info| info.label(labels::POD_UID) == Some(uid));
        Ok(of_pod.cloned().collect())
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String> {
        let mut table = self.table();
        table.made += 1;
        let id = format!("id{}", table.made);
        table.containers.push(ContainerInfo {
            id: id.clone(),
            labels: spec.labels.clone(),
            state: State::Created,
            pid: 0,
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            created_at: Some(Timestamp::now()),
            started_at: None,
            finished_at: None,
            image: spec.image.clone(),
            image_id: format!("docker://{}", spec.image),
        });
        if !table.hollow {
            table.specs.insert(id.clone(), spec.clone());
        }
        Ok(id)
    }

    async fn start(&self, id: &str) -> Result<()> {
        let name = self.note("start", id);
        let mut table = self.table();
        if table.refuses_start.contains(&name) {
            return Err(RuntimeError::Refused {
                status: 500,
                message: "exec: no such file".into(),
            });
        }
        if let Some(info) = table.containers.iter_mut().find(|info| info.id == id) {
            info.state = State::Running;
            info.pid = 4242;
            info.started_at = Some(Timestamp::now());
        }
        Ok(())
    }

    async fn ask_to_stop(&self, id: &str) -> Result<()> {
        let name = self.note("stop", id);
        if !self.table().deaf.contains(&name) {
            self.finish(id, 143);
        }
        Ok(())
    }

    async fn kill(&self, id: &str) -> Result<()> {
        if self.runs(id) {
            self.note("kill", id);
            self.finish(id, 137);
        }
        Ok(())
    }

    async fn wait(&self, id: &str) -> Result<()> {
        loop {
            let ended = self.ended.notified();
            if !self.runs(id) {
                return Ok(());
            }
            ended.await;
        }
    }

    async fn remove(&self, id: &str) -> Result<()> {
        self.note("remove", id);
        {
            let mut table = self.table();
            table.containers.retain(|info| info.id != id);
            table.specs.remove(id);
        }
        self.ended.notify_waiters();
        Ok(())
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>> {
        let table = self.table();
        let found = table.images.get(reference).cloned();
        // The image of pausing: a hollow node has no use for the program inside.
        let built = table.hollow && reference.starts_with(crate::pause::REPOSITORY);
        Ok(found.or_else(|| built.then(ImageInfo::default)))
    }

    async fn pull(&self, reference: &str, patience_seconds: u64) -> Result<()> {
        let mut table = self.table();
        if !table.hollow {
            table.pulls.push(reference.to_owned());
        }
        if table.hollow || table.registry.contains(reference) {
            table
                .images
                .insert(reference.to_owned(), ImageInfo::default());
            return Ok(());
        }
        Err(RuntimeError::RegistrySilent {
            reference: reference.to_owned(),
            seconds: patience_seconds,
        })
    }

    async fn build(
        &self,
        tag: &str,
        _context: Bytes,
        labels: HashMap<String, String>,
    ) -> Result<()> {
        let mut table = self.table();
        table.builds += 1;
        table.images.insert(
            tag.to_owned(),
            ImageInfo {
                labels,
                ..ImageInfo::default()
            },
        );
        Ok(())
    }

    async fn build_with(
        &self,
        tag: &str,
        context: Bytes,
        labels: HashMap<String, String>,
        arguments: &BTreeMap<String, String>,
    ) -> Result<()> {
        self.table()
            .arguments
            .insert(tag.to_owned(), arguments.clone());
        self.build(tag, context, labels).await
    }

    async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<()> {
        let mut table = self.table();
        let found = table.images.get(image).cloned();
        let found = found.ok_or_else(|| RuntimeError::Refused {
            status: 404,
            message: format!("No such image: {image}"),
        })?;
        // As Docker, which knows its own registry's images by their short names.
        let short = repository.strip_prefix("docker.io/").unwrap_or(repository);
        let short = short.strip_prefix("library/").unwrap_or(short);
        table.images.insert(format!("{short}:{tag}"), found.clone());
        table.images.insert(format!("{repository}:{tag}"), found);
        Ok(())
    }

    async fn events(&self) -> Result<BoxStream<'static, Result<RuntimeEvent>>> {
        let told = self.told.subscribe();
        let next = |mut told: broadcast::Receiver<RuntimeEvent>| async move {
            let event = match told.recv().await {
                Ok(event) => Ok(event),
                Err(RecvError::Lagged(missed)) => Err(RuntimeError::Failed {
                    act: "follow the containers",
                    reason: format!("{missed} events were missed"),
                }),
                Err(RecvError::Closed) => return None,
            };
            Some((event, told))
        };
        Ok(futures::stream::unfold(told, next).boxed())
    }

    async fn logs(&self, id: &str, _query: &LogQuery) -> Result<BoxStream<'static, Result<Bytes>>> {
        let text = format!("log of {id}\n");
        Ok(futures::stream::iter([Ok(Bytes::from(text))]).boxed())
    }

    async fn start_exec(&self, _: &str, _: &ExecRequest) -> Result<(String, Attached)> {
        Err(nothing_runs())
    }

    async fn exec_exit_code(&self, _: &str) -> Result<i64> {
        Err(nothing_runs())
    }

    async fn attach(&self, _: &str, _: Streams) -> Result<Attached> {
        Err(nothing_runs())
    }

    async fn resize(&self, _: &Terminal, _: u16, _: u16) -> Result<()> {
        Err(nothing_runs())
    }

    async fn exec(&self, _id: &str, command: &[String]) -> Result<ExecOutcome> {
        let code = i64::from(command.first().is_some_and(|word| word == "false"));
        Ok(ExecOutcome {
            exit_code: code,
            output: String::new(),
        })
    }
}
