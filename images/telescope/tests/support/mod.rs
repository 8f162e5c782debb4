//! The real `telescope` and `mongod` programs, and a browser without pictures.

#[path = "../../../../tests/support/ports.rs"]
mod ports;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub use ports::free_port;

/// Far longer than anything here takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(240);

/// A program that logs where it listens.
pub struct Program {
    child: Child,
    log: Arc<Mutex<String>>,
    /// The port it listens on.
    pub port: u16,
}

impl Program {
    fn start(mut command: Command, sign: &str) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let mut port = None;
        for line in lines.by_ref() {
            let line = line.unwrap();
            *log.lock().unwrap() += &format!("{line}\n");
            if let Some((_, rest)) = line.split_once(sign) {
                let address = rest.split(' ').next().unwrap_or(rest);
                port = address.rsplit(':').next().and_then(|p| p.parse().ok());
                break;
            }
        }
        let collected = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *collected.lock().unwrap() += &format!("{line}\n");
            }
        });
        let port = port.unwrap_or_else(|| panic!("no start: {}", log.lock().unwrap()));
        Self { child, log, port }
    }

    /// The app against a database on this port.
    pub fn telescope(database: u16) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telescope"));
        command
            .env("MONGO_URL", format!("mongodb://localhost:{database}/app"))
            .env("ROOT_URL", "http://mydomain.com")
            .env("HOSTNAME", "telescope-pod")
            .env("PORT", "0");
        Self::start(command, "listening on ")
    }

    /// The stand-in for MongoDB on this port.
    pub fn mongod(folder: &Path, port: u16) -> Self {
        let mut command = Command::new(mongod_binary());
        let port = port.to_string();
        command
            .arg("--dbpath")
            .arg(folder)
            .args(["--bind_ip", "127.0.0.1", "--port", &port]);
        Self::start(command, "waiting for connections on ")
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Kills it without a chance to tidy up.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, as Kubernetes does, and waits.
    pub fn terminate(mut self) -> ExitStatus {
        assert!(
            Command::new("kill")
                .arg(self.child.id().to_string())
                .status()
                .unwrap()
                .success()
        );
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "SIGTERM is ignored: {}",
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already gone after kill() or terminate(); then both calls have nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The stand-in beside our own binary; built first if nobody has yet.
fn mongod_binary() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_telescope")).parent().unwrap();
    let binary = folder.join("mongod");
    if !binary.exists() {
        let profile = if folder.ends_with("debug") {
            "dev"
        } else {
            "release"
        };
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--profile", profile, "-p", "cadet-image-mongo"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(
            built.success() && binary.exists(),
            "{} cannot be built",
            binary.display()
        );
    }
    binary
}

/// An answer of the app.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

impl Answer {
    /// The value of a header, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// What stands between two texts of the page.
    pub fn between(&self, before: &str, after: &str) -> &str {
        let start = self
            .body
            .find(before)
            .unwrap_or_else(|| panic!("no {before:?} in {}", self.body))
            + before.len();
        &self.body[start..start + self.body[start..].find(after).unwrap()]
    }
}

/// One browser with its cookie.
#[derive(Default)]
pub struct Browser {
    cookie: Option<String>,
}

impl Browser {
    /// Sends a request and reads the whole answer.
    pub fn request(&mut self, app: &Program, head: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", app.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let cookie = self
            .cookie
            .as_ref()
            .map_or(String::new(), |c| format!("Cookie: {c}\r\n"));
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: 10.244.0.5\r\nConnection: close\r\n{cookie}\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (headers, body) = text.split_once("\r\n\r\n").unwrap();
        let answer = Answer {
            status: headers[9..12].parse().unwrap(),
            headers: headers.replace("\r\n", "\n"),
            body: body.to_owned(),
        };
        if let Some(set) = answer.header("set-cookie") {
            self.cookie = set.split(';').next().map(str::to_owned);
        }
        answer
    }

    /// Loads a page.
    pub fn get(&mut self, app: &Program, path: &str) -> Answer {
        self.request(app, &format!("GET {path}"), "")
    }

    /// Sends a form with the token of our own page, as a person would.
    pub fn post(&mut self, app: &Program, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self
            .get(app, "/submit")
            .between("name=\"token\" value=\"", "\"")
            .to_owned();
        self.post_with(app, path, &token, fields)
    }

    /// Sends a form with a token of one's choice.
    pub fn post_with(
        &mut self,
        app: &Program,
        path: &str,
        token: &str,
        fields: &[(&str, &str)],
    ) -> Answer {
        let mut body = format!("token={token}");
        for (name, value) in fields {
            body += &format!("&{name}=");
            for byte in value.bytes() {
                body += &format!("%{byte:02X}");
            }
        }
        self.request(app, &format!("POST {path}"), &body)
    }

    /// Loads a page again and again until it has this status.
    pub fn wait_for(&mut self, app: &Program, path: &str, status: u16) -> Answer {
        let begun = Instant::now();
        loop {
            let answer = self.get(app, path);
            if answer.status == status {
                return answer;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "no {status} at {path}: {answer:?}\n{}",
                app.log()
            );
            thread::sleep(Duration::from_millis(100));
        }
    }
}
