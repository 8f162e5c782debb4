//! Running the programs that make images: found first, watched line by line, killed with us.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

use crate::error::ImageError;

/// Lines of output kept as evidence.
const TAIL: usize = 15;
/// Where system programs live that a normal user's `PATH` often lacks.
const SYSTEM: &[&str] = &["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// A program and the Debian package it comes from.
pub type Need = (&'static str, &'static str);

/// Where programs are looked for, and the environment they get.
#[derive(Debug, Clone)]
pub struct Tools {
    folders: Vec<PathBuf>,
    env: Vec<(OsString, OsString)>,
}

impl Tools {
    /// `search` is a `PATH` value; `env` is everything else the programs shall see,
    /// such as `http_proxy`.
    pub fn new(search: Option<&OsStr>, env: Vec<(OsString, OsString)>) -> Tools {
        let listed = search.into_iter().flat_map(std::env::split_paths);
        let usual = SYSTEM.iter().map(PathBuf::from);
        let folders = listed.chain(usual).filter(|d| d.is_absolute()).collect();
        Tools { folders, env }
    }

    /// Full path of a program.
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        let file = format!("{program}{}", std::env::consts::EXE_SUFFIX);
        let mut paths = self.folders.iter().map(|d| d.join(&file));
        paths.find(|p| p.is_file())
    }

    /// Checks for several programs at once, so that the user installs once.
    ///
    /// # Errors
    /// [`ImageError::MissingTools`].
    pub fn require(&self, needs: &[Need]) -> Result<(), ImageError> {
        let missing: Vec<&Need> = needs
            .iter()
            .filter(|(program, _)| self.find(program).is_none())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut packages: Vec<String> = missing.iter().map(|n| n.1.to_owned()).collect();
        packages.sort();
        packages.dedup();
        Err(ImageError::MissingTools {
            programs: missing.iter().map(|n| n.0.to_owned()).collect(),
            packages,
        })
    }

    /// A command with our environment only, killed if its future is dropped.
    ///
    /// # Errors
    /// [`ImageError::MissingTools`].
    pub fn command(&self, need: Need) -> Result<Command, ImageError> {
        self.require(&[need])?;
        let mut command = Command::new(self.find(need.0).unwrap_or_else(|| need.0.into()));
        let path = std::env::join_paths(&self.folders).unwrap_or_default();
        command
            .env_clear()
            .env("PATH", path)
            .env("LC_ALL", "C.UTF-8")
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Runs to the end. Every line of output goes to `on_line`; the last ones become evidence.
    ///
    /// # Errors
    /// [`ImageError::Run`], [`ImageError::DiskFull`] and [`ImageError::Mirror`] where the output
    /// says so, else [`ImageError::Tool`].
    pub async fn run(
        &self,
        mut command: Command,
        phase: &str,
        writes_to: &Path,
        mut on_line: impl FnMut(&str),
    ) -> Result<(), ImageError> {
        let program = command.as_std().get_program().to_owned();
        let program = Path::new(&program).file_name().unwrap_or(&program);
        let program = program.to_string_lossy().into_owned();
        let failed = |source| ImageError::Run {
            program: program.clone(),
            source,
        };
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (lines_in, mut lines) = tokio::sync::mpsc::channel(64);
        forward(child.stdout.take(), lines_in.clone());
        forward(child.stderr.take(), lines_in);
        let mut tail = VecDeque::new();
        while let Some(line) = lines.recv().await {
            on_line(&line);
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line);
        }
        let status = child.wait().await.map_err(failed)?;
        if status.success() {
            return Ok(());
        }
        let evidence = Vec::from(tail);
        Err(explain(
            program,
            status.to_string(),
            phase,
            writes_to,
            evidence,
        ))
    }
}

/// Sends each line of a pipe on; ends with the pipe or when nobody listens.
fn forward(
    pipe: Option<impl AsyncRead + Unpin + Send + 'static>,
    to: tokio::sync::mpsc::Sender<String>,
) {
    let Some(pipe) = pipe else { return };
    tokio::spawn(async move {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        // Package names and messages may be in any encoding: bytes, not strings.
        while let Ok(1..) = reader.read_until(b'\n', &mut line).await {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if !text.is_empty() && to.send(text).await.is_err() {
                return;
            }
        }
    });
}

fn explain(
    program: String,
    status: String,
    phase: &str,
    writes_to: &Path,
    tail: Vec<String>,
) -> ImageError {
    let line = |needles: &[&str]| {
        let hit = |l: &&String| needles.iter().any(|n| l.contains(n));
        tail.iter().find(hit).cloned()
    };
    let full = [
        "No space left on device",
        "File too large",
        "Disk quota exceeded",
        "You don't have enough free space",
        "Could not allocate block in ext2 filesystem",
    ];
    if line(&full).is_some() {
        return ImageError::DiskFull {
            path: writes_to.to_path_buf(),
        };
    }
    let mirror = [
        "Could not resolve",
        "Temporary failure resolving",
        "Could not connect",
        "Unable to connect",
        "Connection failed",
        "Connection timed out",
        "Failed to fetch",
        "does not have a Release file",
        "Proxy Authentication Required",
    ];
    if let Some(why) = line(&mirror) {
        return ImageError::Mirror { why };
    }
    ImageError::Tool {
        program,
        status,
        phase: phase.to_owned(),
        tail,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::time::Duration;

    const SH: Need = ("sh", "dash");

    fn tools() -> Tools {
        Tools::new(None, vec![("http_proxy".into(), "http://p:1".into())])
    }

    async fn sh(script: &str) -> Result<Vec<String>, ImageError> {
        let mut command = tools().command(SH)?;
        command.args(["-c", script]);
        let mut lines = vec![];
        let place = Path::new("/somewhere");
        tools()
            .run(command, "testing", place, |l| lines.push(l.to_owned()))
            .await?;
        Ok(lines)
    }

    #[tokio::test]
    async fn programs_see_what_they_are_given_and_nothing_else() {
        let lines = sh("echo $http_proxy; echo err >&2; env | grep -c CARGO; true").await;
        let mut lines = lines.unwrap();
        lines.sort();
        assert_eq!(lines, ["0", "err", "http://p:1"]);
    }

    #[tokio::test]
    async fn failures_are_sorted_by_their_words() {
        let error = sh("for i in $(seq 40); do echo line $i; done; exit 3").await;
        let Err(ImageError::Tool { status, tail, .. }) = error else {
            panic!("{error:?}");
        };
        assert!(status.contains('3'));
        assert_eq!(tail.len(), TAIL);
        assert_eq!(tail.last().unwrap(), "line 40");
        let full = sh("echo 'tar: x: Cannot write: No space left on device' >&2; exit 2").await;
        assert!(matches!(full, Err(ImageError::DiskFull { .. })));
        let mirror = sh("echo \"E: Could not resolve 'deb.debian.org'\"; exit 100").await;
        assert!(matches!(mirror, Err(ImageError::Mirror { .. })));
    }

    #[tokio::test]
    async fn missing_programs_are_named_together_with_their_packages() {
        let needs = [SH, ("no-such-b", "pack"), ("no-such-a", "pack")];
        let Err(ImageError::MissingTools { programs, packages }) = tools().require(&needs) else {
            panic!("sh exists, the others do not");
        };
        assert_eq!(programs, ["no-such-b", "no-such-a"]);
        assert_eq!(packages, ["pack"]);
    }

    #[tokio::test]
    async fn giving_up_kills_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        let script = format!("echo $$ > {}; exec sleep 600", pid_file.display());
        let started = async {
            loop {
                match std::fs::read_to_string(&pid_file).map(|t| t.trim().parse::<u32>()) {
                    Ok(Ok(pid)) => break pid,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let pid = tokio::select! {
            ended = sh(&script) => panic!("{ended:?}"),
            pid = started => pid,
        };
        let alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        while alive() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
