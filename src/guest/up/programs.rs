//! Server and agent: who keeps them running, and how they are started.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::record::Record;
use super::systemd;
use super::tree::{self, Place, Report, TreeLock};
use super::trouble::{Trouble, Troubles, file, internal};
use crate::server::stop_signal;

/// How server and agent are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Systemd,
    /// As a tree with a supervisor of its own.
    Background,
    /// As a tree whose supervisor this process is.
    Foreground,
}

impl Way {
    /// What the record says; `foreground` is what was asked for.
    pub fn of(record: &Record, foreground: bool) -> Self {
        match (record.systemd, foreground) {
            (true, _) => Way::Systemd,
            (false, true) => Way::Foreground,
            (false, false) => Way::Background,
        }
    }
}

/// Where the cluster's things come to word.
pub struct Running {
    pub reports: mpsc::UnboundedReceiver<Report>,
    /// The tree, where this process is its root.
    tree: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
    stop: CancellationToken,
}

/// Whether server and agent are being kept running.
///
/// # Errors
/// If neither systemd nor the locks of a tree say.
pub fn are_running(data: &Path, record: Option<&Record>) -> Result<bool, Trouble> {
    match record {
        None => Ok(false),
        Some(record) if record.systemd => {
            systemd::is_active().map_err(|error| internal("systemd does not answer", &error))
        }
        Some(_) => TreeLock::is_held(data).map_err(|error| file("lock", data, &error)),
    }
}

/// Starts server and agent, unless they run. Those of systemd start again if their
/// configuration is `renewed`.
///
/// # Errors
/// What is in the way, in words.
pub async fn start(way: Way, place: Place, runs: bool, renewed: bool) -> Result<Running, Troubles> {
    let (sender, reports) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let mut running = Running {
        reports,
        tree: None,
        stop: stop.clone(),
    };
    match way {
        Way::Systemd => {
            let (program, newer) = systemd::install(&place.program, &place.data)
                .map_err(|error| file("copy", &place.program, &error))?;
            let place = Place { program, ..place };
            systemd::start(&place, newer || renewed).map_err(|error| {
                Trouble::new(
                    "CLUSTER_SERVER_ENDED",
                    103,
                    "systemd could not start the cluster",
                )
                .why(error.to_string())
                .fix("journalctl -u cadet-server -u cadet-agent -n 50")
            })?;
            keep_open(sender);
        }
        _ if runs => keep_open(sender),
        Way::Foreground => {
            let lock = take_lock(&place.data)?;
            running.tree = Some(tokio::spawn(tree::run(place, lock, sender, stop)));
        }
        Way::Background => background(&place, sender).await?,
    }
    Ok(running)
}

/// A channel without a sender would say that the supervisor has gone.
fn keep_open(sender: mpsc::UnboundedSender<Report>) {
    tokio::spawn(async move { sender.closed().await });
}

/// Starts the supervisor in a session of its own and passes on what it reports.
async fn background(place: &Place, sender: mpsc::UnboundedSender<Report>) -> Result<(), Troubles> {
    let log = tree::log_file(&place.data, "supervisor");
    let folder = place.data.join("log");
    fs::create_dir_all(&folder).map_err(|error| file("make", &folder, &error))?;
    let errors = File::create(&log).map_err(|error| file("write", &log, &error))?;
    let mut command = tokio::process::Command::new(&place.program);
    command
        .arg("--data")
        .arg(&place.data)
        .arg("supervise")
        .arg("--config")
        .arg(&place.config)
        .arg("--docker-host")
        .arg(&place.docker)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors);
    // SAFETY: between fork and exec only setsid is called, which is safe there.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let mut child = command
        .spawn()
        .map_err(|error| file("start", &place.program, &error))?;
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(report) = Report::parse(&line) {
                    let _ = sender.send(report);
                }
            }
        });
    }
    Ok(())
}

/// With `--foreground`: until a signal, and then until the tree has ended.
///
/// # Errors
/// A tree that did not run as it should.
pub async fn stay(running: Running) -> Result<(), Troubles> {
    let Some(tree) = running.tree else {
        return Ok(());
    };
    let signal = stop_signal().map_err(|error| internal("signals cannot be handled", &error))?;
    let stop = running.stop.clone();
    tokio::spawn(async move {
        signal.await;
        stop.cancel();
    });
    // Nobody reads them any more; they must not pile up.
    let mut reports = running.reports;
    tokio::spawn(async move { while reports.recv().await.is_some() {} });
    ended(tree.await)
}

fn ended(tree: Result<std::io::Result<()>, tokio::task::JoinError>) -> Result<(), Troubles> {
    match tree {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            Err(internal("server and agent could not be kept running", &error).into())
        }
        Err(error) => Err(internal("the supervisor failed", &error).into()),
    }
}

/// Nothing half-started is left running, but for systemd's services, which try on.
pub async fn abandon(data: &Path, way: Way, running: Running) {
    match (way, running.tree) {
        (Way::Systemd, _) => {}
        (_, Some(tree)) => {
            running.stop.cancel();
            // The trouble that brought us here is the one to tell.
            let _ = tree.await;
        }
        (_, None) => {
            let _ = TreeLock::end_tree(data);
        }
    }
}

/// The locks of a tree that this process is to be the root of.
///
/// # Errors
/// If another process has them.
pub fn take_lock(data: &Path) -> Result<TreeLock, Trouble> {
    match TreeLock::take(data) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(Trouble::new(
            "CLUSTER_RUNNING",
            101,
            "the cluster is being started already",
        )
        .why("another process keeps its server and agent running")
        .fix("cadet-node up")),
        Err(error) => Err(file("lock", data, &error)),
    }
}

/// This program, for its other verbs.
///
/// # Errors
/// If the kernel does not tell its path.
pub fn program() -> Result<PathBuf, Trouble> {
    std::env::current_exe().map_err(|error| internal("this program cannot be found", &error))
}
