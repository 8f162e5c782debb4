//! Running the real kubectl, every version of it that is there.

// Each test binary uses its own part of this.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What lies beside the kubectl on the PATH under names like `kubectl.1.30`: then that one only
/// chooses between them. Else the one on the PATH itself.
pub fn kubectls() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("kubectl"))
        .find(|program| program.is_file())
        .expect("this test needs kubectl on the PATH: install it, e.g. from dl.k8s.io");
    let real = found.canonicalize().expect("kubectl can be resolved");
    let folder = real.parent().expect("a program lies in a folder");
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("its folder can be read")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.starts_with("kubectl.1.")
        })
        .collect();
    all.sort();
    if all.is_empty() {
        all.push(found);
    }
    all
}

/// One kubectl with a home of its own, so that nothing is cached between versions.
pub struct Kubectl {
    program: PathBuf,
    home: tempfile::TempDir,
}

impl Kubectl {
    pub fn new(program: &Path, kubeconfig: &Value) -> Kubectl {
        let home = tempfile::tempdir().expect("home");
        std::fs::write(home.path().join("config"), kubeconfig.to_string()).expect("kubeconfig");
        Kubectl {
            program: program.to_owned(),
            home,
        }
    }

    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(words.split_whitespace())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("config"))
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
    }

    async fn output(&self, words: &str) -> Output {
        let mut command = self.command(words);
        tokio::task::spawn_blocking(move || command.output())
            .await
            .expect("task")
            .expect("run")
    }

    /// Runs a command that must succeed; gives what it printed.
    pub async fn run(&self, words: &str) -> String {
        let output = self.output(words).await;
        let (out, err) = texts(&output);
        assert!(
            output.status.success(),
            "{} {words}:\n{out}{err}",
            self.program.display()
        );
        format!("{out}{err}")
    }

    /// Runs a command that must fail; gives what it printed.
    pub async fn fail(&self, words: &str) -> String {
        let output = self.output(words).await;
        let (out, err) = texts(&output);
        assert!(
            !output.status.success(),
            "{} {words}:\n{out}{err}",
            self.program.display()
        );
        format!("{out}{err}")
    }

    /// A file's text, if it is there.
    pub fn find(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.home.path().join(name)).ok()
    }

    pub fn file(&self, name: &str, content: &Value) {
        self.text(name, &content.to_string());
    }

    pub fn text(&self, name: &str, content: &str) {
        std::fs::write(self.home.path().join(name), content).expect("file");
    }
}

pub fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[track_caller]
pub fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in:\n{text}");
    }
}
