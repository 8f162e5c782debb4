//! What the suites share: a sealed home, and running the real programs.
#![allow(dead_code)] // each suite uses its part

mod ports;
pub mod tiny;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A home of its own: nothing of the developer's environment reaches the program,
/// nothing of the program reaches the developer.
pub struct Sealed {
    pub dir: tempfile::TempDir,
    /// Shared with the developer: base images are large and identical.
    pub cache: Option<PathBuf>,
}

impl Sealed {
    pub fn new() -> Self {
        Self {
            dir: tempfile::Builder::new()
                .prefix("cadet-t")
                .tempdir()
                .unwrap(),
            cache: None,
        }
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kube").join("config")
    }

    /// The same folders as the program sees them.
    pub fn state(&self) -> cadet_state::Home {
        cadet_state::Home::new(self.home(), self.home().join("cache"))
    }

    /// A profile whose machine is off, as after `cadet stop`.
    pub fn profile(&self, name: &str) {
        self.profile_of(name, &[]);
    }

    /// As [`Sealed::profile`], with machines of these numbers beside the first.
    pub fn profile_of(&self, name: &str, workers: &[u8]) {
        let spec = serde_json::json!(
            {"cpus": 1, "memoryMib": 1024, "diskGib": 8, "image": "debian-13"});
        let workers: Vec<_> = workers
            .iter()
            .map(|number| serde_json::json!({"number": number, "spec": spec}))
            .collect();
        let profile = serde_json::json!({
            "name": name, "created": 1, "phase": "stopped",
            "spec": spec, "workers": workers,
        });
        let profile = serde_json::from_value(profile).unwrap();
        cadet_state::Store::open(&self.state())
            .unwrap()
            .put(&profile)
            .unwrap();
    }

    /// Credentials of a profile as the last steps of a start leave them; nobody answers there.
    pub fn credentials(&self, name: &str) {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {name}\n\
             clusters:\n- {{name: {name}, cluster: {{server: 'https://127.0.0.1:1', certificate-authority-data: Y2E=}}}}\n\
             users:\n- {{name: {name}, user: {{client-certificate-data: Yw==, client-key-data: aw==}}}}\n\
             contexts:\n- {{name: {name}, context: {{cluster: {name}, user: {name}}}}}\n"
        );
        let name = cadet_state::ProfileName::parse(name).unwrap();
        std::fs::write(self.state().profile(&name).kubeconfig(), text).unwrap();
    }

    /// The program with `args`, sealed off.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_cadet")), args)
    }

    /// The same of a copy of the program.
    pub fn command_of(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("CADET_HOME", self.home())
            .env("KUBECONFIG", self.kubeconfig())
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null());
        if let Some(cache) = &self.cache {
            command.env("CADET_CACHE", cache);
        }
        for proxy in [
            "http_proxy",
            "https_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
            "no_proxy",
        ] {
            if let Some(value) = std::env::var_os(proxy) {
                command.env(proxy, value);
            }
        }
        command
    }

    /// Runs to the end.
    pub fn run(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args))
    }

    /// Runs to the end and wants success.
    pub fn ok(&self, args: &[&str]) -> Run {
        let run = self.run(args);
        assert!(run.code == 0, "cadet {args:?} failed:\n{run}");
        run
    }

    /// Every file below the home, for "leaves nothing behind".
    pub fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.home(), &mut found);
        found
    }
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// What a program did.
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    pub fn of(command: &mut Command) -> Self {
        let output: Output = command
            .output()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs with `input` on standard input.
    pub fn fed(command: &mut Command, input: &str) -> Self {
        use std::io::Write;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let mut stdin = child.stdin.take().expect("piped");
        // A program that ended before it read everything tells why by itself.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("the program ended");
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Wants the error `id` with exit code `code`, a reason or fix, and no panic.
    #[track_caller]
    pub fn fails_with(&self, id: &str, code: i32) -> &Self {
        assert!(
            self.err.contains(&format!("error {id} (exit {code}):")),
            "wanted {id}:\n{self}"
        );
        assert_eq!(self.code, code, "{self}");
        assert!(
            self.err.contains("  fix   ") || self.err.contains("  why   "),
            "no help:\n{self}"
        );
        assert!(!self.err.contains("panicked"), "{self}");
        self
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "exit {}\n--- stdout\n{}--- stderr\n{}",
            self.code, self.out, self.err
        )
    }
}

/// Calls `probe` until it gives something or `deadline` has passed.
#[track_caller]
pub fn eventually<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {deadline:?}");
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// [`ports::free_port`], as a word of a command.
pub fn free_port() -> String {
    ports::free_port().to_string()
}
