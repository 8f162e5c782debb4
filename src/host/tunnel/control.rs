//! Talking to a tunnel that runs in the background: a Unix socket, one JSON line per
//! question and per answer.
//!
//! The socket is the lock as well: who can bind it is the only tunnel of its machine.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use crate::stats::Snapshot;
use crate::{Result, Tunnel, TunnelError};

/// Time for one question and its answer; the answerer only reads counters.
const ANSWER: Duration = Duration::from_secs(3);
/// Longest line either side accepts, in bytes.
const LONGEST: u64 = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "camelCase")]
enum Question {
    Status,
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
    /// Local port, host and port of each forwarding.
    pub forwards: Vec<ForwardStatus>,
    /// Where it reaches the guest's sshd.
    pub ssh: SocketAddr,
    /// True if the session is up right now.
    pub up: bool,
    /// The counters.
    pub stats: Snapshot,
}

/// One forwarding in [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardStatus {
    /// Local address.
    pub local: SocketAddr,
    /// Host as the guest sees it.
    pub host: String,
    /// Port on that host.
    pub port: u16,
}

/// The answering side, bound but not yet answering.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Binds the socket, mode 0600. A socket nobody answers at is taken over.
    ///
    /// # Errors
    /// [`TunnelError::ControlTaken`] if a tunnel answers there; [`TunnelError::LocalIo`].
    pub async fn bind(path: &Path) -> Result<Self> {
        let failed = |source| TunnelError::LocalIo {
            doing: format!("create the control socket {}", path.display()),
            source,
        };
        let listener = match UnixListener::bind(path) {
            Ok(listener) => listener,
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                match UnixStream::connect(path).await {
                    Ok(_) => return Err(TunnelError::ControlTaken { path: path.into() }),
                    // Left behind by a tunnel that was killed.
                    Err(_) => std::fs::remove_file(path).map_err(failed)?,
                }
                UnixListener::bind(path).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self {
            listener,
            path: path.into(),
        })
    }

    /// Answers until somebody asks to stop (returns true) or `shutdown` is ready
    /// (returns false). The socket is removed.
    pub async fn run(
        self,
        tunnel: Tunnel,
        socks: SocketAddr,
        forwards: Vec<ForwardStatus>,
        shutdown: impl Future<Output = ()>,
    ) -> bool {
        let stop = Arc::new(Notify::new());
        tokio::pin!(shutdown);
        let asked = loop {
            tokio::select! {
                () = &mut shutdown => break false,
                () = stop.notified() => break true,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (tunnel, forwards, stop) =
                            (tunnel.clone(), forwards.clone(), stop.clone());
                        tokio::spawn(async move {
                            let talk = answer(stream, &tunnel, socks, forwards, &stop);
                            match tokio::time::timeout(ANSWER, talk).await {
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
        };
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove the control socket");
        }
        asked
    }
}

async fn answer(
    stream: UnixStream,
    tunnel: &Tunnel,
    socks: SocketAddr,
    forwards: Vec<ForwardStatus>,
    stop: &Notify,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(LONGEST))
        .read_line(&mut line)
        .await?;
    let question: Question = serde_json::from_str(&line)?;
    let status = Status {
        pid: std::process::id(),
        socks,
        forwards,
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
    tokio::time::timeout(ANSWER, talk)
        .await
        .unwrap_or_else(|_| Err(protocol(format!("no answer within {ANSWER:?}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Target, Tuning};

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

        let running = tokio::spawn(control.run(tunnel(), socks, vec![], std::future::pending()));
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
        let running = tokio::spawn(control.run(tunnel(), socks, vec![], async {
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
}
