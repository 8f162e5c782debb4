//! The real `mongod` binary on a free port with its data in a temporary folder.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bson::{Document, doc};

/// Far longer than a start takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(240);

/// A running server.
pub struct Mongod {
    child: Child,
    /// The port it listens on.
    pub port: u16,
    log: Arc<Mutex<String>>,
}

/// The binary under test with arguments, nothing started yet.
pub fn mongod(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mongod"));
    command.args(arguments).stdin(Stdio::null());
    command
}

impl Mongod {
    /// Starts a server over a data folder and waits until it listens.
    pub fn start(folder: &Path) -> Self {
        Self::start_on(folder, 0)
    }

    /// The same on a given port, as after a restart.
    pub fn start_on(folder: &Path, port: u16) -> Self {
        let port = port.to_string();
        let folder = folder.to_str().unwrap();
        let mut child = mongod(&[
            "--dbpath",
            folder,
            "--bind_ip",
            "127.0.0.1",
            "--port",
            &port,
            "--smallfiles",
            "--nojournal",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let mut port = None;
        for line in lines.by_ref() {
            let line = line.unwrap();
            *log.lock().unwrap() += &format!("{line}\n");
            if let Some((_, address)) = line.split_once("waiting for connections on ") {
                port = address
                    .rsplit(':')
                    .next()
                    .and_then(|p| p.trim().parse().ok());
                break;
            }
        }
        let collected = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *collected.lock().unwrap() += &format!("{line}\n");
            }
        });
        let port = port.unwrap_or_else(|| panic!("mongod did not start: {}", log.lock().unwrap()));
        Self { child, port, log }
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The address for drivers.
    pub fn url(&self) -> String {
        format!("mongodb://127.0.0.1:{}/app", self.port)
    }

    /// Kills it without a chance to tidy up.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, as Kubernetes does, and waits.
    pub fn terminate(mut self) -> ExitStatus {
        let asked = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(asked.success());
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "mongod ignores SIGTERM: {}",
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends one command over a fresh connection and reads the reply.
    pub fn run(&self, command: Document) -> Document {
        let mut stream = self.connect();
        stream.write_all(&message(&command)).unwrap();
        reply(&mut stream)
    }

    /// A bare connection.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Mongod {
    fn drop(&mut self) {
        // Already gone after kill() or terminate(); then both calls have nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An OP_MSG with one body, built independently of the code under test.
pub fn message(command: &Document) -> Vec<u8> {
    let mut body = command.clone();
    body.insert("$db", "app");
    let body = body.to_vec().unwrap();
    let mut out = Vec::new();
    out.extend((21 + body.len() as i32).to_le_bytes());
    out.extend(1i32.to_le_bytes());
    out.extend(0i32.to_le_bytes());
    out.extend(2013i32.to_le_bytes());
    out.extend(0i32.to_le_bytes());
    out.push(0);
    out.extend(body);
    out
}

/// The body of the next reply.
pub fn reply(stream: &mut TcpStream) -> Document {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut rest = vec![0; i32::from_le_bytes(length) as usize - 4];
    stream.read_exact(&mut rest).unwrap();
    Document::from_reader(&rest[17..]).unwrap()
}

/// Answers pings?
pub fn alive(server: &Mongod) -> bool {
    server.run(doc! { "ping": 1 }).get_f64("ok").unwrap() == 1.0
}

/// The folder with the official drivers, installed by `setup.sh` at first use.
pub fn drivers() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("drivers");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup.sh");
    let output = Command::new(script).arg(&folder).output().unwrap();
    assert!(
        output.status.success(),
        "setup.sh: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    folder
}

/// A script of `tests/tours`.
pub fn tour(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tours")
        .join(name)
}

/// Fails with everything a script said.
pub fn expect_success(output: &Output, server: &Mongod) {
    assert!(
        output.status.success(),
        "{}\n{}\nserver:\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        server.log()
    );
}
