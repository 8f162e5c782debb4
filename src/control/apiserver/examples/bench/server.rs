//! The server under measurement: a real `cadet-node server` in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use cadet_api::json::str_at;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Result;
use super::client::{self, Client};

/// Clock ticks per second in /proc/PID/stat on every Linux architecture Rust runs on.
const TICKS: f64 = 100.0;

pub struct Server {
    process: Process,
    program: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
}

impl Server {
    /// Starts one and waits until it is ready.
    pub async fn start(program: &Path) -> Result<Server> {
        // In the home folder: /tmp is often memory, and writes must reach a disk.
        let folder = tempfile::tempdir_in(std::env::var("HOME")?)?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let config = serde_json::json!({
            "nodeName": "bench", "clusterName": "bench", "clusterCidr": "10.244.0.0/16",
            "podCidr": "10.244.0.0/24", "serviceCidr": "10.96.0.0/12", "apiPort": port,
        });
        std::fs::write(folder.path().join("node.json"), config.to_string())?;
        let process = Process(spawn(program, folder.path())?);
        let server = Server {
            process,
            program: program.to_owned(),
            folder,
            port,
        };
        server.ready().await?;
        Ok(server)
    }

    async fn ready(&self) -> Result<()> {
        let give_up = Instant::now() + Duration::from_secs(30);
        let mut client = None;
        loop {
            if client.is_none() {
                client = self.client().ok();
            }
            if let Some(client) = &client
                && let Ok(mut connection) = client.connect().await
                && let Ok(200) = connection.exchange(&client::get("/readyz")).await
            {
                return Ok(());
            }
            if Instant::now() > give_up {
                return Err("the server was not ready after 30 s".into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The administrator's kubeconfig, as the program prints it.
    fn kubeconfig(&self) -> Result<Vec<u8>> {
        let out = Command::new(&self.program)
            .arg("--data")
            .arg(self.folder.path())
            .arg("kubeconfig")
            .arg("--config")
            .arg(self.folder.path().join("node.json"))
            .stderr(Stdio::null())
            .output()?;
        Ok(out.stdout)
    }

    /// Hollow nodes of this server, in a process of their own.
    pub fn hollow(&self, nodes: usize) -> Result<Process> {
        let kubeconfig = self.folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, self.kubeconfig()?)?;
        let log = std::fs::File::create(self.folder.path().join("hollow.log"))?;
        let child = Command::new(&self.program)
            .args(["hollow", "--nodes", &nodes.to_string(), "--kubeconfig"])
            .arg(&kubeconfig)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Process(child))
    }

    /// The administrator.
    pub fn client(&self) -> Result<Client> {
        let config: serde_json::Value = serde_json::from_slice(&self.kubeconfig()?)?;
        let pem = |path: &str| BASE64.decode(str_at(&config, path));
        let mut roots = rustls::RootCertStore::empty();
        let authority = pem("/clusters/0/cluster/certificate-authority-data")?;
        roots.add(CertificateDer::from_pem_slice(&authority)?)?;
        let certificate = pem("/users/0/user/client-certificate-data")?;
        let key = pem("/users/0/user/client-key-data")?;
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(&certificate)?],
                PrivateKeyDer::from_pem_slice(&key)?,
            )?;
        Ok(Client {
            address: ([127, 0, 0, 1], self.port).into(),
            tls: Arc::new(tls),
        })
    }

    /// CPU time used so far, all threads.
    pub fn cpu(&self) -> Duration {
        self.process.cpu()
    }

    /// Resident memory, MiB.
    pub fn resident_mib(&self) -> f64 {
        self.process.resident_mib()
    }
}

/// A child that ends with its owner.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Killed because nothing of it is kept; an error means that it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// CPU time used so far, all threads.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // Fields 14 and 15, counted behind the name, which may hold spaces: proc(5).
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().collect())
            .unwrap_or_default();
        let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok());
        let total = ticks(11).unwrap_or_default() + ticks(12).unwrap_or_default();
        Duration::from_secs_f64(total / TICKS)
    }

    /// Resident memory, MiB.
    pub fn resident_mib(&self) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(f64::NAN) / 1024.0
    }

    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.0.id());
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

fn spawn(program: &Path, folder: &Path) -> Result<Child> {
    let log = std::fs::File::create(folder.join("log"))?;
    Ok(Command::new(program)
        .arg("--data")
        .arg(folder)
        .arg("server")
        .arg("--config")
        .arg(folder.join("node.json"))
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?)
}

/// Milliseconds from exec to ready with an empty store; keys are made beforehand, because
/// a server makes them once in its life.
pub async fn time_to_ready(program: &Path) -> Result<f64> {
    let mut server = Server::start(program).await?;
    server.process.0.kill()?;
    server.process.0.wait()?;
    std::fs::remove_dir_all(server.folder.path().join("store"))?;
    let client = server.client()?;
    let begin = Instant::now();
    server.process = Process(spawn(program, server.folder.path())?);
    loop {
        if let Ok(mut connection) = client.connect().await
            && let Ok(200) = connection.exchange(&client::get("/readyz")).await
        {
            return Ok(begin.elapsed().as_secs_f64() * 1e3);
        }
        if begin.elapsed() > Duration::from_secs(30) {
            return Err("the server was not ready after 30 s".into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
