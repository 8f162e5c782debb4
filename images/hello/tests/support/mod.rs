//! The real program, and a client that reads whole answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Far longer than anything here takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// `hello` on a free port.
pub struct Hello {
    child: Child,
    output: Arc<Mutex<String>>,
    pub port: u16,
}

/// The program with nothing of this computer's own environment that it would read.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hello"));
    for name in [
        "VERSION",
        "ACCESS_LOG",
        "NODE_NAME",
        "POD_NAMESPACE",
        "FILE_ROOTS",
    ] {
        command.env_remove(name);
    }
    command.env("POD_NAME", "web-1").env("PORT", "0");
    command
}

impl Hello {
    /// Starts it and waits until it listens.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().unwrap(), &output);
        let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let port = loop {
            let Some(line) = errors.next() else {
                panic!("it did not start: {said}");
            };
            let line = line.unwrap();
            said += &line;
            if let Some((_, rest)) = line.split_once("listening on ") {
                let address = rest.split([' ', ',']).next().unwrap();
                break address.rsplit(':').next().unwrap().parse().unwrap();
            }
        };
        // Nobody reads the rest, but the pipe must not fill up.
        thread::spawn(move || errors.map_while(Result::ok).for_each(drop));
        Self {
            child,
            output,
            port,
        }
    }

    /// Standard output so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Sends a request and reads the whole answer: status and text.
    pub fn request(&self, head: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n{headers}\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    pub fn get(&self, target: &str) -> (u16, String) {
        self.request(&format!("GET {target}"), "", "")
    }

    pub fn post(&self, target: &str, body: &str) -> (u16, String) {
        self.request(&format!("POST {target}"), "", body)
    }

    /// Asks it to stop, as Kubernetes does.
    pub fn ask_to_stop(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
    }

    /// Waits until nobody is let in any more.
    pub fn wait_until_deaf(&self) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            assert!(begun.elapsed() < PATIENCE, "it still listens");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end.
    pub fn end(mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "it does not end: {}",
                self.output()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Hello {
    fn drop(&mut self) {
        // Already gone after end(); then both calls have nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut from: impl Read + Send + 'static, into: &Arc<Mutex<String>>) {
    let into = Arc::clone(into);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            *into.lock().unwrap() += &String::from_utf8_lossy(&buffer[..length]);
        }
    });
}
