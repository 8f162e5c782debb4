//! A class in this process, on a port of its own, with its rows in a folder of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cadet_class::client::Teacher;
use cadet_class::ledger::{Change, Ledger, Trouble};
use cadet_class::message::{Joining, Mine};
use cadet_class::mirror::Mirror;
use cadet_class::need::Outline;
use cadet_class::server::{Class, Limits, Notice, Setup, serve};
use cadet_class::{ClassKey, Identity, JoinCode};
use cadet_state::{ClassBook, Home};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The teacher's token in tests.
pub const TEACHER: &str = "TEACHERTEACHER";

/// The database of the program as a ledger.
pub struct Rows(pub ClassBook);

impl Ledger for Rows {
    fn rows(&self) -> Result<Vec<(String, Vec<u8>)>, Trouble> {
        Ok(self.0.rows()?)
    }

    fn put(&self, changes: &[Change]) -> Result<(), Trouble> {
        Ok(self.0.put(changes)?)
    }
}

/// What a class is opened with.
pub struct Plan {
    pub dir: tempfile::TempDir,
    key: Vec<u8>,
    pub token: [u8; 5],
    pub files: Vec<PathBuf>,
    pub commands: Option<PathBuf>,
    pub mirror: Option<Mirror>,
    pub limits: Limits,
}

impl Plan {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            key: ClassKey::generate().unwrap().to_bytes(),
            token: [1, 2, 3, 4, 5],
            files: Vec::new(),
            commands: None,
            mirror: None,
            limits: Limits::default(),
        }
    }

    /// Another file to hand out.
    pub fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        self.files.push(path);
        self
    }

    pub fn home(&self) -> Home {
        Home::new(self.dir.path().join("data"), self.dir.path().join("cache"))
    }

    pub async fn open(self) -> Room {
        let book = ClassBook::open(&self.home()).unwrap();
        self.open_on(Arc::new(Rows(book))).await
    }

    pub async fn open_on(mut self, ledger: Arc<dyn Ledger>) -> Room {
        let setup = Setup {
            title: "Tuesday".into(),
            key: ClassKey::from_bytes(&self.key).unwrap(),
            token: self.token,
            teacher: TEACHER.into(),
            files: self.files.clone(),
            lessons: vec![Outline {
                name: "telescope".into(),
                title: "A telescope".into(),
                steps: ["One", "Two", "Three", "Four"].map(str::to_owned).into(),
                minutes: 8,
            }],
            commands: self.commands.clone(),
            mirror: self.mirror.take(),
            limits: self.limits,
        };
        let (tell, notices) = mpsc::unbounded_channel();
        let addresses = [Ipv4Addr::LOCALHOST.into()];
        let class = Class::open(setup, ledger, &addresses, tell).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(class.clone(), listener, async move {
            let _ = stopped.await;
        }));
        Room {
            plan: self,
            class,
            address,
            notices,
            stop,
            task,
        }
    }
}

/// An open class.
pub struct Room {
    pub plan: Plan,
    pub class: Arc<Class>,
    pub address: SocketAddr,
    pub notices: mpsc::UnboundedReceiver<Notice>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<bool>,
}

impl Room {
    pub fn code(&self) -> JoinCode {
        self.class.code(self.address)
    }

    pub fn teacher(&self) -> Teacher {
        Teacher::of_code(&self.code()).unwrap()
    }

    /// A learner who joins and agrees to report.
    pub async fn learner(&self, name: &str) -> Learner {
        let learner = Learner {
            teacher: self.teacher(),
            me: Identity::generate().unwrap(),
        };
        learner.join(name, true).await;
        learner
    }

    /// `/class/TOKEN` and what follows.
    pub fn path(&self, rest: &str) -> String {
        let token = cadet_class::code::token_text(&self.plan.token);
        format!("/class/{token}{rest}")
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// A request as the teacher.
    pub fn desk(&self, path: &str) -> RequestBuilder {
        let teacher = self.teacher();
        let request = teacher.http().get(self.url(path));
        request.header("authorization", format!("Bearer {TEACHER}"))
    }

    pub async fn board(&self) -> Value {
        json(self.desk("/board/data").send().await.unwrap()).await
    }

    /// Names and states on the board, in its order.
    pub async fn states(&self) -> Vec<(String, String)> {
        let board = self.board().await;
        let rows = board["rows"].as_array().unwrap().iter();
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        rows.map(|row| (text(&row["name"]), text(&row["state"])))
            .collect()
    }

    pub async fn notice(&mut self) -> Notice {
        tokio::time::timeout(PATIENCE, self.notices.recv())
            .await
            .expect("no notice came")
            .expect("the class is there")
    }

    /// Ends the class; true if all rows were kept.
    pub async fn close(self) -> (Plan, bool) {
        self.stop.send(()).unwrap();
        let saved = tokio::time::timeout(PATIENCE, self.task).await;
        drop(self.class);
        (self.plan, saved.expect("the class ends").unwrap())
    }
}

pub async fn json(answer: Response) -> Value {
    let status = answer.status();
    let body = answer.bytes().await.unwrap();
    serde_json::from_slice(&body)
        .unwrap_or_else(|e| panic!("{status}: {e}: {}", String::from_utf8_lossy(&body)))
}

/// A learner's laptop.
pub struct Learner {
    pub teacher: Teacher,
    pub me: Identity,
}

impl Learner {
    pub async fn join(&self, name: &str, reports: bool) -> Mine {
        let joining = Joining {
            name: name.into(),
            reports,
        };
        self.teacher.join(&self.me, &joining).await.unwrap()
    }

    pub async fn report(&self, step: usize, seconds: u32) {
        let report = cadet_class::need::after("telescope", step, 4, seconds);
        self.teacher.report(&self.me, &report).await.unwrap();
    }
}

/// Reads a stream of events until one of its pieces satisfies `wanted`.
pub async fn until(answer: &mut Response, wanted: impl Fn(&str) -> bool) -> String {
    let read = async {
        let mut text = String::new();
        loop {
            let chunk = answer.chunk().await.unwrap().expect("the stream goes on");
            text.push_str(&String::from_utf8_lossy(&chunk));
            while let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                if wanted(&event) {
                    return event;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("no such event came")
}
