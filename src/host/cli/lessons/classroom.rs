//! The engine's world: this laptop, this profile's cluster, this learner's folder.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use cadet_tutorial::LessonProgress;
use cadet_tutorial::condition::{HttpRequest, Need, Target};
use cadet_tutorial::model::{Command, Lesson};
use cadet_tutorial::world::{
    Background, Change, Ended, HttpAnswer, Journal, Sink, Stream, World, WorldError,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::api::Api;
use super::folder::Folder;
use super::guest::Guest;
use super::program::Programs;
use super::{curl, explain, http, images, journal, progress, told, watch};
use crate::Context;
use crate::cluster::{self, Cluster, Failure};

/// Marks a namespace as made for a lesson, so that it may be deleted after it.
const MADE_BY: &str = "cadet.dev/lesson";

/// How long a namespace may take to be gone: its pods get their grace.
const EMPTYING: Duration = Duration::from_secs(180);

/// See the module.
pub struct Classroom {
    cx: Arc<Context>,
    api: Api,
    guest: Arc<Guest>,
    folder: Folder,
    programs: Programs,
    keeps: bool,
    notes: mpsc::UnboundedSender<String>,
}

impl Classroom {
    /// A world for one lesson. `keeps` is false where nobody's progress is at stake (`play`);
    /// `notes` takes what the learner should know besides.
    pub fn new(
        cx: Arc<Context>,
        folder: Folder,
        keeps: bool,
        notes: mpsc::UnboundedSender<String>,
    ) -> Self {
        Self {
            api: Api::new(cx.clone()),
            guest: Arc::new(Guest::new(cx.clone())),
            programs: Programs {
                folder: folder.root().to_path_buf(),
                kubeconfig: cx.world.files(&cx.name).kubeconfig(),
                profile: cx.name.to_string(),
                kubectl: crate::programs::kubectl(&cx.world),
            },
            folder,
            cx,
            keeps,
            notes,
        }
    }

    fn note(&self, text: String) {
        // Nobody listens any more: then nobody misses it.
        let _ = self.notes.send(text);
    }

    async fn act(
        &self,
        command: &Command,
        show: Option<Sink>,
        looks: bool,
    ) -> Result<Ended, WorldError> {
        match command.program() {
            "docker" => self.guest.docker(command, self.folder.root(), show).await,
            "curl" => Ok(curl::run(&self.guest, command, show).await),
            _ => self.programs.run(command, show, looks).await,
        }
    }
}

#[async_trait]
impl World for Classroom {
    async fn prepare(&self, lesson: &Lesson, output: &Sink) -> Result<(), WorldError> {
        let changed = self.folder.hand_out()?;
        if !changed.is_empty() {
            self.note(format!(
                "kept as you changed {}: {}",
                if changed.len() == 1 { "it" } else { "them" },
                changed.join(", ")
            ));
        }
        let cluster = self.api.cluster().await.map_err(told)?;
        if cluster.try_get("/version").await.is_err() {
            return Err(told(self.api.trouble().await));
        }
        if lesson.namespace != "default" {
            let path = place(&lesson.namespace);
            make_namespace(&cluster, lesson, output)
                .await
                .map_err(|e| told(e.told(&path)))?;
        }
        images::ensure(&self.guest, &lesson.images, output).await
    }

    async fn clean(&self, lesson: &Lesson, output: &Sink) -> Result<(), WorldError> {
        if lesson.namespace != "default" {
            let cluster = self.api.cluster().await.map_err(told)?;
            let path = place(&lesson.namespace);
            let gone = remove_namespace(&cluster, lesson, output);
            tokio::time::timeout(EMPTYING, gone)
                .await
                .map_err(|_| {
                    let name = &lesson.namespace;
                    WorldError::new(format!("namespace {name} does not come to an end"))
                        .fix(format!("kubectl get all -n {name}"))
                })?
                .map_err(|e| told(e.told(&path)))?;
        }
        self.folder.restore_all()
    }

    async fn run(&self, command: &Command, output: &Sink) -> Result<Ended, WorldError> {
        self.act(command, Some(output.clone()), false).await
    }

    async fn start(
        &self,
        command: &Command,
        output: &Sink,
    ) -> Result<Box<dyn Background>, WorldError> {
        if command.program() != "docker" && command.program() != "curl" {
            return self.programs.start(command, output);
        }
        let (guest, folder) = (self.guest.clone(), self.folder.clone());
        let (command, output) = (command.clone(), output.clone());
        let task = tokio::spawn(async move {
            let show = Some(output.clone());
            let ended = if command.program() == "docker" {
                guest.docker(&command, folder.root(), show).await
            } else {
                Ok(curl::run(&guest, &command, show).await)
            };
            if let Err(e) = ended {
                output(Stream::Error, &format!("{}\n", e.what));
            }
        });
        Ok(Box::new(Task(task)))
    }

    async fn guest(&self, script: &str, output: &Sink) -> Result<Ended, WorldError> {
        self.guest.script(script, Some(output.clone())).await
    }

    async fn write_file(&self, path: &str, content: &str) -> Result<(), WorldError> {
        if let Some(kept) = self.folder.write(path, content)? {
            self.note(format!("your own {path} is kept as {kept}"));
        }
        Ok(())
    }

    async fn restore_file(&self, path: &str, original: Option<&[u8]>) -> Result<(), WorldError> {
        self.folder.restore(path, original)
    }

    async fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>, WorldError> {
        self.folder.read(path)
    }

    async fn watch(&self, need: &Need) -> Result<mpsc::Receiver<Change>, WorldError> {
        Ok(watch::begin(self.api.clone(), need.clone()))
    }

    async fn asked(&self, mark: Option<&str>) -> Result<Journal, WorldError> {
        journal::since(&self.api, mark).await
    }

    async fn http(&self, request: &HttpRequest) -> Result<HttpAnswer, String> {
        http::condition(&self.guest, request).await
    }

    async fn output(&self, command: &Command) -> Result<Ended, WorldError> {
        self.act(command, None, true).await
    }

    async fn why(&self, object: &Target) -> Option<String> {
        explain::explain(&self.api, object).await
    }

    fn save(&self, progress: &LessonProgress) -> Result<(), WorldError> {
        if !self.keeps {
            return Ok(());
        }
        progress::keep(&self.cx, progress).map_err(told)
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

fn place(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}")
}

/// Makes the lesson's namespace where it is not there.
async fn make_namespace(cluster: &Cluster, lesson: &Lesson, output: &Sink) -> Result<(), Failure> {
    let name = &lesson.namespace;
    match cluster.try_get(&place(name)).await {
        Ok(_) => return Ok(()),
        Err(failure) if failure.is_not_found() => {}
        Err(failure) => return Err(failure),
    }
    let object = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {MADE_BY: lesson.name}}});
    match cluster.create("/api/v1/namespaces", &object).await {
        // Somebody else made it in this moment: it is there.
        Ok(_) | Err(Failure::Status { code: 409, .. }) => {}
        Err(failure) => return Err(failure),
    }
    output(Stream::Out, &format!("namespace {name}\n"));
    Ok(())
}

/// Removes the lesson's namespace if it was made for it, and waits until it is gone.
async fn remove_namespace(
    cluster: &Cluster,
    lesson: &Lesson,
    output: &Sink,
) -> Result<(), Failure> {
    let name = &lesson.namespace;
    let found = match cluster.try_get(&place(name)).await {
        Ok(found) => found,
        Err(failure) if failure.is_not_found() => return Ok(()),
        Err(failure) => return Err(failure),
    };
    if found["metadata"]["labels"][MADE_BY] != lesson.name.as_str() {
        return Ok(());
    }
    output(
        Stream::Out,
        &format!("namespace {name} and all in it goes\n"),
    );
    match cluster.delete(&place(name)).await {
        Ok(_) => {}
        Err(failure) if failure.is_not_found() => return Ok(()),
        Err(failure) => return Err(failure),
    }
    let all = format!("/api/v1/namespaces?fieldSelector=metadata.name%3D{name}");
    loop {
        let list = cluster.try_get(&all).await?;
        if list["items"].as_array().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        let mut lines = cluster.lines(&cluster::watch_of(&all, &list)).await?;
        while let Some(event) = lines.next().await? {
            if event["type"] == "DELETED" {
                return Ok(());
            }
        }
    }
}

/// Work in the background; ends when dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[async_trait]
impl Background for Task {
    async fn stop(mut self: Box<Self>) {
        self.0.abort();
        // It ends as cancelled, which is what was asked for.
        let _ = (&mut self.0).await;
    }
}
