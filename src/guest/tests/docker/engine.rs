//! A Docker Engine of the test's own: no bridge, no rules, everything in one folder.

#[path = "../../../../tests/areas/image.rs"]
pub mod image;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use cadet_kubelet::DockerRuntime;
use cadet_kubelet::runtime::Runtime;
use tempfile::TempDir;

/// Name of the image with a static busybox in it.
pub const BUSYBOX: &str = "busybox:test";
/// The same, made for user 1234.
pub const PLAIN_USER: &str = "user:test";

pub struct Engine {
    folder: TempDir,
    /// On its own, as distributions run it: it outlives a killed engine.
    containerd: Child,
    daemon: Child,
    pub runtime: Arc<DockerRuntime>,
}

impl Engine {
    /// Starts one with the test's images in it.
    pub async fn start() -> Engine {
        // On a real file system: overlayfs does not lie on every other.
        let folder = tempfile::tempdir_in("/var/tmp").expect("folder");
        let containerd = spawn_containerd(folder.path());
        let daemon = spawn(folder.path());
        let socket = folder.path().join("docker.sock");
        let runtime = DockerRuntime::new(socket.display().to_string());
        let mut engine = Engine {
            folder,
            containerd,
            daemon,
            runtime,
        };
        engine.ready().await;
        engine.build(BUSYBOX, "").await;
        engine.build(PLAIN_USER, "USER 1234\n").await;
        engine
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn socket(&self) -> String {
        self.folder().join("docker.sock").display().to_string()
    }

    /// Returns when the engine answers.
    async fn ready(&mut self) {
        while self.runtime.info().await.is_err() {
            if let Some(ended) = self.daemon.try_wait().expect("wait") {
                let log = std::fs::read_to_string(self.folder().join("docker.log"));
                panic!("dockerd: {ended}\n{}", log.unwrap_or_default());
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    /// As the kernel's out-of-memory killer would.
    pub fn kill(&mut self) {
        self.daemon.kill().expect("kill");
        self.daemon.wait().expect("wait");
    }

    pub async fn start_again(&mut self) {
        let _ = std::fs::remove_file(self.folder().join("docker.pid"));
        self.daemon = spawn(self.folder.path());
        self.ready().await;
    }

    async fn build(&self, tag: &str, more: &str) {
        let context = tempfile::tempdir().expect("folder");
        image::lay_out(context.path());
        let dockerfile = format!(
            "FROM scratch\nCOPY bin /bin\nCOPY tmp /tmp\nENV PATH=/bin\n{more}CMD [\"sh\"]\n"
        );
        std::fs::write(context.path().join("Dockerfile"), dockerfile).expect("write");
        let packed = image::pack(context.path());
        let built = self.runtime.build(tag, packed.into(), Default::default());
        built.await.expect("build");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Containers first, so that the daemon does not wait for them.
        let socket = format!("unix://{}", self.socket());
        let docker = |words: &[&str]| {
            let mut command = Command::new("docker");
            command.arg("-H").arg(&socket).args(words);
            command.stderr(Stdio::null()).output()
        };
        if let Ok(listed) = docker(&["ps", "-aq"]) {
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            let mut words = vec!["rm", "-f"];
            words.extend(listed.split_whitespace());
            if words.len() > 2 {
                let _ = docker(&words);
            }
        }
        for process in [&mut self.daemon, &mut self.containerd] {
            let pid = nix::unistd::Pid::from_raw(process.id().try_into().unwrap_or(0));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM);
            let _ = process.wait();
        }
    }
}

fn spawn_containerd(folder: &Path) -> Child {
    let path = |name: &str| folder.join(name);
    let config = path("containerd.toml");
    // What only Kubernetes' own agent would ask it.
    let text = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
    std::fs::write(&config, text).expect("write");
    let log = std::fs::File::create(path("containerd.log")).expect("log");
    Command::new("containerd")
        .arg("--config")
        .arg(config)
        .arg("--root")
        .arg(path("containerd"))
        .arg("--state")
        .arg(path("containerd-state"))
        .arg("--address")
        .arg(path("containerd.sock"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("containerd comes with dockerd")
}

fn spawn(folder: &Path) -> Child {
    let path = |name: &str| folder.join(name);
    let log = std::fs::File::create(path("docker.log")).expect("log");
    Command::new("dockerd")
        .arg("--data-root")
        .arg(path("data"))
        .arg("--exec-root")
        .arg(path("exec"))
        .arg("--pidfile")
        .arg(path("docker.pid"))
        .arg("--host")
        .arg(format!("unix://{}", path("docker.sock").display()))
        // It retries until the other listens.
        .arg("--containerd")
        .arg(path("containerd.sock"))
        .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
        // As in the machine: containers outlive their engine.
        .args([
            "--live-restore",
            "--exec-opt",
            "native.cgroupdriver=cgroupfs",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("dockerd is installed")
}

/// What a command prints; it must succeed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().expect("run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {output:?}");
    text
}
