//! A world by hand for tests: a few kubectl commands over objects in memory, told to watchers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use crate::condition::{HttpRequest, Need, Target};
use crate::model::{Command, Lesson};
use crate::progress::LessonProgress;
use crate::world::{
    Asked, Background, Change, Ended, HttpAnswer, Journal, Sink, Stream, World, WorldError,
};

/// Pods named like this are never ready.
pub const BAD_IMAGE: &str = "bad:1";

#[derive(Default)]
pub struct FakeWorld {
    inner: Arc<Mutex<Inner>>,
    /// Rung when anything was done, for tests that wait for it.
    pub bell: Arc<Notify>,
}

#[derive(Default)]
pub struct Inner {
    /// Pods by name; every other kind is empty.
    pods: BTreeMap<String, Value>,
    watchers: Vec<mpsc::Sender<Change>>,
    journals: Vec<mpsc::Sender<Asked>>,
    pub asked: Vec<Asked>,
    pub files: BTreeMap<String, Vec<u8>>,
    pub guest: Vec<String>,
    pub ran: Vec<String>,
    /// Commands that go on.
    pub background: BTreeSet<String>,
    pub saved: Vec<LessonProgress>,
    /// What the web answers.
    pub page: Option<String>,
    pub questions: usize,
    pub why: Option<String>,
    pub prepared: usize,
    pub cleaned: usize,
    /// Progress cannot be kept.
    pub locked: bool,
    uids: u64,
}

impl FakeWorld {
    pub fn new() -> Arc<FakeWorld> {
        Arc::new(FakeWorld::default())
    }

    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// What a learner does in their own terminal.
    pub fn terminal(&self, text: &str) -> Ended {
        let command = crate::command::parse(text, 0).unwrap();
        let ended = self.inner().command(&command);
        self.bell.notify_waiters();
        ended
    }

    /// The cluster is deleted, and another one stands in its place after a while.
    pub fn another_cluster(&self) {
        let mut inner = self.inner();
        inner.pods.clear();
        inner.tell(&Change::Lost("the machine was deleted".to_owned()));
        inner.tell(&Change::All(Vec::new()));
    }

    /// Waits until `so` holds of what was done.
    pub async fn until(&self, so: impl Fn(&Inner) -> bool) {
        loop {
            let rung = self.bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            if so(&self.inner()) {
                return;
            }
            rung.await;
        }
    }
}

impl Inner {
    fn command(&mut self, command: &Command) -> Ended {
        let words: Vec<&str> = command.argv.iter().map(String::as_str).collect();
        self.ran.push(command.text.clone());
        match words[..] {
            ["kubectl", "run", name, image] => {
                let image = image.trim_start_matches("--image=");
                if self.pods.contains_key(name) {
                    return failed("AlreadyExists");
                }
                self.make(name, image);
                said(&format!("pod/{name} created\n"))
            }
            ["kubectl", "delete", "pod", name, ..] => {
                if let Some(pod) = self.pods.remove(name) {
                    self.tell(&Change::Gone(pod));
                }
                said("")
            }
            ["kubectl", "get", "pods"] => {
                self.ask("list", "");
                let names: Vec<&str> = self.pods.keys().map(String::as_str).collect();
                said(&format!("{}\n", names.join("\n")))
            }
            ["kubectl", "get", "pod", name] => {
                self.ask("get", name);
                match self.pods.contains_key(name) {
                    true => said(name),
                    false => failed("NotFound"),
                }
            }
            ["curl", ..] => said("a page"),
            _ => failed("what is that?"),
        }
    }

    fn make(&mut self, name: &str, image: &str) {
        self.uids += 1;
        let ready = image != BAD_IMAGE;
        let state = match ready {
            true => json!({"running": {}}),
            false => json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}}),
        };
        let status = if ready { "True" } else { "False" };
        let pod = json!({
            "metadata": {"name": name, "namespace": "default", "uid": format!("u{}", self.uids),
                         "labels": {"run": name}},
            "spec": {"nodeName": "cadet", "containers": [{"name": name, "image": image}]},
            "status": {"phase": if ready { "Running" } else { "Pending" },
                       "conditions": [{"type": "Ready", "status": status}],
                       "containerStatuses": [{"name": name, "image": image, "ready": ready,
                                              "state": state}]}
        });
        self.pods.insert(name.to_owned(), pod.clone());
        self.tell(&Change::Set(pod));
    }

    fn tell(&mut self, change: &Change) {
        self.watchers
            .retain(|watcher| watcher.try_send(change.clone()).is_ok());
    }

    fn ask(&mut self, verb: &str, name: &str) {
        let asked = Asked {
            verb: verb.to_owned(),
            resource: "pods".to_owned(),
            namespace: "default".to_owned(),
            name: name.to_owned(),
            code: 200,
            ..Asked::default()
        };
        self.journals
            .retain(|journal| journal.try_send(asked.clone()).is_ok());
        self.asked.push(asked);
    }
}

fn said(out: &str) -> Ended {
    Ended {
        out: out.to_owned(),
        ..Ended::default()
    }
}

fn failed(error: &str) -> Ended {
    Ended {
        code: 1,
        error: error.to_owned(),
        ..Ended::default()
    }
}

/// A command that goes on; takes itself out of the list when it ends.
struct Going {
    text: String,
    inner: Arc<Mutex<Inner>>,
    bell: Arc<Notify>,
}

#[async_trait]
impl Background for Going {
    async fn stop(self: Box<Self>) {}
}

impl Drop for Going {
    fn drop(&mut self) {
        if let Ok(mut inner) = self.inner.lock() {
            inner.background.remove(&self.text);
        }
        self.bell.notify_waiters();
    }
}

/// Enough for every message of a test: a full channel would be a watcher that is gone.
const ROOM: usize = 1024;

#[async_trait]
impl World for FakeWorld {
    async fn prepare(&self, lesson: &Lesson, _output: &Sink) -> Result<(), WorldError> {
        let mut inner = self.inner();
        inner.prepared += 1;
        for (path, content) in &lesson.files {
            inner
                .files
                .entry(path.clone())
                .or_insert_with(|| content.clone());
        }
        Ok(())
    }

    async fn clean(&self, _lesson: &Lesson, _output: &Sink) -> Result<(), WorldError> {
        let mut inner = self.inner();
        inner.cleaned += 1;
        inner.files.clear();
        Ok(())
    }

    async fn run(&self, command: &Command, output: &Sink) -> Result<Ended, WorldError> {
        if command.program() == "kubectl" && command.argv.get(1).is_some_and(|v| v == "wait") {
            // Never ends by itself.
            self.inner().ran.push(command.text.clone());
            self.bell.notify_waiters();
            std::future::pending::<()>().await;
        }
        if command.program() == "lost" {
            return Err(WorldError::new("kubectl was not found").fix("install kubectl"));
        }
        let ended = self.inner().command(command);
        self.bell.notify_waiters();
        output(Stream::Out, &ended.out);
        Ok(ended)
    }

    async fn start(
        &self,
        command: &Command,
        _output: &Sink,
    ) -> Result<Box<dyn Background>, WorldError> {
        let text = command.text.clone();
        self.inner().background.insert(text.clone());
        self.bell.notify_waiters();
        Ok(Box::new(Going {
            text,
            inner: Arc::clone(&self.inner),
            bell: Arc::clone(&self.bell),
        }))
    }

    async fn guest(&self, script: &str, _output: &Sink) -> Result<Ended, WorldError> {
        self.inner().guest.push(script.to_owned());
        self.bell.notify_waiters();
        Ok(Ended::default())
    }

    async fn write_file(&self, path: &str, content: &str) -> Result<(), WorldError> {
        let bytes = content.as_bytes().to_vec();
        self.inner().files.insert(path.to_owned(), bytes);
        Ok(())
    }

    async fn restore_file(&self, path: &str, original: Option<&[u8]>) -> Result<(), WorldError> {
        let mut inner = self.inner();
        match original {
            Some(bytes) => inner.files.insert(path.to_owned(), bytes.to_vec()),
            None => inner.files.remove(path),
        };
        Ok(())
    }

    async fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>, WorldError> {
        Ok(self.inner().files.get(path).cloned())
    }

    async fn watch(&self, need: &Need) -> Result<mpsc::Receiver<Change>, WorldError> {
        let (to, from) = mpsc::channel(ROOM);
        let mut inner = self.inner();
        let pods = need.kind.known().is_some_and(|row| row.is("", "Pod"));
        let all = match pods {
            true => inner.pods.values().cloned().collect(),
            false => Vec::new(),
        };
        to.try_send(Change::All(all)).expect("there is room");
        if pods {
            inner.watchers.push(to);
        } else {
            // Kept open, and silent.
            std::mem::forget(to);
        }
        Ok(from)
    }

    async fn asked(&self, mark: Option<&str>) -> Result<Journal, WorldError> {
        let (to, asked) = mpsc::channel(ROOM);
        let mut inner = self.inner();
        let since = mark.and_then(|mark| mark.parse().ok());
        let since = since.unwrap_or(inner.asked.len());
        for old in inner.asked.iter().skip(since) {
            to.try_send(old.clone()).expect("there is room");
        }
        inner.journals.push(to);
        let mark = since.to_string();
        Ok(Journal { mark, asked })
    }

    async fn http(&self, _request: &HttpRequest) -> Result<HttpAnswer, String> {
        let mut inner = self.inner();
        inner.questions += 1;
        self.bell.notify_waiters();
        match &inner.page {
            Some(page) => Ok(HttpAnswer {
                status: 200,
                body: page.clone(),
            }),
            None => Err("connection refused".to_owned()),
        }
    }

    async fn output(&self, command: &Command) -> Result<Ended, WorldError> {
        let mut inner = self.inner();
        let asked = inner.asked.len();
        let journals = std::mem::take(&mut inner.journals);
        let ended = inner.command(command);
        // Nobody but the engine asked.
        inner.asked.truncate(asked);
        inner.journals = journals;
        Ok(ended)
    }

    async fn why(&self, _object: &Target) -> Option<String> {
        self.inner().why.clone()
    }

    fn save(&self, progress: &LessonProgress) -> Result<(), WorldError> {
        let mut inner = self.inner();
        if inner.locked {
            return Err(WorldError::new("the records are in use").fix("cadet doctor"));
        }
        inner.saved.push(progress.clone());
        Ok(())
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    async fn sleep(&self, time: Duration) {
        // Nothing is measured by these pauses, so tests need not wait for them.
        tokio::time::sleep(time.min(Duration::from_millis(2))).await;
    }
}
