//! What the engine needs of the world: commands, files, the cluster. The caller provides it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::condition::{HttpRequest, Need, Target};
use crate::model::{Command, Lesson};
use crate::progress::LessonProgress;

/// Something the world could not do, in words for the learner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct WorldError {
    /// What could not be done and why, one line.
    pub what: String,
    /// A command that helps, where there is one.
    pub fix: Option<String>,
}

impl WorldError {
    /// An error without a fix.
    pub fn new(what: impl Into<String>) -> WorldError {
        WorldError {
            what: what.into(),
            fix: None,
        }
    }

    /// Adds a command that helps.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> WorldError {
        self.fix = Some(fix.into());
        self
    }
}

/// Where a piece of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stream {
    Out,
    Error,
}

/// Takes the output of a command while it runs, in pieces as they come.
pub type Sink = Arc<dyn Fn(Stream, &str) + Send + Sync>;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ended {
    /// 0 is well. A program that a signal ended has 128 and the signal's number.
    pub code: i32,
    /// What it printed, at most the first 64 KiB of each.
    pub out: String,
    pub error: String,
}

impl Ended {
    pub fn ok(&self) -> bool {
        self.code == 0
    }
}

/// A command that goes on until it is told to end. Dropping it ends it as well, without waiting.
#[async_trait]
pub trait Background: Send + Sync {
    /// Ends the command and waits until it is gone.
    async fn stop(self: Box<Self>);
}

/// News of watched objects.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// These are all there are; whatever was known before is void. Always the first message, and
    /// again whenever the watch had to start over.
    All(Vec<Value>),
    /// This object was made or changed.
    Set(Value),
    /// This object is gone.
    Gone(Value),
    /// The cluster does not answer for now; the world tries again by itself and sends `All`.
    Lost(String),
}

/// One request the learner's programs made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Asked {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Group, "" for the core one.
    pub group: String,
    /// Plural.
    pub resource: String,
    /// `exec`, `log`, `portforward`, `status` …, or "".
    pub subresource: String,
    /// "" where there is none.
    pub namespace: String,
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u16,
}

/// The learner's requests from a moment on.
pub struct Journal {
    /// The moment, to be kept and handed to [`World::asked`] later.
    pub mark: String,
    pub asked: mpsc::Receiver<Asked>,
}

/// What a web address answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpAnswer {
    pub status: u16,
    /// At most the first 256 KiB, wrong UTF-8 replaced.
    pub body: String,
}

/// The learner's computer and cluster. All paths are below the learner's lesson folder, all
/// commands run there. Futures may be dropped at any time: a command that was running is ended.
#[async_trait]
pub trait World: Send + Sync + 'static {
    /// Makes the place ready: lesson folder with `lesson.files` (files the learner changed are
    /// left as they are), images in the cluster, the namespace where it is not there. Called
    /// before the first step is shown and whenever a lesson is taken up again; does only what is
    /// not done yet.
    async fn prepare(&self, lesson: &Lesson, output: &Sink) -> Result<(), WorldError>;

    /// Undoes [`World::prepare`] after every step was reset: a namespace it made is deleted, the
    /// lesson folder is as `prepare` would make it anew.
    async fn clean(&self, lesson: &Lesson, output: &Sink) -> Result<(), WorldError>;

    /// Runs a command to its end. Output goes to `output` while it comes. An exit code other
    /// than 0 is no error.
    async fn run(&self, command: &Command, output: &Sink) -> Result<Ended, WorldError>;

    /// Starts a command that goes on, and returns once it runs. What it prints goes to `output`.
    async fn start(
        &self,
        command: &Command,
        output: &Sink,
    ) -> Result<Box<dyn Background>, WorldError>;

    /// Runs a script as root in the guest with `sh -eu`.
    async fn guest(&self, script: &str, output: &Sink) -> Result<Ended, WorldError>;

    /// Writes a file, with the folders above it.
    async fn write_file(&self, path: &str, content: &str) -> Result<(), WorldError>;

    /// Puts a file back as the lesson hands it out, or removes it where the lesson does not.
    async fn restore_file(&self, path: &str, original: Option<&[u8]>) -> Result<(), WorldError>;

    /// A file's content; None where there is no such file.
    async fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>, WorldError>;

    /// Watches all objects of a kind in a place. The first message is [`Change::All`]. A kind
    /// the cluster does not know (yet) is an empty `All`, followed by another once it does. The
    /// watch ends when the receiver is dropped.
    async fn watch(&self, need: &Need) -> Result<mpsc::Receiver<Change>, WorldError>;

    /// The requests of the learner's programs since `mark`, or from now on. Requests that the
    /// world makes by itself ([`World::watch`], [`World::why`]) are left out.
    async fn asked(&self, mark: Option<&str>) -> Result<Journal, WorldError>;

    /// Asks a web address, from the laptop through the tunnel; redirects are not followed. `Err`
    /// is what stood in the way, in a few words: it is something to know, not a failure of ours.
    async fn http(&self, request: &HttpRequest) -> Result<HttpAnswer, String>;

    /// Runs a command to look at what it prints; nobody sees its output.
    async fn output(&self, command: &Command) -> Result<Ended, WorldError>;

    /// Why an object is not as it should be, in one plain sentence; None where nothing is wrong
    /// or nothing is known.
    async fn why(&self, object: &Target) -> Option<String>;

    /// Keeps progress.
    fn save(&self, progress: &LessonProgress) -> Result<(), WorldError>;

    /// The time of day.
    fn now(&self) -> SystemTime;

    /// Waits.
    async fn sleep(&self, time: Duration);
}
