//! Talking to a tunnel that runs in the background: a Unix socket, one JSON line per
//! question and per answer.
//!
//! The socket is the lock as well: who can bind it is the only tunnel of its machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, watch};

use crate::listen::{self, SocketFile};
use crate::stats::Snapshot;
use crate::{Result, Tunnel, TunnelError};

/// Time for one question and its answer; the answerer only reads counters.
const ANSWER: Duration = Duration::from_secs(3);
/// How long an answer waits for a door that was asked for: an emulated machine under load
/// takes seconds to tell what was just made in it.
const PATIENCE: Duration = Duration::from_secs(8);
/// Longest line either side accepts, in bytes: some thousand forwardings.
const LONGEST: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "camelCase")]
enum Question {
    Status,
    /// As status, once a forwarding to this Service is there.
    Service {
        service: String,
    },
    Stop,
}

/// What a background tunnel says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Process id of the tunnel.
    pub pid: u32,
    /// Where its SOCKS server listens.
    pub socks: SocketAddr,
    /// What leads in besides SOCKS.
    #[serde(flatten)]
    pub doors: Doors,
    /// Where it reaches the guest's sshd.
    pub ssh: SocketAddr,
    /// True if the session is up right now.
    pub up: bool,
    /// The counters.
    pub stats: Snapshot,
}

/// What leads into the cluster besides SOCKS. A tunnel of an older program tells none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Doors {
    /// Ports of the laptop that lead to Services.
    pub forwards: Vec<ForwardStatus>,
    /// The socket that leads to the machine's Docker Engine.
    pub docker: Option<PathBuf>,
}

/// One forwarding in [`Doors`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardStatus {
    /// Local address.
    pub local: SocketAddr,
    /// Host as the guest sees it.
    pub host: String,
    /// Port on that host.
    pub port: u16,
    /// The Service it leads to: `namespace/name`.
    pub service: String,
    /// The local port it should have.
    pub wanted: u16,
    /// Why it has another one.
    pub why: Option<String>,
}

/// The answering side, bound but not yet answering.
pub struct Control {
    /// Goes before its listener.
    _file: SocketFile,
    listener: UnixListener,
}

impl Control {
    /// Binds the socket, mode 0600. A socket nobody answers at is taken over.
    ///
    /// # Errors
    /// [`TunnelError::ControlTaken`] if a tunnel answers there; [`TunnelError::LocalIo`].
    pub async fn bind(path: &Path) -> Result<Self> {
        let (listener, file) = listen::bind_unix(path).await?;
        Ok(Self {
            _file: file,
            listener,
        })
    }

    /// Answers until somebody asks to stop (returns true) or `shutdown` is ready
    /// (returns false). The socket is removed then, or with a control that never answers.
    pub async fn run(
        self,
        tunnel: Tunnel,
        socks: SocketAddr,
        doors: watch::Receiver<Doors>,
        shutdown: impl Future<Output = ()>,
    ) -> bool {
        let stop = Arc::new(Notify::new());
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return false,
                () = stop.notified() => return true,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (tunnel, doors, stop) =
                            (tunnel.clone(), doors.clone(), stop.clone());
                        tokio::spawn(async move {
                            let talk = answer(stream, &tunnel, socks, doors, &stop);
                            match tokio::time::timeout(ANSWER + PATIENCE, talk).await {
                                Ok(Ok(())) => {}
                                Ok(Err(error)) => tracing::debug!(%error, "control connection"),
                                Err(_) => tracing::debug!("control connection said nothing"),
                            }
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a control connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }
}

async fn answer(
    stream: UnixStream,
    tunnel: &Tunnel,
    socks: SocketAddr,
    mut doors: watch::Receiver<Doors>,
    stop: &Notify,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(LONGEST))
        .read_line(&mut line)
        .await?;
    let question: Question = serde_json::from_str(&line)?;
    if let Question::Service { service } = &question {
        let there = |doors: &Doors| doors.forwards.iter().any(|f| f.service == *service);
        // What is not there by then is told by its absence.
        let _ = tokio::time::timeout(PATIENCE, doors.wait_for(there)).await;
    }
    let doors = doors.borrow().clone();
    let status = Status {
        pid: std::process::id(),
        socks,
        doors,
        ssh: tunnel.address(),
        up: tunnel.is_up().await,
        stats: tunnel.stats().snapshot(),
    };
    let mut line = serde_json::to_vec(&status)?;
    line.push(b'\n');
    write.write_all(&line).await?;
    write.shutdown().await?;
    if question == Question::Stop {
        // Kept for the listener even if it is not waiting at this moment.
        stop.notify_one();
    }
    Ok(())
}

/// Asks a background tunnel how it is.
///
/// # Errors
/// [`TunnelError::NoControl`] if none answers, [`TunnelError::ControlProtocol`].
pub async fn status(path: &Path) -> Result<Status> {
    ask(path, Question::Status).await
}

/// As [`status`], but gives a Service that has just been made a moment to get its
/// forwarding; `service` is its namespace and name.
///
/// # Errors
/// As [`status`].
pub async fn service(path: &Path, service: &str) -> Result<Status> {
    let service = service.to_owned();
    ask(path, Question::Service { service }).await
}

/// Asks a background tunnel to stop; returns its last words. It ends right after.
///
/// # Errors
/// As [`status`].
pub async fn stop(path: &Path) -> Result<Status> {
    ask(path, Question::Stop).await
}

async fn ask(path: &Path, question: Question) -> Result<Status> {
    let protocol = |reason: String| TunnelError::ControlProtocol {
        path: path.into(),
        reason,
    };
    let time = match question {
        Question::Service { .. } => ANSWER + PATIENCE,
        Question::Status | Question::Stop => ANSWER,
    };
    let talk = async {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| TunnelError::NoControl {
                path: path.into(),
                source,
            })?;
        let (read, mut write) = stream.into_split();
        let mut line =
            serde_json::to_vec(&question).map_err(|error| protocol(error.to_string()))?;
        line.push(b'\n');
        write
            .write_all(&line)
            .await
            .map_err(|error| protocol(error.to_string()))?;
        let mut answer = String::new();
        BufReader::new(read.take(LONGEST))
            .read_line(&mut answer)
            .await
            .map_err(|error| protocol(error.to_string()))?;
        serde_json::from_str(&answer).map_err(|error| protocol(error.to_string()))
    };
    tokio::time::timeout(time, talk)
        .await
        .unwrap_or_else(|_| Err(protocol(format!("no answer within {time:?}"))))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{Target, Tuning};

    fn door(service: &str) -> ForwardStatus {
        ForwardStatus {
            local: "127.0.0.1:6000".parse().unwrap(),
            host: "10.96.0.7".into(),
            port: 6000,
            service: service.into(),
            wanted: 6000,
            why: None,
        }
    }

    fn tunnel() -> Tunnel {
        // Never used: status must answer without any session.
        let target = Target {
            address: "127.0.0.1:9".parse().unwrap(),
            user: "cadet".into(),
            client_key: String::new(),
            host_key: String::new(),
        };
        Tunnel::lazy(target, Tuning::default())
    }

    #[tokio::test]
    async fn status_stop_and_takeover() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tunnel.sock");
        let socks = "127.0.0.1:8082".parse().unwrap();
        assert!(matches!(
            status(&path).await,
            Err(TunnelError::NoControl { .. })
        ));

        // Left behind by a killed process: bound once, never removed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let control = Control::bind(&path).await.unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(matches!(
            Control::bind(&path).await,
            Err(TunnelError::ControlTaken { .. })
        ));

        let (_publish, doors) = watch::channel(Doors::default());
        let running = tokio::spawn(control.run(tunnel(), socks, doors, std::future::pending()));
        let seen = status(&path).await.unwrap();
        assert_eq!(
            (seen.socks, seen.pid, seen.up),
            (socks, std::process::id(), false)
        );
        stop(&path).await.unwrap();
        assert!(running.await.unwrap());
        assert!(!path.exists());
        assert!(matches!(
            status(&path).await,
            Err(TunnelError::NoControl { .. })
        ));
    }

    #[tokio::test]
    async fn rubbish_does_not_stop_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tunnel.sock");
        let control = Control::bind(&path).await.unwrap();
        let socks = "127.0.0.1:8082".parse().unwrap();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let (_publish, doors) = watch::channel(Doors::default());
        let running = tokio::spawn(control.run(tunnel(), socks, doors, async {
            let _ = ended.await;
        }));
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"hello?\n").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty());
        assert!(status(&path).await.is_ok());
        end.send(()).unwrap();
        assert!(!running.await.unwrap());
    }

    #[tokio::test]
    async fn doors_are_told_as_they_are_now_and_waited_for_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tunnel.sock");
        let control = Control::bind(&path).await.unwrap();
        let socks = "127.0.0.1:8082".parse().unwrap();
        let (publish, doors) = watch::channel(Doors::default());
        let running = tokio::spawn(control.run(tunnel(), socks, doors, std::future::pending()));
        assert_eq!(status(&path).await.unwrap().doors, Doors::default());

        let wanted = "default/web";
        let asked = service(&path, wanted);
        let opened = async {
            publish.send_modify(|doors| doors.forwards.push(door("default/other")));
            publish.send_modify(|doors| doors.forwards.push(door(wanted)));
        };
        let (seen, ()) = tokio::join!(asked, opened);
        let seen = seen.unwrap();
        assert_eq!(seen.doors.forwards.last(), Some(&door(wanted)));
        assert_eq!(status(&path).await.unwrap().doors, seen.doors);

        publish.send_replace(Doors {
            forwards: Vec::new(),
            docker: Some("/x/docker.sock".into()),
        });
        let seen = status(&path).await.unwrap();
        assert!(seen.doors.forwards.is_empty(), "{seen:?}");
        assert_eq!(seen.doors.docker, Some("/x/docker.sock".into()));
        running.abort();
    }

    #[test]
    fn a_status_without_doors_is_one_of_an_older_program() {
        let old = r#"{"pid":1,"socks":"127.0.0.1:8082","forwards":[],"ssh":"127.0.0.1:22",
            "up":true,"stats":{"seconds":1,"connections_open":0,
            "connections_total":0,"connections_refused":0,"bytes_sent":0,"bytes_received":0,
            "bytes_spilled":0,"sessions":1}}"#;
        let status: Status = serde_json::from_str(old).unwrap();
        assert_eq!(status.doors, Doors::default());
    }
}
