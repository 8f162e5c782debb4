//! Server and agent as one tree of processes, where no systemd runs them.
//!
//! ```text
//!   cadet-node supervise ─┬─ cadet-node server     says READY=1 (sd_notify(3))
//!                         └─ cadet-node agent      starts when the server has said so
//! ```
//! Either is started again a second after its end. When the supervisor ends, however it
//! ends, both get SIGTERM. All three hold a lock on `up.lock`, and the supervisor alone one on
//! `supervisor.lock`; the kernel gives them back with the last holder. That is how others
//! know, and wait, whatever dies how.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Between an end and the next start, as in the units for systemd.
const RESTART: Duration = Duration::from_secs(1);
/// Until one that was asked to stop is killed, as in the units for systemd.
const STOP: Duration = Duration::from_secs(20);
/// A log larger than this is put aside when its process starts again.
const LOG_BYTES: u64 = 8 << 20;

/// Where the processes of the tree find everything.
#[derive(Debug, Clone)]
pub struct Place {
    /// The cadet-node program.
    pub program: PathBuf,
    /// The data folder.
    pub data: PathBuf,
    /// node.json.
    pub config: PathBuf,
    /// Docker's socket.
    pub docker: PathBuf,
}

/// What happens in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The API server answers.
    Serving,
    /// A process ended by itself; which, and how.
    Ended(&'static str, String),
}

impl Report {
    /// One line, for a pipe.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Report::Serving => "serving".into(),
            Report::Ended(name, how) => format!("ended {name} {how}"),
        }
    }

    /// Reads what [`Report::line`] wrote.
    #[must_use]
    pub fn parse(line: &str) -> Option<Report> {
        if line == "serving" {
            return Some(Report::Serving);
        }
        let (name, how) = line.strip_prefix("ended ")?.split_once(' ')?;
        let name = [SERVER, AGENT].into_iter().find(|known| *known == name)?;
        Some(Report::Ended(name, how.into()))
    }
}

/// Names of the two, which are also their verbs.
pub const SERVER: &str = "server";
pub const AGENT: &str = "agent";

/// File of a process's log below the data folder.
#[must_use]
pub fn log_file(data: &Path, name: &str) -> PathBuf {
    data.join("log").join(format!("{name}.log"))
}

/// The locks of the tree in `data`, held by its supervisor.
#[derive(Debug)]
pub struct TreeLock {
    /// All processes of the tree have it.
    tree: File,
    /// The supervisor alone has it.
    _supervisor: File,
}

const TREE: &str = "up.lock";
/// Also tells the supervisor's process id.
const SUPERVISOR: &str = "supervisor.lock";

impl TreeLock {
    /// Takes the locks and notes this process; `None` if a tree runs.
    ///
    /// # Errors
    /// If the files cannot be used.
    pub fn take(data: &Path) -> io::Result<Option<Self>> {
        let free = take(data, TREE)?;
        let Some(mut supervisor) = take(data, SUPERVISOR)? else {
            return Ok(None);
        };
        let tree = match free {
            Some(tree) => tree,
            // Held without a supervisor: by the rest of a tree that ends, or by a child of
            // somebody who looked, between its fork and its exec (flock(2)). Both go.
            None => {
                let tree = open(data, TREE)?;
                tree.lock()?;
                tree
            }
        };
        supervisor.set_len(0)?;
        write!(supervisor, "{}", std::process::id())?;
        Ok(Some(Self {
            tree,
            _supervisor: supervisor,
        }))
    }

    /// Whether a tree runs. One whose supervisor is dead is waited for: the rest of it has
    /// been asked to end.
    ///
    /// # Errors
    /// As [`TreeLock::take`].
    pub fn is_held(data: &Path) -> io::Result<bool> {
        if !data.exists() || take(data, TREE)?.is_some() {
            return Ok(false);
        }
        if take(data, SUPERVISOR)?.is_none() {
            return Ok(true);
        }
        open(data, TREE)?.lock()?;
        Ok(false)
    }

    /// Asks the tree to end and returns when it has; false if there was none.
    ///
    /// # Errors
    /// As [`TreeLock::take`].
    pub fn end_tree(data: &Path) -> io::Result<bool> {
        if take(data, TREE)?.is_some() {
            return Ok(false);
        }
        if take(data, SUPERVISOR)?.is_none() {
            let supervisor = fs::read_to_string(data.join(SUPERVISOR))?;
            signal(supervisor.trim().parse().unwrap_or(0), libc::SIGTERM);
        }
        // Given back when the last process of the tree is gone.
        open(data, TREE)?.lock()?;
        Ok(true)
    }
}

/// The lock, if nobody else has it; given back when the file is dropped.
fn take(data: &Path, name: &str) -> io::Result<Option<File>> {
    let file = open(data, name)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open(data: &Path, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(data.join(name))
}

/// A process that is gone needs no signal any more.
fn signal(pid: i32, signal: i32) {
    if pid > 0 {
        // SAFETY: a plain system call without memory.
        unsafe { libc::kill(pid, signal) };
    }
}

/// Runs the tree until `stop`, or until its socket for READY=1 cannot be made. Must be
/// called on a runtime of one thread: the processes get their signal at the end of the
/// thread that started them (PR_SET_PDEATHSIG(2const)).
///
/// # Errors
/// Only at the start.
pub async fn run(
    place: Place,
    lock: TreeLock,
    reports: mpsc::UnboundedSender<Report>,
    stop: CancellationToken,
) -> io::Result<()> {
    fs::create_dir_all(place.data.join("log"))?;
    let ready = format!("cadet-node-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&ready)?)?;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixDatagram::from_std(socket)?;
    let serving = CancellationToken::new();
    // The server outlives the agent, which still has to say what it saw last.
    let server_stop = CancellationToken::new();
    let notify = format!("@{ready}");
    let server = keep(SERVER, &place, &lock, Some(&notify), &reports, &server_stop);
    let agent = async {
        tokio::select! {
            () = serving.cancelled() => keep(AGENT, &place, &lock, None, &reports, &stop).await,
            () = stop.cancelled() => {}
        }
        server_stop.cancel();
    };
    let listen = async {
        let mut word = [0; 64];
        while !server_stop.is_cancelled() {
            let received = tokio::select! {
                received = socket.recv(&mut word) => received,
                () = server_stop.cancelled() => return,
            };
            if received.is_ok_and(|length| word[..length].starts_with(b"READY=1")) {
                serving.cancel();
                // Whoever asked for the cluster may have gone away.
                let _ = reports.send(Report::Serving);
            }
        }
    };
    tokio::join!(server, agent, listen);
    Ok(())
}

/// Keeps one process running until `stop`.
async fn keep(
    name: &'static str,
    place: &Place,
    lock: &TreeLock,
    notify: Option<&str>,
    reports: &mpsc::UnboundedSender<Report>,
    stop: &CancellationToken,
) {
    loop {
        let how = match spawn(name, place, lock, notify) {
            Ok(mut child) => tokio::select! {
                ended = child.wait() => match ended {
                    Ok(status) => status.to_string(),
                    Err(error) => error.to_string(),
                },
                () = stop.cancelled() => {
                    end(&mut child).await;
                    return;
                }
            },
            Err(error) => format!("could not start: {error}"),
        };
        let _ = reports.send(Report::Ended(name, how));
        tokio::select! {
            () = tokio::time::sleep(RESTART) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Asks a process to end, and kills it if it does not.
async fn end(child: &mut Child) {
    if let Some(pid) = child.id() {
        signal(pid.try_into().unwrap_or(0), libc::SIGTERM);
    }
    if tokio::time::timeout(STOP, child.wait()).await.is_err() {
        // It may have ended this very moment.
        let _ = child.kill().await;
    }
}

fn spawn(
    name: &'static str,
    place: &Place,
    lock: &TreeLock,
    notify: Option<&str>,
) -> io::Result<Child> {
    let mut command = Command::new(&place.program);
    command.arg("--data").arg(&place.data).arg(name);
    command.arg("--config").arg(&place.config);
    if name == AGENT {
        command.arg("--docker-host").arg(&place.docker);
    }
    match notify {
        Some(socket) => command.env("NOTIFY_SOCKET", socket),
        None => command.env_remove("NOTIFY_SOCKET"),
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log(&place.data, name)?);
    let lock: RawFd = lock.tree.as_raw_fd();
    // SAFETY: between fork and exec only prctl and fcntl are called, which are safe there.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0
                || libc::fcntl(lock, libc::F_SETFD, 0) != 0
            {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command.spawn()
}

fn log(data: &Path, name: &str) -> io::Result<File> {
    let path = log_file(data, name);
    if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_BYTES) {
        fs::rename(&path, path.with_extension("log.1"))?;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_survive_a_pipe() {
        for report in [
            Report::Serving,
            Report::Ended(AGENT, "exit status: 1".into()),
        ] {
            assert_eq!(Report::parse(&report.line()), Some(report));
        }
        assert_eq!(Report::parse("ended nobody x"), None);
        assert_eq!(Report::parse(""), None);
    }

    #[test]
    fn a_tree_is_known_by_its_locks() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path();
        assert!(!TreeLock::is_held(&data.join("none")).unwrap());
        assert!(!TreeLock::is_held(data).unwrap());
        assert!(!TreeLock::end_tree(data).unwrap(), "nothing runs");
        let lock = TreeLock::take(data).unwrap().unwrap();
        assert!(TreeLock::take(data).unwrap().is_none());
        assert!(TreeLock::is_held(data).unwrap());
        let noted = fs::read_to_string(data.join(SUPERVISOR)).unwrap();
        assert_eq!(noted, std::process::id().to_string());
        // The supervisor has died and the rest is on its way out.
        let TreeLock {
            tree,
            _supervisor: supervisor,
        } = lock;
        drop(supervisor);
        let rest = std::thread::spawn(move || drop(tree));
        assert!(!TreeLock::is_held(data).unwrap());
        rest.join().unwrap();
        assert!(TreeLock::take(data).unwrap().is_some());
    }

    #[test]
    fn a_dead_process_starts_again_and_all_end_together() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        // Called as `program --data DIR VERB …`: the server says nothing and ends.
        fs::write(&program, "#!/bin/sh\necho started $3 >&2\nexit 3\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&program, mode).unwrap();
        let place = Place {
            program,
            data: dir.path().into(),
            config: dir.path().join("node.json"),
            docker: "/nowhere".into(),
        };
        let lock = TreeLock::take(dir.path()).unwrap().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (sender, mut reports) = mpsc::unbounded_channel();
            let stop = CancellationToken::new();
            let tree = tokio::spawn(run(place, lock, sender, stop.clone()));
            for _ in 0..2 {
                let ended = Report::Ended(SERVER, "exit status: 3".into());
                assert_eq!(reports.recv().await, Some(ended));
            }
            stop.cancel();
            tree.await.unwrap().unwrap();
        });
        let log = fs::read_to_string(log_file(dir.path(), SERVER)).unwrap();
        assert_eq!(log, "started server\nstarted server\n");
        assert!(
            !log_file(dir.path(), AGENT).exists(),
            "it waits for the server"
        );
        assert!(!TreeLock::is_held(dir.path()).unwrap());
    }
}
