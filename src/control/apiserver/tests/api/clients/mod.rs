//! Other people's clients, unmodified: the libraries for Python, Node and Rust, Helm, and an
//! operator. What they do is written in their own languages in the folders beside this
//! file; each such program says what it expects and fails when it is otherwise.

mod helm;
mod kopf;
mod kube_rs;
mod node;
mod python;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpSocket;
use tokio::process::Command;

use crate::agent::Cluster;
use crate::program::texts;
use crate::streams::{closed_port, echo_server};

/// Longer than any of these programs takes on a busy machine: a client that waits for what
/// the server never sends shall fail its test, not hang it.
const PATIENCE: Duration = Duration::from_secs(900);

/// A cluster as the programs expect it: the pod `web` whose main process is `cat`, the pod
/// `two` with one of two containers stopped, an echoing port and a closed one.
struct Setting {
    cluster: Cluster,
    home: tempfile::TempDir,
    echo: u16,
    closed: u16,
    /// Keeps the closed port from being anybody else's.
    _closed: TcpSocket,
}

impl Setting {
    async fn start() -> Setting {
        Setting::around(Cluster::start().await).await
    }

    async fn around(cluster: Cluster) -> Setting {
        let spec = json!({"containers": [{"name": "c", "image": "x", "stdin": true}]});
        cluster.pod("web", spec).await;
        let spec = json!({"containers": [
            {"name": "c", "image": "x"}, {"name": "stopped", "image": "x"}]});
        cluster.pod("two", spec).await;
        let home = tempfile::tempdir().expect("home");
        let config = cluster.kubeconfig.to_string();
        std::fs::write(home.path().join("config"), config).expect("kubeconfig");
        let (held, closed) = closed_port();
        Setting {
            cluster,
            home,
            echo: echo_server().await,
            closed,
            _closed: held,
        }
    }

    /// Runs a program to its end. It must end well.
    async fn run(&self, program: &Path, script: &str) {
        let script = folder_of_scripts().join(script);
        let mut command = Command::new(program);
        command
            .arg(&script)
            .current_dir(self.home.path())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("config"))
            .env("SCRIPTS", folder_of_scripts())
            .env("ECHO_PORT", self.echo.to_string())
            .env("CLOSED_PORT", self.closed.to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let ended = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = ended.unwrap_or_else(|_| panic!("{} hangs", script.display()));
        let output = output.expect("run");
        let (out, err) = texts(&output);
        let script = script.display();
        assert!(output.status.success(), "{script}:\n{out}{err}");
        // A program that was cut short by its own library may end well as well.
        assert!(out.ends_with("all is well\n"), "{script}:\n{out}{err}");
    }

    async fn stop(self) {
        self.cluster.stop().await;
    }
}

fn folder_of_scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("api/clients")
}

/// Where `scripts/test` installs the clients.
fn installed() -> PathBuf {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = named("CADET_CLIENTS") {
        return folder.into();
    }
    let cache = named("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| named("HOME").map(|home| Path::new(&home).join(".cache")));
    cache.expect("a home").join("cadet/clients")
}

/// What is at `path` among the installed clients.
fn need(path: &str) -> PathBuf {
    let found = installed().join(path);
    assert!(
        found.exists(),
        "this test needs other people's clients, and {} is missing: `scripts/test` installs \
         them (`need_clients` in scripts/lib.sh says how)",
        found.display()
    );
    found
}
