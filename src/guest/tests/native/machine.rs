//! A machine of the test's own, and the cluster `cadet-node up` makes of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;
use tokio::runtime::Runtime as Threads;

use crate::areas::{self, Cluster as _, Said};
use crate::engine::{Engine, run};

/// The program under test; scripts/bench, which is not built by a test, names another.
pub fn program() -> PathBuf {
    let named = std::env::var_os("CADET_NODE").map(PathBuf::from);
    let built = || option_env!("CARGO_BIN_EXE_cadet-node").map(PathBuf::from);
    named.or_else(built).expect("CADET_NODE names the program")
}

pub const NODE: &str = "native";

/// Plays a test in fresh network and mount namespaces with one link that leads out.
pub fn play(test: impl FnOnce() + Send + 'static) {
    let played = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .expect("namespaces: the tests run as root");
        let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        mount(none, "/", none, private, none).expect("mounts of our own");
        for words in [
            "link set lo up",
            "link add up0 type veth peer name up1",
            "address add 192.168.77.2/24 dev up0",
            "link set up0 up",
            "link set up1 up",
            "route add default via 192.168.77.1",
        ] {
            run(Command::new("ip").args(words.split(' ')));
        }
        test();
    });
    if let Err(panic) = played.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A machine with Docker and without a cluster.
pub struct Machine {
    pub engine: Engine,
    /// Home, data and configuration.
    folder: TempDir,
    threads: Threads,
}

impl Machine {
    pub fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let threads = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("threads");
        let engine = threads.block_on(Engine::start());
        let folder = tempfile::tempdir_in("/var/tmp").expect("folder");
        std::fs::create_dir(folder.path().join("home")).expect("home");
        let machine = Self {
            engine,
            folder,
            threads,
        };
        machine.prepare_sandbox_image();
        machine
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    pub fn home(&self) -> PathBuf {
        self.folder().join("home")
    }

    pub fn config(&self) -> PathBuf {
        self.folder().join("etc").join("node.json")
    }

    /// The program with our data folder and home.
    pub fn cadet(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("--data").arg(self.data()).args(words);
        command.env("HOME", self.home());
        for name in ["KUBECONFIG", "SUDO_UID", "DOCKER_HOST"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }

    /// `up` with what every machine here needs, and more words.
    pub fn up_with(&self, words: &[&str]) -> Command {
        let mut command = self.cadet(&["up", "--no-systemd", "--node-name", NODE]);
        command.arg("--config").arg(self.config());
        command.arg("--docker-host");
        command.arg(format!("unix://{}", self.engine.socket()));
        command.args(words);
        command
    }

    /// The cluster.
    pub fn up(self) -> Cluster {
        let said = Said::of(&mut self.up_with(&[]));
        assert!(said.code == 0, "{said}");
        assert!(said.out.contains("next: kubectl get nodes"), "{said}");
        Cluster { machine: self }
    }

    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.threads.block_on(work)
    }

    /// After [`Engine::kill`].
    pub fn engine_starts_again(&mut self) {
        self.threads.block_on(self.engine.start_again());
    }

    /// The sandbox's image is made of the program alone, which scripts/test builds static.
    /// Where it is not, its libraries must lie beside it.
    fn prepare_sandbox_image(&self) {
        let listed = Command::new("ldd").arg(program()).output().expect("ldd");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let libraries: Vec<&str> = listed
            .split_whitespace()
            .filter(|word| word.starts_with('/') && Path::new(word) != program())
            .collect();
        if libraries.is_empty() {
            return;
        }
        let tag = cadet_apiserver::git_version().replace('+', "-");
        let mut packed = Command::new("tar");
        packed.args(["-ch", "--transform", "s,.*/cadet-node$,cadet-node,"]);
        packed.arg(program()).args(libraries).stderr(Stdio::null());
        let packed = packed.output().expect("tar").stdout;
        let mut import = Command::new("docker");
        import
            .arg("-H")
            .arg(format!("unix://{}", self.engine.socket()));
        import.args([
            "import",
            "--change",
            "ENTRYPOINT [\"/cadet-node\", \"pause\"]",
            "-",
        ]);
        import.arg(format!("cadet/pause:{tag}"));
        let said = Said::fed(&mut import, &packed);
        assert!(said.code == 0, "{said}");
    }

    /// Process ids of programs whose command line has our folder in it and this word.
    pub fn processes(&self, word: &str) -> Vec<i32> {
        let folder = self.data().display().to_string();
        let pid = |entry: std::fs::DirEntry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            let named = words.contains(&folder.as_bytes()) && words.contains(&word.as_bytes());
            named.then_some(pid)
        };
        let all = std::fs::read_dir("/proc").expect("/proc");
        all.flatten().filter_map(pid).collect()
    }
}

/// A machine with a cluster, taken down at the end whatever happens.
pub struct Cluster {
    pub machine: Machine,
}

impl areas::Cluster for Cluster {
    fn kubectl_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(words).env("HOME", self.machine.home());
        command.env_remove("KUBECONFIG").stdin(Stdio::null());
        command
    }

    fn on_node(&self, line: &str) -> Said {
        let socket = format!("unix://{}", self.machine.engine.socket());
        let mut command = Command::new("sh");
        Said::of(command.args(["-c", line]).env("DOCKER_HOST", socket))
    }

    fn node(&self) -> &str {
        NODE
    }

    fn kubeconfig(&self) -> PathBuf {
        self.machine.home().join(".kube").join("config")
    }

    fn is_fast(&self) -> bool {
        true
    }

    /// On this machine's own loopback.
    fn dashboard(&self) -> (String, Option<String>) {
        let port = cadet_api::install::DASHBOARD_PORT;
        (format!("http://127.0.0.1:{port}/"), None)
    }

    fn soon(&self) -> &str {
        "--timeout=300s"
    }
}

impl Cluster {
    /// What there is and what was said, for a failure.
    #[allow(clippy::print_stdout)] // the test's own report
    pub fn tell(&self) {
        println!(
            "{}",
            self.try_kubectl(&["get", "all,events", "-A", "-o", "wide"])
        );
        for name in ["server", "agent", "supervisor"] {
            let log = self.machine.data().join("log").join(format!("{name}.log"));
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let from = text.lines().count().saturating_sub(60);
            let last: Vec<&str> = text.lines().skip(from).collect();
            println!("--- {name}.log\n{}", last.join("\n"));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let down = Said::of(&mut self.machine.cadet(&["down", "--purge"]));
        assert!(
            down.code == 0 || std::thread::panicking(),
            "down --purge: {down}"
        );
    }
}
