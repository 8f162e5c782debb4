//! A container engine whose containers only look as if they ran; commands in them do run.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cadet_kubelet::labels;
use cadet_kubelet::runtime::{
    Attached, ContainerInfo, ContainerSpec, EngineInfo, ExecOutcome, ExecRequest, ImageInfo,
    LogQuery, Result, Runtime, RuntimeError, RuntimeEvent, State, Streams, Terminal,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::net::TcpStream;

use super::processes::Processes;

/// See the file's head.
#[derive(Default)]
pub struct Engine {
    containers: Mutex<Vec<ContainerInfo>>,
    processes: Processes,
}

impl Engine {
    /// A running container of a pod.
    pub fn run(&self, uid: &str, role: &str, name: &str) {
        let labels = [
            (labels::POD_UID, uid),
            (labels::ROLE, role),
            (labels::CONTAINER_NAME, name),
        ];
        let mut containers = self.containers();
        let id = format!("id{}", containers.len() + 1);
        containers.push(ContainerInfo {
            id,
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            state: State::Running,
            pid: std::process::id(),
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            created_at: None,
            started_at: None,
            finished_at: None,
            image: "x".into(),
            image_id: "docker://x".into(),
        });
    }

    fn containers(&self) -> std::sync::MutexGuard<'_, Vec<ContainerInfo>> {
        self.containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn unused<T>() -> Result<T> {
    Err(RuntimeError::Failed {
        act: "do what no test of streams needs",
        reason: "this engine only carries streams".into(),
    })
}

#[async_trait]
impl Runtime for Engine {
    async fn info(&self) -> Result<EngineInfo> {
        unused()
    }

    async fn all_containers(&self) -> Result<Vec<ContainerInfo>> {
        Ok(self.containers().clone())
    }

    async fn pod_containers(&self, uid: &str) -> Result<Vec<ContainerInfo>> {
        let mut all = self.containers().clone();
        all.retain(|info| info.label(labels::POD_UID) == Some(uid));
        Ok(all)
    }

    async fn create(&self, _: &ContainerSpec) -> Result<String> {
        unused()
    }

    async fn start(&self, _: &str) -> Result<()> {
        unused()
    }

    async fn ask_to_stop(&self, _: &str) -> Result<()> {
        unused()
    }

    async fn kill(&self, _: &str) -> Result<()> {
        unused()
    }

    async fn wait(&self, _: &str) -> Result<()> {
        unused()
    }

    async fn remove(&self, _: &str) -> Result<()> {
        unused()
    }

    async fn image(&self, _: &str) -> Result<Option<ImageInfo>> {
        unused()
    }

    async fn pull(&self, _: &str, _: u64) -> Result<()> {
        unused()
    }

    async fn build(&self, _: &str, _: Bytes, _: HashMap<String, String>) -> Result<()> {
        unused()
    }

    async fn tag(&self, _: &str, _: &str, _: &str) -> Result<()> {
        unused()
    }

    async fn events(&self) -> Result<BoxStream<'static, Result<RuntimeEvent>>> {
        unused()
    }

    /// Two lines; a follower then waits for a third that never comes.
    async fn logs(&self, _: &str, query: &LogQuery) -> Result<BoxStream<'static, Result<Bytes>>> {
        let lines = ["one\n", "two\n"].map(|line| Ok(Bytes::from(line)));
        let skipped = match query.tail {
            Some(tail) => 2_usize.saturating_sub(usize::try_from(tail).unwrap_or(0)),
            None => 0,
        };
        let lines = futures::stream::iter(lines).skip(skipped);
        Ok(if query.follow {
            lines.chain(futures::stream::pending()).boxed()
        } else {
            lines.boxed()
        })
    }

    async fn start_exec(&self, _: &str, request: &ExecRequest) -> Result<(String, Attached)> {
        self.processes.start(request)
    }

    async fn exec_exit_code(&self, exec: &str) -> Result<i64> {
        self.processes.exit_code(exec).await
    }

    /// Every main process is `cat`.
    async fn attach(&self, _: &str, streams: Streams) -> Result<Attached> {
        let request = ExecRequest {
            command: vec!["cat".into()],
            streams,
        };
        Ok(self.processes.start(&request)?.1)
    }

    async fn resize(&self, terminal: &Terminal, width: u16, height: u16) -> Result<()> {
        self.processes.resize(terminal, width, height).await
    }

    async fn dial(&self, _: u32, port: u16) -> std::io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", port)).await
    }

    async fn exec(&self, _: &str, _: &[String]) -> Result<ExecOutcome> {
        unused()
    }
}
