//! A real etcd (Debian's etcd-server) on loopback, in a folder of its own.

pub mod door;

#[path = "../../../../../tests/support/ports.rs"]
mod ports;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use cadet_store::EtcdOptions;

pub use ports::free_port;

/// Certificate of the authority, certificate and key of the server: files.
pub struct Files {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

pub struct Etcd {
    folder: tempfile::TempDir,
    port: u16,
    peer_port: u16,
    tls: Option<Files>,
    child: Option<Child>,
    /// What it warned of, told when a test fails: a slow disk explains a lot.
    warnings: Arc<Mutex<Vec<String>>>,
}

impl Etcd {
    /// Starts one and waits until it answers.
    pub fn start() -> Etcd {
        Etcd::start_with(None)
    }

    /// With `tls` it asks for a certificate of the authority and shows one.
    pub fn start_with(tls: Option<Files>) -> Etcd {
        let mut etcd = Etcd {
            folder: tempfile::tempdir().expect("folder"),
            port: free_port(),
            peer_port: free_port(),
            tls,
            child: None,
            warnings: Arc::default(),
        };
        etcd.run();
        etcd
    }

    /// `host:port`.
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn address(&self) -> String {
        format!("etcd://{}", self.endpoint())
    }

    pub fn options(&self) -> EtcdOptions {
        EtcdOptions::parse(&self.address()).expect("address")
    }

    /// Ends it as a power cut would, without a last word.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill");
            child.wait().expect("wait");
        }
    }

    /// Starts it again on what it had written.
    pub fn run(&mut self) {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let client = format!("{scheme}://{}", self.endpoint());
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let mut command = Command::new("etcd");
        command
            .args(["--logger", "zap", "--log-outputs", "stderr"])
            // One member elects itself; the usual second of waiting for others is wasted.
            .args(["--heartbeat-interval", "20", "--election-timeout", "200"])
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .env("ETCD_UNSUPPORTED_ARCH", go_arch())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(files) = &self.tls {
            command
                .arg("--client-cert-auth")
                .arg("--trusted-ca-file")
                .arg(&files.authority)
                .arg("--cert-file")
                .arg(&files.certificate)
                .arg("--key-file")
                .arg(&files.key);
        }
        let mut child = command.spawn().expect("etcd is installed (scripts/test)");
        let log = BufReader::new(child.stderr.take().expect("stderr"));
        let (ready, wait) = std::sync::mpsc::channel();
        // Its log is read to the end, or it would block once the pipe is full.
        let warnings = Arc::clone(&self.warnings);
        std::thread::spawn(move || {
            let mut told = String::new();
            for line in log.lines().map_while(Result::ok) {
                if line.contains("serving client traffic")
                    || line.contains("serving client requests")
                {
                    let _ = ready.send(Ok(()));
                }
                told.push_str(&line);
                told.push('\n');
                if line.contains("\"level\":\"warn\"") {
                    warnings.lock().expect("no panic").push(line);
                }
            }
            let _ = ready.send(Err(told));
        });
        self.child = Some(child);
        match wait.recv().expect("the reader lives") {
            Ok(()) => {}
            Err(log) => panic!("etcd did not start:\n{log}"),
        }
    }
}

impl Drop for Etcd {
    #[allow(clippy::print_stdout)] // evidence for who reads the failure
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let warnings = self.warnings.lock().expect("no panic");
            println!("etcd warned:\n{}", warnings.join("\n"));
        }
    }
}

fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}
