//! Listening on this computer only, one task per connection.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::unix::fs::{MetadataExt, PermissionsExt};
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::{Result, TunnelError};

/// Where local connections come from.
pub(crate) trait Door {
    /// One of them.
    type Connection: Send + 'static;

    /// The next one. Giving up while waiting loses none.
    fn next(&self) -> impl Future<Output = io::Result<Self::Connection>> + Send;
}

impl Door for TcpListener {
    type Connection = (TcpStream, SocketAddr);

    async fn next(&self) -> io::Result<Self::Connection> {
        loop {
            let (stream, peer) = self.accept().await?;
            // Without it small answers wait for the peer's delayed ACK.
            match stream.set_nodelay(true) {
                Ok(()) => return Ok((stream, peer)),
                Err(error) => tracing::debug!(%error, "connection went away at once"),
            }
        }
    }
}

#[cfg(unix)]
impl Door for UnixListener {
    type Connection = UnixStream;

    async fn next(&self) -> io::Result<Self::Connection> {
        Ok(self.accept().await?.0)
    }
}

/// Binds a loopback address.
///
/// # Errors
/// [`TunnelError::NotLoopback`], [`TunnelError::PortTaken`], [`TunnelError::Bind`].
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    if !address.ip().is_loopback() {
        return Err(TunnelError::NotLoopback(address));
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            ErrorKind::AddrInUse => TunnelError::PortTaken(address),
            _ => TunnelError::Bind { address, source },
        })
}

/// Binds a Unix socket, mode 0600. A socket nobody answers at is taken over. The file goes
/// with the second half of what is returned.
///
/// # Errors
/// [`TunnelError::ControlTaken`] if somebody answers there; [`TunnelError::LocalIo`].
#[cfg(unix)]
pub(crate) async fn bind_unix(path: &Path) -> Result<(UnixListener, SocketFile)> {
    let failed = |source| TunnelError::LocalIo {
        doing: format!("create the socket {}", path.display()),
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
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, private).map_err(failed)?;
    let file = SocketFile {
        path: path.into(),
        id: identity(path).map_err(failed)?,
    };
    Ok((listener, file))
}

/// The file of a bound Unix socket; removed when dropped, unless another tunnel has bound
/// one of that name since: a profile may be deleted and made again under us. Drop it before
/// its listener, which keeps the inode's number from being used again.
#[cfg(unix)]
pub(crate) struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

#[cfg(unix)]
impl SocketFile {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        if !identity(&self.path).is_ok_and(|id| id == self.id) {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove a socket");
        }
    }
}

/// Device and inode.
#[cfg(unix)]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let about = std::fs::symlink_metadata(path)?;
    Ok((about.dev(), about.ino()))
}

/// Accepts until `shutdown` is ready, then ends every connection.
pub(crate) async fn serve<D, S, F>(door: &D, shutdown: impl Future<Output = ()>, mut serve_one: S)
where
    D: Door,
    S: FnMut(D::Connection) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    // Dropping the set ends its tasks.
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            // Collects the finished ones so that they take no memory.
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = door.next() => match accepted {
                Ok(connection) => {
                    connections.spawn(serve_one(connection));
                }
                Err(error) => {
                    // Out of file descriptors or memory: connections that end give
                    // some back; trying at once again would only burn the CPU.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_can_be_bound() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8082"] {
            let result = bind(address.parse().unwrap()).await;
            assert!(
                matches!(result, Err(TunnelError::NotLoopback(_))),
                "{address}"
            );
        }
        let first = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let taken = first.local_addr().unwrap();
        assert!(matches!(bind(taken).await, Err(TunnelError::PortTaken(a)) if a == taken));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_socket_is_private_and_taken_over_only_from_the_dead() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        // Left behind by a killed process: bound once, never removed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (alive, file) = bind_unix(&path).await.unwrap();
        let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = bind_unix(&path).await;
        assert!(matches!(second, Err(TunnelError::ControlTaken { .. })));
        drop(file);
        assert!(!path.exists());
        drop(alive);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_file_of_a_successor_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        let (_listener, file) = bind_unix(&path).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let (_successor, successors_file) = bind_unix(&path).await.unwrap();
        drop(file);
        assert!(path.exists());
        drop(successors_file);
        assert!(!path.exists());
    }
}
