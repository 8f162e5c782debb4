//! kubectl and cadet itself, run for a lesson on the laptop.
//!
//! They get words, never a shell; no input; the profile's own kubeconfig; the learner's lesson
//! folder as working folder; and a process group of their own, so that Ctrl-C reaches us first.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use cadet_tutorial::model::Command;
use cadet_tutorial::world::{Background, Ended, Sink, Stream, WorldError};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::task::JoinHandle;

use super::tap::Tap;
use crate::kubectl_program::{self, OnPath};

/// How a kubectl that only looks calls itself to the server: client-go takes the name it was
/// started by (`rest.DefaultKubernetesUserAgent`).
pub const LOOKS: &str = "cadet-looks";

/// How long a program may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// What programs are run with.
#[derive(Clone)]
pub struct Programs {
    /// The lesson folder.
    pub folder: PathBuf,
    /// kubeconfig of the profile alone.
    pub kubeconfig: PathBuf,
    /// The profile's name, for `cadet`.
    pub profile: String,
    /// The program that is run as `kubectl`.
    pub kubectl: PathBuf,
}

impl Programs {
    /// Runs `command` to its end. `looks` marks what the learner has no part in.
    ///
    /// # Errors
    /// The program is not there.
    pub async fn run(
        &self,
        command: &Command,
        show: Option<Sink>,
        looks: bool,
    ) -> Result<Ended, WorldError> {
        let mut child = self.spawn(command, looks)?;
        let out = pump(child.stdout.take(), Tap::new(show.clone(), Stream::Out));
        let error = pump(child.stderr.take(), Tap::new(show, Stream::Error));
        let (status, out, error) = tokio::join!(child.wait(), out, error);
        let status = status.map_err(|e| failed(command.program(), &e))?;
        Ok(Ended {
            code: code(status),
            out: out.end(),
            error: error.end(),
        })
    }

    /// Starts `command` and leaves it running.
    ///
    /// # Errors
    /// The program is not there.
    pub fn start(&self, command: &Command, show: &Sink) -> Result<Box<dyn Background>, WorldError> {
        let mut child = self.spawn(command, false)?;
        let out = Tap::new(Some(show.clone()), Stream::Out);
        let error = Tap::new(Some(show.clone()), Stream::Error);
        let readers = [
            tokio::spawn(drain(child.stdout.take(), out)),
            tokio::spawn(drain(child.stderr.take(), error)),
        ];
        Ok(Box::new(Running { child, readers }))
    }

    fn spawn(&self, command: &Command, looks: bool) -> Result<Child, WorldError> {
        let mut process = match command.program() {
            "kubectl" => tokio::process::Command::new(&self.kubectl),
            "cadet" => {
                let own = std::env::current_exe().map_err(|e| failed("cadet", &e))?;
                tokio::process::Command::new(own)
            }
            other => {
                return Err(WorldError::new(format!(
                    "{other} is not run by lessons: only kubectl, docker, curl and cadet are"
                )));
            }
        };
        #[cfg(unix)]
        {
            if looks && command.program() == "kubectl" && answers_to_any_name(&self.kubectl) {
                process.arg0(LOOKS);
            }
            process.process_group(0);
        }
        #[cfg(not(unix))]
        let _ = looks;
        process
            .args(command.arguments())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("CADET_PROFILE", &self.profile)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        process.spawn().map_err(|e| {
            if e.kind() != std::io::ErrorKind::NotFound {
                return failed(command.program(), &e);
            }
            if !self.folder.is_dir() {
                let gone = format!("the lesson folder {} is gone", self.folder.display());
                return WorldError::new(gone).fix("cadet tutorial start");
            }
            let missing = kubectl_program::missing(&OnPath::Missing);
            WorldError {
                what: missing.what,
                fix: missing.fix,
            }
        })
    }
}

/// Whether this kubectl is kubectl itself: k3s and others are many programs in one, and ask for
/// their name to know which.
#[cfg(unix)]
fn answers_to_any_name(kubectl: &std::path::Path) -> bool {
    let real = std::fs::canonicalize(kubectl).ok();
    real.as_deref()
        .and_then(std::path::Path::file_name)
        .is_some_and(|name| name.to_string_lossy().starts_with("kubectl"))
}

fn failed(program: &str, e: &std::io::Error) -> WorldError {
    WorldError::new(format!("{program} could not be run: {e}"))
}

/// As a shell counts: 128 and the signal's number for a program that a signal ended.
fn code(status: ExitStatus) -> i32 {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    status
        .code()
        .or_else(|| signal.map(|signal| 128 + signal))
        .unwrap_or(1)
}

/// Reads to the end; what was read is in the tap.
async fn pump(from: Option<impl AsyncRead + Unpin>, mut tap: Tap) -> Tap {
    let Some(mut from) = from else { return tap };
    let mut buffer = vec![0; 8 << 10];
    // A pipe that breaks has ended: the program's own end tells how.
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        tap.push(&buffer[..read]);
    }
    tap
}

async fn drain(from: Option<impl AsyncRead + Unpin>, tap: Tap) {
    pump(from, tap).await;
}

/// A program that goes on. Killed when dropped.
struct Running {
    child: Child,
    readers: [JoinHandle<()>; 2],
}

impl Drop for Running {
    fn drop(&mut self) {
        for reader in &self.readers {
            reader.abort();
        }
    }
}

#[async_trait]
impl Background for Running {
    async fn stop(mut self: Box<Self>) {
        ask_to_end(&self.child);
        if tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .is_err()
        {
            // It may be gone by now; then there is nothing to kill.
            let _ = self.child.kill().await;
        }
    }
}

#[cfg(unix)]
fn ask_to_end(child: &Child) {
    let Some(id) = child.id().and_then(|id| libc::pid_t::try_from(id).ok()) else {
        return;
    };
    // SAFETY: the child was not waited for yet, so the id is still its own.
    unsafe {
        libc::kill(id, libc::SIGTERM);
    }
}

/// There is no polite way; `stop` kills it when its patience ends.
#[cfg(not(unix))]
fn ask_to_end(_: &Child) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(dir: &tempfile::TempDir) -> Programs {
        Programs {
            folder: dir.path().to_path_buf(),
            kubeconfig: dir.path().join("kubeconfig"),
            profile: "cadet".into(),
            kubectl: "kubectl".into(),
        }
    }

    fn command(text: &str) -> Command {
        cadet_tutorial::command::parse(text, 0).unwrap()
    }

    #[tokio::test]
    async fn only_the_known_programs_are_run() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["sh -c true", "rm -rf x", "/bin/true"] {
            let refused = programs(&dir).run(&command(text), None, false).await;
            assert!(refused.unwrap_err().what.contains("is not run by lessons"));
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut programs = programs(&dir);
        programs.folder = dir.path().join("gone");
        let refused = programs.run(&command("cadet version"), None, false).await;
        assert!(refused.unwrap_err().what.contains("is gone"));
    }

    #[cfg(unix)]
    #[test]
    fn exit_codes_are_those_of_a_shell() {
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(code(ExitStatus::from_raw(0)), 0);
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
    }
}
